"""Signatures both ways with OpenSSL `cms`: what we sign it verifies, what it signs we verify (issue 4, "Shows" 4).

Rows: clear and opaque; RSA PKCS#1 v1.5, RSASSA-PSS, ECDSA P-256/P-384/P-521; SHA-256/384/512; issuer+serial and key
identifier; without attributes; streamed (indefinite lengths); with CAdES attributes; and those that must not be believed. Each row is
tried on several bodies. Encryption is in test_smime_openssl_crypt.py. The table goes to $MSSANTE_REPORT_DIR/smime-openssl-sign.md.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.lab import report
from support.smime import ALICE, MALLORY, NOW, Person, admit, alice, alice_ec, authority, ec_key, letter, mallory, person

from mssante.protocol.mime.lineends import LineEnds
from mssante.smime.sign import sign_message
from mssante.smime.values import SmimeCode
from mssante.smime.verify import signed_content, verify_message

pytestmark = pytest.mark.interop

BODIES = [
    b"Bonjour.\r\n", b"", b"\r\n", b"sans fin de ligne", b"  blancs en fin \t \r\n\r\n\r\n", b"-- \r\n--lim\r\nFrom moi\r\n.\r\n",
    "Été, œdème, µg\r\n".encode() * 40, b"x" * 900 + b"\r\n", b"\r\n".join(b"ligne %d" % n for n in range(3000)),
]


def openssl(*arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run openssl, whatever it answers."""
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, timeout=60, check=False)


