"""Mail from our own users over real TLS: login = envelope sender = From, and nobody outside the trust space."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, BOB, CITIZEN, OURS, PASSWORD, SmtpStage, Wire, build, message

from mssante.documents.ins import ins_key
from mssante.model.journal import JournalKind
from mssante.model.mailbox import MailboxState
from mssante.model.message import StoredMessage
from mssante.services.accounts import hash_secret

MAIL = f"MAIL FROM:<{ALICE}>"
REMOTE = "docteur@a.mssante.fr"
_BODY = "2850178000001"
INS = f"{_BODY}{ins_key(_BODY):02d}"
BAD_KEY = f"{_BODY}{(ins_key(_BODY) or 0) % 97 + 1:02d}"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def logged_in(stage: SmtpStage, login: str = ALICE, **settings: int) -> Wire:
    wire = await stage.connect(await stage.open("submissions", **settings), tls=True)
    await wire.reply()
    await wire.ask("EHLO poste-du-cabinet")
    word = b64encode(f"\0{login}\0{PASSWORD}".encode()).decode()
    assert (await wire.ask(f"AUTH PLAIN {word}")).startswith("235 ")
    return wire


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await logged_in(stage)


async def queued(stage: SmtpStage) -> list[StoredMessage]:
    ids = list(dict.fromkeys(item.message_id for item in await stage.queue()))
    return await stage.stores.database.read(lambda tx: stage.stores.messages.contents(tx, ids, with_body=True))


@pytest.mark.parametrize(("sender", "code"), [
    (ALICE, "250"), (ALICE.upper(), "250"), (BOB, "553"), (f"absent@{OURS}", "553"), (REMOTE, "553"), ("", "553")])
async def test_the_sender_is_a_mailbox_of_the_login(stage: SmtpStage, wire: Wire, sender: str, code: str) -> None:
    for _ in range(2):  # from storage, then from memory
        reply = await wire.ask(f"MAIL FROM:<{sender}>")
        assert reply.startswith(code) and (code == "250" or reply.endswith("[EXPEDITEUR-AUTRE]"))
        await wire.ask("RSET")


async def test_a_login_may_write_from_each_of_its_mailboxes(stage: SmtpStage) -> None:
    ids = tuple(stage.mailboxes[one].id for one in (ALICE, BOB))
    secret = hash_secret(PASSWORD)
    await stage.stores.database.write(
        lambda tx: stage.stores.accounts.create_accounts(tx, [("secretariat", secret, ids)]))
    wire = await logged_in(stage, "secretariat")
    for sender in (ALICE, BOB):
        assert [reply[:3] for reply in await wire.asks(f"MAIL FROM:<{sender}>", f"RCPT TO:<{BOB}>")] == ["250", "250"]
        assert (await wire.data(message(sender))).startswith("250 ")


async def test_a_closed_mailbox_writes_no_more(stage: SmtpStage, wire: Wire) -> None:
    await stage.set_state(ALICE, MailboxState.CLOSED)
    assert (await wire.ask(MAIL)).endswith("[BOITE-FERMEE]")


@pytest.mark.parametrize(("recipient", "code", "rule"), [
    (BOB, "250", ""), (REMOTE, "250", ""), (f"absent@{OURS}", "550", "BOITE-INCONNUE"), ("x@gmail.com", "550", "HORS-ESPACE"),
    (f"x@sub.{OURS}", "550", "HORS-ESPACE"), ("x@mssante.fr", "550", "HORS-ESPACE"), (f"{INS}@{CITIZEN}", "250", ""),
    (f"{BAD_KEY}@{CITIZEN}", "553", "INS-ADRESSE"), (f"marie.durand@{CITIZEN}", "553", "INS-ADRESSE"),
    (f"{INS}0@{CITIZEN}", "553", "INS-ADRESSE")])
async def test_recipients(stage: SmtpStage, wire: Wire, recipient: str, code: str, rule: str) -> None:
    await wire.ask(MAIL)
    reply = await wire.ask(f"RCPT TO:<{recipient}>")
    assert reply.startswith(code) and (not rule or reply.endswith(f"[{rule}]"))
    if rule == "HORS-ESPACE":
        assert "liste blanche du 2026-03-01" in reply and "Annuaire" in reply and recipient.partition("@")[2] in reply
    if rule == "INS-ADRESSE":
        local = recipient.partition("@")[0]
        assert local not in reply and local not in repr(await stage.journal())


@pytest.mark.parametrize("policy", ["warn", "off"])
async def test_a_wrong_key_may_be_let_through_by_configuration(tmp_path: Path, policy: str) -> None:
    stage = await build(tmp_path, check_ins=policy)
    try:
        wire = await logged_in(stage)
        assert (await wire.asks(MAIL, f"RCPT TO:<{BAD_KEY}@{CITIZEN}>"))[1].startswith("250 ")
    finally:
        await stage.close()


async def test_local_and_remote_recipients_go_in_one_transaction(stage: SmtpStage, wire: Wire) -> None:
    body = message(ALICE)
    recipients = [BOB, REMOTE, "deux@a.mssante.fr", "x@b.mssante.fr", REMOTE.upper()]
    await wire.ask(f"{MAIL} RET=HDRS ENVID=env1")
    for recipient in recipients:
        assert (await wire.ask(f"RCPT TO:<{recipient}> NOTIFY=FAILURE")).startswith("250 ")
    reply = await wire.data(body)
    assert reply.startswith("250 2.0.0 ")
    assert await stage.bodies(BOB) == [body]
    items = await stage.queue()
    assert [(item.address, item.destination) for item in items] == [
        (REMOTE, "a.mssante.fr"), ("deux@a.mssante.fr", "a.mssante.fr"), ("x@b.mssante.fr", "b.mssante.fr")]
    assert {(item.sender, item.trace_id, item.expires_at) for item in items} == {
        (ALICE, reply.split()[-1], stage.clock.now() + timedelta(hours=48))}
    (content,) = await queued(stage)
    assert content.inline == body
    (event,) = await stage.journal(JournalKind.SUBMITTED)
    assert event.payload["login"] == ALICE and "Essai" not in repr(event)


async def test_the_network_of_the_user_is_not_told(stage: SmtpStage, wire: Wire) -> None:
    await wire.asks(MAIL, f"RCPT TO:<{REMOTE}>")
    await wire.data(message(ALICE))
    (content,) = await queued(stage)
    assert b"127.0.0.1" not in content.prefix and b"poste-du-cabinet" not in content.prefix
    assert b" with ESMTPSA id " in content.prefix and b"Return-Path" not in content.prefix


@pytest.mark.parametrize("inline_limit", [64 * 1024, 100])
async def test_missing_headers_come_as_a_prefix_and_the_body_stays(tmp_path: Path, inline_limit: int) -> None:
    stage = await build(tmp_path, inline_limit=inline_limit)
    try:
        wire = await logged_in(stage)
        body = f"From: {ALICE}\r\nSubject: sans date\r\n\r\n{'x' * 200}\r\n".encode()
        await wire.asks(MAIL, f"RCPT TO:<{BOB}>")
        trace_id = (await wire.data(body)).split()[-1]
        (stored,) = await stage.inbox(BOB)
        assert await stage.bodies(BOB) == [body]
        assert b"\r\nDate: Sun, 01 Mar 2026 12:00:00 +0000\r\n" in stored.prefix
        assert f"\r\nMessage-ID: <{trace_id}@{OURS}>\r\n".encode() in stored.prefix
        assert trace_id.encode() in stored.envelope and b"Sun, 01 Mar 2026" in stored.envelope
    finally:
        await stage.close()


async def test_present_headers_are_not_doubled(stage: SmtpStage, wire: Wire) -> None:
    await wire.asks(MAIL, f"RCPT TO:<{BOB}>")
    await wire.data(message(ALICE))
    (stored,) = await stage.inbox(BOB)
    assert b"Date:" not in stored.prefix and b"Message-ID:" not in stored.prefix


@pytest.mark.parametrize(("lines", "rule"), [
    ([f"From: {ALICE}"], ""), ([f"From: Alice Martin <{ALICE.upper()}>"], ""), ([f"From: {BOB}"], "FROM-DIFFERENT"),
    ([f"From: {REMOTE}"], "FROM-DIFFERENT"), ([f'From: "{ALICE}" <{BOB}>'], "FROM-DIFFERENT"), ([f"From: {ALICE}, {BOB}"], "FROM-DIFFERENT"),
    ([f"From: {ALICE}", f"From: {BOB}"], "FROM-UNIQUE"), ([], "FROM-UNIQUE"), (["From: personne"], "FROM-UNIQUE")])
async def test_from_is_the_sender(stage: SmtpStage, wire: Wire, lines: list[str], rule: str) -> None:
    body = "".join(f"{line}\r\n" for line in [*lines, "Subject: x", "", "y"]).encode()
    await wire.asks(MAIL, f"RCPT TO:<{BOB}>", f"RCPT TO:<{REMOTE}>")
    reply = await wire.data(body)
    if not rule:
        assert reply.startswith("250 ")
        return
    assert reply.startswith("554 ") and reply.endswith(f"[{rule}]")
    assert await stage.bodies(BOB) == [] and await stage.queue() == []
    (event,) = await stage.journal(JournalKind.DATA_REFUSED)
    assert (event.payload["rule"], event.subject) == (rule, ALICE)


async def test_loops_end(stage: SmtpStage, wire: Wire) -> None:
    await wire.asks(MAIL, f"RCPT TO:<{BOB}>")
    assert (await wire.data(message(ALICE, extra="Received: by x\r\n" * 51))).endswith("[BOUCLE]")


async def test_sizes_by_destination(tmp_path: Path) -> None:
    stage = await build(tmp_path, size_limits={"a.mssante.fr": 1000})
    try:
        wire = await logged_in(stage)
        await wire.ask(f"{MAIL} SIZE=1001")
        reply = await wire.ask(f"RCPT TO:<{REMOTE}>")
        assert reply.startswith("552 5.3.4") and "1000" in reply
        assert (await wire.ask("RCPT TO:<x@b.mssante.fr>")).startswith("250 ")
        await wire.asks("RSET", MAIL, f"RCPT TO:<{REMOTE}>", f"RCPT TO:<{BOB}>")
        assert (await wire.data(message(ALICE, text="x" * 900))).endswith("[TAILLE]")
        assert await stage.bodies(BOB) == [], "all or none"
        await wire.asks(MAIL, f"RCPT TO:<{REMOTE}>")
        assert (await wire.data(message(ALICE))).startswith("250 ")
    finally:
        await stage.close()


async def test_success_for_a_local_recipient_is_filed_in_the_senders_inbox(stage: SmtpStage, wire: Wire) -> None:
    await wire.ask(MAIL)
    await wire.asks(f"RCPT TO:<{BOB}> NOTIFY=SUCCESS", f"RCPT TO:<{REMOTE}> NOTIFY=SUCCESS")
    await wire.data(message(ALICE))
    (report,) = await stage.inbox(ALICE)
    assert report.prefix == b"Return-Path: <>\r\n" and b"Action: delivered" in (report.inline or b"")
    assert BOB.encode() in (report.inline or b"") and REMOTE.encode() not in (report.inline or b"")
    assert len(await stage.queue()) == 1


async def test_below_the_reserve_nothing_new_is_begun(tmp_path: Path) -> None:
    stage = await build(tmp_path, reserve=1 << 62)
    try:
        assert (await (await logged_in(stage)).ask(MAIL)).endswith("[DISQUE-PLEIN]")
    finally:
        await stage.close()
