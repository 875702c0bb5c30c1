"""DATA over real TLS: one content gets one reply, and 250 only for what is stored whole.

The rows of SMUGGLING are those of RELIABILITY §2: each is followed by a second message that must never be seen as one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.smtp_stage import ALICE, BOB, SmtpStage, Wire, build, message

from mssante.endpoints.smtp_base import running_commands
from mssante.errors import OperatorFault, StorageFull
from mssante.model.journal import JournalKind
from mssante.storage.interfaces import BlobWriter

MAIL = "MAIL FROM:<docteur@a.mssante.fr>"
RCPT = f"RCPT TO:<{ALICE}>"
HEADER = b"From: docteur@a.mssante.fr\r\nSubject: one\r\n\r\n"
SECOND = (f"{MAIL}\r\nRCPT TO:<{BOB}>\r\nDATA\r\n".encode() + message())
SMUGGLING = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r\n\x00.\r\n", b"\r\n.\x00\r\n",
    b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\n\n.\r\n", b"\r\n.\n\r", b"\r\n.\n\n", b"\r\r.\r\r", b"\n\r.\n\r", b"\r\n.\r\x00\n",
    b"\n.\n\r\n", b"\r\n\r.\r\n", b"\r\n\n.\r\n", b"\x00.\x00",
]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await stage.session(await stage.open())


async def started(wire: Wire, *recipients: str) -> None:
    await wire.asks(MAIL, RCPT, *recipients)
    assert (await wire.ask("DATA")).startswith("354 ")


# ---------------------------------------------------------------- framing


@pytest.mark.parametrize("ending", SMUGGLING, ids=repr)
@pytest.mark.parametrize("cut", ["whole", "inside", "octets"])
async def test_only_crlf_dot_crlf_ends_a_content(stage: SmtpStage, wire: Wire, ending: bytes, cut: str) -> None:
    await started(wire)
    lead, rest = HEADER + b"one" + ending[:1], ending[1:] + SECOND + b".\r\n"
    if cut == "whole":
        await wire.send(lead + rest + b"NOOP\r\n")
    elif cut == "inside":
        await wire.send(lead, rest + b"NOOP\r\n")
    else:
        await wire.send(lead, *[rest[place:place + 1] for place in range(len(ending) + 3)], rest[len(ending) + 3:] + b"NOOP\r\n")
    reply = await wire.reply()
    assert reply.startswith("554 5.6.0 ") and reply.endswith(("[SMTP-CRLF]", "[SMTP-NUL]"))
    assert await wire.reply() == "250 2.0.0 OK", "the second reply is to NOOP: nothing inside was a command"
    assert (await wire.ask("QUIT")).startswith("221 ")
    await wire.closed()
    assert await stage.bodies(ALICE) == await stage.bodies(BOB) == []
    (event,) = await stage.journal(JournalKind.DATA_REFUSED)
    assert event.payload["code"] == 554


@pytest.mark.parametrize("content", [
    HEADER + b".\r\n", HEADER + b"..\r\n...\r\n", HEADER + b"a.\r\n. \r\n.x\r\n", b".hidden: header\r\n" + HEADER,
    HEADER + b"\r\n" * 50, HEADER + "été".encode() + b"\xff\xfe\r\n", HEADER[:-2], HEADER + b"\t.\r\n"])
async def test_what_is_stored_is_what_was_sent_less_stuffing(stage: SmtpStage, wire: Wire, content: bytes) -> None:
    await started(wire)
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    await wire.send(stuffed + b".\r\n")
    assert (await wire.reply()).startswith("250 ")
    assert await stage.bodies() == [content]


async def test_an_empty_content_is_no_message(stage: SmtpStage, wire: Wire) -> None:
    await started(wire)
    await wire.send(b".\r\n")
    assert (await wire.reply()).endswith("[FROM-UNIQUE]")
    assert await stage.bodies() == []


@pytest.mark.parametrize(("line", "good"), [(9_000, True), (10_001, False), (100_000, False)])
async def test_overlong_lines_of_a_content(stage: SmtpStage, wire: Wire, line: int, good: bool) -> None:
    await started(wire)
    await wire.send(HEADER + b"x" * line + b"\r\n.\r\n")
    reply = await wire.reply()
    assert reply.startswith("250 ") if good else reply.endswith("[SMTP-LIGNE-LONGUE]")
    assert (await wire.ask("NOOP")).startswith("250 ")


async def test_a_content_above_the_limit_gets_552_after_its_end(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(message_bytes=70_000))
    await started(wire)
    await wire.send(HEADER + (b"x" * 998 + b"\r\n") * 100 + b".\r\n")
    reply = await wire.reply()
    assert reply.startswith("552 5.3.4 ") and "70000" in reply and reply.endswith("[TAILLE]")
    assert (await wire.asks(MAIL, RCPT))[1].startswith("250 "), "the session goes on"
    assert (await wire.data(message())).startswith("250 ")
    assert len(await stage.bodies()) == 1


async def test_a_content_without_end_is_cut(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(message_bytes=70_000))
    await started(wire)
    wire.writer.write(HEADER + (b"x" * 998 + b"\r\n") * 400)
    assert (await wire.reply()).endswith("[TAILLE]")
    assert b"250" not in await wire.rest()
    await stage.idle()


async def test_a_large_body_becomes_a_blob_octet_for_octet(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(message_bytes=8 << 20))
    content = HEADER + (b"." + b"y" * 996 + b"\r\n") * 4000
    await started(wire)
    await wire.send((b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n")
    assert (await wire.reply()).startswith("250 ")
    (stored,) = await stage.inbox()
    assert stored.blob and stored.inline is None
    assert (await stage.bodies()) == [content]


# ---------------------------------------------------------------- a peer that leaves


async def gone(stage: SmtpStage, wire: Wire) -> None:
    """Close at once, without reading, and wait for the server to have done all it does."""
    wire.writer.close()
    await stage.idle()
    await stage.settled()


async def test_a_peer_that_leaves_right_after_the_final_dot_has_its_message_stored(stage: SmtpStage, wire: Wire) -> None:
    await started(wire)
    wire.writer.write(message() + b".\r\n")
    await gone(stage, wire)
    assert await stage.bodies() == [message()]
    assert len(await stage.journal(JournalKind.RECEIVED)) == 1


@pytest.mark.parametrize("sent", [b"", HEADER, message() + b".\r", message() + b"."])
async def test_a_peer_that_leaves_before_the_final_dot_leaves_nothing(stage: SmtpStage, wire: Wire, sent: bytes) -> None:
    await started(wire)
    await wire.send(sent)
    await gone(stage, wire)
    assert await stage.bodies() == []


def staged_files(folder: Path) -> list[Path]:
    return [path for path in (folder / "blobs").rglob("*") if path.is_file()]


async def wait_for(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0)


async def test_a_peer_that_leaves_in_the_middle_of_a_large_body_leaves_no_file(stage: SmtpStage, tmp_path: Path) -> None:
    wire = await stage.session(await stage.open(message_bytes=16 << 20))
    await started(wire)
    await wire.send(HEADER + (b"x" * 998 + b"\r\n") * 5000)
    await wait_for(lambda: bool(staged_files(tmp_path)))
    await gone(stage, wire)
    stage.executor.submit(lambda: None).result()
    await wait_for(lambda: not staged_files(tmp_path))
    assert await stage.bodies() == []


class SlowWriter:
    """A blob writer on a disk that waits for the test."""

    def __init__(self, writer: BlobWriter, go: threading.Event) -> None:
        self._writer = writer
        self._go = go
        self.commit = writer.commit
        self.discard = writer.discard

    def write(self, data: bytes) -> None:
        assert self._go.wait(10)
        self._writer.write(data)


async def test_a_peer_that_leaves_while_the_disk_is_slow_leaves_no_file(
        stage: SmtpStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = await stage.session(await stage.open(message_bytes=16 << 20))
    stage_blob, go = stage.stores.blobs.stage, threading.Event()
    monkeypatch.setattr(stage.stores.blobs, "stage", lambda: SlowWriter(stage_blob(), go))
    await started(wire)
    lines = (b"x" * 998 + b"\r\n") * 1100
    wire.writer.write(HEADER + lines)
    await wait_for(lambda: bool(staged_files(tmp_path)))
    wire.writer.write(lines)  # this piece waits for the one before it
    await wait_for(lambda: bool(running_commands()))
    wire.writer.close()
    await stage.idle()
    assert running_commands(), "the session is gone, its piece is still being written"
    go.set()
    await stage.settled()
    await wait_for(lambda: not staged_files(tmp_path))
    assert await stage.bodies() == []


# ---------------------------------------------------------------- faults of ours


async def test_a_full_disk_says_452_and_loses_nothing(tmp_path: Path) -> None:
    stage = await build(tmp_path, max_pages=150)
    try:
        wire = await stage.session(await stage.open())
        accepted: list[bytes] = []
        for number in range(100):
            content = message(text=f"{number} " + "z" * 900 + ("\r\n" + "z" * 900) * 30)
            await wire.asks(MAIL, RCPT)
            reply = await wire.data(content)
            if not reply.startswith("250 "):
                break
            accepted.append(content)
        assert accepted and reply.startswith("452 4.3.1 ") and reply.endswith("[DISQUE-PLEIN]")
        assert (await wire.asks(MAIL, RCPT))[1].startswith("250 "), "the session goes on"
        assert await stage.bodies() == accepted
    finally:
        await stage.close()


class FailingWriter:
    """A blob writer whose write or commit fails."""

    def __init__(self, writer: BlobWriter, *, write: Exception | None = None, commit: Exception | None = None) -> None:
        self._writer = writer
        self._write = write
        self._commit = commit

    def write(self, data: bytes) -> None:
        if self._write is not None:
            fault, self._write = self._write, None  # the first piece only: room comes back at once
            raise fault
        self._writer.write(data)

    def commit(self) -> str:
        if self._commit is not None:
            raise self._commit
        return self._writer.commit()

    def discard(self) -> None:
        self._writer.discard()


FAULTS = [
    ({"write": StorageFull("no room left")}, "[DISQUE-PLEIN]"), ({"commit": StorageFull("no room left")}, "[DISQUE-PLEIN]"),
    ({"write": OperatorFault("storage failed", detail="errno 5")}, "[SERVICE-INCIDENT]"),
    ({"commit": RuntimeError("secret detail")}, "[SERVICE-INCIDENT]"), ({"write": RuntimeError("secret detail")}, "[SERVICE-INCIDENT]")]


@pytest.mark.parametrize(("fault", "rule"), FAULTS)
@pytest.mark.parametrize("lines", [100, 8000])
async def test_a_blob_that_cannot_be_written_gives_one_temporary_reply_after_the_end(
        stage: SmtpStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Exception], rule: str,
        lines: int) -> None:
    """A reply in the middle of the content, or a message with a piece missing, would each lose mail."""
    wire = await stage.session(await stage.open(message_bytes=16 << 20))
    stage_blob = stage.stores.blobs.stage
    monkeypatch.setattr(stage.stores.blobs, "stage", lambda: FailingWriter(stage_blob(), **fault))
    await started(wire)
    wire.writer.write(HEADER + (b"x" * 998 + b"\r\n") * lines + b".\r\nNOOP\r\n")
    reply = await wire.reply()
    assert reply.startswith("45") and reply.endswith(rule)
    assert await wire.reply() == "250 2.0.0 OK"
    assert await stage.bodies() == []
    monkeypatch.undo()
    await wire.asks(MAIL, RCPT)
    assert (await wire.data(message())).startswith("250 ")
    await wait_for(lambda: not staged_files(tmp_path))


@pytest.mark.parametrize("fault", [RuntimeError("secret detail"), OperatorFault("hidden", detail="secret detail"),
                                   OSError(5, "secret detail"), UnicodeDecodeError("ascii", b"secret", 0, 1, "secret detail")])
async def test_an_incident_of_ours_is_451_and_generic(
        stage: SmtpStage, wire: Wire, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    async def fail(*_: object) -> Any:
        raise fault

    monkeypatch.setattr(stage.mailroom, "accept", fail)
    await wire.asks(MAIL, RCPT)
    reply = await wire.data(message())
    assert reply.startswith("451 4.3.0 ") and reply.endswith("[SERVICE-INCIDENT]") and "secret" not in reply
    monkeypatch.undo()
    await wire.asks(MAIL, RCPT)
    assert (await wire.data(message())).startswith("250 ")


async def test_an_incident_while_deciding_is_temporary_too(
        stage: SmtpStage, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def later(*_: object) -> Awaitable[Any]:
        async def fail() -> Any:
            raise RuntimeError("secret detail")
        return fail()

    monkeypatch.setattr(stage.addresses, "find", later)
    await wire.ask(MAIL)
    assert (await wire.ask(f"RCPT TO:<{BOB}>")).endswith("[SERVICE-INCIDENT]")

    def at_once(*_: object) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(stage.trust, "may_send", at_once)
    await wire.ask("RSET")
    reply = await wire.ask(MAIL)
    assert reply.startswith("451 ") and "secret" not in reply


async def test_below_the_reserve_nothing_new_is_begun(tmp_path: Path) -> None:
    stage = await build(tmp_path, reserve=1 << 62)
    try:
        wire = await stage.session(await stage.open())
        assert (await wire.ask(MAIL)).endswith("[DISQUE-PLEIN]")
    finally:
        await stage.close()
