"""`queue`, `trace`, `journal` on a database that holds one message filed and one queued."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from support.clispace import Space

from mssante.cli.common import administer
from mssante.cli.trace import KINDS
from mssante.ids import new_trace_id
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import MailboxType
from mssante.model.message import MessageFacts, NewMessage, StagedBody
from mssante.services.admin import Admin, MailboxSpec
from mssante.storage.interfaces import Acceptance, Filing, QueueEntry, QueueRecipient

BOX = "claire@alpha.mssante.test"
NOW = datetime.now(UTC)


def message(trace_id: str) -> NewMessage:
    """A small message."""
    body = b"From: a@b.test\r\n\r\nbonjour\r\n"
    facts = MessageFacts("<1@b.test>", "", "a@b.test", "", None, 18, b"()", b"()")
    return NewMessage(StagedBody(len(body), sha256(body).hexdigest(), inline=body), b"", facts, trace_id, NOW)


@pytest.fixture
def traces(space: Space) -> tuple[Space, str, str]:
    """(space, trace of the filed message, trace of the message queued for two recipients of one domain)."""
    filed, queued = new_trace_id(), new_trace_id()

    async def fill(admin: Admin) -> None:
        made = await admin.create_mailboxes([MailboxSpec(BOX, MailboxType.PER)])
        received = JournalEvent(JournalKind.RECEIVED, NOW, filed, "a@b.test", {"rule": "", "size": 26})
        put = JournalEvent(JournalKind.REPORT_SENT, NOW + timedelta(milliseconds=4), filed, BOX)
        submitted = JournalEvent(JournalKind.SUBMITTED, NOW, queued, BOX)
        entry = QueueEntry(BOX, tuple(QueueRecipient(f"{name}@loin.test", "loin.test") for name in "xy"),
                           NOW + timedelta(days=2), NOW + timedelta(minutes=5))
        items = [Acceptance(message(filed), (Filing(made[0].inbox_id),), None, (received, put)),
                 Acceptance(message(queued), (), entry, (submitted,))]
        await admin.stores.database.write(lambda tx: admin.stores.messages.accept(tx, items))

    administer(space.config, fill)
    return space, filed, queued


def test_trace_tells_the_events_and_where_the_message_lies(traces: tuple[Space, str, str]) -> None:
    space, filed, _ = traces
    told = space.run("trace", filed.lower())
    assert told.code == 0
    assert told.out.index("reçu d'un opérateur") < told.out.index("avis envoyé ") < told.out.index(f"rangé dans {BOX}, dossier INBOX")
    assert "+    0.004 s" in told.out
    document = space.run("trace", filed, "--json").json
    assert [one["kind"] for one in document["events"]] == ["received", "report_sent"]
    assert document["folders"] == [{"mailbox": BOX, "folder": "INBOX", "uid": 1}]
    assert document["queue"] == []


def test_trace_tells_what_is_still_queued(traces: tuple[Space, str, str]) -> None:
    space, _, queued = traces
    assert "x@loin.test" in space.run("trace", queued).out
    waiting = space.run("trace", queued, "--json").json["queue"]
    assert [(one["recipient"], one["state"], one["attempts"]) for one in waiting] == [
        ("x@loin.test", "queued", 0), ("y@loin.test", "queued", 0)]


@pytest.mark.parametrize(("word", "rule"), [("01ARZ3NDEKTSV4RRFFQ69G5FAV", "TRACE-INCONNUE"), ("x", "TRACE-FORME"),
                                            ("01ARZ3NDEKTSV4RRFFQ69G5FAU\n", "TRACE-FORME")])
def test_an_unknown_trace_is_told(space: Space, word: str, rule: str) -> None:
    outcome = space.run("trace", word)
    assert outcome.code == 1 and f"[{rule}]" in outcome.err


def test_the_queue_is_listed_held_released_retried_and_cancelled(traces: tuple[Space, str, str]) -> None:
    space, _, _ = traces
    first = space.run("queue", "list", "--json").json["recipients"][0]
    assert first["destination"] == "loin.test"
    assert space.run("queue", "list", "-d", "autre.test", "--json").json["recipients"] == []
    for words, state in ((("hold", "--id", str(first["id"])), "held"), (("release", "--destination", "loin.test"), "queued"),
                         (("retry", "--all"), "queued")):
        done = space.run("queue", *words, "--json")
        assert done.code == 0 and done.json["recipients"] == 2
        assert space.run("queue", "depth", "--json").json["depth"][state] == 2
    due = space.run("queue", "list", "--json").json["recipients"][0]["next_attempt_at"]
    assert datetime.fromisoformat(due) <= datetime.now(UTC)
    assert space.run("queue", "cancel", "--all").code == 1
    assert space.run("queue", "cancel", "--all", "--yes", "--json").json["recipients"] == 2
    assert "file vide" in space.run("queue", "list").out


@pytest.mark.parametrize("action", ["hold", "release", "retry", "cancel"])
def test_an_unknown_queue_id_is_told(traces: tuple[Space, str, str], action: str) -> None:
    space = traces[0]
    outcome = space.run("queue", action, "--id", "999")
    assert outcome.code == 1 and "--id 999" in outcome.err and "[FILE-INCONNUE]" in outcome.err
    assert space.run("queue", action).code == 2
    assert space.run("queue", action, "--id", "1", "--all").code == 2


def test_the_journal_is_whole_until_somebody_alters_it(traces: tuple[Space, str, str]) -> None:
    space = traces[0]
    whole = space.run("journal", "verify", "--json")
    assert whole.code == 0 and whole.json == {"ok": True, "events": 4, "broken_at": None}
    with sqlite3.connect(space.root / "data" / "mssante.db") as database:
        database.execute("UPDATE journal_event SET subject = 'autre' WHERE sequence = 3")
    broken = space.run("journal", "verify", "--json")
    assert broken.code == 3 and broken.json["broken_at"] == 3
    assert "événement 3" in broken.err


def test_the_journal_is_filtered(traces: tuple[Space, str, str]) -> None:
    space = traces[0]
    assert len(space.run("journal", "list", "-n", "2", "--json").json["events"]) == 2
    assert [one["kind"] for one in space.run("journal", "list", "--kind", "report_sent", "--json").json["events"]] == ["report_sent"]
    outcome = space.run("journal", "list", "--kind", "nope")
    assert outcome.code == 1 and "received" in outcome.err


def test_every_kind_of_event_has_its_words() -> None:
    assert set(KINDS) == {kind.value for kind in JournalKind}


def test_control_characters_never_reach_the_terminal(space: Space) -> None:
    event = JournalEvent(JournalKind.RECEIVED, NOW, "", "a\x1b[31m@b.test", {"peer": "x\r\ny"})
    administer(space.config, lambda admin: admin.stores.database.write(
        lambda tx: admin.stores.journal.append(tx, [event])))
    shown = space.run("journal", "list").out
    assert "\x1b" not in shown and "\r" not in shown and "a?[31m@b.test" in shown
