"""Who may log in: application passwords, SCRAM proofs, certificates and tokens, with guessing slowed down.

- Passwords are kept as argon2id, checked off the event loop, and as a SCRAM verifier (RFC 5803) when SASLprep allows it.
- An account has a main password and app passwords (`apppasswords`): whichever is meant, one hash is checked, never more. What
  the main password opens is the configuration's to say (`LoginRules`), an app password opens its scopes, and never the web.
- An unknown login costs the same work as a wrong password, and gets a SCRAM salt of its own, always the same (no user oracle).
- Guessing is delayed, then blocked, by address, network and login (`guessing`); from a place where the login was used before it
  is neither late nor blocked.
- A password that was just verified is remembered for 5 minutes as a keyed hash in memory: a client that opens ten
  connections does not pay ten argon2. The account itself is remembered for 2 seconds, and only ever to accept: before a
  refusal the store is read, so that a new password works at once; a disabled account, a revoked app password is refused within
  these 2 seconds (at once when this process did it: `forget`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.sasl.base import TokenClaim, TokenRefusal, Verifier
from mssante.protocol.sasl.scram import derive, read_verifier, write_verifier
from mssante.services.appshape import canonical, split_login
from mssante.services.evidence import Evidence
from mssante.services.guessing import ADDRESS_FAILURES as ADDRESS_FAILURES
from mssante.services.guessing import LOGIN_FAILURES as LOGIN_FAILURES
from mssante.services.guessing import MAX_DELAY_SECONDS as MAX_DELAY_SECONDS
from mssante.services.guessing import Guard, HashGate
from mssante.services.sasl import Accepted, Caller, TokenChecker, TokenGrant, TryLater
from mssante.storage.credentials import AppPassword
from mssante.storage.interfaces import Account, Stores, Tx

REMEMBER_SECONDS = 300.0
ACCOUNT_SECONDS = 2.0
MAX_REMEMBERED = 10_000
MAX_PASSWORD = 1024
ITERATIONS = 10_000  # of SCRAM: RFC 7677 §4 asks for 4,096 at least; 10,000 cost a client some 5 ms
SALT_OCTETS = 16
WEB = "web"

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


@dataclass(frozen=True, slots=True)
class LoginRules:
    """Which protocols main passwords open. main: of accounts without a second factor, None for all; with_factor: of the others.

    The pages of the web account are open to every main password, as the first of two steps when there is a second factor.
    """

    main: frozenset[str] | None = None
    with_factor: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Dossier:
    """What a login is checked against. own: protocols of its main password as its profile has them, empty: as configured."""

    account: Account
    apps: tuple[AppPassword, ...] = ()
    factors: bool = False
    own: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The one hash that a password is checked against. app_id: of an app password, 0 of the main one."""

    secret_hash: str
    octets: bytes
    app_id: int = 0


