"""Sequence sets (RFC 9051 §9 sequence-set, RFC 5182 `$`) as compact ranges.

- A set is a sorted tuple of disjoint ranges: `1:4294967295` costs the same as `1`.
- `*` is kept as `STAR`, above every number, until `resolve` is told the largest number in use.
- Reading is bounded: at most MAX_RANGES ranges, numbers from 1 to 4294967295.
- Work against a folder costs (ranges x log of messages + matches), never the span of a range.

Called by the command parsers, by `services/imap/*` to pick messages, and by the encoder (COPYUID, ESEARCH).
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MAX_RANGES = 10_000
MAX_NUMBER = 4_294_967_295  # RFC 9051 §9 nz-number
STAR = MAX_NUMBER + 1

_ONE_NUMBER = re.compile(rb"[1-9][0-9]{0,9}\Z")
_SHAPE = re.compile(rb"(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?"
                    rb"(?:,(?:[1-9][0-9]{0,9}|\*)(?::(?:[1-9][0-9]{0,9}|\*))?)*\Z")


@dataclass(frozen=True, slots=True)
class NumSet:
    """A set of message numbers or UIDs. ranges: (low, high) inclusive, sorted, disjoint, not adjacent.

    saved: the set is `$`, the result saved by SEARCH (RFC 5182); ranges is then empty.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    saved: bool = False

    def __bool__(self) -> bool:
        """False for a set that is empty and is not `$`."""
        return bool(self.ranges) or self.saved

    def __contains__(self, number: int) -> bool:
        """Tell if a number is in a resolved set."""
        at = bisect_right(self.ranges, (number, STAR)) - 1
        return at >= 0 and self.ranges[at][0] <= number <= self.ranges[at][1]

    def __iter__(self) -> Iterator[int]:
        """Give the numbers of a resolved set in order. Bound a client's set with `select` or `clamp` first."""
        for low, high in self.ranges:
            yield from range(low, high + 1)

    @property
    def count(self) -> int:
        """How many numbers a resolved set holds."""
        return sum(high - low + 1 for low, high in self.ranges)

    @property
    def has_star(self) -> bool:
        """True while `*` is not resolved."""
        return bool(self.ranges) and self.ranges[-1][1] == STAR

    def resolve(self, largest: int) -> NumSet:
        """Replace `*` by the largest number in use (0: none, the set keeps what does not depend on `*`).

        RFC 9051 §9: `5:*` holds the largest number even when that is below 5.
        """
        if not self.has_star:
            return self
        if largest <= 0:
            return NumSet(tuple((low, high) for low, high in self.ranges if high != STAR))
        low = self.ranges[-1][0]
        ends = (min(low, largest), max(low, largest)) if low != STAR else (largest, largest)
        return NumSet(_merged([*self.ranges[:-1], ends]))

    def clamp(self, largest: int) -> NumSet:
        """Resolve `*` and cut away everything above `largest`: sequence numbers against a folder of that size."""
        kept = [(low, min(high, largest)) for low, high in self.resolve(largest).ranges if low <= largest]
        return NumSet(tuple(kept))

    def exceeds(self, largest: int) -> bool:
        """Tell if a set of sequence numbers names a message that does not exist (`*` with none counts)."""
        if not self.ranges:
            return False
        if largest <= 0:
            return True
        return self.resolve(largest).ranges[-1][1] > largest

    def slices(self, values: Sequence[int]) -> list[slice]:
        """Give slices of a sorted sequence of UIDs (list or array) that fall in the set; `*` is its last value."""
        found: list[slice] = []
        for low, high in self.resolve(values[-1] if values else 0).ranges:
            start = bisect_left(values, low)
            if start == len(values):
                break
            stop = bisect_right(values, high, start)
            if stop > start:
                found.append(slice(start, stop))
        return found

    def select(self, values: Sequence[int]) -> list[int]:
        """Give the members of a sorted sequence of UIDs that are in the set, in order."""
        out: list[int] = []
        for part in self.slices(values):
            out.extend(values[part])
        return out

    def encode(self) -> bytes:
        """Give the shortest text: `1:3,7` (RFC 9051 §9); `$` for a saved set. An empty set gives no octet."""
        if self.saved:
            return b"$"
        return b",".join([_encode_range(low, high) for low, high in self.ranges])

    @classmethod
    def of(cls, numbers: Iterable[int]) -> NumSet:
        """Build from numbers in any order, duplicates allowed; sorted input costs one pass."""
        ranges: list[tuple[int, int]] = []
        start = last = -1
        ordered = True
        for number in numbers:
            if number == last + 1 and start > 0:
                last = number
                continue
            if start > 0:
                ranges.append((start, last))
                ordered = ordered and number > last
            start = last = number
        if start > 0:
            ranges.append((start, last))
        return cls(tuple(ranges)) if ordered else cls(_merged(ranges))

    @classmethod
    def parse(cls, raw: bytes) -> NumSet:
        """Read a sequence-set or `$`. Raises ValueError (ASCII text, without the input) when malformed or too long."""
        if _ONE_NUMBER.match(raw):
            number = int(raw)
            if number <= MAX_NUMBER:
                return cls(((number, number),))
        if raw == b"$":
            return cls(saved=True)
        if raw.count(b",") >= MAX_RANGES:
            raise ValueError(f"a sequence set holds at most {MAX_RANGES} ranges")
        if not _SHAPE.match(raw):
            raise ValueError("malformed sequence set")
        return cls(_merged([_read_range(piece) for piece in raw.split(b",")]))


EMPTY = NumSet()


def _read_range(piece: bytes) -> tuple[int, int]:
    """Give (low, high) of one range; either side may be greater (RFC 9051 §9 seq-range)."""
    first, _, second = piece.partition(b":")
    low = STAR if first == b"*" else int(first)
    high = (STAR if second == b"*" else int(second)) if second else low
    if (low > MAX_NUMBER and first != b"*") or (high > MAX_NUMBER and (second or first) != b"*"):
        raise ValueError("a number of a sequence set is above 4294967295")
    return (low, high) if low <= high else (high, low)


def _encode_range(low: int, high: int) -> bytes:
    """Give `n` or `n:m`, with `*` for STAR."""
    if low == high:
        return b"*" if low == STAR else b"%d" % low
    return b"%d:*" % low if high == STAR else b"%d:%d" % (low, high)


def _merged(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sort, and join ranges that touch. `*` joins only what reaches it, as its value is not known yet."""
    if len(ranges) == 1:
        return (ranges[0],)
    out: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if out and low <= out[-1][1] + 1 and not (low == STAR and out[-1][1] == MAX_NUMBER):
            if high > out[-1][1]:
                out[-1] = (out[-1][0], high)
        else:
            out.append((low, high))
    return tuple(out)
