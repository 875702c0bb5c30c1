"""Imports into real stores: everything kept, nothing doubled, one bad message loses only itself."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.imap_stage import ADDRESS, NOW, FixedClock, open_test_stores
from support.mailfiles import crlf, make_maildir, mbox, put, small_letter

from mssante.errors import InputFault, PeerFault
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.model.message import Flags, FolderRow
from mssante.services.importing import FolderReport, Importer, ImportReport, ImportSettings, trace_of
from mssante.services.importing_files import MaildirSource
from mssante.services.importing_mbox import MboxSource
from mssante.services.importing_source import ItemFault, Note, SourceFolder, SourceItem
from mssante.storage.interfaces import NewMailbox, Stores

INLINE = 4096


@dataclass
class Stage:
    """Stores with one mailbox, and imports into it."""

    stores: Stores
    executor: ThreadPoolExecutor
    box: Mailbox

    async def run(self, source: Any, **settings: Any) -> ImportReport:
        """Import."""
        values: dict[str, Any] = {"message_bytes": 1_000_000, "inline_bytes": INLINE, **settings}
        importer = Importer(self.stores, FixedClock(), self.executor, ImportSettings(**values))
        return await importer.run(source, ADDRESS, lambda done: None)

    async def folders(self) -> dict[str, int]:
        """Give the folders that hold messages, with their counts."""
        found = await self.stores.database.read(lambda tx: self.stores.folders.of_mailbox(tx, self.box.id))
        return {one.name: one.message_count for one in found if one.message_count}

    async def rows(self, name: str = "INBOX") -> list[tuple[FolderRow, bytes]]:
        """Give the rows of a folder with their octets."""
        def unit(tx: Any) -> list[tuple[FolderRow, bytes]]:
            folder = next(one for one in self.stores.folders.of_mailbox(tx, self.box.id) if one.name == name)
            rows = self.stores.messages.snapshot(tx, folder.id)[1]
            contents = {one.id: one for one in self.stores.messages.contents(tx, [row.message_id for row in rows], with_body=True)}
            return [(row, contents[row.message_id].inline if contents[row.message_id].blob is None
                     else self.stores.blobs.read(contents[row.message_id].blob)) for row in rows]

        return await self.stores.database.read(unit)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stores = open_test_stores(tmp_path)
    executor = ThreadPoolExecutor(2)
    (box,) = await stores.database.write(
        lambda tx: stores.accounts.create_mailboxes(tx, [NewMailbox(ADDRESS, MailboxType.PER, NOW)]))
    yield Stage(stores, executor, box)
    stores.close()
    executor.shutdown()


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    root = tmp_path / "Maildir"
    make_maildir(root)
    return root


# ------------------------------------------------------------ Maildir

async def test_a_maildir_with_its_folders_flags_keywords_and_dates(stage: Stage, maildir: Path) -> None:
    put(maildir, "cur/1700000002.b.h:2,FS", small_letter("b"), 1_600_000_000)
    put(maildir, "cur/1700000001.a.h,S=200:2,RTab", small_letter("a", 20_000))
    put(maildir, "new/1700000003.c.h:2,S", small_letter("c"))
    (maildir / "dovecot-keywords").write_bytes(b"0 $Label1\n1 urgent\n")
    for name in (".&AMk-l&AOk-ments envoy&AOk-s", ".Dossiers.2024", "."):
        make_maildir(maildir / name) if name != "." else None
    put(maildir / ".&AMk-l&AOk-ments envoy&AOk-s", "cur/1.s.h:2,DP", small_letter("s"))
    put(maildir / ".Dossiers.2024", "cur/1.d.h:2,", crlf(small_letter("d")))
    report = await stage.run(MaildirSource(maildir))
    assert report.whole and not report.notes
    assert await stage.folders() == {"INBOX": 3, "Sent": 1, "Dossiers/2024": 1}
    rows = await stage.rows()
    assert [body for _, body in rows] == [crlf(small_letter("a", 20_000)), crlf(small_letter("b")), crlf(small_letter("c"))]
    assert [(row.flags, row.keywords) for row, _ in rows] == [
        (Flags.ANSWERED | Flags.DELETED, "$Label1 urgent"), (Flags.FLAGGED | Flags.SEEN, ""), (0, "")]
    assert rows[1][0].internal_date == datetime.fromtimestamp(1_600_000_000, UTC)
    ((sent, _),) = await stage.rows("Sent")
    assert (sent.flags, sent.keywords) == (Flags.DRAFT, "$Forwarded")
    proof = report.folders[0].proof
    digests = b"".join(hashlib.sha256(body).digest() for _, body in rows)
    assert proof is not None and proof.equal and proof.messages == 3
    assert proof.stored_hash == proof.source_hash == hashlib.sha256(digests).hexdigest()
    assert proof.octets == sum(len(body) for _, body in rows) == report.folders[0].octets


async def test_a_second_run_doubles_nothing_whatever_was_moved_or_flagged(stage: Stage, maildir: Path) -> None:
    put(maildir, "new/1.a.h", small_letter("a"))
    put(maildir, "cur/2.b.h:2,", small_letter("b"))
    await stage.run(MaildirSource(maildir))
    os.rename(maildir / "new/1.a.h", maildir / "cur/1.a.h,S=3:2,S")
    put(maildir, "cur/3.c.h:2,", small_letter("c"))
    inbox = stage.box.inbox_id
    archive = next(one.id for one in await stage.stores.database.read(
        lambda tx: stage.stores.folders.of_mailbox(tx, stage.box.id)) if one.name == "Archive")
    await stage.stores.database.write(lambda tx: stage.stores.messages.move(tx, inbox, [2], archive, now=NOW))
    report = await stage.run(MaildirSource(maildir))
    assert (report.folders[0].imported, report.folders[0].already) == (1, 2)
    assert report.whole and await stage.folders() == {"INBOX": 2, "Archive": 1}


async def test_what_was_deleted_here_does_not_come_back(stage: Stage, maildir: Path) -> None:
    put(maildir, "cur/1.a.h:2,T", small_letter("a"))
    put(maildir, "cur/2.b.h:2,", small_letter("b"))
    await stage.run(MaildirSource(maildir))
    inbox = stage.box.inbox_id
    assert await stage.stores.database.write(lambda tx: stage.stores.messages.expunge(tx, inbox, None)) == [1]
    await stage.stores.database.write(lambda tx: stage.stores.messages.sweep(tx, 100))
    report = await stage.run(MaildirSource(maildir))
    assert report.whole and report.folders[0].proof is not None
    assert (report.folders[0].imported, report.folders[0].proof.removed, report.folders[0].proof.messages) == (0, 1, 1)


async def test_equal_messages_are_two(stage: Stage, maildir: Path, tmp_path: Path) -> None:
    for name in ("cur/1.a.h:2,", "cur/2.a.h:2,", "new/1.a.h"):  # the last: same unique name, same octets
        put(maildir, name, small_letter("a"))
    assert (await stage.run(MaildirSource(maildir))).whole
    assert await stage.folders() == {"INBOX": 3}
    (tmp_path / "twice").write_bytes(mbox(small_letter("m"), small_letter("m")))
    for _ in range(2):
        assert (await stage.run(MboxSource(tmp_path / "twice"))).whole
    assert await stage.folders() == {"INBOX": 3, "twice": 2}


async def test_links_and_special_files_are_told_and_not_followed(stage: Stage, maildir: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    make_maildir(secret)
    put(secret, "cur/9.x.h:2,", b"Subject: secret\n\nsecret\n")
    os.symlink(secret / "cur/9.x.h:2,", maildir / "cur/1.link.h:2,")
    os.symlink(secret, maildir / ".Stolen")
    os.symlink(secret / "cur", tmp_path / "cur")
    make_maildir(maildir / ".Half")
    (maildir / ".Half/cur").rmdir()
    os.symlink(secret / "cur", maildir / ".Half/cur")
    os.mkfifo(maildir / "cur/2.fifo.h:2,")
    (maildir / "cur/3.dir.h:2,").mkdir()
    put(maildir, "cur/4.good.h:2,", small_letter("good"))
    report = await stage.run(MaildirSource(maildir))
    assert await stage.folders() == {"INBOX": 1}
    assert not report.whole and report.lost == 3
    assert {(one.label, one.rule) for one in report.notes} >= {
        ("1.link.h:2,", "IMPORT-FICHIER"), (".Stolen", "IMPORT-FICHIER"), ("2.fifo.h:2,", "IMPORT-FICHIER"),
        ("3.dir.h:2,", "IMPORT-FICHIER")}
    assert any(one.folder == "Half" for one in report.notes)


async def test_odd_messages_lose_only_themselves(stage: Stage, maildir: Path) -> None:
    put(maildir, "cur/1.big.h:2,", small_letter("big", 60_000))
    put(maildir, "cur/2.empty.h:2,", b"")
    put(maildir, "cur/3.nul.h:2,", small_letter("nul") + b"\0\n")
    put(maildir, "cur/4.line.h:2,", b"A: b\n\n" + b"x" * 45_000)
    put(maildir, "cur/5.noheader.h:2,", b"\xff\xfe\x00garbage")
    put(maildir, "cur/6.good.h:2,", small_letter("good"))
    report = await stage.run(MaildirSource(maildir), message_bytes=50_000)
    assert [(one.label.split(".")[1], one.rule, one.lost) for one in report.notes] == [
        ("big", "IMPORT-TAILLE", True), ("empty", "IMPORT-VIDE", True), ("nul", "IMPORT-NUL", False),
        ("noheader", "IMPORT-NUL", False)]
    assert await stage.folders() == {"INBOX": 4} and not report.whole
    proof = report.folders[0].proof
    assert proof is not None and not proof.equal and proof.different == 0 and report.folders[0].lost == 2


async def test_a_line_over_a_mebibyte_is_told(stage: Stage, maildir: Path) -> None:
    put(maildir, "cur/1.line.h:2,", b"A: b\n\n" + b"x" * 1_200_000 + b"\nend\n")
    report = await stage.run(MaildirSource(maildir), message_bytes=5_000_000)
    assert [one.rule for one in report.notes] == ["IMPORT-LIGNE"] and report.whole


async def test_a_dry_run_changes_nothing(stage: Stage, maildir: Path) -> None:
    put(maildir, "cur/1.a.h:2,", small_letter("a"))
    put(maildir, "cur/2.big.h:2,", small_letter("b", 3000))
    make_maildir(maildir / ".New")
    report = await stage.run(MaildirSource(maildir), dry_run=True, message_bytes=2000)
    assert (report.folders[0].imported, report.lost) == (1, 1)
    assert [one.target for one in report.folders] == ["INBOX", "New"]
    found = await stage.stores.database.read(lambda tx: stage.stores.folders.of_mailbox(tx, stage.box.id))
    assert "New" not in [one.name for one in found] and await stage.folders() == {}


async def test_only_the_folders_asked_for(stage: Stage, maildir: Path) -> None:
    for name in (".A", ".B"):
        make_maildir(maildir / name)
        put(maildir / name, "cur/1.a.h:2,", small_letter(name))
    await stage.run(MaildirSource(maildir), wanted=lambda name: name == "B")
    assert await stage.folders() == {"B": 1}
    with pytest.raises(InputFault, match="IMPORT-DOSSIER"):
        await stage.run(MaildirSource(maildir), wanted=lambda name: False)


async def test_boxes_that_cannot_receive(stage: Stage, maildir: Path) -> None:
    await stage.stores.database.write(
        lambda tx: stage.stores.accounts.set_mailbox_state(tx, ADDRESS, MailboxState.CLOSED))
    with pytest.raises(InputFault, match="BAL-ETAT"):
        await stage.run(MaildirSource(maildir))
    with pytest.raises(InputFault, match="BAL-INCONNUE"):
        await Importer(stage.stores, FixedClock(), stage.executor, ImportSettings(1, 1)).run(
            MaildirSource(maildir), "nobody@a.fr", lambda done: None)
    with pytest.raises(InputFault, match="IMPORT-MAILDIR"):
        MaildirSource(maildir / "cur")


# ------------------------------------------------------------ mbox

async def test_an_mbox_tree_of_thunderbird(stage: Stage, tmp_path: Path) -> None:
    root = tmp_path / "Mail"
    (root / "Projets.sbd").mkdir(parents=True)
    (root / "Apple.mbox").mkdir()
    (root / "Inbox").write_bytes(mbox(small_letter("i"), small_letter("From j"), extra="X-Mozilla-Status: 0005\n"))
    (root / "Inbox.msf").write_bytes(b"// index")
    (root / "Sent").write_bytes(mbox(small_letter("s")))
    (root / "Projets.sbd" / "2024").write_bytes(mbox(small_letter("p", 20_000)))
    (root / "Apple.mbox" / "mbox").write_bytes(mbox(small_letter("a")))
    (root / "empty").write_bytes(b"")
    (root / "photo.jpeg").write_bytes(b"\xff\xd8 no mail")
    os.symlink("/etc/passwd", root / "passwd")
    report = await stage.run(MboxSource(root))
    assert await stage.folders() == {"INBOX": 2, "Sent": 1, "Projets/2024": 1, "Apple": 1}
    assert [(one.folder, one.label, one.rule) for one in report.notes] == [("", "passwd", "IMPORT-FICHIER"),
                                                                          ("photo.jpeg", "", "IMPORT-MBOX")]
    rows = await stage.rows()
    assert [row.flags for row, _ in rows] == [Flags.SEEN | Flags.FLAGGED] * 2
    assert [body for _, body in rows] == [crlf(small_letter("i")), crlf(small_letter("From j"))]
    assert rows[1][0].internal_date == datetime(2026, 11, 23, 1, 2, 1, tzinfo=UTC)


async def test_a_file_that_grew_was_compacted_and_reflagged(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "inbox"
    file.write_bytes(mbox(*(small_letter(f"m{rank}") for rank in range(5))))
    await stage.run(MboxSource(file))
    file.write_bytes(mbox(*(small_letter(f"m{rank}") for rank in (1, 2, 3, 4, 5, 6)), extra="Status: RO\n"))
    report = await stage.run(MboxSource(file))
    assert (report.folders[0].imported, report.folders[0].already) == (2, 4)
    assert await stage.folders() == {"INBOX": 7} and report.whole


async def test_a_broken_mbox_gives_what_is_there(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "old"
    file.write_bytes(b"rubbish\n\n" + mbox(small_letter("a"), small_letter("b"))[:-40])
    report = await stage.run(MboxSource(file))
    assert await stage.folders() == {"old": 2}
    assert [(one.label, one.rule, one.lost) for one in report.notes] == [("0", "IMPORT-MBOX", True)]


async def test_a_span_over_the_limit_is_not_read(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "old"
    file.write_bytes(mbox(small_letter("big", 50_000), small_letter("a"), small_letter("fair", 12_000)))
    report = await stage.run(MboxSource(file, message_bytes=10_000), message_bytes=10_000)
    assert [one.rule for one in report.notes] == ["IMPORT-TAILLE"] * 2 and await stage.folders() == {"old": 1}


# ------------------------------------------------------------ hostile or dying sources

class Played:
    """A source that plays a list of messages: (identity, octets, or a fault)."""

    identity = "played"

    def __init__(self, *items: tuple[str, bytes | Exception]) -> None:
        self._items = items

    def notes(self) -> list[Note]:
        return []

    async def folders(self) -> list[SourceFolder]:
        return [SourceFolder("k", ("INBOX",))]

    async def pages(self, folder: SourceFolder) -> AsyncIterator[Sequence[SourceItem]]:
        for start in range(0, len(self._items), 3):
            yield [SourceItem(name, name, 10, 0, (), None, "", value) for name, value in self._items[start:start + 3]]

    def plan(self, items: Sequence[SourceItem]) -> None:
        pass

    async def octets(self, item: SourceItem) -> AsyncIterator[bytes]:
        if isinstance(item.handle, Exception):
            raise item.handle
        for start in range(0, len(item.handle), 5000):
            yield item.handle[start:start + 5000]

    async def close(self) -> None:
        pass


async def test_a_source_that_dies_goes_on_where_it_was(stage: Stage) -> None:
    letters = [(f"m{rank}", small_letter(f"m{rank}")) for rank in range(8)]
    dying = Played(*letters[:5], ("m5", PeerFault("lost")), *letters[6:])
    with pytest.raises(PeerFault):
        await stage.run(dying)
    assert await stage.folders() == {"INBOX": 3}
    report = await stage.run(Played(*letters))
    assert (report.folders[0].imported, report.folders[0].already) == (5, 3)
    assert report.whole and await stage.folders() == {"INBOX": 8}


async def test_more_octets_than_said_and_a_fault_of_one(stage: Stage) -> None:
    report = await stage.run(Played(("liar", b"x" * 200_000), ("gone", ItemFault("IMPORT-IMAP", "gone")), ("a", small_letter("a"))),
                             message_bytes=100_000)
    assert [(one.label, one.rule) for one in report.notes] == [("liar", "IMPORT-TAILLE"), ("gone", "IMPORT-IMAP")]
    assert await stage.folders() == {"INBOX": 1}


async def test_two_imports_at_the_same_time_double_nothing(stage: Stage) -> None:
    letters = [(f"m{rank}", small_letter(f"m{rank}")) for rank in range(3)]

    class Waiting(Played):
        async def octets(self, item: SourceItem) -> AsyncIterator[bytes]:
            if item.identity == "m2":
                await stage.run(Played(*letters))  # the other one, between our look at the ledger and our commit
            async for piece in super().octets(item):
                yield piece

    report = await stage.run(Waiting(*letters))
    assert (report.folders[0].imported, report.folders[0].already) == (0, 3)
    assert report.whole and await stage.folders() == {"INBOX": 3}


async def test_a_stored_body_that_changed_is_seen(stage: Stage) -> None:
    letters = [("large", small_letter("large", 20_000)), ("small", small_letter("small"))]
    assert (await stage.run(Played(*letters))).whole
    key = hashlib.sha256(letters[0][1]).hexdigest()
    next(Path(stage.stores.blobs._folder).rglob(key)).write_bytes(b"x" * 20_000)  # type: ignore[attr-defined]
    report = await stage.run(Played(*letters))
    proof = report.folders[0].proof
    assert not report.whole and proof is not None
    assert (proof.different, proof.equal) == (1, False) and proof.source_hash != proof.stored_hash


async def test_each_message_is_in_the_journal_without_its_folder_name(stage: Stage) -> None:
    await stage.run(Played(("a", small_letter("a"))))
    (row,) = await stage.stores.database.read(lambda tx: stage.stores.journal.recent(tx, kind="imported"))
    assert row.subject == ADDRESS and set(row.payload) == {"folder_id", "octets", "sha256"}
    assert row.trace_id == trace_of(str(stage.box.id), "played", "k", "", "a")


def test_trace_ids_are_derived_and_apart() -> None:
    assert trace_of("a", "bc") == trace_of("a", "bc") != trace_of("ab", "c")
    assert len(trace_of("é\udcff")) == 26 and trace_of("x").startswith("Z")


def test_the_report_keeps_so_many_lines() -> None:
    report = ImportReport("a@b")
    report.add([Note("", str(rank), "R", "t", lost=True) for rank in range(1500)])
    assert (len(report.notes), report.more_notes, report.lost) == (1000, 500, 1500)
    assert FolderReport("a", "b").proof is None


@pytest.fixture(autouse=True)
def _no_leak() -> Iterator[None]:
    """No descriptor stays open behind a test."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before + 12  # stores of the stage close after this check
