"""Sending in the name of a box: rights at MAIL and at the end of DATA, the copy in the right Sent, who truly sent, aliases."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.smtp_stage import ALICE, BOB, NOW, OURS, PASSWORD, SmtpStage, Wire, build, message

from mssante.model.delegation import Alias, NewDelegation, Right
from mssante.model.journal import JournalKind
from mssante.model.message import Flags, StoredMessage
from mssante.services.sharedbooks import SharingSettings

OPEN, READ, SEND = Right.OPEN, Right.READ, Right.SEND


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def give(stage: SmtpStage, *rights: Right, since: Any = None, until: Any = None) -> None:
    """Bob gets rights on the box of Alice."""
    def unit(tx: Any) -> None:
        person = stage.stores.delegations.people(tx, [BOB])[BOB]
        stage.stores.delegations.give(tx, [NewDelegation(person.account_id, stage.mailboxes[ALICE].id, frozenset(rights), since, until)])

    await stage.stores.database.write(unit)


async def bob(stage: SmtpStage) -> Wire:
    wire = await stage.connect(await stage.open("submissions"), tls=True)
    await wire.reply()
    await wire.ask("EHLO poste")
    word = b64encode(f"\0{BOB}\0{PASSWORD}".encode()).decode()
    assert (await wire.ask(f"AUTH PLAIN {word}")).startswith("235 ")
    return wire


async def sent(stage: SmtpStage, address: str) -> list[tuple[StoredMessage, int]]:
    """Give the messages in the Sent of a mailbox, with their flags."""
    def unit(tx: Any) -> list[tuple[StoredMessage, int]]:
        folder = next(one for one in stage.stores.folders.of_mailbox(tx, stage.mailboxes[address].id) if one.name == "Sent")
        _, rows = stage.stores.messages.snapshot(tx, folder.id)
        found = {one.id: one for one in stage.stores.messages.contents(tx, [row.message_id for row in rows], with_body=True)}
        return [(found[row.message_id], row.flags) for row in rows]

    return await stage.stores.database.read(unit)


async def send(wire: Wire, sender: str = ALICE, **parts: str) -> str:
    replies = await wire.asks(f"MAIL FROM:<{sender}>", f"RCPT TO:<{BOB}>")
    assert [reply[:3] for reply in replies] == ["250", "250"], replies
    return await wire.data(message(sender, **parts))


@pytest.mark.parametrize(("rights", "rule"), [
    ((), "EXPEDITEUR-AUTRE"), ((READ,), "ENVOI-NON-DELEGUE"), ((OPEN,), "ENVOI-NON-DELEGUE"), ((SEND,), ""), ((OPEN, SEND), "")])
async def test_only_the_right_to_send_sends(stage: SmtpStage, rights: tuple[Right, ...], rule: str) -> None:
    if rights:
        await give(stage, *rights)
    reply = await (await bob(stage)).ask(f"MAIL FROM:<{ALICE}>")
    assert reply.startswith("553") and f"[{rule}]" in reply if rule else reply.startswith("250")


@pytest.mark.parametrize(("since", "until", "good"), [(1, 10, False), (-5, -1, False), (-5, 5, True), (0, 1, True), (-1, 0, False)])
async def test_dates_are_obeyed(stage: SmtpStage, since: int, until: int, good: bool) -> None:
    await give(stage, SEND, since=NOW + timedelta(days=since), until=NOW + timedelta(days=until))
    assert (await (await bob(stage)).ask(f"MAIL FROM:<{ALICE}>")).startswith("250" if good else "553")


async def test_a_right_that_ends_in_an_open_session_ends_there(stage: SmtpStage) -> None:
    await give(stage, SEND, until=NOW + timedelta(seconds=10))
    wire = await bob(stage)
    assert (await send(wire)).startswith("250")
    await wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")
    stage.clock.advance(timedelta(seconds=10))
    assert (await wire.data(message(ALICE))).startswith("553"), "between MAIL and the end of DATA"
    assert (await wire.ask(f"MAIL FROM:<{ALICE}>")).startswith("553")


async def test_the_copy_lies_in_the_sent_of_the_box_and_who_sent_is_told(stage: SmtpStage) -> None:
    await give(stage, SEND)
    wire = await bob(stage)
    assert (await send(wire)).startswith("250")
    ((copy, flags),) = await sent(stage, ALICE)
    assert flags == Flags.SEEN
    assert b"\r\nSender: " + BOB.encode() + b"\r\n" in copy.prefix
    assert await sent(stage, BOB) == []
    (arrived,) = await stage.inbox(BOB)
    assert arrived.id == copy.id, "one content for both"
    (event,) = await stage.journal(JournalKind.SUBMITTED)
    assert (event.subject, event.payload["login"], event.payload["behalf"]) == (ALICE, BOB, True)


async def test_who_sent_is_found_whatever_the_spelling_of_the_sender(stage: SmtpStage) -> None:
    await give(stage, SEND)
    box = stage.mailboxes[ALICE]
    await stage.stores.database.write(lambda tx: stage.stores.delegations.add_alias(
        tx, Alias(f"direction@{OURS}", box.id, box.address, NOW)))
    wire = await bob(stage)
    for sender in (ALICE.upper(), f"Direction@{OURS}"):
        assert (await send(wire, sender)).startswith("250")
    assert [(event.subject, event.payload["login"]) for event in await stage.journal(JournalKind.SUBMITTED)] == [(ALICE, BOB)] * 2


async def test_one_copy_when_the_client_stored_it_first(stage: SmtpStage) -> None:
    await give(stage, SEND)
    folder = await stage.stores.database.read(lambda tx: next(
        one for one in stage.stores.folders.of_mailbox(tx, stage.mailboxes[ALICE].id) if one.name == "Sent"))
    stage.mailroom.books.sent.note(folder.id, "<essai@a.mssante.fr>", 1, stage.clock.monotonic() + 60, server=False)
    wire = await bob(stage)
    await send(wire)
    assert await sent(stage, ALICE) == []
    stage.clock.advance(timedelta(seconds=60))  # the window is over: rather two than none
    await send(wire)
    assert len(await sent(stage, ALICE)) == 1


@pytest.mark.parametrize(("mode", "own", "box"), [("off", 0, 0), ("shared", 0, 1), ("all", 1, 1)])
async def test_which_copies_are_filed_is_configured(stage: SmtpStage, mode: str, own: int, box: int) -> None:
    await give(stage, SEND)
    stage.mailroom.books.settings = SharingSettings(sent_copy=mode)
    wire = await bob(stage)
    await send(wire)
    await send(wire, BOB)
    assert (len(await sent(stage, BOB)), len(await sent(stage, ALICE))) == (own, box)


@pytest.mark.parametrize(("field", "code"), [
    (BOB, "250"), (ALICE.upper(), "250"), (f"Bob <{BOB}>", "250"), (f"directeur@{OURS}", "554"), ("", "554"),
    (f"{BOB}, directeur@{OURS}", "554"), (f"{BOB}\r\nSender: directeur@{OURS}", "554")])
async def test_a_sender_field_names_who_is_logged_in(stage: SmtpStage, field: str, code: str) -> None:
    await give(stage, SEND)
    wire = await bob(stage)
    reply = await send(wire, extra=f"Sender: {field}\r\n")
    assert reply.startswith(code)
    assert code == "250" or reply.endswith("[SENDER-AUTRE]")


async def test_no_sender_field_for_ones_own_mail_nor_when_switched_off(stage: SmtpStage) -> None:
    await give(stage, SEND)
    stage.mailroom.books.settings = SharingSettings(sender_header=False)
    wire = await bob(stage)
    await send(wire)
    await send(wire, BOB)
    assert not any(b"Sender:" in one.prefix for one in await stage.inbox(BOB))


# ------------------------------------------------------------------------------------------ aliases


async def alias(stage: SmtpStage, address: str, until: Any = None) -> None:
    box = stage.mailboxes[BOB]
    await stage.stores.database.write(lambda tx: stage.stores.delegations.add_alias(tx, Alias(address, box.id, box.address, NOW, until)))


async def test_an_alias_receives_sends_and_ends(stage: SmtpStage) -> None:
    name = f"robert@{OURS}"
    await alias(stage, name, NOW + timedelta(seconds=20))
    wire = await bob(stage)
    assert [reply[:3] for reply in await wire.asks(f"MAIL FROM:<{name}>", f"RCPT TO:<{name}>", f"RCPT TO:<{BOB}>")] == ["250"] * 3
    assert (await wire.data(message(name))).startswith("250")
    assert len(await stage.inbox(BOB)) == 1, "the same mailbox by two names is filed once"
    stage.clock.advance(timedelta(seconds=20))  # kept in the cache, but over
    assert [reply[:3] for reply in await wire.asks(f"MAIL FROM:<{name}>", f"MAIL FROM:<{BOB}>", f"RCPT TO:<{name}>")] == [
        "553", "250", "550"]


async def test_a_peer_reaches_an_alias(stage: SmtpStage) -> None:
    await alias(stage, f"robert@{OURS}")
    wire = await stage.session(await stage.open())
    assert [reply[:3] for reply in await wire.asks("MAIL FROM:<docteur@a.mssante.fr>", f"RCPT TO:<ROBERT@{OURS}>", f"RCPT TO:<{BOB}>",
                                                   f"RCPT TO:<robert+x@{OURS}>")] == ["250", "250", "250", "550"]
    assert (await wire.data(message())).startswith("250")
    assert len(await stage.inbox(BOB)) == 1


async def test_plus_addressing_is_off_until_asked(stage: SmtpStage) -> None:
    stage.addresses.plus_addressing = True
    await alias(stage, f"robert@{OURS}")
    wire = await stage.session(await stage.open())
    assert [reply[:3] for reply in await wire.asks(
        "MAIL FROM:<docteur@a.mssante.fr>", f"RCPT TO:<bob+labo@{OURS}>", f"RCPT TO:<robert+a+b@{OURS}>", f"RCPT TO:<+bob@{OURS}>",
        f"RCPT TO:<x+bob@{OURS}>")] == ["250", "250", "250", "550", "550"]


async def test_an_alias_of_another_box_is_no_sender(stage: SmtpStage) -> None:
    box = stage.mailboxes[ALICE]
    await stage.stores.database.write(lambda tx: stage.stores.delegations.add_alias(
        tx, Alias(f"direction@{OURS}", box.id, box.address, NOW)))
    assert (await (await bob(stage)).ask(f"MAIL FROM:<direction@{OURS}>")).endswith("[EXPEDITEUR-AUTRE]")
