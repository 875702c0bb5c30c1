"""Independent IMAP clients against a real listening endpoint: stdlib imaplib (STARTTLS and implicit TLS) and aioimaplib.

The endpoint listens on a free port of 127.0.0.1 with a throw-away certificate. Marked `interop`: real sockets, real TLS.
"""

from __future__ import annotations

import asyncio
import imaplib
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aioimaplib import aioimaplib
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.imap_stage import ADDRESS, MESSAGES, PASSWORD, PREFIX, Stage, build

pytestmark = pytest.mark.interop
T = TypeVar("T")


def server_context(folder: Path) -> ssl.SSLContext:
    """Give a server context with a certificate made on the spot."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(days=1))
                   .not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256()))
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption())
                     + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    """Give a client context that trusts anyone: the certificate is not what is tested."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Listening:
    """A stage whose endpoint listens on two ports."""

    def __init__(self, stage: Stage, plain_port: int, tls_port: int) -> None:
        self.stage = stage
        self.plain_port = plain_port
        self.tls_port = tls_port


@pytest.fixture
async def listening(tmp_path: Path) -> AsyncIterator[Listening]:
    context = server_context(tmp_path)
    stage = await build(tmp_path, tls=context)
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(stage.endpoint, "127.0.0.1", 0)
    implicit = await loop.create_server(stage.endpoint, "127.0.0.1", 0, ssl=context)
    yield Listening(stage, plain.sockets[0].getsockname()[1], implicit.sockets[0].getsockname()[1])
    plain.close()
    implicit.close()
    await stage.close()


async def in_thread(work: Callable[[], T]) -> T:
    """Run a blocking client."""
    return await asyncio.to_thread(work)


async def test_imaplib_reads_a_mailbox_over_starttls(listening: Listening) -> None:
    await listening.stage.deliver("INBOX", "hello")
    await listening.stage.deliver("INBOX", "mixed")

    def session() -> dict[str, Any]:
        client = imaplib.IMAP4("127.0.0.1", listening.plain_port)
        assert "LOGINDISABLED" in client.capabilities
        client.starttls(client_context())
        assert "LOGINDISABLED" not in client.capabilities
        client.login(ADDRESS, PASSWORD)
        seen: dict[str, Any] = {"select": client.select("INBOX")}
        seen["search"] = client.uid("SEARCH", "UNSEEN")
        seen["body"] = client.uid("FETCH", "1", "(FLAGS BODY[])")
        seen["store"] = client.store("2", "+FLAGS", "(\\Flagged)")
        seen["copy"] = client.uid("COPY", "1:2", "Archive")
        seen["status"] = client.status("Archive", "(MESSAGES)")
        seen["logout"] = client.logout()
        return seen

    seen = await in_thread(session)
    assert seen["select"] == ("OK", [b"2"])
    assert seen["search"] == ("OK", [b"1 2"])
    assert seen["body"][1][0][1] == PREFIX + MESSAGES["hello"]
    assert seen["store"][0] == "OK"
    assert b"\\Flagged" in seen["store"][1][0]
    assert seen["status"] == ("OK", [b"Archive (MESSAGES 2)"])
    assert seen["logout"][0] == "BYE"


async def test_imaplib_writes_over_implicit_tls(listening: Listening) -> None:
    large = MESSAGES["large"]

    def session() -> dict[str, Any]:
        with imaplib.IMAP4_SSL("127.0.0.1", listening.tls_port, ssl_context=client_context()) as client:
            client.login(ADDRESS, PASSWORD)
            seen: dict[str, Any] = {"create": client.create("Dossier"), "list": client.list()}
            seen["append"] = client.append("Dossier", "(\\Seen)", None, large)
            client.select("Dossier")
            seen["back"] = client.fetch("1", "(BODY.PEEK[])")
            seen["partial"] = client.fetch("1", "(BODY.PEEK[]<300000.20>)")
            client.store("1", "+FLAGS.SILENT", "(\\Deleted)")
            seen["expunge"] = client.expunge()
            client.close()
            seen["delete"] = client.delete("Dossier")
            return seen

    seen = await in_thread(session)
    assert seen["create"][0] == "OK"
    assert any(b"Dossier" in line for line in seen["list"][1])
    assert seen["append"][0] == "OK"
    assert seen["back"][1][0][1] == large
    assert seen["partial"][1][0][1] == large[300_000:300_020]
    assert seen["expunge"] == ("OK", [b"1"])
    assert seen["delete"][0] == "OK"


async def test_octets_behind_starttls_end_the_connection(listening: Listening) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.plain_port)
    assert (await reader.readline()).startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 STARTTLS LOGINDISABLED")
    writer.write(b"a1 STARTTLS\r\na2 LOGIN attacker secret\r\n")
    assert (await reader.readline()).startswith(b"* BYE")
    assert await reader.read() == b""
    writer.close()


async def test_aioimaplib_is_pushed_new_mail(listening: Listening) -> None:
    client = aioimaplib.IMAP4_SSL("127.0.0.1", listening.tls_port, ssl_context=client_context(), timeout=10)
    await client.wait_hello_from_server()
    assert (await client.login(ADDRESS, PASSWORD)).result == "OK"
    assert (await client.select("INBOX")).result == "OK"
    idle = await client.idle_start(timeout=30)
    await listening.stage.deliver("INBOX", "hello")
    pushed = await client.wait_server_push(timeout=10)
    assert b"1 EXISTS" in pushed
    client.idle_done()
    await asyncio.wait_for(idle, 10)
    found = await client.uid("fetch", "1", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert found.result == "OK"
    assert any(b"Bonjour" in bytes(line) for line in found.lines)
    assert (await client.uid_search("FROM alpha")).lines[0] == b"1"
    moved = await client.uid("move", "1", "Archive")
    assert moved.result == "OK"
    assert (await client.status("Archive", "(MESSAGES)")).lines[0] == b"Archive (MESSAGES 1)"
    await client.logout()


async def test_a_client_that_does_not_read_holds_little(listening: Listening) -> None:
    """The answer of a FETCH of 30 MB waits for its reader: the server's buffers stay small meanwhile."""
    for _ in range(100):
        await listening.stage.deliver("INBOX", "large")
    reader, writer = await asyncio.open_connection("127.0.0.1", listening.tls_port, ssl=client_context(), limit=4096)
    await reader.readline()
    writer.write(f'a1 LOGIN {ADDRESS} "{PASSWORD}"\r\na2 SELECT INBOX\r\na3 FETCH 1:* BODY.PEEK[]\r\n'.encode())
    while not (await reader.readline()).startswith(b"a2 OK"):
        pass
    (connection,) = listening.stage.endpoint._connections
    for _ in range(200):
        await asyncio.sleep(0)
    while connection._drained is None:
        await asyncio.sleep(0.001)
    transport = connection._transport
    assert transport is not None
    assert transport.get_write_buffer_size() < 4 * 1024 * 1024
    total = 0
    while data := await reader.read(1 << 20):
        total += len(data)
        if data.endswith(b"a3 OK FETCH completed\r\n"):
            break
    assert total > 100 * len(MESSAGES["large"])
    writer.close()
