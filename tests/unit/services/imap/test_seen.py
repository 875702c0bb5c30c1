"""Marks of private `\\Seen`: read once, changes told while they are read are kept, forgotten with the last session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mssante.services.imap.seen import SeenBook


class SlowDatabase:
    """Reads wait for `gate`; each gives the same marks."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.reads = 0
        self.fails = False

    async def read(self, unit: Any, **given: Any) -> list[int]:
        self.reads += 1
        await self.gate.wait()
        if self.fails:
            raise OSError("disk")
        return [1, 2, 3]


class FewStores:
    """The part of the stores that marks need."""

    rights = None

    def __init__(self) -> None:
        self.database = SlowDatabase()


async def test_changes_told_while_marks_are_read_are_newer() -> None:
    stores = FewStores()
    book = SeenBook(stores)  # type: ignore[arg-type]
    opening = [asyncio.create_task(book.open(7, 1)) for _ in range(2)]
    await asyncio.sleep(0)
    book.note(7, 1, [9], [2])
    book.note(7, 1, [2], [3])
    book.note(7, 99, [5])
    stores.database.gate.set()
    first, second = await asyncio.gather(*opening)
    assert first is second
    assert first.uids == {1, 2, 9}
    assert list(first.over([0, 1, 8, 9], [1, 3, 9, 10])) == [1, 0, 9, 8]
    book.note(7, 1, [3])
    assert 3 in first.uids
    reads = stores.database.reads
    assert await book.open(7, 1) is first
    assert stores.database.reads == reads
    for _ in range(3):
        book.close(first)
    assert await book.open(7, 1) is not first


async def test_a_read_that_fails_leaves_nothing() -> None:
    stores = FewStores()
    book = SeenBook(stores)  # type: ignore[arg-type]
    stores.database.gate.set()
    stores.database.fails = True
    with pytest.raises(OSError, match="disk"):
        await book.open(7, 1)
    stores.database.fails = False
    assert (await book.open(7, 1)).uids == {1, 2, 3}
