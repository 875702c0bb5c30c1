"""Logging in over real TLS: client certificates, channel binding to the certificate shown, STARTTLS, another context on resumption."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from support.clock import FakeClock
from support.imap_stage import ADDRESS, PASSWORD, Stage, build
from support.pki import EMAIL, key_for, pem_files, subject
from support.scram_client import RFC_PASSWORD, ScramClient
from support.smtp_stage import IGC, trust_snapshot

from mssante.endpoints.imap import ImapEndpoint
from mssante.endpoints.imap_login import LoginOffer
from mssante.endpoints.listeners import listen_on
from mssante.endpoints.tls_context import end_point_of, server_context
from mssante.protocol.sasl.mechanisms import ALL, Circumstances
from mssante.services.client_certificates import CertificateSettings, ClientCertificates
from mssante.services.evidence import Evidence
from mssante.services.privacy import Pseudonyms
from mssante.services.truststate import TrustState
from mssante.trust.anchors import read_certificates

FAR = datetime(2090, 1, 1, tzinfo=UTC)
CLIENT = IGC.leaf("poste.hopital.mssante.fr", not_after=FAR)
UNKNOWN = IGC.leaf("autre.hopital.mssante.fr", not_after=FAR)
EXPIRED = IGC.leaf("vieux.hopital.mssante.fr", not_after=datetime(2025, 1, 1, tzinfo=UTC),
                   not_before=datetime(2024, 1, 1, tzinfo=UTC))
FOREIGN = IGC.leaf("poste.hopital.mssante.fr", issuer="foreign", not_after=FAR)
WEAK = IGC.leaf("faible.hopital.mssante.fr", not_after=FAR, eku=(EMAIL,))  # of ours, for mail only


def self_signed() -> tuple[x509.Certificate, object]:
    key = key_for("self-signed")
    name = subject("poste.hopital.mssante.fr")
    return (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
            .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC)).not_valid_after(FAR).sign(key, hashes.SHA256())), key


SELF_SIGNED = self_signed()


def fingerprint(certificate: object) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()  # type: ignore[attr-defined]


class Door:
    """An IMAP endpoint on two ports of 127.0.0.1."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.folder = folder
        certificate, key = pem_files(folder, "ours", *IGC.leaf("imap.hopital.mssante.fr", not_after=FAR))
        anchors = folder / "anchors.pem"
        anchors.write_bytes(IGC.anchors_pem)
        self.tls = server_context(certificate, key, anchors, people=True)
        mapped = {fingerprint(one[0]): ADDRESS for one in (CLIENT, EXPIRED, FOREIGN, SELF_SIGNED, WEAK)}
        self.clock = FakeClock(datetime(2026, 3, 1, tzinfo=UTC))
        self.judge = ClientCertificates(
            CertificateSettings(mapped, lambda: read_certificates([IGC.anchors_pem])), TrustState(trust_snapshot(), self.clock), stage.stores,
            clock=self.clock, evidence=Evidence(stage.stores, self.clock, Pseudonyms(b"k" * 32, "patient.mssante.fr")))
        self.endpoint = ImapEndpoint(stage.services, tls=self.tls,
                                     offer=LoginOffer(Circumstances(ALL, end_point_of(certificate)), self.judge.login_of))

    async def open(self) -> None:
        await self.judge.refresh()
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


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("connect", [implicit, starttls])
@pytest.mark.parametrize("pair", [EXPIRED, FOREIGN, SELF_SIGNED, WEAK], ids=["expired", "foreign", "self-signed", "weak"])
async def test_a_certificate_that_is_no_good_never_breaks_a_password_login(
        door: Door, connect: object, pair: tuple[object, object], version: ssl.TLSVersion) -> None:
    context = door.client_context(pair)
    context.minimum_version = context.maximum_version = version
    door.client_context = lambda _: context  # type: ignore[method-assign]
    wire, greeting = await connect(door, pair)  # type: ignore[operator]
    assert "EXTERNAL" not in greeting and "AUTH=PLAIN" in greeting
    assert (await wire.ask("a AUTHENTICATE EXTERNAL =")).startswith("a NO [CANNOT]")
    assert (await wire.ask(f'b LOGIN {ADDRESS} "{PASSWORD}"')).startswith("b OK")
    wire.writer.close()


async def test_a_resumed_session_is_judged_again(door: Door) -> None:
    context = door.client_context(CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    door.client_context = lambda _: context  # type: ignore[method-assign]

    def greeting(session: ssl.SSLSession | None) -> tuple[bytes, bool, ssl.SSLSession | None]:
        with socket.create_connection(("127.0.0.1", door.implicit), timeout=10) as plain, \
                context.wrap_socket(plain, session=session) as wire:
            return wire.recv(4096), bool(wire.session_reused), wire.session

    first, reused, session = await asyncio.to_thread(greeting, None)
    assert b"AUTH=EXTERNAL" in first and not reused
    again, reused, session = await asyncio.to_thread(greeting, session)
    assert b"AUTH=EXTERNAL" in again and reused
    door.clock.set(datetime(2091, 1, 1, tzinfo=UTC))
    late, reused, _ = await asyncio.to_thread(greeting, session)
    assert b"AUTH=EXTERNAL" not in late and reused, "its certificate ended meanwhile"


async def test_clients_are_told_which_authorities_are_known(door: Door, tmp_path: Path) -> None:
    """Mail programs then offer only a certificate of these, and ask their user nothing (RFC 8446 §4.2.4)."""
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{door.implicit}", stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    names = out.partition(b"Acceptable client certificate CA names\n")[2].partition(b"Requested Signature")[0]
    assert b"CN = TEST AC IGC-SANTE ELEMENTAIRE ORGANISATIONS" in names, out


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
