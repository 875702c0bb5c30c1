"""What we rely on in aiosmtpd 1.4.x, and what our subclass mends (ARCHITECTURE §6): an upgrade that changes it fails here.

Each row of the table stands as a pair: how the library behaves as it is, and how a session of ours behaves. When the first
half fails after an upgrade, the mend may have become useless; when the second fails, it has become necessary again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiosmtpd
import pytest
from aiosmtpd.smtp import MISSING, SMTP, Envelope, Session
from support.smtp_stage import ALICE, SmtpStage, build, door_context, message

from mssante.endpoints.listeners import Door
from mssante.endpoints.smtp_base import SmtpSettings
from mssante.endpoints.smtp_verbs import HardenedSmtp

MAIL = "MAIL FROM:<docteur@a.mssante.fr>"


class Handler:
    """A handler that takes everything; what stock aiosmtpd gives it is kept."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.chunks: list[int] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 OK"


class Stock:
    """A stock aiosmtpd server on 127.0.0.1 and a client of lines."""

    def __init__(self, handler: Any, **options: Any) -> None:
        self.handler = handler
        self.options: dict[str, Any] = {"hostname": "stock.example", **options}
        self.instances: list[SMTP] = []

    def factory(self) -> SMTP:
        self.instances.append(SMTP(self.handler, loop=asyncio.get_running_loop(), **self.options))
        return self.instances[-1]

    async def __aenter__(self) -> Stock:
        self.server = await asyncio.get_running_loop().create_server(self.factory, "127.0.0.1", 0)
        self.reader, self.writer = await asyncio.open_connection(*self.server.sockets[0].getsockname())
        await self.line()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        self.server.close()
        await asyncio.sleep(0)

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), 10)).decode().rstrip("\r\n")

    async def ask(self, command: bytes) -> str:
        self.writer.write(command + b"\r\n")
        text = await self.line()
        while text[3:4] == "-":
            text = await self.line()
        return text


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def ours(stage: SmtpStage) -> HardenedSmtp:
    settings = SmtpSettings("mx.hopital.mssante.fr", door_context(False))
    return HardenedSmtp(stage.reception, settings, Door("smtp", total=9, per_address=9), asyncio.get_running_loop())


def test_the_version_is_the_one_that_was_studied() -> None:
    assert aiosmtpd.__version__.startswith("1.4.") and tuple(map(int, aiosmtpd.__version__.split("."))) >= (1, 4, 6)  # noqa: RUF048


# ---------------------------------------------------------------- DATA line by line, joined in memory


async def test_stock_reads_data_by_lines_and_joins_them_in_memory(stage: SmtpStage) -> None:
    assert SMTP.line_length_limit == 1001, "its reader never holds more than a line or two"
    async with Stock(Handler()) as stock:
        for command in (b"EHLO x", b"MAIL FROM:<a@b.fr>", b"RCPT TO:<c@d.fr>", b"DATA"):
            await stock.ask(command)
        await stock.ask(b"line\r\n" * 1000 + b".")
        (envelope,) = stock.handler.envelopes
        assert envelope.content == b"line\r\n" * 1000, "one value in memory"
    assert "smtp_DATA" in vars(HardenedSmtp) and "smtp_BDAT" not in dir(SMTP)
    wire = await stage.session(await stage.open(message_bytes=8 << 20))
    await wire.asks(MAIL, f"RCPT TO:<{ALICE}>")
    assert (await wire.data(message(text="x" * 5000))).startswith("250 "), "no limit of a line or two"


# ---------------------------------------------------------------- EOF right after the final dot


async def test_stock_cancels_the_hook_at_eof_and_ours_commits(stage: SmtpStage) -> None:
    fate: list[str] = []
    begun = asyncio.Event()

    class Slow:
        async def handle_DATA(self, *_: object) -> str:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                fate.append("cancelled")
                raise
            return "250 OK"

    async with Stock(Slow()) as stock:
        for command in (b"EHLO x", b"MAIL FROM:<a@b.fr>", b"RCPT TO:<c@d.fr>", b"DATA"):
            await stock.ask(command)
        stock.writer.write(b"x\r\n.\r\n")
        await asyncio.wait_for(begun.wait(), 10)
        stock.writer.write_eof()
        async with asyncio.timeout(10):
            while not fate:
                await asyncio.sleep(0)
    assert fate == ["cancelled"]
    wire = await stage.session(await stage.open())
    await wire.asks(MAIL, f"RCPT TO:<{ALICE}>", "DATA")
    wire.writer.write(message() + b".\r\n")
    wire.writer.close()
    await stage.idle()
    await stage.settled()
    assert await stage.bodies() == [message()]


