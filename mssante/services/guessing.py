"""Guessing slowed down: delays and blocks by address, network and login, and the queue before the memory-hard work.

- A failure delays its answer, doubling per address and login up to 10 s. Past a ceiling of failures of one address, one network
  (/24, /56) or one login from everywhere, or after one password was tried on many logins of a network (spraying), logins that
  never succeeded from that place wait before the check as well; far past it they are let through one at a time, and the rest is
  told to come back later (`TryLater`), unchecked.
- A place is an address or its network where the login succeeded before: whoever works there is neither delayed nor blocked, so
  that a hospital behind one address is never locked out by a guesser in it.
- Hashes run by turns: known places first; while failures pour in, everyone else shares one slot and a short queue, and what does
  not fit is told to come back later: nobody's login waits behind a guesser's.
- All memory is bounded: windows count so many keys, the oldest places and failures are forgotten, at most `MAX_SLEEPERS` wait.
Nothing here knows whether a login exists. In memory only: a restart forgets it. Called by `services.accounts`.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mssante.clock import Clock
from mssante.observability.metrics import LIMITS
from mssante.services.sasl import Caller, TryLater
from mssante.services.throttle import MAX_KEYS, Bucket, Window

MAX_FAILURES = 10_000  # address and login, remembered
MAX_DELAY_SECONDS = 10.0
FAILURE_WINDOW_SECONDS = 900.0
ADDRESS_FAILURES = 300  # in the window, from one address: whole wards mistype theirs, nobody this often
NETWORK_FAILURES = 1000  # in the window, from one /24 or /56
LOGIN_FAILURES = 50  # in the window, of one login, from everywhere
PLACE_FAILURES = 20  # of one login from one address since it succeeded there: past it the place is no excuse
BLOCK_FACTOR = 4  # times a ceiling: what is past it is let through one at a time
SPRAY_LOGINS = 10  # distinct logins of one network that one wrong password was tried on
MAX_SPRAYS = 5_000  # passwords (as short keyed digests) remembered for it
BLOCK_RATE = {"address": 1.0, "network": 2.0, "login": 0.2}  # checks a second of what is blocked
BLOCK_BURST = 2.0  # and the one that empties it: three at once
MAX_BUCKETS = 10_000
MAX_SLEEPERS = 2_000  # answers held back at once; past it they go out undelayed
ATTACK_FAILURES = 60.0  # failures in ATTACK_SECONDS, from everywhere, past which an attack is under way
ATTACK_SECONDS = 60.0
SLOTS = 3  # hashes at once
QUIET_QUEUE = 2_000  # strangers waiting for a hash: a restart brings everybody at once
ATTACK_QUEUE = 32  # the same during an attack: about a second


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a caller is. address: its IPv4 address or IPv6 /64; network: its /24 or /56."""

    address: str
    network: str


def origin_of(caller: Caller) -> Origin:
    """Give where a caller is; a peer that is no address stands for itself."""
    text = caller.peer.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return Origin(text, text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, ipaddress.IPv4Address):
        packed = str(address)
        return Origin(packed, packed.rpartition(".")[0] + ".0/24")
    return Origin(str(ipaddress.ip_network((address, 64), strict=False)), str(ipaddress.ip_network((address, 56), strict=False)))


