"""Identifiers: one search key per transaction (`trace_id`), and Message-ID local parts.

A trace id is 26 characters, sortable by time: 10 of Crockford base 32 for milliseconds, 16 of randomness. It
stands in the 250 reply, the Received header, the journal and the logs.
"""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_POOL = 1024  # identifiers whose randomness is asked of the system at once: each request gives the interpreter's lock away
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)


class _Randomness:
    """Octets of the system's generator, ten at a time; each is given once, in one process."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        os.register_at_fork(after_in_child=self._pieces.clear)

    def take(self) -> bytes:
        try:
            return self._pieces.pop()
        except IndexError:
            octets = os.urandom(10 * _POOL)
            self._pieces += [octets[start:start + 10] for start in range(10, 10 * _POOL, 10)]
            return octets[:10]


_random = _Randomness()


def new_trace_id() -> str:
    """Give a new 26-character identifier, unique and ordered by creation time to the millisecond."""
    value = (int(time.time() * 1000) << 80) | int.from_bytes(_random.take(), "big")
    pairs = _PAIRS
    return "".join([pairs[(value >> shift) & 1023] for shift in range(120, -1, -10)])
