"""What a provider of identities must know: its keys, clients, codes, sessions, and the tokens that it makes (lab only).

The look-alike of Pro Santé Connect: RS256 access tokens of 4 minutes with the claims of the real ones (spec §6.2), refresh tokens
that rotate, sessions that end with `logout`. Keys live in memory: a restart is a rotation that nobody announced.

- `Mint` makes good tokens and, for tests, every bad one of `TokenFault`: expired, for another service, of another issuer, by
  another key, unsigned, signed with the public key as a secret…
- Never reads a clock or a socket: `now` is an argument. Called by `lab.psc`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mssante.lab.plan import HOST

ACCESS_LIFE = timedelta(minutes=4)
REFRESH_LIFE = timedelta(minutes=30)
CODE_LIFE = timedelta(minutes=1)
KEPT_KEYS = 2
MAX_HELD = 10_000  # codes, sessions
CLIENTS = {  # id -> secret; empty: a public client, which proves itself by PKCE (RFC 7636)
    "lab-lps": "", "lab-operator": "secret-of-the-lab-operator", "lab-webmail": "secret-of-the-lab-webmail",
    "lab-autre-service": "",  # a good client of the provider that no operator admits
}


class TokenFault(StrEnum):
    """The bad tokens that tests ask for."""

    EXPIRED = "expired"
    EARLY = "early"
    OLD = "old"
    AUDIENCE = "audience"
    ISSUER = "issuer"
    KEY = "key"
    KID = "kid"
    NONE = "none"
    HS256 = "hs256"
    ACR = "acr"
    IDENTITY = "identity"
    NO_SUBJECT = "no-subject"


@dataclass(frozen=True, slots=True)
class Order:
    """A token to make."""

    subject: str
    client: str = "lab-lps"
    name: str = ""
    session: str = ""
    scope: str = "openid scope_all"
    fault: TokenFault | None = None


@dataclass(slots=True)
class Grant:
    """A code or a refresh token, until it is used."""

    subject: str
    client: str
    session: str
    ends_at: datetime
    redirect_uri: str = ""
    challenge: str = ""
    nonce: str = ""


@dataclass(slots=True)
class _Key:
    kid: str
    key: RSAPrivateKey


@dataclass(slots=True)
class Sessions:
    """Who is logged in at the provider."""

    codes: dict[str, Grant] = field(default_factory=dict)
    refreshes: dict[str, Grant] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)

    def put(self, held: dict[str, Grant], grant: Grant) -> str:
        """Keep a grant; give the word that takes it. The oldest leave."""
        while len(held) >= MAX_HELD:
            del held[next(iter(held))]
        word = secrets.token_urlsafe(24)
        held[word] = grant
        return word

    @staticmethod
    def take(held: dict[str, Grant], word: str, now: datetime) -> Grant | None:
        """Give a grant, once."""
        grant = held.pop(word, None)
        return grant if grant is not None and now < grant.ends_at else None


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def pkce_fits(verifier: str, challenge: str) -> bool:
    """Tell whether a verifier is that of an S256 challenge (RFC 7636 §4.6)."""
    return bool(challenge) and hmac.compare_digest(_b64(hashlib.sha256(verifier.encode()).digest()), challenge)


class Mint:
    """Makes and reads the provider's tokens."""

    def __init__(self, issuer: str) -> None:
        """issuer: the realm's URL."""
        self.issuer = issuer
        self._keys: list[_Key] = []
        self._foreign = generate_private_key(public_exponent=65537, key_size=2048)
        self.rotate()

    def rotate(self) -> str:
        """Sign with a new key; the one before stays published. Gives its name."""
        self._keys.insert(0, _Key(secrets.token_urlsafe(16), generate_private_key(public_exponent=65537, key_size=2048)))
        del self._keys[KEPT_KEYS:]
        return self._keys[0].kid

    def jwks(self) -> dict[str, Any]:
        """Give the published keys (RFC 7517)."""
        keys = []
        for one in self._keys:
            public: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(one.key.public_key()))
            keys.append({"kty": "RSA", "n": public["n"], "e": public["e"], "kid": one.kid, "alg": "RS256", "use": "sig"})
        return {"keys": keys}

    def access(self, order: Order, now: datetime) -> str:
        """Give an access token, good or with its fault."""
        return self._sign(self._claims(order, now), order.fault)

    def identity(self, order: Order, now: datetime, nonce: str = "") -> str:
        """Give an identity token (OpenID Connect Core §2)."""
        claims = self._claims(order, now) | {"typ": "ID", "aud": order.client}
        return self._sign(claims | ({"nonce": nonce} if nonce else {}), None)

    def _claims(self, order: Order, now: datetime) -> dict[str, Any]:
        fault = order.fault
        issued = {TokenFault.EXPIRED: now - timedelta(minutes=10), TokenFault.EARLY: now + timedelta(minutes=10),
                  TokenFault.OLD: now - timedelta(days=1)}.get(fault, now) if fault is not None else now
        ends = now + timedelta(days=1) if fault is TokenFault.OLD else issued + ACCESS_LIFE
        client = "lab-autre-service" if fault is TokenFault.AUDIENCE else order.client
        claims: dict[str, Any] = {
            "iss": f"https://{HOST}/auth/realms/autre" if fault is TokenFault.ISSUER else self.issuer,
            "sub": f"f:lab:{order.subject}", "aud": "account", "azp": client, "typ": "Bearer", "jti": secrets.token_urlsafe(12),
            "iat": int(issued.timestamp()), "auth_time": int(issued.timestamp()), "exp": int(ends.timestamp()),
            "acr": "eidas0" if fault is TokenFault.ACR else "eidas1", "scope": order.scope, "session_state": order.session,
            "SubjectNameID": order.subject, "preferred_username": order.subject, "name": order.name}
        if fault is TokenFault.IDENTITY:
            claims |= {"typ": "ID", "aud": client}
        if fault is TokenFault.NO_SUBJECT:
            del claims["SubjectNameID"], claims["preferred_username"]
        return claims

    def _sign(self, claims: dict[str, Any], fault: TokenFault | None) -> str:
        current = self._keys[0]
        headers = {"kid": "inconnue" if fault is TokenFault.KID else current.kid}
        if fault is TokenFault.NONE:
            return f"{_b64(json.dumps({'alg': 'none', 'typ': 'JWT', **headers}).encode())}.{_b64(json.dumps(claims).encode())}."
        if fault is TokenFault.HS256:
            return self._confused(claims, headers)
        key = self._foreign if fault is TokenFault.KEY else current.key
        return jwt.encode(claims, key, algorithm="RS256", headers=headers)

    def _confused(self, claims: dict[str, Any], headers: dict[str, str]) -> str:
        """Sign with our public key as an HMAC secret: what a verifier takes that lets the token choose (RFC 8725 §2.1)."""
        secret = self._keys[0].key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = _b64(json.dumps({"alg": "HS256", "typ": "JWT", **headers}).encode())
        signed = f"{head}.{_b64(json.dumps(claims).encode())}"
        return f"{signed}.{_b64(hmac.digest(secret, signed.encode(), 'sha256'))}"

    def read(self, token: str, now: datetime) -> dict[str, Any] | None:
        """Give the claims of a token of ours that is in its time, None of any other."""
        for one in self._keys:
            try:
                claims: dict[str, Any] = jwt.decode(token, one.key.public_key(), algorithms=["RS256"], issuer=self.issuer,
                                                    options={"verify_aud": False, "verify_exp": False, "verify_iat": False})
            except jwt.PyJWTError:
                continue
            return claims if claims["iat"] <= now.timestamp() < claims["exp"] else None
        return None
