"""Sessions of the web account: who is there, how strongly, until when.

- The cookie is 256 bits of chance; the store keeps its SHA-256. A session ends when unused for `idle`, at its absolute end, when
  the account is disabled, when its main password changes, or when somebody ends it.
- `strong_at` says when a second factor was last proven. An account that has one gets nothing but the second step before. Each
  step gives a new cookie and voids the old one (no session fixation).
- A form is answered only with the token of its session: a keyed hash of the cookie, useless elsewhere.
Sessions begun and ended by hand are journalled (`account_changed`). Called by `endpoints/account_*.py`, `cli/account_apps.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mssante.clock import Clock
from mssante.model.journal import JournalEvent, JournalKind
from mssante.storage.credentials import WebSession
from mssante.storage.interfaces import Account, Stores, Tx

MAX_SESSIONS = 20  # of one account
PENDING = timedelta(minutes=5)  # for the second step
TOUCH = timedelta(minutes=1)  # a use is written so often
MAX_COOKIE = 100


@dataclass(frozen=True, slots=True)
class SessionTimes:
    """How long sessions live. fresh: how long a proof counts for risky acts."""

    idle: timedelta = timedelta(minutes=30)
    absolute: timedelta = timedelta(hours=12)
    fresh: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with a good session. token: the cookie; factors: the account has a second factor."""

    token: str
    session: WebSession
    account: Account
    factors: bool

    @property
    def pending(self) -> bool:
        """Only the password was proven, and a second factor is to come."""
        return self.factors and self.session.strong_at is None

    def proven_since(self, when: datetime) -> bool:
        """Whether everything that the account has was proven after an instant: the factor, the password when there is none."""
        at = self.session.strong_at if self.factors else self.session.created_at
        return at is not None and at >= when


