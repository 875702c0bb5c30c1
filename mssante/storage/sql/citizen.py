"""Exchanges with citizens and logins of their page (tables citizen_exchange, citizen_message, citizen_login)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from mssante.storage.citizen import CODE, SESSION, CitizenExchange, CitizenLogin, CitizenMessage, Closing
from mssante.storage.sql.tables_documents import citizen_exchange, citizen_login, citizen_message
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_REFERENCE = 1000
MAX_CONTACT = 254

_E, _M, _L = citizen_exchange.c, citizen_message.c, citizen_login.c
_EXCHANGE = ["mailbox_id", "citizen", "thread", "contact", "opened_at", "last_at", "closed_at", "closed_by", "sent", "received"]
_MESSAGE = ["mailbox_id", "reference", "citizen", "thread", "trace_id", "at", "cause"]
_LOGIN = ["digest", "kind", "mailbox_id", "created_at", "until", "used_at"]
_ADD_EXCHANGE = InsertRows(citizen_exchange, _EXCHANGE, ignore="mailbox_id, citizen, thread")
_ADD_MESSAGE = InsertRows(citizen_message, _MESSAGE, ignore="mailbox_id, reference")
_ADD_LOGIN = InsertRows(citizen_login, _LOGIN, ignore="digest")

_OF_BOX = _E.mailbox_id == bindparam("p_mailbox")
_KNOWN = Statement(select(_M.reference).where(_M.mailbox_id == bindparam("p_mailbox"), _M.reference == bindparam("p_reference")))
_GROWN = Statement(update(citizen_exchange).where(_OF_BOX, _E.citizen == bindparam("p_citizen"),
                                                  _E.thread == bindparam("p_thread")).values(
    sent=_E.sent + bindparam("p_sent"), received=_E.received + bindparam("p_received"), last_at=bindparam("p_at")))
_OPENED = Statement(update(citizen_exchange).where(_OF_BOX, _E.citizen == bindparam("p_citizen"),
                                                   _E.thread == bindparam("p_thread")).values(
    contact=bindparam("p_contact"), closed_at=0, closed_by=""))
_CLOSING: dict[str, Any] = {"closed_at": bindparam("p_at"), "closed_by": bindparam("p_by")}
_OPEN_NOW = (_OF_BOX, _E.closed_at == 0)
_CLOSE_THREADS = Statement(update(citizen_exchange).where(
    *_OPEN_NOW, _E.thread.in_(bindparam("p_threads", expanding=True))).values(**_CLOSING))
_CLOSE_CITIZEN = Statement(update(citizen_exchange).where(*_OPEN_NOW, _E.citizen == bindparam("p_citizen")).values(**_CLOSING))
_CLOSE_CONTACTS = Statement(update(citizen_exchange).where(
    *_OPEN_NOW, _E.contact.in_(bindparam("p_contacts", expanding=True))).values(**_CLOSING))
_FIND = Statement(select(*[_M[name] for name in _MESSAGE]).where(
    _M.mailbox_id == bindparam("p_mailbox"), _M.reference.in_(bindparam("p_references", expanding=True))).order_by(_M.at.desc()))


def _list(*also: Any) -> Statement:
    return Statement(select(*[_E[name] for name in _EXCHANGE]).where(_OF_BOX, *also).order_by(
        _E.last_at.desc(), _E.thread).limit(bindparam("p_limit")))


_ALL = _list()
_WITH_CITIZEN = _list(_E.citizen == bindparam("p_citizen"))
_WITH_CONTACT = _list(_E.contact == bindparam("p_contact"))
_CAUSE = Statement(update(citizen_message).where(
    _M.mailbox_id == bindparam("p_mailbox"), _M.reference == bindparam("p_reference"), _M.cause == "").values(
    cause=bindparam("p_cause")))
_OLD_MESSAGES = Statement(delete(citizen_message).where(_M.thread.in_(
    select(_E.thread).where(_E.last_at < bindparam("p_before"), _E.mailbox_id == _M.mailbox_id))))
_OLD_EXCHANGES = Statement(delete(citizen_exchange).where(_E.last_at < bindparam("p_before")))
_OLD_LOGINS = Statement(delete(citizen_login).where(_L.until < bindparam("p_before")))
_USE = Statement(update(citizen_login).where(
    _L.digest == bindparam("p_digest"), _L.kind == CODE, _L.used_at == 0, _L.until > bindparam("p_now")).values(
    used_at=bindparam("p_now")))
_LOOK = Statement(select(*[_L[name] for name in _LOGIN]).where(_L.digest == bindparam("p_digest"),
                                                               _L.kind == bindparam("p_kind")))
_END = Statement(delete(citizen_login).where(_L.digest == bindparam("p_digest"), _L.kind == SESSION))


class SqlCitizenStore:
    """`mssante.storage.citizen.CitizenStore`."""

    def record(self, tx: Transaction, message: CitizenMessage, *, contact: str, outgoing: bool) -> bool:
        """Note a message and its exchange; False when it is known."""
        reference, thread = storable(message.reference, MAX_REFERENCE), storable(message.thread, MAX_REFERENCE)
        if tx.one(_KNOWN, p_mailbox=message.mailbox_id, p_reference=reference) is not None:
            return False
        at, contact = micros(message.at), storable(contact, MAX_CONTACT)
        _ADD_EXCHANGE.run(tx, [message.mailbox_id, message.citizen, thread, contact, at, at, 0, "", 0, 0])
        given = {"p_mailbox": message.mailbox_id, "p_citizen": message.citizen, "p_thread": thread}
        tx.change(_GROWN, **given, p_sent=int(outgoing), p_received=int(not outgoing), p_at=at)
        if contact:
            tx.change(_OPENED, **given, p_contact=contact)
        _ADD_MESSAGE.run(tx, [message.mailbox_id, reference, message.citizen, thread, message.trace_id, at, message.cause])
        return True

    def close(self, tx: Transaction, mailbox_id: int, closing: Closing) -> int:
        """Close open exchanges; give how many."""
        given = {"p_mailbox": mailbox_id, "p_at": micros(closing.at), "p_by": closing.by}
        threads = [storable(one, MAX_REFERENCE) for one in closing.threads]
        done = tx.change_of(_CLOSE_THREADS, "p_threads", threads, **given)
        done += tx.change_of(_CLOSE_CONTACTS, "p_contacts", list(closing.contacts), **given)
        return done + (tx.change(_CLOSE_CITIZEN, p_citizen=closing.citizen, **given) if closing.citizen else 0)

    def messages(self, tx: Transaction, mailbox_id: int, references: Sequence[str]) -> list[CitizenMessage]:
        """Give known messages, latest first."""
        if not references:
            return []
        wanted = [storable(one, MAX_REFERENCE) for one in references]
        return [CitizenMessage(row[0], row[1], row[2], row[3], row[4], instant(row[5]), row[6])
                for row in tx.rows_of(_FIND, "p_references", wanted, p_mailbox=mailbox_id)]

    def exchanges(self, tx: Transaction, mailbox_id: int, *, citizen: str = "", contact: str = "", limit: int = 500,
                  ) -> list[CitizenExchange]:
        """Give exchanges, latest first."""
        if citizen:
            rows = tx.rows(_WITH_CITIZEN, p_mailbox=mailbox_id, p_citizen=citizen, p_limit=limit)
        elif contact:
            rows = tx.rows(_WITH_CONTACT, p_mailbox=mailbox_id, p_contact=contact, p_limit=limit)
        else:
            rows = tx.rows(_ALL, p_mailbox=mailbox_id, p_limit=limit)
        return [CitizenExchange(row[0], row[1], row[2], row[3], instant(row[4]), instant(row[5]),
                                instant(row[6]) if row[6] else None, row[7], row[8], row[9]) for row in rows]

    def came_back(self, tx: Transaction, mailbox_id: int, reference: str, cause: str) -> bool:
        """Note why a message came back, once."""
        return tx.change(_CAUSE, p_mailbox=mailbox_id, p_reference=storable(reference, MAX_REFERENCE), p_cause=cause) > 0

    def forget(self, tx: Transaction, before: datetime) -> int:
        """Delete what is old."""
        given = {"p_before": micros(before)}
        tx.change(_OLD_MESSAGES, **given)
        tx.change(_OLD_LOGINS, **given)
        return tx.change(_OLD_EXCHANGES, **given)

    def put_login(self, tx: Transaction, login: CitizenLogin) -> None:
        """Keep a code or a session."""
        _ADD_LOGIN.run(tx, [login.digest, login.kind, login.mailbox_id, micros(login.created_at), micros(login.until),
                            micros(login.used_at) if login.used_at else 0])

    def use_code(self, tx: Transaction, digest: str, now: datetime) -> CitizenLogin | None:
        """Take a code once."""
        if tx.change(_USE, p_digest=digest, p_now=micros(now)) == 0:
            return None
        return self._login(tx, digest, CODE)

    def session(self, tx: Transaction, digest: str, now: datetime) -> CitizenLogin | None:
        """Give a running session."""
        found = self._login(tx, digest, SESSION)
        return found if found is not None and found.until > now else None

    def end_session(self, tx: Transaction, digest: str) -> None:
        """End a session."""
        tx.change(_END, p_digest=digest)

    def _login(self, tx: Transaction, digest: str, kind: str) -> CitizenLogin | None:
        row = tx.one(_LOOK, p_digest=digest, p_kind=kind)
        if row is None:
            return None
        return CitizenLogin(row[0], row[1], row[2], instant(row[3]), instant(row[4]), instant(row[5]) if row[5] else None)
