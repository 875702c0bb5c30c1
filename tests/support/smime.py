"""People who sign, for tests of S/MIME: a small hierarchy, keys of each kind, messages, and signed structures made by hand.

Called by tests/unit/smime, tests/interop/test_smime_*, tests/fuzz/test_fuzz_smime.py, bench/smime_speed.py. Keys are made once per
process. `hand_made` writes SignedData as an attacker would: any part can be replaced.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.pki import FROM, UNTIL, key_for, key_usage

from mssante.smime.algorithms import ECDSA_SHA256, RSA_ENCRYPTION, SHA256
from mssante.smime.ber import OCTET_STRING, SEQUENCE, SET, der, der_integer, der_oid
from mssante.smime.cms import (
    ATTRIBUTE_CONTENT_TYPE,
    ATTRIBUTE_MESSAGE_DIGEST,
    ATTRIBUTE_SIGNING_TIME,
    ID_DATA,
    ID_SIGNED_DATA,
    certificate_name,
)
from mssante.smime.values import SmimeCode

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
ALICE, MALLORY = "alice.martin@clinique.mssante.example", "mallory@attaque.mssante.example"
SIGNING = ("digital_signature", "content_commitment", "key_encipherment")
MAIL = (ExtendedKeyUsageOID.EMAIL_PROTECTION,)


@lru_cache(maxsize=64)
def ec_key(label: str, curve: str = "P-256") -> ec.EllipticCurvePrivateKey:
    """Give the process's elliptic key of that label."""
    return ec.generate_private_key({"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[curve])


@dataclass(frozen=True, slots=True)
class Person:
    """A signer with the key in memory: a SigningKey."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...] = ()

    def sign(self, data: bytes) -> bytes:
        """Sign as the interface asks."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(data, ec.ECDSA(hashes.SHA256()))
        return self.key.sign(data)


@lru_cache(maxsize=1)
def authority() -> Person:
    """Give the issuing authority of everybody here (self-signed)."""
    key = key_for("smime authority")
    name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"), x509.NameAttribute(NameOID.COMMON_NAME, "TEST AC SMIME")])
    builder = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
               .not_valid_before(FROM).not_valid_after(UNTIL)
               .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
               .add_extension(key_usage("key_cert_sign", "crl_sign"), critical=True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False))
    return Person(builder.sign(key, hashes.SHA256()), key)


def person(address: str, key: Any = None, *, addresses: Sequence[str] | None = None, usage: Sequence[str] | None = SIGNING,
           eku: Sequence[x509.ObjectIdentifier] | None = MAIL, serial: int | None = None, subject_email: str = "",
           key_id: bool = True) -> Person:
    """Give somebody with a certificate. addresses: rfc822Names, the address alone unless told otherwise, none when empty."""
    own = key or key_for(f"smime {address}")
    issuer = authority()
    pairs = [x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"), x509.NameAttribute(NameOID.COMMON_NAME, address.partition("@")[0])]
    if subject_email:
        pairs.append(x509.NameAttribute(NameOID.EMAIL_ADDRESS, subject_email))
    builder = (x509.CertificateBuilder().subject_name(x509.Name(pairs)).issuer_name(issuer.certificate.subject)
               .public_key(own.public_key()).serial_number(serial or x509.random_serial_number())
               .not_valid_before(FROM).not_valid_after(UNTIL))
    names = (address,) if addresses is None else addresses
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name._init_without_validation(one) for one in names]), critical=False)
    if usage is not None:
        builder = builder.add_extension(key_usage(*usage), critical=True)
    if eku is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(eku), critical=False)
    if key_id:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
    return Person(builder.sign(issuer.key, hashes.SHA256()), own, (issuer.certificate,))


@lru_cache(maxsize=1)
def alice() -> Person:
    """Give the honest author, RSA-2048."""
    return person(ALICE)


@lru_cache(maxsize=1)
def alice_ec() -> Person:
    """Give the honest author, P-256."""
    return person(ALICE, ec_key("alice"))


@lru_cache(maxsize=1)
def mallory() -> Person:
    """Give the attacker, who has a certificate of his own from the same authority."""
    return person(MALLORY)


@lru_cache(maxsize=1)
def edward() -> Person:
    """Give an author with an Ed25519 key."""
    return person(ALICE, ed25519.Ed25519PrivateKey.generate())


def admit(certificate: x509.Certificate, others: Sequence[x509.Certificate], now: datetime) -> SmimeCode:
    """A CertificateCheck that admits what our authority issued."""
    try:
        certificate.verify_directly_issued_by(authority().certificate)
    except (ValueError, TypeError, InvalidSignature):
        return SmimeCode.CHAIN
    return SmimeCode.VALID


def letter(body: bytes = b"Le compte rendu est joint.\r\n", *, author: str = ALICE, header: bytes = b"",
           content: bytes = b"Content-Type: text/plain; charset=utf-8\r\n") -> bytes:
    """Give a message. header: further fields, CRLF ended; content: its Content-* fields."""
    return (b"From: " + author.encode() + b"\r\nTo: bob@hopital.mssante.example\r\nSubject: essai\r\nMessage-ID: <1@essai.example>\r\n"
            + header + b"MIME-Version: 1.0\r\n" + content + b"\r\n" + body)


