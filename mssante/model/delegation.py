"""What a login may do in a mailbox that is not its own: which rights, from when, until when.

- `open` reads and changes the mail of the box, `read` reads it only, `send` sends in its name. `open` contains `read`.
- A delegation runs from `since` (included) to `until` (excluded); None is no bound. Nobody reads a clock here: `now` is given.
- The first mailbox of a login is its own: it needs no right and has no end.
- Text form, used by the command line, the CSV import and the journal: rights joined by commas, in the order of `Right`.
Called by every floor that decides on a shared mailbox: `services/delegations.py`, `services/imap/rights.py`, submission, the
command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Right(StrEnum):
    """One right on a mailbox of others."""

    OPEN = "open"
    READ = "read"
    SEND = "send"


Rights = frozenset[Right]
TEAM: Rights = frozenset((Right.OPEN, Right.SEND))  # what a member of a team has when nothing else is said
MAX_RIGHTS_TEXT = 64  # characters
_WORDS = frozenset(right.value for right in Right)


def rights_of(text: str) -> Rights:
    """Give the rights of a text such as `read,send` or `open+send`. Raises ValueError naming the word that is no right."""
    words = [word for word in text.lower().replace("+", ",").split(",") if word]
    if not words or len(text) > MAX_RIGHTS_TEXT:
        raise ValueError(text[:MAX_RIGHTS_TEXT])
    for word in words:
        if word not in _WORDS:
            raise ValueError(word)
    return frozenset(Right(word) for word in words)


def rights_text(rights: Iterable[Right]) -> str:
    """Give rights as they are kept and shown; `read` is left out beside `open`, which contains it."""
    held = set(rights)
    if Right.OPEN in held:
        held.discard(Right.READ)
    return ",".join(right.value for right in Right if right in held)


@dataclass(frozen=True, slots=True)
class Delegation:
    """A login and one mailbox. own: it is the login's own mailbox; granted_by: who gave it, empty when unknown."""

    account_id: int
    login: str
    mailbox_id: int
    address: str
    own: bool
    rights: Rights
    since: datetime | None = None
    until: datetime | None = None
    granted_by: str = ""

    def runs(self, now: datetime) -> bool:
        """Tell if it is in force at an instant."""
        return self.own or ((self.since is None or self.since <= now) and (self.until is None or now < self.until))

    def state(self, now: datetime) -> str:
        """Give `running`, `future` or `over`."""
        if self.runs(now):
            return "running"
        return "future" if self.since is not None and now < self.since else "over"

    def turn(self, now: datetime) -> datetime | None:
        """Give the next instant at which it begins or ends, None when it changes no more by itself."""
        if self.own:
            return None
        coming = [at for at in (self.since, self.until) if at is not None and at > now]
        return min(coming, default=None)


@dataclass(frozen=True, slots=True)
class NewDelegation:
    """A delegation to write: it replaces what the login had on that mailbox."""

    account_id: int
    mailbox_id: int
    rights: Rights
    since: datetime | None = None
    until: datetime | None = None
    granted_by: str = ""


@dataclass(frozen=True, slots=True)
class Alias:
    """Another address of a mailbox. until: from then on it is nobody's."""

    address: str
    mailbox_id: int
    box: str
    created_at: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A login opened a message of a shared mailbox for the first time. message_key: its Message-ID header, maybe empty."""

    login: str
    message_key: str
    trace_id: str
    first_at: datetime