# ---------------------------------------------------------------- faults


async def test_stock_answers_500_with_the_fault_and_ours_451_without(
        stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        async def handle_MAIL(self, *_: object) -> str:
            raise RuntimeError("secret")

    async with Stock(Broken()) as stock:
        await stock.ask(b"EHLO x")
        reply = await stock.ask(b"MAIL FROM:<a@b.fr>")
        assert reply == "500 Error: (RuntimeError) secret"
    wire = await stage.session(await stage.open())

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(stage.trust, "may_send", broken)
    reply = await wire.ask(MAIL)
    assert reply.startswith("451 4.3.0 ") and "secret" not in reply


# ---------------------------------------------------------------- command_size_limits


async def test_stock_shares_its_line_limits_between_connections_and_ours_does_not(stage: SmtpStage) -> None:
    assert "command_size_limits" in vars(SMTP), "a class attribute"
    one = SMTP(Handler(), hostname="x", loop=asyncio.get_running_loop())
    one.command_size_limits["MAIL"] = 4096
    SMTP(Handler(), hostname="x", loop=asyncio.get_running_loop())
    assert not one.command_size_limits, "another connection cleared it"
    model = ours(stage)
    assert model.command_size_limits is not SMTP.command_size_limits
    SMTP.command_size_limits["MAIL"] = 1
    ours(stage)
    assert SMTP.command_size_limits == {"MAIL": 1}, "ours touches nobody's"
    SMTP.command_size_limits.clear()


# ---------------------------------------------------------------- MAIL and RCPT parameters


async def test_stock_refuses_the_parameters_of_dsn_and_ours_takes_them(stage: SmtpStage) -> None:
    async with Stock(Handler()) as stock:
        await stock.ask(b"EHLO x")
        assert (await stock.ask(b"MAIL FROM:<a@b.fr> RET=HDRS ENVID=x")).startswith("555 ")
        await stock.ask(b"MAIL FROM:<a@b.fr>")
        assert (await stock.ask(b"RCPT TO:<c@d.fr> NOTIFY=NEVER")).startswith("555 ")
    wire = await stage.session(await stage.open())
    assert (await wire.ask(f"{MAIL} RET=HDRS ENVID=CaseKept")).startswith("250 ")
    assert (await wire.ask(f"RCPT TO:<{ALICE}> NOTIFY=SUCCESS ORCPT=rfc822;CaseKept")).startswith("250 ")
    await wire.data(message())
    (item,) = await stage.queue()
    (report,) = await stage.stores.database.read(
        lambda tx: stage.stores.messages.contents(tx, [item.message_id], with_body=True))
    assert b"CaseKept" in (report.inline or b"")


async def test_stock_takes_nul_and_bare_cr_in_commands_and_ours_does_not(stage: SmtpStage) -> None:
    async with Stock(Handler()) as stock:
        await stock.ask(b"EHLO x")
        assert (await stock.ask(b"NOOP \x00 \r x")).startswith("250 ")
    wire = await stage.session(await stage.open())
    for line in (b"NOOP \x00 x\r\n", b"NOOP \r x\r\n"):
        await wire.send(line)
        assert (await wire.reply()).endswith("[SMTP-LIGNE]")


# ---------------------------------------------------------------- EHLO


async def test_stock_announces_few_extensions_and_ours_the_table(stage: SmtpStage) -> None:
    async with Stock(Handler()) as stock:
        stock.writer.write(b"EHLO x\r\n")
        lines = []
        while not lines or lines[-1][3] == "-":
            lines.append(await stock.line())
        assert not {"PIPELINING", "ENHANCEDSTATUSCODES", "DSN"} & {line[4:] for line in lines}
    wire = await stage.connect(await stage.open())
    await wire.reply()
    assert {"PIPELINING", "ENHANCEDSTATUSCODES", "DSN"} <= {line[4:] for line in (await wire.ask("EHLO x")).split("\n")}


# ---------------------------------------------------------------- names, logs


async def test_stock_asks_dns_for_its_name_and_ours_never(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(socket, "getfqdn", lambda *_: asked.append(True) or "x")
    SMTP(Handler(), loop=asyncio.get_running_loop())
    assert asked == [True]
    ours(stage).spawn()
    assert asked == [True]


async def test_the_library_s_own_log_which_names_people_is_silent(
        stage: SmtpStage, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    assert aiosmtpd.smtp.log.name == "mail.log"
    with caplog.at_level(logging.DEBUG):
        wire = await stage.session(await stage.open())
        await wire.asks(MAIL, f"RCPT TO:<{ALICE}>", "VRFY docteur@a.mssante.fr", "HELP", "FOO")
        await wire.data(message())
        await wire.ask("QUIT")
    said = caplog.text + "".join(capfd.readouterr())
    assert logging.getLogger("mail.log").level > logging.ERROR
    assert "docteur" not in said and "alice" not in said and "Essai" not in said


# ---------------------------------------------------------------- AUTH


async def test_stock_s_authenticator_blocks_the_loop_and_ours_is_awaited() -> None:
    seen: list[bool] = []

    def authenticator(*_: object) -> Any:
        seen.append(True)  # called by the loop itself: an awaitable would be taken as its result
        return aiosmtpd.smtp.AuthResult(success=True)

    async with Stock(Handler(), authenticator=authenticator, auth_require_tls=False) as stock:
        await stock.ask(b"EHLO x")
        assert (await stock.ask(b"AUTH PLAIN AGEAYg==")).startswith("235 ")
    assert seen == [True] and "smtp_AUTH" in vars(HardenedSmtp)
    assert not [name for name in dir(HardenedSmtp) if name.startswith("auth_") and name in vars(HardenedSmtp)]


# ---------------------------------------------------------------- a failed handshake


async def test_a_failed_handshake_is_one_line_and_no_traceback(
        stage: SmtpStage, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    wire = await stage.connect(await stage.open())
    await wire.reply()
    await wire.ask("STARTTLS")
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        await wire.upgrade("foreign")
        await wire.ask("EHLO x")
    await stage.idle()
    said = caplog.text + "".join(capfd.readouterr())
    assert "Traceback" not in said and said.count("handshake_failed") == 1


async def test_stock_offers_starttls_inside_tls_and_ours_does_not(stage: SmtpStage) -> None:
    async with Stock(Handler(), tls_context=door_context(False)) as stock:
        await stock.ask(b"EHLO x")
        assert (await stock.ask(b"STARTTLS")).startswith("220 ")
    wire = await stage.session(await stage.open())
    assert "STARTTLS" not in await wire.ask("EHLO x")


# ---------------------------------------------------------------- what we lean on


def test_the_verbs_are_found_by_their_names() -> None:
    found = {name.removeprefix("smtp_") for name in dir(SMTP) if name.startswith("smtp_")}
    assert found == {"AUTH", "DATA", "EHLO", "EXPN", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET", "STARTTLS", "VRFY"}
    own = {name.removeprefix("smtp_") for name in vars(HardenedSmtp) if name.startswith("smtp_")}
    assert found == own, "every verb is answered by ours"


async def test_the_constructor_makes_the_table_of_verbs(stage: SmtpStage) -> None:
    made = ours(stage)
    assert set(made._smtp_methods) == {name.removeprefix("smtp_") for name in dir(HardenedSmtp) if name.startswith("smtp_")}


def test_the_hooks_that_stay_uncalled_are_no_methods_of_a_policy() -> None:
    from mssante.services.reception import Reception
    from mssante.services.submission import Submission

    for policy in (Reception, Submission):
        assert not [name for name in dir(policy) if name.startswith("handle_")], "aiosmtpd would call them"
        assert not [name for name in dir(policy) if name.startswith("auth_")]
    assert MISSING is not None
