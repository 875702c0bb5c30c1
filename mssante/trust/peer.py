"""Who a peer is, from its TLS certificate (spec §2.2 steps 2-3, §3.3).

- The issuer's *key* decides: the leaf must verify with a pinned issuing authority of the policy; a name that looks alike, a
  sister authority (PERSONNES) or an unknown one is refused.
- Every refusal has its own rule and words; a revocation that cannot be known is temporary and refuses (hard fail).
- Runs once for each new TLS session: one parse, one signature check.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mssante.errors import InputFault, PeerFault
from mssante.model.identity import OperatorIdentity
from mssante.trust.anchors import TrustAnchors, common_name, issued_by
from mssante.trust.crl import CrlSet, RevocationStatus
from mssante.trust.names import dn_from_x509

MIN_RSA_BITS = 2048
MAX_LEAF_OCTETS = 16 * 1024
PRODUCT_CATEGORY = x509.ObjectIdentifier("1.2.250.1.71.1.2.5")  # F3.11
_UNDERSTOOD = frozenset({
    ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.CERTIFICATE_POLICIES, ExtensionOID.CRL_DISTRIBUTION_POINTS,
})


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """eku: `any` (server or client), `server`, `client`; production refuses TEST certificates (category 8x)."""

    eku: str = "any"
    production: bool = False
    crl_grace: timedelta = timedelta(0)


class UnknownRevocation(PeerFault):
    """The revocation state cannot be told now: come back later."""

    temporary = True


def _refuse(rule: str, text: str, detail: str = "") -> PeerFault:
    return PeerFault(text, rule=rule, detail=detail)


def identify(leaf_der: bytes, anchors: TrustAnchors, crls: CrlSet, now: datetime, policy: PeerPolicy) -> OperatorIdentity:
    """Give the identity that a leaf certificate proves at `now`.

    Raises PeerFault: `PEER-ABSENT`, `PEER-LECTURE`, `PEER-EMETTEUR`, `PEER-EXPIRE`, `PEER-PAS-ENCORE`, `PEER-USAGE`,
    `PEER-CLE`, `PEER-CATEGORIE`, `PEER-REVOQUE`, and temporary `PEER-CRL`.
    """
    if not leaf_der:
        raise _refuse("PEER-ABSENT", "Certificat client IGC-Sante requis, aucun n'a ete presente")
    if len(leaf_der) > MAX_LEAF_OCTETS:
        raise _refuse("PEER-LECTURE", "Certificat trop gros")
    try:
        leaf = x509.load_der_x509_certificate(leaf_der)
        extensions = leaf.extensions
        subject = dn_from_x509(leaf.subject)
        key = leaf.public_key()
    except (ValueError, InputFault, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:
        raise _refuse("PEER-LECTURE", "Certificat illisible") from exc
    issuer = _issuer(leaf, anchors)
    _check_dates(leaf, now)
    _check_usage(extensions, policy)
    _check_key(key)
    _check_revocation(leaf, issuer, crls, now, policy)
    return OperatorIdentity(subject, common_name(leaf.issuer), leaf.serial_number, leaf.fingerprint(hashes.SHA256()).hex(),
                            _names(extensions, subject.value("CN")), leaf.not_valid_after_utc)


def _issuer(leaf: x509.Certificate, anchors: TrustAnchors) -> x509.Certificate:
    """Find the admitted authority whose key signed the leaf (ECO.1.1.10)."""
    for issuer in anchors.issuers_named(leaf.issuer):
        if issued_by(leaf, issuer):
            return issuer
    admitted = ", ".join(sorted({common_name(issuer.subject) for issuer in anchors.issuers}))
    seen = common_name(leaf.issuer).encode("ascii", "replace").decode()[:120]
    raise _refuse("PEER-EMETTEUR", f"Certificat emis par {seen!r} : seule l'autorite {admitted} est admise", seen)


def _check_dates(leaf: x509.Certificate, now: datetime) -> None:
    if now > leaf.not_valid_after_utc:
        raise _refuse("PEER-EXPIRE", f"Certificat expire depuis le {leaf.not_valid_after_utc:%Y-%m-%d} : renouvelez-le")
    if now < leaf.not_valid_before_utc:
        raise _refuse("PEER-PAS-ENCORE", f"Certificat valable a partir du {leaf.not_valid_before_utc:%Y-%m-%d} seulement")


def _check_usage(extensions: x509.Extensions, policy: PeerPolicy) -> None:
    """Basic constraints, key usage, extended key usage, category, unknown critical extensions (RFC 5280 §4.2)."""
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise _refuse("PEER-USAGE", "Certificat d'autorite presente comme certificat de serveur")
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            raise _refuse("PEER-USAGE", "Certificat sans usage digitalSignature")
        if isinstance(value, x509.ExtendedKeyUsage):
            _check_eku(value, policy.eku)
        if extension.oid == PRODUCT_CATEGORY and policy.production and isinstance(value, x509.UnrecognizedExtension) \
                and value.value[-1:] >= b"\x80":
            raise _refuse("PEER-CATEGORIE", "Certificat de TEST refuse en production")
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _refuse("PEER-USAGE", "Certificat avec une extension critique inconnue", extension.oid.dotted_string)


def _check_eku(usage: x509.ExtendedKeyUsage, wanted: str) -> None:
    """Accept serverAuth, clientAuth or either by policy; a certificate without EKU passes (F2.5, F3.12)."""
    server = ExtendedKeyUsageOID.SERVER_AUTH in usage
    client = ExtendedKeyUsageOID.CLIENT_AUTH in usage
    if not {"any": server or client, "server": server, "client": client}[wanted]:
        raise _refuse("PEER-USAGE", f"Usage etendu du certificat inadapte (politique {wanted})")


def _check_key(key: object) -> None:
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
        return
    raise _refuse("PEER-CLE", f"Cle du certificat trop faible ou inconnue : RSA {MIN_RSA_BITS} bits au moins")


def _check_revocation(leaf: x509.Certificate, issuer: x509.Certificate, crls: CrlSet, now: datetime,
                      policy: PeerPolicy) -> None:
    """Ask the issuer's CRL (ECO.1.1.6): revoked refuses for good, unknown refuses for now."""
    status = crls.status(leaf.serial_number, issuer, now, policy.crl_grace)
    if status is RevocationStatus.REVOKED:
        raise _refuse("PEER-REVOQUE", f"Certificat revoque (numero de serie {leaf.serial_number:x})")
    if status is RevocationStatus.UNKNOWN:
        raise UnknownRevocation("Etat de revocation inconnu : CRL absente ou expiree chez nous, reessayez", rule="PEER-CRL")


def _names(extensions: x509.Extensions, cn: str) -> tuple[str, ...]:
    names = [cn] if cn else []
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names += [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)[:100]]
    return tuple(dict.fromkeys(names))
