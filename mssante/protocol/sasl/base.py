"""What every SASL exchange shares: its answers, its shape, its base64 framing and size limits.

An answer is one of: a challenge to send; a claim that the caller checks (`Credentials`, `VerifierWanted`, `TokenClaim`); an
identity that the exchange proved by itself (`Proved`) or found false (`Disproved`); a `Failure` of form. `services.sasl` checks
the claims, the endpoints send and read. Nothing here logs or keeps a secret.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from typing import Protocol

MAX_RESPONSE = 8_192  # octets of one base64 line, before decoding
MAX_NAME = 255  # octets of an authentication or authorisation name (RFC 4616 §2)
MAX_PASSWORD = 1_024

_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}\Z")


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send this to the client, then wait for its response."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the client claims; nothing is verified yet. authzid is empty when the client names no other identity."""

    authzid: str
    authcid: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """The exchange is over without credentials. IMAP BAD, SMTP 501; cancelled: the client sent `*`; refused: well-formed, but
    asks for what is not to be had (IMAP NO)."""

    text: str
    cancelled: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class VerifierWanted:
    """Look up what is stored for this login and give it to `VerifierExchange.supply` (SCRAM)."""

    login: str


@dataclass(frozen=True, slots=True)
class Proved:
    """The exchange itself proved the identity. verifier: the stored form that did, empty when none was used."""

    authzid: str
    authcid: str
    verifier: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Disproved:
    """The proof is wrong: a failed login. guess: to be counted as one; a token that ended is none (ECO.1.2.3)."""

    authcid: str
    guess: bool = True


@dataclass(frozen=True, slots=True)
class TokenClaim:
    """A bearer token to be checked; a refusal goes to `TokenExchange.refuse`. host, port: what the client aims at, as it says."""

    authzid: str
    token: str = field(repr=False)
    host: str = ""
    port: int = 0


Answer = Challenge | Credentials | Failure | VerifierWanted | Proved | Disproved | TokenClaim


@dataclass(frozen=True, slots=True)
class Verifier:
    """What a server keeps of a SCRAM password (RFC 5802 §3), or a made-up one that fits no password."""

    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """Why a token is refused, told to the client (RFC 7628 §3.2.2). status: `invalid_token`, `insufficient_scope`…"""

    status: str = "invalid_token"
    scope: str = ""
    configuration: str = ""  # URL of the authorisation server's OpenID configuration



class Exchange(Protocol):
    """One authentication in progress."""

    def start(self, initial: bytes | None) -> Answer:
        """Begin, with the decoded initial response when there is one (RFC 4959)."""
        ...

    def respond(self, data: bytes) -> Answer:
        """Take the decoded response to the last challenge."""
        ...


class VerifierExchange(Exchange, Protocol):
    """An exchange that asks for a verifier."""

    def supply(self, verifier: Verifier) -> Answer:
        """Go on with the verifier that was asked for by VerifierWanted."""
        ...


class TokenExchange(Exchange, Protocol):
    """An exchange that claims a token."""

    def refuse(self, refusal: TokenRefusal) -> Answer:
        """The token is refused: give the challenge that tells it; the exchange ends as Disproved."""
        ...


def decode_response(line: bytes) -> bytes | Failure:
    """Give the octets of one base64 line of the client, without CRLF; `*` cancels (RFC 9051 §6.2.2, RFC 4954 §4)."""
    if line == b"*":
        return Failure("authentication cancelled", cancelled=True)
    if len(line) > MAX_RESPONSE:
        return Failure(f"response longer than {MAX_RESPONSE} octets")
    if len(line) % 4 or not _BASE64.match(line):
        return Failure("response is not base64")
    try:
        return b64decode(line, validate=True)
    except Base64Error:
        return Failure("response is not base64")


def decode_initial(word: bytes) -> bytes | Failure:
    """Give the octets of an initial response: `=` stands for no octet (RFC 4959 §3, RFC 4954 §4)."""
    if word == b"=":
        return b""
    if word in (b"", b"*"):
        return Failure("initial response is not base64")
    return decode_response(word)


def encode_challenge(challenge: Challenge) -> bytes:
    """Give the base64 text of a challenge, without `+ ` or `334 ` before it and without CRLF."""
    return b64encode(challenge.data)


def read_text(data: bytes, limit: int) -> str | None:
    """Give a name or a password as text, None when longer than `limit` octets, not UTF-8, or with a control character.

    Refusing control characters keeps CR, LF and NUL out of every later layer.
    """
    if len(data) > limit:
        return None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if any(ord(letter) < 32 or ord(letter) == 127 for letter in text) else text
