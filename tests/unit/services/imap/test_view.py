"""The folder view: rows, cursors and what each client is told."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime
from typing import Any, cast

from mssante.model.mailbox import Folder
from mssante.model.message import FolderChanges, FolderRow
from mssante.services.imap.cache import CacheBudget, ViewCache
from mssante.services.imap.view import FolderView, Updates

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def row(uid: int, modseq: int, flags: int = 0, keywords: str = "") -> FolderRow:
    return FolderRow(uid, modseq, flags, keywords, NOW, 100 + uid, 1000 + uid)


def make(*uids: int, modseq: int = 10) -> FolderView:
    folder = Folder(7, 1, "INBOX", "", 99, max(uids, default=0) + 1, modseq, len(uids), 0, 0, 0, True)
    return FolderView(cast(Any, None), folder, [row(uid, modseq) for uid in uids], ViewCache(CacheBudget(1 << 20)))


def changes(modseq: int, *rows: FolderRow, expunged: tuple[int, ...] = (), uidnext: int = 0) -> FolderChanges:
    return FolderChanges(modseq, uidnext, rows, expunged)


async def test_new_messages_are_told_once() -> None:
    view = make(1, 2)
    cursor = view.attach()
    view.apply(changes(11, row(3, 11), uidnext=4))
    assert view.updates(cursor, expunges=True) == Updates((), 3, ())
    assert not view.updates(cursor, expunges=True)


async def test_expunges_wait_and_numbers_stay() -> None:
    view = make(1, 2, 3, 4)
    cursor = view.attach()
    view.apply(changes(11, row(5, 11), expunged=(2, 4), uidnext=6))
    assert not view.updates(cursor, expunges=False)
    assert [view.number_of(cursor, uid) for uid in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 0]
    assert view.index_of(3) == 1
    assert view.updates(cursor, expunges=True) == Updates((4, 2), 3, (), (2, 4))
    assert [view.number_of(cursor, uid) for uid in (1, 3, 5)] == [1, 2, 3]


async def test_flags_are_told_in_the_numbering_of_the_client() -> None:
    view = make(1, 2, 3)
    cursor = view.attach()
    view.apply(changes(11, expunged=(1,)))
    view.apply(changes(12, row(3, 12, flags=4)))
    assert view.updates(cursor, expunges=False) == Updates((), None, ((3, 1),))
    assert view.updates(cursor, expunges=True) == Updates((1,), None, (), (1,))


async def test_a_message_that_came_and_went_is_never_told() -> None:
    view = make(1)
    cursor = view.attach()
    view.apply(changes(11, row(2, 11), uidnext=3))
    view.apply(changes(12, expunged=(2,)))
    assert not view.updates(cursor, expunges=True)


async def test_old_and_repeated_changes_are_ignored() -> None:
    view = make(1, 2)
    cursor = view.attach()
    view.apply(changes(12, row(1, 12, flags=1)))
    view.apply(changes(11, row(1, 11, flags=2)))
    assert view.table.flags[0] == 1
    view.apply(changes(13, expunged=(2,)))
    view.apply(changes(12, row(2, 12, flags=8), uidnext=3))
    assert list(view.uids) == [1]
    assert view.highest_modseq == 13
    assert view.updates(cursor, expunges=True) == Updates((2,), None, ((1, 0),), (2,))


async def test_own_changes_are_not_told_again() -> None:
    view = make(1, 2)
    mine, other = view.attach(), view.attach()
    assert view.applied(11, rows=[row(1, 11, flags=1)], origin=mine)
    assert not view.updates(mine, expunges=True)
    assert view.updates(other, expunges=True) == Updates((), None, ((1, 0),))


async def test_own_changes_found_by_a_read_are_not_told_again() -> None:
    view = make(1, 2)
    mine = view.attach()
    assert not view.applied(12, rows=[row(1, 12, flags=1)], origin=mine)  # 11 is somebody else's, not read yet
    assert view.stale
    view.apply(changes(12, row(1, 12, flags=1), row(2, 11, flags=4)))
    assert view.updates(mine, expunges=True) == Updates((), None, ((2, 1),))


async def test_the_log_is_cut_when_every_cursor_has_passed() -> None:
    view = make(1, 2)
    slow, quick = view.attach(), view.attach()
    for modseq in range(11, 40):
        view.apply(changes(modseq, row(1, modseq, flags=modseq % 2)))
        view.updates(quick, expunges=True)
    assert len(view._log) == 29
    view.updates(slow, expunges=True)
    assert not view._log
    view.apply(changes(50, row(1, 50)))
    view.updates(quick, expunges=True)
    view.detach(slow)
    assert not view._log


async def test_keywords_follow_rows() -> None:
    view = make(1, 2)
    view.apply(changes(11, row(2, 11, keywords="a b")))
    assert view.keywords == {2: "a b"}
    view.apply(changes(12, row(2, 12)))
    assert view.keywords == {}
    view.apply(changes(13, row(1, 13, keywords="x")))
    view.apply(changes(14, expunged=(1,)))
    assert view.keywords == {}


async def test_a_command_keeps_its_table_while_others_expunge() -> None:
    view = make(1, 2, 3)
    table = view.table
    view.apply(changes(11, expunged=(1, 3)))
    assert table.uids == array("I", [1, 2, 3])
    assert table.sizes[1] == 102
    assert list(view.table.sizes) == [102]
