"""Mail from other operators, octets in and octets out over real TLS: who may send, to whom, in whose name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, BOB, CITIZEN, OURS, SmtpStage, Wire, build, message

from mssante.model.journal import JournalKind
from mssante.model.mailbox import MailboxState
from mssante.observability.metrics import REGISTRY
from mssante.protocol.reports.dsn import parse_dsn

MAIL = "MAIL FROM:<docteur@a.mssante.fr>"
RCPT = f"RCPT TO:<{ALICE}>"
REPORT = "MAIL FROM:<>"
INS = "285017800000101"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await stage.session(await stage.open())


@pytest.mark.parametrize(("sender", "certificate", "reply", "rule"), [
    ("docteur@a.mssante.fr", "a", "250 ", ""), ("docteur@A.MSSANTE.FR", "a", "250 ", ""), ("docteur@b.mssante.fr", "a", "550 5.7.1", "LB-LIAISON"),
    (ALICE, "a", "550 5.7.1", "LB-LIAISON"), ("x@a.mssante.fr.evil.fr", "a", "550 5.7.1", "LB-DOMAINE"),
    ("x@sub.a.mssante.fr", "a", "550 5.7.1", "LB-DOMAINE"), ("x@mssante.fr", "a", "550 5.7.1", "LB-DOMAINE"),
    ("x@gmail.com", "a", "550 5.7.1", "LB-DOMAINE"), (f"x@{CITIZEN}", "b", "250 ", ""), ("", "a", "250 ", "")])
async def test_the_senders_domain_must_be_bound_to_the_certificate(
        stage: SmtpStage, sender: str, certificate: str, reply: str, rule: str) -> None:
    wire = await stage.session(await stage.open(), certificate)
    found = await wire.ask(f"MAIL FROM:<{sender}>")
    assert found.startswith(reply) and (not rule or found.endswith(f"[{rule}]"))
    refused = await stage.journal(JournalKind.SENDER_REFUSED)
    assert [event.payload["rule"] for event in refused] == ([rule] if rule else [])
    assert (await wire.ask(RCPT)).startswith("503 " if rule else "250 ")


@pytest.mark.parametrize(("state", "reply", "rule"), [
    (MailboxState.ACTIVE, "250 2.1.5", ""), (MailboxState.PUBLISHED, "250 2.1.5", ""), (MailboxState.SUSPENDED, "450 4.2.1", "BOITE-SUSPENDUE"),
    (MailboxState.CLOSED, "550 5.2.1", "BOITE-FERMEE"), (MailboxState.PURGED, "550 5.1.1", "BOITE-INCONNUE"),
    (MailboxState.PROVISIONED, "450 4.2.1", "BOITE-PAS-OUVERTE")])
async def test_the_state_of_the_mailbox_decides(stage: SmtpStage, wire: Wire, state: MailboxState, reply: str, rule: str) -> None:
    await stage.set_state(ALICE, state)
    await wire.ask(MAIL)
    for _ in range(2):  # read from storage, then from memory
        found = await wire.ask(RCPT)
        assert found.startswith(reply) and (not rule or found.endswith(f"[{rule}]"))


@pytest.mark.parametrize("recipient", ["x@b.mssante.fr", "x@gmail.com", f"x@sub.{OURS}", "x@mssante.fr", f"x@{CITIZEN}"])
async def test_nothing_is_relayed_for_third_parties(stage: SmtpStage, wire: Wire, recipient: str) -> None:
    await wire.ask(MAIL)
    assert (await wire.ask(f"RCPT TO:<{recipient}>")).endswith("[RELAIS-INTERDIT]")
    assert (await wire.ask("DATA")).startswith("554 ")
    (event,) = await stage.journal(JournalKind.RECIPIENT_REFUSED)
    assert event.subject == "docteur@a.mssante.fr" and event.trace_id


async def test_an_address_of_a_citizen_stands_in_no_event(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open(), "b")
    sender = f"{INS}@{CITIZEN}"
    await wire.asks(f"MAIL FROM:<{sender}>", f"RCPT TO:<{INS}@{CITIZEN}>", RCPT)
    assert (await wire.data(message(sender))).startswith("250 ")
    assert (await wire.asks(f"MAIL FROM:<{sender}>", RCPT))[1].startswith("250 ")
    assert (await wire.data(message("x@a.mssante.fr"))).startswith("554 ")
    events = await stage.journal()
    assert len(events) == 3 and INS not in repr(events)
    (received,) = [event for event in events if event.kind == "received"]
    assert received.subject.startswith("ins-") and received.subject.endswith(f"@{CITIZEN}")
    (stored,) = await stage.inbox()
    assert stored.prefix.startswith(f"Return-Path: <{sender}>\r\n".encode()), "the reader sees the true address"


# ---------------------------------------------------------------- in whose name


def raw(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "Subject: Essai", "", "Bonjour.")).encode()


@pytest.mark.parametrize(("mail", "lines", "rule"), [
    (MAIL, ["From: docteur@a.mssante.fr"], ""), (MAIL, ["From: Autre <autre@A.mssante.fr>"], ""),
    (MAIL, ['From: "x@b.mssante.fr" <docteur@a.mssante.fr>'], ""),
    (MAIL, ["From: x@b.mssante.fr"], "FROM-DOMAINE"), (MAIL, [f"From: {ALICE}"], "FROM-DOMAINE"), (MAIL, ["From: x@gmail.com"], "FROM-DOMAINE"),
    (MAIL, ["From: docteur@a.mssante.fr, x@b.mssante.fr"], "FROM-DOMAINE"),
    (MAIL, ["From: docteur@a.mssante.fr", "From: x@b.mssante.fr"], "FROM-UNIQUE"),
    (MAIL, ["From: docteur@a.mssante.fr", "from : docteur@a.mssante.fr"], "FROM-UNIQUE"),
    (MAIL, [], "FROM-UNIQUE"), (MAIL, ["From:"], "FROM-UNIQUE"), (MAIL, ["From: personne"], "FROM-UNIQUE"), (MAIL, ["From: <>"], "FROM-UNIQUE"),
    (MAIL, ["From: undisclosed:;"], "FROM-UNIQUE"), (MAIL, ["From: docteur@a.mssante.fr, personne"], "FROM-UNIQUE"),
    (MAIL, ["From:", " docteur@a.mssante.fr"], ""), (MAIL, ["Sender: x@b.mssante.fr", "From: docteur@a.mssante.fr"], ""),
    (REPORT, ["From: MAILER-DAEMON@a.mssante.fr"], ""), (REPORT, ["From: MAILER-DAEMON@mx.a.example.net"], ""), (REPORT, [], ""),
    (REPORT, ["From: MAILER-DAEMON@b.mssante.fr"], "FROM-DOMAINE"), (REPORT, [f"From: {ALICE}"], "FROM-DOMAINE"),
    (REPORT, ["From: x@a.mssante.fr", "From: x@b.mssante.fr"], "FROM-DOMAINE")])
async def test_the_author_must_be_covered_by_the_certificate(
        stage: SmtpStage, wire: Wire, mail: str, lines: list[str], rule: str) -> None:
    await wire.asks(mail, RCPT)
    reply = await wire.data(raw(*lines))
    if rule:
        assert reply.startswith("554 5.") and reply.endswith(f"[{rule}]")
        assert await stage.bodies() == []
        assert [event.payload["rule"] for event in await stage.journal(JournalKind.DATA_REFUSED)] == [rule]
    else:
        assert reply.startswith("250 ")
        assert await stage.bodies() == [raw(*lines)]


async def test_a_refusal_of_the_content_is_journalled_with_its_transaction(stage: SmtpStage, wire: Wire) -> None:
    await wire.asks(MAIL, RCPT)
    await wire.data(message("x@b.mssante.fr"))
    await wire.asks(MAIL, RCPT, "DATA")
    await wire.send(b"bare\nline\r\n.\r\n")
    await wire.reply()
    for event in await stage.journal(JournalKind.DATA_REFUSED):
        assert event.subject == "docteur@a.mssante.fr" and len(event.trace_id) == 26


@pytest.mark.parametrize(("hops", "good"), [(50, True), (51, False)])
async def test_loops_end(stage: SmtpStage, wire: Wire, hops: int, good: bool) -> None:
    await wire.asks(MAIL, RCPT)
    reply = await wire.data(message(extra="Received: by somewhere\r\n" * hops))
    assert reply.startswith("250 ") if good else reply.endswith("[BOUCLE]")


# ---------------------------------------------------------------- what is kept


async def test_the_prefix_is_ours_and_the_body_theirs(stage: SmtpStage, wire: Wire) -> None:
    await wire.asks(MAIL, RCPT, f"RCPT TO:<{BOB}>")
    await wire.data(message())
    (stored,) = await stage.inbox()
    lines = stored.prefix.split(b"\r\n")
    assert lines[0] == b"Return-Path: <docteur@a.mssante.fr>"
    assert lines[1].startswith(b"Received: from mx.a.mssante.fr ([127.0.0.1])")
    assert ALICE.encode() not in stored.prefix and BOB.encode() not in stored.prefix, "no blind copy is shown"
    assert await stage.bodies(BOB) == [message()]
    assert REGISTRY.get_sample_value("mssante_messages_received_total", {"route": "operator"})
    (event,) = await stage.journal(JournalKind.RECEIVED)
    assert event.payload["to"] == f"{ALICE} {BOB}" and event.payload["list"] == "2026-03-01"
    assert str(event.payload["dn"]).startswith("CN=mx.a.mssante.fr") and event.payload["plain"] is True
    assert "Essai" not in repr(event), "no subject in the journal"


async def test_a_hostile_greeting_name_stays_inside_its_comment(stage: SmtpStage) -> None:
    wire = await stage.connect(await stage.open())
    await wire.reply()
    assert (await wire.secure("a", helo="evil) by good;\t(é\x1b[31m")).startswith("250")
    await wire.asks(MAIL, RCPT)
    await wire.data(message())
    (stored,) = await stage.inbox()
    first = stored.prefix.split(b"\r\n")[1]
    assert first.isascii() and first.count(b")") == 1 and b"\x1b" not in first


async def test_a_mailbox_that_vanishes_before_the_commit_loses_nothing_of_the_others(stage: SmtpStage, wire: Wire) -> None:
    await wire.asks(MAIL, RCPT, f"RCPT TO:<{BOB}>")
    inbox = stage.mailboxes[ALICE].inbox_id
    await stage.stores.database.write(lambda tx: stage.stores.folders.delete(tx, inbox))
    assert (await wire.data(message())).startswith("250 ")
    assert await stage.bodies(BOB) == [message()]


# ---------------------------------------------------------------- success reports


async def sent_reports(stage: SmtpStage) -> list[bytes]:
    ids = [item.message_id for item in await stage.queue()]
    found = await stage.stores.database.read(lambda tx: stage.stores.messages.contents(tx, ids, with_body=True))
    return [one.inline or b"" for one in found]


@pytest.mark.parametrize("notify", [["SUCCESS"], ["SUCCESS", "SUCCESS"], ["SUCCESS,FAILURE,DELAY", "NEVER"], ["success", ""]])
async def test_notify_success_gives_exactly_one_report(stage: SmtpStage, wire: Wire, notify: list[str]) -> None:
    await wire.ask(f"{MAIL} RET=HDRS ENVID=lettre+2B1")
    asked = []
    for address, wish in zip((ALICE, BOB), notify, strict=False):
        asked += [address] if "SUCCESS" in wish.upper() else []
        assert (await wire.ask(f"RCPT TO:<{address}>" + (f" NOTIFY={wish} ORCPT=rfc822;{address}" if wish else ""))).startswith("250 ")
    await wire.data(message(text="Contenu du patient."))
    (item,) = await stage.queue()
    assert (item.sender, item.address, item.destination) == ("", "docteur@a.mssante.fr", "a.mssante.fr")
    assert item.expires_at == stage.clock.now() + timedelta(hours=48)
    (report,) = await sent_reports(stage)
    facts = parse_dsn(report)
    assert facts is not None and [one.final_recipient for one in facts.recipients] == asked
    assert {one.action for one in facts.recipients} == {"delivered"} and facts.envelope_id == "lettre+1"
    assert facts.original_message_id == "<essai@a.mssante.fr>" and b"Contenu du patient" not in report
    assert len(await stage.journal(JournalKind.REPORT_SENT)) == 1


@pytest.mark.parametrize(("mail", "notify"), [(MAIL, ""), (MAIL, " NOTIFY=NEVER"), (MAIL, " NOTIFY=FAILURE"), (REPORT, " NOTIFY=SUCCESS")])
async def test_no_report_unless_asked_and_never_to_the_null_sender(stage: SmtpStage, wire: Wire, mail: str, notify: str) -> None:
    await wire.asks(mail, RCPT + notify)
    assert (await wire.data(message())).startswith("250 ")
    assert await stage.queue() == [] and len(await stage.bodies()) == 1


async def test_a_large_message_gets_its_report_with_headers_too(tmp_path: Path) -> None:
    stage = await build(tmp_path, inline_limit=100)
    try:
        wire = await stage.session(await stage.open())
        await wire.asks(MAIL, RCPT + " NOTIFY=SUCCESS")
        await wire.data(message(text="x" * 500))
        (report,) = await sent_reports(stage)
        assert b"Message-ID: <essai@a.mssante.fr>" in report and b"xxxx" not in report
    finally:
        await stage.close()
