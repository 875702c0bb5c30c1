"""App passwords: one generated password for one program, that opens only what it is for.

- Written `abcd-efgh-…`, 24 letters and digits without those that look alike: the first eight are the handle, public, found
  among the account's without trying every hash; the other sixteen are 79 bits of chance. Spaces, dashes and case do not matter
  where a password is sent as such; SCRAM needs the text as it was shown, and the login `address/handle`.
- Shown once; kept as argon2id and as a SCRAM verifier. Never good on the web: who holds one cannot make another one.
- Made in a web session whose second factor was just proven, or by the administrator. Revoked: refused from the next login on, and
  within `accounts.ACCOUNT_SECONDS` when another process did it.
Called by `services.accounts` (which one a login means), `endpoints/account_apps.py` and `cli/account_apps.py`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.services.accounts import Accounts, make_secrets
from mssante.services.appshape import ALPHABET, GROUP, HANDLE, LENGTH
from mssante.storage.credentials import MAX_LABEL, AppPassword
from mssante.storage.interfaces import Account, Stores, Tx

SCOPES = ("imap", "submission", "managesieve", "ldap", "carddav")
MAX_APP_PASSWORDS = 20
MAX_DAYS = 3660


@dataclass(frozen=True, slots=True)
class NewAppPassword:
    """What was made. password: shown once, kept nowhere."""

    stored: AppPassword
    password: str = field(repr=False)


def checked_label(text: str) -> str:
    """Give a label of 1 to 100 printable characters. Raises InputFault `COMPTE-LIBELLE`."""
    label = re.sub(r"\s+", " ", text).strip()
    if not label or len(label) > MAX_LABEL or not label.isprintable():
        raise InputFault(say("libellé vide, trop long ou illisible", "empty, too long or unprintable label"),
                         rule="COMPTE-LIBELLE",
                         remedy=say(f"de 1 à {MAX_LABEL} caractères", f"1 to {MAX_LABEL} characters"))
    return label


def checked_scopes(scopes: Collection[str]) -> frozenset[str]:
    """Give what a password is to open. Raises InputFault `COMPTE-PORTEE`."""
    chosen = frozenset(scopes)
    if not chosen or not chosen <= set(SCOPES):
        raise InputFault(say(f"portée inconnue ou absente : {' '.join(sorted(chosen - set(SCOPES)))[:80]}",
                             f"unknown or missing scope: {' '.join(sorted(chosen - set(SCOPES)))[:80]}"),
                         rule="COMPTE-PORTEE", remedy=" | ".join(SCOPES))
    return chosen


class AppPasswords:
    """Makes, lists and revokes app passwords. accounts: the running desk, told at once; None beside a running server."""

    def __init__(self, stores: Stores, clock: Clock, accounts: Accounts | None = None) -> None:
        self._stores = stores
        self._clock = clock
        self._accounts = accounts

    async def create(self, account: Account, label: str, scopes: Collection[str], *, days: int = 0,
                     by: str = "") -> NewAppPassword:
        """Make a password. days: of its life, 0 without end; by: who asks, the account itself when empty.

        Raises InputFault (`COMPTE-LIBELLE`, `COMPTE-PORTEE`, `COMPTE-DUREE`, `COMPTE-MOTS`)."""
        label, chosen = checked_label(label), checked_scopes(scopes)
        if not 0 <= days <= MAX_DAYS:
            raise InputFault(say(f"durée refusée : {days} jours", f"refused life: {days} days"), rule="COMPTE-DUREE",
                             remedy=say(f"de 1 à {MAX_DAYS} jours, 0 sans fin", f"1 to {MAX_DAYS} days, 0 without end"))
        text = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
        password = "-".join(text[at:at + GROUP] for at in range(0, LENGTH, GROUP))
        made = await asyncio.to_thread(make_secrets, password)
        now = self._clock.now()
        wanted = AppPassword(account.id, text[:HANDLE], label, chosen, now, made.secret_hash, made.scram,
                             expires_at=now + timedelta(days=days) if days else None)

        def unit(tx: Tx) -> AppPassword | None:
            stored = self._stores.credentials.add_app_password(tx, wanted, limit=MAX_APP_PASSWORDS)
            if stored is not None:
                self._tell(tx, account.login, "app_password_created", stored.handle, by=by, scopes=" ".join(sorted(chosen)))
            return stored

        stored = await self._stores.database.write(unit)
        if stored is None:
            raise InputFault(say(f"déjà {MAX_APP_PASSWORDS} mots de passe d'application",
                                 f"{MAX_APP_PASSWORDS} app passwords already"),
                             rule="COMPTE-MOTS", remedy=say("révoquez ceux qui ne servent plus",
                                                            "revoke those not used any more"))
        self._forget(account.login)
        return NewAppPassword(stored, password)

    async def list(self, account: Account) -> list[AppPassword]:
        """Give the app passwords of an account, oldest first."""
        return await self._stores.database.read(lambda tx: self._stores.credentials.app_passwords(tx, account.id))

    async def revoke(self, account: Account, handle: str, *, by: str = "") -> bool:
        """Take one away; False when this account has none of that handle."""
        def unit(tx: Tx) -> bool:
            done = self._stores.credentials.remove_app_password(tx, account.id, handle)
            if done:
                self._tell(tx, account.login, "app_password_revoked", handle, by=by)
            return done

        done = await self._stores.database.write(unit)
        self._forget(account.login)
        return done

    async def flush(self) -> None:
        """Write when app passwords were last used. Raises OperatorFault; what was not written is kept."""
        if self._accounts is None or not self._accounts.apps_used:
            return
        used, self._accounts.apps_used = self._accounts.apps_used, {}
        try:
            await self._stores.database.write(lambda tx: self._stores.credentials.touch_app_passwords(tx, used))
        except BaseException:
            self._accounts.apps_used = {**used, **self._accounts.apps_used}
            raise

    def _tell(self, tx: Tx, login: str, action: str, handle: str, **more: str) -> None:
        self._stores.journal.append(tx, [JournalEvent(
            JournalKind.ACCOUNT_CHANGED, self._clock.now(), "", login,
            {"action": action, "handle": handle, **{name: value for name, value in more.items() if value}})])

    def _forget(self, login: str) -> None:
        if self._accounts is not None:
            self._accounts.forget(login)
