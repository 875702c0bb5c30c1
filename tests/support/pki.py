"""A throw-away hierarchy shaped like IGC-Santé, for tests only (spec §3.1-§3.3).

Root → ORGANISATIONS (admitted) and PERSONNES (its sister, never admitted); beside them `foreign`, an authority with the very
name of ORGANISATIONS and another key, and `lookalike`, whose name differs by one character. Keys are RSA-2048, made once per
process. Validity is wide by default (2020 to 2045), so that tests may choose any clock. Called by tests of every floor.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from xml.sax.saxutils import escape

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mssante.trust.anchors import TrustAnchors, load_anchors
from mssante.trust.crl import CrlSet, parse_any_crl
from mssante.trust.signature import SignerPolicy
from mssante.trust.signing import sign_list

FROM = datetime(2020, 1, 1, tzinfo=UTC)
UNTIL = datetime(2045, 1, 1, tzinfo=UTC)
CRL_FROM = datetime(2020, 1, 2, tzinfo=UTC)
CRL_UNTIL = datetime(2044, 1, 1, tzinfo=UTC)
ROOT_CN = "TEST AC RACINE IGC-SANTE ELEMENTAIRE"
ORGANISATIONS_CN = "TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS"
PERSONNES_CN = "TEST AC IGC-SANTE ELEMENTAIRE PERSONNES"
LOOKALIKE_CN = "TEST AC IGC-SANTE ELEMENTAIRE 0RGANISATIONS"
SIGNER_CN = "Liste Blanche MSSante"
SIGNER_OU = "318751275100020"
PRODUCT_CATEGORY = x509.ObjectIdentifier("1.2.250.1.71.1.2.5")
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
EMAIL = ExtendedKeyUsageOID.EMAIL_PROTECTION
_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
           "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
WHITELIST_NAMESPACE = "https://listeblanche.mssante.fr/schema"

Row = tuple[str, str]


@lru_cache(maxsize=256)
def key_for(label: str, bits: int = 2048) -> RSAPrivateKey:
    """Give the process's RSA key of that label: the same label gives the same key."""
    return generate_private_key(public_exponent=65537, key_size=bits)


def key_usage(*usages: str) -> x509.KeyUsage:
    """Give a KeyUsage with these bits on."""
    return x509.KeyUsage(**{name: name in usages for name in _USAGES})


def subject(cn: str, ou: str = "", o: str = "") -> x509.Name:
    """Give a leaf subject in the order of the real ones: C, ST, O, OU, CN (F3.12)."""
    pairs = [(NameOID.COUNTRY_NAME, "FR"), (NameOID.STATE_OR_PROVINCE_NAME, "Paris (75)"), (NameOID.ORGANIZATION_NAME, o),
             (NameOID.ORGANIZATIONAL_UNIT_NAME, ou), (NameOID.COMMON_NAME, cn)]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs if value])


def authority_subject(cn: str) -> x509.Name:
    """Give an authority's subject (spec §3.1)."""
    return x509.Name([
        x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ASIP-SANTE"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "0002 187512751"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "IGC-SANTE TEST"),
        x509.NameAttribute(NameOID.COMMON_NAME, cn)])


@dataclass(frozen=True, slots=True)
class TestAuthority:
    """An authority of the test hierarchy: unpacks as (certificate, key)."""

    __test__ = False
    certificate: x509.Certificate
    key: RSAPrivateKey

    def __iter__(self) -> Iterator[x509.Certificate | RSAPrivateKey]:
        return iter((self.certificate, self.key))


def authority(cn: str, label: str, issuer: TestAuthority | None = None, *, not_after: datetime = UNTIL,
              ) -> TestAuthority:
    """Give a CA whose key is `key_for(label)`, self-signed without issuer."""
    key = key_for(label)
    name = authority_subject(cn)
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(FROM).not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0 if issuer else None), critical=True)
        .add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False))
    return TestAuthority(builder.sign(signer, hashes.SHA256()), key)


