"""A certificate hierarchy with the profiles of IGC-Santé, for the lab only.

- Root → ÉLÉMENTAIRE ORGANISATIONS (path length 0) and its sister ÉLÉMENTAIRE PERSONNES, RSA-4096; leaves RSA-2048,
  SHA-256, three years (spec §3.1, F3.10-F3.13). Every subject carries LAB; the product category is the TEST one (F3.11).
- Leaf profiles: SERV SSL (operator, HTTPS), ORG AUTH_CLI (application mailbox), ORG SIGN (list seal), SERV S/MIME.
- Never reads the clock, a socket or the disk: `now`, keys and addresses are arguments. Called by `mssante.lab.build` and
  by tests that need further certificates.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

CA_KEY_BITS = 4096  # F3.2
LEAF_KEY_BITS = 2048
LEAF_LIFE = timedelta(days=3 * 365)  # F3.13
PRODUCT_CATEGORY = x509.ObjectIdentifier("1.2.250.1.71.1.2.5")  # F3.11
POLICY = x509.ObjectIdentifier("1.2.250.1.213.1.7.2.1.1.1.1")  # F3.10: the only leaf policy read on a real certificate
ANY_POLICY = x509.ObjectIdentifier("2.5.29.32.0")
ROOT_NAME = "LAB AC RACINE IGC-SANTE ELEMENTAIRE"
ORGANISATIONS_NAME = "LAB AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"
PERSONNES_NAME = "LAB AC IGC-SANTE ELEMENTAIRE PERSONNES"
FOREIGN_NAME = "LAB AC ETRANGERE"


class Offer(StrEnum):
    """The IGC-Santé offers that a lab needs (F3.8, F3.9)."""

    SERV_SSL = "SERV SSL"
    ORG_AUTH_CLI = "ORG AUTH_CLI"
    ORG_SIGN = "ORG SIGN"
    SERV_SMIME = "SERV S/MIME"


@dataclass(frozen=True, slots=True)
class Profile:
    """Usages of an offer and its product category octet (82 server module, 83 software certificate, both TEST)."""

    usages: frozenset[str]
    extended: tuple[x509.ObjectIdentifier, ...]
    category: int


PROFILES = {
    # F2.5: one certificate serves as server and as client between operators
    Offer.SERV_SSL: Profile(frozenset({"digital_signature", "key_encipherment"}),
                            (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH), 0x82),
    Offer.ORG_AUTH_CLI: Profile(frozenset({"digital_signature"}), (ExtendedKeyUsageOID.CLIENT_AUTH,), 0x83),
    # F3.10: KU digitalSignature + nonRepudiation, EKU emailProtection only
    Offer.ORG_SIGN: Profile(frozenset({"digital_signature", "content_commitment"}),
                            (ExtendedKeyUsageOID.EMAIL_PROTECTION,), 0x83),
    Offer.SERV_SMIME: Profile(frozenset({"digital_signature", "content_commitment", "key_encipherment"}),
                              (ExtendedKeyUsageOID.EMAIL_PROTECTION,), 0x82),
}


@dataclass(frozen=True, slots=True)
class Publication:
    """Where relying parties fetch CRLs and CA certificates (`base`, no ending slash) and ask OCSP (`ocsp`)."""

    base: str
    ocsp: str


@dataclass(frozen=True, slots=True)
class Authority:
    """A certification authority of the lab. file: stem of its published files (`ACI-EL-ORG` → `.crl`, `.cer`)."""

    name: str
    file: str
    certificate: x509.Certificate
    key: RSAPrivateKey


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The root and the three issuers; `foreign` is self-signed and belongs to no anchor."""

    root: Authority
    organisations: Authority
    personnes: Authority
    foreign: Authority

    def issuer(self, name: str) -> Authority:
        """Give the authority called `organisations`, `personnes`, `foreign` or `root`."""
        return {"root": self.root, "organisations": self.organisations, "personnes": self.personnes,
                "foreign": self.foreign}[name]

    @property
    def published(self) -> tuple[Authority, ...]:
        """The authorities that publish CRLs and answer OCSP."""
        return (self.organisations, self.root, self.personnes)


@dataclass(frozen=True, slots=True)
class Subject:
    """Names of a leaf. structure: type digit + national id (spec §3.4); email only for S/MIME."""

    common_name: str
    structure: str
    organisation: str
    email: str = ""


@dataclass(frozen=True, slots=True)
class LeafOrder:
    """What a certificate is asked for; the validity is in UTC."""

    offer: Offer
    subject: Subject
    key: RSAPrivateKey
    not_before: datetime
    not_after: datetime


def generate_keys(sizes: dict[str, int]) -> dict[str, RSAPrivateKey]:
    """Give an RSA key of `sizes[name]` bits for each name, made on all cores (OpenSSL lets go of the interpreter)."""
    with ThreadPoolExecutor() as pool:
        keys = pool.map(lambda bits: generate_private_key(public_exponent=65537, key_size=bits), sizes.values())
        return dict(zip(sizes, keys, strict=True))


