"""Recognises and explains a certificate: which authority, which offer, for whom, for what, until when (spec §3).

- Names describe, keys decide: the issuer's range and domain are read from its name, and `issuer_verified` says whether one of
  the anchors' keys signed. Nothing here admits anybody: `peer.identify` and `path.validate_path` do.
- What ANS's documents leave unknown (F3.12: EKU and SAN of SERV SSL) is told, never refused.
- Facts and findings are in French and in English; a finding names its rule, what was seen and expected, and who must fix it.
- Pure: `now` is an argument. Called by `mssante cert`, `check`, `explain`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from mssante.errors import InputFault
from mssante.trust.anchors import READ_FAULTS, check_readable, common_name, issued_by
from mssante.trust.names import dn_from_x509
from mssante.trust.profile_subject import SubjectField, Words, declared_dn, is_host, subject_fields

PRODUCT_CATEGORY = x509.ObjectIdentifier("1.2.250.1.71.1.2.5")
_AUTHORITY = re.compile(r"(?:(TEST|LAB) )?AC (RACINE )?IGC-SANTE (ELEMENTAIRE|STANDARD|FORT)(?: (ORGANISATIONS|PERSONNES))?")
_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
           "crl_sign")
_EXTENDED = {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
             ExtendedKeyUsageOID.EMAIL_PROTECTION: "emailProtection", ExtendedKeyUsageOID.OCSP_SIGNING: "OCSPSigning",
             ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
             ExtendedKeyUsageOID.CODE_SIGNING: "codeSigning", ExtendedKeyUsageOID.TIME_STAMPING: "timeStamping"}
_CATEGORIES: dict[int, Words] = {
    0x00: ("carte CPx", "CPx card"), 0x02: ("module serveur", "server module"),
    0x03: ("certificat logiciel", "software certificate"),
    0x80: ("carte CPx de TEST", "TEST CPx card"), 0x82: ("module serveur de TEST", "TEST server module"),
    0x83: ("certificat logiciel de TEST", "TEST software certificate")}


class Offer(StrEnum):
    """The IGC-Santé offers (F3.8), as far as a certificate shows which one it is."""

    SERV_SSL = "SERV SSL"
    SERV_SMIME = "SERV S/MIME"
    SERV_SIGN = "SERV SIGN"
    SERV_CONF = "SERV CONF"
    ORG_AUTH_CLI = "ORG AUTH_CLI"
    ORG_SIGN = "ORG SIGN"
    ORG_CONF = "ORG CONF"
    PERSON = "PS / PRO"
    AUTHORITY = "AC"
    UNKNOWN = "?"


OFFER_WORDS: dict[Offer, Words] = {
    Offer.SERV_SSL: ("serveur TLS : opérateur, IMAP, HTTPS", "TLS server: operator, IMAP, HTTPS"),
    Offer.SERV_SMIME: ("signature et chiffrement pour une adresse", "signing and encryption for an address"),
    Offer.SERV_SIGN: ("cachet d'un serveur", "seal of a server"),
    Offer.SERV_CONF: ("chiffrement vers un serveur", "encryption towards a server"),
    Offer.ORG_AUTH_CLI: ("client TLS d'une application (BAL applicative)", "TLS client of an application"),
    Offer.ORG_SIGN: ("cachet d'une organisation : liste blanche, documents", "seal of an organisation: white list, documents"),
    Offer.ORG_CONF: ("chiffrement vers une organisation", "encryption towards an organisation"),
    Offer.PERSON: ("personne physique", "natural person"),
    Offer.AUTHORITY: ("autorité de certification", "certification authority"),
    Offer.UNKNOWN: ("offre non reconnue", "offer not recognised")}


@dataclass(frozen=True, slots=True)
class Issuer:
    """What an authority's name says. hierarchy: `PRODUCTION`, `TEST`, `LAB`; all empty when it is not an IGC-Santé name."""

    name: str
    range: str = ""
    domain: str = ""
    hierarchy: str = ""
    root: bool = False


