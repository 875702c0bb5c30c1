"""Commands of the operator port over real TLS: order, syntax, pipelining, limits, and what ends a session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, BOB, OURS, SmtpStage, Wire, build, message

from mssante.model.journal import JournalKind

MAIL = "MAIL FROM:<docteur@a.mssante.fr>"
RCPT = f"RCPT TO:<{ALICE}>"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await stage.session(await stage.open())


# ---------------------------------------------------------------- order


@pytest.mark.parametrize(("before", "command", "reply"), [
    ([], RCPT, "503 5.5.1"), ([], "DATA", "503 5.5.1"), ([MAIL], MAIL, "503 5.5.1"), ([MAIL], "DATA", "554 5.5.1"),
    ([MAIL, "RSET"], RCPT, "503 5.5.1"), ([MAIL, RCPT, "RSET"], "DATA", "503 5.5.1"),
    ([MAIL, RCPT, "EHLO again"], "DATA", "503 5.5.1"), ([MAIL, RCPT, "HELO again"], RCPT, "503 5.5.1"),
    ([MAIL, RCPT], "DATA now", "501 5.5.4"), ([MAIL, "NOOP", RCPT, "NOOP", f"VRFY {BOB}"], "DATA", "354 "),
    (["HELO mx.a.mssante.fr"], MAIL, "250 2.1.0"), (["RSET"], MAIL, "250 2.1.0")])
async def test_order_of_commands(wire: Wire, before: list[str], command: str, reply: str) -> None:
    await wire.asks(*before)
    assert (await wire.ask(command)).startswith(reply)


async def test_a_transaction_ends_with_its_message_and_the_next_begins_anew(stage: SmtpStage, wire: Wire) -> None:
    for text in ("premier", "second"):
        assert [(await wire.ask(one))[:3] for one in (MAIL, RCPT)] == ["250", "250"]
        assert (await wire.data(message(text=text))).startswith("250 2.0.0 ")
    assert (await wire.ask(RCPT)).startswith("503 ")
    assert await stage.bodies() == [message(text="premier"), message(text="second")]


async def test_the_reply_to_data_carries_the_trace_id_of_the_stored_message(stage: SmtpStage, wire: Wire) -> None:
    await wire.asks(MAIL, RCPT)
    reply = await wire.data(message())
    (stored,) = await stage.inbox()
    assert reply.split()[-1] == stored.trace_id
    (event,) = await stage.journal(JournalKind.RECEIVED)
    assert event.trace_id == stored.trace_id


# ---------------------------------------------------------------- pipelining


async def test_a_pipelined_batch_is_answered_in_order_with_mixed_recipients(stage: SmtpStage, wire: Wire) -> None:
    batch = [MAIL, RCPT, f"RCPT TO:<absent@{OURS}>", "RCPT TO:<x@b.mssante.fr>", f"RCPT TO:<{BOB}>", "RCPT TO:<nothing>", "DATA"]
    await wire.send("".join(f"{line}\r\n" for line in batch).encode())
    found = [await wire.reply() for _ in batch]
    assert [reply[:9] for reply in found] == [
        "250 2.1.0", "250 2.1.5", "550 5.1.1", "550 5.7.1", "250 2.1.5", "553 5.1.3", found[-1][:9]]
    assert found[2].endswith("[BOITE-INCONNUE]") and found[3].endswith("[RELAIS-INTERDIT]")
    assert found[-1].startswith("354 ")
    await wire.send(message() + b".\r\n" + b"NOOP\r\n")
    assert (await wire.reply()).startswith("250 2.0.0 Pris en charge")
    assert (await wire.reply()).startswith("250 2.0.0 OK")
    assert await stage.bodies(ALICE) == await stage.bodies(BOB) == [message()]
    assert len(await stage.journal(JournalKind.RECIPIENT_REFUSED)) == 2


async def test_a_batch_whose_recipients_are_all_refused_gets_no_354(stage: SmtpStage, wire: Wire) -> None:
    await wire.send(f"{MAIL}\r\nRCPT TO:<absent@{OURS}>\r\nDATA\r\nNOOP\r\n".encode())
    found = [await wire.reply() for _ in range(4)]
    assert found[2].endswith("[RCPT-AUCUN]") and found[3].startswith("250 ")


async def test_a_whole_conversation_in_one_write_and_then_octet_by_octet(stage: SmtpStage, wire: Wire) -> None:
    whole = f"{MAIL}\r\n{RCPT}\r\nDATA\r\n".encode() + message() + b".\r\nQUIT\r\n"
    other = await stage.session(await stage.open())
    await wire.send(whole)
    await other.send(*[whole[place:place + 1] for place in range(len(whole))])
    for one in (wire, other):
        text = (await one.rest()).decode()
        assert [line[:4] for line in text.splitlines()] == ["250 ", "250 ", "354 ", "250 ", "221 "]
    assert await stage.bodies() == [message()] * 2


async def test_ten_thousand_pipelined_commands_are_all_answered(stage: SmtpStage, wire: Wire) -> None:
    count = 10_000
    wire.writer.write(b"NOOP\r\n" * count + b"QUIT\r\n")
    lines = (await wire.rest()).splitlines()
    assert len(lines) == count + 1 and set(lines[:-1]) == {b"250 2.0.0 OK"}


# ---------------------------------------------------------------- lines and syntax


async def test_a_line_may_come_in_halves(wire: Wire) -> None:
    await wire.send(b"NO", b"OP\r", b"\n")
    assert (await wire.reply()).startswith("250 ")


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\x00OP\r\n", b"NOOP\rRSET\r\n", b"\x00\r\n", b"MAIL FROM:<a@b.c>\rX\r\n", b"\n"])
async def test_bare_line_ends_and_nul_are_refused_and_the_session_goes_on(wire: Wire, line: bytes) -> None:
    await wire.send(line)
    assert (await wire.reply()).endswith("[SMTP-LIGNE]")
    assert (await wire.ask("NOOP")).startswith("250 ")


@pytest.mark.parametrize("line", [b"NOOP " + b"x" * 3000 + b"\r\n", b"x" * 20_000, b"MAIL FROM:<" + b"a" * 5000 + b"@a.mssante.fr>\r\n"])
async def test_an_overlong_line_is_refused_and_closes(wire: Wire, line: bytes) -> None:
    await wire.send(line)
    assert (await wire.reply()).endswith("[SMTP-LIGNE-LONGUE]")
    assert b"250" not in await wire.rest()


async def test_the_limit_of_a_line_leaves_room_for_the_parameters_of_dsn(wire: Wire) -> None:
    assert (await wire.ask(f"{MAIL} ENVID={'e' * 100} RET=FULL")).startswith("250 ")
    assert (await wire.ask(f"{RCPT} ORCPT=rfc822;{'o' * 500} NOTIFY=SUCCESS,FAILURE,DELAY")).startswith("250 ")


@pytest.mark.parametrize("line", [
    b"BDAT 5 LAST", b"BDAT 18446744073709551616", b"BDAT -1", b"FOO", b"", b" ", b"MAIL", b"\xff\xfe\xfd", b"XCLIENT NAME=x",
    b"ETRN x", b"TURN", b"SEND FROM:<a@b.fr>", b"GET / HTTP/1.1", b"__init__", b"SMTP_MAIL"])
async def test_commands_that_are_not_ours_are_answered_once(wire: Wire, line: bytes) -> None:
    await wire.send(line + b"\r\n")
    reply = await wire.reply()
    assert reply[:3] in ("500", "501") and reply.endswith(("[SMTP-COMMANDE]", "[SMTP-SYNTAXE]"))
    assert (await wire.ask("noop")).startswith("250 ")


@pytest.mark.parametrize(("command", "reply"), [
    ("EHLO", "501"), ("HELO", "501"), (f"EHLO {'x' * 256}", "501"), ("MAIL FROM:docteur@a.mssante.fr", "501"),
    ("MAIL TO:<docteur@a.mssante.fr>", "501"), (f"{MAIL} SIZE=x", "501"), (f"{MAIL} SIZE=-1", "501"), (f"{MAIL} SIZE=+5", "501"),
    (f"{MAIL} SIZE=999999999999999999999", "501"), (f"{MAIL} SIZE=1 SIZE=2", "501"), (f"{MAIL} RET=ALL", "501"),
    (f"{MAIL} ENVID=a+b", "501"), (f"{MAIL} BODY=BINARYMIME", "555"), (f"{MAIL} XFOO", "555"), (f"{MAIL} SIZE=1048577", "552"),
    (f"{MAIL} SIZE=1048576 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x AUTH=<>", "250"), ("MAIL FROM:<@x.fr:docteur@a.mssante.fr>", "553"),
    ('MAIL FROM:<"do cteur"@a.mssante.fr>', "553"), ("MAIL FROM:<docteur@[127.0.0.1]>", "553"), ("mail from:<docteur@A.MSSANTE.FR>", "250"),
    ("VRFY", "501"), ("EXPN staff", "502")])
async def test_syntax_of_commands(wire: Wire, command: str, reply: str) -> None:
    assert (await wire.ask(command)).startswith(reply)
    assert (await wire.ask("RSET")).startswith("250 ")


@pytest.mark.parametrize(("command", "reply"), [
    ("RCPT TO:<>", "501"), ("RCPT TO:alice", "501"), (f"{RCPT} NOTIFY=NEVER,SUCCESS", "501"), (f"{RCPT} NOTIFY=LATER", "501"),
    (f"{RCPT} ORCPT=x", "501"), (f"{RCPT} ORCPT=rfc822;a+", "501"), (f"{RCPT} FOO=1", "555"), (f"{RCPT} SIZE=1", "555"),
    (f"RCPT TO:<alice%b.mssante.fr@{OURS}>", "553"), ("RCPT TO:<b.mssante.fr!alice@hopital.mssante.fr>", "550"),
    (f"RCPT TO:<alice@{OURS}.>", "553"), (f"RCPT TO:<alice@evil{OURS}>", "550"), (f"RCPT TO:<ALICE@{OURS.upper()}>", "250"),
    ("RCPT TO:<postmaster>", "553"), (f"RCPT TO:<été@{OURS}>", "553")])
async def test_syntax_of_recipients(wire: Wire, command: str, reply: str) -> None:
    await wire.ask(MAIL)
    assert (await wire.ask(command)).startswith(reply)


async def test_vrfy_tells_nobody_who_exists(wire: Wire) -> None:
    assert (await wire.ask(f"VRFY <{ALICE}>")) == (await wire.ask(f"VRFY <absent@{OURS}>"))
    assert (await wire.ask(f"VRFY {ALICE}")).startswith("252 2.5.2 ")


async def test_help_answers_whatever_it_is_asked(wire: Wire) -> None:
    for verb in ("", *["HELP", "VRFY", "MAIL", "RCPT", "DATA", "EHLO", "AUTH", "STARTTLS", "QUIT", "NOOP", "RSET", "EXPN", "FOO"]):
        assert (await wire.ask(f"HELP {verb}".strip())).startswith("214 2.0.0 ")


async def test_auth_is_not_there_between_operators(wire: Wire) -> None:
    assert (await wire.ask("AUTH PLAIN AGEAYg==")).endswith("[AUTH-ABSENTE]")


# ---------------------------------------------------------------- limits


async def test_too_many_recipients_are_put_off_and_the_others_served(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(recipients=1))
    assert (await wire.asks(MAIL, RCPT))[1].startswith("250 ")
    reply = await wire.ask(f"RCPT TO:<{BOB}>")
    assert reply.startswith("452 4.5.3 ") and reply.endswith("[RCPT-NOMBRE]")
    assert (await wire.data(message())).startswith("250 ")
    assert (len(await stage.bodies(ALICE)), len(await stage.bodies(BOB))) == (1, 0)


async def test_the_same_mailbox_named_twice_is_filed_once(stage: SmtpStage, wire: Wire) -> None:
    assert [reply[:3] for reply in await wire.asks(MAIL, RCPT, RCPT, f"RCPT TO:<Alice@{OURS}>")] == ["250"] * 4
    await wire.data(message())
    assert len(await stage.bodies()) == 1


async def test_too_many_errors_end_the_session(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(errors=3))
    for _ in range(3):
        assert (await wire.ask("FOO")).startswith("500 ")
    assert (await wire.ask("FOO")).startswith("500 ")
    assert (await wire.reply()).endswith("[SESSION-ERREURS]")
    await wire.closed()


async def test_refused_recipients_count_as_errors_even_when_pipelined(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(errors=5))
    await wire.send(f"{MAIL}\r\n".encode() + f"RCPT TO:<absent@{OURS}>\r\n".encode() * 100)
    lines = (await wire.rest()).decode().splitlines()
    assert len(lines) == 8 and lines[-1].endswith("[SESSION-ERREURS]")


async def test_too_many_commands_end_the_session(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(commands=5))
    text = ""
    for _ in range(5):
        text = await wire.ask("NOOP")
        if text.startswith("421"):
            break
    assert text.startswith("421 ") and text.endswith("[SESSION-COMMANDES]")
    await wire.closed()


async def test_a_session_without_progress_is_told_421_and_closed(stage: SmtpStage) -> None:
    port = await stage.open()
    silent = await stage.connect(port)
    await silent.reply()
    sending = await stage.session(port)
    await sending.asks(MAIL, RCPT, "DATA")
    await sending.send(b"Subject: never ends\r\n")
    await sending.send(b"")
    stage.doors[0].sweep()
    assert stage.doors[0].open_sessions == 2, "both have time left"
    for session in stage.sessions:
        session.deadline = 0.0
    stage.doors[0].sweep()
    for wire in (silent, sending):
        assert (await wire.reply()).endswith("[SESSION-DELAI]")
        await wire.closed()
    await stage.idle()
    assert await stage.bodies() == []


async def test_progress_moves_the_deadline(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(command_seconds=1000.0, data_seconds=5000.0))
    (session,) = stage.sessions
    session.deadline = 0.0
    await wire.ask("NOOP")
    first = session.deadline
    assert first > 0.0
    await wire.asks(MAIL, RCPT, "DATA")
    assert session.deadline > first + 3000


# ---------------------------------------------------------------- doors


@pytest.mark.parametrize("limits", [{"total": 1}, {"per_address": 1}])
async def test_a_full_door_says_so_and_opens_again(stage: SmtpStage, limits: dict[str, int]) -> None:
    port = await stage.open(**limits)
    first = await stage.connect(port)
    await first.reply()
    second = await stage.connect(port)
    assert (await second.reply()).endswith("[SESSION-NOMBRE]")
    await second.closed()
    assert (await first.ask("QUIT")).startswith("221 ")
    await first.closed()
    await stage.idle()
    assert (await (await stage.connect(port)).reply()).startswith("220 ")


async def test_drain_says_421_to_idle_sessions_and_lets_a_transaction_end(stage: SmtpStage) -> None:
    port = await stage.open()
    idle, busy = await stage.session(port), await stage.session(port)
    await busy.asks(MAIL, RCPT, "DATA")
    for session in stage.sessions:
        session.drain()
    assert (await idle.reply()).endswith("[SERVICE-ARRET]")
    await idle.closed()
    await busy.send(message() + b".\r\n")
    assert (await busy.reply()).startswith("250 ")
    await stage.doors[0].close(5.0)
    assert (await busy.reply()).endswith("[SERVICE-ARRET]")
    assert len(await stage.bodies()) == 1


async def test_sessions_of_one_door_share_nothing(stage: SmtpStage) -> None:
    port = await stage.open()
    one, two = await stage.session(port), await stage.session(port, "b")
    assert (await one.ask(MAIL)).startswith("250 ")
    assert (await two.ask(RCPT)).startswith("503 ")
    assert (await two.ask(MAIL)).endswith("[LB-LIAISON]")
    assert (await two.ask("MAIL FROM:<x@b.mssante.fr>")).startswith("250 ")
    assert (await one.ask(RCPT)).startswith("250 ")
    assert (await two.ask("RSET")).startswith("250 ")
    assert (await one.data(message())).startswith("250 ")
