"""Hold instead of bounce: while the trust space is unwell, queued mail waits, and goes by itself once all is well.

- Causes, scopes and what ends each: `mssante.routing.holding`. A hold protects until its age limit (`[holds]`), then mail
  follows the ordinary schedule again and fails with words that say why. No letter is kept longer than its expiry, the longest
  limit and the tail together, whatever holds follow one another.
- Held mail keeps its place and its ordinary pace of attempts, but is not dialled; for causes that only the peer can end, one
  attempt in `probe` is let through. When a hold ends its mail is due at once and lives for `tail` more at least: two statements
  for the whole destination, none per message.
- Decisions come from a small picture in memory. The table is read every two seconds (a few rows): holds begun, changed or
  released by `mssante hold` are obeyed without restart. What is begun here is written behind the attempt that found it; a crash
  between loses nothing, the next attempt finds it again.
- Each begin, limit and end is a journal event and a log line; recipients waiting by cause are a metric.

Built by `mssante.holds_setup`; asked by `services.relay` and `services.settlement`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.model.hold import Hold, HoldCause
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.outcome import Deferred, Delivered, Outcome, Refused
from mssante.model.reply import Refuse
from mssante.observability.metrics import QUEUE_HELD
from mssante.routing.holding import (
    LIMIT_MARK,
    ORDER,
    RELEASE_MARK,
    TEXTS,
    cause_of_rule,
    dials,
    epitaph,
    held_reply,
    refuses_us,
)
from mssante.services.evidence import Evidence
from mssante.services.holdgate import NoHolds
from mssante.services.ports import RelayResult
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Stores, Tx
from mssante.trust.crl import RevocationStatus

log = structlog.get_logger("holds")
EVERYBODY = ""
FOLLOWS_MAIL = frozenset({HoldCause.PEER_CERTIFICATE, HoldCause.DOMAIN_LEFT, HoldCause.OWN_CERTIFICATE, HoldCause.CRL_EXPIRED})
Key = tuple[HoldCause, str]


@dataclass(frozen=True, slots=True)
class HoldSettings:
    """limits: age limit by cause, zero: mail is not held for it; expiry: life of queued mail without hold.

    own_end: end of our certificate (reads a file; OSError and ValueError count as unknown).
    """

    limits: Mapping[HoldCause, timedelta]
    tail: timedelta
    probe: timedelta
    expiry: timedelta
    own_end: Callable[[], datetime] | None = None
    poll_seconds: float = 2.0
    count_seconds: float = 10.0


class HoldKeeper(NoHolds):
    """Begins and ends holds, and answers the relay (`HoldGate`)."""

    def __init__(self, stores: Stores, trust: TrustState, evidence: Evidence, clock: Clock, settings: HoldSettings) -> None:
        self._stores = stores
        self._trust = trust
        self._evidence = evidence
        self._clock = clock
        self._settings = settings
        self._book: dict[Key, Hold] = {}
        self._begun: dict[Key, Hold] = {}  # in the book, not yet in the table
        self._ended: dict[Key, tuple[Hold, str]] = {}  # out of the book, still in the table
        self._probed: dict[str, datetime] = {}
        self._crls: object = None  # as they were when revocation became unknown
        self._snapshot: object = trust.snapshot
        self._fresh_list = True
        self._nudged: dict[str, datetime] = {}
        self._counted: float | None = None
        self._wake = asyncio.Event()
        self.released: Callable[[], None] = lambda: None  # mail is due now: the relay should look

    # ------------------------------------------------------------ what the relay asks (event loop, memory)

    def _standing(self, destination: str) -> list[Hold]:
        """Give the holds on a destination, running or at their limit, the most general cause first."""
        if not self._book:
            return []
        keys = [(cause, domain) for cause in ORDER for domain in (EVERYBODY, destination)]
        return [self._book[key] for key in keys if key in self._book]

    def covering(self, destination: str) -> Hold | None:
        """Give the hold that protects a destination now, or None."""
        now = self._clock.now()
        return next((hold for hold in self._standing(destination) if hold.protects(now)), None)

    def before(self, destination: str) -> Deferred | None:
        """Give why a destination must not be dialled now; one attempt in `probe` passes where only a try can tell."""
        hold = self.covering(destination)
        if hold is None or (dials(hold) and self._may_probe(destination)):
            return None
        return Deferred(held_reply(hold), rule=TEXTS[hold.cause].rule)

    def _may_probe(self, destination: str) -> bool:
        if not self._due(self._probed, destination):
            return False
        self._probed[destination] = self._clock.now()
        return True

    def _due(self, last: Mapping[str, datetime], domain: str) -> bool:
        """Whether `probe` has gone by since an instant kept for a domain (a clock set back counts as gone by)."""
        then = last.get(domain)
        return then is None or not timedelta(0) <= self._clock.now() - then < self._settings.probe

    def unlisted(self, destination: str, refusal: Refuse) -> Deferred | Refused:
        """Hold for a domain that left the list, or for want of a usable list (RQ-REV says bounce: that is after the limit)."""
        if refusal.reply.permanent:
            hold = self._begin(HoldCause.DOMAIN_LEFT, destination, refusal.rule)
        elif self._trust.snapshot.whitelist is not None:
            hold = self._begin(HoldCause.LIST_TOO_OLD, EVERYBODY, refusal.rule)
        else:
            hold = None
        if hold is not None and hold.protects(self._clock.now()):
            return Deferred(held_reply(hold), rule=TEXTS[hold.cause].rule)
        return super().unlisted(destination, refusal)

    def after(self, destination: str, result: RelayResult) -> RelayResult:
        """Learn from an attempt: what passes ends holds, what a cause explains begins one and waits."""
        refused = self._refused_us(result)
        if result.certificate and not any(cause_of_rule(getattr(one, "rule", "")) for one in result.outcomes):
            # a session stood: the peer is in order, and its revocation is known
            self._well(destination, HoldCause.PEER_CERTIFICATE, HoldCause.CRL_EXPIRED)
            if not refused:
                self._well(destination, HoldCause.OWN_CERTIFICATE)
        if all(isinstance(outcome, Delivered) for outcome in result.outcomes):
            return result
        return replace(result, outcomes=tuple(self._judge(destination, outcome) for outcome in result.outcomes))

    @staticmethod
    def _refused_us(result: RelayResult) -> bool:
        return any(not isinstance(one, Delivered) and one.remote and refuses_us(one.reply) for one in result.outcomes)

    def _judge(self, destination: str, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Delivered):
            return outcome
        cause, domain, note = cause_of_rule(outcome.rule), destination, outcome.rule
        if cause in (HoldCause.CRL_EXPIRED, HoldCause.LIST_TOO_OLD):
            domain = EVERYBODY
        elif cause is None:
            note = refuses_us(outcome.reply) if outcome.remote else ""
            cause = HoldCause.OWN_CERTIFICATE if note else None
        if cause is None:
            return outcome
        self._probed[destination] = self._clock.now()
        hold = self._begin(cause, domain, note)
        if hold is None or not hold.protects(self._clock.now()):
            return outcome
        return Deferred(f"{held_reply(hold)} ; {outcome.reply}", outcome.remote, outcome.rule or TEXTS[cause].rule)

    def deadline(self, destination: str, created_at: datetime, expires_at: datetime) -> datetime:
        """Give the instant until which mail is kept: the limit of its hold, within the longest life of all."""
        hold = self.covering(destination)
        longest = self._settings.expiry + max(self._settings.limits.values()) + self._settings.tail
        until = expires_at if hold is None else max(expires_at, hold.until)
        return max(min(until, created_at + longest), min(expires_at, created_at + self._settings.expiry))

    def epitaph(self, destination: str) -> str:
        """Give the words for a failure after a hold that reached its limit."""
        now = self._clock.now()
        spent = [hold for hold in self._standing(destination) if not hold.protects(now)]
        return epitaph(spent[0]) if spent else ""

    def keeps_new_mail(self) -> bool:
        """Tell whether new mail may be taken against the last list known: while its hold would protect it."""
        hold = self._book.get((HoldCause.LIST_TOO_OLD, EVERYBODY))
        if hold is None:
            return self._settings.limits[HoldCause.LIST_TOO_OLD] > timedelta(0)
        return hold.protects(self._clock.now())

    # ------------------------------------------------------------ begin and end (memory; the table follows)

    def _begin(self, cause: HoldCause, domain: str, note: str) -> Hold | None:
        """Give the hold of that cause and domain, begun now when there is none; None when the cause is switched off."""
        standing = self._book.get((cause, domain))
        limit = self._settings.limits[cause]
        if standing is not None or limit <= timedelta(0):
            return standing
        now = self._clock.now()
        hold = Hold(cause, domain, now, now + limit, True, note)
        self._book[hold.key] = self._begun[hold.key] = hold
        if cause is HoldCause.CRL_EXPIRED:
            self._crls = self._trust.snapshot.crls
        log.warning("hold_started", cause=cause.value, domain=domain, because=note, until=hold.until.isoformat())
        self._wake.set()
        return hold

    def _end(self, hold: Hold, because: str) -> None:
        if self._book.pop(hold.key, None) is None:
            return
        self._begun.pop(hold.key, None)
        self._ended[hold.key] = (hold, because)
        self._wake.set()

    def _well(self, destination: str, *causes: HoldCause) -> None:
        for cause in causes:
            for key in ((cause, destination), (cause, EVERYBODY)):
                hold = self._book.get(key)
                if hold is not None and dials(hold):
                    self._end(hold, "a try passed")

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Keep the picture and the table alike, for ever."""
        while True:
            try:
                await self.once()
            except MssFault as fault:
                log.error("holds_failed", kind=fault.kind, rule=fault.rule, detail=fault.detail)
            except Exception as fault:  # a round that fails in an unforeseen way must not end the next ones
                log.exception("holds_failed", kind=type(fault).__name__)
            try:
                await asyncio.wait_for(self._wake.wait(), self._settings.poll_seconds)
            except TimeoutError:
                continue

    async def once(self) -> None:
        """Read the table, look at the causes, write what began and ended, count now and then."""
        self._wake.clear()
        rows = await self._stores.database.read(lambda tx: self._stores.holds.all(tx), quick=True)
        self._merge(rows)
        self._look()
        monotonic = self._clock.monotonic()
        if self._counted is None or monotonic - self._counted >= self._settings.count_seconds:
            self._counted = monotonic
            await self._look_slowly()
        await self._write()

    def _merge(self, rows: list[Hold]) -> None:
        """Take what other processes changed; what we changed and did not write yet stands."""
        now = self._clock.now()
        found = {row.key: row for row in rows if row.key not in self._ended} | self._begun
        freed = [hold for key, hold in self._book.items()
                 if hold.protects(now) and (key not in found or not found[key].protects(now))]
        self._book = found
        for hold in freed:
            log.info("hold_released", cause=hold.cause.value, domain=hold.domain)
        if freed:
            self._probed.clear()
            self.released()

    def _look(self) -> None:
        """Begin and end what the trust in force decides by itself."""
        now, snapshot = self._clock.now(), self._trust.snapshot
        usable = self._trust.usable_list()
        too_old = self._book.get((HoldCause.LIST_TOO_OLD, EVERYBODY))
        if usable is not None and too_old is not None:
            self._end(too_old, "a usable list is in force")
        elif usable is None and snapshot.whitelist is not None:
            self._begin(HoldCause.LIST_TOO_OLD, EVERYBODY, f"liste du {snapshot.whitelist.generated_at:%Y-%m-%d %H:%M}")
        for hold in list(self._book.values()):
            if hold.cause is HoldCause.DOMAIN_LEFT and usable is not None and usable.knows_domain(hold.domain):
                self._end(hold, "the domain is listed again")
        unknown = self._book.get((HoldCause.CRL_EXPIRED, EVERYBODY))
        if unknown is not None and self._crls is not snapshot.crls and self._crls_fresh(now):
            self._end(unknown, "fresh CRLs are in force")
        if snapshot is not self._snapshot:  # a list, CRLs, anchors or keys came: what failed may pass now
            self._snapshot = snapshot
            self._probed.clear()
            self._nudged.clear()
            self._counted = None
            self._fresh_list = True

    def _crls_fresh(self, now: datetime) -> bool:
        snapshot = self._trust.snapshot
        return all(snapshot.crls.status(0, issuer, now) is not RevocationStatus.UNKNOWN for issuer in snapshot.anchors.issuers)

    async def _look_slowly(self) -> None:
        """Count who waits, end holds that nobody waits for, look at our certificate."""
        await self._look_at_ourselves()
        look, self._fresh_list = bool(self._book) or self._fresh_list, False
        waiting = await self._stores.database.read(lambda tx: self._stores.holds.waiting(tx)) if look else {}
        self._look_at_destinations(waiting)
        for hold in list(self._book.values()):
            nobody = not waiting if hold.domain == EVERYBODY else not waiting.get(hold.domain)
            if hold.automatic and nobody and hold.cause in FOLLOWS_MAIL and hold.key not in self._begun and (
                    hold.domain or hold.cause is HoldCause.CRL_EXPIRED):
                self._end(hold, "nothing waits")
        held = dict.fromkeys(HoldCause, 0)
        for domain, count in waiting.items():
            hold_now = self.covering(domain)
            if hold_now is not None:
                held[hold_now.cause] += count
        for cause, count in held.items():
            QUEUE_HELD.labels(cause.value).set(count)
        await self._nudge([domain for domain in waiting if self._tried_slowly(domain)])

    def _tried_slowly(self, domain: str) -> bool:
        hold = self.covering(domain)
        return hold is not None and dials(hold)

    def _look_at_destinations(self, waiting: Mapping[str, int]) -> None:
        """Begin a hold for each domain that mail waits for and that the list in force does not have."""
        usable = self._trust.usable_list()
        if usable is not None:
            for domain in sorted(waiting.keys() - usable.domains()):
                self._begin(HoldCause.DOMAIN_LEFT, domain, f"absent le {usable.generated_at:%Y-%m-%d %H:%M}")

    async def _look_at_ourselves(self) -> None:
        if self._settings.own_end is None:
            return
        try:
            end = await asyncio.to_thread(self._settings.own_end)
        except (MssFault, OSError, ValueError):  # being replaced just now
            return
        hold = self._book.get((HoldCause.OWN_CERTIFICATE, EVERYBODY))
        if end < self._clock.now():
            self._begin(HoldCause.OWN_CERTIFICATE, EVERYBODY, f"fin le {end:%Y-%m-%d %H:%M}")
        elif hold is not None:
            self._end(hold, "our certificate is in date")

    async def _nudge(self, domains: list[str]) -> None:
        """Have one recipient of each tried now, once in `probe`: a peer that is well again is found out soon."""
        now = self._clock.now()
        due = [domain for domain in domains if self._due(self._probed, domain) and self._due(self._nudged, domain)]
        self._nudged.update(dict.fromkeys(due, now))
        if not due:
            return
        nudged = await self._stores.database.write(lambda tx: self._stores.holds.nudge(tx, due, now))
        if nudged:
            self.released()

    # ------------------------------------------------------------ the table

    async def _write(self) -> None:
        """Write what began, reached its limit and ended, with its events, in one unit."""
        now = self._clock.now()
        begun, ended = list(self._begun.values()), list(self._ended.values())
        spent = [replace(hold, note=f"{hold.note} ; {LIMIT_MARK}") for hold in self._book.values()
                 if not hold.protects(now) and hold.key not in self._begun
                 and LIMIT_MARK not in hold.note and RELEASE_MARK not in hold.note]
        if not begun and not ended and not spent:
            return

        def unit(tx: Tx) -> list[int]:
            holds, events, freed = self._stores.holds, [], []
            for hold, because in ended:  # first: the same cause may have begun again since
                stood = holds.remove(tx, hold)
                freed.append(holds.let_go(tx, hold.domain, now, now + self._settings.tail))
                if stood:
                    events.append(self._event(JournalKind.HOLD_ENDED, hold, {"because": because, "recipients": freed[-1]}))
            events += [self._event(JournalKind.HOLD_STARTED, hold, {}) for hold in begun if holds.put(tx, hold)]
            events += [self._event(JournalKind.HOLD_ENDED, hold, {"because": "age limit", "recipients": 0})
                       for hold in spent if holds.change(tx, hold)]
            self._stores.journal.append(tx, events)
            return freed

        freed = await self._stores.database.write(unit)
        for hold in begun:
            if self._begun.get(hold.key) is hold:
                del self._begun[hold.key]
        for hold in spent:
            self._book[hold.key] = hold
            log.error("hold_limit_reached", cause=hold.cause.value, domain=hold.domain)
        for (hold, because), count in zip(ended, freed, strict=True):
            self._ended.pop(hold.key, None)
            log.info("hold_ended", cause=hold.cause.value, domain=hold.domain, because=because, recipients=count)
        if ended:
            self.released()

    def _event(self, kind: JournalKind, hold: Hold, more: dict[str, str | int]) -> JournalEvent:
        return self._evidence.event(kind, hold.domain or "*", {
            "cause": hold.cause.value, "since": hold.since.isoformat(timespec="seconds"),
            "until": hold.until.isoformat(timespec="seconds"), "automatic": hold.automatic, "note": hold.note, **more})
