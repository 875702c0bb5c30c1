"""Identities and profiles of accounts (tables account_identity, account_profile)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, select

from mssante.model.mailbox import MailboxType
from mssante.storage.identities import MAX_VALUE, AccountProfile, Identity
from mssante.storage.sql.tables import account, delegation, mailbox
from mssante.storage.sql.tables_people import account_identity, account_profile
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_TEXT = 500

_I = account_identity.c
_P = account_profile.c
_COLUMNS = select(_I.kind, _I.value, _I.account_id, account.c.login, _I.created_at).select_from(
    account_identity.join(account, account.c.id == _I.account_id))
_KEY = (_I.kind == bindparam("p_kind"), _I.value == bindparam("p_value"))
_FIND = Statement(_COLUMNS.where(*_KEY))
_OF_ACCOUNT = Statement(_COLUMNS.where(_I.account_id == bindparam("p_account")).order_by(_I.kind, _I.value))
_OF_KIND = Statement(_COLUMNS.where(_I.kind == bindparam("p_kind"), _I.value > bindparam("p_after"))
                     .order_by(_I.value).limit(bindparam("p_limit")))
_INSERT = InsertRows(account_identity, ["kind", "value", "account_id", "created_at"], ignore="kind, value")
_REMOVE = Statement(delete(account_identity).where(*_KEY))
_OWNERS = Statement(
    select(account.c.login).select_from(mailbox.join(delegation, delegation.c.mailbox_id == mailbox.c.id)
                                        .join(account, account.c.id == delegation.c.account_id))
    .where(mailbox.c.holder_id.in_(bindparam("p_holders", expanding=True)), mailbox.c.type == MailboxType.PER.value,
           delegation.c.position == 0).distinct().order_by(account.c.login))

_PROFILE_NAMES = ["account_id", "holder_id", "given_name", "family_name", "contact", "password_logins", "last_login_at"]
_PROFILE = Statement(select(*[_P[name] for name in _PROFILE_NAMES]).where(_P.account_id == bindparam("p_account")))
_PUT_PROFILE = InsertRows(account_profile, [*_PROFILE_NAMES, "updated_at"])
_DROP_PROFILE = Statement(delete(account_profile).where(_P.account_id == bindparam("p_account")))


class SqlIdentityStore:
    """`mssante.storage.identities.IdentityStore`."""

    def link(self, tx: Transaction, kind: str, value: str, account_id: int, now: datetime) -> bool:
        """Give an identity to an account; False when somebody has it."""
        if tx.rows(_FIND, p_kind=kind, p_value=value):
            return False
        _INSERT.run(tx, [kind, storable(value, MAX_VALUE), account_id, micros(now)])
        return True

    def unlink(self, tx: Transaction, kind: str, value: str) -> bool:
        """Take an identity away."""
        return tx.change(_REMOVE, p_kind=kind, p_value=value) > 0

    def find(self, tx: Transaction, kind: str, value: str) -> Identity | None:
        """Give who has an identity."""
        rows = tx.rows(_FIND, p_kind=kind, p_value=value)
        return _identity(rows[0]) if rows else None

    def of_account(self, tx: Transaction, account_id: int) -> list[Identity]:
        """Give the identities of an account."""
        return [_identity(row) for row in tx.rows(_OF_ACCOUNT, p_account=account_id)]

    def of_kind(self, tx: Transaction, kind: str, *, limit: int, after: str = "") -> list[Identity]:
        """Give the identities of a kind, by value."""
        return [_identity(row) for row in tx.rows(_OF_KIND, p_kind=kind, p_after=after, p_limit=limit)]

    def owners(self, tx: Transaction, holder_ids: tuple[str, ...]) -> list[str]:
        """Give the logins of the PER boxes of a holder."""
        return [row[0] for row in tx.rows_of(_OWNERS, "p_holders", list(holder_ids))] if holder_ids else []

    def profile(self, tx: Transaction, account_id: int) -> AccountProfile | None:
        """Give the profile of an account."""
        rows = tx.rows(_PROFILE, p_account=account_id)
        if not rows:
            return None
        account_id, holder_id, given_name, family_name, contact, password_logins, last = rows[0]
        return AccountProfile(account_id, holder_id, given_name, family_name, contact, password_logins,
                              instant(last) if last else None)

    def put_profile(self, tx: Transaction, profile: AccountProfile, now: datetime) -> None:
        """Write the profile of an account."""
        tx.change(_DROP_PROFILE, p_account=profile.account_id)
        texts = (profile.holder_id, profile.given_name, profile.family_name, profile.contact, profile.password_logins)
        _PUT_PROFILE.run(tx, [profile.account_id, *(storable(text, MAX_TEXT) for text in texts),
                              micros(profile.last_login_at) if profile.last_login_at else 0, micros(now)])


def _identity(row: Sequence[Any]) -> Identity:
    kind, value, account_id, login, created_at = row
    return Identity(kind, value, account_id, login, instant(created_at))
