"""UIDBATCHES (RFC 10022): the ranges tile the UIDs without a gap, newest first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mssante.services.imap.batches import cut


@given(st.sets(st.integers(1, 500), max_size=80), st.integers(1, 30))
def test_every_message_is_in_its_batch(uids: set[int], size: int) -> None:
    known = sorted(uids)
    found = cut(known, size, 1, 0)
    assert len(found) == -(-len(known) // size)
    for place, (high, low) in enumerate(found):
        inside = [uid for uid in known if low <= uid <= high]
        assert high == inside[-1]
        assert len(inside) == size or (place == len(found) - 1 and len(inside) <= size)
        assert low == (found[place + 1][0] + 1 if place + 1 < len(found) else 1)


def test_the_example_of_the_document() -> None:
    uids = [1, 7829, 7830, 20350, 20351, 99695, 99696, 215295]
    assert cut(uids, 2, 1, 0) == [(215295, 99696), (99695, 20351), (20350, 7830), (7829, 1)]


def test_some_batches() -> None:
    uids = list(range(1, 11))
    assert cut(uids, 4, 2, 2) == [(6, 3)]
    assert cut(uids, 4, 2, 9) == [(6, 3), (2, 1)]
    assert cut(uids, 4, 4, 9) == []
    assert cut([], 4, 1, 0) == []
    assert cut([7], 4, 1, 1) == [(7, 1)]
