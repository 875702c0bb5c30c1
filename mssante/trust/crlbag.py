"""State of the links of a path as a bag of CRLs tells it, each within its own scope (RFC 5280 §5.2.5, §6.3.3).

- A CRL says "good" only of the certificates that it covers: the same distribution point when it names one, users' certificates
  when it says so; `crl.parse_crl` refuses the other partial kinds, the indirect and the delta ones.
- A CRL that is refused for its scope but bears the issuer's signature may still say "revoked" (a delta, one reason alone):
  that counts, for it can only make us stricter. Anything else it says counts for nothing.
- Only a key that signs for the issuer's certificate at hand is believed; CRLs under another key of the same name are not.
- Pure; each CRL is verified once for each issuer. `status` is a `LinkStatus` of `path`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.errors import InputFault
from mssante.trust.anchors import READ_FAULTS, certificate_id
from mssante.trust.crl import MAX_OCTETS, RevocationStatus, parse_crl
from mssante.trust.pathnames import NormalName, normal_name

MAX_CRLS = 1000


@dataclass(frozen=True, slots=True)
class _Known:
    """A CRL under one issuer's key. next_update None: refused for its scope, believed for what it revokes alone."""

    scope: x509.IssuingDistributionPoint | None
    revoked: frozenset[int]
    next_update: datetime | None
    issuer: x509.Name


class CrlBag:
    """Raw CRLs (DER), at most 1000, sorted by the name of who issued them."""

    def __init__(self, crls: Sequence[bytes]) -> None:
        """CRLs that cannot be read are left out: what they would have told is unknown."""
        self._raw: dict[NormalName, list[bytes]] = {}
        self._known: dict[str, list[_Known]] = {}
        for raw in crls[:MAX_CRLS]:
            if len(raw) > MAX_OCTETS:
                continue
            try:
                name = normal_name(x509.load_der_x509_crl(raw).issuer)
            except READ_FAULTS:
                continue
            self._raw.setdefault(name, []).append(raw)

    def status(self, certificate: x509.Certificate, issuer: x509.Certificate, at: datetime) -> RevocationStatus:
        """Tell the state of a certificate that `issuer` signed, at an instant."""
        found = RevocationStatus.UNKNOWN
        for crl in self._of(issuer, at):
            if crl.next_update is None:
                if certificate.serial_number in crl.revoked:
                    return RevocationStatus.REVOKED
            elif _covers(crl, certificate):
                if certificate.serial_number in crl.revoked:
                    return RevocationStatus.REVOKED
                if at <= crl.next_update:
                    found = RevocationStatus.GOOD
        return found

    def _of(self, issuer: x509.Certificate, at: datetime) -> list[_Known]:
        mark = f"{certificate_id(issuer)} {at.isoformat()}"
        if mark not in self._known:
            if len(self._known) >= MAX_CRLS:
                self._known.clear()
            self._known[mark] = [one for raw in self._raw.get(normal_name(issuer.subject), ())
                                 if (one := _read(raw, issuer, at)) is not None]
        return self._known[mark]


def _read(raw: bytes, issuer: x509.Certificate, at: datetime) -> _Known | None:
    try:
        crl = parse_crl(raw, issuer, at)
        return _Known(_scope(x509.load_der_x509_crl(raw)), crl.revoked, crl.next_update, issuer.subject)
    except InputFault as fault:
        if fault.rule != "CRL-PORTEE":  # raised after the signature was found good
            return None
        return _Known(None, _still_revoked(raw), None, issuer.subject)
    except READ_FAULTS:
        return None


def _scope(crl: x509.CertificateRevocationList) -> x509.IssuingDistributionPoint | None:
    for extension in crl.extensions:
        if isinstance(extension.value, x509.IssuingDistributionPoint):
            return extension.value
    return None


def _still_revoked(raw: bytes) -> frozenset[int]:
    """Give what a refused CRL revokes of its own issuer's certificates; nothing when it is indirect or cannot be read."""
    try:
        crl = x509.load_der_x509_crl(raw)
        scope = _scope(crl)
        if (scope is not None and scope.indirect_crl) or any(
                one.critical and not isinstance(one.value, x509.DeltaCRLIndicator | x509.IssuingDistributionPoint)
                for one in crl.extensions):
            return frozenset()
        return frozenset(entry.serial_number for entry in crl if not _taken_off(entry))
    except READ_FAULTS:
        return frozenset()


def _taken_off(entry: x509.RevokedCertificate) -> bool:
    return any(one.critical or (isinstance(one.value, x509.CRLReason) and one.value.reason is x509.ReasonFlags.remove_from_crl)
               for one in entry.extensions)


def _covers(crl: _Known, certificate: x509.Certificate) -> bool:
    """RFC 5280 §6.3.3 b 2: the certificate is of the CRL's kind, and shares its distribution point."""
    if crl.scope is None:
        return True
    if crl.scope.only_contains_user_certs and _is_ca(certificate):
        return False
    names = _point_names(crl.scope.full_name, crl.scope.relative_name, crl.issuer)
    return not names or bool(names & _points_of(certificate, crl.issuer))


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _point_names(full: Sequence[x509.GeneralName] | None, relative: x509.RelativeDistinguishedName | None,
                 issuer: x509.Name) -> set[object]:
    """Give the names of a distribution point in a form that compares."""
    names: set[object] = set()
    for one in full or ():
        names.add(normal_name(one.value) if isinstance(one, x509.DirectoryName) else (type(one), str(one.value)))
    if relative is not None:
        names.add(normal_name(x509.Name([*issuer.rdns, relative])))
    return names


def _points_of(certificate: x509.Certificate, issuer: x509.Name) -> set[object]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return {normal_name(issuer)}
    found: set[object] = set()
    for point in points:
        if point.crl_issuer is None and point.reasons is None:
            found |= _point_names(point.full_name, point.relative_name, issuer)
    return found


def der_of(crl: x509.CertificateRevocationList) -> bytes:
    """Give the octets of a CRL as `CrlBag` takes them."""
    return crl.public_bytes(Encoding.DER)
