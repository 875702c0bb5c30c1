"""Certificate revocation lists: verified, whole, in date (spec §3.2, ECO.1.1.6, ECO.1.1.7, RFC 5280 §5).

- A CRL counts only when one of our authorities signed it and named it; delta, indirect and partial ones are refused, and
  so is one with a critical extension (of the list or of an entry) that we do not know.
- The newest by number, then by thisUpdate, stays; it serves until its `nextUpdate`, then the answer is "unknown".
- A serial once read as revoked stays so whatever the age of the CRL.
- Never fetches anything. Called by `services.trustkeeper` (reading) and `peer`, `signature` (asking).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mssante.errors import InputFault
from mssante.trust.anchors import GOOD_HASHES, READ_FAULTS, TrustAnchors, certificate_id

MAX_OCTETS = 64 * 1024 * 1024
CLOCK_SKEW = timedelta(minutes=5)
_KEEP = "check crl_urls; the last good CRL stays in force"


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
        pem = raw[:64].lstrip().startswith(b"-----BEGIN")
        crl = x509.load_pem_x509_crl(raw) if pem else x509.load_der_x509_crl(raw)
        _ = crl.issuer  # read late by the library: a broken name must fail here
        return crl
    except READ_FAULTS as exc:
        raise InputFault("CRL cannot be read", rule="CRL-LECTURE", remedy=_KEEP) from exc


def _check_signature(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> None:
    """The issuer's key signed it with SHA-2, and that key may sign CRLs (RFC 5280 §4.2.1.3, §6.3.3 f-g)."""
    fault = InputFault("CRL signature is not that of its issuer", rule="CRL-SIGNATURE", remedy=_KEEP)
    try:
        key = issuer.public_key()
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) or not usage.crl_sign \
                or not isinstance(crl.signature_hash_algorithm, GOOD_HASHES) or not crl.is_signature_valid(key):
            raise fault
    except (x509.ExtensionNotFound, *READ_FAULTS) as exc:
        raise fault from exc


def _check_scope(crl: x509.CertificateRevocationList) -> int:
    """Refuse partial scopes and unknown critical extensions; give the CRL number or -1 (RFC 5280 §5.2)."""
    number = -1
    for extension in crl.extensions:
        value = extension.value
        if isinstance(value, x509.CRLNumber):
            number = value.crl_number
        elif isinstance(value, x509.DeltaCRLIndicator):
            raise InputFault("delta CRL is not accepted", rule="CRL-PORTEE", remedy="give the URL of the full CRL")
        elif isinstance(value, x509.IssuingDistributionPoint):
            if value.indirect_crl or value.only_some_reasons or value.only_contains_ca_certs \
                    or value.only_contains_attribute_certs:
                raise InputFault("partial or indirect CRL is not accepted", rule="CRL-PORTEE",
                                 remedy="give the URL of the full CRL")
        elif extension.critical:
            raise InputFault("CRL has an unknown critical extension", rule="CRL-PORTEE")
    return number


def _revoked(crl: x509.CertificateRevocationList) -> frozenset[int]:
    """Give the serials; an entry with a critical extension belongs to a kind of CRL that we refuse (RFC 5280 §5.3)."""
    serials: set[int] = set()
    for entry in crl:
        if any(extension.critical for extension in entry.extensions):
            raise InputFault("CRL entry has a critical extension", rule="CRL-PORTEE")
        serials.add(entry.serial_number)
    return frozenset(serials)


def parse_crl(raw: bytes, issuer: x509.Certificate, now: datetime) -> Crl:
    """Verify a CRL (DER or PEM, at most 64 MiB) against its issuer; an expired one is read, and answers "unknown".

    Raises InputFault: `CRL-TAILLE`, `CRL-LECTURE`, `CRL-EMETTEUR`, `CRL-SIGNATURE`, `CRL-PORTEE`, `CRL-DATE`.
    """
    crl = _load(raw)
    if crl.issuer != issuer.subject:
        raise InputFault("CRL was issued under another name", rule="CRL-EMETTEUR", remedy=_KEEP)
    _check_signature(crl, issuer)
    try:
        number = _check_scope(crl)
        this_update, next_update = crl.last_update_utc, crl.next_update_utc
        revoked = _revoked(crl)
    except READ_FAULTS as exc:
        raise InputFault("CRL content cannot be read", rule="CRL-LECTURE", remedy=_KEEP) from exc
    if next_update is None:
        raise InputFault("CRL has no nextUpdate", rule="CRL-DATE", remedy=_KEEP)
    if this_update > now + CLOCK_SKEW:
        raise InputFault("CRL comes from the future", rule="CRL-DATE", remedy="check the clock")
    return Crl(certificate_id(issuer), number, this_update, next_update, revoked)


def parse_any_crl(raw: bytes, anchors: TrustAnchors, now: datetime) -> Crl:
    """Verify a CRL against whichever of our authorities it names. Raises InputFault (`CRL-…`)."""
    name = _load(raw).issuer
    candidates = [authority for authority in anchors.authorities if authority.subject == name]
    if not candidates:
        raise InputFault("CRL was issued by none of our authorities", rule="CRL-EMETTEUR", remedy="check crl_urls")
    for candidate in candidates[:-1]:  # generations may share a name: the key tells them apart
        try:
            return parse_crl(raw, candidate, now)
        except InputFault:
            continue
    return parse_crl(raw, candidates[-1], now)


def admit_crl(new: Crl, current: Crl | None) -> Crl:
    """Give the CRL to keep of two of one issuer: the new one, or the current one when both are the same issue.

    Raises InputFault `CRL-RECUL` when the new one is older by number or by thisUpdate.
    """
    if current is None:
        return new
    if (new.number, new.this_update) == (current.number, current.this_update):
        return current
    if new.number < current.number or new.this_update < current.this_update:
        raise InputFault("CRL is older than the one in force", rule="CRL-RECUL", remedy=_KEEP)
    return new


@dataclass(frozen=True, slots=True)
class CrlSet:
    """One CRL for each authority, by its fingerprint. Immutable: `admit` gives another set."""

    by_issuer: Mapping[str, Crl] = field(default_factory=lambda: MappingProxyType({}))

    def admit(self, crl: Crl) -> CrlSet:
        """Give the set with this CRL in; the same set when it is the one kept. Raises InputFault `CRL-RECUL`."""
        current = self.by_issuer.get(crl.issuer_id)
        if admit_crl(crl, current) is current:
            return self
        return CrlSet(MappingProxyType({**self.by_issuer, crl.issuer_id: crl}))

    def status(self, serial: int, issuer: x509.Certificate, now: datetime, grace: timedelta = timedelta(0),
               ) -> RevocationStatus:
        """Tell what is known of a serial at `now`; `grace` lengthens the life of the CRL past its nextUpdate."""
        crl = self.by_issuer.get(certificate_id(issuer))
        if crl is None:
            return RevocationStatus.UNKNOWN
        if serial in crl.revoked:
            return RevocationStatus.REVOKED
        return RevocationStatus.GOOD if now <= crl.next_update + grace else RevocationStatus.UNKNOWN

    def authority_revoked(self, issuer: x509.Certificate, anchors: TrustAnchors) -> bool:
        """Tell whether a pinned root's CRL revokes an issuing authority (F3.3, `ACR-EL.crl`); unknown counts as not."""
        return any(issuer.serial_number in crl.revoked for crl in
                   (self.by_issuer.get(certificate_id(root)) for root in anchors.roots_of(issuer)) if crl is not None)
