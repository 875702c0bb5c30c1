"""Logins and mailboxes: the local provisioning base.

- Creation is set-based: mailboxes with their six folders are a few statements whatever the number.
- Keys (addresses, logins) are compared lower-case; callers may give any case.
- A login may open several mailboxes (delegation); the first is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.storage.interfaces import Account, NewMailbox
from mssante.storage.sql.annotations import forget_account_tx
from mssante.storage.sql.folders import FIRST_FOLDERS, insert_folders_tx
from mssante.storage.sql.tables import account, delegation, mailbox
from mssante.storage.sql.tables_people import alias
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import micros

_M = mailbox.c
_MAILBOX_COLUMNS = (_M.id, _M.address, _M.type, _M.state, _M.inbox_id, _M.quota_bytes, _M.holder_id, _M.display_name,
                    _M.quota_messages)
_INSERT_MAILBOX = InsertRows(mailbox, [
    "id", "address", "type", "state", "inbox_id", "quota_bytes", "holder_id", "display_name", "created_at"])
_BY_ADDRESS = Statement(select(*_MAILBOX_COLUMNS).where(_M.address.in_(bindparam("p_keys", expanding=True)))
                        .order_by(_M.address))
_ALIASES = Statement(select(alias.c.address).where(alias.c.address.in_(bindparam("p_keys", expanding=True))))
_BY_ID = Statement(select(*_MAILBOX_COLUMNS).where(_M.id.in_(bindparam("p_ids", expanding=True))).order_by(_M.id))
_LIST = Statement(select(*_MAILBOX_COLUMNS).where(_M.address > bindparam("p_after")).order_by(_M.address)
                  .limit(bindparam("p_limit")))
_SET_QUOTA = Statement(update(mailbox).where(_M.address == bindparam("p_address")).values(
    quota_bytes=bindparam("p_octets"), quota_messages=bindparam("p_messages")))
_SET_STATE = Statement(update(mailbox).where(_M.address == bindparam("p_address")).values(state=bindparam("p_state")))

_A = account.c
_ACCOUNT_COLUMNS = (_A.id, _A.login, _A.secret_hash, _A.enabled, _A.scram)
_INSERT_ACCOUNT = InsertRows(account, ["id", "login", "secret_hash", "enabled", "scram"])
_INSERT_DELEGATION = InsertRows(delegation, ["account_id", "mailbox_id", "position"])
_LOGINS = Statement(select(_A.login).where(_A.login.in_(bindparam("p_keys", expanding=True))))
_WITH_MAILBOXES = select(*_ACCOUNT_COLUMNS, delegation.c.mailbox_id, delegation.c.position).select_from(
    account.outerjoin(delegation, delegation.c.account_id == _A.id)).order_by(_A.login, delegation.c.position)
_BY_LOGIN = Statement(_WITH_MAILBOXES.where(_A.login == bindparam("p_login")))
_ALL_ACCOUNTS = Statement(_WITH_MAILBOXES)
_SET_SECRET = Statement(update(account).where(_A.login == bindparam("p_login")).values(
    secret_hash=bindparam("p_secret"), scram=bindparam("p_scram")))
_SET_ENABLED = Statement(update(account).where(_A.login == bindparam("p_login")).values(enabled=bindparam("p_enabled")))
_DELETE_DELEGATIONS = Statement(delete(delegation).where(
    delegation.c.account_id.in_(select(_A.id).where(_A.login == bindparam("p_login")).scalar_subquery())))
_DELETE_ACCOUNT = Statement(delete(account).where(_A.login == bindparam("p_login")))


class SqlAccountStore:
    """`mssante.storage.interfaces.AccountStore`."""

    def create_mailboxes(self, tx: Transaction, mailboxes: Sequence[NewMailbox]) -> list[Mailbox]:
        """Create mailboxes with their folders. Raises ValueError naming the first address that exists or comes twice."""
        if not mailboxes:
            return []
        addresses = [new.address.lower() for new in mailboxes]
        known = {row[1] for row in tx.rows_of(_BY_ADDRESS, "p_keys", addresses)}
        known.update(row[0] for row in tx.rows_of(_ALIASES, "p_keys", addresses))  # never two mailboxes for one address
        _refuse_known(addresses, known)
        first_id = tx.take_ids(len(mailboxes))
        per_mailbox = len(FIRST_FOLDERS)
        first_folder = tx.head.next_id  # the ids that insert_folders_tx will take
        flat: list[object] = []
        created: list[Mailbox] = []
        wanted: list[tuple[int, str, str]] = []
        for offset, new in enumerate(mailboxes):
            value = Mailbox(first_id + offset, addresses[offset], new.type, new.state, first_folder + offset * per_mailbox,
                            new.quota_bytes, new.holder_id, new.display_name)
            created.append(value)
            flat += (value.id, value.address, value.type.value, value.state.value, value.inbox_id, value.quota_bytes,
                     value.holder_id, value.display_name, micros(new.now))
            wanted += [(value.id, name, special_use) for name, special_use in FIRST_FOLDERS]
        _INSERT_MAILBOX.run(tx, flat)
        insert_folders_tx(tx, wanted)
        return created

    def mailboxes_by_address(self, tx: Transaction, addresses: Sequence[str]) -> list[Mailbox]:
        """Look mailboxes up by address, whatever the case; those that do not exist are absent from the answer."""
        if not addresses:
            return []
        return [_mailbox(row) for row in tx.rows_of(_BY_ADDRESS, "p_keys", [text.lower() for text in addresses])]

    def mailboxes_by_id(self, tx: Transaction, ids: Sequence[int]) -> list[Mailbox]:
        """Look mailboxes up by row id; those that do not exist are absent from the answer."""
        return [_mailbox(row) for row in tx.rows_of(_BY_ID, "p_ids", ids)]

    def list_mailboxes(self, tx: Transaction, *, limit: int = 1000, after: str = "") -> list[Mailbox]:
        """Give mailboxes ordered by address, from the one that follows `after`."""
        return [_mailbox(row) for row in tx.rows(_LIST, p_after=after, p_limit=limit)]

    def set_mailbox_state(self, tx: Transaction, address: str, state: MailboxState) -> bool:
        """Change the state; give False when there is no such mailbox."""
        return tx.change(_SET_STATE, p_address=address.lower(), p_state=state.value) > 0

    def set_quota(self, tx: Transaction, address: str, *, octets: int, messages: int) -> bool:
        """Set both quotas, 0 for none; give False when there is no such mailbox."""
        return tx.change(_SET_QUOTA, p_address=address.lower(), p_octets=octets, p_messages=messages) > 0

    def create_accounts(self, tx: Transaction, accounts: Sequence[tuple[str, str, tuple[int, ...]]],
                        scram: Mapping[str, str] | None = None) -> list[Account]:
        """Create (login, secret hash, mailbox ids), with SCRAM verifiers by lower-case login.

        Raises ValueError naming the first login that exists or comes twice, LookupError when a mailbox does not exist.
        """
        if not accounts:
            return []
        logins = [login.lower() for login, _, _ in accounts]
        _refuse_known(logins, {row[0] for row in tx.rows_of(_LOGINS, "p_keys", logins)})
        wanted = sorted({mailbox_id for _, _, ids in accounts for mailbox_id in ids})
        if wanted and len(tx.rows_of(_BY_ID, "p_ids", wanted)) != len(wanted):
            raise LookupError("mailbox is gone")
        first_id = tx.take_ids(len(accounts))
        flat: list[object] = []
        links: list[object] = []
        created: list[Account] = []
        for offset, (_, secret_hash, ids) in enumerate(accounts):
            unique = tuple(dict.fromkeys(ids))
            verifier = scram.get(logins[offset], "") if scram else ""
            created.append(Account(first_id + offset, logins[offset], secret_hash, True, unique, verifier))
            flat += (first_id + offset, logins[offset], secret_hash, 1, verifier)
            for position, mailbox_id in enumerate(unique):
                links += (first_id + offset, mailbox_id, position)
        _INSERT_ACCOUNT.run(tx, flat)
        _INSERT_DELEGATION.run(tx, links)
        return created

    def account_by_login(self, tx: Transaction, login: str) -> Account | None:
        """Look a login up, whatever the case."""
        found = _accounts(tx.rows(_BY_LOGIN, p_login=login.lower()))
        return found[0] if found else None

    def list_accounts(self, tx: Transaction) -> list[Account]:
        """Give accounts ordered by login."""
        return _accounts(tx.rows(_ALL_ACCOUNTS))

    def update_account(self, tx: Transaction, login: str, *, secret_hash: str | None = None,
                       enabled: bool | None = None, scram: str = "") -> bool:
        """Change secret (and its SCRAM verifier) or state; give False when there is no such login."""
        key = login.lower()
        if tx.one(_LOGINS, p_keys=[key]) is None:
            return False
        if secret_hash is not None:
            tx.change(_SET_SECRET, p_login=key, p_secret=secret_hash, p_scram=scram)
        if enabled is not None:
            tx.change(_SET_ENABLED, p_login=key, p_enabled=int(enabled))
        return True

    def delete_account(self, tx: Transaction, login: str) -> bool:
        """Remove a login (its mailboxes stay); give False when there is no such login."""
        tx.change(_DELETE_DELEGATIONS, p_login=login.lower())
        forget_account_tx(tx, login.lower())
        return tx.change(_DELETE_ACCOUNT, p_login=login.lower()) > 0


def _refuse_known(wanted: Sequence[str], known: set[str]) -> None:
    seen = set(known)
    for key in wanted:
        if key in seen:
            raise ValueError(f"{key} exists")
        seen.add(key)


def _mailbox(row: Sequence[Any]) -> Mailbox:
    row_id, address, kind, state, *rest = row
    return Mailbox(row_id, address, MailboxType(kind), MailboxState(state), *rest)


def _accounts(rows: Sequence[tuple[int, str, str, int, str, int | None, int | None]]) -> list[Account]:
    """Give accounts of joined rows that come together, in order.

    A login without own mailbox has none at all: what it opens for others must never pass for its own.
    """
    found: dict[int, tuple[str, str, bool, str, list[int]]] = {}
    for row_id, login, secret_hash, enabled, scram, mailbox_id, position in rows:
        known = found.setdefault(row_id, (login, secret_hash, bool(enabled), scram, []))
        if mailbox_id is not None and (known[4] or position == 0):
            known[4].append(mailbox_id)
    return [Account(row_id, login, secret_hash, enabled, tuple(ids), scram)
            for row_id, (login, secret_hash, enabled, scram, ids) in found.items()]
