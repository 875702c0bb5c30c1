"""LIST patterns (RFC 9051 §6.3.9): `*` matches anything, `%` anything but the delimiter.

- Cost is one step per character of the name whatever the pattern: the places reached in the pattern are the bits of one
  integer, so `*a*a*a*a…` cannot explode.
- INBOX, and INBOX as first level, match without case (RFC 9051 §5.1); everything else with case.

Called by `services/imap/list.py` for each folder name of a mailbox.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_WILDS = re.compile(r"[*%]{2,}")
_INBOX = "INBOX"


class Pattern:
    """One compiled pattern. Build once per command, then ask `matches` for each name."""

    __slots__ = ("_accept", "_any", "_letters", "_level", "_start")

    def __init__(self, pattern: str) -> None:
        short = _WILDS.sub(lambda run: "*" if "*" in run[0] else "%", pattern)
        self._letters: dict[str, int] = {}
        self._any = 0  # bits of the places of `*`
        self._level = 0  # bits of the places of `%`
        for place, letter in enumerate(short):
            bit = 1 << place
            if letter == "*":
                self._any |= bit
            elif letter == "%":
                self._level |= bit
            else:
                self._letters[letter] = self._letters.get(letter, 0) | bit
        self._accept = 1 << len(short)
        self._start = self._skip_wild(1)

    def _skip_wild(self, places: int) -> int:
        """Add the places reached by letting a wildcard match nothing (never two in a row: runs are collapsed)."""
        return places | ((places & (self._any | self._level)) << 1)

    def matches(self, name: str, delimiter: str = "/") -> bool:
        """Tell if the whole name matches."""
        letters, stay_all, stay_level = self._letters, self._any, self._any | self._level
        caseless = len(_INBOX) if name == _INBOX or name.startswith(_INBOX + delimiter) else 0
        places = self._start
        for index, letter in enumerate(name):
            moves = letters.get(letter, 0)
            if index < caseless:
                moves |= letters.get(letter.lower(), 0)
            kept = places & (stay_all if letter == delimiter else stay_level)
            places = self._skip_wild(kept | ((places & moves) << 1))
            if not places:
                return False
        return bool(places & self._accept)


class Matcher:
    """Several patterns under one reference (RFC 5258 §3): a name matches when one of them does."""

    __slots__ = ("_patterns",)

    def __init__(self, reference: str, patterns: Sequence[str]) -> None:
        self._patterns = [Pattern(reference + pattern) for pattern in patterns]

    def matches(self, name: str, delimiter: str = "/") -> bool:
        """Tell if a folder name matches one of the patterns."""
        return any(pattern.matches(name, delimiter) for pattern in self._patterns)
