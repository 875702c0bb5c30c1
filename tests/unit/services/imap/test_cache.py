"""The cache of encoded answers stays within its budget and never gives an old text."""

from __future__ import annotations

from mssante.model.message import StoredMessage
from mssante.services.imap.cache import BLOCK_ROWS, CacheBudget, ViewCache


def content(key: int, size: int = 100) -> StoredMessage:
    return StoredMessage(key, b"", None, None, 0, b"e" * size, b"s" * size, 0)


def test_texts_are_given_back() -> None:
    cache = ViewCache(CacheBudget(10_000))
    cache.keep([content(1), content(2)])
    assert cache.missing([1, 2, 3]) == [3]
    assert cache.texts([2], {}) == [(b"e" * 100, b"s" * 100)]
    assert cache.texts([2, 3], cache.keep([content(3)])) == [(b"e" * 100, b"s" * 100)] * 2


def test_the_folder_used_least_recently_gives_way() -> None:
    budget = CacheBudget(1_000)
    old, recent = ViewCache(budget), ViewCache(budget)
    old.keep([content(1)])
    recent.keep([content(2)])
    recent.keep([content(3)])
    assert old.missing([1]) == [1]
    assert recent.missing([2, 3]) == []
    assert budget.used <= budget.limit


def test_what_does_not_fit_is_given_but_not_kept() -> None:
    budget = CacheBudget(500)
    cache = ViewCache(budget)
    loaded = cache.keep([content(1, 5_000)])
    assert cache.texts([1], loaded) == [(b"e" * 5_000, b"s" * 5_000)]
    assert cache.missing([1]) == [1]
    assert budget.used == 0


def test_blocks_are_forgotten_when_a_row_changes() -> None:
    budget = CacheBudget(10_000)
    cache = ViewCache(budget)
    cache.keep_block((1, 0, BLOCK_ROWS), b"first")
    cache.keep_block((1, BLOCK_ROWS, BLOCK_ROWS + 70), b"second")
    cache.forget_flags(BLOCK_ROWS + 5)
    assert cache.block((1, 0, BLOCK_ROWS)) == b"first"
    assert cache.block((1, BLOCK_ROWS, BLOCK_ROWS + 70)) is None
    cache.forget_blocks()
    assert cache.block((1, 0, BLOCK_ROWS)) is None
    assert budget.used == 0


def test_a_block_that_grew_takes_the_place_of_the_shorter_one() -> None:
    budget = CacheBudget(10_000)
    cache = ViewCache(budget)
    cache.keep_block((1, 0, 10), b"ten")
    cache.keep_block((2, 0, 10), b"other items")
    cache.keep_block((1, 0, 11), b"eleven")
    assert cache.block((1, 0, 10)) is None
    assert (cache.block((1, 0, 11)), cache.block((2, 0, 10))) == (b"eleven", b"other items")
    cache.forget_flags(3)
    assert budget.used == 0
