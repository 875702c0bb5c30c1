"""Exchanges with citizens over real sessions: noted, threaded, enforced, explained when they come back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.citizen_stage import ALICE, BOB, CITIZEN, OTHER, USER, bridge, letter, log_in, send
from support.smtp_stage import SmtpStage, Wire, build

from mssante.model.journal import JournalKind
from mssante.services.citizen import CitizenRules
from mssante.storage.citizen import CitizenExchange, CitizenMessage

RETURNED = "ne-pas-repondre@" + CITIZEN


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def exchanges(stage: SmtpStage, address: str = ALICE) -> list[CitizenExchange]:
    box = stage.mailboxes[address].id
    return await stage.stores.database.read(lambda tx: stage.stores.citizens.exchanges(tx, box))


async def known(stage: SmtpStage, *references: str) -> list[CitizenMessage]:
    box = stage.mailboxes[ALICE].id
    return await stage.stores.database.read(lambda tx: stage.stores.citizens.messages(tx, box, references))


async def citizens(stage: SmtpStage) -> Wire:
    """A session of the operator of the citizens."""
    return await stage.session(await stage.open("smtp"), "b")


async def test_what_leaves_is_noted_by_pseudonym_and_once(stage: SmtpStage) -> None:
    bridge(stage)
    wire = await log_in(stage)
    for _ in range(2):  # a client that lost the reply sends again
        assert (await send(wire, ALICE, USER, letter(ALICE, USER, "one"))).startswith("250 ")
    assert (await send(wire, ALICE, USER, letter(ALICE, USER, "two", In_Reply_To="<one@test>"))).startswith("250 ")
    (found,) = await exchanges(stage)
    assert (found.thread, found.contact, found.sent, found.received, found.closed_at) == ("<one@test>", ALICE, 2, 0, None)
    assert found.citizen.startswith("ins-") and USER.partition("@")[0] not in found.citizen
    events = await stage.journal()
    assert not any(USER.partition("@")[0] in f"{row.subject} {row.payload}" for row in events)


async def test_a_service_box_shares_the_exchange(stage: SmtpStage) -> None:
    bridge(stage)
    wire = await log_in(stage)
    assert (await send(wire, ALICE, USER, letter(ALICE, USER, "one", Reply_To=BOB))).startswith("250 ")
    assert [one.contact for one in await exchanges(stage, BOB)] == [BOB] == [one.contact for one in await exchanges(stage)]


@pytest.mark.parametrize(("headers", "rule"), [
    ({"Reply_To": "x@gmail.com"}, "CITOYEN-REPLY-TO"), ({"Reply_To": f"absent@{ALICE.partition('@')[2]}"}, "CITOYEN-REPLY-TO"),
    ({"Reply_To": USER}, "CITOYEN-REPLY-TO"), ({"Reply_To": "service@a.mssante.fr"}, ""),
    ({"Content_Type": "application/pkcs7-mime"}, "CITOYEN-CHIFFRE")])
async def test_what_does_not_leave(stage: SmtpStage, headers: dict[str, str], rule: str) -> None:
    bridge(stage)
    reply = await send(await log_in(stage), ALICE, USER, letter(ALICE, USER, "one", **headers))
    assert reply.endswith(f"[{rule}]") if rule else reply.startswith("250 ")
    assert len(await exchanges(stage)) == (0 if rule else 1)
    other = await send(await log_in(stage), ALICE, BOB, letter(ALICE, BOB, "two", **headers))
    assert other.startswith("250 "), "toward a professional, none of these rules is"


async def test_size_and_types_come_from_the_settings(stage: SmtpStage) -> None:
    bridge(stage, CitizenRules(CITIZEN, max_bytes=2000, senders=frozenset({"ORG"})))
    wire = await log_in(stage)
    assert (await send(wire, ALICE, USER, b"")).endswith("[CITOYEN-EXPEDITEUR]")
    bridge(stage, CitizenRules(CITIZEN, max_bytes=2000))
    assert (await wire.ask(f"MAIL FROM:<{ALICE}> SIZE=2001")).startswith("250")
    assert (await wire.ask(f"RCPT TO:<{USER}>")).endswith("[TAILLE]")
    await wire.ask("RSET")
    assert (await send(wire, ALICE, USER, letter(ALICE, USER, "one", text="x" * 70 + "\r\n" + "y" * 900 + "\r\n" + "z" * 990))
            ).endswith("[TAILLE]"), "a client that does not say the size learns it at the end"


@pytest.mark.parametrize(("end", "by"), [({"X_MSS_MES": "FIN"}, "entete"), ({"Subject": "[FIN]"}, "objet")])
async def test_fin_closes_here_too(stage: SmtpStage, end: dict[str, str], by: str) -> None:
    bridge(stage, enforce_thread=True)
    wire = await log_in(stage)
    await send(wire, ALICE, USER, letter(ALICE, USER, "one"))
    assert (await send(wire, ALICE, USER, letter(ALICE, USER, "two", In_Reply_To="<one@test>", **end))).startswith("250 ")
    assert [(one.thread, one.closed_by) for one in await exchanges(stage) if one.closed_at] [-1:] == [("<one@test>", by)]
    assert len(await stage.journal(JournalKind.CITIZEN_CLOSED)) == 1
    theirs = await citizens(stage)
    answer = letter(USER, ALICE, "answer", In_Reply_To="<one@test>")
    assert (await send(theirs, USER, ALICE, answer)).partition("\n")[0].find("[CITOYEN-FIN]") > 0
    await send(wire, ALICE, USER, letter(ALICE, USER, "three", In_Reply_To="<one@test>"))
    assert (await send(theirs, USER, ALICE, answer)).startswith("250 "), "opened again"


async def test_enforced_threads(stage: SmtpStage) -> None:
    bridge(stage, enforce_thread=True, open_boxes=frozenset({BOB}))
    theirs = await citizens(stage)
    assert "[CITOYEN-SANS-ECHANGE]" in await send(theirs, USER, ALICE, letter(USER, ALICE, "a"))
    assert (await send(theirs, USER, BOB, letter(USER, BOB, "b"))).startswith("250 "), "a pharmacy's box takes all (F9.3)"
    assert (await send(theirs, "", ALICE, letter(RETURNED, ALICE, "c"))).startswith("250 "), "reports pass"


async def test_not_enforced_an_answer_from_nowhere_passes_and_is_tied_to_nothing(stage: SmtpStage) -> None:
    bridge(stage)
    raw = letter(USER, ALICE, "a")
    assert (await send(await citizens(stage), USER, ALICE, raw)).startswith("250 ")
    (filed,) = await stage.inbox()
    assert b"X-MSS-Echange" not in filed.prefix and filed.inline == raw


async def test_an_answer_is_tied_to_the_latest_exchange_of_the_two(stage: SmtpStage) -> None:
    bridge(stage)
    wire = await log_in(stage)
    for name, to in (("one", USER), ("two", USER), ("three", f"{OTHER}@{CITIZEN}")):
        await send(wire, ALICE, to, letter(ALICE, to, name))
        stage.clock.advance(timedelta(minutes=1))
    raw = letter(USER, ALICE, "answer")
    assert (await send(await citizens(stage), USER, ALICE, raw)).startswith("250 ")
    (filed,) = await stage.inbox()
    assert b"fil=<two@test>;\r\n lien=table; etat=ouvert\r\nIn-Reply-To: <two@test>\r\nReferences: <two@test>\r\n" in filed.prefix
    assert filed.inline == raw and b"<two@test>" in filed.envelope, "IMAP ENVELOPE and THREAD see it"
    assert (await known(stage, "<answer@test>"))[0].thread == "<two@test>"


def returned(text: str, about: str = "<one@test>", **more: str) -> bytes:
    return letter(RETURNED, ALICE, "back", text=text, Subject="Message non =?utf-8?q?distribu=C3=A9?=", In_Reply_To=about, **more)


async def test_a_return_gets_one_note_in_the_thread_and_stays_as_it_came(stage: SmtpStage) -> None:
    bridge(stage)
    await send(await log_in(stage), ALICE, USER, letter(ALICE, USER, "one"))
    theirs, raw = await citizens(stage), returned("Patient introuvable.")
    for _ in range(2):
        assert (await send(theirs, "", ALICE, raw)).startswith("250 ")
    filed = await stage.inbox()
    assert [one.inline for one in filed if one.inline == raw] == [raw, raw]
    (note,) = [one for one in filed if one.inline != raw]
    assert b"cause=unknown" in (note.inline or b"") and b"In-Reply-To: <one@test>" in (note.inline or b"")
    (sent,) = await known(stage, "<one@test>")
    assert sent.cause == "unknown"
    about = [row for row in await stage.journal(JournalKind.CITIZEN_RETURNED) if row.trace_id == sent.trace_id]
    assert len(about) == 1 and about[0].payload["cause"] == "unknown", "mssante trace tells it"


@pytest.mark.parametrize(("sender", "peer"), [(USER, "b"), ("", "a")])
async def test_what_only_looks_like_a_return_is_none(stage: SmtpStage, sender: str, peer: str) -> None:
    """A citizen who writes such a subject, and another operator's report, change nothing."""
    bridge(stage)
    await send(await log_in(stage), ALICE, USER, letter(ALICE, USER, "one"))
    raw = returned("Le patient n'existe pas.").replace(RETURNED.encode(), sender.encode() or b"x@a.mssante.fr")
    reply = await send(await stage.session(await stage.open("smtp"), peer), sender, ALICE, raw)
    assert reply.startswith("250 ") and len(await stage.inbox()) == 1
    assert (await known(stage, "<one@test>"))[0].cause == ""