def key_files(folder: Path, who: Person, name: str) -> tuple[str, str]:
    """Write certificate and key; give both paths."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(who.certificate.public_bytes(Encoding.PEM))
    key.write_bytes(who.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return str(certificate), str(key)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and keys of everybody."""
    path = tmp_path_factory.mktemp("smime")
    (path / "ca.pem").write_bytes(authority().certificate.public_bytes(Encoding.PEM))
    for name, who in {"rsa": alice(), "p256": alice_ec(), "p384": person(ALICE, ec_key("a", "P-384")),
                      "p521": person(ALICE, ec_key("b", "P-521")), "mallory": mallory()}.items():
        key_files(path, who, name)
    return path


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows of the report, written when all tests of this file have run."""
    rows = ["| direction | form | key and options | messages | verdict |", "|---|---|---|---|---|"]
    yield rows
    report("smime-openssl-sign.md", "\n".join(rows) + "\n")


# ------------------------------------------------------------------ ours, verified by OpenSSL


@pytest.mark.parametrize("opaque", [False, True], ids=["clear", "opaque"])
@pytest.mark.parametrize("who", [alice(), alice_ec()], ids=["rsa", "p256"])
def test_openssl_verifies_ours(folder: Path, table: list[str], who: Person, opaque: bool) -> None:
    for body in BODIES:
        raw = letter(body)
        signed = sign_message(raw, who, opaque=opaque, now=NOW)
        done = openssl("cms", "-verify", "-CAfile", str(folder / "ca.pem"), "-verify_email", ALICE, "-out", str(folder / "content"),
                       data=signed)
        assert done.returncode == 0, done.stderr
        entity = (folder / "content").read_bytes()
        assert entity.endswith(b"\r\n\r\n" + body)
        assert entity == signed_content(signed)
        altered = signed.replace(body[:4], b"zzzz", 1) if len(body) > 4 and not opaque else b""
        if altered:
            assert openssl("cms", "-verify", "-CAfile", str(folder / "ca.pem"), data=altered).returncode != 0
    name = "RSA-2048 PKCS#1 v1.5 SHA-256" if who is alice() else "ECDSA P-256 SHA-256"
    table.append(f"| ours -> OpenSSL | {'opaque' if opaque else 'clear'} | {name} | {len(BODIES)} | Verification successful |")


def test_openssl_reads_our_attributes(folder: Path) -> None:
    signed = sign_message(letter(), alice(), now=NOW)
    printed = openssl("cms", "-cmsout", "-print", "-noout", data=signed).stdout.decode()
    for name in ("contentType", "messageDigest", "signingTime", "id-smime-aa-signingCertificateV2", "S/MIME Capabilities",
                 "id-smime-aa-encrypKeyPref", "Nov 23 06:00:00 2026 GMT"):
        assert name in printed
    assert printed.count("d.certificate:") == 1  # the self-signed root stays at home


# ------------------------------------------------------------------ OpenSSL's, verified by ours


@dataclass(frozen=True, slots=True)
class Row:
    """One way of signing. code: what we must answer; forms: opaque or clear."""

    name: str
    options: tuple[str, ...]
    key: str = "rsa"
    code: SmimeCode = SmimeCode.VALID
    author: str = ALICE


ROWS = [
    Row("RSA-2048 PKCS#1 v1.5 SHA-256", ("-md", "sha256")),
    Row("RSA-2048 PKCS#1 v1.5 SHA-384", ("-md", "sha384")),
    Row("RSA-2048 PKCS#1 v1.5 SHA-512", ("-md", "sha512")),
    Row("RSASSA-PSS SHA-256", ("-md", "sha256", "-keyopt", "rsa_padding_mode:pss")),
    Row("RSASSA-PSS SHA-512 salt 64", ("-md", "sha512", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:64")),
    Row("ECDSA P-256 SHA-256", ("-md", "sha256"), "p256"),
    Row("ECDSA P-384 SHA-384", ("-md", "sha384"), "p384"),
    Row("ECDSA P-521 SHA-512", ("-md", "sha512"), "p521"),
    Row("RSA, key identifier", ("-md", "sha256", "-keyid")),
    Row("RSA, without attributes", ("-md", "sha256", "-noattr")),
    Row("ECDSA, without attributes", ("-md", "sha256", "-noattr"), "p256"),
    Row("RSA, CAdES attributes", ("-md", "sha256", "-cades")),
    Row("RSA, streamed (indefinite lengths)", ("-md", "sha256", "-stream")),
    Row("RSA, SHA-1", ("-md", "sha1"), code=SmimeCode.ALGORITHM),
    Row("RSA, MD5", ("-md", "md5"), code=SmimeCode.ALGORITHM),
    Row("RSASSA-PSS, SHA-1 inside", ("-md", "sha1", "-keyopt", "rsa_padding_mode:pss"), code=SmimeCode.ALGORITHM),
    Row("RSA, certificate left out", ("-md", "sha256", "-nocerts"), code=SmimeCode.NO_SIGNER),
    Row("two signers", ("-md", "sha256", "-signer", "{mallory.pem}", "-inkey", "{mallory.key}"), code=SmimeCode.SEVERAL),
    Row("signer is not the author", ("-md", "sha256"), "mallory", code=SmimeCode.SENDER),
    Row("attacker's own mail", ("-md", "sha256"), "mallory", author=MALLORY),
]


def openssl_sign(folder: Path, row: Row, body: bytes, opaque: bool) -> bytes:
    """Give a message signed by OpenSSL, with the line ends that SMTP would give it."""
    options = [str(folder / one[1:-1]) if one.startswith("{") else one for one in row.options]
    signer = ["-signer", str(folder / f"{row.key}.pem"), "-inkey", str(folder / f"{row.key}.key")]
    extra = ["-nodetach"] if opaque else []
    entity = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + body
    done = openssl("cms", "-sign", *signer, *options, *extra, "-from", row.author, "-subject", "essai", data=entity)
    assert done.returncode == 0, done.stderr
    ends = LineEnds()
    return ends.feed(done.stdout) + ends.close()


@pytest.mark.parametrize("opaque", [False, True], ids=["clear", "opaque"])
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_ours_verifies_openssl(folder: Path, table: list[str], row: Row, opaque: bool) -> None:
    bodies = [body for body in BODIES if body][:4]
    for body in bodies:
        raw = openssl_sign(folder, row, body, opaque)
        verdict = verify_message(raw, author=row.author, check=admit, now=NOW)
        assert (verdict.signature, verdict.encryption) == (row.code, SmimeCode.NONE), verdict
        if row.code is SmimeCode.VALID:
            assert verdict.signer == row.author
            assert signed_content(raw).endswith(b"\r\n\r\n" + body)
    table.append(f"| OpenSSL -> ours | {'opaque' if opaque else 'clear'} | {row.name} | {len(bodies)} | {row.code} |")
