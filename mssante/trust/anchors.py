"""Trust anchors: pinned roots and the issuing authorities admitted under them (spec §3.1, ECO.1.1.10).

- A *list* of anchors: root and issuer generations may overlap.
- An issuing authority counts only when a given root signed it with SHA-2, it is a CA that may sign certificates, and its CN
  is in the policy. Everything else in the file (PERSONNES, for one) is kept aside and admits nobody.
- Keys decide, never names: `issued_by` verifies the signature. Dates are checked by the callers, who know `now`.
- Never reads files: it is given their octets. Called by `trust_setup`, `peer`, `signature`, `crl`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtensionOID, NameOID

from mssante.errors import InputFault

MAX_CERTIFICATES = 100
MAX_OCTETS = 1024 * 1024
ORGANISATIONS = "AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"
DEFAULT_ISSUER_CNS = (ORGANISATIONS, f"TEST {ORGANISATIONS}", f"LAB {ORGANISATIONS}")
GOOD_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# what `cryptography` raises on a certificate, a CRL or a key that is malformed or exotic
READ_FAULTS = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
               x509.InvalidVersion)
_UNDERSTOOD = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.CERTIFICATE_POLICIES,
                         ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.EXTENDED_KEY_USAGE})


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """roots: self-signed, pinned; issuers: admitted issuing authorities, each signed by one of the roots (or pinned);
    watched: others under the same roots, which admit nobody here but whose CRLs are read (S/MIME)."""

    roots: tuple[x509.Certificate, ...]
    issuers: tuple[x509.Certificate, ...]
    watched: tuple[x509.Certificate, ...] = ()

    def issuers_named(self, name: x509.Name) -> tuple[x509.Certificate, ...]:
        """Give the admitted authorities with this subject (several generations may share it)."""
        return tuple(issuer for issuer in self.issuers if issuer.subject == name)

    def issuer_of(self, certificate: x509.Certificate, at: datetime) -> x509.Certificate | None:
        """Give the admitted authority whose key signed a certificate and which is in its dates at `at`, or None.

        With roots given, a root of the authority must be in its dates too (RFC 5280 §6.1.3).
        """
        for issuer in self.issuers_named(certificate.issuer):
            if in_dates(issuer, at) and issued_by(certificate, issuer) and (
                    not self.roots or any(in_dates(root, at) for root in self.roots_of(issuer))):
                return issuer
        return None

    def roots_of(self, issuer: x509.Certificate) -> tuple[x509.Certificate, ...]:
        """Give the pinned roots that bear the name of an authority's issuer (its signature was checked at load)."""
        return tuple(root for root in self.roots if root.subject == issuer.issuer)

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """All authorities whose CRLs matter."""
        return (*self.roots, *self.issuers, *self.watched)


def common_name(name: x509.Name) -> str:
    """Give the CN of a name, or an empty string."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def certificate_id(certificate: x509.Certificate) -> str:
    """Give the lower-case hex SHA-256 of a certificate."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def in_dates(certificate: x509.Certificate, at: datetime) -> bool:
    """Tell whether `at` is within a certificate's validity, both ends included (RFC 5280 §4.1.2.5)."""
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def read_certificates(blobs: Iterable[bytes]) -> list[x509.Certificate]:
    """Read PEM bundles, DER certificates and p7b chains (DER or PEM), at most 1 MiB each and 100 certificates.

    Raises InputFault (`ANCRE-LECTURE`).
    """
    found: list[x509.Certificate] = []
    for blob in blobs:
        if len(blob) > MAX_OCTETS:
            raise InputFault("certificate file is too large", rule="ANCRE-LECTURE", remedy=f"at most {MAX_OCTETS} octets")
        try:
            found += _read(blob)
        except READ_FAULTS as exc:
            raise InputFault("file holds no readable certificate", rule="ANCRE-LECTURE",
                             remedy="give PEM or DER certificates, or a p7b chain") from exc
        if len(found) > MAX_CERTIFICATES:
            raise InputFault("too many certificates", rule="ANCRE-LECTURE", remedy=f"at most {MAX_CERTIFICATES}")
    return found


def read_der(raw: bytes) -> x509.Certificate:
    """Read one DER certificate, parts that are read late included: a broken name must fail here, not in a later decision.

    Raises READ_FAULTS.
    """
    certificate = x509.load_der_x509_certificate(raw)
    check_readable(certificate)
    return certificate


def check_readable(certificate: x509.Certificate) -> None:
    """Touch every part of a certificate that decisions read. Raises READ_FAULTS."""
    _ = (certificate.subject, certificate.issuer, certificate.extensions, certificate.not_valid_before_utc,
         certificate.not_valid_after_utc, certificate.serial_number)


def _read(blob: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN CERTIFICATE-----" in blob:
        return x509.load_pem_x509_certificates(blob)
    if b"-----BEGIN PKCS7-----" in blob:
        return list(pkcs7.load_pem_pkcs7_certificates(blob))
    try:
        return [x509.load_der_x509_certificate(blob)]
    except ValueError:
        return list(pkcs7.load_der_pkcs7_certificates(blob))


def is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is a CA that may sign certificates, without a critical extension that we would have to
    obey and do not know, name constraints for one (RFC 5280 §4.2, §4.2.1.3, §4.2.1.9)."""
    try:
        check_readable(certificate)
        extensions = certificate.extensions
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, *READ_FAULTS):
        return False
    return constraints.ca and usage.key_cert_sign and not any(e.critical and e.oid not in _UNDERSTOOD for e in extensions)


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer` named and signed `certificate`, with SHA-2: the key decides, not the name."""
    try:
        if not isinstance(certificate.signature_hash_algorithm, GOOD_HASHES):
            return False
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *READ_FAULTS):
        return False
    return True


def _may_have_subordinates(root: x509.Certificate) -> bool:
    """Tell whether a root's path length lets it sign another CA (RFC 5280 §4.2.1.9)."""
    return root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length != 0


def load_anchors(blobs: Sequence[bytes], issuer_cns: Sequence[str] = DEFAULT_ISSUER_CNS,
                 watched_cns: Sequence[str] = ()) -> TrustAnchors:
    """Give the anchors of certificate files; issuer_cns: CN of the authorities admitted as issuers, compared exactly;
    watched_cns: CN of others whose CRLs are read.

    An issuing authority without its root is admitted when it is pinned alone (no root given at all).
    Raises InputFault (`ANCRE-LECTURE`, `ANCRE-EMETTEUR`).
    """
    found = {certificate_id(c): c for c in read_certificates(blobs) if is_authority(c)}
    certificates = list(found.values())
    roots = tuple(c for c in certificates if c.subject == c.issuer and issued_by(c, c))
    below = tuple(c for c in certificates if c not in roots and (
        not roots or any(issued_by(c, root) and _may_have_subordinates(root) for root in roots)))
    issuers = tuple(c for c in below if common_name(c.subject) in issuer_cns)
    watched = tuple(c for c in below if common_name(c.subject) in watched_cns and c not in issuers)
    if not issuers:
        raise InputFault("no admitted issuing authority among the anchors", rule="ANCRE-EMETTEUR",
                         detail=", ".join(common_name(c.subject) for c in certificates),
                         remedy="put the issuing certificate in `anchors` and its CN in `issuers`")
    return TrustAnchors(roots, issuers, watched)
