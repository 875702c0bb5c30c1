"""Values of the METADATA commands (RFC 5464 §4): part of the union `protocol.imap.values.CommandValue`.

Entries are checked names in lower case (they compare without case); an empty folder stands for the server (§4.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Depth(IntEnum):
    """How far below an entry GETMETADATA looks (RFC 5464 §4.2.2)."""

    ENTRY = 0
    CHILDREN = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class GetMetadata:
    """RFC 5464 §4.2. max_size: greatest value wanted, in octets, None for any."""

    folder: str
    entries: tuple[str, ...]
    depth: Depth = Depth.ENTRY
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """RFC 5464 §4.3. changes: each entry once, None removes it."""

    folder: str
    changes: tuple[tuple[str, bytes | None], ...]

    def __repr__(self) -> str:
        """Never show values: they are a user's own notes."""
        return f"SetMetadata({len(self.changes)} entries)"
