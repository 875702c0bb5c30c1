"""What the directory is used for when mail passes (spec §4.5): advice on recipients elsewhere, a note on senders.

- Our own addresses are judged by our own mailboxes, others by the white list and mutual TLS: both come before, and the
  directory never lets anything in. `off`: nothing is asked. `advise`: the recipient is taken, and the answer to RCPT says what
  the directory knows against it. `strict`: an address that a fresh directory does not have is refused, with the closest ones.
- Never refused: what is published (whatever a bounce said), unknown, red-listed, citizens, anything when the directory is down,
  stale or slow. Absence needs the mirror and every remote source configured to have said so.
- Bounded: the mirror answers at once; remote sources are waited for `wait_seconds`, then the mail goes on (the question goes on
  too, and its answer serves the next one). What was late once is not waited for during the next ten seconds, so that a long
  list of recipients is not slowed by each. Never raises. Called by submission and reception.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

import structlog

from mssante.clock import Clock
from mssante.directory.values import Finding, Presence, Source
from mssante.errors import MssFault
from mssante.model import replies
from mssante.model.address import MailAddress
from mssante.model.reply import Allow, Decision
from mssante.observability.metrics import DIRECTORY_ADVICE
from mssante.services.directory_port import DirectoryDesk
from mssante.services.exchangewatch import ExchangeWatch
from mssante.storage.exchanges import BOUNCE, ClosedAddress
from mssante.storage.interfaces import Stores, Tx

log = structlog.get_logger("advice")
FRESH = timedelta(days=3)
MIRROR_SECONDS = 0.25
NEAR = 2
MAX_TASKS = 200
REST_SECONDS = 10.0
SENDER_SECONDS = 600.0  # how long the word on a sender serves: it is a note in the journal, not a decision
MAX_SENDERS = 20_000

_SENDERS = {one.value: DIRECTORY_ADVICE.labels("sender", one.value) for one in Presence}

Check = Literal["off", "advise", "strict"]


@dataclass(frozen=True, slots=True)
class AdviceSettings:
    """check: `directory.check`; wait_seconds: for remote sources at RCPT; exempt: domains never looked up (citizens); needed: the
    sources that must all have answered before `strict` refuses."""

    check: Check
    wait_seconds: float
    exempt: frozenset[str]
    needed: frozenset[Source] = frozenset({Source.EXTRACTION})


@dataclass(frozen=True, slots=True)
class Advice:
    """What RCPT answers, and the word that the journal keeps: `published`, `absent`, `unknown`…"""

    decision: Decision
    word: str


class Advisor:
    """Advice of one process. desk: gives the directory, None while there is none."""

    def __init__(self, stores: Stores, clock: Clock, settings: AdviceSettings, desk: Callable[[], DirectoryDesk | None],
                 watch: ExchangeWatch | None = None) -> None:
        self._stores = stores
        self._clock = clock
        self._settings = settings
        self._desk = desk
        self._watch = watch
        self._tasks: set[asyncio.Task[Finding]] = set()
        self._senders: dict[str, tuple[float, str]] = {}
        self._rests = {False: 0.0, True: 0.0}  # until when the mirror, the remote sources are not waited for

    @property
    def on(self) -> bool:
        """Tell if anything is asked at all."""
        return self._settings.check != "off"

    def concerns(self, address: MailAddress) -> bool:
        """Tell if a recipient elsewhere is to be looked up."""
        return self.on and address.domain not in self._settings.exempt

    async def recipient(self, address: MailAddress) -> Advice:
        """Judge a recipient of another operator, already admitted by the white list."""
        finding, complete = await self._finding(address.key)
        silent = self._settings.needed - set(finding.sources)
        if finding.presence is Presence.ABSENT and silent and self._settings.wait_seconds:
            finding = replace(finding, presence=Presence.UNKNOWN)  # a source that could have it is silent
        finding = await self._with_bounces(finding)
        DIRECTORY_ADVICE.labels("recipient", finding.presence.value).inc()
        if self._settings.check == "strict" and complete and self._surely_absent(finding):
            near = [one for one in finding.near if one.isascii() and one.isprintable() and len(one) <= 100][:NEAR]
            return Advice(replies.not_in_directory(str(address), near), "absent")
        return Advice(self._told(finding), finding.presence.value)

    async def sender(self, address: MailAddress | None) -> str:
        """Give one word on a sender elsewhere, for the journal; nothing when it is not looked up. Never a reason to refuse."""
        if address is None or not self.concerns(address):
            return ""
        now = self._clock.monotonic()
        held = self._senders.get(address.key)
        if held is None or held[0] <= now:
            finding, complete = await self._finding(address.key, ask=False)
            held = (now + SENDER_SECONDS, finding.presence.value)
            if complete:
                if len(self._senders) >= MAX_SENDERS:
                    self._senders.clear()
                self._senders[address.key] = held
        _SENDERS[held[1]].inc()
        return held[1]

    # ------------------------------------------------------------------------------------------ asking

    async def _finding(self, key: str, *, ask: bool = True) -> tuple[Finding, bool]:
        """Give what is known in the time allowed, and whether all that was asked has answered."""
        desk = self._desk()
        if desk is None:
            return Finding(key, Presence.UNKNOWN), False
        local = await self._within(desk, key, MIRROR_SECONDS, ask=False)
        found = local or Finding(key, Presence.UNKNOWN)
        if not ask or not self._settings.wait_seconds or found.presence not in (Presence.ABSENT, Presence.UNKNOWN):
            return found, local is not None
        remote = await self._within(desk, key, self._settings.wait_seconds, ask=True)
        return (remote, True) if remote is not None else (found, False)

    async def _within(self, desk: DirectoryDesk, key: str, seconds: float, *, ask: bool) -> Finding | None:
        """Give an answer, None when it is late or failed; a late one goes on behind, for the next question."""
        if len(self._tasks) >= MAX_TASKS or self._clock.monotonic() < self._rests[ask]:
            return None
        task = asyncio.ensure_future(desk.find(key, ask=ask))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            self._rests[ask] = self._clock.monotonic() + REST_SECONDS
        return task.result() if task.done() and not task.cancelled() and task.exception() is None else None

    def _done(self, task: asyncio.Task[Finding]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None:
            log.warning("directory_failed", kind=type(fault).__name__, rule=getattr(fault, "rule", ""))

    async def _with_bounces(self, finding: Finding) -> Finding:
        """Join what operators said: an address that they closed and that the directory does not show."""
        told = self._watch.closed_lately(finding.address) if self._watch is not None else None
        if told is None:
            try:
                told = await self._stores.database.read(lambda tx: self._closed(tx, finding.address), quick=True)
            except MssFault:
                return finding
        if told is None or (finding.closed_at is not None and finding.closed_at <= told.closed_at):
            return finding
        return replace(finding, closed_at=told.closed_at, closed_by=told.source)

    def _closed(self, tx: Tx, address: str) -> ClosedAddress | None:
        return self._stores.exchanges.closed(tx, [address]).get(address)

    # ------------------------------------------------------------------------------------------ judging

    def _surely_absent(self, finding: Finding) -> bool:
        """All sources answered, lately, and none has it (a closing told of it changes nothing)."""
        recent = finding.as_of is not None and self._clock.now() - finding.as_of <= FRESH
        return recent and finding.presence in (Presence.ABSENT, Presence.CLOSED) and self._settings.needed <= set(finding.sources)

    def _told(self, finding: Finding) -> Allow:
        """Give the answer that takes the recipient, with what speaks against it."""
        near = [one for one in finding.near if one.isascii() and one.isprintable() and len(one) <= 100][:NEAR]
        if finding.closed_at is not None and finding.presence is not Presence.RED_LISTED:
            by = "avis de non-remise" if finding.closed_by == BOUNCE else "annuaire"
            return Allow(replies.recipient_closed(finding.closed_at.date().isoformat(), by, near))
        if finding.presence is Presence.ABSENT:
            return Allow(replies.recipient_unlisted(near))
        return Allow()
