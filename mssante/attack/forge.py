"""Certificates that lie, made from what everybody can see: the authorities' names and a listed peer's certificate.

Keys are RSA-2048, made once per run. `at` is the instant of the attack. Nothing here is signed by a true authority, except by
`issue` with a lab's issuing key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mssante.attack.values import Identity

YEAR = timedelta(days=365)
_USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
           "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs: a name and a key; certificate None signs itself."""

    name: x509.Name
    key: RSAPrivateKey


@lru_cache(maxsize=16)
def attacker_key(label: str) -> RSAPrivateKey:
    """Give this run's key of that label."""
    return generate_private_key(public_exponent=65537, key_size=2048)


def load_leaf(path: Path) -> x509.Certificate:
    """Give the first certificate of a PEM file. Raises OSError, ValueError."""
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def load_signer(identity: Identity) -> Signer:
    """Give the signer that a pair makes. Raises OSError, ValueError."""
    key = serialization.load_pem_private_key(identity.key.read_bytes(), None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("an RSA key is needed")
    return Signer(load_leaf(identity.chain).subject, key)


def renamed(name: x509.Name, attribute: x509.ObjectIdentifier, value: str) -> x509.Name:
    """Give a name with the value of one attribute replaced."""
    return x509.Name([x509.NameAttribute(one.oid, value if one.oid == attribute else one.value) for one in name])


def authority(name: x509.Name, label: str, at: datetime) -> x509.Certificate:
    """Give a self-signed authority of the attacker under any name."""
    key = attacker_key(label)
    return (_builder(name, Signer(name, key), key, at)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True).sign(key, hashes.SHA256()))


def leaf(name: x509.Name, signer: Signer, at: datetime, *, serial: int = 0, weak: bool = False, authority: bool = False,
         ) -> x509.Certificate:
    """Give a server certificate for `attacker_key("leaf")`. serial 0: at random; weak: signed with SHA-1; authority: CA:TRUE."""
    builder = (_builder(name, signer, attacker_key("leaf"), at, serial)
               .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=False)
               .add_extension(_usage("digital_signature", "key_encipherment"), critical=True)
               .add_extension(x509.ExtendedKeyUsage((ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)),
                              critical=False))
    names = [one.value for one in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names and str(names[0]).isascii() and str(names[0]).isprintable():
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(str(names[0]))]), critical=False)
    made = builder.sign(signer.key, hashes.SHA256())
    return _signed_with_sha1(made, signer.key) if weak else made


def _signed_with_sha1(made: x509.Certificate, key: RSAPrivateKey) -> x509.Certificate:
    """Sign a certificate anew with SHA-1, which no builder does any more: it must be refused, that is the point."""
    whole = asn1_x509.Certificate.load(made.public_bytes(serialization.Encoding.DER))
    whole["tbs_certificate"]["signature"]["algorithm"] = "sha1_rsa"
    whole["signature_algorithm"]["algorithm"] = "sha1_rsa"
    whole["signature_value"] = key.sign(whole["tbs_certificate"].dump(force=True), padding.PKCS1v15(), hashes.SHA1())  # noqa: S303
    return x509.load_der_x509_certificate(whole.dump(force=True))


def kept(folder: Path, label: str, *chain: x509.Certificate) -> Identity:
    """Write a chain (leaf first) and `attacker_key("leaf")` into `folder`; give the identity."""
    pem, key = folder / f"{label}.pem", folder / f"{label}.key"
    pem.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))
    key.touch(mode=0o600)
    key.write_bytes(attacker_key("leaf").private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return Identity(pem, key, label)


def _usage(*usages: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in usages for name in _USAGES})


def _builder(name: x509.Name, signer: Signer, key: RSAPrivateKey, at: datetime, serial: int = 0) -> x509.CertificateBuilder:
    return (x509.CertificateBuilder().subject_name(name).issuer_name(signer.name).public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(at - timedelta(days=2)).not_valid_after(at + YEAR)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False))
