"""Port of what several people share: delegations, aliases, first readings, and links to the people of other systems.

Used through `storage/interfaces.py` (`stores.delegations`); the implementation is `storage/sql/delegations.py`. Every method is a
bounded number of statements whatever the number of people, boxes and messages. Addresses and logins are keys: lower-case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from mssante.model.delegation import Alias, Delegation, NewDelegation, Reading


@dataclass(frozen=True, slots=True)
class Person:
    """A login as delegations need it. own: its own mailbox, 0 when it has none."""

    account_id: int
    login: str
    enabled: bool
    own: int


@dataclass(frozen=True, slots=True)
class FirstReading:
    """Row to note: who read which message of which mailbox, when first."""

    mailbox_id: int
    message_id: int
    account_id: int
    first_at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """A person of another system and what it is here. source: `scim` or `ldap`; document: JSON that the other side wrote, without
    any secret; account_id, mailbox_id: 0 for none."""

    source: str
    external_id: str
    account_id: int
    mailbox_id: int
    digest: str
    document: str
    active: bool
    seen_at: datetime
    updated_at: datetime


class DelegationStore(Protocol):
    """Delegations, aliases, first readings, links."""

    # ------------------------------------------------------------ delegations

    def people(self, tx: Any, logins: Sequence[str]) -> dict[str, Person]:
        """Give those logins that exist, by login."""
        ...

    def of_account(self, tx: Any, account_id: int) -> list[Delegation]:
        """Give what a login opens, its own mailbox first, whatever the dates (few rows: may be read quickly)."""
        ...

    def of_accounts(self, tx: Any, account_ids: Sequence[int]) -> list[Delegation]:
        """Same as `of_account`, for several logins, by login."""
        ...

    def of_mailboxes(self, tx: Any, mailbox_ids: Sequence[int]) -> list[Delegation]:
        """Give who opens these mailboxes, owners first then by login, whatever the dates."""
        ...

    def give(self, tx: Any, grants: Sequence[NewDelegation]) -> int:
        """Write delegations, each in place of the one of its login and mailbox; give how many rows were written.

        A login's own mailbox is left as it is. Raises LookupError when a login or a mailbox is gone.
        """
        ...

    def take(self, tx: Any, pairs: Sequence[tuple[int, int]]) -> int:
        """Remove delegations by (account id, mailbox id); own mailboxes stay. Gives how many."""
        ...

    def take_all(self, tx: Any, account_ids: Sequence[int]) -> int:
        """Remove every delegation of these logins but their own mailboxes; give how many."""
        ...

    # ------------------------------------------------------------ aliases

    def resolve(self, tx: Any, addresses: Sequence[str]) -> list[Alias]:
        """Give the aliases among these addresses, over or not."""
        ...

    def aliases(self, tx: Any, mailbox_id: int | None = None) -> list[Alias]:
        """Give aliases of one mailbox, or all, by address."""
        ...

    def add_alias(self, tx: Any, alias: Alias) -> None:
        """Add an alias. Raises ValueError when the address is a mailbox's or an alias already (also one that is over)."""
        ...

    def remove_alias(self, tx: Any, address: str) -> bool:
        """Remove an alias; False when there is none."""
        ...

    # ------------------------------------------------------------ readings

    def note_readings(self, tx: Any, readings: Sequence[FirstReading]) -> None:
        """Keep first readings; one that is known, or whose mailbox is gone, is left out."""
        ...

    def readings(self, tx: Any, mailbox_id: int, *, message_key: str = "", since: datetime | None = None,
                 limit: int = 1000) -> list[Reading]:
        """Give first readings of a mailbox, latest first. message_key: a Message-ID header."""
        ...

    # ------------------------------------------------------------ links

    def links(self, tx: Any, source: str) -> list[Link]:
        """Give all links of a source, by external id."""
        ...

    def find_links(self, tx: Any, source: str, external_ids: Sequence[str]) -> list[Link]:
        """Give links by external id."""
        ...

    def link_of_accounts(self, tx: Any, account_ids: Sequence[int]) -> list[Link]:
        """Give the links of accounts, of all sources."""
        ...

    def put_links(self, tx: Any, links: Sequence[Link]) -> None:
        """Write links, each in place of the one of its source and external id."""
        ...

    def drop_links(self, tx: Any, source: str, external_ids: Sequence[str]) -> int:
        """Remove links; give how many."""
        ...

    def rename_login(self, tx: Any, account_id: int, login: str) -> None:
        """Give a login another name. Raises ValueError when it is taken, LookupError when the account is gone."""
        ...

    def counts(self, tx: Any, mailbox_ids: Sequence[int]) -> Mapping[int, int]:
        """Count who opens each of these mailboxes beside its owner; those with nobody are absent."""
        ...