def certificate_pem(*certificates: x509.Certificate) -> bytes:
    """Give certificates as one PEM text."""
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def key_pem(key: RSAPrivateKey) -> bytes:
    """Give a key as clear PKCS#8 PEM."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass(frozen=True, slots=True)
class TestIgc:
    """The hierarchy. `root`, `organisations`, `personnes`: the trust space's; `foreign`, `lookalike`: attackers'."""

    __test__ = False
    root: TestAuthority
    organisations: TestAuthority
    personnes: TestAuthority
    foreign: TestAuthority
    lookalike: TestAuthority

    @property
    def issuer_cns(self) -> tuple[str, ...]:
        """CN of the only issuing authority admitted."""
        return (ORGANISATIONS_CN,)

    @property
    def anchors_pem(self) -> bytes:
        """The anchors file: root, ORGANISATIONS and its sister, as the real chain file holds them."""
        return certificate_pem(self.root.certificate, self.organisations.certificate, self.personnes.certificate)

    @property
    def anchors(self) -> TrustAnchors:
        """The anchors as production code reads them."""
        return load_anchors([self.anchors_pem], self.issuer_cns)

    def authority(self, name: str) -> TestAuthority:
        """Give the authority called `root`, `organisations`, `personnes`, `foreign` or `lookalike`."""
        found = getattr(self, name)
        if not isinstance(found, TestAuthority):
            raise KeyError(name)
        return found

    def leaf(self, cn: str, *, ou: str = SIGNER_OU, o: str = "ORGANISATION DE TEST",
             issuer: str = "organisations", not_before: datetime = FROM, not_after: datetime = UNTIL,
             usage: Sequence[str] | None = ("digital_signature", "key_encipherment"),
             eku: Sequence[x509.ObjectIdentifier] | None = (SERVER, CLIENT), san: Sequence[str] | None = None,
             serial: int | None = None, ca: bool = False, key_bits: int = 2048, category: int | None = None,
             key: RSAPrivateKey | None = None, extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
             digest: hashes.HashAlgorithm | None = None) -> tuple[x509.Certificate, RSAPrivateKey]:
        """Give (certificate, key) with the SERV SSL profile unless told otherwise.

        san None: the CN when it is a host name; usage/eku None: no such extension; category: octet of F3.11, such as 0x82;
        extra: further (extension, critical); without `key`, the process's key of this CN and size.
        """
        parent = self.authority(issuer)
        own = key or key_for(f"leaf {cn.casefold()}", key_bits)
        names = san if san is not None else ([cn.lower()] if re.fullmatch(r"[A-Za-z0-9\-]+(\.[A-Za-z0-9\-]+)+", cn) else [])
        extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=ca, path_length=None), ca)]
        if usage is not None:
            extensions.append((key_usage(*usage), True))
        if eku is not None:
            extensions.append((x509.ExtendedKeyUsage(eku), False))
        if names:
            extensions.append((x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False))
        if category is not None:
            extensions.append((x509.UnrecognizedExtension(PRODUCT_CATEGORY, bytes((4, 1, category))), False))
        extensions += [(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False),
                       (x509.AuthorityKeyIdentifier.from_issuer_public_key(parent.key.public_key()), False), *extra]
        builder = (x509.CertificateBuilder().subject_name(subject(cn, ou, o)).issuer_name(parent.certificate.subject)
                   .public_key(own.public_key()).serial_number(serial or x509.random_serial_number())
                   .not_valid_before(not_before).not_valid_after(not_after))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(parent.key, digest or hashes.SHA256()), own  # type: ignore[arg-type]

    def crl(self, revoked: Iterable[int | x509.Certificate] = (), *, issuer: str = "organisations", number: int | None = 1,
            this_update: datetime = CRL_FROM, next_update: datetime = CRL_UNTIL, key: RSAPrivateKey | None = None,
            extra: Sequence[tuple[x509.ExtensionType, bool]] = ()) -> bytes:
        """Give a DER CRL. revoked: serials or certificates; number None: none; key: another signing key."""
        parent = self.authority(issuer)
        builder = (x509.CertificateRevocationListBuilder().issuer_name(parent.certificate.subject)
                   .last_update(this_update).next_update(next_update)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(parent.key.public_key()), critical=False))
        if number is not None:
            builder = builder.add_extension(x509.CRLNumber(number), critical=False)
        for extension, critical in extra:
            builder = builder.add_extension(extension, critical=critical)
        for one in revoked:
            serial = one.serial_number if isinstance(one, x509.Certificate) else one
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(this_update)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key or parent.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def crl_set(self, revoked: Iterable[int | x509.Certificate] = (), now: datetime = datetime(2026, 3, 1, tzinfo=UTC),
                ) -> CrlSet:
        """Give a set with the CRL of ORGANISATIONS, as production code reads it."""
        return CrlSet().admit(parse_any_crl(self.crl(revoked), self.anchors, now))

    def list_signer(self, cn: str = SIGNER_CN, *, ou: str = SIGNER_OU, issuer: str = "organisations",
                    not_before: datetime = FROM, not_after: datetime = UNTIL,
                    usage: Sequence[str] | None = ("digital_signature", "content_commitment"), ca: bool = False,
                    key: RSAPrivateKey | None = None) -> tuple[x509.Certificate, RSAPrivateKey]:
        """Give an ORG SIGN leaf (F3.10), the seal of the white list."""
        return self.leaf(cn, ou=ou, o="AGENCE DU NUMERIQUE EN SANTE", issuer=issuer, not_before=not_before,
                         not_after=not_after, usage=usage, eku=(EMAIL,), san=(), ca=ca, key=key)

    def signer_policy(self, crls: CrlSet | None = None, *, at_signing_time: bool = False) -> SignerPolicy:
        """Give the policy that admits `list_signer()`."""
        return SignerPolicy(self.anchors, cns=(SIGNER_CN,), ous=(SIGNER_OU,), crls=crls, at_signing_time=at_signing_time)


@lru_cache(maxsize=1)
def build_igc() -> TestIgc:
    """Give the process's hierarchy."""
    root = authority(ROOT_CN, "root")
    foreign_root = authority(ROOT_CN, "foreign root")
    return TestIgc(root, authority(ORGANISATIONS_CN, "organisations", root), authority(PERSONNES_CN, "personnes", root),
                   authority(ORGANISATIONS_CN, "foreign", foreign_root), authority(LOOKALIKE_CN, "lookalike", root))


