"""People for whom one encrypts, and encrypted structures made by hand, for tests of S/MIME encryption.

Called by tests/unit/smime, tests/interop/test_smime_openssl_crypt.py and test_smime_nss.py, tests/fuzz/test_fuzz_smime_crypt.py.
Keys are made once per process. `rewritten` changes one message as an attacker who carries it would.
"""

from __future__ import annotations

import binascii
import os
import subprocess
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from support.pki import certificate_pem, key_for
from support.smime import Person, base64_lines, ec_key, person

from mssante.smime.ber import CONTEXT_0, OCTET_STRING, PRIMITIVE_0, SEQUENCE, der, der_integer, der_oid
from mssante.smime.cms import ID_DATA, ID_ENVELOPED_DATA
from mssante.smime.framing import algorithm, set_of
from mssante.smime.keys import FileKey, load_key
from mssante.smime.recipients import wrap_for
from mssante.smime.values import SmimeCode, SmimeFault

BOB = "bob@hopital.mssante.example"
ENCRYPTION = ("key_encipherment", "key_agreement", "digital_signature")
AES256_CBC, AES256_GCM, TRIPLE_DES = "2.16.840.1.101.3.4.1.42", "2.16.840.1.101.3.4.1.46", "1.2.840.113549.3.7"
PLAIN = b"Content-Type: text/plain; charset=utf-8\r\n\r\nLe compte rendu est joint.\r\n"


def secret_pem(key: Any) -> bytes:
    """Give a private key as clear PKCS#8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def secret_p12(who: Person, password: bytes, name: bytes = b"bob") -> bytes:
    """Give a PKCS#12 with key, certificate and authority, in the old ciphers that every program reads."""
    wrapped = (PrivateFormat.PKCS12.encryption_builder().kdf_rounds(2000)
               .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).build(password))
    return pkcs12.serialize_key_and_certificates(name, who.key, who.certificate, who.chain, wrapped)


def file_key(who: Person) -> FileKey:
    """Give somebody's key as production code reads it."""
    return load_key(secret_pem(who.key), certificate_pem(who.certificate, *who.chain))


def bob(kind: str = "rsa") -> Person:
    """Give a recipient. kind: `rsa`, `rsa3072`, `P-256`, `P-384`, `P-521`."""
    return _bob(kind)


@lru_cache(maxsize=16)
def _bob(kind: str) -> Person:
    key = ec_key(f"bob {kind}", kind) if kind.startswith("P-") else key_for(f"bob {kind}", 3072 if kind == "rsa3072" else 2048)
    return person(BOB, key, usage=ENCRYPTION)


def bob_key(kind: str = "rsa") -> FileKey:
    """Give that recipient's key."""
    return _bob_key(kind)


@lru_cache(maxsize=16)
def _bob_key(kind: str) -> FileKey:
    return file_key(bob(kind))


@lru_cache(maxsize=1)
def stranger() -> Person:
    """Give somebody else, for whom nothing here is meant."""
    return person("eve@ailleurs.mssante.example", rsa.generate_private_key(65537, 2048), usage=ENCRYPTION)


def refusal(run: Callable[[], object]) -> SmimeCode:
    """Give the code with which a call is refused; fails when it is not, or is by something else."""
    try:
        run()
    except SmimeFault as fault:
        assert fault.public and fault.public.isascii()
        return fault.code
    raise AssertionError("not refused")


def envelope_message(structure: bytes, *, kind: bytes = b"enveloped-data", header: bytes = b"") -> bytes:
    """Give a whole message whose body is that structure in base64. kind: smime-type, none when empty."""
    claimed = b"; smime-type=" + kind if kind else b""
    return (b"From: alice.martin@clinique.mssante.example\r\nTo: " + BOB.encode() + b"\r\nSubject: essai\r\n" + header
            + b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime" + claimed + b"; name=smime.p7m\r\n"
            b"Content-Transfer-Encoding: base64\r\n\r\n" + base64_lines(structure))


def structure_of(message: bytes) -> bytes:
    """Give the CMS octets of an encrypted message in base64."""
    return binascii.a2b_base64(message.partition(b"\r\n\r\n")[2])


def rewritten(message: bytes, change: Callable[[bytearray], object]) -> bytes:
    """Give the same message with its CMS octets changed."""
    head = message.partition(b"\r\n\r\n")[0]
    octets = bytearray(structure_of(message))
    change(octets)
    return head + b"\r\n\r\n" + base64_lines(bytes(octets))


def content_info(oid: str, *fields: bytes) -> bytes:
    """Give ContentInfo around a SEQUENCE of fields."""
    return der(SEQUENCE, der_oid(oid), der(CONTEXT_0, der(SEQUENCE, *fields)))


def cbc_content(entity: bytes, key: bytes, vector: bytes, *, pad: bool = True) -> bytes:
    """Encrypt an entity in CBC."""
    missing = 16 - len(entity) % 16
    engine = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    return engine.update(entity + (bytes((missing,)) * missing if pad else b"")) + engine.finalize()


def enveloped(entity: bytes, who: Person, *, oid: str = AES256_CBC, recipients: Sequence[bytes] | None = None,
              key: bytes | None = None, vector: bytes | None = None, content: bytes | None = None, content_type: str = ID_DATA,
              parameters: bytes | None = None, version: int = 0, tail: bytes = b"", oaep: bool = True) -> bytes:
    """Give EnvelopedData made by hand. recipients: RecipientInfos; content: ciphertext; parameters: of the cipher; tail: last
    field; each replaces the right one."""
    key, vector = key or os.urandom(32), vector or os.urandom(16)
    given = [wrap_for(who.certificate, key, oaep=oaep)] if recipients is None else recipients
    cipher = algorithm(oid, der(OCTET_STRING, vector) if parameters is None else parameters)
    octets = cbc_content(entity, key, vector) if content is None else content
    return content_info(ID_ENVELOPED_DATA, der_integer(version), set_of(given),
                        der(SEQUENCE, der_oid(content_type), cipher, der(PRIMITIVE_0, octets)), tail)


def openssl(*arguments: str, folder: Path, data: bytes = b"", check: bool = True) -> bytes:
    """Run `openssl` in a folder; give what it prints."""
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True, cwd=folder, timeout=60, check=False)
    if check and done.returncode:
        raise AssertionError(done.stderr.decode(errors="replace")[-2000:])
    return done.stdout if done.returncode == 0 else b""


def encrypt_for(entity: bytes, cipher: Any, kind: str = "rsa") -> bytes:
    """Give a message of production code whose inner entity is this one, octet for octet."""
    from mssante.smime.encrypt import encrypt_message

    if cipher.value.endswith("cbc") or not entity.startswith(b"Content-"):
        raise AssertionError("entities with their own fields, in GCM")
    return encrypt_message(b"From: alice.martin@clinique.mssante.example\r\nMIME-Version: 1.0\r\n" + entity, [bob(kind).certificate], cipher=cipher)