def authority_name(common_name: str) -> x509.Name:
    """Give the subject of an authority in the order of the real ones (spec §3.1), marked LAB."""
    return x509.Name([
        x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ASIP-SANTE"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "0002 187512751"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "IGC-SANTE LAB"),
        x509.NameAttribute(NameOID.COMMON_NAME, common_name),
    ])


def leaf_name(subject: Subject) -> x509.Name:
    """Give a leaf subject: C, ST, O, OU, CN, whose RFC 4514 text is the white list's DN (F3.12)."""
    return x509.Name([
        x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
        x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "Paris (75)"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.organisation),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, subject.structure),
        x509.NameAttribute(NameOID.COMMON_NAME, subject.common_name),
    ])


def _key_usage(usages: frozenset[str]) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: name in usages for name in names})


def _policies(oid: x509.ObjectIdentifier, publication: Publication) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(oid, [f"{publication.base}/PC%20LAB"])])


def _crl_points(issuer_file: str, publication: Publication) -> x509.CRLDistributionPoints:
    uri = x509.UniformResourceIdentifier(f"{publication.base}/{issuer_file}.crl")
    return x509.CRLDistributionPoints([x509.DistributionPoint([uri], None, None, None)])


@dataclass(frozen=True, slots=True)
class _AuthorityOrder:
    name: str
    file: str
    common_name: str
    key: RSAPrivateKey
    issuer: Authority | None
    path_length: int | None


def _authority(order: _AuthorityOrder, publication: Publication, now: datetime) -> Authority:
    """Issue one CA certificate; self-signed when it has no issuer. It starts before every leaf it may have to sign."""
    name = authority_name(order.common_name)
    issuer_key = order.issuer.key if order.issuer else order.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(order.issuer.certificate.subject if order.issuer else name)
        .public_key(order.key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=5 * 365)).not_valid_after(now + timedelta(days=10 * 365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=order.path_length), critical=True)
        .add_extension(_key_usage(frozenset({"key_cert_sign", "crl_sign"})), critical=True)
        .add_extension(_policies(ANY_POLICY, publication), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(order.key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if order.issuer:
        builder = builder.add_extension(_crl_points(order.issuer.file, publication), critical=False)
    return Authority(order.name, order.file, builder.sign(issuer_key, hashes.SHA256()), order.key)


def build_hierarchy(keys: dict[str, RSAPrivateKey], publication: Publication, *, now: datetime) -> Hierarchy:
    """Give the hierarchy from keys named `root`, `organisations`, `personnes`, `foreign` (spec §3.1)."""
    root = _authority(_AuthorityOrder("root", "ACR-EL", ROOT_NAME, keys["root"], None, None), publication, now)
    organisations = _authority(_AuthorityOrder("organisations", "ACI-EL-ORG", ORGANISATIONS_NAME,
                                               keys["organisations"], root, 0), publication, now)
    personnes = _authority(_AuthorityOrder("personnes", "ACI-EL-PP", PERSONNES_NAME, keys["personnes"], root, 0),
                           publication, now)
    foreign = _authority(_AuthorityOrder("foreign", "ETRANGERE", FOREIGN_NAME, keys["foreign"], None, None),
                         publication, now)
    return Hierarchy(root, organisations, personnes, foreign)


def _alternative_names(order: LeafOrder) -> x509.SubjectAlternativeName | None:
    if order.offer is Offer.SERV_SSL:
        # localhost and the loopback address let a test client check names without a resolver
        return x509.SubjectAlternativeName([x509.DNSName(order.subject.common_name), x509.DNSName("localhost"),
                                            x509.IPAddress(ip_address("127.0.0.1"))])
    if order.subject.email:
        return x509.SubjectAlternativeName([x509.RFC822Name(order.subject.email)])
    return None


def issue_leaf(authority: Authority, order: LeafOrder, publication: Publication) -> x509.Certificate:
    """Give a leaf certificate of one offer's profile (F3.8-F3.12), signed by `authority` with SHA-256."""
    profile = PROFILES[order.offer]
    access = [
        x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(publication.ocsp)),
        x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(
            f"{publication.base}/AC/{authority.file}.cer")),
    ]
    category = bytes((0x04, 0x01, profile.category))  # DER OCTET STRING of one octet, as on the real leaf
    issuer_key = authority.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(leaf_name(order.subject)).issuer_name(authority.certificate.subject)
        .public_key(order.key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(order.not_before).not_valid_after(order.not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(_key_usage(profile.usages), critical=True)
        .add_extension(x509.ExtendedKeyUsage(profile.extended), critical=False)
        .add_extension(_policies(POLICY, publication), critical=False)
        .add_extension(_crl_points(authority.file, publication), critical=False)
        .add_extension(x509.AuthorityInformationAccess(access), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(order.key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .add_extension(x509.UnrecognizedExtension(PRODUCT_CATEGORY, category), critical=False)
    )
    names = _alternative_names(order)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def certificate_pem(*certificates: x509.Certificate) -> bytes:
    """Give certificates as one PEM text, in the given order (leaf first for a TLS chain)."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def key_pem(key: RSAPrivateKey) -> bytes:
    """Give a private key as unencrypted PKCS#8 PEM; the caller writes it with mode 0600."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())