def der(certificate: x509.Certificate) -> bytes:
    """Give the DER octets of a certificate."""
    return certificate.public_bytes(serialization.Encoding.DER)


def dn_text(certificate: x509.Certificate) -> str:
    """Give a subject as the white list writes it: CN, OU, O, ST, C."""
    return certificate.subject.rfc4514_string()


def pem_files(folder: Path, name: str, certificate: x509.Certificate | Sequence[x509.Certificate], key: RSAPrivateKey,
              ) -> tuple[Path, Path]:
    """Write `name.pem` (leaf, or leaf then chain) and `name.key` (mode 0600); give both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    chain = [certificate] if isinstance(certificate, x509.Certificate) else list(certificate)
    cert_path, key_path = folder / f"{name}.pem", folder / f"{name}.key"
    cert_path.write_bytes(certificate_pem(*chain))
    with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key_pem(key))
    return cert_path, key_path


def whitelist_xml(rows: Iterable[Row | tuple[str, x509.Certificate]], generated_at: datetime) -> bytes:
    """Give an unsigned list in the real shape (F1.8). rows: (domain, DN text or certificate)."""
    parts = ['<?xml version="1.0" encoding="UTF-8"?>\n'
             f'<ListeBlancheMSSante xmlns="{WHITELIST_NAMESPACE}">\n'
             f'    <DateDeGeneration>{generated_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</DateDeGeneration>\n'
             '    <ListeDomaines>\n']
    for domain, owner in rows:
        text = dn_text(owner) if isinstance(owner, x509.Certificate) else owner
        parts.append(
            f'        <Domaine>\n            <Nom>{escape(domain)}</Nom>\n'
            '            <Description>Domaine de test</Description>\n'
            f'            <DNCertificatOperateur>{escape(text)}</DNCertificatOperateur>\n'
            '            <ResponsableContact>contact@example.invalid</ResponsableContact>\n'
            '            <SupportContact>contact@example.invalid</SupportContact>\n'
            '            <DateMAJ>2023-03-01T15:21:59Z</DateMAJ>\n        </Domaine>\n')
    parts.append('    </ListeDomaines>\n</ListeBlancheMSSante>\n')
    return "".join(parts).encode()


def signed_whitelist(rows: Iterable[Row | tuple[str, x509.Certificate]], generated_at: datetime, *,
                     igc: TestIgc | None = None, signer: tuple[x509.Certificate, RSAPrivateKey] | None = None,
                     signing_time: datetime | None = None) -> bytes:
    """Give a signed list; by default the signer is `list_signer()` and it signs a minute after the generation."""
    certificate, key = signer or (igc or build_igc()).list_signer()
    return sign_list(whitelist_xml(rows, generated_at), certificate, key, signing_time or generated_at + timedelta(minutes=1))
