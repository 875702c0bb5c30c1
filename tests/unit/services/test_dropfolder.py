"""Watched folders: what is taken and when, receipts, refusals, links, crashes at each step, a disk without room."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.handing import INS, NAMES, PDF, REMOTE, cda, desk
from support.smtp_stage import ALICE, BOB, OURS, SmtpStage, build
from support.storage_values import NOW

from mssante.documents.letter import structured_letter
from mssante.documents.metadata import SenderFacts
from mssante.errors import MssFault, StorageFull
from mssante.model.journal import JournalEvent, JournalKind
from mssante.services import dropfiles, dropfolder
from mssante.services.dropfolder import DropFolders, DropParts, DropSettings
from mssante.services.handfollow import FollowParts, FollowSettings, HandFollower
from mssante.services.handquery import HandQuery

FACTS = {"patient": {"family_birth": NAMES[0], "given_birth": NAMES[1], "birth_date": "1979-03-28", "sex": "F", "ins": INS,
                     "ins_oid": "1.2.250.1.213.1.4.10"},
         "author": {"number": "899700000001", "family": "TESTMEDECIN"},
         "structure": {"number": "1990000001", "name": "Centre de test", "practice": "ETABLISSEMENT", "facility": "SA01"},
         "code": "11488-4", "title": "CR de consultation", "created": "2026-02-28T10:30:00+01:00"}


class Stage:
    """One folder of Alice on an SMTP stage."""

    def __init__(self, smtp: SmtpStage, folder: Path) -> None:
        self.smtp, self.folder = smtp, folder
        folder.mkdir()
        self.drops = self.service()

    def service(self) -> DropFolders:
        """Another life of the service."""
        smtp = self.smtp
        query = HandQuery(smtp.stores, smtp.addresses, smtp.clock, frozenset({OURS}))
        return DropFolders(DropParts(desk(smtp), query, smtp.stores, smtp.clock, smtp.executor,
                                     DropSettings({ALICE: self.folder}, 100_000, 1.0)))

    def drop(self, name: str, content: bytes = PDF, ready: bool = True, **changes: Any) -> None:
        stem = name.rpartition(".")[0]
        value = {"to": [BOB, REMOTE], **({"facts": FACTS} if name.endswith(".pdf") else {}), **changes}
        (self.folder / name).write_bytes(content)
        (self.folder / f"{stem}.json").write_text(json.dumps(value))
        if ready:
            (self.folder / f"{stem}.ready").touch()

    def names(self, place: str = "") -> set[str]:
        where = self.folder / place
        return {one.name for one in where.iterdir() if one.is_file()} if where.is_dir() else set()

    def receipt(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "envoyes" / f"{name}.recu.json").read_text())
        return found


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    smtp = await build(tmp_path)
    yield Stage(smtp, tmp_path / "depot")
    await smtp.close()


def archive() -> bytes:
    return structured_letter([cda()], SenderFacts("2.25.1", "Centre de test"), now=NOW).attachments[0].content


@pytest.mark.parametrize(("name", "content"), [("cr 12.pdf", PDF), ("lettre.xml", cda()), ("envoi.zip", archive()), ("É.PDF", PDF)])
async def test_a_pair_is_taken_and_put_away_with_its_receipt(stage: Stage, name: str, content: bytes) -> None:
    stage.drop(name, content, **({"facts": FACTS} if name.endswith(".PDF") else {}))
    assert await stage.drops.step(ALICE) == 1
    stem = name.rpartition(".")[0]
    assert stage.names() == set() and stage.names("envoyes") == {name, f"{stem}.json", f"{stem}.recu.json"}
    told = stage.receipt(stem)
    assert told["mailbox"] == ALICE and {one["address"]: one["state"] for one in told["recipients"]} == {BOB: "delivered", REMOTE: "queued"}
    assert len(await stage.smtp.bodies(BOB)) == 1 and await stage.drops.step(ALICE) == 0


async def test_without_ready_two_rounds_must_see_the_same_files(stage: Stage) -> None:
    stage.drop("a.pdf", PDF[:20], ready=False)
    assert await stage.drops.step(ALICE) == 0
    stage.drop("a.pdf", PDF, ready=False)
    assert await stage.drops.step(ALICE) == 0, "it was being written"
    assert await stage.drops.step(ALICE) == 1
    (stage.folder / "seul.pdf").write_bytes(PDF)
    assert [await stage.drops.step(ALICE) for _ in range(3)] == [0, 0, 0], "no request beside it"


async def test_the_same_files_again_send_nothing_more(stage: Stage) -> None:
    stage.drop("a.pdf")
    await stage.drops.step(ALICE)
    first = stage.receipt("a")["id"]
    stage.drop("a.pdf")
    assert await stage.drops.step(ALICE) == 1
    (other,) = [name for name in stage.names("envoyes") if name.endswith(".recu.json") and name != "a.recu.json"]
    assert stage.receipt(other.removesuffix(".recu.json"))["id"] == first
    assert len(await stage.smtp.bodies(BOB)) == 1


async def test_receipts_are_written_again_as_the_journal_goes_on(stage: Stage) -> None:
    smtp = stage.smtp
    await stage.drops.open()
    stage.drop("a.pdf")
    await stage.drops.step(ALICE)
    trace = stage.receipt("a")["trace_id"]
    event = JournalEvent(JournalKind.RELAYED, smtp.clock.now(), trace, REMOTE, {"to": REMOTE, "reply": "250 OK"})
    await smtp.stores.database.write(lambda tx: smtp.stores.journal.append(tx, [event]))
    assert not await stage.drops.follow(), "the states are not folded yet"
    follower = HandFollower(FollowParts(smtp.stores, smtp.clock, smtp.executor, smtp.addresses, smtp.evidence,
                                        FollowSettings(90, 30), frozenset({OURS})))
    while await follower.step():
        pass
    later = stage.service()
    while await later.follow():
        pass
    assert {one["address"]: one["state"] for one in stage.receipt("a")["recipients"]} == {BOB: "delivered", REMOTE: "relayed"}


@pytest.mark.parametrize(("name", "content", "changes", "rule"), [
    ("a.pdf", b"PK", {}, "N1-PDF"), ("a.xml", b"<a/>", {}, "CDA-ROOT"), ("a.zip", b"x", {}, "ZIP-"),
    ("a.pdf", PDF, {"to": ["x@gmail.com"]}, "HORS-ESPACE"), ("a.pdf", PDF, {"to": []}, "REMISE-FORME"),
    ("a.pdf", PDF, {"mailbox": BOB}, "DOSSIER-DEMANDE"), ("a.xml", cda(), {"facts": FACTS}, "DOSSIER-DEMANDE"),
    ("a.pdf", PDF, {"facts": {**FACTS, "x": 1}}, "N1-FAIT"), ("a.pdf", PDF + b"x" * 100_000, {}, "DOSSIER-TAILLE")])
async def test_what_is_refused_is_put_aside_with_the_reason(stage: Stage, name: str, content: bytes, changes: dict[str, Any],
                                                             rule: str) -> None:
    stage.drop(name, content, **changes)
    assert await stage.drops.step(ALICE) == 1
    assert stage.names() == set() and stage.names("refus") == {name, "a.json", "a.refus.txt"}
    words = (stage.folder / "refus" / "a.refus.txt").read_text()
    assert f"Règle : {rule}" in words and "n'a pas été envoyé" in words and INS not in words
    assert await stage.smtp.bodies(BOB) == []


async def test_broken_json_and_one_that_is_no_object(stage: Stage) -> None:
    for name, text in (("a", "{"), ("b", "[]"), ("c", "x" * 2_000_000)):
        stage.drop(f"{name}.pdf")
        (stage.folder / f"{name}.json").write_text(text)
    assert await stage.drops.step(ALICE) == 3
    assert len(stage.names("refus")) == 9


@pytest.mark.parametrize("target", ["a.pdf", "a.json"])
async def test_links_are_not_followed(stage: Stage, tmp_path: Path, target: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(PDF if target == "a.pdf" else json.dumps({"to": [BOB], "facts": FACTS}).encode())
    stage.drop("a.pdf")
    (stage.folder / target).unlink()
    (stage.folder / target).symlink_to(secret)
    assert [await stage.drops.step(ALICE) for _ in range(3)] == [0, 0, 0]
    (stage.folder / target).unlink()
    os.link(secret, stage.folder / target)
    assert await stage.drops.step(ALICE) == 1
    assert "DOSSIER-FICHIER" in (stage.folder / "refus" / "a.refus.txt").read_text() and await stage.smtp.bodies(BOB) == []


@pytest.mark.parametrize("place", ["envoyes", "refus", ".suivi"])
async def test_sub_folders_that_are_links_lead_nowhere(stage: Stage, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "dehors"
    outside.mkdir()
    (stage.folder / place).symlink_to(outside)
    stage.drop("a.pdf", PDF if place != "refus" else b"x")
    with pytest.raises(MssFault) as caught:
        await stage.drops.step(ALICE)
    assert caught.value.rule == "DOSSIER-OUVRIR" and list(outside.iterdir()) == []
    assert {"a.pdf", "a.json"} <= stage.names()


async def test_a_link_swapped_in_between_is_refused(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.drop("a.pdf")
    real = dropfiles.listed

    def late(folder: Path) -> Any:
        found = real(folder)
        (folder / "a.pdf").unlink()
        (folder / "a.pdf").symlink_to("/etc/hostname")
        return found

    monkeypatch.setattr(dropfolder, "listed", late)
    assert await stage.drops.step(ALICE) == 1
    assert "DOSSIER-FICHIER" in (stage.folder / "refus" / "a.refus.txt").read_text()
    assert (stage.folder / "refus" / "a.pdf").is_symlink(), "moved as it is, never read"


async def test_a_pipe_does_not_hold_the_service_up(stage: Stage) -> None:
    stage.drop("a.pdf")
    (stage.folder / "a.pdf").unlink()
    os.mkfifo(stage.folder / "a.pdf")
    assert await stage.drops.step(ALICE) == 0


@pytest.mark.parametrize("step", ["put_away", "read_note", "accept"])
async def test_a_crash_at_any_step_sends_once(stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    class Crash(BaseException):
        pass

    def crash(*_: Any) -> None:
        raise Crash

    stage.drop("a.pdf")
    if step == "accept":
        monkeypatch.setattr(stage.drops._parts.handover, "accept", crash)
    else:
        monkeypatch.setattr(dropfolder, step, crash)
    with pytest.raises(Crash):
        await stage.drops.step(ALICE)
    monkeypatch.undo()
    again = stage.service()
    await again.step(ALICE)
    await again.step(ALICE)
    assert len(await stage.smtp.bodies(BOB)) == 1 and len(await stage.smtp.queue()) == 1
    assert stage.names() == set() and stage.receipt("a")["state"] == "queued"


async def test_no_room_loses_and_doubles_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.drop("a.pdf")

    def full(there: int, name: str, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(dropfiles, "_write", full)
    for _ in range(2):
        with pytest.raises(StorageFull):
            await stage.drops.step(ALICE)
    assert {"a.pdf", "a.json"} <= stage.names()
    monkeypatch.undo()
    assert await stage.drops.step(ALICE) == 1
    assert len(await stage.smtp.bodies(BOB)) == 1 and stage.receipt("a")["state"] == "queued"


async def test_a_temporary_refusal_leaves_the_files(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tx: Any, items: Any) -> Any:
        raise StorageFull("disk full", rule="STORE-FULL")

    stage.drop("a.pdf")
    monkeypatch.setattr(stage.smtp.stores.messages, "accept", full)
    assert await stage.drops.step(ALICE) == 0 and {"a.pdf", "a.json"} <= stage.names()
    monkeypatch.undo()
    assert await stage.drops.step(ALICE) == 1


async def test_one_bad_pair_does_not_stop_the_others(stage: Stage) -> None:
    for name, content in (("a.pdf", b"x"), ("b.pdf", PDF), ("c.xml", b"<"), ("d.xml", cda())):
        stage.drop(name, content)
    assert await stage.drops.step(ALICE) == 4
    assert len(await stage.smtp.bodies(BOB)) == 2


async def test_names_that_are_not_taken(stage: Stage) -> None:
    for name in (".cache.pdf", "x" * 152 + ".pdf", "a\nb.pdf", "note.txt"):
        stage.drop(name)
    (stage.folder / "dossier.pdf").mkdir()
    assert [await stage.drops.step(ALICE) for _ in range(3)] == [0, 0, 0]


class Killed(BaseException):
    """kill -9, as a coroutine sees it."""


def killing(monkeypatch: pytest.MonkeyPatch, call: str, rank: int) -> None:
    """End the process at the rank-th call of a function of the system."""
    real, count = getattr(os, call), [0]

    def late(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] > rank:
            raise Killed
        return real(*arguments, **options)

    monkeypatch.setattr(dropfiles.os, call, late)


@pytest.mark.parametrize(("call", "rank"), [*[("rename", rank) for rank in range(6)], ("unlink", 0), ("unlink", 1), ("fsync", 2), ("fsync", 3)])
async def test_a_kill_between_two_calls_of_the_system(stage: Stage, monkeypatch: pytest.MonkeyPatch, call: str, rank: int) -> None:
    stage.drop("a.pdf")
    killing(monkeypatch, call, rank)
    try:
        await stage.drops.step(ALICE)
    except Killed:
        pass
    monkeypatch.undo()
    old = stage.smtp.clock.now().timestamp() - 3600
    for one in (path for path in stage.folder.rglob(".*") if path.is_file()):
        os.utime(one, (old, old))
    again = stage.service()
    await again.step(ALICE)
    await again.step(ALICE)
    assert len(await stage.smtp.bodies(BOB)) == 1
    assert stage.names() == set()
    assert stage.names("envoyes") == {"a.pdf", "a.json", "a.recu.json"}
    assert len(stage.names(".suivi")) == 1, "where its receipt is, and nothing else"


@pytest.mark.parametrize("rank", [3, 4, 5])  # from the moment when the move is noted
async def test_a_request_left_by_a_kill_never_meets_another_document(stage: Stage, monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    stage.drop("a.pdf", ready=False)
    await stage.drops.step(ALICE)
    killing(monkeypatch, "rename", rank)
    try:
        await stage.drops.step(ALICE)
    except Killed:
        pass
    monkeypatch.undo()
    draft = stage.folder / "neuf"
    draft.write_bytes(PDF + b"\n% another patient")
    draft.rename(stage.folder / "a.pdf")  # the program goes on with its next document, and writes the request after it
    again = stage.service()
    for _ in range(3):
        await again.step(ALICE)
    assert stage.names() == {"a.pdf"}, "it waits for a request of its own"
    assert len(await stage.smtp.bodies(BOB)) == 1
    (stage.folder / "a.json").write_text(json.dumps({"to": [BOB], "facts": FACTS}))
    await again.step(ALICE)
    await again.step(ALICE)
    assert len(await stage.smtp.bodies(BOB)) == 2
    assert stage.names() == set()
    ids = [json.loads((stage.folder / "envoyes" / name).read_text())["id"] for name in stage.names("envoyes") if "recu" in name]
    assert len(ids) == len(set(ids)) == len(await stage.smtp.bodies(BOB)), "a receipt for each"


async def test_a_document_replaced_while_it_is_handed_in_is_not_lost(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.drop("a.pdf")
    real = dropfolder.put_away

    def late(*arguments: Any) -> Any:
        draft = stage.folder / "neuf"
        draft.write_bytes(PDF + b"\n% second")
        draft.rename(stage.folder / "a.pdf")
        monkeypatch.undo()
        return real(*arguments)

    monkeypatch.setattr(dropfolder, "put_away", late)
    await stage.drops.step(ALICE)
    assert stage.names() == {"a.pdf"}
    stage.drop("a.pdf", PDF + b"\n% second")
    assert await stage.drops.step(ALICE) == 1
    assert len(await stage.smtp.bodies(BOB)) == 2
    assert len([name for name in stage.names("envoyes") if name.endswith(".recu.json")]) == 2


@pytest.mark.parametrize("text", ["", "[]", "{", '{"place": "..", "document": "a.pdf", "name": "a", "stamp": [1,1,1,1,1,1]}',
                                  '{"place": "envoyes", "document": "../a.pdf", "name": "a", "stamp": [1,1,1,1,1,1]}',
                                  '{"place": "envoyes", "document": "a.pdf", "name": "../../x", "stamp": [1,1,1,1,1,1]}',
                                  '{"place": "envoyes", "document": "a.pdf", "name": "a", "stamp": ["x"]}'])
async def test_a_note_that_is_not_ours_moves_nothing(stage: Stage, text: str) -> None:
    (stage.folder / ".suivi").mkdir()
    (stage.folder / ".suivi" / "x.move").write_text(text)
    stage.drop("a.pdf", ready=False)
    assert await stage.drops.step(ALICE) == 0
    assert stage.names() == {"a.pdf", "a.json"}
    assert stage.names(".suivi") == set()