ENTITY = b"Content-Type: text/plain; charset=utf-8\r\n\r\nLe compte rendu est joint.\r\n"


@dataclass(slots=True)
class HandMade:
    """SignedData by parts. attributes: (oid, value) pairs of the signer's, None for none; signers, certificates: DER, replaced
    when given; attach: eContent inside; order: sort the attributes as DER wants."""

    content: bytes = ENTITY
    who: Person = field(default_factory=alice)
    attach: bool = False
    attributes: list[tuple[str, bytes]] | None = None
    plain: bool = False
    digest: str = SHA256
    hash: str = "sha256"
    algorithm: bytes | None = None
    signature: bytes | None = None
    sid: bytes | None = None
    certificates: list[bytes] | None = None
    signers: list[bytes] | None = None
    content_type: str = ID_DATA
    order: bool = True
    unsigned: bytes = b""

    def usual(self) -> list[tuple[str, bytes]]:
        """Give the attributes that are compulsory, and the time."""
        return [(ATTRIBUTE_CONTENT_TYPE, der_oid(ID_DATA)),
                (ATTRIBUTE_MESSAGE_DIGEST, der(OCTET_STRING, hashlib.new(self.hash, self.content).digest())),
                (ATTRIBUTE_SIGNING_TIME, der(0x17, b"261123055900Z"))]

    def members(self) -> list[bytes]:
        """Give the attributes as they are signed and sent."""
        pairs = self.usual() if self.attributes is None else self.attributes
        found = [der(SEQUENCE, der_oid(oid), der(SET, value)) for oid, value in pairs]
        return sorted(found) if self.order else found

    def signer(self) -> bytes:
        """Give SignerInfo."""
        signed = self.content if self.plain else der(SET, *self.members())
        signature = self.signature if self.signature is not None else self.who.sign(signed)
        is_rsa = isinstance(self.who.key, rsa.RSAPrivateKey)
        algorithm = self.algorithm or der(SEQUENCE, der_oid(RSA_ENCRYPTION if is_rsa else ECDSA_SHA256), b"\x05\x00" if is_rsa else b"")
        name = certificate_name(certificate_der(self.who))
        sid = self.sid or der(SEQUENCE, name.issuer, der_integer(name.serial))
        return der(SEQUENCE, der_integer(1), sid, der(SEQUENCE, der_oid(self.digest)),
                   b"" if self.plain else der(0xA0, *self.members()), algorithm, der(OCTET_STRING, signature), self.unsigned)

    def build(self) -> bytes:
        """Give ContentInfo."""
        signers = [self.signer()] if self.signers is None else self.signers
        certificates = [certificate_der(self.who)] if self.certificates is None else self.certificates
        content = der(0xA0, der(OCTET_STRING, self.content)) if self.attach else b""
        return der(SEQUENCE, der_oid(ID_SIGNED_DATA), der(0xA0, der(
            SEQUENCE, der_integer(1), der(SET, der(SEQUENCE, der_oid(self.digest))),
            der(SEQUENCE, der_oid(self.content_type), content),
            der(0xA0, *certificates) if certificates else b"", der(SET, *signers))))


def certificate_der(who: Person) -> bytes:
    """Give the DER certificate of somebody."""
    return who.certificate.public_bytes(Encoding.DER)


def base64_lines(data: bytes) -> bytes:
    """Give base64 in CRLF lines."""
    return base64.encodebytes(data).replace(b"\n", b"\r\n")


def p7s_part(structure: bytes) -> bytes:
    """Give the part of a detached signature."""
    return (b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\nContent-Transfer-Encoding: base64\r\n'
            b'Content-Disposition: attachment; filename="smime.p7s"\r\n\r\n' + base64_lines(structure))


def clear_entity(entity: bytes, structure: bytes, *, boundary: bytes = b"lim", parts: Sequence[bytes] | None = None,
                 preamble: bytes = b"", epilogue: bytes = b"", kind: bytes = b"") -> bytes:
    """Give a multipart/signed entity. parts: all of them, in place of the two; kind: its whole Content-Type value."""
    value = kind or b'multipart/signed; protocol="application/pkcs7-signature"; micalg=sha-256; boundary="' + boundary + b'"'
    chosen = [entity, p7s_part(structure)] if parts is None else list(parts)
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in chosen)
    return b"Content-Type: " + value + b"\r\n\r\n" + preamble + body + b"--" + boundary + b"--\r\n" + epilogue


def opaque_entity(structure: bytes, *, kind: bytes = b"application/pkcs7-mime; smime-type=signed-data; name=smime.p7m") -> bytes:
    """Give an application/pkcs7-mime entity."""
    return b"Content-Type: " + kind + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64_lines(structure)


def message_of(entity: bytes, *, author: str = ALICE, header: bytes = b"") -> bytes:
    """Give a message whose MIME entity is this one."""
    return (b"From: " + author.encode() + b"\r\nTo: bob@hopital.mssante.example\r\nSubject: essai\r\n" + header
            + b"MIME-Version: 1.0\r\n" + entity)


def mixed(*parts: bytes, boundary: bytes = b"ext", subtype: bytes = b"mixed") -> bytes:
    """Give a multipart entity."""
    body = b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts)
    return b"Content-Type: multipart/" + subtype + b'; boundary="' + boundary + b'"\r\n\r\n' + body + b"--" + boundary + b"--\r\n"
