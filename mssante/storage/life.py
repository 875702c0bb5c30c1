"""Port of the profiles and the lives of mailboxes. Used through `storage/interfaces.py` (`stores.life`).

Every method is a bounded number of statements whatever the number of mailboxes; the implementation is `storage/sql/life.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mssante.model.mailbox import Mailbox, Usage
from mssante.model.mailbox_rules import Life


@dataclass(frozen=True, slots=True)
class Profile:
    """What the directory and those who run a mailbox know of it. rank: 1 is best, 0 none; contact: where to warn its holder."""

    mailbox_id: int
    service: str = ""
    description: str = ""
    responsible: str = ""
    structure_id: str = ""
    contact: str = ""
    red_list: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Filling:
    """A mailbox with a quota, and what it holds."""

    mailbox: Mailbox
    used: Usage
    told: int


class LifeStore(Protocol):
    """Profiles, lives, erasing."""

    def profiles(self, tx: Any, mailbox_ids: Sequence[int]) -> dict[int, Profile]:
        """Give those that exist, by mailbox."""
        ...

    def put_profiles(self, tx: Any, profiles: Sequence[Profile], now: datetime) -> None:
        """Write profiles, each in place of the one of its mailbox; those of mailboxes that are gone are left out."""
        ...

    def lives(self, tx: Any, mailbox_ids: Sequence[int]) -> dict[int, Life]:
        """Give those that exist, by mailbox."""
        ...

    def put_lives(self, tx: Any, lives: Sequence[Life]) -> None:
        """Write lives, each in place of the one of its mailbox; those of mailboxes that are gone are left out."""
        ...

    def page(self, tx: Any, after: int, limit: int) -> list[Mailbox]:
        """Give mailboxes by id, from the one that follows `after`."""
        ...

    def count(self, tx: Any) -> int:
        """Count the mailboxes that are not purged."""
        ...

    def set_holder(self, tx: Any, mailbox_id: int, *, holder_id: str, display_name: str) -> None:
        """Change the holder and the shown name of a mailbox."""
        ...

    def fillings(self, tx: Any, after: int, limit: int) -> list[Filling]:
        """Give mailboxes with a quota and what they hold, by id, from the one that follows `after`."""
        ...

    def tell_quota(self, tx: Any, told: Mapping[int, int]) -> None:
        """Note the per cent that the holders of mailboxes were told of."""
        ...

    def erase(self, tx: Any, mailbox_id: int, limit: int) -> int:
        """Take at most `limit` messages out of a mailbox; give how many. 0: none is left, and folders, filters, rights,
        correspondents and profile went with this call. The row of the mailbox stays: its address is reserved."""
        ...

    def release(self, tx: Any, mailbox_ids: Sequence[int]) -> int:
        """Forget purged mailboxes, so that their addresses may be given again; give how many."""
        ...
