"""The provider's signing keys: found by discovery, kept, renewed when they rotate (OpenID Connect Discovery §4, RFC 7517).

- Read at the first token, again after `keys_seconds`, and once when a token names a key that is not known: providers rotate.
  Two readings are `floor_seconds` apart at least, so that made-up key names cost the provider nothing.
- When the provider cannot be reached, or answers rubbish, the last good keys stay in force and a metric and a log line tell.
- The document must name the configured issuer, and its addresses must be https on the host of the issuer.
- One reading at a time; whoever comes meanwhile waits for it. RSA under 2,048 bits, symmetric keys and keys for encryption are
  left out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mssante.clock import Clock
from mssante.errors import MssFault, OperatorFault
from mssante.services.psc_token import ALGORITHMS, MAX_KID, PublicKeys

log = structlog.get_logger("psc")
MAX_DOCUMENT = 64 * 1024
MAX_JWKS = 256 * 1024
MAX_KEYS = 50
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192


class Provider(Protocol):
    """`transport.jwks.HttpProvider`, or a fake."""

    async def document(self, url: str, *, max_bytes: int) -> bytes:
        """Give the body at an address. Raises OperatorFault (`HTTP-…`)."""
        ...

    async def ask(self, url: str, form: Mapping[str, str], *, max_bytes: int) -> bytes:
        """Give the answer to a form sent with our client's own secret. Raises OperatorFault (`HTTP-…`)."""
        ...


@dataclass(frozen=True, slots=True)
class Discovered:
    """What the discovery document says."""

    keys_url: str
    introspection_url: str = ""


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Where and how often keys are read."""

    issuer: str
    discovery_url: str
    keys_seconds: float = 3600.0
    floor_seconds: float = 30.0


@dataclass(slots=True)
class _Held:
    keys: PublicKeys = field(default_factory=PublicKeys)
    discovered: Discovered | None = None
    read_at: float | None = None  # monotonic, of the last success
    tried_at: float | None = None


class ProviderKeys:
    """Keys and addresses of one provider."""

    def __init__(self, provider: Provider, settings: KeySettings, clock: Clock) -> None:
        self._provider = provider
        self._settings = settings
        self._clock = clock
        self._held = _Held()
        self._lock = asyncio.Lock()

    async def having(self, kid: str) -> PublicKeys:
        """Give the keys in force, read again when they are old or lack `kid`. Raises OperatorFault when there are none at all."""
        if self._due(kid):
            async with self._lock:
                if self._due(kid):  # somebody else may have read them meanwhile
                    await self._read()
        if self._held.read_at is None:
            raise OperatorFault("the keys of the token provider are not known", rule="PSC-INJOIGNABLE")
        return self._held.keys

    async def introspection_url(self) -> str:
        """Give where tokens are asked about, empty when the provider does not say."""
        await self.having("")
        return self._held.discovered.introspection_url if self._held.discovered is not None else ""

    def _due(self, kid: str) -> bool:
        held, now = self._held, self._clock.monotonic()
        if held.tried_at is not None and now - held.tried_at < self._settings.floor_seconds:
            return False
        old = held.read_at is None or now - held.read_at >= self._settings.keys_seconds
        return old or (bool(kid) and kid not in held.keys.by_kid)

    async def _read(self) -> None:
        """Read document and keys; a failure leaves what is in force."""
        self._held.tried_at = self._clock.monotonic()
        try:
            raw = await self._provider.document(self._settings.discovery_url, max_bytes=MAX_DOCUMENT)
            discovered = read_discovery(raw, self._settings.issuer)
            keys = read_jwks(await self._provider.document(discovered.keys_url, max_bytes=MAX_JWKS))
        except MssFault as fault:
            log.warning("psc_keys_not_read", rule=fault.rule, detail=fault.detail[:200])
            return
        self._held.discovered, self._held.keys, self._held.read_at = discovered, keys, self._clock.monotonic()
        log.info("psc_keys_read", keys=len(keys.by_kid))


def _bad(detail: str) -> OperatorFault:
    return OperatorFault("unusable answer of the token provider", rule="PSC-FOURNISSEUR", detail=detail)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise _bad("not JSON") from None
    if not isinstance(value, dict):
        raise _bad("not a JSON object")
    return value


def read_discovery(raw: bytes, issuer: str) -> Discovered:
    """Read a discovery document. Raises OperatorFault `PSC-FOURNISSEUR` when it is not the issuer's, or leads elsewhere."""
    value = _object(raw)
    if value.get("issuer") != issuer:
        raise _bad("another issuer")
    keys_url, introspection = value.get("jwks_uri"), value.get("introspection_endpoint", "")
    if not _of_issuer(keys_url, issuer):
        raise _bad("jwks_uri")
    return Discovered(str(keys_url), str(introspection) if _of_issuer(introspection, issuer) else "")


def _of_issuer(url: object, issuer: str) -> bool:
    """Tell whether an address is https on the host and port of the issuer."""
    if not isinstance(url, str) or len(url) > 1000 or not url.startswith("https://"):
        return False
    try:
        return urlsplit(url).netloc == urlsplit(issuer).netloc
    except ValueError:
        return False


def read_jwks(raw: bytes) -> PublicKeys:
    """Read a key set (RFC 7517 §5): keys that are not for signatures, weak or unreadable are left out.

    Raises OperatorFault `PSC-FOURNISSEUR` when no key is left.
    """
    entries = _object(raw).get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise _bad("keys")
    found: dict[str, tuple[str, Any, str]] = {}
    for entry in entries:
        read = _key(entry) if isinstance(entry, dict) else None
        if read is not None and entry["kid"] in found:
            raise _bad("one kid for two keys")
        if read is not None:
            found[entry["kid"]] = read
    if not found:
        raise _bad("no usable key")
    return PublicKeys(found)


def _key(entry: dict[str, Any]) -> tuple[str, Any, str] | None:
    """Read one key, None when it is not one that may verify tokens."""
    kid, kind, only = entry.get("kid"), entry.get("kty"), entry.get("alg", "")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID or entry.get("use", "sig") != "sig" or kind not in ("RSA", "EC"):
        return None
    if only and (not isinstance(only, str) or ALGORITHMS.get(only) != kind):
        return None
    public = {name: value for name, value in entry.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        key = (jwt.algorithms.RSAAlgorithm if kind == "RSA" else jwt.algorithms.ECAlgorithm).from_jwk(public)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        return None
    good = (isinstance(key, rsa.RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS) or (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1))
    return (kind, key, only) if good else None