class Accounts:
    """Checks logins for IMAP and submission (`services.sasl.LoginDesk`), and for every other door."""

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
        self._remembered: dict[tuple[str, bytes], tuple[float, str]] = {}  # oldest first
        self._accounts: dict[str, tuple[float, Dossier]] = {}
        self._guard = Guard(clock)
        self._gate = HashGate(self._guard)
        self.rules = LoginRules()
        self.apps_used: dict[int, datetime] = {}  # by id; flushed by `services.apppasswords`
        self.listeners: list[Callable[[Account, Caller], None]] = []  # told of each login that succeeded, in memory only

    @property
    def takes_tokens(self) -> bool:
        """Bearer tokens can be checked."""
        return self._checker is not None

    # ------------------------------------------------------------------------------------------ ways to log in

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        """Give the account, or None after a delay. peer: `address:port`; protocol: what is to be opened. Raises TryLater."""
        dossier = await self._check_password(login, password, Caller(peer, protocol), page=False)
        return self._accept(dossier.account, Caller(peer, protocol)) if dossier is not None else None

    async def first_step(self, login: str, password: str, caller: Caller) -> Account | None:
        """Check a main password for the pages of the web account: give the account, or None after a delay.

        The login is not over: the caller asks for the second factor if there is one, then says `proved`. Raises TryLater."""
        dossier = await self._check_password(login, password, caller, page=True)
        return dossier.account if dossier is not None else None

    async def _check_password(self, login: str, password: str, caller: Caller, *, page: bool) -> Dossier | None:
        login, handle = split_login(_key_of(login))
        login = login[:254]
        octets = password.encode("utf-8", "surrogatepass")
        digest = hmac.new(self._key, octets, hashlib.sha256).digest()  # hmac.digest would let the interpreter lock go
        claim = _Claim(login, handle, password if len(octets) <= MAX_PASSWORD else "", octets, caller.protocol, page)
        held = self._held(login)
        if held is not None and self._remembers(self._candidate(held, claim), login, digest):
            return held
        known = self._guard.known(login, caller)
        await self._delay(login, caller)
        dossier = await self._read(login)
        candidate = self._candidate(dossier, claim)
        if dossier is not None and self._remembers(candidate, login, digest):
            return dossier
        good = await self._hashed(candidate, caller, known=known, login=login)
        if not good or dossier is None or candidate.secret_hash is _nobody:
            await self._refuse(login, caller, digest)
            return None
        self._remembered.pop((login, digest), None)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[login, digest] = (self._clock.monotonic() + REMEMBER_SECONDS, candidate.secret_hash)
        if candidate.app_id:
            self.apps_used[candidate.app_id] = self._clock.now()
        return dossier

    async def _hashed(self, candidate: _Candidate, caller: Caller, *, known: bool, login: str) -> bool:
        """Do the memory-hard work when it is its turn. Raises TryLater."""
        try:
            async with self._gate.turn(known=known):
                return await asyncio.get_running_loop().run_in_executor(
                    self._executor, _check, candidate.secret_hash, candidate.octets)
        except TryLater:
            self._evidence.login(login, caller.peer, caller.protocol, accepted=False)
            raise

    async def _delay(self, login: str, caller: Caller) -> None:
        try:
            await self._guard.before(login, caller)
        except TryLater:
            self._evidence.login(login, caller.peer, caller.protocol, accepted=False)
            raise

    async def verifier(self, login: str, caller: Caller) -> Verifier:
        """Give the SCRAM verifier of a login (or `address/handle`), or one that fits no password, the same at each call (no user
        oracle). Raises TryLater."""
        login, handle = split_login(_key_of(login))
        await self._delay(login, caller)
        kept = read_verifier(self._scram(await self._read(login), handle, caller.protocol))
        if kept is not None:
            return kept
        name = f"{login}/{handle}" if handle else login
        salt = hmac.digest(self._salt_key, b"salt " + name.encode("utf-8", "surrogatepass"), "sha256")[:SALT_OCTETS]
        return Verifier(ITERATIONS, salt, secrets.token_bytes(32), secrets.token_bytes(32))

    async def proved(self, login: str, caller: Caller, *, verifier: str = "") -> Account | None:
        """The identity is proven (SCRAM, certificate, web): give the account if it may log in.

        verifier: the one that proved it; when the password was changed or revoked since, the proof is void.
        """
        login, handle = split_login(_key_of(login))
        dossier = await self._read(login)
        if dossier is not None and verifier:
            scram = self._scram(dossier, handle, caller.protocol)
            dossier = dossier if scram and hmac.compare_digest(scram, verifier) else None
        if dossier is None or not dossier.account.enabled:
            await self._refuse(login, caller)
            return None
        for app in dossier.apps if verifier and handle else ():
            if app.handle == handle:
                self.apps_used[app.id] = self._clock.now()
        return self._accept(dossier.account, caller)

    async def disproved(self, login: str, caller: Caller) -> None:
        """A proof was wrong: a failed login, with its delay."""
        await self._refuse(split_login(_key_of(login))[0], caller)

    async def token(self, claim: TokenClaim, caller: Caller) -> Account | Accepted | TokenRefusal:
        """Check a bearer token; its login must have an account that may log in. A grant may open another box first."""
        found: str | TokenGrant | TokenRefusal = TokenRefusal()
        if self._checker is not None and claim.token:
            found = await self._checker.check(claim, caller)
        if isinstance(found, TokenRefusal):
            return found  # counted when the client has acknowledged it: `disproved`
        grant = found if isinstance(found, TokenGrant) else TokenGrant(found)
        dossier = await self._read(_key_of(grant.login))
        if dossier is None or not dossier.account.enabled or grant.mailbox_id not in (0, *dossier.account.mailbox_ids):
            return TokenRefusal()
        account = self._accept(dossier.account, caller)
        if isinstance(found, str):
            return account
        own = account.mailbox_ids[:1] == (grant.mailbox_id,)
        return Accepted(replace(account, opened=0 if own else grant.mailbox_id), grant.seconds)

    def forget(self, login: str) -> None:
        """Something of this login changed here: nothing remembered of it is used any more."""
        self._accounts.pop(_key_of(login), None)

    # ------------------------------------------------------------------------------------------ which secret is meant

    def _candidate(self, dossier: Dossier | None, claim: _Claim) -> _Candidate:
        """Give the one hash to check: the app password of its handle, else the main one where it may serve, else nobody's."""
        nobody = _Candidate(_nobody, claim.octets)
        if dossier is None or not dossier.account.enabled:
            return nobody
        handle, text = canonical(claim.password)
        for app in dossier.apps:
            if app.handle == handle and claim.handle in ("", handle):
                good = claim.protocol != WEB and not claim.page and self._opens(app, claim.protocol)
                return _Candidate(app.secret_hash, text.encode("ascii"), app.id) if good else nobody
        if claim.handle or not (claim.page or self._main_opens(dossier, claim.protocol)):
            return nobody
        return _Candidate(dossier.account.secret_hash, claim.octets)

    def _opens(self, app: AppPassword, protocol: str) -> bool:
        return protocol in app.scopes and (app.expires_at is None or app.expires_at > self._clock.now())

    def _main_opens(self, dossier: Dossier, protocol: str) -> bool:
        if dossier.own:
            return protocol in dossier.own
        if dossier.factors:
            return protocol in self.rules.with_factor and protocol != WEB
        return self.rules.main is None or protocol in self.rules.main

    def _scram(self, dossier: Dossier | None, handle: str, protocol: str) -> str:
        """Give the stored verifier that a login means, empty for none."""
        if dossier is None or not dossier.account.enabled:
            return ""
        if handle:
            return next((app.scram for app in dossier.apps if app.handle == handle and self._opens(app, protocol)), "")
        return dossier.account.scram if self._main_opens(dossier, protocol) else ""

    # ------------------------------------------------------------------------------------------ memory

    def _held(self, login: str) -> Dossier | None:
        kept = self._accounts.get(login)
        return kept[1] if kept is not None and kept[0] > self._clock.monotonic() and kept[1].account.enabled else None

    async def _read(self, login: str) -> Dossier | None:
        """Read the account now."""
        dossier = await self._stores.database.read(lambda tx: self._find(tx, login), quick=True)
        if len(self._accounts) >= MAX_REMEMBERED:
            self._accounts.clear()
        if dossier is None:
            self._accounts.pop(login, None)
        else:
            self._accounts[login] = (self._clock.monotonic() + ACCOUNT_SECONDS, dossier)
        return dossier

    def _find(self, tx: Tx, login: str) -> Dossier | None:
        account = self._stores.accounts.account_by_login(tx, login)
        if account is None:
            return None
        profile = self._stores.identities.profile(tx, account.id)
        return Dossier(account, tuple(self._stores.credentials.app_passwords(tx, account.id)),
                       self._stores.credentials.has_factors(tx, account.id),
                       frozenset(profile.password_logins.replace(",", " ").split()) if profile is not None else frozenset())

    def _remembers(self, candidate: _Candidate, login: str, digest: bytes) -> bool:
        """This password was verified a short while ago, against what is stored now."""
        kept = self._remembered.get((login, digest))
        if kept is None or kept[0] <= self._clock.monotonic() or kept[1] != candidate.secret_hash:
            return False
        if candidate.app_id:
            self.apps_used[candidate.app_id] = self._clock.now()
        return True

    # ------------------------------------------------------------------------------------------ outcome

    def _accept(self, account: Account, caller: Caller) -> Account:
        self._guard.succeeded(account.login, caller)
        self._evidence.login(account.login, caller.peer, caller.protocol, accepted=True)
        for listener in self.listeners:
            listener(account, caller)
        return account

    async def _refuse(self, login: str, caller: Caller, guess: bytes = b"") -> None:
        """Count a failure, wait, journal it."""
        await self._guard.failed(login, caller, guess)
        self._evidence.login(login, caller.peer, caller.protocol, accepted=False)


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a client says. password: empty when it is too long to be one; page: the first step of the web account."""

    login: str
    handle: str
    password: str
    octets: bytes
    protocol: str
    page: bool


def _key_of(login: str) -> str:
    return login.strip().lower()[:263]  # an address of 254 octets, and a handle


def _check(secret_hash: str, password: bytes) -> bool:
    if len(password) > MAX_PASSWORD:
        return False
    try:
        return _hasher.verify(secret_hash, password)
    except (VerificationError, InvalidHashError):
        return False
