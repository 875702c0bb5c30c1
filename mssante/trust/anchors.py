"""Trust anchors: pinned roots and the issuing authorities admitted under them (spec §3.1, ECO.1.1.10).

- A *list* of anchors: root and issuer generations may overlap.
- An issuing authority counts only when a given root signed it, it is a CA that may sign certificates, and its CN is in the
  policy. Everything else in the file (PERSONNES, for one) is kept aside and admits nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from mssante.errors import InputFault

MAX_CERTIFICATES = 100
MAX_OCTETS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """roots: self-signed, pinned; issuers: admitted issuing authorities, each signed by one of the roots (or pinned)."""

    roots: tuple[x509.Certificate, ...]
    issuers: tuple[x509.Certificate, ...]

    def issuers_named(self, name: x509.Name) -> tuple[x509.Certificate, ...]:
        """Give the admitted authorities with this subject (several generations may share it)."""
        return tuple(issuer for issuer in self.issuers if issuer.subject == name)

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """All authorities whose CRLs matter."""
        return (*self.roots, *self.issuers)


def common_name(name: x509.Name) -> str:
    """Give the CN of a name, or an empty string."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def certificate_id(certificate: x509.Certificate) -> str:
    """Give the lower-case hex SHA-256 of a certificate."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def read_certificates(blobs: Iterable[bytes]) -> list[x509.Certificate]:
    """Read PEM bundles, DER certificates and p7b chains. Raises InputFault (`ANCRE-LECTURE`)."""
    found: list[x509.Certificate] = []
    for blob in blobs:
        if len(blob) > MAX_OCTETS:
            raise InputFault("certificate file is too large", rule="ANCRE-LECTURE")
        try:
            if b"-----BEGIN CERTIFICATE-----" in blob:
                found += x509.load_pem_x509_certificates(blob)
            else:
                found += _der(blob)
        except ValueError as exc:
            raise InputFault("file holds no readable certificate", rule="ANCRE-LECTURE",
                             remedy="give PEM or DER certificates, or a p7b chain") from exc
    if len(found) > MAX_CERTIFICATES:
        raise InputFault("too many certificates", rule="ANCRE-LECTURE")
    return found


def _der(blob: bytes) -> list[x509.Certificate]:
    from cryptography.hazmat.primitives.serialization import pkcs7

    try:
        return [x509.load_der_x509_certificate(blob)]
    except ValueError:
        return list(pkcs7.load_der_pkcs7_certificates(blob))


def is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is a CA that may sign certificates (RFC 5280 §4.2.1.3, §4.2.1.9)."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return constraints.ca and usage.key_cert_sign


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer` named and signed `certificate`: the key decides, not the name."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def load_anchors(blobs: Sequence[bytes], issuer_cns: Sequence[str]) -> TrustAnchors:
    """Give the anchors of certificate files; issuer_cns: CN of the authorities admitted as issuers.

    An issuing authority without its root is admitted when it is pinned alone (no root given at all).
    Raises InputFault (`ANCRE-LECTURE`, `ANCRE-EMETTEUR`).
    """
    certificates = [c for c in read_certificates(blobs) if is_authority(c)]
    roots = tuple(c for c in certificates if c.subject == c.issuer and issued_by(c, c))
    issuers = tuple(c for c in certificates if c not in roots and common_name(c.subject) in issuer_cns
                    and (not roots or any(issued_by(c, root) for root in roots)))
    if not issuers:
        raise InputFault("no admitted issuing authority among the anchors", rule="ANCRE-EMETTEUR",
                         detail=", ".join(common_name(c.subject) for c in certificates),
                         remedy="put the issuing certificate in `anchors` and its CN in `issuers`")
    return TrustAnchors(roots, issuers)
