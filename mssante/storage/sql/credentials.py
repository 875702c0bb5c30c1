"""App passwords, second factors, web sessions (tables app_password, second_factor, web_session)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, bindparam, delete, func, or_, select, update

from mssante.storage.credentials import MAX_LABEL, AppPassword, SecondFactor, WebSession
from mssante.storage.sql.tables import account
from mssante.storage.sql.tables_people import app_password, second_factor, web_session
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MIN_PREFIX = 16  # characters of a token hash that name a session

_A = app_password.c
_F = second_factor.c
_W = web_session.c
_ACCOUNT: BindParameter[int] = bindparam("p_account")

_APP_NAMES = ["id", "account_id", "handle", "label", "scopes", "secret_hash", "scram", "created_at", "last_used_at", "expires_at"]
_ADD_APP = InsertRows(app_password, _APP_NAMES)
_HANDLE = Statement(select(_A.id).where(_A.handle == bindparam("p_handle")))
_APPS = Statement(select(*[_A[name] for name in _APP_NAMES]).where(_A.account_id == _ACCOUNT).order_by(_A.created_at, _A.id))
_DROP_APP = Statement(delete(app_password).where(_A.account_id == _ACCOUNT, _A.handle == bindparam("p_handle")))
_TOUCH_APP = Statement(update(app_password).where(_A.id == bindparam("p_id"), _A.last_used_at < bindparam("p_now")).values(
    last_used_at=bindparam("p_now")))

_FACTOR_NAMES = ["id", "account_id", "kind", "label", "secret", "counter", "created_at", "last_used_at"]
_ADD_FACTOR = InsertRows(second_factor, _FACTOR_NAMES)
_FACTORS = Statement(select(*[_F[name] for name in _FACTOR_NAMES]).where(_F.account_id == _ACCOUNT).order_by(_F.id))
_HAS = Statement(select(_F.id).where(_F.account_id == _ACCOUNT).limit(1))
_USE = Statement(update(second_factor).where(_F.id == bindparam("p_id"), _F.counter < bindparam("p_counter")).values(
    counter=bindparam("p_counter"), last_used_at=bindparam("p_now")))
_TOUCH_FACTOR = Statement(update(second_factor).where(_F.id == bindparam("p_id")).values(last_used_at=bindparam("p_now")))
_DROP_FACTOR = Statement(delete(second_factor).where(_F.account_id == _ACCOUNT, _F.id == bindparam("p_id")))
_DROP_FACTORS = Statement(delete(second_factor).where(_F.account_id == _ACCOUNT))
_DROP_KIND = Statement(delete(second_factor).where(_F.account_id == _ACCOUNT, _F.kind == bindparam("p_kind")))

_LOGIN = Statement(select(account.c.login).where(account.c.id == _ACCOUNT))

_SESSION_NAMES = ["token_hash", "account_id", "method", "created_at", "seen_at", "strong_at", "expires_at"]
_SESSION_COLUMNS = [_W[name] for name in _SESSION_NAMES]
_ADD_SESSION = InsertRows(web_session, _SESSION_NAMES)
_SESSION = Statement(select(*_SESSION_COLUMNS, account.c.login).select_from(
    web_session.join(account, account.c.id == _W.account_id)).where(_W.token_hash == bindparam("p_hash")))
_SESSIONS = Statement(select(*_SESSION_COLUMNS).where(_W.account_id == _ACCOUNT).order_by(_W.created_at, _W.token_hash))
_TOUCH_SESSION = Statement(update(web_session).where(_W.token_hash == bindparam("p_hash")).values(seen_at=bindparam("p_now")))
_DROP_SESSION = Statement(delete(web_session).where(
    _W.account_id == _ACCOUNT, func.substr(_W.token_hash, 1, bindparam("p_length")) == bindparam("p_hash")))
_DROP_SESSIONS = Statement(delete(web_session).where(_W.account_id == _ACCOUNT, _W.token_hash != bindparam("p_keep")))
_PURGE = Statement(delete(web_session).where(or_(_W.expires_at <= bindparam("p_now"), _W.seen_at < bindparam("p_idle"))))


class SqlCredentialStore:
    """`mssante.storage.credentials.CredentialStore`."""

    def add_app_password(self, tx: Transaction, password: AppPassword, *, limit: int) -> AppPassword | None:
        """Store an app password; None when there are `limit` already or its handle is taken."""
        if len(tx.rows(_APPS, p_account=password.account_id)) >= limit or tx.rows(_HANDLE, p_handle=password.handle):
            return None
        stored = replace(password, id=tx.take_ids(1), label=storable(password.label, MAX_LABEL))
        _ADD_APP.run(tx, [stored.id, stored.account_id, stored.handle, stored.label, " ".join(sorted(stored.scopes)),
                          stored.secret_hash, stored.scram, micros(stored.created_at), _micros(stored.last_used_at),
                          _micros(stored.expires_at)])
        return stored

    def app_passwords(self, tx: Transaction, account_id: int) -> list[AppPassword]:
        """Give the app passwords of an account, oldest first."""
        return [_app(row) for row in tx.rows(_APPS, p_account=account_id)]

    def remove_app_password(self, tx: Transaction, account_id: int, handle: str) -> bool:
        """Take an app password away."""
        return tx.change(_DROP_APP, p_account=account_id, p_handle=handle) > 0

    def touch_app_passwords(self, tx: Transaction, used: Mapping[int, datetime]) -> None:
        """Write when app passwords were last used."""
        for id_, at in used.items():
            tx.change(_TOUCH_APP, p_id=id_, p_now=micros(at))

    def add_factor(self, tx: Transaction, factor: SecondFactor) -> SecondFactor:
        """Store a factor."""
        stored = replace(factor, id=tx.take_ids(1), label=storable(factor.label, MAX_LABEL))
        _ADD_FACTOR.run(tx, [stored.id, stored.account_id, stored.kind, stored.label, stored.secret, stored.counter,
                             micros(stored.created_at), _micros(stored.last_used_at)])
        return stored

    def factors(self, tx: Transaction, account_id: int) -> list[SecondFactor]:
        """Give the factors of an account, oldest first."""
        return [_factor(row) for row in tx.rows(_FACTORS, p_account=account_id)]

    def has_factors(self, tx: Transaction, account_id: int) -> bool:
        """Whether an account has any second factor."""
        return bool(tx.rows(_HAS, p_account=account_id))

    def use_factor(self, tx: Transaction, factor_id: int, counter: int, now: datetime) -> bool:
        """Write a use; False for a counter that is not above the one kept."""
        return tx.change(_USE, p_id=factor_id, p_counter=counter, p_now=micros(now)) > 0

    def touch_factor(self, tx: Transaction, factor_id: int, now: datetime) -> bool:
        """Write a use that counts nothing."""
        return tx.change(_TOUCH_FACTOR, p_id=factor_id, p_now=micros(now)) > 0

    def remove_factor(self, tx: Transaction, account_id: int, factor_id: int) -> bool:
        """Take a factor away."""
        return tx.change(_DROP_FACTOR, p_account=account_id, p_id=factor_id) > 0

    def remove_factors(self, tx: Transaction, account_id: int, kind: str = "") -> int:
        """Take the factors of an account away, of one kind or all."""
        if kind:
            return tx.change(_DROP_KIND, p_account=account_id, p_kind=kind)
        return tx.change(_DROP_FACTORS, p_account=account_id)

    def login_of(self, tx: Transaction, account_id: int) -> str:
        """Give the login of an account."""
        rows = tx.rows(_LOGIN, p_account=account_id)
        return rows[0][0] if rows else ""

    def put_session(self, tx: Transaction, session: WebSession, *, limit: int) -> None:
        """Store a session; the oldest beyond `limit` are ended."""
        held = self.sessions(tx, session.account_id)
        for former in held[:max(0, len(held) + 1 - limit)]:
            self.remove_session(tx, session.account_id, former.token_hash)
        _ADD_SESSION.run(tx, [session.token_hash, session.account_id, storable(session.method, MAX_LABEL),
                              micros(session.created_at), micros(session.seen_at), _micros(session.strong_at),
                              micros(session.expires_at)])

    def session(self, tx: Transaction, token_hash: str) -> tuple[WebSession, str] | None:
        """Give a session and its login."""
        rows = tx.rows(_SESSION, p_hash=token_hash)
        return (_session(rows[0][:-1]), rows[0][-1]) if rows else None

    def sessions(self, tx: Transaction, account_id: int) -> list[WebSession]:
        """Give the sessions of an account, oldest first."""
        return [_session(row) for row in tx.rows(_SESSIONS, p_account=account_id)]

    def touch_session(self, tx: Transaction, token_hash: str, now: datetime) -> None:
        """Write that a session was used."""
        tx.change(_TOUCH_SESSION, p_hash=token_hash, p_now=micros(now))

    def remove_session(self, tx: Transaction, account_id: int, token_hash: str) -> bool:
        """End a session by its hash or the beginning of it."""
        if len(token_hash) < MIN_PREFIX:
            return False
        return tx.change(_DROP_SESSION, p_account=account_id, p_hash=token_hash, p_length=len(token_hash)) > 0

    def remove_sessions(self, tx: Transaction, account_id: int, keep: str = "") -> int:
        """End the sessions of an account but one."""
        return tx.change(_DROP_SESSIONS, p_account=account_id, p_keep=keep)

    def purge(self, tx: Transaction, now: datetime, idle_before: datetime) -> int:
        """Forget sessions that are over."""
        return tx.change(_PURGE, p_now=micros(now), p_idle=micros(idle_before))


def _micros(at: datetime | None) -> int:
    return micros(at) if at is not None else 0


def _instant(value: int) -> datetime | None:
    return instant(value) if value else None


def _app(row: Sequence[Any]) -> AppPassword:
    id_, account_id, handle, label, scopes, secret_hash, scram, created, used, expires = row
    return AppPassword(account_id, handle, label, frozenset(scopes.split()), instant(created), secret_hash, scram,
                       _instant(used), _instant(expires), id_)


def _factor(row: Sequence[Any]) -> SecondFactor:
    id_, account_id, kind, label, secret, counter, created, used = row
    return SecondFactor(account_id, kind, label, bytes(secret), counter, instant(created), _instant(used), id_)


def _session(row: Sequence[Any]) -> WebSession:
    token_hash, account_id, method, created, seen, strong, expires = row
    return WebSession(token_hash, account_id, method, instant(created), instant(seen), instant(expires), _instant(strong))