@dataclass(frozen=True, slots=True)
class CertificateProfile:
    """All that a certificate says. category: -1 none, -2 unreadable; extended None: no such extension; weak: what is wrong with
    its key; issuer_verified None: no anchor was given."""

    certificate: x509.Certificate
    subject: tuple[SubjectField, ...]
    declared: str
    issuer: Issuer
    offer: Offer
    category: int
    usages: tuple[str, ...]
    extended: tuple[str, ...] | None
    dns_names: tuple[str, ...]
    mail_names: tuple[str, ...]
    other_names: tuple[str, ...]
    key: str
    weak: bool
    signature: str
    policies: tuple[str, ...] = ()
    crl_urls: tuple[str, ...] = ()
    ocsp_urls: tuple[str, ...] = ()
    critical_unknown: tuple[str, ...] = ()
    issuer_verified: bool | None = None
    authority: bool = False

    @property
    def cn(self) -> str:
        """CN of the subject, or nothing."""
        return common_name(self.certificate.subject)

    @property
    def is_test(self) -> bool:
        """True for TEST categories and for the TEST and LAB hierarchies (F3.11)."""
        return self.category >= 0x80 or self.issuer.hierarchy in ("TEST", "LAB")

    def days_left(self, now: datetime) -> int:
        """Give whole days until the end, negative once it is past."""
        return (self.certificate.not_valid_after_utc - now).days


@dataclass(slots=True)
class _Found:
    """What the extensions hold, as they are walked."""

    usage: x509.KeyUsage | None = None
    extended: x509.ExtendedKeyUsage | None = None
    category: int = -1
    authority: bool = False
    names: list[x509.GeneralName] = field(default_factory=list)
    policies: list[str] = field(default_factory=list)
    crl_urls: list[str] = field(default_factory=list)
    ocsp_urls: list[str] = field(default_factory=list)
    critical: list[str] = field(default_factory=list)


def recognise(certificate: x509.Certificate, authorities: Sequence[x509.Certificate] | None = None) -> CertificateProfile:
    """Explain a certificate. authorities: the admitted issuers, to tell whether one of their keys signed it.

    Raises InputFault `PROFIL-LECTURE` when it cannot be read whole.
    """
    try:
        check_readable(certificate)
        found = _walk(certificate)
        key, weak = _key(certificate)
        return CertificateProfile(
            certificate, subject_fields(certificate.subject), _declared(certificate.subject), read_issuer(certificate.issuer),
            _offer(certificate, found), found.category, _usages(found.usage), _extended(found.extended),
            tuple(one.value for one in found.names if isinstance(one, x509.DNSName)),
            tuple(one.value for one in found.names if isinstance(one, x509.RFC822Name)),
            tuple(type(one).__name__ for one in found.names if not isinstance(one, x509.DNSName | x509.RFC822Name)),
            key, weak, _signature(certificate), tuple(found.policies), tuple(found.crl_urls), tuple(found.ocsp_urls),
            tuple(found.critical), _verified(certificate, authorities), found.authority)
    except (*READ_FAULTS, InputFault) as exc:
        raise InputFault("certificate cannot be read whole", rule="PROFIL-LECTURE",
                         remedy="give the certificate as the authority delivered it") from exc


def _declared(name: x509.Name) -> str:
    """Give the DN to declare, or nothing when it cannot be written (`PROFIL-SUJET` tells it)."""
    try:
        return declared_dn(name)
    except InputFault:
        return ""


def _verified(certificate: x509.Certificate, authorities: Sequence[x509.Certificate] | None) -> bool | None:
    return None if authorities is None else any(issued_by(certificate, one) for one in authorities)


def read_issuer(name: x509.Name) -> Issuer:
    """Read an authority's name: range, domain, hierarchy (spec §3.1). A name proves nothing: keys do."""
    cn = common_name(name)
    match = _AUTHORITY.fullmatch(cn)
    if match is None:
        return Issuer(cn)
    hierarchy, root, grade, domain = match.groups()
    return Issuer(cn, grade, domain or "", hierarchy or "PRODUCTION", bool(root))


def _walk(certificate: x509.Certificate) -> _Found:
    found = _Found()
    known = (x509.KeyUsage, x509.ExtendedKeyUsage, x509.BasicConstraints, x509.SubjectAlternativeName, x509.CertificatePolicies,
             x509.CRLDistributionPoints)
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage):
            found.usage = value
        elif isinstance(value, x509.ExtendedKeyUsage):
            found.extended = value
        elif isinstance(value, x509.BasicConstraints):
            found.authority = value.ca
        elif isinstance(value, x509.SubjectAlternativeName):
            found.names = list(value)[:100]
        elif isinstance(value, x509.CertificatePolicies):
            found.policies = [one.policy_identifier.dotted_string for one in value]
        elif extension.oid == PRODUCT_CATEGORY:
            found.category = _category(value)
        else:
            _addresses(value, found)
        if extension.critical and not isinstance(value, known):
            found.critical.append(extension.oid.dotted_string)
    return found


