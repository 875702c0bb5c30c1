"""Answers of SEARCH, SORT and THREAD as bytes, and the partial range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.imap import encode_search as encode
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.partial import Partial, read_partial
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import ESearchAnswer


def test_search_answers() -> None:
    assert encode.search_line([]) == b"* SEARCH\r\n"
    assert encode.search_line([2, 5]) == b"* SEARCH 2 5\r\n"
    assert encode.search_line([2], modseq=9) == b"* SEARCH 2 (MODSEQ 9)\r\n"
    assert encode.search_line([], modseq=9) == b"* SEARCH\r\n"
    assert encode.search_line([5, 3, 4], name=b"SORT") == b"* SORT 5 3 4\r\n"
    full = ESearchAnswer(b'a"b', True, 1, 9, NumSet.of([1, 2, 9]), 3, 44)
    assert encode.esearch_line(full) == b'* ESEARCH (TAG "a\\"b") UID MIN 1 MAX 9 COUNT 3 ALL 1:2,9 MODSEQ 44\r\n'
    assert encode.esearch_line(ESearchAnswer(b"a", count=0, all=NumSet())) == b'* ESEARCH (TAG "a") COUNT 0\r\n'


def test_extended_answers() -> None:
    scored = ESearchAnswer(b"B1", all=NumSet.of([1, 5, 10]), relevancy=(4, 99, 42))
    assert encode.esearch_line(scored) == b'* ESEARCH (TAG "B1") ALL 1,5,10 RELEVANCY (4 99 42)\r\n'  # RFC 6203 §4
    page = ESearchAnswer(b"A04", True, page=(Partial(24000, 24500), NumSet()))
    assert encode.esearch_line(page) == b'* ESEARCH (TAG "A04") UID PARTIAL (24000:24500 NIL)\r\n'  # RFC 5267 §4.4
    several = ESearchAnswer(b"t1", True, all=NumSet.of([3002, 4004]), mailbox=(b"folder2/banana", 503))
    assert encode.esearch_line(several) == (
        b'* ESEARCH (TAG "t1" MAILBOX folder2/banana UIDVALIDITY 503) UID ALL 3002,4004\r\n')  # RFC 7377 §2.1
    assert encode.update_line(b"B01", b"ADDTO", [(0, NumSet.of([32768, 32769]))], uid=True) == (
        b'* ESEARCH (TAG "B01") UID ADDTO (0 32768:32769)\r\n')  # RFC 5267 §4.3.3
    assert encode.thread_line(b"") == b"* THREAD\r\n"


@given(st.lists(st.integers(1, 60), unique=True))
def test_the_order_of_sorted_results_survives(numbers: list[int]) -> None:
    out: list[int] = []
    for piece in encode.ordered_set(numbers).decode().split(",") if numbers else []:
        low, _, high = piece.partition(":")
        assert int(high or low) >= int(low)  # RFC 5267 §3.2
        out += range(int(low), int(high or low) + 1)
    assert out == numbers


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 30), st.booleans())
def test_a_page_is_what_counting_gives(first: int, second: int, count: int, from_end: bool) -> None:
    results = list(range(1, count + 1))
    wanted = set(range(min(first, second), max(first, second) + 1))
    expected = [one for one in results if (count - one + 1 if from_end else one) in wanted]
    assert results[Partial(first, second, from_end).slice(count)] == expected


@pytest.mark.parametrize(("text", "said"), [
    (b"1:2", b"1:2"), (b"500:400", b"400:500"), (b"-1:-100", b"-1:-100"), (b"-100:-1", b"-100:-1"), (b"4294967295:1", b"1:4294967295")])
def test_partial_ranges_are_said_back_from_their_lower_end(text: bytes, said: bytes) -> None:
    assert read_partial(Tokens(b"a", text)).encode() == said


@pytest.mark.parametrize("text", [b"0:1", b"1:*", b"-1:100", b"1:-100", b"1", b"4294967296:1", b"1:99999999999", b""])
def test_partial_ranges_that_are_none(text: bytes) -> None:
    with pytest.raises(ClientFault):
        read_partial(Tokens(b"a", text))
