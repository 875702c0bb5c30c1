"""Port of logins and mailboxes: the local provisioning base. Used through `storage/interfaces.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from mssante.model.mailbox import Mailbox, MailboxState, MailboxType

Tx = Any  # an open transaction


@dataclass(frozen=True, slots=True)
class Account:
    """A login. mailbox_ids: the first is its own, the others are delegated, whatever the dates: being there opens nothing, what
    runs now is for `stores.delegations` to say; scram: its verifier; opened: the box of others that a token opens, by IMAP, for
    its own, 0: none."""

    id: int
    login: str
    secret_hash: str
    enabled: bool
    mailbox_ids: tuple[int, ...] = ()
    scram: str = field(default="", repr=False)
    opened: int = 0


@dataclass(frozen=True, slots=True)
class NewMailbox:
    """A mailbox to create with INBOX, Drafts, Sent, Trash, Junk, Archive."""

    address: str
    type: MailboxType
    now: datetime
    state: MailboxState = MailboxState.ACTIVE
    holder_id: str = ""
    display_name: str = ""
    quota_bytes: int = 0


class AccountStore(Protocol):
    """Logins and mailboxes: the local provisioning base."""

    def create_mailboxes(self, tx: Tx, mailboxes: Sequence[NewMailbox]) -> list[Mailbox]:
        """Create mailboxes (set-based). Raises ValueError naming the first address that exists."""
        ...

    def mailboxes_by_address(self, tx: Tx, addresses: Sequence[str]) -> list[Mailbox]:
        """Look mailboxes up by key (lower-case address)."""
        ...

    def mailboxes_by_id(self, tx: Tx, ids: Sequence[int]) -> list[Mailbox]:
        """Look mailboxes up by row id."""
        ...

    def list_mailboxes(self, tx: Tx, *, limit: int = 1000, after: str = "") -> list[Mailbox]:
        """Give mailboxes ordered by address."""
        ...

    def set_mailbox_state(self, tx: Tx, address: str, state: MailboxState) -> bool:
        """Change the state; give False when there is no such mailbox."""
        ...

    def set_quota(self, tx: Tx, address: str, *, octets: int, messages: int) -> bool:
        """Set both quotas, 0 for none; give False when there is no such mailbox."""
        ...

    def create_accounts(self, tx: Tx, accounts: Sequence[tuple[str, str, tuple[int, ...]]],
                        scram: Mapping[str, str] | None = None) -> list[Account]:
        """Create (login, secret hash, mailbox ids). scram: verifiers by lower-case login.

        Raises ValueError naming the first login that exists.
        """
        ...

    def account_by_login(self, tx: Tx, login: str) -> Account | None:
        """Look a login up (lower-case)."""
        ...

    def list_accounts(self, tx: Tx) -> list[Account]:
        """Give accounts ordered by login."""
        ...

    def update_account(self, tx: Tx, login: str, *, secret_hash: str | None = None,
                       enabled: bool | None = None, scram: str = "") -> bool:
        """Change secret or state; give False when there is no such login. scram: verifier of the new secret, empty for none."""
        ...

    def delete_account(self, tx: Tx, login: str) -> bool:
        """Remove a login (its mailboxes stay)."""
        ...
