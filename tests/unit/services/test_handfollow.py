"""The journal followed: states go forward, receipts are believed when they may be, events reach the outbox once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.handing import INS, NAMES, REMOTE, desk, request
from support.smtp_stage import ALICE, BOB, CITIZEN, NOW, OURS, SmtpStage, build

from mssante.model.address import parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.protocol.reports.dsn import DsnAction, DsnRecipient, DsnRequest, build_dsn
from mssante.protocol.reports.mdn import MdnError, MdnRequest, build_mdn
from mssante.services.handed import HandedIn
from mssante.services.handfollow import CONSUMER, FollowParts, FollowSettings, HandFollower
from mssante.storage.webhooks import Webhook, WebhookEvent


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def follower(stage: SmtpStage) -> HandFollower:
    return HandFollower(FollowParts(stage.stores, stage.clock, stage.executor, stage.addresses, stage.evidence,
                                    FollowSettings(90, 30), frozenset({OURS})))


async def follow(stage: SmtpStage) -> None:
    one = follower(stage)
    while await one.step():
        pass


async def states(stage: SmtpStage, got: HandedIn) -> dict[str, tuple[str, str]]:
    found = await stage.stores.database.read(lambda tx: stage.stores.handover.recipients(tx, [got.id]))
    return {one.address: (one.state, one.detail) for one in found}


async def tell(stage: SmtpStage, got: HandedIn, kind: JournalKind, address: str, **payload: str) -> None:
    event = JournalEvent(kind, stage.clock.now(), got.trace_id, address, {"to": address, **payload})
    await stage.stores.database.write(lambda tx: stage.stores.journal.append(tx, [event]))


async def deliver(stage: SmtpStage, raw: bytes, sender: str = "") -> None:
    """A message of another operator arrives for Alice."""
    wire = await stage.session(await stage.open())
    assert all(reply.startswith("250") for reply in await wire.asks(f"MAIL FROM:<{sender}>", f"RCPT TO:<{ALICE}>"))
    assert (await wire.data(raw)).startswith("250 ")


def mdn(got: HandedIn, author: str = REMOTE, recipient: str = REMOTE, error: MdnError | None = None) -> bytes:
    return build_mdn(MdnRequest(
        sender=parse_envelope_address(author), to=parse_envelope_address(ALICE), original_message_id=got.message_id,
        final_recipient=parse_envelope_address(recipient), subject="Lu", text="Lu", now=NOW, trace_id="x" * 26,
        reporting_ua="test", error=error))


def dsn(got: HandedIn, action: DsnAction, recipient: str = REMOTE, diagnostic: str = "") -> bytes:
    original = b"Message-ID: " + got.message_id.encode() + b"\r\nFrom: a@b.fr\r\n\r\n"
    return build_dsn(DsnRequest(parse_envelope_address(ALICE), "a.mssante.fr", "mx.a.mssante.fr", (DsnRecipient(
        parse_envelope_address(recipient), action, "5.1.1" if action is DsnAction.FAILED else "2.0.0", diagnostic=diagnostic),),
        original, NOW, "y" * 26))


async def test_states_go_forward(stage: SmtpStage) -> None:
    got = await desk(stage).accept(request())
    await follow(stage)
    assert await states(stage, got) == {BOB: ("delivered", ""), REMOTE: ("queued", "")}
    await tell(stage, got, JournalKind.DEFERRED, REMOTE, reply="451 plus tard")
    await follow(stage)
    assert (await states(stage, got))[REMOTE] == ("queued", "451 plus tard")
    await tell(stage, got, JournalKind.RELAYED, REMOTE, reply="250 OK")
    await tell(stage, got, JournalKind.DEFERRED, REMOTE, reply="en retard")
    await follow(stage)
    assert (await states(stage, got))[REMOTE] == ("relayed", "250 OK")


async def test_receipts_become_states(stage: SmtpStage) -> None:
    got = await desk(stage).accept(request())
    await tell(stage, got, JournalKind.RELAYED, REMOTE, reply="250 OK")
    await deliver(stage, dsn(got, DsnAction.DELIVERED))
    await follow(stage)
    assert (await states(stage, got))[REMOTE][0] == "delivered"
    await deliver(stage, mdn(got), REMOTE)
    await follow(stage)
    assert (await states(stage, got))[REMOTE][0] == "read"
    events = await stage.journal(JournalKind.RECEIPT)
    assert [(row.trace_id, row.payload["state"]) for row in events] == [(got.trace_id, "delivered"), (got.trace_id, "read")]
    assert all(len(str(row.payload["report"])) == 26 for row in events)


async def test_an_integration_error_is_told_by_its_code_alone(stage: SmtpStage) -> None:
    got = await desk(stage).accept(request())
    await deliver(stage, mdn(got, error=MdnError("902", f"PATIENT {NAMES[0]} INCONNU")), REMOTE)
    await follow(stage)
    state, words = (await states(stage, got))[REMOTE]
    assert state == "failed" and "902" in words and "patient inconnu" in words and NAMES[0] not in words


async def test_a_failure_keeps_the_words_of_the_transport_without_matricule(stage: SmtpStage) -> None:
    patient = f"{INS}@{CITIZEN}"
    got = await desk(stage).accept(request(to=(REMOTE, patient)))
    await deliver(stage, dsn(got, DsnAction.FAILED, patient, diagnostic=f"smtp; 550 {patient} inconnu"))
    await follow(stage)
    (told,) = [one for address, one in (await states(stage, got)).items() if address.endswith(CITIZEN)]
    assert told[0] == "failed" and "5.1.1" in told[1] and INS not in told[1]
    assert INS not in repr(await stage.journal())


@pytest.mark.parametrize("raw", [
    lambda got: mdn(got, author="autre@b.mssante.fr"), lambda got: mdn(got, recipient="autre@a.mssante.fr"),
    lambda got: dsn(got, DsnAction.FAILED, "autre@a.mssante.fr"),
    lambda got: dsn(got, DsnAction.FAILED).replace(got.trace_id.encode() + b"@", b"0" * 26 + b"@"),
    lambda got: b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\nFrom: a@a.mssante.fr\r\n\r\n--x\r\n"])
async def test_what_is_not_believed(stage: SmtpStage, raw: Any) -> None:
    got = await desk(stage).accept(request())
    content = raw(got)
    sender = "autre@b.mssante.fr" if b"From: autre@b" in content else ""
    if sender:
        wire = await stage.session(await stage.open(), "b")
        await wire.asks(f"MAIL FROM:<{sender}>", f"RCPT TO:<{ALICE}>")
        assert (await wire.data(content)).startswith("250 ")
    else:
        await deliver(stage, content, REMOTE if b"From: docteur" in content or b"From: a@" in content else "")
    await follow(stage)
    assert (await states(stage, got))[REMOTE] == ("queued", "") and await stage.journal(JournalKind.RECEIPT) == []


async def test_events_reach_the_outbox_of_their_mailbox_once(stage: SmtpStage) -> None:
    stores = stage.stores

    def hooks(tx: Any) -> None:
        for name, box, kinds, active in (("all", ALICE, (), True), ("read", ALICE, ("document.read",), True),
                                         ("bob", BOB, (), True), ("off", ALICE, (), False)):
            stores.webhooks.put(tx, Webhook(name, "", stage.mailboxes[box].id, "https://h.test/", "salt", kinds, active, NOW))

    await stores.database.write(hooks)
    got = await desk(stage).accept(request())
    await tell(stage, got, JournalKind.RELAYED, REMOTE, reply="250 OK")
    one = follower(stage)
    while await one.step():
        pass
    assert one.woken.is_set()

    async def outbox(name: str) -> list[WebhookEvent]:
        return await stores.database.read(lambda tx: stores.webhooks.events(tx, name))

    assert [event.kind for event in await outbox("all")] == ["document.accepted", "document.relayed"]
    assert [event.kind for event in await outbox("bob")] == ["message.received"]
    assert await outbox("read") == [] and await outbox("off") == []
    payload = json.loads((await outbox("all"))[1].payload)
    assert (payload["document"], payload["recipient"], payload["state"], payload["detail"]) == (got.id, REMOTE, "relayed", "250 OK")
    await follow(stage)
    assert len(await outbox("all")) == 2


async def test_two_followers_write_a_batch_once(stage: SmtpStage) -> None:
    got = await desk(stage).accept(request())
    first, second = follower(stage), follower(stage)
    real = first.look

    async def late(*arguments: Any) -> Any:  # the other one was faster between the read and the write
        assert await second.step() and second.woken.is_set()
        return await real(*arguments)

    first.look = late  # type: ignore[method-assign]
    assert await first.step() and not first.woken.is_set()
    assert (await states(stage, got))[REMOTE] == ("queued", "")


async def test_a_new_follower_begins_at_the_end_and_an_old_one_where_it_was(stage: SmtpStage) -> None:
    await desk(stage).accept(request())
    await follower(stage).open()

    async def place() -> int | None:
        return await stage.stores.database.read(lambda tx: stage.stores.cursors.get(tx, CONSUMER))

    end = await stage.stores.database.read(stage.stores.journal.end)
    assert await place() == end > 0
    await desk(stage).accept(request(key="2"))
    await follower(stage).open()
    assert await place() == end
    await follow(stage)
    assert await place() == end + 1


async def test_nothing_is_read_while_nobody_handed_anything_in_and_nobody_is_told(stage: SmtpStage) -> None:
    one = follower(stage)
    await one.open()
    await deliver(stage, b"From: docteur@a.mssante.fr\r\nSubject: Bonjour\r\n\r\nBonjour\r\n")
    wanted = await stage.stores.database.read(one.wants)
    assert wanted is None and await one.step() > 0 and await one.step() == 0
    await desk(stage).accept(request())
    wanted = await stage.stores.database.read(one.wants)
    assert wanted is not None and not wanted.plain, "what arrives without a document or a report is not read"
    hook = Webhook("h", "", stage.mailboxes[ALICE].id, "https://h.test/", "salt", (), True, NOW)
    await stage.stores.database.write(lambda tx: stage.stores.webhooks.put(tx, hook))
    wanted = await stage.stores.database.read(one.wants)
    assert wanted is not None and wanted.plain, "somebody is told of every arrival"


async def test_old_requests_are_forgotten(stage: SmtpStage) -> None:
    got = await desk(stage).accept(request())
    one = follower(stage)
    await one.forget()
    assert await states(stage, got)
    stage.clock.advance(timedelta(days=91))
    await one.forget()
    assert await states(stage, got) == {}
