"""Encoded FETCH answers of open folders, within one byte budget for the process.

- Two kinds: per message, ENVELOPE and BODYSTRUCTURE as stored at ingest (they never change); per block of rows, whole lines
  of cheap items (UID, FLAGS, INTERNALDATE, RFC822.SIZE, MODSEQ), forgotten as soon as a row of the block changes.
- Beside them the columns of `headcolumns.py`: folded header fields and sort keys by message id.
- A cache is only ever a copy: dropping it costs time, never truth.
- When the budget is full, the caches of the folders used least recently are dropped first; what still does not fit is not
  kept.
- Used by `services/imap/view.py` and `fetch.py`, on the event loop's thread only.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from mssante.model.message import StoredMessage

BLOCK_ROWS = 256  # a changed flag costs the lines of one block to encode again
_OVERHEAD = 250  # octets that a cached message costs beside its texts: two bytes objects, a tuple, a dictionary slot

Texts = tuple[bytes, bytes]
BlockKey = tuple[int, int, int]  # items, first row, row after the last: never over a multiple of BLOCK_ROWS


class CacheBudget:
    """How many octets all caches may hold together."""

    __slots__ = ("_caches", "limit", "used")

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.used = 0
        self._caches: OrderedDict[int, ViewCache] = OrderedDict()

    def touch(self, cache: ViewCache) -> None:
        """Note that a cache was just used."""
        self._caches[id(cache)] = cache
        self._caches.move_to_end(id(cache))

    def leave(self, cache: ViewCache) -> None:
        """Forget a cache that was dropped."""
        self._caches.pop(id(cache), None)

    def admit(self, cache: ViewCache, size: int) -> bool:
        """Make room for `size` octets by dropping other caches, oldest use first; give False when there is none."""
        if size > self.limit:
            return False
        for other in list(self._caches.values()):
            if self.used + size <= self.limit:
                break
            if other is not cache:
                other.clear()
        if self.used + size > self.limit:
            return False
        self.used += size
        return True


class ViewCache:
    """Encoded answers of one folder."""

    __slots__ = ("_blocks", "_budget", "_held", "_texts", "columns")

    def __init__(self, budget: CacheBudget) -> None:
        self._budget = budget
        self._texts: dict[int, Texts] = {}
        self._blocks: dict[int, dict[BlockKey, bytes]] = {}  # by block of rows
        self._held = 0
        self.columns: dict[str, dict[int, Any]] = {}  # name of a column -> message id -> value

    def clear(self) -> None:
        """Drop everything and give the octets back."""
        self._texts.clear()
        self._blocks.clear()
        self.columns.clear()
        self._budget.used -= self._held
        self._held = 0
        self._budget.leave(self)

    def _admit(self, size: int) -> bool:
        if not self._budget.admit(self, size):
            return False
        self._held += size
        self._budget.touch(self)
        return True

    # ------------------------------------------------------------------------------------------ per message

    def missing(self, message_ids: list[int]) -> list[int]:
        """Give the ids whose texts are not held."""
        texts = self._texts
        return [key for key in message_ids if key not in texts]

    def texts(self, message_ids: list[int], loaded: dict[int, Texts]) -> list[Texts | None]:
        """Give (envelope, bodystructure) for each id, from what was just loaded or from what is held."""
        if not loaded:
            return list(map(self._texts.get, message_ids))
        held = self._texts
        return [loaded.get(key) or held.get(key) for key in message_ids]

    def keep(self, contents: list[StoredMessage]) -> dict[int, Texts]:
        """Hold the texts of these messages as far as the budget goes; give them by id in any case."""
        loaded = {content.id: (content.envelope, content.bodystructure) for content in contents}
        size = sum(len(one) + len(two) + _OVERHEAD for one, two in loaded.values())
        if self._admit(size):
            self._texts.update(loaded)
        return loaded

    def keep_column(self, name: str, column: dict[int, Any], grown: int) -> None:
        """Hold a column in place of the one of this name, if the octets by which it is greater fit."""
        if self._admit(grown):
            self.columns[name] = column

    # ------------------------------------------------------------------------------------------ per block

    def block(self, key: BlockKey) -> bytes | None:
        """Give the lines of a block: key is (items, first row, row after the last)."""
        held = self._blocks.get(key[1] // BLOCK_ROWS)
        return held.get(key) if held is not None else None

    def keep_block(self, key: BlockKey, lines: bytes) -> None:
        """Hold the lines of a block, if they fit."""
        if self._admit(len(lines) + 100):
            of_rows = self._blocks.setdefault(key[1] // BLOCK_ROWS, {})
            shorter = [other for other in of_rows if other[:2] == key[:2]]  # the same lines before messages came
            self._release([of_rows.pop(other) for other in shorter])
            of_rows[key] = lines

    def forget_blocks(self) -> None:
        """An expunge moved numbers: no block is right any more."""
        self._release([lines for of_rows in self._blocks.values() for lines in of_rows.values()])
        self._blocks.clear()

    def forget_flags(self, index: int) -> None:
        """The flags or modseq of one row changed."""
        of_rows = self._blocks.pop(index // BLOCK_ROWS, None)
        if of_rows:
            self._release(list(of_rows.values()))

    def _release(self, dropped: list[bytes]) -> None:
        freed = sum(len(lines) + 100 for lines in dropped)
        self._held -= freed
        self._budget.used -= freed
