"""How a citizen comes in to the page: a one-time code, or a signed token of the establishment's portal; and the session that
follows.

- A code is ten characters of chance (50 bits), given to the person by another way (`mssante citizen code`), good once, for
  minutes. No matricule is ever typed, shown or put in a URL.
- A portal token is `v1.PAYLOAD.SIGNATURE` in base64url: JSON `{"ins", "iat", "exp", "jti"}`, HMAC-SHA-256 with the key shared by
  both; it lives five minutes at most and is taken once. The portal authenticated the person: that is its affair.
- A session is 256 bits in a cookie, its SHA-256 in the store, with an end that does not move. A form carries a keyed hash of it.
Never: a code, token, cookie or matricule in a log. Called by `endpoints/citizen_site.py`, `cli/citizen.py`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mssante.clock import Clock
from mssante.model.mailbox import Mailbox, MailboxState
from mssante.storage.citizen import CODE, SESSION, CitizenLogin
from mssante.storage.interfaces import Stores, Tx

ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # nothing that can be taken for another
CODE_LETTERS = 10
PORTAL_LIFE = timedelta(minutes=5)
MAX_TOKEN = 2000
MIN_KEY = 32


@dataclass(frozen=True, slots=True)
class SigninSettings:
    """domain: the citizens'; portal_key: shared with the portal, empty for none; life of a code and of a session."""

    domain: str
    portal_key: bytes = field(default=b"", repr=False)
    code: timedelta = timedelta(minutes=15)
    session: timedelta = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class CitizenVisit:
    """A request with a good session. token: the cookie."""

    token: str
    mailbox: Mailbox
    until: datetime


class CitizenSignin:
    """Codes, portal tokens, sessions."""

    def __init__(self, stores: Stores, clock: Clock, secret: bytes, settings: SigninSettings) -> None:
        """secret: the operator's own."""
        self._stores = stores
        self._clock = clock
        self._forms = hmac.digest(secret, b"forms of the citizens' page", "sha256")
        self._settings = settings
        self._domain = settings.domain
        self._portal_key = settings.portal_key if len(settings.portal_key) >= MIN_KEY else b""

    @property
    def has_portal(self) -> bool:
        """True when tokens of a portal are taken."""
        return bool(self._portal_key)

    async def issue(self, mailbox: Mailbox) -> str:
        """Make a code for the person of a mailbox; shown once, in two groups of five."""
        code = new_code()
        await self._stores.database.write(
            lambda tx: self._stores.citizens.put_login(tx, code_login(code, mailbox.id, self._clock.now(), self._settings.code)))
        return f"{code[:5]}-{code[5:]}"

    async def enter_by_code(self, typed: str) -> str:
        """Take a code: give the cookie of a new session, empty when it opens nothing."""
        code = "".join(one for one in typed[:40].upper() if one.isalnum())
        return await self._enter(_digest(code)) if len(code) == CODE_LETTERS else ""

    async def enter_by_portal(self, token: str) -> str:
        """Take a token of the portal: give the cookie of a new session, empty when it opens nothing."""
        now = self._clock.now()
        address = self._claimed(token, now)
        if not address:
            return ""
        digest = _digest(token)

        def unit(tx: Tx) -> None:
            boxes = self._stores.accounts.mailboxes_by_address(tx, [address])
            if boxes:  # the token is a code that the portal made: kept under its digest, it is taken once
                self._stores.citizens.put_login(tx, CitizenLogin(digest, CODE, boxes[0].id, now, now + PORTAL_LIFE))

        await self._stores.database.write(unit)
        return await self._enter(digest)

    def _claimed(self, token: str, now: datetime) -> str:
        """Give the address that a token of the portal names, empty unless its signature and times are good."""
        version, _, rest = token[:MAX_TOKEN].partition(".")
        payload, _, signature = rest.partition(".")
        if version != "v1" or not self._portal_key or not payload.isascii() or not signature.isascii():
            return ""
        wanted = hmac.digest(self._portal_key, f"v1.{payload}".encode(), "sha256")
        try:
            if not hmac.compare_digest(wanted, _octets(signature)):
                return ""
            claims = json.loads(_octets(payload))
            begun, end = (datetime.fromtimestamp(float(claims[name]), UTC) for name in ("iat", "exp"))
            matricule, unique = str(claims["ins"]), str(claims["jti"])
        except (ValueError, KeyError, TypeError, OverflowError, OSError, binascii.Error):
            return ""
        fresh = begun - timedelta(minutes=1) <= now < end <= begun + PORTAL_LIFE
        return f"{matricule.lower()}@{self._domain}" if fresh and unique and matricule.isalnum() else ""

    async def _enter(self, digest: str) -> str:
        now, token = self._clock.now(), secrets.token_urlsafe(32)

        def unit(tx: Tx) -> bool:
            found = self._stores.citizens.use_code(tx, digest, now)
            if found is None or self._box(tx, found.mailbox_id) is None:
                return False
            self._stores.citizens.put_login(
                tx, CitizenLogin(_digest(token), SESSION, found.mailbox_id, now, now + self._settings.session))
            return True

        return token if await self._stores.database.write(unit) else ""

    def _box(self, tx: Tx, mailbox_id: int) -> Mailbox | None:
        boxes = self._stores.accounts.mailboxes_by_id(tx, [mailbox_id])
        good = boxes and boxes[0].state is MailboxState.ACTIVE and boxes[0].address.endswith(f"@{self._domain}")
        return boxes[0] if good else None

    async def find(self, token: str) -> CitizenVisit | None:
        """Give the visit of a cookie, None when its session is over, never was, or its mailbox is no longer open."""
        if not 0 < len(token) <= 100:
            return None
        now = self._clock.now()

        def unit(tx: Tx) -> CitizenVisit | None:
            found = self._stores.citizens.session(tx, _digest(token), now)
            box = self._box(tx, found.mailbox_id) if found is not None else None
            return CitizenVisit(token, box, found.until) if found is not None and box is not None else None

        return await self._stores.database.read(unit, quick=True)

    async def leave(self, token: str) -> None:
        """End a session."""
        await self._stores.database.write(lambda tx: self._stores.citizens.end_session(tx, _digest(token)))

    def form_token(self, cookie: str) -> str:
        """Give what a form shown under a cookie must carry."""
        return hmac.new(self._forms, cookie.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()

    def form_is_ours(self, cookie: str, token: str) -> bool:
        """Whether a form carries the token of its cookie."""
        return bool(cookie) and hmac.compare_digest(self.form_token(cookie).encode(), token.encode("utf-8", "surrogatepass"))


def new_code() -> str:
    """Give ten characters of chance."""
    return "".join(secrets.choice(ALPHABET) for _ in range(CODE_LETTERS))


def code_login(code: str, mailbox_id: int, now: datetime, life: timedelta) -> CitizenLogin:
    """Give what is kept of a code."""
    return CitizenLogin(_digest(code), CODE, mailbox_id, now, now + life)


def portal_token(key: bytes, matricule: str, now: datetime, *, unique: str) -> str:
    """Give a token as a portal makes it: the reference for those who write one, and for tests."""
    claims = {"ins": matricule, "iat": int(now.timestamp()), "exp": int((now + PORTAL_LIFE).timestamp()), "jti": unique}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    signature = base64.urlsafe_b64encode(hmac.digest(key, f"v1.{payload}".encode(), "sha256")).rstrip(b"=").decode()
    return f"v1.{payload}.{signature}"


def _octets(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
