"""NSS, the S/MIME of Thunderbird, both ways: Debian's own (`cmsutil`), and the very libraries of the Thunderbird installed.

NSS reads no AuthEnvelopedData: what it takes and what it does not goes to `$MSSANTE_REPORT_DIR/smime-nss.txt`, and is why CBC with
a signature stays on offer (`docs/smime.md`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.envelopes import BOB, PLAIN, bob, bob_key, envelope_message, file_key, refusal, rewritten, secret_p12, structure_of
from support.lab import need_programs, report
from support.pki import certificate_pem
from support.smime import NOW, admit, alice, authority, letter, message_of, opaque_entity

from mssante.smime.decrypt import open_message
from mssante.smime.encrypt import encrypt_message
from mssante.smime.sign import sign_message
from mssante.smime.values import Cipher, SmimeCode
from mssante.smime.verify import verify_message

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

THUNDERBIRD = Path("/usr/lib/thunderbird")
KINDS = ("rsa", "P-256", "P-384")
ROWS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Nss:
    """One build of NSS and a database for each kind of key. modern: that of Thunderbird."""

    folder: Path
    modern: bool

    def run(self, program: str, kind: str, *arguments: str, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run an NSS tool on the database of a kind of key; data: its input file."""
        place = self.folder / kind
        extra = () if data is None else ("-i", str(place / "input"))
        if data is not None:
            (place / "input").write_bytes(data)
        given = dict(os.environ, LD_LIBRARY_PATH=str(THUNDERBIRD)) if self.modern else dict(os.environ)
        return subprocess.run([program, *arguments, "-d", f"sql:{place}", *extra], capture_output=True, env=given, timeout=30, check=False)

    def made(self, kind: str, *arguments: str, data: bytes) -> bytes:
        """Give what cmsutil makes of octets, nothing when it cannot."""
        out = self.folder / kind / "output"
        out.unlink(missing_ok=True)
        done = self.run("cmsutil", kind, *arguments, "-o", str(out), data=data)
        return out.read_bytes() if done.returncode == 0 else b""


