"""Sets of QRESYNC: what is left when what is there is taken out, and what message numbers prove."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.imap.numset import NumSet
from mssante.services.imap.qresync import above, last_match, without

UIDS = st.sets(st.integers(1, 60), max_size=40)


@given(UIDS, UIDS)
def test_without(numbers: set[int], values: set[int]) -> None:
    assert list(without(NumSet.of(numbers), sorted(values))) == sorted(numbers - values)


def test_without_costs_what_is_there_not_the_span() -> None:
    whole = NumSet(((1, 4_294_967_295),))
    assert without(whole, [5, 6, 9]).ranges == ((1, 4), (7, 8), (10, 4_294_967_295))
    assert without(whole, []) == whole
    assert without(NumSet(), [1]) == NumSet()


@given(UIDS, st.integers(0, 60))
def test_above(numbers: set[int], limit: int) -> None:
    assert list(above(NumSet.of(numbers), limit)) == sorted(number for number in numbers if number > limit)


def test_last_match() -> None:
    uids = [3, 5, 8, 13]
    assert last_match(uids, NumSet(), NumSet()) == 0
    assert last_match(uids, NumSet.of([1, 2, 4]), NumSet.of([3, 5, 13])) == 13
    assert last_match(uids, NumSet.of([1, 3]), NumSet.of([3, 9])) == 3
    assert last_match(uids, NumSet.of([1, 2]), NumSet.of([4, 5])) == 0  # what does not match ends it
    assert last_match(uids, NumSet.of([4, 5]), NumSet.of([13, 14])) == 13
    assert last_match([], NumSet.of([1]), NumSet.of([1])) == 0


@given(UIDS, UIDS)
def test_a_match_proves_that_nothing_below_left(before: set[int], gone: set[int]) -> None:
    known = sorted(before)
    left = sorted(before - gone)
    proved = last_match(left, NumSet.of(range(1, len(known) + 1)), NumSet.of(known))
    assert not [uid for uid in gone & before if uid <= proved]
