"""The role of operator of the citizens: who opens, who may answer, what is told by a later mail, receipts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.citizen_stage import ALICE, CITIZEN, INS, OTHER, REMOTE, USER, house, letter, log_in, send
from support.smtp_stage import SmtpStage, Wire, build

from mssante.model.mailbox import MailboxState
from mssante.services.citizen import CitizenRules


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def professional(stage: SmtpStage) -> Wire:
    return await stage.session(await stage.open("smtp"), "a")


async def returns(stage: SmtpStage) -> list[bytes]:
    """What waits for the professional."""
    ids = [item.message_id for item in await stage.queue() if item.address == REMOTE and item.sender == ""]
    rows = await stage.stores.database.read(lambda tx: stage.stores.messages.contents(tx, ids, with_body=True))
    return [row.inline or b"" for row in rows]


async def test_a_professional_opens_and_the_citizen_answers(stage: SmtpStage) -> None:
    await house(stage)
    theirs, mine = await professional(stage), await log_in(stage, USER)
    assert (await send(mine, USER, REMOTE, letter(USER, REMOTE, "too-soon"))).endswith("[CITOYEN-SANS-ECHANGE]")
    assert (await send(theirs, REMOTE, USER, letter(REMOTE, USER, "one"))).startswith("250 ")
    assert (await send(mine, USER, REMOTE, letter(USER, REMOTE, "answer"))).startswith("250 ")
    assert (await send(mine, USER, f"{OTHER}@{CITIZEN}", b"")).endswith("[CITOYEN-PROFESSIONNELS]")
    assert (await send(mine, USER, "other@a.mssante.fr", b"")).endswith("[CITOYEN-SANS-ECHANGE]")
    assert not any(INS in f"{row.subject} {row.payload}" for row in await stage.journal())


async def test_fin_of_one_message_closes_its_exchange_only(stage: SmtpStage) -> None:
    await house(stage)
    theirs, mine = await professional(stage), await log_in(stage, USER)
    for name, more in (("one", {}), ("two", {}), ("end", {"In_Reply_To": "<one@test>", "X_MSS_MES": "FIN"})):
        assert (await send(theirs, REMOTE, USER, letter(REMOTE, USER, name, **more))).startswith("250 ")
    for about, rule in (("one", "[CITOYEN-FIN]"), ("end", "[CITOYEN-FIN]"), ("two", "")):
        reply = await send(mine, USER, REMOTE, letter(USER, REMOTE, f"re-{about}", In_Reply_To=f"<{about}@test>"))
        assert reply.endswith(rule) if rule else reply.startswith("250 "), about


async def test_fin_as_subject_withdraws_all_and_a_new_message_opens_again(stage: SmtpStage) -> None:
    await house(stage)
    theirs, mine = await professional(stage), await log_in(stage, USER)
    for name, more in (("one", {}), ("two", {}), ("end", {"Subject": "[FIN]"})):
        await send(theirs, REMOTE, USER, letter(REMOTE, USER, name, **more))
    assert (await send(mine, USER, REMOTE, b"")).endswith("[CITOYEN-FIN]")
    await send(theirs, REMOTE, USER, letter(REMOTE, USER, "three"))
    assert (await send(mine, USER, REMOTE, letter(USER, REMOTE, "re"))).startswith("250 ")


async def test_reply_to_takes_the_place_of_the_author_when_it_is_a_professional(stage: SmtpStage) -> None:
    await house(stage)
    theirs, mine = await professional(stage), await log_in(stage, USER)
    await send(theirs, REMOTE, USER, letter(REMOTE, USER, "one", Reply_To="service@a.mssante.fr"))
    assert (await send(mine, USER, REMOTE, b"")).endswith("[CITOYEN-SANS-ECHANGE]")
    assert (await send(mine, USER, "service@a.mssante.fr", letter(USER, "service@a.mssante.fr", "re"))).startswith("250 ")
    await send(theirs, REMOTE, USER, letter(REMOTE, USER, "two", Reply_To="x@gmail.com"))
    assert (await send(mine, USER, REMOTE, letter(USER, REMOTE, "re2"))).startswith("250 "), "one outside is not admitted"


async def test_nobody_takes_over_or_closes_the_exchange_of_another(stage: SmtpStage) -> None:
    made = await house(stage)
    theirs, box = await professional(stage), stage.mailboxes[USER]
    await send(theirs, REMOTE, USER, letter(REMOTE, USER, "one"))
    await send(await stage.session(await stage.open("smtp"), "b"), "victime@b.mssante.fr", USER, letter("victime@b.mssante.fr", USER, "zero"))
    thief = "voleur@a.mssante.fr"
    for name, more in (("two", {"In_Reply_To": "<one@test>"}), ("three", {"In_Reply_To": "<one@test>", "X_MSS_MES": "FIN"}),
                       ("four", {"In_Reply_To": "<one@test>", "Subject": "[FIN]"}),
                       ("five", {"In_Reply_To": "<one@test>", "Subject": "[FIN]", "Reply_To": "victime@b.mssante.fr"})):
        assert (await send(theirs, thief, USER, letter(thief, USER, name, **more))).startswith("250 ")
    found = {one.thread: (one.contact, one.closed_at is None) for one in await made.exchanges(box.id)}
    assert found["<one@test>"] == (REMOTE, True)
    assert found["<zero@test>"] == ("victime@b.mssante.fr", True)
    assert {found[f"<{name}@test>"][0] for name in ("two", "three", "four")} == {thief}


async def test_a_box_that_citizens_may_write_to_first(stage: SmtpStage) -> None:
    await house(stage, open_boxes=frozenset({REMOTE}))
    assert (await send(await log_in(stage, USER), USER, REMOTE, letter(USER, REMOTE, "first"))).startswith("250 ")


@pytest.mark.parametrize(("local", "words"), [(OTHER, "adresse est invalide, ou le patient"), (INS, "n'a pas d'espace")])
async def test_what_is_not_delivered_is_told_later(stage: SmtpStage, local: str, words: str) -> None:
    await house(stage)
    await stage.set_state(USER, MailboxState.CLOSED)
    theirs = await professional(stage)
    assert (await send(theirs, REMOTE, f"{local}@{CITIZEN}", letter(REMOTE, f"{local}@{CITIZEN}", "one"))).startswith("250 ")
    (told,) = await returns(stage)
    assert b"distribu" in told and b"In-Reply-To: <one@test>" in told
    text = told.replace(b"=\r\n", b"").replace(b"=27", b"'").decode()
    assert words in text and local not in text.partition("Content-Type: text/rfc822-headers")[0]


async def test_no_return_about_reports_nor_to_the_null_sender(stage: SmtpStage) -> None:
    await house(stage)
    theirs, gone = await professional(stage), f"{OTHER}@{CITIZEN}"
    assert (await send(theirs, "", gone, letter("x@a.mssante.fr", gone, "one"))).startswith("250 ")
    assert (await send(theirs, REMOTE, gone, letter(REMOTE, gone, "two", Auto_Submitted="auto-replied"))).startswith("250 ")
    assert await stage.queue() == []


async def test_too_big_is_filed_nowhere_and_told_once(stage: SmtpStage) -> None:
    await house(stage, CitizenRules(CITIZEN, max_bytes=1000))
    theirs = await professional(stage)
    big = letter(REMOTE, USER, "one", text="\r\n".join(["x" * 70] * 30))
    assert (await send(theirs, REMOTE, USER, big)).startswith("250 ")
    (told,) = await returns(stage)
    assert b"Subject: Undelivered Mail Returned to Sender" in told and b"5.3.4" in told and INS.encode() not in told.partition(b"rfc822-headers")[0]
    assert await stage.inbox(USER) == []
    mine = await log_in(stage, USER)
    assert (await send(mine, USER, REMOTE, b"")).endswith("[CITOYEN-SANS-ECHANGE]"), "it opened nothing"


async def test_refusals_at_once_hide_the_matricule(stage: SmtpStage) -> None:
    await house(stage, returns="smtp")
    theirs = await professional(stage)
    reply = await send(theirs, REMOTE, f"{OTHER}@{CITIZEN}", b"")
    assert "[CITOYEN-INCONNU]" in reply and OTHER not in reply
    await stage.set_state(USER, MailboxState.CLOSED)
    reply = await send(theirs, REMOTE, USER, b"")
    assert "[CITOYEN-FERME]" in reply and INS not in reply


async def test_professionals_of_the_same_operator(stage: SmtpStage) -> None:
    """An establishment that hosts both: rules, exchange and answer are the same."""
    await house(stage)
    ours = await log_in(stage)
    assert (await send(ours, ALICE, f"{INS[:13]}@{CITIZEN}", b"")).endswith("[INS-ADRESSE]")
    assert (await send(ours, ALICE, USER, letter(ALICE, USER, "one"))).startswith("250 ")
    mine = await log_in(stage, USER)
    assert (await send(mine, USER, ALICE, letter(USER, ALICE, "re", In_Reply_To="<one@test>"))).startswith("250 ")


@pytest.mark.parametrize(("lines", "sent"), [
    ({}, True), ({"Disposition-Notification-To": "other@a.mssante.fr"}, False), ({"Return-Path": "<>"}, False), ({"Message-ID": ""}, False),
    ({"Disposition-Notification-To": ""}, False), ({"Auto-Submitted": "auto-replied"}, False),
    ({"Disposition-Notification-To": f"{REMOTE}, {REMOTE}"}, False), ({"Return-Path": "<x@gmail.com>", "Disposition-Notification-To": "x@gmail.com"}, False)])
async def test_receipts(stage: SmtpStage, lines: dict[str, str], sent: bool) -> None:
    made = await house(stage)
    fields = {"Return-Path": f"<{REMOTE}>", "Message-ID": "<one@test>", "Disposition-Notification-To": REMOTE, "From": REMOTE, **lines}
    raw = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value).encode() + b"\r\nBonjour\r\n"
    receipt = await made.receipt(raw, stage.mailboxes[USER], stage.clock.now())
    assert (receipt is not None) is sent
    if receipt is not None:
        body = receipt.message.body.inline or b""
        assert b"automatic-action/MDN-sent-automatically; displayed" in body and b"Original-Message-ID: <one@test>" in body
        assert receipt.queue is not None and receipt.queue.sender == ""
        ours = await made.receipt(raw.replace(REMOTE.encode(), ALICE.encode()), stage.mailboxes[USER], stage.clock.now())
        assert ours is not None and ours.queue is None and ours.filings[0].folder_id == stage.mailboxes[ALICE].inbox_id
