"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), server side, and the verifier that is stored.

Theory. The client proves that it knows the password without sending it, and the server that it holds what was made of it:
SaltedPassword = PBKDF2(password, salt, i); ClientKey and ServerKey are its HMAC of two fixed words; StoredKey = SHA-256 of
ClientKey. We keep salt, i, StoredKey, ServerKey. AuthMessage is all that was said; the client sends ClientKey XOR
HMAC(StoredKey, AuthMessage), from which we find ClientKey again and compare its hash with StoredKey.

Channel binding (-PLUS) puts a value of the TLS connection in what is signed, so that somebody in the middle cannot hand the
exchange on. We bind to `tls-server-end-point` (RFC 5929 §4); other types are refused by name. A client that says `y` ("you
do not offer it") while we do offer it is being fooled, and is refused (RFC 5802 §6).

- Four steps: client-first gives `VerifierWanted`; `supply` gives server-first; client-final gives server-final or `Disproved`;
  the empty line after it gives `Proved` (RFC 5802 §5, RFC 4422 §5 for protocols without data on success).
- Comparisons are constant-time. Nothing says whether a login exists: the caller supplies a made-up verifier.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

from mssante.protocol.sasl.base import MAX_NAME, Answer, Challenge, Disproved, Failure, Proved, Verifier, VerifierWanted
from mssante.protocol.sasl.prepare import saslprep

SCHEME = "SCRAM-SHA-256"
MIN_ITERATIONS = 4096  # RFC 7677 §4
MAX_ITERATIONS = 10_000_000
END_POINT = "tls-server-end-point"
MAX_MESSAGE = 2_048  # octets of a client message
MAX_NONCE = 256

_PRINTABLE = rb"[\x21-\x2b\x2d-\x7e]"  # RFC 5802 §7: printable, no comma
_GS2 = re.compile(rb"(n|y|p=([A-Za-z0-9.\-]{1,40})),(?:a=([^,\x00]{1,1024}))?,")
_BARE = re.compile(rb"n=([^,\x00]{1,1024}),r=(" + _PRINTABLE + rb"{1,%d})((?:,[A-Za-z]=[^,\x00]+)*)\Z" % MAX_NONCE)
_FINAL = re.compile(rb"(c=([A-Za-z0-9+/=]+),r=(" + _PRINTABLE + rb"+)(?:,[A-Za-z]=[^,\x00]+)*),p=([A-Za-z0-9+/=]{1,64})\Z")


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def derive(password: str, salt: bytes, iterations: int) -> Verifier | None:
    """Give the verifier of a password (RFC 5802 §3), None when SASLprep refuses it. Takes time: a few ms by 10,000 iterations."""
    prepared = saslprep(password)
    if prepared is None:
        return None
    salted = hashlib.pbkdf2_hmac("sha256", prepared.encode("utf-8"), salt, iterations)
    client_key = _hmac(salted, b"Client Key")
    return Verifier(iterations, salt, hashlib.sha256(client_key).digest(), _hmac(salted, b"Server Key"))


def write_verifier(verifier: Verifier) -> str:
    """Give the stored form: `SCRAM-SHA-256$iterations$salt$StoredKey$ServerKey`, the last three in base64 (RFC 5803 §2)."""
    parts = (b64encode(part).decode("ascii") for part in (verifier.salt, verifier.stored_key, verifier.server_key))
    return "$".join((SCHEME, str(verifier.iterations), *parts))


def read_verifier(text: str) -> Verifier | None:
    """Give the verifier of a stored form, None when it is empty or not one."""
    parts = text.split("$")
    if len(parts) != 5 or parts[0] != SCHEME or not parts[1].isdecimal() or len(parts[1]) > 8:
        return None
    try:
        salt, stored_key, server_key = (b64decode(part, validate=True) for part in parts[2:])
    except (Base64Error, ValueError):
        return None
    iterations = int(parts[1])
    good = MIN_ITERATIONS <= iterations <= MAX_ITERATIONS and salt and len(stored_key) == len(server_key) == 32
    return Verifier(iterations, salt, stored_key, server_key) if good else None


def _name(data: bytes) -> str | None:
    """Read a saslname: `=2C` is a comma, `=3D` an equals sign, no other `=` (RFC 5802 §5.1). None when it is not one."""
    if re.search(rb"=(?!2C|3D)", data):
        return None
    try:
        text = data.replace(b"=2C", b",").replace(b"=3D", b"=").decode("utf-8")
    except UnicodeDecodeError:
        return None
    prepared = saslprep(text)
    return prepared if prepared is not None and len(prepared.encode("utf-8")) <= MAX_NAME else None


class ScramExchange:
    """Server side of one exchange."""

    __slots__ = ("_authcid", "_authzid", "_bare", "_binding", "_end_point", "_nonce", "_plus", "_proved", "_server_first",
                 "_server_nonce", "_verifier")

    def __init__(self, nonce: str, *, plus: bool, end_point: bytes) -> None:
        """nonce: ours, random, printable without comma; plus: the client chose -PLUS; end_point: channel binding data,
        empty when we do not offer -PLUS."""
        self._server_nonce = nonce.encode("ascii")
        self._plus = plus
        self._end_point = end_point
        self._authcid = self._authzid = ""
        self._bare = self._binding = self._nonce = self._server_first = b""
        self._verifier: Verifier | None = None
        self._proved = False

    def start(self, initial: bytes | None) -> Answer:
        """Take client-first when it came at once, else ask for it."""
        return Challenge() if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Answer:
        """Take client-first, client-final, or the empty line that ends."""
        if len(data) > MAX_MESSAGE:
            return Failure(f"SCRAM: message longer than {MAX_MESSAGE} octets")
        if self._proved:
            return Proved(self._authzid, self._authcid, write_verifier(self._verifier)) if self._verifier and not data \
                else Failure("SCRAM: an empty response was expected")
        return self._first(data) if not self._bare else self._final(data)

    def _first(self, data: bytes) -> Answer:
        """client-first-message (RFC 5802 §7)."""
        head = _GS2.match(data)
        bare = _BARE.match(data, head.end()) if head else None
        if head is None or bare is None:
            return Failure("SCRAM: not a client-first-message")
        fault = self._channel_fault(head[1], (head[2] or b"").decode("ascii"))
        if fault:
            return Failure(fault, refused=True)
        authcid = _name(bare[1])
        authzid = _name(head[3]) if head[3] else ""
        if authcid is None or authzid is None:
            return Failure("SCRAM: name too long, not UTF-8, or with characters that SASLprep refuses")
        self._authcid, self._authzid = authcid, "" if authzid == authcid else authzid
        self._bare, self._nonce = data[head.end():], bare[2] + self._server_nonce
        self._binding = b64encode(head[0] + (self._end_point if self._plus else b""))
        return VerifierWanted(authcid)

    def _channel_fault(self, flag: bytes, kind: str) -> str:
        """Give what is wrong with the channel binding flag (RFC 5802 §6), or nothing."""
        if self._plus:
            if not kind:
                return "SCRAM: channel-binding-not-provided"
            return "" if kind == END_POINT and self._end_point else f"SCRAM: unsupported-channel-binding-type, use {END_POINT}"
        if kind:
            return "SCRAM: a channel binding takes SCRAM-SHA-256-PLUS"
        if flag == b"y" and self._end_point:
            return "SCRAM: server-does-support-channel-binding"  # somebody took -PLUS out of what we announced
        return ""

    def supply(self, verifier: Verifier) -> Answer:
        """Give server-first-message."""
        self._verifier = verifier
        self._server_first = b"r=%b,s=%b,i=%d" % (self._nonce, b64encode(verifier.salt), verifier.iterations)
        return Challenge(self._server_first)

    def _final(self, data: bytes) -> Answer:
        """client-final-message: check nonce, binding and proof (RFC 5802 §5.1)."""
        final, verifier = _FINAL.match(data), self._verifier
        if final is None or verifier is None:
            return Failure("SCRAM: not a client-final-message")
        try:
            proof = b64decode(final[4], validate=True)
        except (Base64Error, ValueError):
            return Failure("SCRAM: the proof is not base64")
        said = b",".join((self._bare, self._server_first, final[1]))
        signature = _hmac(verifier.stored_key, said)
        client_key = bytes(one ^ other for one, other in zip(signature, proof, strict=False))
        good = hmac.compare_digest(hashlib.sha256(client_key).digest(), verifier.stored_key)
        same = hmac.compare_digest(final[2], self._binding) and hmac.compare_digest(final[3], self._nonce)
        if not (good and same and len(proof) == len(signature)):
            return Disproved(self._authcid)
        self._proved = True
        return Challenge(b"v=" + b64encode(_hmac(verifier.server_key, said)))
