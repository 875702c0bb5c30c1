"""The partial range of RFC 9394 §4 (RFC 5267 §4.4): `1:100`, or `-1:-100` counted from the end.

Read by the parsers of SEARCH, SORT and UID FETCH; `slice` picks a page out of results in order, `encode` says it back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mssante.protocol.imap.numset import MAX_NUMBER
from mssante.protocol.imap.tokens import Tokens

_RANGE = re.compile(rb"(-?)([1-9][0-9]{0,9}):(-?)([1-9][0-9]{0,9})(?![0-9])")


@dataclass(frozen=True, slots=True)
class Partial:
    """A page: results `first` to `second`, 1 is the first one (the last one when from_end); either may be greater."""

    first: int
    second: int
    from_end: bool = False

    def slice(self, count: int) -> slice:
        """Give the place of the page among `count` results in order; empty when none of them is in it."""
        low, high = min(self.first, self.second), min(max(self.first, self.second), count)
        if low > count:
            return slice(0, 0)
        return slice(count - high, count - low + 1) if self.from_end else slice(low - 1, high)

    def encode(self) -> bytes:
        """Give the range: from its lower end, or as the client wrote it when it counts from the end (RFC 9394 §3.1)."""
        if self.from_end:
            return b"-%d:-%d" % (self.first, self.second)
        return b"%d:%d" % (min(self.first, self.second), max(self.first, self.second))


def read_partial(tokens: Tokens) -> Partial:
    """Read a partial-range: two numbers from 1 to 4294967295 of the same sign, no `*`. Raises ClientFault."""
    start = tokens.at
    tokens.take(_RANGE, "a partial range")
    found = _RANGE.match(tokens.text, start)
    if found is None or found[1] != found[3] or max(int(found[2]), int(found[4])) > MAX_NUMBER:
        tokens.at = start
        tokens.fault("expected a partial range")
    return Partial(int(found[2]), int(found[4]), bool(found[1]))
