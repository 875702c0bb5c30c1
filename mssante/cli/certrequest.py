"""Makes a key and its certificate request in the profile of an IGC-Santé offer (spec §3.3). Called by `mssante cert request`.

- Never overwrites: both files are made whole beside, then linked under their names, which fails when one is taken. The key is
  its owner's alone (0600) from its first octet.
- A renewal keeps the subject octet for octet (string types included): the white list then needs no change (spec §3.5).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mssante.errors import InputFault, OperatorFault
from mssante.lang import say
from mssante.trust.profile_subject import is_host, read_structure
from mssante.trust.profiles import Offer

KINDS = ("rsa2048", "rsa3072", "p256")
_ALL = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign",
        "crl_sign", "encipher_only", "decipher_only")
# F3.8-F3.12: what each offer's certificate may do; the authority has the last word, and sets its own profile
OFFERS: dict[str, tuple[Offer, tuple[str, ...], tuple[x509.ObjectIdentifier, ...]]] = {
    "serv-ssl": (Offer.SERV_SSL, ("digital_signature", "key_encipherment"),
                 (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)),
    "org-auth-cli": (Offer.ORG_AUTH_CLI, ("digital_signature",), (ExtendedKeyUsageOID.CLIENT_AUTH,)),
    "org-sign": (Offer.ORG_SIGN, ("digital_signature", "content_commitment"), (ExtendedKeyUsageOID.EMAIL_PROTECTION,)),
    "serv-smime": (Offer.SERV_SMIME, ("digital_signature", "content_commitment", "key_encipherment"),
                   (ExtendedKeyUsageOID.EMAIL_PROTECTION,)),
}
_BOUNDS = {"C": 2, "ST": 128, "O": 64, "OU": 64, "CN": 64}  # RFC 5280 appendix A.1, upper bounds
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for. names: alternative names."""

    offer: str
    subject: x509.Name
    names: tuple[x509.GeneralName, ...]


def subject_from(cn: str, *, ou: str, o: str, st: str, c: str = "FR") -> x509.Name:
    """Give a subject C, ST, O, OU, CN (F3.12). Raises InputFault `CSR-SUJET` when an attribute is missing or too long."""
    pairs = [(NameOID.COUNTRY_NAME, "C", c), (NameOID.STATE_OR_PROVINCE_NAME, "ST", st), (NameOID.ORGANIZATION_NAME, "O", o),
             (NameOID.ORGANIZATIONAL_UNIT_NAME, "OU", ou), (NameOID.COMMON_NAME, "CN", cn)]
    missing = [short for _, short, value in pairs if not value.strip()]
    if missing:
        raise InputFault(say(f"sujet incomplet : {', '.join(missing)}", f"incomplete subject: {', '.join(missing)}"),
                         rule="CSR-SUJET", remedy="--ou 1FINESS|3SIRET --o \"RAISON SOCIALE\" --st \"Paris (75)\"")
    long = [short for _, short, value in pairs if len(value.strip()) > _BOUNDS[short] or not value.isprintable()]
    if long or len(c) != 2:
        raise InputFault(say(f"attribut trop long ou mal formé : {', '.join(long) or 'C'}",
                             f"attribute too long or malformed: {', '.join(long) or 'C'}"), rule="CSR-SUJET",
                         remedy=say("64 caractères au plus (ST : 128) ; pays en deux lettres",
                                    "64 characters at most (ST: 128); country in two letters"))
    return x509.Name([x509.NameAttribute(oid, value.strip()) for oid, _, value in pairs])


def check_order(order: Order) -> list[str]:
    """Give what should be looked at before the order is sent. Raises InputFault `CSR-OFFRE`, `CSR-SUJET`."""
    if order.offer not in OFFERS:
        raise InputFault(say(f"offre inconnue : {order.offer}", f"unknown offer: {order.offer}"), rule="CSR-OFFRE",
                         remedy=" | ".join(OFFERS))
    cn = _value(order.subject, NameOID.COMMON_NAME)
    if order.offer == "serv-ssl" and not is_host(cn):
        raise InputFault(say(f"le CN « {cn} » n'est pas un nom de serveur", f"the CN {cn} is not a server's name"),
                         rule="CSR-SUJET",
                         remedy="mta.exemple.mssante.fr")
    if order.offer == "serv-smime" and not any("@" in one for one in (cn, *shown_names(order.names))):
        raise InputFault(say("aucune adresse de messagerie", "no mail address"), rule="CSR-SUJET", remedy="--san boite@domaine")
    structure = read_structure(_value(order.subject, NameOID.ORGANIZATIONAL_UNIT_NAME))
    if structure is None:
        return [say("l'OU n'est pas un type suivi d'un identifiant (1+FINESS, 3+SIRET)",
                    "the OU is not a type followed by an identifier (1+FINESS, 3+SIRET)")]
    return [say("la clé de contrôle de l'identifiant n'est pas bonne", "the identifier's check digit is wrong")] \
        if structure.check is False else []


