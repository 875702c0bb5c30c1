"""Port of the users' filters: scripts of each mailbox, and to whom a vacation was told. Used through `storage/interfaces.py`.

- At most one script of a mailbox is active. Scripts whose name begins by `MANAGED` are written by the operator's own commands
  (out-of-office): they are not among the user's, are not counted by quotas, and run beside the active one.
- Every method is a bounded number of statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

MANAGED = "\x01"  # cannot be typed by a user: names with controls are refused (RFC 5804 §1.6)
ABSENCE = MANAGED + "absence"


@dataclass(frozen=True, slots=True)
class SieveScript:
    """One script as it was written."""

    name: str
    content: bytes = field(repr=False)
    active: bool
    updated_at: datetime


class FilterStore(Protocol):
    """Scripts by mailbox and name."""

    def running(self, tx: Any) -> dict[int, int]:
        """Give the mailboxes with a script that runs, each with a number that changes with its scripts."""
        ...

    def scripts(self, tx: Any, mailbox_id: int) -> list[SieveScript]:
        """Give all scripts of a mailbox, the managed ones too, by name."""
        ...

    def put(self, tx: Any, mailbox_id: int, script: SieveScript) -> None:
        """Write a script, new or not."""
        ...

    def activate(self, tx: Any, mailbox_id: int, name: str, now: datetime) -> None:
        """Make this script the active one, none when the name is empty; managed scripts are not concerned."""
        ...

    def delete(self, tx: Any, mailbox_id: int, name: str) -> bool:
        """Remove a script; False when there is none."""
        ...

    def told(self, tx: Any, mailbox_id: int, handle: str, sender: str) -> datetime | None:
        """Give when a vacation of this handle was told to a sender last."""
        ...

    def tell(self, tx: Any, mailbox_id: int, handle: str, sender: str, now: datetime) -> None:
        """Note that it is told now."""
        ...

    def forget_told(self, tx: Any, before: datetime) -> int:
        """Remove what was told before; give how many."""
        ...

    def telling(self, tx: Any, mailbox_id: int) -> Sequence[tuple[str, str, datetime]]:
        """Give (handle, sender, when), the latest first, at most 1000."""
        ...
