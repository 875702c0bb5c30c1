"""Contract of HandoverStore, CursorStore, OppositionStore and WebhookStore."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from support.storage_values import NOW, accept, event, new_message

from mssante.model.journal import JournalEvent, JournalKind
from mssante.storage.handover import HandedRecipient, HandedRecord
from mssante.storage.interfaces import Acceptance, Stores
from mssante.storage.opposition import Opposition
from mssante.storage.webhooks import HookBacklog, Webhook, WebhookEvent

DAY = timedelta(days=1)
ONE = HandedRecord("token 1", "clé", "remise_1", "f" * 64, 7, "trace1", "<1@a.fr>", NOW, NOW, {"documents": 1, "to": ["x@b.fr"]})
TWO = replace(ONE, key="autre", id="remise_2", trace_id="trace2", reference="<2@a.fr>", created_at=NOW + DAY, updated_at=NOW + DAY)
STATES = (HandedRecipient("remise_1", "x@b.fr", "queued", NOW), HandedRecipient("remise_1", "y@b.fr", "delivered", NOW))


async def write(stores: Stores, unit: Any) -> Any:
    return await stores.database.write(unit)


async def read(stores: Stores, unit: Any) -> Any:
    return await stores.database.read(unit)


async def test_a_request_is_found_by_key_id_and_trace(stores: Stores) -> None:
    await write(stores, lambda tx: (stores.handover.add(tx, ONE, STATES), stores.handover.add(tx, TWO, ())))
    assert await read(stores, lambda tx: stores.handover.find(tx, "token 1", "clé")) == ONE
    assert await read(stores, lambda tx: stores.handover.find(tx, "token 2", "clé")) is None
    assert await read(stores, lambda tx: stores.handover.by_id(tx, "remise_2")) == TWO
    assert await read(stores, lambda tx: stores.handover.by_id(tx, "x")) is None
    found = await read(stores, lambda tx: stores.handover.by_trace(tx, ["trace2", "trace1", "x", "trace1"]))
    assert sorted(one.id for one in found) == ["remise_1", "remise_2"]
    assert await read(stores, lambda tx: stores.handover.by_trace(tx, [])) == []
    assert tuple(await read(stores, lambda tx: stores.handover.recipients(tx, ["remise_1", "remise_2"]))) == STATES


async def test_the_same_key_twice_undoes_its_unit_alone(stores: Stores) -> None:
    await write(stores, lambda tx: stores.handover.add(tx, ONE, ()))

    def unit(tx: Any) -> None:
        stores.cursors.move(tx, "x", 5, NOW)
        stores.handover.add(tx, replace(ONE, id="remise_9"), ())

    with pytest.raises(Exception, match=""):
        await write(stores, unit)
    assert await read(stores, lambda tx: stores.cursors.get(tx, "x")) is None
    assert (await read(stores, lambda tx: stores.handover.find(tx, "token 1", "clé"))).id == "remise_1"


async def test_states_are_written_and_added(stores: Stores) -> None:
    await write(stores, lambda tx: stores.handover.add(tx, ONE, STATES))
    later = NOW + DAY
    changed = (HandedRecipient("remise_1", "x@b.fr", "failed", later, "550 non\0"), HandedRecipient("remise_1", "z@b.fr", "read", later))
    await write(stores, lambda tx: stores.handover.set_states(tx, changed))
    found = {one.address: one for one in await read(stores, lambda tx: stores.handover.recipients(tx, ["remise_1"]))}
    assert found["x@b.fr"] == replace(changed[0], detail="550 non\ufffd") and found["z@b.fr"] == changed[1] and len(found) == 3
    assert (await read(stores, lambda tx: stores.handover.by_id(tx, "remise_1"))).updated_at == later


async def test_old_requests_are_forgotten_with_their_recipients(stores: Stores) -> None:
    await write(stores, lambda tx: (stores.handover.add(tx, ONE, STATES), stores.handover.add(tx, TWO, ())))
    assert await write(stores, lambda tx: stores.handover.forget(tx, NOW + DAY)) == 1
    assert await read(stores, lambda tx: stores.handover.by_id(tx, "remise_1")) is None
    assert await read(stores, lambda tx: stores.handover.recipients(tx, ["remise_1"])) == []
    assert await read(stores, lambda tx: stores.handover.by_id(tx, "remise_2")) == TWO


async def test_reports_are_found_by_their_structure(stores: Stores) -> None:
    report, plain = new_message("r1"), new_message("p1")
    told = replace(report, facts=replace(report.facts, bodystructure=b'(... "REPORT" ("report-type" ...'))
    ids = await accept(stores, Acceptance(told), Acceptance(plain))
    assert await read(stores, lambda tx: stores.handover.reports(tx, ["r1", "p1", "x"])) == ids[:1]


async def test_a_cursor_is_one_place_for_each_scope(stores: Stores) -> None:
    assert await read(stores, lambda tx: stores.cursors.get(tx, "c")) is None
    await write(stores, lambda tx: (stores.cursors.move(tx, "c", 5, NOW), stores.cursors.move(tx, "c", 9, NOW, scope="box 1")))
    await write(stores, lambda tx: stores.cursors.move(tx, "c", 3, NOW))
    assert await read(stores, lambda tx: (stores.cursors.get(tx, "c"), stores.cursors.get(tx, "c", "box 1"))) == (3, 9)
    assert await write(stores, lambda tx: (stores.cursors.forget(tx, "c"), stores.cursors.forget(tx, "c"))) == (True, False)


async def test_the_journal_is_read_behind_a_place(stores: Stores) -> None:
    assert await read(stores, stores.journal.end) == 0
    await write(stores, lambda tx: stores.journal.append(tx, [event(f"t{rank}", JournalKind.RELAYED) for rank in range(5)]))
    rows = await read(stores, lambda tx: stores.journal.after(tx, 1, 3))
    assert [(row.sequence, row.trace_id) for row in rows] == [(2, "t1"), (3, "t2"), (4, "t3")]
    assert await read(stores, stores.journal.end) == 5 and await read(stores, lambda tx: stores.journal.after(tx, 5)) == []


async def test_the_journal_is_read_for_what_is_wanted(stores: Stores) -> None:
    def one(trace: str, kind: JournalKind, **payload: str | bool) -> JournalEvent:
        return JournalEvent(kind, NOW, trace, "x@alpha.test", dict(payload))

    await write(stores, lambda tx: stores.journal.append(tx, [
        one("t1", JournalKind.RECEIVED, plain=True), one("t2", JournalKind.RECEIVED, to='"plain":'),
        one("t3", JournalKind.RELAYED), one("t4", JournalKind.SUBMITTED), one("t5", JournalKind.SUBMITTED, plain=True)]))

    async def traces(**wanted: Any) -> list[str]:
        return [row.trace_id for row in await read(stores, lambda tx: stores.journal.after(tx, 0, 9, **wanted))]

    assert await traces(plain=False) == ["t2", "t3", "t4"], "a value that looks like the mark is none"
    assert await traces(kinds={"received", "submitted"}) == ["t1", "t2", "t4", "t5"]
    assert await traces(kinds={"submitted"}, plain=False) == ["t4"]
    assert await traces(until=2) == ["t1", "t2"]


async def test_oppositions_by_patient_and_scope(stores: Stores) -> None:
    one = Opposition("a" * 64, "all", NOW, None, "accueil", "é\0")
    other = replace(one, scope="citizen", since=NOW + DAY, until=NOW + 2 * DAY)
    await write(stores, lambda tx: (stores.oppositions.put(tx, one), stores.oppositions.put(tx, other)))
    await write(stores, lambda tx: stores.oppositions.put(tx, replace(one, by="dim")))
    expected = [replace(one, by="dim", reason="é\ufffd"), replace(other, reason="é\ufffd")]
    assert await read(stores, stores.oppositions.all) == expected
    found = await read(stores, lambda tx: stores.oppositions.of(tx, ["a" * 64, "b" * 64]))
    assert sorted(found, key=lambda item: item.scope) == expected and await read(stores, lambda tx: stores.oppositions.of(tx, [])) == []
    assert await write(stores, lambda tx: (stores.oppositions.remove(tx, "a" * 64, "all"),
                                           stores.oppositions.remove(tx, "a" * 64, "all"))) == (True, False)


HOOK = Webhook("wh_1", "dpi", 7, "https://h.test/", "sel", ("document.read",), True, NOW)


async def test_webhooks_are_kept_changed_removed(stores: Stores) -> None:
    await write(stores, lambda tx: (stores.webhooks.put(tx, HOOK), stores.webhooks.put(tx, replace(HOOK, id="wh_2", kinds=()))))
    await write(stores, lambda tx: stores.webhooks.put(tx, replace(HOOK, active=False)))
    assert await read(stores, stores.webhooks.all) == [replace(HOOK, active=False), replace(HOOK, id="wh_2", kinds=())]
    assert await write(stores, lambda tx: (stores.webhooks.remove(tx, "wh_1"), stores.webhooks.remove(tx, "wh_1"))) == (True, False)


async def test_the_outbox(stores: Stores) -> None:
    events = [WebhookEvent(hook, f"evt_{rank}", "document.read", "{}", NOW + rank * DAY, NOW + rank * DAY)
              for rank in range(3) for hook in ("wh_1", "wh_2")]
    await write(stores, lambda tx: (stores.webhooks.add_events(tx, events), stores.webhooks.add_events(tx, [])))
    due = await read(stores, lambda tx: stores.webhooks.due(tx, "wh_1", NOW + DAY))
    assert [one.event_id for one in due] == ["evt_0", "evt_1"]
    assert len(await read(stores, lambda tx: stores.webhooks.due(tx, "wh_1", NOW + 9 * DAY, 1))) == 1
    await write(stores, lambda tx: stores.webhooks.settle(tx, replace(due[0], attempts=2, done_at=NOW + DAY, detail="204")))
    await write(stores, lambda tx: stores.webhooks.settle(tx, replace(due[1], attempts=1, next_attempt_at=NOW + 5 * DAY, detail="500")))
    assert await read(stores, stores.webhooks.backlog) == {"wh_1": HookBacklog(2, NOW + DAY, 1), "wh_2": HookBacklog(3, NOW, 0)}
    assert await read(stores, lambda tx: stores.webhooks.due(tx, "wh_1", NOW + 3 * DAY)) == [
        replace(events[4], sequence=due[1].sequence + 2)]
    kept = await read(stores, lambda tx: stores.webhooks.events(tx, "wh_1", after=due[0].sequence, limit=1))
    assert [(one.event_id, one.attempts, one.detail) for one in kept] == [("evt_1", 1, "500")]
    assert await write(stores, lambda tx: stores.webhooks.replay(tx, "wh_1", NOW + DAY, NOW)) == 2
    assert len(await read(stores, lambda tx: stores.webhooks.due(tx, "wh_1", NOW))) == 2
    assert await write(stores, lambda tx: stores.webhooks.forget(tx, NOW + 2 * DAY)) == 1
    await write(stores, lambda tx: stores.webhooks.remove(tx, "wh_1"))
    assert await read(stores, lambda tx: stores.webhooks.events(tx, "wh_1")) == []
    assert len(await read(stores, lambda tx: stores.webhooks.events(tx, "wh_2"))) == 3
