"""Logging in over real TLS: client certificates, channel binding to the certificate shown, STARTTLS, another context on resumption."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.imap_stage import ADDRESS, PASSWORD, Stage, build
from support.pki import pem_files
from support.scram_client import RFC_PASSWORD, ScramClient
from support.smtp_stage import IGC

from mssante.endpoints.imap import ImapEndpoint
from mssante.endpoints.imap_login import LoginOffer
from mssante.endpoints.listeners import listen_on
from mssante.endpoints.tls_context import end_point_of, server_context
from mssante.protocol.sasl.mechanisms import ALL, Circumstances

FAR = datetime(2090, 1, 1, tzinfo=UTC)
CLIENT = IGC.leaf("poste.hopital.mssante.fr", not_after=FAR)
UNKNOWN = IGC.leaf("autre.hopital.mssante.fr", not_after=FAR)
EXPIRED = IGC.leaf("vieux.hopital.mssante.fr", not_after=datetime(2025, 1, 1, tzinfo=UTC),
                   not_before=datetime(2024, 1, 1, tzinfo=UTC))
FOREIGN = IGC.leaf("poste.hopital.mssante.fr", issuer="foreign", not_after=FAR)


def fingerprint(certificate: object) -> str:
    from cryptography.hazmat.primitives import hashes
    return certificate.fingerprint(hashes.SHA256()).hex()  # type: ignore[attr-defined]


class Door:
    """An IMAP endpoint on two ports of 127.0.0.1."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.folder = folder
        certificate, key = pem_files(folder, "ours", *IGC.leaf("imap.hopital.mssante.fr", not_after=FAR))
        anchors = folder / "anchors.pem"
        anchors.write_bytes(IGC.anchors_pem)
        self.tls = server_context(certificate, key, anchors, people=True)
        mapped = {fingerprint(one[0]): ADDRESS for one in (CLIENT, EXPIRED, FOREIGN)}
        self.endpoint = ImapEndpoint(stage.services, tls=self.tls,
                                     offer=LoginOffer(Circumstances(ALL, end_point_of(certificate)), mapped))

    async def open(self) -> None:
        self.servers = [await listen_on("127.0.0.1:0", self.endpoint, tls) for tls in (None, self.tls)]
        self.plain, self.implicit = (server.sockets[0].getsockname()[1] for server in self.servers)

    def client_context(self, pair: tuple[object, object] | None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if pair is not None:
            context.load_cert_chain(*pem_files(self.folder, "client", *pair))  # type: ignore[arg-type]
        return context


class Wire:
    """A client of lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self) -> str:
        line = await asyncio.wait_for(self.reader.readline(), 10)
        assert line.endswith(b"\r\n"), line
        return line[:-2].decode()

    async def ask(self, text: str) -> str:
        self.writer.write(text.encode() + b"\r\n")
        return await self.line()

    @property
    def server_certificate(self) -> bytes:
        found: bytes = self.writer.get_extra_info("ssl_object").getpeercert(True)
        return found


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path / "stage")
    yield made
    await made.close()


@pytest.fixture
async def door(stage: Stage, tmp_path: Path) -> AsyncIterator[Door]:
    made = Door(stage, tmp_path)
    await made.open()
    yield made
    for server in made.servers:
        server.close()
    await made.endpoint.drain()


async def implicit(door: Door, pair: tuple[object, object] | None = None) -> tuple[Wire, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.implicit, ssl=door.client_context(pair))
    wire = Wire(reader, writer)
    return wire, await wire.line()


async def starttls(door: Door, pair: tuple[object, object] | None = None) -> tuple[Wire, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.plain)
    wire = Wire(reader, writer)
    assert "AUTH=" not in await wire.line()
    assert (await wire.ask("s STARTTLS")).startswith("s OK")
    await writer.start_tls(door.client_context(pair))
    capability = await wire.ask("c CAPABILITY")
    assert (await wire.line()).startswith("c OK")
    return wire, capability


@pytest.mark.parametrize("connect", [implicit, starttls])
async def test_a_certificate_that_is_named_logs_in(door: Door, connect: object) -> None:
    wire, greeting = await connect(door, CLIENT)  # type: ignore[operator]
    assert " AUTH=EXTERNAL " in greeting
    assert (await wire.ask("a AUTHENTICATE EXTERNAL =")).startswith("a OK ")
    assert (await wire.ask("b STATUS INBOX (MESSAGES)")) == "* STATUS INBOX (MESSAGES 0)"
    wire.writer.close()


@pytest.mark.parametrize("connect", [implicit, starttls])
@pytest.mark.parametrize("pair", [None, UNKNOWN], ids=["none", "unknown"])
async def test_others_log_in_by_password(door: Door, connect: object, pair: tuple[object, object] | None) -> None:
    wire, greeting = await connect(door, pair)  # type: ignore[operator]
    assert "EXTERNAL" not in greeting and "AUTH=PLAIN" in greeting
    assert (await wire.ask("a AUTHENTICATE EXTERNAL =")).startswith("a NO [CANNOT]")
    assert (await wire.ask(f'b LOGIN {ADDRESS} "{PASSWORD}"')).startswith("b OK")
    wire.writer.close()


@pytest.mark.parametrize("pair", [EXPIRED, FOREIGN], ids=["expired", "foreign"])
async def test_certificates_that_openssl_refuses_do_not_connect(door: Door, pair: tuple[object, object]) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        await implicit(door, pair)


@pytest.mark.parametrize(("pair", "alert"), [(EXPIRED, "CERTIFICATE_EXPIRED"), (FOREIGN, "UNKNOWN_CA")], ids=["expired", "foreign"])
async def test_they_are_told_by_an_alert_after_starttls_too(door: Door, pair: tuple[object, object], alert: str) -> None:
    """With TLS from the first octet it is `ImplicitObject` that tells: see test_tls_material.py."""
    context = door.client_context(pair)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in 1.3 the client's handshake is done before we look at its certificate
    door.client_context = lambda _: context  # type: ignore[method-assign]
    with pytest.raises(ssl.SSLError, match=alert):
        await starttls(door, pair)


@pytest.mark.parametrize("connect", [implicit, starttls])
async def test_scram_bound_to_the_certificate_that_was_shown(stage: Stage, door: Door, connect: object) -> None:
    await stage.set_scram(ADDRESS)
    wire, greeting = await connect(door)  # type: ignore[operator]
    assert "AUTH=SCRAM-SHA-256-PLUS" in greeting
    client = ScramClient(ADDRESS, RFC_PASSWORD, gs2="p=tls-server-end-point,,",
                         binding=hashlib.sha256(wire.server_certificate).digest())
    first = await wire.ask(f"a AUTHENTICATE SCRAM-SHA-256-PLUS {b64encode(client.first()).decode()}")
    final = await wire.ask(b64encode(client.final(b64decode(first[2:]))).decode())
    assert client.trusts(b64decode(final[2:]))
    assert (await wire.ask("")).startswith("a OK")
    wire.writer.close()


async def test_a_setting_leaves_mechanisms_out(stage: Stage, door: Door) -> None:
    door.endpoint.offer = LoginOffer(Circumstances(frozenset({"PLAIN", "SCRAM-SHA-256"}), b"bound"))
    wire, greeting = await implicit(door)
    assert "AUTH=SCRAM-SHA-256 AUTH=PLAIN SASL-IR" in greeting
    assert (await wire.ask("a AUTHENTICATE SCRAM-SHA-256-PLUS =")).startswith("a NO [CANNOT]")
    unbound = b64encode(b"y,,n=user,r=abc").decode()
    assert (await wire.ask(f"b AUTHENTICATE SCRAM-SHA-256 {unbound}")).startswith("+ "), "-PLUS was not offered: y is no lie"
    wire.writer.close()
