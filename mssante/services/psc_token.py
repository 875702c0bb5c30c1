"""Checks of one Pro Santé Connect access token: every rule has its reason, and nothing is believed before the signature.

Theory. A token is a signed JSON text (RFC 7515, RFC 7519). Whoever holds it is let in, so each check closes one hole: the
signature must be the provider's, by an asymmetric algorithm that we chose and not the token (RFC 8725 §3.1: no `none`, no HMAC
made with a public key); key and algorithm must fit; the issuer is compared exactly; the client that obtained it must be one
that we admit (a token for another service is no key to mailboxes); it must be an access token and neither an identity nor a
refresh token; it must be in its time, recent, and of the wanted level (`acr`).

- Keys come from the provider's JWKS by `kid` only. `jku`, `x5u`, `jwk` and `x5c` in the header are never looked at; an unknown
  `crit` refuses (RFC 7515 §4.1.11).
- Pure: keys and `now` are arguments. A token is never in a fault, a log or a repr. Called by `services.psc`.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import jwt

MAX_TOKEN = 6_000  # octets: what one line of SASL holds
MAX_CLAIMS = 100
MAX_SUBJECT = 64
MAX_KID = 200
FALLBACK_CLAIM = "preferred_username"
ANY_AUDIENCE = "*"
ALGORITHMS = {"RS256": "RSA", "PS256": "RSA", "ES256": "EC"}
_SUBJECT = re.compile(r"[0-9A-Za-z][0-9A-Za-z./:_-]{0,63}\Z")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\Z")
_NOT_ACCESS = frozenset({"id", "refresh", "offline", "logout", "registrationaccesstoken"})  # `typ` of other tokens of Keycloak
_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})  # RFC 9068 §2.1, RFC 7519 §5.1


class TokenReason(StrEnum):
    """Why a token is refused: the rule that the journal and the log tell. The client learns only that it is."""

    SHAPE = "PSC-FORME"  # no signed JSON text of bounded size
    ALGORITHM = "PSC-ALGORITHME"
    HEADER = "PSC-ENTETE"  # an extension that must be understood, another kind of token
    KEY = "PSC-CLE"  # no such key of the provider
    SIGNATURE = "PSC-SIGNATURE"
    ISSUER = "PSC-EMETTEUR"
    AUDIENCE = "PSC-AUDIENCE"
    KIND = "PSC-NATURE"  # an identity or a refresh token
    EXPIRED = "PSC-EXPIRE"
    EARLY = "PSC-PAS-ENCORE"
    AGE = "PSC-AGE"
    LEVEL = "PSC-ACR"
    SCOPE = "PSC-PORTEE"
    SUBJECT = "PSC-SUJET"  # no usable identifier
    INACTIVE = "PSC-INACTIF"  # introspection says so
    PROVIDER = "PSC-INJOIGNABLE"  # keys or introspection cannot be had
    HOLDER = "PSC-TITULAIRE"  # neither holder nor delegate of what is asked for
    AMBIGUOUS = "PSC-AMBIGU"  # several logins, none named
    DISABLED = "PSC-COMPTE"  # its login is disabled


class TokenFault(Exception):
    """A token is refused. subject: who it names, once its signature was good; detail: values seen, never the token."""

    def __init__(self, reason: TokenReason, detail: str = "", *, subject: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail[:200]
        self.subject = subject


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What a token must be. audiences: clients admitted, `*` for all."""

    issuer: str
    audiences: frozenset[str]
    acr: frozenset[str] = frozenset({"eidas1"})
    scopes: frozenset[str] = frozenset()
    subject_claim: str = "SubjectNameID"
    leeway: timedelta = timedelta(seconds=30)
    max_age: timedelta = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """Keys of a provider by `kid`: (`RSA` or `EC`, key, algorithm that the JWKS restricts it to or empty)."""

    by_kid: Mapping[str, tuple[str, Any, str]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class TokenHeader:
    """The two parts of a header that are believed, after they were checked against lists of ours."""

    algorithm: str
    kid: str


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a good token says. client: who obtained it."""

    subject: str
    client: str
    expires_at: datetime
    acr: str


def read_header(token: str) -> TokenHeader:
    """Give algorithm and key name of a token (RFC 7515 §4.1). Raises TokenFault `PSC-FORME`, `PSC-ALGORITHME`, `PSC-ENTETE`."""
    if len(token) > MAX_TOKEN or not _TOKEN.match(token):
        raise TokenFault(TokenReason.SHAPE, "not three base64url parts" if len(token) <= MAX_TOKEN else "too long")
    header = _json(token.partition(".")[0])
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenFault(TokenReason.ALGORITHM, str(algorithm)[:20])
    if "crit" in header or "b64" in header or not isinstance(kind, str) or kind.lower() not in _TYPES or "cty" in header:
        raise TokenFault(TokenReason.HEADER, "crit, b64, cty or typ")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise TokenFault(TokenReason.KEY, "no kid")
    return TokenHeader(algorithm, kid)


def verify(token: str, keys: PublicKeys, policy: TokenPolicy, now: datetime) -> TokenFacts:
    """Give what a token says, once all is checked. Raises TokenFault."""
    header = read_header(token)
    found = keys.by_kid.get(header.kid)
    if found is None:
        raise TokenFault(TokenReason.KEY, "kid unknown")
    kind, key, only = found
    if ALGORITHMS[header.algorithm] != kind or only not in ("", header.algorithm):
        raise TokenFault(TokenReason.ALGORITHM, f"{header.algorithm} with a key of {only or kind}")
    claims = _claims(token, key, header.algorithm)
    subject = _subject(claims, policy)
    try:
        client = _client(claims, policy)
        expires_at = _times(claims, policy, now)
        level = _words(claims, policy)
    except TokenFault as fault:
        fault.subject = subject
        raise
    return TokenFacts(subject, client, expires_at, level)


def _json(part: str) -> dict[str, Any]:
    """Read one part: a JSON object without a name twice. Raises TokenFault."""
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in found}) != len(found) or len(found) > MAX_CLAIMS:
            raise ValueError("a name twice, or too many")  # RFC 7519 §4: two readers could see two tokens
        return dict(found)

    try:
        value = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=pairs)
    except (ValueError, binascii.Error, RecursionError):
        raise TokenFault(TokenReason.SHAPE, "not JSON") from None
    if not isinstance(value, dict):
        raise TokenFault(TokenReason.SHAPE, "not a JSON object")
    return value


def _claims(token: str, key: Any, algorithm: str) -> dict[str, Any]:
    """Verify the signature by one algorithm; give the claims, of which nothing is checked yet."""
    try:
        jwt.api_jws.decode(token, key, algorithms=[algorithm])
    except jwt.InvalidSignatureError:
        raise TokenFault(TokenReason.SIGNATURE) from None
    except (jwt.PyJWTError, ValueError, TypeError) as fault:
        raise TokenFault(TokenReason.SHAPE, type(fault).__name__) from None
    return _json(token.split(".")[1])


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _subject(claims: Mapping[str, Any], policy: TokenPolicy) -> str:
    """Give the national identifier (spec §6.2)."""
    subject = _text(claims, policy.subject_claim) if policy.subject_claim in claims else _text(claims, FALLBACK_CLAIM)
    if not _SUBJECT.match(subject):
        raise TokenFault(TokenReason.SUBJECT, policy.subject_claim)
    return subject


def _client(claims: Mapping[str, Any], policy: TokenPolicy) -> str:
    """Check issuer, nature and client. `azp` decides when it is there; without it every audience must be admitted."""
    if _text(claims, "iss") != policy.issuer:
        raise TokenFault(TokenReason.ISSUER, _text(claims, "iss"))
    if _text(claims, "typ").lower() in _NOT_ACCESS or ("nonce" in claims and "at_hash" in claims):
        raise TokenFault(TokenReason.KIND, _text(claims, "typ"))
    audience = claims.get("aud", [])
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        raise TokenFault(TokenReason.AUDIENCE, "unreadable")
    wanted = [_text(claims, "azp")] if "azp" in claims else audiences
    if not wanted or not (ANY_AUDIENCE in policy.audiences or policy.audiences.issuperset(wanted)):
        raise TokenFault(TokenReason.AUDIENCE, " ".join(wanted))
    return wanted[0]


def _instant(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise TokenFault(TokenReason.SHAPE, name)
    return datetime.fromtimestamp(value, UTC)


def _times(claims: Mapping[str, Any], policy: TokenPolicy, now: datetime) -> datetime:
    """Check exp, nbf, iat (RFC 7519 §4.1.4 to §4.1.6); exp and iat must be there. Give the end."""
    expires_at, issued_at, begins = (_instant(claims, name) for name in ("exp", "iat", "nbf"))
    if expires_at is None or issued_at is None:
        raise TokenFault(TokenReason.SHAPE, "exp or iat is missing")
    if now >= expires_at + policy.leeway:
        raise TokenFault(TokenReason.EXPIRED, f"{(now - expires_at).total_seconds():.0f} s ago")
    early = max(issued_at, begins or issued_at) - now
    if early > policy.leeway:
        raise TokenFault(TokenReason.EARLY, f"in {early.total_seconds():.0f} s")
    if now - issued_at > policy.max_age + policy.leeway:
        raise TokenFault(TokenReason.AGE, f"{(now - issued_at).total_seconds():.0f} s old")
    return expires_at


def _words(claims: Mapping[str, Any], policy: TokenPolicy) -> str:
    """Check level and scopes; give the level."""
    level = _text(claims, "acr")
    if level not in policy.acr:
        raise TokenFault(TokenReason.LEVEL, level)
    if not policy.scopes.issubset(_text(claims, "scope").split()):
        raise TokenFault(TokenReason.SCOPE, _text(claims, "scope"))
    return level