def _addresses(value: x509.ExtensionType, found: _Found) -> None:
    """Note where revocation may be asked; shown, never fetched from."""
    if isinstance(value, x509.CRLDistributionPoints):
        found.crl_urls = [one.value for point in value for one in point.full_name or ()
                          if isinstance(one, x509.UniformResourceIdentifier)]
    elif isinstance(value, x509.AuthorityInformationAccess):
        found.ocsp_urls = [one.access_location.value for one in value
                           if one.access_method == AuthorityInformationAccessOID.OCSP
                           and isinstance(one.access_location, x509.UniformResourceIdentifier)]


def _category(value: x509.ExtensionType) -> int:
    """Give the product category (F3.11: OCTET STRING of one octet), -2 when it cannot be read."""
    octets = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
    return octets[2] if len(octets) == 3 and octets[:2] == b"\x04\x01" else -2


def category_words(category: int) -> Words:
    """Give the words of a product category."""
    if category == -1:
        return ("absente", "absent")
    if category == -2:
        return ("illisible", "unreadable")
    other = ("TEST, non répertoriée", "TEST, not listed") if category & 0x80 else ("non répertoriée", "not listed")
    return _CATEGORIES.get(category, other)


def _usages(usage: x509.KeyUsage | None) -> tuple[str, ...]:
    return tuple(_camel(name) for name in _USAGES if usage is not None and getattr(usage, name))


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    text = head + "".join(one.title() for one in tail)
    return {"contentCommitment": "nonRepudiation", "crlSign": "cRLSign"}.get(text, text)


def _extended(usage: x509.ExtendedKeyUsage | None) -> tuple[str, ...] | None:
    return None if usage is None else tuple(_EXTENDED.get(one, one.dotted_string) for one in usage)


def _key(certificate: x509.Certificate) -> tuple[str, bool]:
    """Give the key in words and whether it is too weak, or of a kind, that operators refuse."""
    try:
        key = certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "?", True
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}", not 2048 <= key.key_size <= 8192
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}", not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1)
    return type(key).__name__.removesuffix("PublicKey"), True


def _signature(certificate: x509.Certificate) -> str:
    try:
        named = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "?"
    return named.name if isinstance(named, hashes.HashAlgorithm) else "?"


def _offer(certificate: x509.Certificate, found: _Found) -> Offer:
    """Tell the offer from usages, extended usages and holder (F3.8-F3.12)."""
    if found.authority:
        return Offer.AUTHORITY
    if read_issuer(certificate.issuer).domain == "PERSONNES":
        return Offer.PERSON
    cn = common_name(certificate.subject)
    mail = "@" in cn or any(isinstance(one, x509.RFC822Name) for one in found.names)
    server = is_host(cn) or mail
    extended = found.extended
    if extended is not None and ExtendedKeyUsageOID.SERVER_AUTH in extended:
        return Offer.SERV_SSL
    if extended is not None and ExtendedKeyUsageOID.CLIENT_AUTH in extended:
        return Offer.ORG_AUTH_CLI
    usage = found.usage
    if extended is None and is_host(cn) and usage is not None and usage.digital_signature and not usage.content_commitment:
        return Offer.SERV_SSL
    if extended is not None and ExtendedKeyUsageOID.EMAIL_PROTECTION not in extended:
        return Offer.UNKNOWN
    return _sealing_offer(usage, mail=mail, server=server)


def _sealing_offer(usage: x509.KeyUsage | None, *, mail: bool, server: bool) -> Offer:
    """Tell signing, confidentiality and S/MIME apart: by what the key may do, and for whom."""
    if usage is None:
        return Offer.SERV_SMIME if mail else Offer.UNKNOWN
    signs = usage.digital_signature or usage.content_commitment
    opens = usage.key_encipherment or usage.data_encipherment or usage.key_agreement
    if mail and (signs or opens):
        return Offer.SERV_SMIME
    if signs and not opens:
        return Offer.SERV_SIGN if server else Offer.ORG_SIGN
    if opens and not signs:
        return Offer.SERV_CONF if server else Offer.ORG_CONF
    return Offer.UNKNOWN


def same_holder(first: x509.Certificate, second: x509.Certificate) -> bool:
    """Tell whether two certificates name the same holder, attribute for attribute, as the white list compares (strict)."""
    return dn_from_x509(first.subject).pairs == dn_from_x509(second.subject).pairs