def _value(name: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if found else ""


def read_names(texts: Sequence[str]) -> tuple[x509.GeneralName, ...]:
    """Give alternative names from host names and mail addresses. Raises InputFault `CSR-NOM`."""
    try:
        return tuple(x509.RFC822Name(one) if "@" in one else x509.DNSName(one) for one in texts)
    except ValueError as exc:
        raise InputFault(say("autre nom mal formé", "malformed alternative name"), rule="CSR-NOM",
                         remedy="--san mta.exemple.fr | --san boite@domaine (ASCII)") from exc


def present_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    """Give the alternative names of a certificate, all kinds, to ask for them again."""
    try:
        return tuple(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return ()


def shown_names(names: Sequence[x509.GeneralName]) -> list[str]:
    """Give alternative names as texts."""
    return [one.value.rfc4514_string() if isinstance(one, x509.DirectoryName) else str(one.value) for one in names]


def make_key(kind: str) -> PrivateKey:
    """Make a private key: `rsa2048`, `rsa3072`, `p256`. Raises InputFault `CSR-CLE`."""
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind not in KINDS:
        raise InputFault(say(f"type de clé inconnu : {kind}", f"unknown kind of key: {kind}"), rule="CSR-CLE",
                         remedy=" | ".join(KINDS))
    return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))


def make_request(order: Order, key: PrivateKey) -> x509.CertificateSigningRequest:
    """Sign the request with SHA-256: subject, usages, extended usages, alternative names (RFC 2986)."""
    _, usages, extended = OFFERS[order.offer]
    if isinstance(key, ec.EllipticCurvePrivateKey):  # an EC key agrees, it enciphers nothing (RFC 5480 §3)
        usages = tuple("key_agreement" if one == "key_encipherment" else one for one in usages)
    builder = (x509.CertificateSigningRequestBuilder().subject_name(order.subject)
               .add_extension(x509.KeyUsage(**{one: one in usages for one in _ALL}), critical=True)
               .add_extension(x509.ExtendedKeyUsage(extended), critical=False))
    if order.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(order.names), critical=False)
    return builder.sign(key, hashes.SHA256())


def write_pair(key: PrivateKey, request: x509.CertificateSigningRequest, key_path: Path, request_path: Path) -> None:
    """Write both files; neither when one of the names is taken. Raises InputFault `CSR-EXISTE`, OperatorFault `CSR-ECRITURE`."""
    for path in (key_path, request_path):
        if path.exists() or path.is_symlink():
            raise _taken(path)
    clear = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        _link(key_path, clear, 0o600)
        try:
            _link(request_path, request.public_bytes(Encoding.PEM), 0o644)
        except (OSError, InputFault):
            key_path.unlink()
            raise
    except OSError as exc:
        raise OperatorFault(say(f"{key_path.parent} : écriture impossible", f"{key_path.parent}: cannot be written"),
                            rule="CSR-ECRITURE", detail=exc.strerror or "", remedy=say("vérifiez le dossier et ses droits",
                                                                                     "check the folder and its mode")) from exc


def _link(path: Path, octets: bytes, mode: int) -> None:
    """Make a file whole, under its name only once synced; never in the place of another."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(beside, path)
        except FileExistsError:
            raise _taken(path) from None
    finally:
        beside.unlink(missing_ok=True)


def _taken(path: Path) -> InputFault:
    return InputFault(say(f"{path} existe déjà : rien n'est écrit", f"{path} exists already: nothing is written"),
                      rule="CSR-EXISTE",
                      remedy=say("choisissez un autre nom avec --out", "choose another name with --out"))


def key_print(request: x509.CertificateSigningRequest) -> str:
    """Give the SHA-256 of the public key (SubjectPublicKeyInfo), in hex: it is the certificate's too, when it comes."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(request.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()