async def test_a_return_about_somebody_elses_message_gets_no_note(stage: SmtpStage) -> None:
    bridge(stage)
    assert (await send(await citizens(stage), "", ALICE, returned("inconnu", "<other@test>"))).startswith("250 ")
    assert len(await stage.inbox()) == 1


async def test_a_refusal_by_smtp_is_told_in_words_too(stage: SmtpStage) -> None:
    from mssante.model.address import MailAddress
    from mssante.protocol.reports.dsn import DsnAction, DsnRecipient
    from mssante.services.reports import ReportSource

    desk = bridge(stage)
    home, now = stage.mailboxes[ALICE], stage.clock.now()
    source = ReportSource(MailAddress("alice", "hopital.mssante.fr"), "", "", now, "T" * 26, letter(ALICE, USER, "one"))

    def beside(status: str, text: str, domain: str = CITIZEN) -> list[Any]:
        failed = DsnRecipient(MailAddress("x", domain), DsnAction.FAILED, status, diagnostic=text)
        return list(desk.beside(source, [failed], now, home))

    (note,) = beside("5.2.1", "550 5.2.1 mailbox closed")
    assert b"cause=closed" in note.message.body.inline and note.events[0].trace_id == "T" * 26
    assert beside("5.1.1", "x", "a.mssante.fr") == []
