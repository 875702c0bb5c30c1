"""Identifiers: one search key per transaction (`trace_id`), and Message-ID local parts.

A trace id is 26 characters, sortable by time: 10 of Crockford base 32 for milliseconds, 16 of randomness. It
stands in the 250 reply, the Received header, the journal and the logs.
"""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)


def new_trace_id() -> str:
    """Give a new 26-character identifier, unique and ordered by creation time to the millisecond."""
    value = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    pairs = _PAIRS
    return "".join([pairs[(value >> shift) & 1023] for shift in range(120, -1, -10)])