class Guard:
    """Counts failures and successes, and says who waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: dict[tuple[str, str], tuple[float, int]] = {}  # oldest first
        self._places: dict[tuple[str, str], None] = {}  # where each login succeeded, oldest first
        self._windows = {"address": Window(FAILURE_WINDOW_SECONDS), "network": Window(FAILURE_WINDOW_SECONDS),
                         "login": Window(FAILURE_WINDOW_SECONDS)}
        self._ceilings = {"address": ADDRESS_FAILURES, "network": NETWORK_FAILURES, "login": LOGIN_FAILURES}
        self._sprays: dict[tuple[str, bytes], tuple[float, set[bytes]]] = {}
        self._sprayed: dict[str, float] = {}  # network -> until when it is held to be spraying
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._all = Window(ATTACK_SECONDS)
        self._sleepers = 0

    @property
    def attacked(self) -> bool:
        """Failures pour in."""
        return self._all.count("", self._clock.monotonic()) > ATTACK_FAILURES

    def known(self, login: str, caller: Caller) -> bool:
        """Whether this login succeeded from this address or network before."""
        origin = origin_of(caller)
        if self._failures.get((origin.address, login), (0.0, 0))[1] >= PLACE_FAILURES:
            return False  # somebody guesses it from there, too
        return (origin.address, login) in self._places or (origin.network, login) in self._places

    async def before(self, login: str, caller: Caller) -> None:
        """Wait before the check where guessing goes on, unless the login succeeded from here before. Raises TryLater."""
        if self.known(login, caller):
            return
        origin, now = origin_of(caller), self._clock.monotonic()
        beyond = 0
        for kind, key in (("address", origin.address), ("network", origin.network), ("login", login)):
            count, ceiling = self._windows[kind].count(key, now), self._ceilings[kind]
            beyond = max(beyond, _beyond(count, ceiling))
            if count >= ceiling * BLOCK_FACTOR and not self._let_one(kind, key, now):
                LIMITS.labels("login_blocked").inc()
                raise TryLater()
        if self._sprayed.get(origin.network, 0.0) > now and not self._let_one("network", origin.network, now):
            LIMITS.labels("login_sprayed").inc()
            raise TryLater()
        if beyond > 0:
            LIMITS.labels("login_delayed").inc()
            await self._sleep(_delay(beyond - 1))

    def _let_one(self, kind: str, key: str, now: float) -> bool:
        """Whether one more check of what is blocked is due."""
        bucket = self._buckets.get((kind, key))
        if bucket is None:
            _make_room(self._buckets, MAX_BUCKETS)
            bucket = self._buckets[kind, key] = Bucket(BLOCK_RATE[kind], BLOCK_BURST, now)
        if bucket.take(0, now) > 0:
            return False
        bucket.take(1, now)
        return True

    def succeeded(self, login: str, caller: Caller) -> None:
        """Remember the place; what failed from it is forgiven."""
        origin = origin_of(caller)
        self._failures.pop((origin.address, login), None)
        for place in ((origin.address, login), (origin.network, login)):
            if self._places.pop(place, place) is place:  # it was not there; else it comes back at the end
                _make_room(self._places, MAX_KEYS)
            self._places[place] = None

    async def failed(self, login: str, caller: Caller, guess: bytes = b"") -> None:
        """Count a failure and wait. guess: a keyed digest of the password tried, empty when it is not known."""
        origin, now = origin_of(caller), self._clock.monotonic()
        self._all.add("", now)
        for kind, key in (("address", origin.address), ("network", origin.network), ("login", login)):
            self._windows[kind].add(key, now)
        if guess:
            self._note_spray(origin.network, guess[:8], login, now)
        since, count = self._failures.pop((origin.address, login), (now, 0))
        count = count + 1 if now - since < FAILURE_WINDOW_SECONDS else 1
        _make_room(self._failures, MAX_FAILURES)
        self._failures[origin.address, login] = (now, count)
        await self._sleep(_delay(count - 1))

    def _note_spray(self, network: str, guess: bytes, login: str, now: float) -> None:
        """One wrong password on one more login of a network."""
        since, logins = self._sprays.pop((network, guess), (now, set()))
        if now - since >= FAILURE_WINDOW_SECONDS:
            since, logins = now, set()
        logins.add(hashlib.sha256(login.encode("utf-8", "surrogatepass")).digest()[:8])
        if len(logins) >= SPRAY_LOGINS:
            _make_room(self._sprayed, MAX_SPRAYS)
            self._sprayed[network] = now + FAILURE_WINDOW_SECONDS
            logins = set()
        _make_room(self._sprays, MAX_SPRAYS)
        self._sprays[network, guess] = (since, logins)

    async def _sleep(self, seconds: float) -> None:
        if self._sleepers >= MAX_SLEEPERS:  # a guesser must not take every connection by waiting in it
            LIMITS.labels("login_sleepers").inc()
            return
        self._sleepers += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._sleepers -= 1


class HashGate:
    """Turns for the memory-hard work: `SLOTS` at once, known places first."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._running = 0
        self._strangers_running = 0
        self._known: deque[asyncio.Future[None]] = deque()
        self._strangers: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, *, known: bool) -> AsyncIterator[None]:
        """Wait for one's turn, and hold it. Raises TryLater when too many strangers wait."""
        if not self._free(known):
            await self._wait(known)
        self._running += 1
        self._strangers_running += not known
        try:
            yield
        finally:
            self._running -= 1
            self._strangers_running -= not known
            self._wake()

    def _free(self, known: bool) -> bool:
        if self._running >= SLOTS:
            return False
        return known or self._strangers_running < (1 if self._guard.attacked else SLOTS)

    async def _wait(self, known: bool) -> None:
        queue = self._known if known else self._strangers
        if not known and len(queue) >= (ATTACK_QUEUE if self._guard.attacked else QUIET_QUEUE):
            LIMITS.labels("login_busy").inc()
            raise TryLater()
        while not self._free(known):
            ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            queue.append(ticket)
            try:
                await ticket
            except asyncio.CancelledError:
                if ticket in queue:
                    queue.remove(ticket)
                self._wake()
                raise

    def _wake(self) -> None:
        for queue, known in ((self._known, True), (self._strangers, False)):
            while queue and self._free(known):
                ticket = queue.popleft()
                if not ticket.done():
                    ticket.set_result(None)
                    return


def _make_room(kept: dict, most: int) -> None:  # type: ignore[type-arg]
    """Forget the oldest entry of a full memory."""
    if len(kept) >= most:
        del kept[next(iter(kept))]


def _beyond(count: float, ceiling: int) -> int:
    """How many tenths of the ceiling a count is above it: each doubles the delay."""
    return int((count - ceiling) * 10 / ceiling) + 1 if count >= ceiling else 0


def _delay(doublings: int) -> float:
    return float(min(0.5 * 2 ** min(doublings, 10), MAX_DELAY_SECONDS))  # a thousand failures would overflow a float
