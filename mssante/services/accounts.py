"""Who may log in: argon2 application passwords, checked off the event loop, with guessing slowed down.

- An unknown login costs the same work as a wrong password (no user oracle).
- Failures delay the answer, doubling per address and login up to 10 s; other logins from the same address are not locked
  out (a hospital shares one).
- A password that was just verified is remembered for 5 minutes as a keyed hash in memory: a client that opens ten
  connections does not pay ten argon2.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import Executor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.evidence import Evidence
from mssante.storage.interfaces import Account, Stores, Tx

REMEMBER_SECONDS = 300.0
MAX_REMEMBERED = 10_000
MAX_DELAY_SECONDS = 10.0
FAILURE_WINDOW_SECONDS = 900.0
MAX_PASSWORD = 1024

# RFC 9106 §4 second choice is 64 MiB; 19 MiB and two passes is the OWASP floor, kept since a login burst runs in parallel
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_nobody = _hasher.hash(secrets.token_urlsafe(16))


def hash_secret(password: str) -> str:
    """Give the argon2id form of a password of 1 to 1,024 octets, for storage. Raises InputFault (`COMPTE-MOT-DE-PASSE`)."""
    octets = password.encode("utf-8", "surrogatepass")
    if not 0 < len(octets) <= MAX_PASSWORD:
        raise InputFault(say("mot de passe vide ou trop long", "empty or too long password"), rule="COMPTE-MOT-DE-PASSE",
                         remedy=say(f"de 1 à {MAX_PASSWORD} octets", f"1 to {MAX_PASSWORD} octets"))
    return _hasher.hash(octets)


class Accounts:
    """Checks logins for IMAP and submission."""

    def __init__(self, stores: Stores, executor: Executor, clock: Clock, evidence: Evidence) -> None:
        self._stores = stores
        self._executor = executor
        self._clock = clock
        self._evidence = evidence
        self._key = secrets.token_bytes(32)
        self._remembered: dict[str, tuple[float, bytes, str]] = {}
        self._failures: dict[tuple[str, str], tuple[float, int]] = {}

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        """Give the account, or None after a delay. peer: `address:port`; protocol: `imap` or `submission`."""
        login = login.strip().lower()[:254]
        address = peer.rpartition(":")[0]
        account = await self._stores.database.read(lambda tx: self._find(tx, login))
        if not await self._verified(account, login, password):
            await self._failed(address, login)
            self._evidence.login(login, peer, protocol, accepted=False)
            return None
        self._failures.pop((address, login), None)
        self._evidence.login(login, peer, protocol, accepted=True)
        return account

    def _find(self, tx: Tx, login: str) -> Account | None:
        return self._stores.accounts.account_by_login(tx, login)

    async def _verified(self, account: Account | None, login: str, password: str) -> bool:
        secret_hash = account.secret_hash if account is not None and account.enabled else _nobody
        octets = password.encode("utf-8", "surrogatepass")
        digest = hmac.new(self._key, octets, hashlib.sha256).digest()
        kept = self._remembered.get(login)
        if (kept is not None and kept[0] > self._clock.monotonic() and kept[2] == secret_hash
                and hmac.compare_digest(kept[1], digest)):
            return True
        good = await asyncio.get_running_loop().run_in_executor(self._executor, _check, secret_hash, octets)
        if not good or account is None or not account.enabled:
            return False
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[login] = (self._clock.monotonic() + REMEMBER_SECONDS, digest, secret_hash)
        return True

    async def _failed(self, address: str, login: str) -> None:
        now = self._clock.monotonic()
        if len(self._failures) > MAX_REMEMBERED:
            self._failures = {k: v for k, v in self._failures.items() if now - v[0] < FAILURE_WINDOW_SECONDS}
        since, count = self._failures.get((address, login), (now, 0))
        count = count + 1 if now - since < FAILURE_WINDOW_SECONDS else 1
        self._failures[(address, login)] = (now, count)
        await asyncio.sleep(min(0.5 * 2 ** min(count - 1, 10), MAX_DELAY_SECONDS))  # a thousand failures overflow a float


def _check(secret_hash: str, password: bytes) -> bool:
    if len(password) > MAX_PASSWORD:
        return False
    try:
        return _hasher.verify(secret_hash, password)
    except (VerificationError, InvalidHashError):
        return False
