"""OAUTHBEARER (RFC 7628) and XOAUTH2 (its forerunner at large mail providers): a bearer token in one message.

- OAUTHBEARER: a GS2 header, then `key=value` pairs closed by octet 1, the whole closed by one more (RFC 7628 §3.1).
- XOAUTH2: the same pairs without GS2 header, with `user=` before `auth=Bearer`.
- An empty `auth=` asks what would be needed (RFC 7628 §4.3): a claim with an empty token, which is always refused.
- A refused token is told by a challenge in JSON; the client answers with octet 1 (XOAUTH2: an empty line), then the exchange
  fails (RFC 7628 §3.2.3). The token is checked by whoever is given `TokenClaim`.
"""

from __future__ import annotations

import json
import re

from mssante.protocol.sasl.base import MAX_NAME, Answer, Challenge, Disproved, Failure, TokenClaim, TokenRefusal, read_text

MAX_MESSAGE = 6_000  # octets; a line of base64 holds 6,144

_GS2 = re.compile(rb"[ny],(?:a=([^,\x00]{1,1024}))?,\x01")  # channel binding does not go with bearer tokens (RFC 7628 §3.1)
_PAIR = re.compile(rb"([A-Za-z]{1,40})=([\x20-\x7e\x09\x0d\x0a\x80-\xff]*)\x01")  # RFC 7628 §3.1 kvpair
_BEARER = re.compile(r"(?i:bearer) +([A-Za-z0-9\-._~+/]+=*)\Z")  # RFC 6750 §2.1


def _pairs(data: bytes) -> dict[str, str] | None:
    """Read pairs up to the octet 1 that closes; None when there is anything else, or a key twice."""
    found: dict[str, str] = {}
    place = 0
    while data[place:] != b"\x01":
        match = _PAIR.match(data, place)
        if match is None:
            return None
        try:
            key, value = match[1].decode("ascii").lower(), match[2].decode("utf-8")
        except UnicodeDecodeError:
            return None
        if key in found:
            return None
        found[key] = value
        place = match.end()
    return found


class BearerExchange:
    """Server side of OAUTHBEARER, or of XOAUTH2."""

    __slots__ = ("_authcid", "_refused", "_xoauth2")

    def __init__(self, *, xoauth2: bool) -> None:
        self._xoauth2 = xoauth2
        self._authcid = ""
        self._refused = False

    def start(self, initial: bytes | None) -> Answer:
        """Take the message when it came at once, else ask for it."""
        return Challenge() if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Answer:
        """Take the message, or the octet 1 that acknowledges a refusal."""
        if self._refused:
            return Disproved(self._authcid, guess=False)
        if len(data) > MAX_MESSAGE:
            return Failure(f"message longer than {MAX_MESSAGE} octets")
        claim = self._read_xoauth2(data) if self._xoauth2 else self._read(data)
        return claim or Failure("not a bearer token message")

    def _read(self, data: bytes) -> TokenClaim | None:
        head = _GS2.match(data)
        pairs = _pairs(data[head.end():]) if head else None
        if head is None or pairs is None:
            return None
        name = read_text((head[1] or b"").replace(b"=2C", b",").replace(b"=3D", b"="), MAX_NAME)
        return None if name is None else self._claim(name, pairs)

    def _read_xoauth2(self, data: bytes) -> TokenClaim | None:
        pairs = _pairs(data)
        name = read_text((pairs or {}).get("user", "").encode("utf-8"), MAX_NAME)
        return self._claim(name, pairs) if pairs and name else None

    def _claim(self, name: str, pairs: dict[str, str]) -> TokenClaim | None:
        bearer = _BEARER.match(pairs.get("auth", ""))
        port = pairs.get("port", "0")
        if (bearer is None and pairs.get("auth") != "") or not (port.isascii() and port.isdecimal() and len(port) <= 5):
            return None
        self._authcid = name
        return TokenClaim(name, bearer[1] if bearer else "", pairs.get("host", "")[:255], int(port))

    def refuse(self, refusal: TokenRefusal) -> Answer:
        """Give the error as JSON (RFC 7628 §3.2.2; XOAUTH2 has the status of HTTP and nothing more, F6.7)."""
        self._refused = True
        told = {"status": "401" if self._xoauth2 else refusal.status, "schemes": "bearer" if self._xoauth2 else "",
                "scope": refusal.scope, "openid-configuration": "" if self._xoauth2 else refusal.configuration}
        return Challenge(json.dumps({key: value for key, value in told.items() if value}).encode("ascii"))
