"""Who may log in: application passwords, SCRAM proofs, certificates and tokens, with guessing slowed down.

- Passwords are kept as argon2id, checked off the event loop, and as a SCRAM verifier (RFC 5803) when SASLprep allows it.
- An unknown login costs the same work as a wrong password, and gets a SCRAM salt of its own, always the same (no user oracle).
- Failures delay the answer, doubling per address and login up to 10 s. Past a high ceiling of failures of one address (a hospital
  shares one), or of one login from everywhere, logins that never succeeded from that address wait before the check as well. A
  correct password is late at worst, never refused; from a place where it was used before, it is not even late.
- A password that was just verified is remembered for 5 minutes as a keyed hash in memory: a client that opens ten
  connections does not pay ten argon2. The account itself is remembered for 2 seconds, and only ever to accept: before a
  refusal the store is read, so that a new password works at once; a disabled account is refused within these 2 seconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.observability.metrics import LIMITS
from mssante.protocol.sasl.base import TokenClaim, TokenRefusal, Verifier
from mssante.protocol.sasl.scram import derive, read_verifier, write_verifier
from mssante.services.evidence import Evidence
from mssante.services.sasl import Caller, TokenChecker
from mssante.services.throttle import MAX_KEYS, Window
from mssante.storage.interfaces import Account, Stores, Tx

REMEMBER_SECONDS = 300.0
ACCOUNT_SECONDS = 2.0
MAX_REMEMBERED = 10_000
MAX_DELAY_SECONDS = 10.0
FAILURE_WINDOW_SECONDS = 900.0
ADDRESS_FAILURES = 300  # in the window, from one address: whole wards mistype theirs, nobody this often
LOGIN_FAILURES = 50  # in the window, of one login, from everywhere
MAX_PASSWORD = 1024
ITERATIONS = 10_000  # of SCRAM: RFC 7677 §4 asks for 4,096 at least; 10,000 cost a client some 5 ms
SALT_OCTETS = 16

# RFC 9106 §4 second choice is 64 MiB; 19 MiB and two passes is the OWASP floor, kept since a login burst runs in parallel
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_nobody = _hasher.hash(secrets.token_urlsafe(16))


@dataclass(frozen=True, slots=True)
class Secrets:
    """The stored forms of a password. scram is empty when SASLprep refuses the password."""

    secret_hash: str = field(repr=False)
    scram: str = field(repr=False)


def hash_secret(password: str) -> str:
    """Give the argon2id form of a password of 1 to 1,024 octets, for storage. Raises InputFault (`COMPTE-MOT-DE-PASSE`)."""
    octets = password.encode("utf-8", "surrogatepass")
    if not 0 < len(octets) <= MAX_PASSWORD:
        raise InputFault(say("mot de passe vide ou trop long", "empty or too long password"), rule="COMPTE-MOT-DE-PASSE",
                         remedy=say(f"de 1 à {MAX_PASSWORD} octets", f"1 to {MAX_PASSWORD} octets"))
    return _hasher.hash(octets)


def make_secrets(password: str) -> Secrets:
    """Give both stored forms of a password. Takes some 30 ms: call it off the event loop. Raises InputFault as `hash_secret`."""
    secret_hash = hash_secret(password)
    verifier = derive(password, secrets.token_bytes(SALT_OCTETS), ITERATIONS)
    return Secrets(secret_hash, write_verifier(verifier) if verifier else "")


class Accounts:
    """Checks logins for IMAP and submission (`services.sasl.LoginDesk`)."""

    def __init__(self, stores: Stores, executor: Executor, clock: Clock, evidence: Evidence, *,
                 salt_key: bytes = b"", checker: TokenChecker | None = None) -> None:
        """salt_key: secret of this operator for the salts of logins without verifier, random when empty (an unknown login would
        then have another salt after a restart); checker: of bearer tokens."""
        self._stores = stores
        self._executor = executor
        self._clock = clock
        self._evidence = evidence
        self._key = secrets.token_bytes(32)
        self._salt_key = salt_key or self._key
        self._checker = checker
        self._remembered: dict[str, tuple[float, bytes, str]] = {}
        self._accounts: dict[str, tuple[float, Account]] = {}
        self._failures: dict[tuple[str, str], tuple[float, int]] = {}
        self._places: dict[tuple[str, str], None] = {}  # where each login succeeded, oldest first
        self._by_address = Window(FAILURE_WINDOW_SECONDS)
        self._by_login = Window(FAILURE_WINDOW_SECONDS)
        self.listeners: list[Callable[[Account, Caller], None]] = []  # told of each login that succeeded, in memory only

    @property
    def takes_tokens(self) -> bool:
        """Bearer tokens can be checked."""
        return self._checker is not None

    # ------------------------------------------------------------------------------------------ ways to log in

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        """Give the account, or None after a delay. peer: `address:port`; protocol: `imap` or `submission`."""
        login, caller = _key_of(login), Caller(peer, protocol)
        octets = password.encode("utf-8", "surrogatepass")
        digest = hmac.new(self._key, octets, hashlib.sha256).digest()  # hmac.digest would let the interpreter lock go
        held = self._held(login)
        if held is not None and self._remembers(held, login, digest):
            return self._accept(held, caller)
        await self._slow_down(login, caller)
        account = await self._read(login)
        if account is not None and account.enabled and self._remembers(account, login, digest):
            return self._accept(account, caller)
        secret_hash = account.secret_hash if account is not None and account.enabled else _nobody
        good = await asyncio.get_running_loop().run_in_executor(self._executor, _check, secret_hash, octets)
        if not good or account is None or not account.enabled:
            await self._refuse(login, caller)
            return None
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[login] = (self._clock.monotonic() + REMEMBER_SECONDS, digest, secret_hash)
        return self._accept(account, caller)

    async def verifier(self, login: str, caller: Caller) -> Verifier:
        """Give the SCRAM verifier of a login, or one that fits no password, the same at each call (no user oracle)."""
        login = _key_of(login)
        await self._slow_down(login, caller)
        account = await self._read(login)
        kept = read_verifier(account.scram) if account is not None and account.enabled else None
        if kept is not None:
            return kept
        salt = hmac.digest(self._salt_key, b"salt " + login.encode("utf-8", "surrogatepass"), "sha256")[:SALT_OCTETS]
        return Verifier(ITERATIONS, salt, secrets.token_bytes(32), secrets.token_bytes(32))

    async def proved(self, login: str, caller: Caller, *, verifier: str = "") -> Account | None:
        """The identity is proven (SCRAM, certificate): give the account if it may log in.

        verifier: the one that proved it; when the password was changed since, the proof is void.
        """
        login = _key_of(login)
        account = await self._read(login)
        if account is None or not account.enabled or (verifier and not hmac.compare_digest(account.scram, verifier)):
            await self._refuse(login, caller)
            return None
        return self._accept(account, caller)

    async def disproved(self, login: str, caller: Caller) -> None:
        """A proof was wrong: a failed login, with its delay."""
        await self._refuse(_key_of(login), caller)

    async def token(self, claim: TokenClaim, caller: Caller) -> Account | TokenRefusal:
        """Check a bearer token; its login must have an account that may log in."""
        found: str | TokenRefusal = TokenRefusal()
        if self._checker is not None and claim.token:
            found = await self._checker.check(claim, caller)
        if isinstance(found, TokenRefusal):
            return found  # counted when the client has acknowledged it: `disproved`
        account = await self._read(_key_of(found))
        return self._accept(account, caller) if account is not None and account.enabled else TokenRefusal()

    # ------------------------------------------------------------------------------------------ memory

    def _held(self, login: str) -> Account | None:
        kept = self._accounts.get(login)
        return kept[1] if kept is not None and kept[0] > self._clock.monotonic() and kept[1].enabled else None

    async def _read(self, login: str) -> Account | None:
        """Read the account now."""
        account = await self._stores.database.read(lambda tx: self._find(tx, login), quick=True)
        if len(self._accounts) >= MAX_REMEMBERED:
            self._accounts.clear()
        if account is None:
            self._accounts.pop(login, None)
        else:
            self._accounts[login] = (self._clock.monotonic() + ACCOUNT_SECONDS, account)
        return account

    def _find(self, tx: Tx, login: str) -> Account | None:
        return self._stores.accounts.account_by_login(tx, login)

    def _remembers(self, account: Account, login: str, digest: bytes) -> bool:
        """This password was verified a short while ago, against what is stored now."""
        kept = self._remembered.get(login)
        return (kept is not None and kept[0] > self._clock.monotonic() and kept[2] == account.secret_hash
                and hmac.compare_digest(kept[1], digest))

    # ------------------------------------------------------------------------------------------ outcome

    def _accept(self, account: Account, caller: Caller) -> Account:
        place = (_address(caller), account.login)
        self._failures.pop(place, None)
        if place in self._places:
            del self._places[place]  # it comes back at the end
        elif len(self._places) >= MAX_KEYS:
            del self._places[next(iter(self._places))]
        self._places[place] = None
        self._evidence.login(account.login, caller.peer, caller.protocol, accepted=True)
        for listener in self.listeners:
            listener(account, caller)
        return account

    async def _refuse(self, login: str, caller: Caller) -> None:
        """Count a failure, wait, journal it."""
        address, now = _address(caller), self._clock.monotonic()
        self._by_address.add(address, now)
        self._by_login.add(login, now)
        if len(self._failures) > MAX_REMEMBERED:
            self._failures = {k: v for k, v in self._failures.items() if now - v[0] < FAILURE_WINDOW_SECONDS}
        since, count = self._failures.get((address, login), (now, 0))
        count = count + 1 if now - since < FAILURE_WINDOW_SECONDS else 1
        self._failures[(address, login)] = (now, count)
        await asyncio.sleep(_delay(count - 1))
        self._evidence.login(login, caller.peer, caller.protocol, accepted=False)

    async def _slow_down(self, login: str, caller: Caller) -> None:
        """Wait before the check when address or login failed past their ceiling, unless the login succeeded from here before."""
        address, now = _address(caller), self._clock.monotonic()
        if (address, login) in self._places:
            return
        beyond = max(_beyond(self._by_address.count(address, now), ADDRESS_FAILURES),
                     _beyond(self._by_login.count(login, now), LOGIN_FAILURES))
        if beyond > 0:
            LIMITS.labels("login_delayed").inc()
            await asyncio.sleep(_delay(beyond - 1))


def _key_of(login: str) -> str:
    return login.strip().lower()[:254]


def _address(caller: Caller) -> str:
    return caller.peer.rpartition(":")[0]


def _beyond(count: float, ceiling: int) -> int:
    """How many tenths of the ceiling a count is above it: each doubles the delay."""
    return int((count - ceiling) * 10 / ceiling) + 1 if count >= ceiling else 0


def _delay(doublings: int) -> float:
    return float(min(0.5 * 2 ** min(doublings, 10), MAX_DELAY_SECONDS))  # a thousand failures would overflow a float


def _check(secret_hash: str, password: bytes) -> bool:
    if len(password) > MAX_PASSWORD:
        return False
    try:
        return _hasher.verify(secret_hash, password)
    except (VerificationError, InvalidHashError):
        return False
