"""Port of who an account is elsewhere: Pro Santé Connect subjects, certificate names, and what is known of the person.

Used through `storage/interfaces.py` (`stores.identities`); the implementation is `storage/sql/identities.py`. An identity belongs
to one account at most; an account may have several. Values are kept as given: callers normalise them first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

PSC = "psc"
DN = "dn"
MAX_VALUE = 2048  # characters of an identity: a distinguished name of 1,024 with its escapes


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an account is elsewhere. kind: `psc`, `dn`, `scim`, `ldap`."""

    kind: str
    value: str
    account_id: int
    login: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AccountProfile:
    """What is known of the person or the machine behind a login. password_logins: protocols that its main password opens, empty:
    as configured; last_login_at None: never."""

    account_id: int
    holder_id: str = ""
    given_name: str = ""
    family_name: str = ""
    contact: str = ""
    password_logins: str = ""
    last_login_at: datetime | None = None


class IdentityStore(Protocol):
    """Identities and profiles of accounts."""

    def link(self, tx: Any, kind: str, value: str, account_id: int, now: datetime) -> bool:
        """Give an identity to an account; False, and nothing written, when somebody has it already."""
        ...

    def unlink(self, tx: Any, kind: str, value: str) -> bool:
        """Take an identity away; False when nobody had it."""
        ...

    def find(self, tx: Any, kind: str, value: str) -> Identity | None:
        """Give who has an identity, None for nobody (one row: may be read quickly)."""
        ...

    def of_account(self, tx: Any, account_id: int) -> list[Identity]:
        """Give the identities of an account, by kind and value."""
        ...

    def of_kind(self, tx: Any, kind: str, *, limit: int, after: str = "") -> list[Identity]:
        """Give the identities of a kind whose value follows `after`, by value, at most `limit`."""
        ...

    def owners(self, tx: Any, holder_ids: tuple[str, ...]) -> list[str]:
        """Give the logins whose own mailbox is a PER box held by one of these identifiers, in order (few rows: quickly)."""
        ...

    def profile(self, tx: Any, account_id: int) -> AccountProfile | None:
        """Give the profile of an account, None when there is none."""
        ...

    def put_profile(self, tx: Any, profile: AccountProfile, now: datetime) -> None:
        """Write the profile of an account, in place of the one it had."""
        ...
