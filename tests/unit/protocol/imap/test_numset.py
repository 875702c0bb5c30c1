"""Sequence sets."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.imap.numset import MAX_RANGES, STAR, NumSet


@pytest.mark.parametrize(("raw", "ranges"), [
    (b"1", ((1, 1),)),
    (b"1:3", ((1, 3),)),
    (b"3:1", ((1, 3),)),
    (b"1,2,3", ((1, 3),)),
    (b"5,1:2", ((1, 2), (5, 5))),
    (b"1:5,3:9,10", ((1, 10),)),
    (b"*", ((STAR, STAR),)),
    (b"7:*", ((7, STAR),)),
    (b"*:7", ((7, STAR),)),
    (b"4294967295,*", ((4294967295, 4294967295), (STAR, STAR))),
    (b",".join([b"1:4294967295"] * 3000), ((1, 4294967295),)),
])
def test_parse(raw: bytes, ranges: tuple[tuple[int, int], ...]) -> None:
    assert NumSet.parse(raw).ranges == ranges


@pytest.mark.parametrize("raw", [
    b"", b"0", b"0:5", b"1,", b",1", b"1:", b":1", b"1::2", b"01", b"4294967296", b"1:4294967296", b"99999999999",
    b"$,1", b"$:1", b"**", b"1:2:3", b"-1", b"+1", b",".join([b"1"] * (MAX_RANGES + 1)),
])
def test_malformed(raw: bytes) -> None:
    with pytest.raises(ValueError):
        NumSet.parse(raw)


def test_saved_result() -> None:
    assert NumSet.parse(b"$") == NumSet(saved=True)
    assert NumSet(saved=True)
    assert NumSet(saved=True).encode() == b"$"


@pytest.mark.parametrize(("raw", "largest", "expected"), [
    (b"5:*", 3, b"3:5"),
    (b"2:*", 9, b"2:9"),
    (b"*", 9, b"9"),
    (b"1,*", 2, b"1:2"),
    (b"1,*", 0, b"1"),
    (b"*", 0, b""),
    (b"4294967295,*", 12, b"12,4294967295"),
])
def test_star(raw: bytes, largest: int, expected: bytes) -> None:
    assert NumSet.parse(raw).resolve(largest).encode() == expected


def test_sequence_numbers_beyond_the_folder() -> None:
    assert NumSet.parse(b"1:9").exceeds(3)
    assert not NumSet.parse(b"1:3").exceeds(3)
    assert not NumSet.parse(b"*").exceeds(3)
    assert NumSet.parse(b"*").exceeds(0)
    assert not NumSet().exceeds(0)
    assert NumSet.parse(b"2:9,20").clamp(3).encode() == b"2:3"
    assert NumSet.parse(b"20").clamp(3).encode() == b""


def test_select_from_a_huge_range_costs_only_matches() -> None:
    uids = array("I", [3, 5, 90, 4294967295])
    assert NumSet.parse(b"4:4294967295").select(uids) == [5, 90, 4294967295]
    assert NumSet.parse(b"1:4,90").slices(uids) == [slice(0, 1), slice(2, 3)]
    assert NumSet.parse(b"*").select(uids) == [4294967295]
    assert NumSet.parse(b"1:*").select([]) == []
    assert NumSet.parse(b"4294967295:*").select([7]) == [7]


def test_of_compacts() -> None:
    assert NumSet.of([1, 2, 3, 7, 9, 10]).encode() == b"1:3,7,9:10"
    assert NumSet.of([]).encode() == b""
    assert not NumSet.of([])
    assert NumSet.of([5, 6, 3, 4, 4]).encode() == b"3:6"
    assert NumSet.of([1, 2, 9]).count == 3
    assert list(NumSet.of([1, 2, 9])) == [1, 2, 9]


def test_encode_keeps_star() -> None:
    assert NumSet.parse(b"3:*").encode() == b"3:*"
    assert NumSet.parse(b"1,*").encode() == b"1,*"


NUMBERS = st.integers(1, 60)
PIECES = st.lists(st.tuples(NUMBERS | st.just(STAR), NUMBERS | st.just(STAR)), min_size=1, max_size=8)


def _text(number: int) -> bytes:
    return b"*" if number == STAR else b"%d" % number


@given(PIECES, st.lists(NUMBERS, unique=True, max_size=30).map(sorted))
def test_select_is_the_plain_definition(pieces: list[tuple[int, int]], uids: list[int]) -> None:
    raw = b",".join(_text(a) + b":" + _text(b) for a, b in pieces)
    largest = uids[-1] if uids else 0
    plain = set()
    for a, b in pieces:
        low, high = sorted(largest if end == STAR else end for end in (a, b))
        plain.update(uid for uid in uids if low <= uid <= high)
    found = NumSet.parse(raw)
    assert found.select(uids) == sorted(plain)
    resolved = found.resolve(largest)
    assert [uid for uid in uids if uid in resolved] == sorted(plain)


@given(st.lists(NUMBERS))
def test_of_round_trip(numbers: list[int]) -> None:
    built = NumSet.of(numbers)
    assert list(built) == sorted(set(numbers))
    assert not numbers or NumSet.parse(built.encode()) == built
