"""Applies the delays of mailboxes: warnings, suspension, closing, erasing; and tells holders that their quota fills up.

- One run a day, whatever restarts; `plan` says what a run would do, at any date, and changes nothing.
- Bounded and resumable: each part is a transaction that reads its mailboxes again and does what is due then; a run that was
  killed, or two at once, leave what one whole run leaves. A warning is filed in the transaction that notes it.
- Nothing grave (suspension, closing, erasing, release of an address) is done by a run that a human must confirm first: the clock
  jumped (the last run is further than `max_gap_days`, or in the future), it is the first run ever, or too many mailboxes would be
  touched at once (`max_share_percent`). The journal says so once (`life_stopped`), `run(accept=True)` goes on.
- Erasing begins by a mark (`purging`): from then on the mailbox cannot be reopened; a hold stops it between two parts.
Called by `topics/life.py` and `mssante life run`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from mssante.errors import InputFault, MssFault
from mssante.ids import new_trace_id
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox, MailboxState
from mssante.model.mailbox_rules import GRAVE, INACTIVITY, PURGING, Life, Step, ends_on, next_step, warning_due
from mssante.model.message import NewMessage, StagedBody
from mssante.observability.metrics import LIFE_STEPS
from mssante.protocol.mime.compose import Letter, letter
from mssante.protocol.mime.imapview import facts
from mssante.services.life import LifeDesk, UseBook, Why, life_of, move_tx, new_life
from mssante.services.life_guard import show, withheld_now
from mssante.storage.interfaces import Acceptance, Filing, QueueEntry, QueueRecipient, Tx
from mssante.storage.life import Filling

log = structlog.get_logger("life")
PAGE = 500
BATCH = 50
ERASED = 500  # messages of one transaction
DAY = timedelta(days=1)
TICK_SECONDS = 60.0
HYSTERESIS = 5  # per cent under a step before it is told again
_TARGET = {Step.SUSPEND: MailboxState.SUSPENDED, Step.CLOSE: MailboxState.CLOSED}


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """may_write: tells if a warning may be sent to a domain that is not ours; expiry: life of such a warning in the queue."""

    max_gap_days: int = 7
    max_share_percent: int = 25
    max_always: int = 50  # grave steps that are never too many
    quota_steps: tuple[int, ...] = (80, 90, 95)
    quota_seconds: float = 600
    may_write: Callable[[str], bool] = lambda domain: False
    expiry: timedelta = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Due:
    """One step that is due."""

    mailbox_id: int
    address: str
    step: Step


@dataclass(slots=True)
class LifeReport:
    """What a run did, or would do. withheld: why grave steps were not done, empty when they were."""

    at: datetime
    seen: int = 0
    due: list[Due] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    erased: int = 0
    withheld: str = ""

    def counts(self) -> dict[str, int]:
        """Count what is due by step."""
        return dict(sorted(Counter(one.step.value for one in self.due).items()))


class LifeKeeper:
    """Over the desk of lives."""

    def __init__(self, desk: LifeDesk, settings: KeeperSettings, uses: UseBook | None = None) -> None:
        self._desk = desk
        self._stores = desk.stores
        self._settings = settings
        self._uses = uses
        self._quota_due = 0.0

    # ------------------------------------------------------------ plan

    async def plan(self, at: datetime | None = None) -> LifeReport:
        """Say what a run at an instant would do; nothing is written."""
        report = LifeReport(at or self._desk.clock.now())
        after = 0
        while True:
            boxes, lives = await self._stores.database.read(partial(self._page, after))
            for box in boxes:
                life = lives.get(box.id)
                step = Step.RECONCILE if life is None else next_step(box, life, self._desk.settings.policy, report.at)
                if step is not None:
                    report.due.append(Due(box.id, box.address, step))
            report.seen += len(boxes)
            if len(boxes) < PAGE:
                break
            after = boxes[-1].id
        report.withheld = await self._stores.database.read(partial(self._doubt, report))
        return report

    def _page(self, after: int, tx: Tx) -> tuple[list[Mailbox], dict[int, Life]]:
        boxes = self._stores.life.page(tx, after, PAGE)
        return boxes, self._stores.life.lives(tx, [box.id for box in boxes])

    def _doubt(self, report: LifeReport, tx: Tx) -> str:
        """Give why a human must confirm grave steps, empty when nobody must."""
        last = self._stores.journal.recent(tx, kind=JournalKind.LIFE_RUN.value, limit=1)
        if not last:
            return "first_run"
        gap = report.at - last[0].at
        if gap > timedelta(days=self._settings.max_gap_days) or gap < -DAY:
            return "clock"
        grave = sum(one.step in GRAVE for one in report.due)
        most = max(self._settings.max_always, self._stores.life.count(tx) * self._settings.max_share_percent // 100)
        return "share" if grave > most else ""

    # ------------------------------------------------------------ run

    async def run(self, *, accept: bool = False, actor: str = "life") -> LifeReport:
        """Do what is due now. accept: a human saw the plan, and confirms it. Raises MssFault."""
        report = await self.plan()
        if accept:
            report.withheld = ""
        if report.withheld in ("first_run", "share"):
            wanted = [one for one in report.due if one.step not in GRAVE]
        else:
            wanted = [] if report.withheld else report.due  # a wrong clock warns nobody either
        plain = [one for one in wanted if one.step is not Step.PURGE]
        for start in range(0, len(plain), BATCH):
            part = plain[start:start + BATCH]
            moved = await self._stores.database.write(partial(self._apply, part, report))
            for box, to in moved:
                self._desk.told(box.address, box.state, to)
        for one in wanted:
            if one.step is Step.PURGE:
                await self._purge(one, report)
        await self._stores.database.write(partial(self._close, report, actor))
        for step, count in report.done.items():
            LIFE_STEPS.labels(step).inc(count)
        show(await self._stores.database.read(lambda tx: withheld_now(tx, self._stores)))
        return report

    def _close(self, report: LifeReport, actor: str, tx: Tx) -> None:
        """Write the event of a run; one that is withheld is told once, and does not count as a run when the clock is in doubt."""
        payload: dict[str, str | int | float | bool | None] = {f"done_{key}": count for key, count in sorted(report.done.items())}
        payload |= {"seen": report.seen, "by": actor, "withheld": report.withheld}
        events = []
        if report.withheld:
            last = self._stores.journal.recent(tx, kind=JournalKind.LIFE_STOPPED.value, limit=1)
            if not last or last[0].payload.get("cause") != report.withheld or abs(report.at - last[0].at) >= DAY:
                events.append(JournalEvent(JournalKind.LIFE_STOPPED, report.at, "", "life", {
                    "cause": report.withheld, **{f"due_{key}": count for key, count in report.counts().items()}}))
                log.error("life_withheld", cause=report.withheld)
        if report.withheld != "clock":
            events.append(JournalEvent(JournalKind.LIFE_RUN, report.at, "", "life", payload))
        self._stores.journal.append(tx, events)

    def _apply(self, part: Sequence[Due], report: LifeReport, tx: Tx) -> list[tuple[Mailbox, MailboxState]]:
        """Do the steps of a part that still are due; give the mailboxes that moved."""
        now, stores = report.at, self._stores
        boxes = {box.id: box for box in stores.accounts.mailboxes_by_id(tx, [one.mailbox_id for one in part])}
        lives = stores.life.lives(tx, list(boxes))
        moved: list[tuple[Mailbox, MailboxState]] = []
        for one in part:
            box = boxes.get(one.mailbox_id)
            if box is None:
                continue
            life = lives.get(box.id)
            step = Step.RECONCILE if life is None else next_step(box, life, self._desk.settings.policy, now)
            if step is not one.step:
                continue  # somebody came back, or another process did it
            self._step(tx, box, step, now)
            report.done[step.value] += 1
            if step in _TARGET:
                moved.append((box, _TARGET[step]))
        return moved

    def _step(self, tx: Tx, box: Mailbox, step: Step, now: datetime) -> None:
        stores = self._stores
        if step is Step.RECONCILE:
            stores.life.put_lives(tx, [life_of(tx, stores, box, now)])
        elif step is Step.WARN:
            self._warn(tx, box, now)
        elif step is Step.RELEASE:
            stores.life.release(tx, [box.id])
            self._event(tx, box, now, {"action": "released"})
        else:
            move_tx(tx, stores, box, _TARGET[step], Why(INACTIVITY, "life"), now=now)

    def _event(self, tx: Tx, box: Mailbox, now: datetime, payload: dict[str, str | int | float | bool | None]) -> None:
        self._stores.journal.append(tx, [JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", box.address,
                                                     payload | {"by": "life"})])

    # ------------------------------------------------------------ warnings

    def _warn(self, tx: Tx, box: Mailbox, now: datetime) -> None:
        """File the warning that is due, in the mailbox and at its contact; only the nearest of those that were missed."""
        policy = self._desk.settings.policy
        life = life_of(tx, self._stores, box, now)
        step = warning_due(life, policy, now)
        day = f"{ends_on(life, policy, now).astimezone():%d/%m/%Y}"
        told = self._send(tx, box, "Votre boîte MSSanté sera suspendue", inactivity_text(box.address, day), now)
        self._stores.life.put_lives(tx, [replace(life, warned_step=step, warned_at=now)])
        self._event(tx, box, now, {"action": "warned", "step": step, "contact": told})

    def _send(self, tx: Tx, box: Mailbox, subject: str, text: str, now: datetime) -> str:
        """File a letter in a mailbox and tell its contact; give what became of the contact: none, filed, queued, outside."""
        items = [self._letter(box, parse_envelope_address(box.address), subject, text, (now, Filing(box.inbox_id)))]
        profile = self._stores.life.profiles(tx, [box.id]).get(box.id)
        told = "none"
        if profile is not None and profile.contact and profile.contact != box.address:
            try:
                told, more = self._to_contact(tx, box, parse_envelope_address(profile.contact), (subject, text, now))
            except InputFault:
                told, more = "unreadable", []
            items += more
        self._stores.messages.accept(tx, items)
        return told

    def _to_contact(self, tx: Tx, box: Mailbox, to: MailAddress, said: tuple[str, str, datetime]) -> tuple[str, list[Acceptance]]:
        subject, text, now = said
        if to.domain in self._desk.settings.hosted:
            homes = [home for home in self._stores.accounts.mailboxes_by_address(tx, [to.key])
                     if home.state in (MailboxState.ACTIVE, MailboxState.PUBLISHED)]
            return ("filed" if homes else "outside",
                    [self._letter(box, to, subject, text, (now, Filing(home.inbox_id))) for home in homes])
        if not self._settings.may_write(to.domain):
            return "outside", []
        return "queued", [self._letter(box, to, subject, text, (now, None))]

    def _letter(self, box: Mailbox, to: MailAddress, subject: str, text: str,
                placed: tuple[datetime, Filing | None]) -> Acceptance:
        """Give a letter of the operator: filed, or queued with the null sender."""
        now, filing = placed
        trace_id, domain = new_trace_id(), parse_envelope_address(box.address).domain
        raw = letter(Letter(MailAddress("postmaster", domain), (to,), subject, text, now, f"<{trace_id}@{domain}>", trace_id,
                            sender_name="Opérateur MSSanté", headers=(("Auto-Submitted", "auto-generated"),)))
        body = StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
        message = NewMessage(body, b"Return-Path: <>\r\n" if filing else b"", facts(raw), trace_id, now)
        if filing is not None:
            return Acceptance(message, (filing,))
        return Acceptance(message, (), QueueEntry("", (QueueRecipient(str(to), to.domain, "NEVER"),),
                                                  now + self._settings.expiry, now))

    # ------------------------------------------------------------ erasing

    async def _purge(self, due: Due, report: LifeReport) -> None:
        """Erase one mailbox in bounded parts; it stops when it is held meanwhile, and goes on at the next run."""
        while True:
            count, state = await self._stores.database.write(partial(self._purge_part, due, report.at))
            report.erased += count
            if state is None:
                return
            if state is MailboxState.PURGED:
                report.done[Step.PURGE.value] += 1
                self._desk.told(due.address, MailboxState.CLOSED, MailboxState.PURGED)
                return
            await asyncio.sleep(0)  # mail goes first

    def _purge_part(self, due: Due, now: datetime, tx: Tx) -> tuple[int, MailboxState | None]:
        """Give how many messages went, and the state: None when it is not to be erased (any more)."""
        stores = self._stores
        boxes = stores.accounts.mailboxes_by_id(tx, [due.mailbox_id])
        life = stores.life.lives(tx, [due.mailbox_id]).get(due.mailbox_id)
        if not boxes or life is None or next_step(boxes[0], life, self._desk.settings.policy, now) is not Step.PURGE:
            return 0, None
        box = boxes[0]
        if life.reason != PURGING:
            stores.life.put_lives(tx, [replace(life, reason=PURGING)])
            self._event(tx, box, now, {"action": PURGING})
            return 0, MailboxState.CLOSED
        count = stores.life.erase(tx, box.id, ERASED)
        if count:
            return count, MailboxState.CLOSED
        move_tx(tx, stores, box, MailboxState.PURGED, Why("retention", "life"), now=now)
        return 0, MailboxState.PURGED

    # ------------------------------------------------------------ quotas

    async def watch_quotas(self) -> int:
        """Tell holders whose mailbox passed a step; give how many. A step is told once until there is room again."""
        count, after = 0, 0
        while self._settings.quota_steps:
            page = await self._stores.database.read(partial(self._stores.life.fillings, after=after, limit=PAGE))
            changed = [one for one in page if self._quota_step(one) != one.told]
            for start in range(0, len(changed), BATCH):
                count += await self._stores.database.write(partial(self._tell_quotas, changed[start:start + BATCH]))
            if len(page) < PAGE:
                break
            after = page[-1].mailbox.id
        return count

    def _quota_step(self, one: Filling) -> int:
        """Give the step that a mailbox is at; one that was told stays a little under it."""
        percent = percent_of(one)
        reached = max((step for step in self._settings.quota_steps if percent >= step), default=0)
        return one.told if reached < one.told and percent > one.told - HYSTERESIS else reached

    def _tell_quotas(self, part: Sequence[Filling], tx: Tx) -> int:
        now, stores = self._desk.clock.now(), self._stores
        lives = stores.life.lives(tx, [one.mailbox.id for one in part])
        told = 0
        for one in part:
            box, step = one.mailbox, self._quota_step(one)
            life = lives.get(box.id) or new_life(box, now)
            if life.quota_warned != one.told:
                continue  # another process told it
            stores.life.put_lives(tx, [replace(life, quota_warned=step)])
            if step > one.told and box.state in (MailboxState.ACTIVE, MailboxState.PUBLISHED):
                self._send(tx, box, f"Votre boîte MSSanté est remplie à {step} %", quota_text(box.address, step), now)
                self._event(tx, box, now, {"action": "quota_warned", "percent": step})
                told += 1
        return told

    # ------------------------------------------------------------ task

    async def forever(self) -> None:
        """Write uses each minute, watch quotas, run once a day; a fault is told, and tried again."""
        while True:
            try:
                await self.tick()
            except (MssFault, OSError) as fault:
                log.error("life_failed", detail=str(fault)[:300])
            await asyncio.sleep(TICK_SECONDS)

    async def tick(self) -> LifeReport | None:
        """One minute: give the report of the day's run when it was due."""
        if self._uses is not None:
            await self._uses.flush()
        monotonic = self._desk.clock.monotonic()
        if monotonic >= self._quota_due:
            self._quota_due = monotonic + self._settings.quota_seconds
            await self.watch_quotas()
        now = self._desk.clock.now()
        due, found = await self._stores.database.read(lambda tx: (self._run_due(now, tx), withheld_now(tx, self._stores)))
        show(found)  # each minute: a human may have accepted it in another process
        return await self.run() if due else None

    def _run_due(self, now: datetime, tx: Tx) -> bool:
        recent = self._stores.journal.recent
        rows = [*recent(tx, kind=JournalKind.LIFE_RUN.value, limit=1), *recent(tx, kind=JournalKind.LIFE_STOPPED.value, limit=1)]
        return all(abs(now - row.at) >= DAY for row in rows)


