"""What this process remembers of shared mailboxes: copies of sent mail just filed, and first readings not written yet.

- `SentBook` knows which message (by Message-ID) was filed in which folder of sent mail a short while ago, by the server or by a
  client's APPEND: whoever comes second is told of the first copy, so that there is one. It is memory only: after a restart, or
  beyond the window, a second copy is filed rather than none. A message without Message-ID is never taken for another.
- `ReadingLog` gathers who opened which message of which ORG box, the first time; `flush` writes what was gathered in one
  transaction. What a process gathered and could not write is lost with it (at most `FLUSH_SECONDS` of first readings), and is
  gathered again at the next reading. Nothing is written per message, nothing is awaited by the reader.
- Both are bounded; the oldest goes first.
Called by `sentcopy.py`, `services/imap/{append,fetch,flagging}.py`, `topics/sharing.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from mssante.storage.delegations import FirstReading
from mssante.storage.interfaces import Stores

MAX_SENT = 20_000
MAX_READ = 200_000
MAX_PENDING = 100_000
FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class SharingSettings:
    """sent_copy: `shared` (mail sent in the name of a box of others), `all` or `off`; sender_header: add Sender to such mail;
    sent_window_seconds: how long a copy is known."""

    sent_copy: str = "shared"
    sender_header: bool = True
    sent_window_seconds: float = 900.0


class SentBook:
    """Copies of sent mail filed lately, by folder and Message-ID. Instants are of the monotonic clock."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[bool, int, str], tuple[int, float]] = OrderedDict()

    def find(self, folder_id: int, message_id: str, now: float, *, server: bool) -> int:
        """Give the UID of a copy filed lately by the server, or by a client; 0 when none is known."""
        uid, until = self._places.get((server, folder_id, message_id), (0, 0.0)) if message_id else (0, 0.0)
        return uid if now < until else 0

    def note(self, folder_id: int, message_id: str, uid: int, until: float, *, server: bool) -> None:
        """A copy was filed; the same by both, one after the other, is no copy for a third."""
        key = (server, folder_id, message_id)
        if not message_id:
            return
        self._places[key] = (uid, until)
        self._places.move_to_end(key)
        while len(self._places) > MAX_SENT:
            self._places.popitem(last=False)


class ReadingLog:
    """First readings. on: they are kept at all."""

    def __init__(self) -> None:
        self.on = True
        self._known: OrderedDict[tuple[int, int, int], None] = OrderedDict()
        self._pending: list[FirstReading] = []
        self._traced: dict[int, bool] = {}

    def traced(self, mailbox_id: int) -> bool | None:
        """Tell if readings of a mailbox are kept, None when its kind was not asked yet (`kind`)."""
        return self._traced.get(mailbox_id) if self.on else False

    def kind(self, mailbox_id: int, *, traced: bool) -> None:
        """Say whether readings of a mailbox are kept: the kind of a mailbox does not change."""
        if len(self._traced) > MAX_SENT:
            self._traced.clear()
        self._traced[mailbox_id] = traced

    def note(self, mailbox_id: int, account_id: int, message_ids: Iterable[int], at: datetime) -> None:
        """Somebody opened messages; those known already cost a look in memory. No wait, no statement."""
        known = self._known
        for message_id in message_ids:
            key = (mailbox_id, message_id, account_id)
            if key in known or len(self._pending) >= MAX_PENDING:
                continue
            known[key] = None
            self._pending.append(FirstReading(mailbox_id, message_id, account_id, at))
        while len(known) > MAX_READ:
            known.popitem(last=False)

    async def flush(self, stores: Stores) -> int:
        """Write what was gathered, in one transaction; give how many rows were offered. Raises StorageFull, OperatorFault."""
        pending, self._pending = self._pending, []
        if not pending:
            return 0
        try:
            await stores.database.write(lambda tx: stores.delegations.note_readings(tx, pending))
        except BaseException:
            self._pending = (pending + self._pending)[:MAX_PENDING]
            raise
        return len(pending)


@dataclass(slots=True)
class SharedBooks:
    """Both, with their settings: one for the process, held by the mailroom, which submission and IMAP share."""

    sent: SentBook = field(default_factory=SentBook)
    readings: ReadingLog = field(default_factory=ReadingLog)
    settings: SharingSettings = field(default_factory=SharingSettings)
