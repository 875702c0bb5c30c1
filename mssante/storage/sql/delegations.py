"""Delegations, aliases, first readings and links to other systems (tables delegation, alias, reading, provision_link).

- Own mailboxes (position 0) are never written nor removed here.
- An alias never stands on an address that is a mailbox's, and `storage/sql/accounts.py` creates no mailbox on an alias.
- Rights are kept as `model.delegation.rights_text`; a word of a later program is left out when read.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from mssante.model.delegation import Alias, Delegation, NewDelegation, Reading, Right, rights_text
from mssante.storage.delegations import FirstReading, Link, Person
from mssante.storage.sql.tables import account, delegation, mailbox, message
from mssante.storage.sql.tables_people import alias, provision_link, reading
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

_WORDS = frozenset(right.value for right in Right)
MAX_DOCUMENT = 65_536  # characters of what another system says of a person
_D = delegation.c
_A = alias.c
_R = reading.c
_L = provision_link.c
_PEOPLE = Statement(
    select(account.c.id, account.c.login, account.c.enabled, _D.mailbox_id).select_from(
        account.outerjoin(delegation, (_D.account_id == account.c.id) & (_D.position == 0)))
    .where(account.c.login.in_(bindparam("p_logins", expanding=True))))
_DELEGATIONS = select(
    _D.account_id, account.c.login, _D.mailbox_id, mailbox.c.address, _D.position, _D.rights, _D.since, _D.until, _D.granted_by,
).select_from(delegation.join(account, account.c.id == _D.account_id).join(mailbox, mailbox.c.id == _D.mailbox_id))
_OF_ACCOUNT = Statement(_DELEGATIONS.where(_D.account_id == bindparam("p_account")).order_by(_D.position, _D.mailbox_id))
_OF_ACCOUNTS = Statement(_DELEGATIONS.where(_D.account_id.in_(bindparam("p_accounts", expanding=True))))
_OF_MAILBOXES = Statement(_DELEGATIONS.where(_D.mailbox_id.in_(bindparam("p_mailboxes", expanding=True))))
_KNOWN = Statement(select(_D.account_id, _D.mailbox_id, _D.position).where(
    _D.account_id.in_(bindparam("p_accounts", expanding=True))))
_ACCOUNTS = Statement(select(account.c.id).where(account.c.id.in_(bindparam("p_ids", expanding=True))))
_MAILBOXES = Statement(select(mailbox.c.id).where(mailbox.c.id.in_(bindparam("p_ids", expanding=True))))
_TAKE = Statement(delete(delegation).where(
    _D.mailbox_id == bindparam("p_mailbox"), _D.position > 0, _D.account_id.in_(bindparam("p_accounts", expanding=True))))
_TAKE_ALL = Statement(delete(delegation).where(_D.position > 0, _D.account_id.in_(bindparam("p_accounts", expanding=True))))
_INSERT = InsertRows(delegation, ["account_id", "mailbox_id", "position", "rights", "since", "until", "granted_by"])
_COUNTS = Statement(select(_D.mailbox_id, func.count()).where(
    _D.position > 0, _D.mailbox_id.in_(bindparam("p_mailboxes", expanding=True))).group_by(_D.mailbox_id))

_ALIASES = select(_A.address, _A.mailbox_id, mailbox.c.address, _A.created_at, _A.until).select_from(
    alias.join(mailbox, mailbox.c.id == _A.mailbox_id)).order_by(_A.address)
_RESOLVE = Statement(_ALIASES.where(_A.address.in_(bindparam("p_addresses", expanding=True))))
_ALL_ALIASES = Statement(_ALIASES)
_ALIASES_OF = Statement(_ALIASES.where(_A.mailbox_id == bindparam("p_mailbox")))
_TAKEN = Statement(select(mailbox.c.id).where(mailbox.c.address == bindparam("p_address")))
_INSERT_ALIAS = InsertRows(alias, ["address", "mailbox_id", "created_at", "until"])
_REMOVE_ALIAS = Statement(delete(alias).where(_A.address == bindparam("p_address")))

_NOTE = InsertRows(reading, ["mailbox_id", "message_id", "account_id", "first_at"], ignore="mailbox_id, message_id, account_id")
_READ = select(account.c.login, message.c.header_message_id, message.c.trace_id, _R.first_at).select_from(
    reading.outerjoin(account, account.c.id == _R.account_id).outerjoin(message, message.c.id == _R.message_id)).where(
    _R.mailbox_id == bindparam("p_mailbox"), _R.first_at >= bindparam("p_since")).order_by(_R.first_at.desc()).limit(
    bindparam("p_limit"))
_READINGS = Statement(_READ)
_READINGS_OF = Statement(_READ.where(message.c.header_message_id == bindparam("p_key")))

_LINK_NAMES = ["source", "external_id", "account_id", "mailbox_id", "digest", "document", "active", "seen_at", "updated_at"]
_LINK_COLUMNS = [_L[name] for name in _LINK_NAMES]
_LINKS = Statement(select(*_LINK_COLUMNS).where(_L.source == bindparam("p_source")).order_by(_L.external_id))
_FIND_LINKS = Statement(select(*_LINK_COLUMNS).where(
    _L.source == bindparam("p_source"), _L.external_id.in_(bindparam("p_ids", expanding=True))))
_LINKS_OF = Statement(select(*_LINK_COLUMNS).where(_L.account_id.in_(bindparam("p_accounts", expanding=True))))
_DROP_LINKS = Statement(delete(provision_link).where(
    _L.source == bindparam("p_source"), _L.external_id.in_(bindparam("p_ids", expanding=True))))
_INSERT_LINK = InsertRows(provision_link, _LINK_NAMES)
_LOGIN_TAKEN = Statement(select(account.c.id).where(account.c.login == bindparam("p_login")))
_RENAME = Statement(update(account).where(account.c.id == bindparam("p_account")).values(login=bindparam("p_login")))


class SqlDelegationStore:
    """`mssante.storage.delegations.DelegationStore`."""

    # ------------------------------------------------------------ delegations

    def people(self, tx: Transaction, logins: Sequence[str]) -> dict[str, Person]:
        """Give those logins that exist, by login."""
        return {login: Person(row_id, login, bool(enabled), own or 0)
                for row_id, login, enabled, own in tx.rows_of(_PEOPLE, "p_logins", [login.lower() for login in logins])}

    def of_account(self, tx: Transaction, account_id: int) -> list[Delegation]:
        """Give what a login opens, its own mailbox first."""
        return [_delegation(row) for row in tx.rows(_OF_ACCOUNT, p_account=account_id)]

    def of_accounts(self, tx: Transaction, account_ids: Sequence[int]) -> list[Delegation]:
        """Give what several logins open, by login, own mailboxes first."""
        found = [_delegation(row) for row in tx.rows_of(_OF_ACCOUNTS, "p_accounts", account_ids)]
        return sorted(found, key=lambda one: (one.login, not one.own, one.address))

    def of_mailboxes(self, tx: Transaction, mailbox_ids: Sequence[int]) -> list[Delegation]:
        """Give who opens these mailboxes, owners first then by login."""
        found = [_delegation(row) for row in tx.rows_of(_OF_MAILBOXES, "p_mailboxes", mailbox_ids)]
        return sorted(found, key=lambda one: (one.address, not one.own, one.login))

    def give(self, tx: Transaction, grants: Sequence[NewDelegation]) -> int:
        """Write delegations in place of those that stand. Raises LookupError when a login or a mailbox is gone."""
        wanted = {(grant.account_id, grant.mailbox_id): grant for grant in grants}
        if not wanted:
            return 0
        accounts = sorted({account_id for account_id, _ in wanted})
        boxes = sorted({mailbox_id for _, mailbox_id in wanted})
        if (len(tx.rows_of(_ACCOUNTS, "p_ids", accounts)) != len(accounts)
                or len(tx.rows_of(_MAILBOXES, "p_ids", boxes)) != len(boxes)):
            raise LookupError("a login or a mailbox is gone")
        last: dict[int, int] = {}
        for account_id, mailbox_id, position in tx.rows_of(_KNOWN, "p_accounts", accounts):
            last[account_id] = max(last.get(account_id, 0), position)
            if position == 0:
                wanted.pop((account_id, mailbox_id), None)
        self.take(tx, list(wanted))
        flat: list[object] = []
        for (account_id, mailbox_id), grant in wanted.items():
            last[account_id] = last.get(account_id, 0) + 1
            flat += (account_id, mailbox_id, last[account_id], rights_text(grant.rights), _bound(grant.since),
                     _bound(grant.until), storable(grant.granted_by, 254))
        _INSERT.run(tx, flat)
        return len(wanted)

    def take(self, tx: Transaction, pairs: Sequence[tuple[int, int]]) -> int:
        """Remove delegations, one statement a mailbox; own mailboxes stay."""
        by_box: dict[int, list[int]] = {}
        for account_id, mailbox_id in pairs:
            by_box.setdefault(mailbox_id, []).append(account_id)
        return sum(tx.change_of(_TAKE, "p_accounts", accounts, p_mailbox=box) for box, accounts in by_box.items())

    def take_all(self, tx: Transaction, account_ids: Sequence[int]) -> int:
        """Remove every delegation of these logins but their own mailboxes."""
        return tx.change_of(_TAKE_ALL, "p_accounts", account_ids)

    def counts(self, tx: Transaction, mailbox_ids: Sequence[int]) -> dict[int, int]:
        """Count who opens each of these mailboxes beside its owner."""
        return {row[0]: row[1] for row in tx.rows_of(_COUNTS, "p_mailboxes", mailbox_ids)}

    # ------------------------------------------------------------ aliases

    def resolve(self, tx: Transaction, addresses: Sequence[str]) -> list[Alias]:
        """Give the aliases among these addresses, over or not."""
        return [_alias(row) for row in tx.rows_of(_RESOLVE, "p_addresses", [address.lower() for address in addresses])]

    def aliases(self, tx: Transaction, mailbox_id: int | None = None) -> list[Alias]:
        """Give aliases of one mailbox, or all."""
        rows = tx.rows(_ALL_ALIASES) if mailbox_id is None else tx.rows(_ALIASES_OF, p_mailbox=mailbox_id)
        return [_alias(row) for row in rows]

    def add_alias(self, tx: Transaction, alias: Alias) -> None:
        """Add an alias. Raises ValueError when the address is taken."""
        address = alias.address.lower()
        if tx.one(_TAKEN, p_address=address) is not None or tx.rows(_RESOLVE, p_addresses=[address]):
            raise ValueError(f"{address} exists")
        _INSERT_ALIAS.run(tx, [address, alias.mailbox_id, micros(alias.created_at), _bound(alias.until)])

    def remove_alias(self, tx: Transaction, address: str) -> bool:
        """Remove an alias."""
        return tx.change(_REMOVE_ALIAS, p_address=address.lower()) > 0

    # ------------------------------------------------------------ readings

    def note_readings(self, tx: Transaction, readings: Sequence[FirstReading]) -> None:
        """Keep first readings that are not known."""
        if not readings:
            return
        present = {row[0] for row in tx.rows_of(_MAILBOXES, "p_ids", sorted({one.mailbox_id for one in readings}))}
        flat: list[object] = []
        for one in readings:
            if one.mailbox_id in present:
                flat += (one.mailbox_id, one.message_id, one.account_id, micros(one.first_at))
        _NOTE.run(tx, flat)

    def readings(self, tx: Transaction, mailbox_id: int, *, message_key: str = "", since: datetime | None = None,
                 limit: int = 1000) -> list[Reading]:
        """Give first readings of a mailbox, latest first."""
        bounds = {"p_mailbox": mailbox_id, "p_since": _bound(since), "p_limit": limit}
        rows = tx.rows(_READINGS_OF, p_key=message_key, **bounds) if message_key else tx.rows(_READINGS, **bounds)
        return [Reading(login or "", key or "", trace or "", instant(at)) for login, key, trace, at in rows]

    # ------------------------------------------------------------ links

    def links(self, tx: Transaction, source: str) -> list[Link]:
        """Give all links of a source."""
        return [_link(row) for row in tx.rows(_LINKS, p_source=source)]

    def find_links(self, tx: Transaction, source: str, external_ids: Sequence[str]) -> list[Link]:
        """Give links by external id."""
        return [_link(row) for row in tx.rows_of(_FIND_LINKS, "p_ids", external_ids, p_source=source)]

    def link_of_accounts(self, tx: Transaction, account_ids: Sequence[int]) -> list[Link]:
        """Give the links of accounts, of all sources."""
        return [_link(row) for row in tx.rows_of(_LINKS_OF, "p_accounts", account_ids)]

    def put_links(self, tx: Transaction, links: Sequence[Link]) -> None:
        """Write links in place of those that stand: one DELETE a source, one INSERT."""
        by_source: dict[str, list[str]] = {}
        flat: list[object] = []
        for one in links:
            by_source.setdefault(one.source, []).append(one.external_id)
            if len(one.document) > MAX_DOCUMENT:
                raise ValueError("document too long")
            flat += (one.source, one.external_id, one.account_id, one.mailbox_id, one.digest,
                     storable(one.document, MAX_DOCUMENT), int(one.active), micros(one.seen_at), micros(one.updated_at))
        for source, ids in by_source.items():
            self.drop_links(tx, source, ids)
        _INSERT_LINK.run(tx, flat)

    def drop_links(self, tx: Transaction, source: str, external_ids: Sequence[str]) -> int:
        """Remove links."""
        return tx.change_of(_DROP_LINKS, "p_ids", external_ids, p_source=source)

    def rename_login(self, tx: Transaction, account_id: int, login: str) -> None:
        """Give a login another name. Raises ValueError when it is taken, LookupError when the account is gone."""
        taken = tx.one(_LOGIN_TAKEN, p_login=login.lower())
        if taken is not None and taken[0] != account_id:
            raise ValueError(f"{login.lower()} exists")
        if tx.change(_RENAME, p_account=account_id, p_login=login.lower()) == 0:
            raise LookupError("account is gone")


def _bound(at: datetime | None) -> int:
    return 0 if at is None else micros(at)


def _unbound(value: int) -> datetime | None:
    return instant(value) if value else None


def _delegation(row: Sequence[Any]) -> Delegation:
    account_id, login, mailbox_id, address, position, rights, since, until, granted_by = row
    held = frozenset(Right(word) for word in rights.split(",") if word in _WORDS)
    return Delegation(account_id, login, mailbox_id, address, position == 0, held, _unbound(since), _unbound(until), granted_by)


def _alias(row: Sequence[Any]) -> Alias:
    address, mailbox_id, box, created_at, until = row
    return Alias(address, mailbox_id, box, instant(created_at), _unbound(until))


def _link(row: Sequence[Any]) -> Link:
    source, external_id, account_id, mailbox_id, digest, document, active, *times = row
    seen_at, updated_at = map(instant, times)
    return Link(source, external_id, account_id, mailbox_id, digest, document, bool(active), seen_at, updated_at)