def percent_of(one: Filling) -> int:
    """Give how full a mailbox is, by the fuller of its two quotas."""
    box, used = one.mailbox, one.used
    shares = [used.octets * 100 // box.quota_bytes if box.quota_bytes > 0 else 0,
              used.messages * 100 // box.quota_messages if box.quota_messages > 0 else 0]
    return max(shares)


def inactivity_text(address: str, day: str) -> str:
    """Give the warning before a suspension (CNIL F5.5)."""
    return (f"Bonjour,\n\nPersonne ne s'est connecté à la boîte {address} depuis longtemps. Sans connexion avant le {day}, "
            "elle sera suspendue, puis fermée, et son contenu effacé.\n\n"
            "Pour la garder : connectez-vous une fois avec votre messagerie habituelle. Vous pouvez aussi vous opposer à cette "
            "suspension : demandez-le à votre administrateur.\n\n"
            "Cette boîte n'est pas un dossier médical : gardez ailleurs ce qui doit l'être.\n\nL'opérateur MSSanté\n")


def quota_text(address: str, step: int) -> str:
    """Give the warning of a quota that fills up."""
    return (f"Bonjour,\n\nLa boîte {address} est remplie à {step} %. Pleine, elle refusera les nouveaux messages.\n\n"
            "Supprimez ce qui n'est plus utile, videz la corbeille, ou demandez de la place à votre administrateur.\n\n"
            "L'opérateur MSSanté\n")