class WebSessions:
    """The sessions of all accounts."""

    def __init__(self, stores: Stores, clock: Clock, secret: bytes, times: SessionTimes) -> None:
        """secret: the operator's own."""
        self._stores = stores
        self._clock = clock
        self._forms = hmac.digest(secret, b"forms of the web account", "sha256")
        self._mark = hmac.digest(secret, b"password under a session", "sha256")
        self.times = times

    # ------------------------------------------------------------------------------------------ forms

    def form_token(self, cookie: str) -> str:
        """Give what a form shown under a cookie must carry."""
        return hmac.new(self._forms, cookie.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def form_is_ours(self, cookie: str, token: str) -> bool:
        """Whether a form carries the token of its cookie."""
        return bool(cookie) and hmac.compare_digest(self.form_token(cookie).encode(), token.encode("utf-8", "surrogatepass"))

    # ------------------------------------------------------------------------------------------ living

    async def start(self, account: Account, method: str, *, strong: bool, former: str = "") -> str:
        """Begin a session and give its cookie. method: one word (`password`, `passkey`, `psc`…); strong: two factors were proven;
        former: the cookie that this one replaces."""
        now, token = self._clock.now(), secrets.token_urlsafe(32)
        session = WebSession(_hash(token), account.id, f"{method}:{self._password_mark(account)}", now, now,
                             now + self.times.absolute, now if strong else None)

        def unit(tx: Tx) -> None:
            if former:
                self._stores.credentials.remove_session(tx, account.id, _hash(former))
            self._stores.credentials.put_session(tx, session, limit=MAX_SESSIONS)
            self._tell(tx, account.login, "web_session_begun", {"method": method, "strong": strong})

        await self._stores.database.write(unit)
        return token

    async def find(self, token: str) -> Visit | None:
        """Give the visit of a cookie, None when its session is over or never was."""
        if not 0 < len(token) <= MAX_COOKIE:
            return None
        found = await self._stores.database.read(lambda tx: self._find(tx, _hash(token)), quick=True)
        if found is None:
            return None
        session, account, factors = found
        now, visit = self._clock.now(), Visit(token, session, account, factors)
        idle = PENDING if visit.pending else self.times.idle
        since = session.created_at if visit.pending else session.seen_at
        good = account.enabled and session.method.partition(":")[2] == self._password_mark(account)
        if not good or now >= session.expires_at or now - since >= idle:
            await self._stores.database.write(
                lambda tx: self._stores.credentials.remove_session(tx, account.id, session.token_hash))
            return None
        if now - session.seen_at >= TOUCH:
            await self._stores.database.write(lambda tx: self._stores.credentials.touch_session(tx, session.token_hash, now))
        return visit

    def _find(self, tx: Tx, token_hash: str) -> tuple[WebSession, Account, bool] | None:
        found = self._stores.credentials.session(tx, token_hash)
        account = self._stores.accounts.account_by_login(tx, found[1]) if found is not None else None
        if found is None or account is None or account.id != found[0].account_id:
            return None
        return found[0], account, self._stores.credentials.has_factors(tx, account.id)

    async def strengthen(self, visit: Visit, method: str) -> str:
        """A factor was proven in this session: give the cookie that replaces it. Its absolute end does not move."""
        now, token = self._clock.now(), secrets.token_urlsafe(32)
        session = replace(visit.session, token_hash=_hash(token), strong_at=now, seen_at=now,
                          method=f"{method}:{self._password_mark(visit.account)}")

        def unit(tx: Tx) -> bool:
            if not self._stores.credentials.remove_session(tx, visit.account.id, visit.session.token_hash):
                return False  # ended meanwhile: it must not come back
            self._stores.credentials.put_session(tx, session, limit=MAX_SESSIONS)
            self._tell(tx, visit.account.login, "web_session_proven", {"method": method})
            return True

        return token if await self._stores.database.write(unit) else ""

    def is_fresh(self, visit: Visit) -> bool:
        """Whether risky acts need no new proof."""
        return visit.proven_since(self._clock.now() - self.times.fresh)

    # ------------------------------------------------------------------------------------------ ending

    async def of(self, account_id: int) -> list[WebSession]:
        """Give the sessions of an account, oldest first."""
        return await self._stores.database.read(lambda tx: self._stores.credentials.sessions(tx, account_id))

    async def end(self, account: Account, name: str) -> bool:
        """End a session by the beginning of its hash; False when this account has none."""
        def unit(tx: Tx) -> bool:
            done = self._stores.credentials.remove_session(tx, account.id, name)
            if done:
                self._tell(tx, account.login, "web_session_ended", {})
            return done

        return await self._stores.database.write(unit)

    async def end_others(self, account: Account, keep: str = "", *, by: str = "") -> int:
        """End all sessions of an account but the one of this cookie."""
        def unit(tx: Tx) -> int:
            gone = self._stores.credentials.remove_sessions(tx, account.id, _hash(keep) if keep else "")
            self._tell(tx, account.login, "web_sessions_ended", {"count": gone, **({"by": by} if by else {})})
            return gone

        return await self._stores.database.write(unit)

    async def purge(self) -> int:
        """Forget sessions that are over; give how many they were."""
        now = self._clock.now()
        return await self._stores.database.write(
            lambda tx: self._stores.credentials.purge(tx, now, now - self.times.idle))

    def _password_mark(self, account: Account) -> str:
        """Give a word that changes with the main password."""
        return hmac.new(self._mark, account.secret_hash.encode(), hashlib.sha256).hexdigest()[:16]

    def _tell(self, tx: Tx, login: str, action: str, more: dict[str, str | int | bool]) -> None:
        self._stores.journal.append(tx, [JournalEvent(JournalKind.ACCOUNT_CHANGED, self._clock.now(), "", login,
                                                     {"action": action, **more})])


def session_name(session: WebSession) -> str:
    """Give the short name of a session, with which it can be ended: it opens nothing."""
    return session.token_hash[:16]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
