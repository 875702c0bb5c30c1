"""Doors: who is counted, who is swept, how they close; and the TLS that they open with."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.pki import pem_files
from support.smtp_stage import IGC, SmtpStage, build, client_context, leaf

from mssante.endpoints import listeners
from mssante.endpoints.listeners import Door, listen_on, sweep_forever
from mssante.endpoints.tls_context import CIPHERS, NO_CHECK_TIME, server_context
from mssante.observability.metrics import REGISTRY


class Session:
    """A session with a deadline."""

    def __init__(self, door: Door | None = None, deadline: float = 0.0) -> None:
        self.deadline = deadline
        self.door = door
        self.told: list[str] = []

    def expire(self) -> None:
        self.told.append("expire")
        if self.door is not None:
            self.door.closed(self, "a")

    def drain(self) -> None:
        self.told.append("drain")
        if self.door is not None:
            self.door.closed(self, "a")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


# ---------------------------------------------------------------- counting


def test_limits_in_all_and_for_each_address() -> None:
    door = Door("t", total=3, per_address=2)
    one, two, three, four = (Session() for _ in range(4))
    assert door.opened(one, "a") and door.opened(two, "a")
    assert not door.opened(three, "a"), "the address is full"
    assert door.opened(three, "b")
    assert not door.opened(four, "c"), "the door is full"
    assert door.open_sessions == 3
    door.closed(one, "a")
    assert door.opened(four, "a") and not door.opened(one, "a")


def test_a_refused_address_leaves_no_trace() -> None:
    door = Door("t", total=1, per_address=1)
    one = Session()
    door.opened(one, "a")
    for number in range(100):
        assert not door.opened(Session(), f"b{number}")
    door.closed(one, "a")
    assert door.open_sessions == 0 and door.opened(one, "a")


def test_the_sweep_tells_those_whose_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door("sweep-test", total=9, per_address=9)
    late, early = Session(door, 99.0), Session(door, 101.0)
    for one in (late, early):
        door.opened(one, "a")
    monkeypatch.setattr(listeners.time, "monotonic", lambda: 100.0)
    door.sweep()
    assert (late.told, early.told) == (["expire"], []) and door.open_sessions == 1
    assert REGISTRY.get_sample_value("mssante_sessions_open", {"door": "sweep-test"}) == 2
    door.sweep()
    assert REGISTRY.get_sample_value("mssante_sessions_open", {"door": "sweep-test"}) == 1


async def test_closing_drains_and_waits_no_longer_than_told(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door("t", total=9, per_address=9)
    polite, stubborn = Session(door), Session()
    for one in (polite, stubborn):
        door.opened(one, "a")
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(listeners.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(listeners.asyncio, "sleep", sleep)
    await door.close(1.0)
    assert polite.told == ["drain"] and len(stubborn.told) >= 10 and 1.0 <= now[0] < 1.2


async def test_the_sweep_goes_on_for_all_doors(monkeypatch: pytest.MonkeyPatch) -> None:
    doors = [Door("t1", total=1, per_address=1), Door("t2", total=1, per_address=1)]
    sessions = [Session(door, -1.0) for door in doors]
    for door, session in zip(doors, sessions, strict=True):
        door.opened(session, "a")
    turns: list[float] = []

    async def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 3:
            raise asyncio.CancelledError

    monkeypatch.setattr(listeners.asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await sweep_forever(doors)
    assert [session.told for session in sessions] == [["expire"], ["expire"]]


# ---------------------------------------------------------------- listening


class Hello(asyncio.Protocol):
    """Says hello and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_door_listens_and_stops(tmp_path: Path, tls: bool) -> None:
    context = server_context(*pem_files(tmp_path, "ours", *leaf("ours")), None) if tls else None
    server = await listen_on("127.0.0.1:0", Hello, context)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port, ssl=client_context() if tls else None)
    assert await reader.read() == b"hello"
    writer.close()
    server.close()
    with pytest.raises(OSError):
        await asyncio.open_connection(host, port)
    with pytest.raises((OSError, ValueError)):
        await listen_on("127.0.0.1:99999", Hello, None)


async def test_a_door_that_closes_takes_no_more(tmp_path: Path) -> None:
    door = Door("t", total=9, per_address=9)
    await door.listen("127.0.0.1:0", Hello, None)
    await door.close(0.0)


# ---------------------------------------------------------------- TLS


def test_the_context_is_of_today(tmp_path: Path) -> None:
    files = pem_files(tmp_path, "ours", *leaf("ours"))
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(IGC.anchors_pem)
    plain, mutual = server_context(*files, None), server_context(*files, anchors)
    for context in (plain, mutual):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_COMPRESSION and context.options & ssl.OP_NO_RENEGOTIATION
        for cipher in context.get_ciphers():
            assert cipher["protocol"] == "TLSv1.3" or ("ECDHE" in cipher["name"] and cipher["aead"]), cipher["name"]
    assert plain.verify_mode is ssl.CERT_NONE and mutual.verify_mode is ssl.CERT_OPTIONAL
    assert mutual.verify_flags & NO_CHECK_TIME and mutual.verify_flags & ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    assert len(mutual.get_ca_certs()) == 3 and "CBC" not in CIPHERS


@pytest.mark.parametrize("broken", ["certificate", "key", "other key", "anchors"])
def test_files_that_do_not_do_are_told_at_start(tmp_path: Path, broken: str) -> None:
    certificate, key = pem_files(tmp_path, "ours", *leaf("ours"))
    _, other = pem_files(tmp_path, "other", *leaf("a"))
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(IGC.anchors_pem)
    match broken:
        case "certificate":
            certificate = tmp_path / "absent.pem"
        case "key":
            key.write_bytes(b"not a key")
        case "other key":
            key = other
        case "anchors":
            anchors.write_bytes(b"")
    with pytest.raises((OSError, ssl.SSLError)):
        server_context(certificate, key, anchors)


async def test_a_peer_of_a_foreign_authority_is_told_by_an_alert(stage: SmtpStage) -> None:
    wire = await stage.connect(await stage.open())
    await wire.reply()
    await wire.ask("STARTTLS")
    with pytest.raises(ssl.SSLError) as caught:
        await wire.upgrade("foreign")
        await wire.reader.read()
    assert "UNKNOWN_CA" in str(caught.value)
    await stage.idle()


def test_the_memory_of_an_idle_session_may_still_be_bounded() -> None:
    """asyncio allocates this for each TLS session (278 KB measured); uvloop, our loop on Linux, does not."""
    from asyncio import sslproto

    assert sslproto.SSLProtocol.max_size == 256 * 1024 and sys.version_info >= (3, 11)
