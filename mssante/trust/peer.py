"""Who a peer is, from its TLS certificate (spec §2.2 steps 2-3, §3.3).

- The issuer's *key* decides: the leaf must verify with a pinned issuing authority of the policy; a name that looks alike, a
  sister authority (PERSONNES) or an unknown one is refused.
- Every refusal has its own rule and words in ASCII French, fit for an SMTP reply; a revocation that cannot be known is
  temporary and refuses (hard fail).
- Runs once for each new TLS session: one parse, one signature check. The caller caches by fingerprint.
- The policy says what proves that nobody revoked the certificate: `crl` (here), `ocsp` or `both`; OCSP is asked by the caller,
  with what `prove` gives. A serial that a CRL in force revokes is refused under every policy.
- Never reads the clock or the network; never looks at the white list (see `decisions`). Called by `services.truststate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mssante.errors import InputFault, PeerFault
from mssante.model.identity import OperatorIdentity
from mssante.trust.anchors import GOOD_HASHES, READ_FAULTS, TrustAnchors, certificate_id, common_name, read_der
from mssante.trust.crl import CrlSet, RevocationStatus, distribution_points
from mssante.trust.names import dn_from_x509, printable

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
MAX_LEAF_OCTETS = 16 * 1024
MAX_NAMES = 100
PRODUCT_CATEGORY = x509.ObjectIdentifier("1.2.250.1.71.1.2.5")  # F3.11
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_UNDERSTOOD = frozenset({
    ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.CERTIFICATE_POLICIES, ExtensionOID.CRL_DISTRIBUTION_POINTS,
})


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """eku: `any` (server or client), `server`, `client`; production refuses TEST certificates (category 8x);
    crl_grace: how long past its nextUpdate a CRL still answers (default: not at all); revocation: `crl`, `ocsp`, `both`."""

    eku: str = "any"
    production: bool = False
    crl_grace: timedelta = timedelta(0)
    revocation: str = "crl"


@dataclass(frozen=True, slots=True)
class Proven:
    """A certificate that passed every check made here. issuer_id: fingerprint of the authority whose key signed it."""

    identity: OperatorIdentity
    leaf: x509.Certificate
    issuer: x509.Certificate
    issuer_id: str


class UnknownRevocation(PeerFault):
    """The revocation state cannot be told now: come back later."""

    temporary = True


def _refuse(rule: str, text: str, detail: str = "") -> PeerFault:
    return PeerFault(text, rule=rule, detail=detail)


def identify(leaf_der: bytes, anchors: TrustAnchors, crls: CrlSet, now: datetime, policy: PeerPolicy) -> OperatorIdentity:
    """Give the identity that a leaf certificate proves at `now`; OCSP is not asked. See `prove` for arguments and faults."""
    return prove(leaf_der, anchors, crls, now, policy).identity


def prove(leaf_der: bytes, anchors: TrustAnchors, crls: CrlSet, now: datetime, policy: PeerPolicy) -> Proven:
    """Check a leaf certificate (DER, at most 16 KiB; empty when none came) at `now`, all but OCSP.

    Raises PeerFault: `PEER-ABSENT`, `PEER-PARSE`, `PEER-ISSUER`, `PEER-EXPIRED`, `PEER-NOT-YET`, `PEER-CA`, `PEER-USAGE`,
    `PEER-EKU`, `PEER-CRITICAL`, `PEER-KEY`, `PEER-CATEGORY`, `PEER-REVOKED`; UnknownRevocation `PEER-CRL-STALE`.
    """
    if not leaf_der:
        raise _refuse("PEER-ABSENT", "Certificat client IGC-Sante requis, aucun n'a ete presente")
    if len(leaf_der) > MAX_LEAF_OCTETS:
        raise _refuse("PEER-PARSE", f"Certificat trop gros : {MAX_LEAF_OCTETS} octets au plus")
    try:
        leaf = read_der(leaf_der)
        extensions = leaf.extensions
        subject = dn_from_x509(leaf.subject)
        names = _names(extensions, subject.value("CN"))
        not_after = leaf.not_valid_after_utc
    except (InputFault, *READ_FAULTS) as exc:
        raise _refuse("PEER-PARSE", "Certificat illisible") from exc
    issuer = _issuer(leaf, anchors, now)
    _check_dates(leaf, now)
    _check_extensions(extensions, policy)
    _check_key(leaf)
    if crls.authority_revoked(issuer, anchors):
        raise _refuse("PEER-REVOKED", "L'autorite emettrice du certificat est revoquee")
    _check_revocation(leaf, issuer, crls, now, policy)
    identity = OperatorIdentity(subject, common_name(leaf.issuer), leaf.serial_number,
                                leaf.fingerprint(hashes.SHA256()).hex(), names, not_after)
    return Proven(identity, leaf, issuer, certificate_id(issuer))


def _issuer(leaf: x509.Certificate, anchors: TrustAnchors, now: datetime) -> x509.Certificate:
    """Find the admitted authority whose key signed the leaf (ECO.1.1.10)."""
    issuer = anchors.issuer_of(leaf, now)
    if issuer is not None:
        return issuer
    admitted = ", ".join(sorted({common_name(issuer.subject) for issuer in anchors.issuers}))
    seen = printable(common_name(leaf.issuer), 120)
    if not _has_good_hash(leaf):
        raise _refuse("PEER-ISSUER", f'Certificat emis par "{seen}" avec une signature sans SHA-2', seen)
    raise _refuse("PEER-ISSUER", f'Certificat emis par "{seen}" : seule la cle de l\'autorite '
                                 f"{printable(admitted, 160)} est admise", seen)


def _has_good_hash(leaf: x509.Certificate) -> bool:
    try:
        return isinstance(leaf.signature_hash_algorithm, GOOD_HASHES)
    except READ_FAULTS:
        return False


def _check_dates(leaf: x509.Certificate, now: datetime) -> None:
    if now > leaf.not_valid_after_utc:
        raise _refuse("PEER-EXPIRED", f"Certificat expire depuis le {leaf.not_valid_after_utc:%Y-%m-%d} : renouvelez-le")
    if now < leaf.not_valid_before_utc:
        raise _refuse("PEER-NOT-YET", f"Certificat valable a partir du {leaf.not_valid_before_utc:%Y-%m-%d} seulement")


def _check_extensions(extensions: x509.Extensions, policy: PeerPolicy) -> None:
    """Basic constraints, key usage, extended key usage, category, unknown critical extensions (RFC 5280 §4.2)."""
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            if value.ca:
                raise _refuse("PEER-CA", "Certificat d'autorite presente comme certificat de serveur")
        elif isinstance(value, x509.KeyUsage):
            if not value.digital_signature:
                raise _refuse("PEER-USAGE", "Certificat sans usage de cle digitalSignature")
            if value.key_cert_sign:
                raise _refuse("PEER-CA", "Certificat dont la cle peut signer des certificats")
        elif isinstance(value, x509.ExtendedKeyUsage):
            _check_eku(value, policy.eku)
        elif extension.oid == PRODUCT_CATEGORY and policy.production:
            _check_category(value)
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise _refuse("PEER-CRITICAL", f"Certificat avec une extension critique inconnue ({extension.oid.dotted_string})")


def _check_eku(usage: x509.ExtendedKeyUsage, wanted: str) -> None:
    """Accept serverAuth, clientAuth or either by policy; a certificate without EKU passes (F2.5, F3.12)."""
    server = ExtendedKeyUsageOID.SERVER_AUTH in usage
    client = ExtendedKeyUsageOID.CLIENT_AUTH in usage
    if not {"any": server or client, "server": server, "client": client}[wanted]:
        name = {"any": "serverAuth ou clientAuth", "server": "serverAuth", "client": "clientAuth"}[wanted]
        raise _refuse("PEER-EKU", f"Certificat sans usage etendu {name}")


def _check_category(value: x509.ExtensionType) -> None:
    """Refuse the TEST categories 80 to 8F, and a category that cannot be read (F3.11: OCTET STRING of one octet)."""
    octets = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
    if len(octets) != 3 or octets[:2] != b"\x04\x01" or octets[2] & 0x80:
        raise _refuse("PEER-CATEGORY", f"Certificat de TEST (categorie {octets[-1:].hex() or '?'}) refuse en production")


def _check_key(leaf: x509.Certificate) -> None:
    text = f"Cle du certificat refusee : RSA de {MIN_RSA_BITS} a {MAX_RSA_BITS} bits, ou P-256, P-384, P-521"
    try:
        key = leaf.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise _refuse("PEER-KEY", text) from exc
    if isinstance(key, rsa.RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        return
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return
    raise _refuse("PEER-KEY", text)


def _check_revocation(leaf: x509.Certificate, issuer: x509.Certificate, crls: CrlSet, now: datetime,
                      policy: PeerPolicy) -> None:
    """Ask the issuer's CRL (ECO.1.1.6): revoked refuses for good, unknown refuses for now."""
    status = crls.status(leaf.serial_number, issuer, now, policy.crl_grace, distribution_points(leaf))
    if status is RevocationStatus.REVOKED:
        raise _refuse("PEER-REVOKED", f"Certificat revoque (numero de serie {leaf.serial_number:x})")
    if status is RevocationStatus.UNKNOWN and policy.revocation != "ocsp":
        raise UnknownRevocation("Etat de revocation inconnu : CRL absente ou expiree chez nous, reessayez",
                                rule="PEER-CRL-STALE")


def _names(extensions: x509.Extensions, cn: str) -> tuple[str, ...]:
    """Give the CN and the dNSNames, lower-case; wildcards name nobody here (spec §1.3: none in the list)."""
    names = [cn]
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names += [name.lower() for name in extension.value.get_values_for_type(x509.DNSName)[:MAX_NAMES]]
    return tuple(dict.fromkeys(name for name in names if name and "*" not in name))