@pytest.fixture(scope="module", params=["debian", "thunderbird"])
def nss(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Nss:
    """Databases with our authority and Bob's key and certificate."""
    need_programs("cmsutil", "certutil", "pk12util")
    if request.param == "thunderbird" and not (THUNDERBIRD / "libsmime3.so").exists():
        pytest.skip("this Thunderbird does not bring its own NSS")
    found = Nss(tmp_path_factory.mktemp(request.param), request.param == "thunderbird")
    for kind in KINDS:
        place = found.folder / kind
        place.mkdir()
        (place / "authority.pem").write_bytes(certificate_pem(authority().certificate))
        (place / "bob.p12").write_bytes(secret_p12(bob(kind), b"x"))
        for done in (found.run("certutil", kind, "-N", "--empty-password"),
                     found.run("certutil", kind, "-A", "-n", "authority", "-t", "CT,CT,CT", "-a", "-i", str(place / "authority.pem")),
                     found.run("pk12util", kind, "-i", str(place / "bob.p12"), "-W", "x", "-K", "")):
            assert done.returncode == 0, done.stderr
    return found


@pytest.fixture(scope="module", autouse=True)
def written() -> Iterator[None]:
    """Write what was seen, once all of it was."""
    yield
    lines = ["S/MIME with NSS: Debian's own, and the libraries of the Thunderbird installed", ""]
    report("smime-nss.txt", "\n".join([*lines, *(f"{what:64} {outcome}" for what, outcome in sorted(ROWS.items()))]))


def record(nss: Nss, what: str, outcome: str) -> None:
    ROWS[f"{'Thunderbird' if nss.modern else 'Debian 12':12} {what}"] = outcome


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cipher", [Cipher.AES256_CBC, Cipher.AES128_CBC])
def test_nss_opens_our_cbc(nss: Nss, cipher: Cipher, kind: str) -> None:
    for oaep in (False, True) if kind == "rsa" else (True,):
        message = encrypt_message(letter(), [bob(kind).certificate], cipher=cipher, oaep=oaep)
        done = nss.run("cmsutil", kind, "-D", data=structure_of(message))
        method = "ECDH SHA-256" if kind != "rsa" else "RSA-OAEP SHA-256" if oaep else "RSA PKCS#1 v1.5"
        opened = done.stdout == b"Content-Type: text/plain; charset=utf-8\r\n\r\nLe compte rendu est joint.\r\n"
        record(nss, f"opens ours: {cipher.value}, {kind}, {method}", "yes" if opened else "no: " + done.stderr.decode().split("decoding: ")[-1][:34].strip())
        # Debian's 3.87 (of 2023) has neither OAEP nor ECDH in CMS; Thunderbird's has both
        assert opened is (nss.modern or method == "RSA PKCS#1 v1.5"), done.stderr


@pytest.mark.parametrize("cipher", [Cipher.AES256_GCM, Cipher.AES128_GCM])
def test_whether_nss_opens_gcm_is_recorded(nss: Nss, cipher: Cipher) -> None:
    message = encrypt_message(letter(), [bob().certificate], cipher=cipher, oaep=False)
    done = nss.run("cmsutil", "rsa", "-D", data=structure_of(message))
    opened = done.returncode == 0
    assert opened or b"UNRECOGNIZED_OID" in done.stderr  # the structure itself is unknown to it, not the way we wrote it
    assert not opened or done.stdout.endswith(b"joint.\r\n")
    record(nss, f"opens ours: {cipher.value}, rsa", "yes" if opened else "no: AuthEnvelopedData is unknown to it")


@pytest.mark.parametrize("kind", KINDS)
def test_ours_opens_what_nss_encrypts(nss: Nss, kind: str) -> None:
    structure = nss.made(kind, "-E", "-r", "bob", data=PLAIN)
    if not structure:
        assert not nss.modern and kind != "rsa"
        record(nss, f"encrypts for {kind}", "no: not in this NSS")
        return
    opened = open_message(envelope_message(structure), [bob_key(kind)])
    assert opened.message.endswith(b"MIME-Version: 1.0\r\n" + PLAIN)
    record(nss, f"encrypts for {kind}", f"opened by ours: {opened.cipher}, {opened.method}")


@pytest.mark.parametrize("kind", KINDS)
def test_nss_verifies_what_we_sign_and_sees_what_is_altered(nss: Nss, kind: str) -> None:
    signed = sign_message(letter(author=BOB), file_key(bob(kind)), opaque=True, now=NOW)
    good = nss.run("cmsutil", kind, "-D", "-h", "2", data=structure_of(signed))
    assert b"signer0.status=GoodSignature" in good.stdout
    altered = rewritten(signed, lambda octets: octets.__setitem__(octets.index(b"joint"), 0x6B))
    assert b"signer0.status=DigestMismatch" in nss.run("cmsutil", kind, "-D", "-h", "2", data=structure_of(altered)).stdout
    clear = sign_message(letter(author=BOB), file_key(bob(kind)), now=NOW)
    boundary = clear.partition(b'boundary="')[2].partition(b'"')[0]
    _, content, signature, _ = clear.split(b"--" + boundary)
    detached = nss.folder / kind / "content"
    detached.write_bytes(content.removeprefix(b"\r\n").removesuffix(b"\r\n"))
    done = nss.run("cmsutil", kind, "-D", "-h", "2", "-c", str(detached), data=structure_of(signature.strip() + b"\r\n"))
    assert b"signer0.status=GoodSignature" in done.stdout, done.stderr
    record(nss, f"verifies ours: {kind}, clear and opaque", "yes")


@pytest.mark.parametrize("kind", KINDS)
def test_ours_verifies_what_nss_signs(nss: Nss, kind: str) -> None:
    structure = nss.made(kind, "-S", "-N", "bob", "-G", "-P", data=PLAIN)
    verdict = verify_message(message_of(opaque_entity(structure), author=BOB), author=BOB, check=admit, now=NOW)
    assert verdict.signature is SmimeCode.VALID and verdict.signer == BOB, verdict
    record(nss, f"signs with {kind}", f"verified by ours: {', '.join(verdict.algorithms)}")


def test_sign_then_encrypt_with_nss(nss: Nss) -> None:
    signed = nss.made("rsa", "-S", "-N", "bob", "-G", data=PLAIN)
    structure = nss.made("rsa", "-E", "-r", "bob", data=opaque_entity(signed))
    opened = open_message(envelope_message(structure), [bob_key()])
    assert opened.inner.value == "opaque-signed" and not opened.authenticated
    inner = opened.message.replace(b"From: alice.martin@clinique.mssante.example", b"From: " + BOB.encode())
    assert verify_message(inner, author=BOB, check=admit, now=NOW).signature is SmimeCode.VALID
    ours = encrypt_message(sign_message(letter(), file_key(alice()), opaque=True, now=NOW), [bob().certificate], cipher=Cipher.AES256_CBC, oaep=False)
    inside = nss.run("cmsutil", "rsa", "-D", data=structure_of(ours))
    assert inside.stdout.startswith(b"Content-Type: application/pkcs7-mime; smime-type=signed-data")
    nested = nss.run("cmsutil", "rsa", "-D", "-h", "2", data=structure_of(inside.stdout))
    assert b"signer0.status=GoodSignature" in nested.stdout
    record(nss, "signed then encrypted, both ways", "yes")


def test_what_nss_refuses_ours_refuses(nss: Nss) -> None:
    structure = nss.made("rsa", "-E", "-r", "bob", data=PLAIN)
    message = rewritten(envelope_message(structure), lambda octets: octets.__setitem__(-20, octets[-20] ^ 0x40))
    assert refusal(lambda: open_message(message, [bob_key()])) in (SmimeCode.BROKEN, SmimeCode.UNSAFE)
    assert refusal(lambda: open_message(message, [bob_key("P-256")])) is SmimeCode.NOT_FOR_US
