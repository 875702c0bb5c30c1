"""Values of APPEND and REPLACE: messages made of literals and of pieces of messages that are here already.

- Octets of literals are never in a value: they come as `LiteralChunk` events.
- A command comes in steps: one `Append` for each announced literal, whose last action is that literal, then one for what
  follows the last of them. Actions keep the order of the wire; a step holds those that no step before it held.
- Never here: IO, limits of a mailbox, what a URL points to.
Built by `commands/append.py`, read by `services/imap/append.py` through `values`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mssante.protocol.imap.numset import NumSet


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """A message begins (RFC 9051 §6.3.12, RFC 3502 §6.3.11). internal_date: aware, or None when not given."""

    flags: int = 0
    keywords: tuple[str, ...] = ()
    internal_date: datetime | None = None


@dataclass(frozen=True, slots=True)
class AppendLiteral:
    """Octets of the message announced as a literal. size: as announced; binary: literal8 (RFC 3516 §4.4).

    utf8: given as `UTF8 (~{n}…)` (RFC 6855 §4); alone: the whole message, not a part of CATENATE.
    """

    size: int
    binary: bool = False
    utf8: bool = False
    alone: bool = True


@dataclass(frozen=True, slots=True)
class AppendUrl:
    """Octets of a message that is here, named by an IMAP URL (RFC 4469 §3). url: as the client wrote it, not checked."""

    url: bytes


AppendAction = AppendMessage | AppendLiteral | AppendUrl


@dataclass(frozen=True, slots=True)
class Append:
    """One step of APPEND, REPLACE or UID REPLACE (RFC 8508).

    replaces: the one message that REPLACE removes, None for APPEND; uid: it is a UID.
    """

    folder: str
    actions: tuple[AppendAction, ...] = ()
    replaces: NumSet | None = None
    uid: bool = False

    @property
    def size(self) -> int:
        """Octets of the literal that this step announces; 0 when it announces none."""
        last = self.actions[-1] if self.actions else None
        return last.size if isinstance(last, AppendLiteral) else 0
