"""Certificate revocation lists: verified, whole, in date (spec §3.2, ECO.1.1.6, ECO.1.1.7, RFC 5280 §5).

- A CRL counts only when one of our authorities signed it and named it; delta, indirect and partial ones are refused, and
  so is one with a critical extension (of the list or of an entry) that we do not know.
- The full CRL of an authority is the normal case (F3.3). One that names its distribution point is a *part*: it clears only
  the certificates that name that point (RFC 5280 §6.3.3 b 2 i), and it lives beside the full one, never in its place.
- Of one authority and one point, the newest by number, then by thisUpdate, stays; it serves until its `nextUpdate`, then the
  answer is "unknown".
- A serial read as revoked stays so whatever the age of the CRL, and in whichever part it was read: only a newer issue of
  that same CRL without it clears it.
- Never fetches anything. Called by `services.trustkeeper` (reading) and `peer`, `signature` (asking).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mssante.errors import InputFault
from mssante.trust.anchors import GOOD_HASHES, READ_FAULTS, TrustAnchors, certificate_id

MAX_OCTETS = 50_000_000
MAX_POINTS = 20  # names of one distribution point; the real certificates give two (HTTP and LDAP, F3.4)
CLOCK_SKEW = timedelta(minutes=5)
_KEEP = "check crl_urls; the last good CRL stays in force"


class RevocationStatus(Enum):
    """What the CRL of an issuer says of a serial number."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Crl:
    """issuer_id: fingerprint of the authority that signed it; number -1 when it has none; points: addresses of the
    distribution point that it speaks for, none for a full CRL."""

    issuer_id: str
    number: int
    this_update: datetime
    next_update: datetime
    revoked: frozenset[int] = field(repr=False)
    points: frozenset[str] = frozenset()


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


def _names(names: Iterable[x509.GeneralName] | None) -> frozenset[str]:
    """Give the addresses among the names of a distribution point, as they are written."""
    return frozenset(name.value for name in names or () if isinstance(name, x509.UniformResourceIdentifier))


def distribution_points(certificate: x509.Certificate) -> frozenset[str]:
    """Give the addresses that a certificate names for its CRL, to match parts with; never to fetch from (RFC 5280 §4.2.1.13).

    Points for some reasons only, or of another CRL issuer, do not count: parts of that kind are refused.
    """
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, *READ_FAULTS):
        return frozenset()
    found = [_names(point.full_name) for point in points if not point.reasons and not point.crl_issuer]
    return frozenset().union(*found[:MAX_POINTS])


def _check_scope(crl: x509.CertificateRevocationList) -> tuple[int, frozenset[str]]:
    """Refuse partial scopes and unknown critical extensions; give the CRL number or -1, and the point (RFC 5280 §5.2)."""
    number, points = -1, frozenset[str]()
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
            points = _names((value.full_name or ())[:MAX_POINTS])
            if (value.full_name or value.relative_name) and not points:
                raise InputFault("CRL of a distribution point without address", rule="CRL-PORTEE",
                                 remedy="give the URL of the full CRL")
        elif extension.critical:
            raise InputFault("CRL has an unknown critical extension", rule="CRL-PORTEE")
    return number, points


def _revoked(crl: x509.CertificateRevocationList) -> frozenset[int]:
    """Give the serials; an entry with a critical extension belongs to a kind of CRL that we refuse (RFC 5280 §5.3)."""
    serials: set[int] = set()
    for entry in crl:
        if any(extension.critical for extension in entry.extensions):
            raise InputFault("CRL entry has a critical extension", rule="CRL-PORTEE")
        serials.add(entry.serial_number)
    return frozenset(serials)


