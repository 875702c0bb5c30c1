"""Every TLS door of a running alpha, knocked at by `openssl s_client`: what must be refused is, what must be served is.

- Each offer that must be refused is first made to `openssl s_server`, which takes it: a client that cannot offer it at all
  would prove nothing. SSL 2 and 3 are no part of any OpenSSL of today: their hellos are sent octet by octet.
- `MSSANTE_TESTSSL=1` runs `bench/testssl.sh` too (Debian's `testssl.sh`, some minutes a door).
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.lab import ROOT, RunningLab, need_programs, report

from mssante.lab.processes import accepts

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

STARTTLS = {"smtp": "smtp", "submission": "smtp", "imap": "imap", "submissions": "", "imaps": "", "console": ""}
LOW = ":@SECLEVEL=0"
REFUSED = {
    "TLS 1.0": ("-tls1", "-cipher", f"ALL{LOW}"), "TLS 1.1": ("-tls1_1", "-cipher", f"ALL{LOW}"),
    "CBC": ("-tls1_2", "-cipher", f"ECDHE+AES+SHA256:ECDHE+AES+SHA1{LOW}"), "static RSA": ("-tls1_2", "-cipher", f"AES128-GCM-SHA256{LOW}"),
    "CBC and static RSA": ("-tls1_2", "-cipher", f"AES256-SHA{LOW}"), "no authentication": ("-tls1_2", "-cipher", f"aNULL{LOW}"),
    "no encryption": ("-tls1_2", "-cipher", f"eNULL{LOW}"), "SHA-1 signatures": ("-tls1_2", "-sigalgs", "RSA+SHA1", "-cipher", f"ECDHE{LOW}"),
    "a short curve": ("-tls1_2", "-groups", "secp224r1", "-cipher", f"ECDHE{LOW}"),
    "a short tag": ("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_8_SHA256", "-cipher", f"ALL{LOW}"),
}
SERVED = {
    "TLS 1.2": ("-tls1_2",), "TLS 1.3": ("-tls1_3",), "X25519": ("-tls1_3", "-groups", "X25519"), "P-256": ("-tls1_2", "-groups", "P-256"),
    "P-384": ("-tls1_3", "-groups", "P-384"), "ChaCha20": ("-tls1_2", "-cipher", "ECDHE+CHACHA20"),
}


@dataclass(frozen=True, slots=True)
class Knock:
    """What a client got: its exit code and all that it printed."""

    code: int
    text: str

    @property
    def opened(self) -> bool:
        """A session was made."""
        return "CONNECTION ESTABLISHED" in self.text and self.code == 0


def s_client(address: tuple[str, int], starttls: str, *options: str) -> Knock:
    """Shake hands once and leave."""
    command = ["openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", "-brief", *(("-starttls", starttls) if starttls else ()), *options]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False)
    return Knock(done.returncode, done.stdout.decode("utf-8", "replace"))


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A server that takes anything that OpenSSL can do."""
    need_programs("openssl")
    folder = tmp_path_factory.mktemp("control")
    pair = [str(folder / "c.pem"), str(folder / "c.key")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=control", "-out", pair[0], "-keyout", pair[1]],
                   check=True, capture_output=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", pair[0], "-key", pair[1], "-cipher", f"ALL:eNULL{LOW}", "-quiet",
               "-ciphersuites", "TLS_AES_256_GCM_SHA384:TLS_AES_128_CCM_8_SHA256", "-groups", "X25519:secp224r1:P-256:P-384"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 10
        while not accepts(("127.0.0.1", port)) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield ("127.0.0.1", port)
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("name", REFUSED)
def test_the_offers_are_real(control: tuple[str, int], name: str) -> None:
    knock = s_client(control, "", *REFUSED[name])
    assert knock.opened, knock.text


@pytest.mark.parametrize("door", STARTTLS)
def test_what_a_door_refuses_and_serves(running_lab: RunningLab, door: str) -> None:
    need_programs("openssl")
    address = running_lab.address("alpha", door)
    with ThreadPoolExecutor(4) as pool:
        refused = dict(zip(REFUSED, pool.map(lambda options: s_client(address, STARTTLS[door], *options), REFUSED.values()), strict=True))
        served = dict(zip(SERVED, pool.map(lambda options: s_client(address, STARTTLS[door], *options), SERVED.values()), strict=True))
    assert [name for name, knock in refused.items() if knock.opened] == []
    assert [name for name, knock in refused.items() if not re.search(r"alert (protocol version|handshake failure|illegal parameter)", knock.text)] == [], \
        "refused by an alert, not by a cut"
    assert [name for name, knock in served.items() if not knock.opened] == []
    report(f"tls-door-{door}.txt", f"{door}: refused {', '.join(refused)}; served {', '.join(served)}")


@pytest.mark.parametrize("door", STARTTLS)
def test_no_renegotiation_and_no_compression(running_lab: RunningLab, door: str) -> None:
    need_programs("openssl")
    host, port = running_lab.address("alpha", door)
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", "-comp", *(("-starttls", STARTTLS[door]) if STARTTLS[door] else ())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None and process.stdout is not None
        said = b""
        while b"Extended master secret" not in said and (line := process.stdout.readline()):
            said += line
        process.stdin.write(b"R\n")  # s_client: renegotiate
        process.stdin.flush()
        said += process.stdout.read()
        process.wait(10)
    text = said.decode("utf-8", "replace")
    assert "RENEGOTIATING" in text and "no renegotiation" in text, text[-500:]
    assert "Compression: NONE" in text and "Secure Renegotiation IS supported" in text


def hello(version: bytes, *, compression: bytes = b"\x01\x00") -> bytes:
    """Give a ClientHello of the SSL 3 and TLS 1.x shape, with suites of both times."""
    body = version + os.urandom(32) + b"\x00" + b"\x00\x04\x00\x2f\xc0\x2f" + compression
    return b"\x16\x03\x00" + (len(body) + 4).to_bytes(2, "big") + b"\x01" + len(body).to_bytes(3, "big") + body


SSL2 = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01\x00\x80\x02\x00\x80\x03\x00\x80\x04\x00\x80\x05\x00\x80\x06\x00\x40\x07\x00\xc0" + os.urandom(16)


@pytest.mark.parametrize("door", STARTTLS)
@pytest.mark.parametrize("octets", [hello(b"\x03\x00"), SSL2, hello(b"\x03\x01"), hello(b"\x03\x03", compression=b"\x01\x01")],
                         ids=["SSL 3", "SSL 2", "TLS 1.0", "DEFLATE alone"])
def test_hellos_that_no_client_of_today_sends(running_lab: RunningLab, door: str, octets: bytes) -> None:
    with socket.create_connection(running_lab.address("alpha", door), 10) as wire:
        if STARTTLS[door]:
            wire.recv(4096)
            wire.sendall(b"a STARTTLS\r\n" if door == "imap" else b"EHLO x.example\r\n")
            if door != "imap":
                said = b""
                while b"\n250 " not in said:
                    said += wire.recv(4096)
                wire.sendall(b"STARTTLS\r\n")
            wire.recv(4096)
        wire.sendall(octets)
        wire.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := wire.recv(4096):
                answer += data
        except ConnectionError:
            pass
    assert not answer.startswith((b"\x16", b"\x80")), "no ServerHello"
    assert answer[:1] in (b"", b"\x15")


def upgraded(address: tuple[str, int], door: str, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[ssl.SSLSession | None, bool]:
    """Shake hands at a door, hear its first word inside TLS, leave; give the session, and whether it was resumed."""
    with socket.create_connection(address, 10) as plain:
        if STARTTLS[door]:
            plain.recv(4096)
            plain.sendall(b"a STARTTLS\r\n" if door == "imap" else b"STARTTLS\r\n")
            plain.recv(4096)
        with context.wrap_socket(plain, server_hostname="unknown.example", session=session) as wire:
            wire.sendall({"imap": b"a NOOP\r\n", "imaps": b"", "console": b"GET / HTTP/1.0\r\n\r\n"}.get(door, b"EHLO x.example\r\n"))
            assert wire.recv(4096)
            return wire.session, bool(wire.session_reused)


@pytest.mark.parametrize("door", STARTTLS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(running_lab: RunningLab, door: str, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode, context.minimum_version, context.maximum_version = False, ssl.CERT_NONE, version, version
    session, again = upgraded(running_lab.address("alpha", door), door, context, None)
    assert not again
    assert upgraded(running_lab.address("alpha", door), door, context, session)[1]


@pytest.mark.skipif(os.environ.get("MSSANTE_TESTSSL") != "1", reason="MSSANTE_TESTSSL=1 runs testssl.sh, some minutes a door")
@pytest.mark.timeout(3600)
def test_testssl_finds_nothing_that_matters(running_lab: RunningLab, tmp_path: Path) -> None:
    if shutil.which("testssl") is None:
        pytest.skip("testssl.sh is not installed")
    done = subprocess.run([str(ROOT / "bench" / "testssl.sh"), str(running_lab.folder), str(tmp_path)], capture_output=True, text=True, check=True)
    report("testssl.txt", done.stdout)
    assert not re.search(r"^  (HIGH|CRITICAL) ", done.stdout, re.MULTILINE), done.stdout


def test_a_python_client_of_today_is_served(running_lab: RunningLab) -> None:
    context = ssl.create_default_context(cafile=str(running_lab.anchors_file))
    context.check_hostname = False
    with socket.create_connection(running_lab.address("alpha", "imaps"), 10) as plain, context.wrap_socket(plain) as wire:
        assert wire.version() == "TLSv1.3" and wire.recv(4).startswith(b"* OK")
