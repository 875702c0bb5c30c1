"""Port of the HL7 gateway: messages taken, messages to give, and what could not be filed. Used through `storage/interfaces.py`.

A row of the outbox keeps its body until the application has taken or refused it for good and nobody may ask for it again; then
the body is emptied and the row stays as a trace until `forget`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

WAITING = "waiting"
GIVEN = "given"
REFUSED = "refused"

OPEN = "open"
RETRIED = "retried"
CLOSED = "closed"
TOLD = "told"  # a person asked that the sender be told: the operator does it, then it is closed
STATES = (OPEN, RETRIED, TOLD, CLOSED)


@dataclass(frozen=True, slots=True)
class TakenMessage:
    """A message of an application, taken once. fingerprint: SHA-256 of what it asks; handed_id, trace_id: of its hand-overs,
    separated by spaces; answer: the ACK to repeat."""

    interface: str
    control_id: str
    fingerprint: str
    handed_id: str
    trace_id: str
    answer: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """A message for an application. reference: what it is about, once per interface (`mdm 12/1`, `zam …`); state: waiting, given
    or refused; sequence 0: not stored yet."""

    interface: str
    kind: str
    control_id: str
    reference: str
    body: bytes
    mailbox_id: int
    message_id: int
    trace_id: str
    created_at: datetime
    next_attempt_at: datetime
    attempts: int = 0
    state: str = WAITING
    detail: str = ""
    sequence: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for somebody. count: of messages; oldest: instant of the first; attempts: most that one of them had in vain."""

    count: int
    oldest: datetime
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class RepairItem:
    """A message that the application's software could not file. code: 900 to 906, a code of table 0357, or a rule of ours."""

    interface: str
    mailbox_id: int
    message_id: int
    trace_id: str
    code: str
    detail: str
    state: str
    created_at: datetime
    updated_at: datetime
    by: str = ""
    note: str = ""
    id: int = 0


class InterfacingStore(Protocol):
    """What the gateway remembers."""

    def taken(self, tx: Any, interface: str, control_id: str) -> TakenMessage | None:
        """Give the message taken under a control id (one row: may be read quickly)."""
        ...

    def take(self, tx: Any, message: TakenMessage) -> bool:
        """Keep a message; False, and nothing written, when its control id is there."""
        ...

    def put(self, tx: Any, item: OutboxItem) -> bool:
        """Append to the outbox; False, and nothing written, when the reference is there for that interface."""
        ...

    def head(self, tx: Any, interface: str) -> OutboxItem | None:
        """Give the oldest waiting message of an interface, due or not."""
        ...

    def attempted(self, tx: Any, sequence: int, next_attempt_at: datetime, detail: str) -> None:
        """Count an attempt in vain of a waiting message."""
        ...

    def settle(self, tx: Any, sequence: int, state: str, detail: str) -> bool:
        """End a waiting message (given or refused) and empty its body; False when it was not waiting."""
        ...

    def of_message(self, tx: Any, interface: str, message_id: int) -> list[OutboxItem]:
        """Give the rows of the outbox that carry a message of a mailbox, oldest first, without bodies."""
        ...

    def items(self, tx: Any, interface: str = "", *, state: str = "", limit: int = 200) -> list[OutboxItem]:
        """Give rows of the outbox, newest first, without bodies."""
        ...

    def drop_refused(self, tx: Any, interface: str, message_id: int) -> int:
        """Remove the refused rows of a message, so that it can be put again; give how many."""
        ...

    def depth(self, tx: Any) -> dict[str, int]:
        """Count waiting messages by interface."""
        ...

    def backlog(self, tx: Any) -> dict[str, Backlog]:
        """Give what waits, by interface; those for which nothing waits are not in it."""
        ...

    def repairs_open(self, tx: Any) -> dict[str, Backlog]:
        """Give the entries of the repair list that are open, by interface (attempts: 0)."""
        ...

    def add_repair(self, tx: Any, item: RepairItem) -> int:
        """Open an entry of the repair list, or again the one that stands for the same message of the interface. Gives its id."""
        ...

    def repair(self, tx: Any, repair_id: int) -> RepairItem | None:
        """Give an entry, or None."""
        ...

    def repairs(self, tx: Any, state: str = "", limit: int = 200) -> list[RepairItem]:
        """Give entries, oldest first; all states when empty."""
        ...

    def stands(self, tx: Any, interface: str, message_id: int) -> bool:
        """True when some entry stands for that message, whatever its state."""
        ...

    def arrived(self, tx: Any, mailbox_ids: Sequence[int], traces: Sequence[str]) -> list[tuple[int, int]]:
        """Give (mailbox id, message row id) of what these traces brought into these mailboxes, oldest first; not what stands in
        Sent or Drafts alone."""
        ...

    def set_repair(self, tx: Any, item: RepairItem) -> bool:
        """Write state, code, detail, note, by and instant of an entry; False when it is gone."""
        ...

    def forget(self, tx: Any, before: datetime, limit: int = 1000) -> int:
        """Remove the oldest rows that are settled, closed or taken before an instant; give how many."""
        ...
