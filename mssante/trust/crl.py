"""Certificate revocation lists: verified, whole, in date (spec §3.2, ECO.1.1.6, ECO.1.1.7, RFC 5280 §5).

- A CRL counts only when one of our authorities signed it and named it; delta, indirect and partial ones are refused.
- The newest by number (then by thisUpdate) stays; it serves until its `nextUpdate`, then the answer is "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType

from cryptography import x509

from mssante.errors import InputFault
from mssante.trust.anchors import TrustAnchors, certificate_id

MAX_OCTETS = 64 * 1024 * 1024
CLOCK_SKEW = timedelta(minutes=5)


class RevocationStatus(Enum):
    """What the CRL of an issuer says of a serial number."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Crl:
    """issuer_id: fingerprint of the authority that signed it; number -1 when it has none."""

    issuer_id: str
    number: int
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int] = field(repr=False)


def _load(raw: bytes) -> x509.CertificateRevocationList:
    if len(raw) > MAX_OCTETS:
        raise InputFault("CRL is too large", rule="CRL-TAILLE", remedy=f"at most {MAX_OCTETS} octets")
    try:
        if raw.lstrip().startswith(b"-----BEGIN"):
            return x509.load_pem_x509_crl(raw)
        return x509.load_der_x509_crl(raw)
    except ValueError as exc:
        raise InputFault("CRL cannot be read", rule="CRL-LECTURE") from exc


def _check_scope(crl: x509.CertificateRevocationList) -> int:
    """Refuse partial scopes and unknown critical extensions; give the CRL number or -1 (RFC 5280 §5.2)."""
    number = -1
    try:
        for extension in crl.extensions:
            value = extension.value
            if isinstance(value, x509.CRLNumber):
                number = value.crl_number
            elif isinstance(value, x509.DeltaCRLIndicator):
                raise InputFault("delta CRL is not accepted", rule="CRL-PORTEE")
            elif isinstance(value, x509.IssuingDistributionPoint):
                if value.indirect_crl or value.only_some_reasons or value.only_contains_ca_certs \
                        or value.only_contains_attribute_certs:
                    raise InputFault("partial or indirect CRL is not accepted", rule="CRL-PORTEE")
            elif extension.critical:
                raise InputFault("CRL has an unknown critical extension", rule="CRL-PORTEE")
    except (ValueError, x509.UnsupportedGeneralNameType) as exc:
        raise InputFault("CRL extensions cannot be read", rule="CRL-LECTURE") from exc
    return number


def parse_crl(raw: bytes, issuer: x509.Certificate, now: datetime) -> Crl:
    """Verify a CRL against its issuer. Raises InputFault (`CRL-…`); an expired one is read, and answers "unknown"."""
    crl = _load(raw)
    if crl.issuer != issuer.subject:
        raise InputFault("CRL was issued under another name", rule="CRL-EMETTEUR")
    try:
        valid = crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (ValueError, TypeError) as exc:
        raise InputFault("CRL signature cannot be verified", rule="CRL-SIGNATURE") from exc
    algorithm = crl.signature_hash_algorithm
    if not valid or algorithm is None or algorithm.name in ("md5", "sha1"):
        raise InputFault("CRL signature is not that of its issuer", rule="CRL-SIGNATURE",
                         remedy="check crl_urls; the last good CRL stays in force")
    number = _check_scope(crl)
    if crl.next_update_utc is None:
        raise InputFault("CRL has no nextUpdate", rule="CRL-DATE")
    if crl.last_update_utc > now + CLOCK_SKEW:
        raise InputFault("CRL comes from the future", rule="CRL-DATE", remedy="check the clock")
    revoked = frozenset(entry.serial_number for entry in crl)
    return Crl(certificate_id(issuer), number, crl.last_update_utc, crl.next_update_utc, revoked)


def parse_any_crl(raw: bytes, anchors: TrustAnchors, now: datetime) -> Crl:
    """Verify a CRL against whichever of our authorities it names. Raises InputFault (`CRL-…`)."""
    name = _load(raw).issuer
    candidates = [authority for authority in anchors.authorities if authority.subject == name]
    if not candidates:
        raise InputFault("CRL was issued by none of our authorities", rule="CRL-EMETTEUR", remedy="check crl_urls")
    for candidate in candidates[:-1]:
        try:
            return parse_crl(raw, candidate, now)
        except InputFault:
            continue
    return parse_crl(raw, candidates[-1], now)


@dataclass(frozen=True, slots=True)
class CrlSet:
    """One CRL for each authority."""

    by_issuer: Mapping[str, Crl] = field(default_factory=lambda: MappingProxyType({}))

    def admit(self, crl: Crl) -> CrlSet:
        """Give the set with this CRL in; the same set when it is the one kept. Raises InputFault `CRL-RECUL`."""
        kept = self.by_issuer.get(crl.issuer_id)
        if kept is not None:
            if (crl.number, crl.this_update) == (kept.number, kept.this_update):
                return self
            if crl.number < kept.number or crl.this_update < kept.this_update:
                raise InputFault("CRL is older than the one in force", rule="CRL-RECUL")
        return CrlSet(MappingProxyType({**self.by_issuer, crl.issuer_id: crl}))

    def status(self, serial: int, issuer: x509.Certificate, now: datetime, grace: timedelta = timedelta(0),
               ) -> RevocationStatus:
        """Tell what is known of a serial; revoked stays revoked whatever the age of the CRL."""
        crl = self.by_issuer.get(certificate_id(issuer))
        if crl is None:
            return RevocationStatus.UNKNOWN
        if serial in crl.revoked:
            return RevocationStatus.REVOKED
        return RevocationStatus.GOOD if now <= crl.next_update + grace else RevocationStatus.UNKNOWN