def parse_crl(raw: bytes, issuer: x509.Certificate, now: datetime) -> Crl:
    """Verify a CRL (DER or PEM, at most 50 MB) against its issuer; an expired one is read, and answers "unknown".

    Raises InputFault: `CRL-TAILLE`, `CRL-LECTURE`, `CRL-EMETTEUR`, `CRL-SIGNATURE`, `CRL-PORTEE`, `CRL-DATE`.
    """
    crl = _load(raw)
    if crl.issuer != issuer.subject:
        raise InputFault("CRL was issued under another name", rule="CRL-EMETTEUR", remedy=_KEEP)
    _check_signature(crl, issuer)
    try:
        number, points = _check_scope(crl)
        this_update, next_update = crl.last_update_utc, crl.next_update_utc
        revoked = _revoked(crl)
    except READ_FAULTS as exc:
        raise InputFault("CRL content cannot be read", rule="CRL-LECTURE", remedy=_KEEP) from exc
    if next_update is None:
        raise InputFault("CRL has no nextUpdate", rule="CRL-DATE", remedy=_KEEP)
    if this_update > now + CLOCK_SKEW:
        raise InputFault("CRL comes from the future", rule="CRL-DATE", remedy="check the clock")
    return Crl(certificate_id(issuer), number, this_update, next_update, revoked, points)


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
    """The CRLs in force. Immutable: `admit` gives another set.

    by_issuer: the full CRL of each authority, by its fingerprint; parts: its CRLs by distribution point, if there are.
    """

    by_issuer: Mapping[str, Crl] = field(default_factory=lambda: MappingProxyType({}))
    parts: Mapping[str, tuple[Crl, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, issuer_ids: Collection[str]) -> CrlSet:
        """Give the CRLs of these authorities alone (fingerprints)."""
        return CrlSet(MappingProxyType({name: crl for name, crl in self.by_issuer.items() if name in issuer_ids}),
                      MappingProxyType({name: parts for name, parts in self.parts.items() if name in issuer_ids}))

    def every(self) -> tuple[Crl, ...]:
        """Give all CRLs in force, full ones first."""
        return (*self.by_issuer.values(), *(part for parts in self.parts.values() for part in parts))

    def held_for(self, crl: Crl) -> Crl | None:
        """Give the CRL in force of the same authority and the same distribution point, or None."""
        if not crl.points:
            return self.by_issuer.get(crl.issuer_id)
        return next((part for part in self.parts.get(crl.issuer_id, ()) if part.points == crl.points), None)

    def admit(self, crl: Crl) -> CrlSet:
        """Give the set with this CRL in; the same set when it is the one kept. Raises InputFault `CRL-RECUL`."""
        current = self.held_for(crl)
        if admit_crl(crl, current) is current:
            return self
        if not crl.points:
            return CrlSet(MappingProxyType({**self.by_issuer, crl.issuer_id: crl}), self.parts)
        others = tuple(part for part in self.parts.get(crl.issuer_id, ()) if part is not current)
        return CrlSet(self.by_issuer, MappingProxyType({**self.parts, crl.issuer_id: (*others, crl)}))

    def status(self, serial: int, issuer: x509.Certificate, now: datetime, grace: timedelta = timedelta(0),
               points: frozenset[str] = frozenset()) -> RevocationStatus:
        """Tell what is known of a serial at `now`; `grace` lengthens the life of a CRL past its nextUpdate.

        points: `distribution_points` of the certificate, without which a part clears nobody.
        """
        issuer_id = certificate_id(issuer)
        full, parts = self.by_issuer.get(issuer_id), self.parts.get(issuer_id, ())
        if (full is not None and serial in full.revoked) or any(serial in part.revoked for part in parts):
            return RevocationStatus.REVOKED
        if (full is not None and now <= full.next_update + grace) \
                or any(part.points & points and now <= part.next_update + grace for part in parts):
            return RevocationStatus.GOOD
        return RevocationStatus.UNKNOWN

    def authority_revoked(self, issuer: x509.Certificate, anchors: TrustAnchors) -> bool:
        """Tell whether a pinned root's CRL revokes an issuing authority (F3.3, `ACR-EL.crl`); unknown counts as not."""
        for root in anchors.roots_of(issuer):
            root_id = certificate_id(root)
            full = self.by_issuer.get(root_id)
            held = self.parts.get(root_id, ()) if full is None else (full, *self.parts.get(root_id, ()))
            if any(issuer.serial_number in crl.revoked for crl in held):
                return True
        return False
