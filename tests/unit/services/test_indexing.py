"""The indexer: what came is put in, what is gone is taken out, and doing so twice changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.imap_stage import ADDRESS, Stage, build, simple
from support.pdffiles import pdf_of

from mssante.clock import SystemClock
from mssante.errors import StorageFull
from mssante.services.imap.settings import ImapSettings
from mssante.services.indexing import IndexChange, Indexer, IndexSettings
from mssante.storage.interfaces import TextIndex
from mssante.storage.search import TextQuery

OTHER = "secretariat@hopital.mssante.fr"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path, ImapSettings(hostname="imap.example", inline_bytes=2_000))
    yield made
    await made.close()


def texts(stage: Stage) -> TextIndex:
    assert stage.services.texts is not None
    return stage.services.texts


def found(stage: Stage, mailbox_id: int, wanted: str) -> int:
    return len(texts(stage).find(TextQuery(mailbox_id, wanted, True), (1,)).found)


async def test_catch_up_goes_on_where_it_was(stage: Stage) -> None:
    indexer = stage.indexer()
    assert await indexer.catch_up() == 0
    for name in ("hello", "second", "mixed", "html", "large"):
        await stage.deliver("INBOX", name)
    assert await indexer.catch_up() == 5
    assert await indexer.catch_up() == 0
    assert found(stage, stage.mailbox.id, "deuxieme message") == 1
    assert found(stage, stage.mailbox.id, "0123456789") == 1  # from the blob store
    await stage.deliver("Archive", "third")
    assert await indexer.catch_up() == 1
    assert found(stage, stage.mailbox.id, "troisieme") == 1


async def test_the_index_leaves_the_last_room_to_the_mail(stage: Stage) -> None:
    await stage.deliver("INBOX", "second")
    room = 999
    indexer = Indexer(stage.stores, texts(stage), SystemClock(), IndexSettings(free=lambda: room, floor_bytes=1000))
    with pytest.raises(StorageFull, match="DISQUE-PLEIN"):
        await indexer.catch_up()
    assert found(stage, stage.mailbox.id, "deuxieme message") == 0
    room = 1000
    assert await indexer.catch_up() == 1 and found(stage, stage.mailbox.id, "deuxieme message") == 1


async def test_it_rests_after_each_batch(stage: Stage) -> None:
    for number in range(3):
        await stage.deliver_octets("INBOX", simple(f"Sujet {number}", "a@b.fr", "texte"))
    worked: list[float] = []

    def rest(seconds: float) -> float:
        worked.append(seconds)
        return 0.0

    indexer = Indexer(stage.stores, texts(stage), SystemClock(), IndexSettings(batch_messages=1, rest=rest))
    assert await indexer.catch_up() == 3
    assert len(worked) == 3 and min(worked) > 0.0


async def test_batches_are_bounded(stage: Stage) -> None:
    for number in range(7):
        await stage.deliver_octets("INBOX", simple(f"Sujet {number}", "a@b.fr", "texte " * 100))
    sizes: list[int] = []
    index = texts(stage)

    class Watching:
        def __getattr__(self, name: str) -> object:
            return getattr(index, name)

        def add(self, mailbox_id: int, part: list[object]) -> int:
            sizes.append(len(part))
            return index.add(mailbox_id, part)  # type: ignore[arg-type]

    told: list[tuple[int, int]] = []
    indexer = Indexer(stage.stores, Watching(), SystemClock(), IndexSettings(batch_messages=3))  # type: ignore[arg-type]
    assert (await indexer.rebuild(stage.mailbox.id, lambda done, of: told.append((done, of)))).added == 7
    assert sizes == [3, 3, 1]
    assert told == [(0, 7), (3, 7), (6, 7), (7, 7)]
    indexer = Indexer(stage.stores, Watching(), SystemClock(), IndexSettings(batch_bytes=1_000))  # type: ignore[arg-type]
    sizes.clear()
    await indexer.rebuild(stage.mailbox.id)
    assert sizes == [1] * 7


async def test_a_copy_costs_nothing_and_expunge_of_the_last_one_removes(stage: Stage) -> None:
    indexer = stage.indexer()
    await stage.deliver_octets("INBOX", simple("Sujet", "a@b.fr", "Ziguezon unique"))
    await stage.deliver("INBOX", "hello")
    await indexer.catch_up()
    inbox, archive = await stage.folder("INBOX"), await stage.folder("Archive")
    stores = stage.stores
    await stores.database.write(lambda tx: stores.messages.copy(tx, inbox.id, [1], archive.id, now=SystemClock().now()))
    assert await indexer.sweep() == IndexChange(0, 0)
    from mssante.storage.interfaces import FlagChange

    for folder, uid in ((inbox, 1), (archive, 1)):
        await stores.database.write(lambda tx, folder=folder, uid=uid: (
            stores.messages.set_flags(tx, folder.id, [uid], FlagChange("add", 8)), stores.messages.expunge(tx, folder.id, None)))
        change = await indexer.sweep()
        assert change == IndexChange(0, 1 if folder is archive else 0)
    assert found(stage, stage.mailbox.id, "ziguezon") == 0
    assert found(stage, stage.mailbox.id, "premier") == 1
    raw = b"".join(path.read_bytes() for path in Path(texts(stage)._folder).iterdir())  # type: ignore[attr-defined]
    assert b"ziguezon" not in raw


async def test_a_sweep_looks_only_where_something_moved(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    indexer = stage.indexer()
    await stage.add_mailbox(OTHER)
    await stage.deliver("INBOX", "hello")
    seen: list[int] = []
    first = Indexer.reconcile

    async def watched(self: Indexer, mailbox_id: int) -> IndexChange:
        seen.append(mailbox_id)
        return await first(self, mailbox_id)

    monkeypatch.setattr(Indexer, "reconcile", watched)
    assert (await indexer.sweep()).added == 1
    seen.clear()
    await stage.deliver("INBOX", "second")
    await indexer.catch_up()
    assert await indexer.sweep() == IndexChange(0, 0)
    assert stage.mailbox.id in seen
    seen.clear()
    await indexer.sweep()
    assert stage.mailbox.id not in seen


async def test_messages_copied_to_another_mailbox_are_put_in_by_the_sweep(stage: Stage) -> None:
    indexer = stage.indexer()
    other = await stage.add_mailbox(OTHER)
    await stage.deliver("INBOX", "hello")
    await indexer.catch_up()
    stores = stage.stores
    source = await stage.folder("INBOX")
    folders = await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, other.id))
    await stores.database.write(lambda tx: stores.messages.copy(tx, source.id, [1], folders[0].id, now=SystemClock().now()))
    assert found(stage, other.id, "premier") == 0
    assert (await indexer.sweep()).added == 1
    assert found(stage, other.id, "premier") == 1


async def test_an_index_that_was_lost_is_made_again(stage: Stage) -> None:
    indexer = stage.indexer()
    for name in ("hello", "second"):
        await stage.deliver("INBOX", name)
    await indexer.catch_up()
    await indexer.sweep()
    index = texts(stage)
    for path in Path(index._folder).glob(f"{stage.mailbox.id}.db*"):  # type: ignore[attr-defined]
        path.unlink()
    assert found(stage, stage.mailbox.id, "premier") == 0
    assert (await indexer.sweep()).added == 2
    assert found(stage, stage.mailbox.id, "premier") == 1
    assert (await indexer.rebuild(stage.mailbox.id)).added == 2
    assert found(stage, stage.mailbox.id, "premier") == 1


async def test_time_for_files_is_given_by_message(stage: Stage) -> None:
    import base64

    body = (b"Subject: x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
            + base64.encodebytes(pdf_of(["Radio du pied"])).replace(b"\n", b"\r\n"))
    await stage.deliver_octets("INBOX", body)
    late = Indexer(stage.stores, texts(stage), SystemClock(), IndexSettings(message_seconds=-1.0))
    await late.rebuild(stage.mailbox.id)
    assert found(stage, stage.mailbox.id, "radio du pied") == 0
    await stage.indexer().rebuild(stage.mailbox.id)
    assert found(stage, stage.mailbox.id, "radio du pied") == 1
    assert ADDRESS
