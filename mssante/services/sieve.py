"""Filters at filing: the active script of each local recipient decides folders and flags, in the transaction of the message.

- A mailbox without script costs a look into a set: the mailboxes with one are known beforehand, read again every
  `refresh_seconds` and at once when a script changes in this process (`changed`).
- A fault in a script never loses nor delays mail: the message goes to INBOX, its owner is told once by a filed notice, and it
  is counted. A folder that is missing, or removed between decision and commit: INBOX too, before the reply.
- `discard` files into the folder of trash unless configured otherwise: a letter that we acknowledged does not vanish.
- `redirect` goes to mailboxes of ours only, filed in the same transaction and not filtered again: no loop can be. A copy to
  another operator would bear a From that our certificate does not cover, and be refused there (spec §2.2 step 7).
- Folders of originals (S/MIME) are left as they are: only what would go to INBOX is filtered, an opened view as it is read.

Called by `reception.place` and `placed`; scripts are changed by `services.sieve_desk`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.model.mailbox import Folder, Mailbox, MailboxState, SpecialUse
from mssante.model.message import Flags, NewMessage
from mssante.observability.metrics import FILTERED
from mssante.protocol.sieve.actions import Action, Discard, FileInto, Keep, Redirect, Vacation
from mssante.protocol.sieve.compile import Script, compile_script
from mssante.protocol.sieve.faults import Limits, SieveFault
from mssante.protocol.sieve.interpreter import Surroundings
from mssante.protocol.sieve.message import MessageView
from mssante.services.addressbook import AddressBook
from mssante.services.imap.folders import check_name
from mssante.services.mailroom import Mailroom
from mssante.services.opening import Placement
from mssante.services.outofoffice import Answering, OutOfOffice
from mssante.services.smtp_session import LocalTarget
from mssante.storage.filters import ABSENCE
from mssante.storage.interfaces import Acceptance, Accepted, Filing, Stores, Tx

log = structlog.get_logger("sieve")
MAX_HEAD = 1024 * 1024
KEPT_SCRIPTS = 5_000
FOLDER_SECONDS = 30.0
MAX_FOLDERS = 1_000
_BITS = {"\\seen": Flags.SEEN, "\\answered": Flags.ANSWERED, "\\flagged": Flags.FLAGGED, "\\deleted": Flags.DELETED,
         "\\draft": Flags.DRAFT}
_OPEN_STATES = (MailboxState.ACTIVE, MailboxState.PUBLISHED)


@dataclass(frozen=True, slots=True)
class SieveSettings:
    """redirect: own allows it among the hosted domains; discard: trash or delete; citizen: domain that nothing is sent to."""

    limits: Limits = field(default_factory=Limits)
    redirect: bool = False
    discard: str = "trash"
    refresh_seconds: float = 10.0
    hosted: frozenset[str] = frozenset()
    citizen: str = ""


@dataclass(slots=True)
class FilterParts:
    """What filters stand on."""

    stores: Stores
    clock: Clock
    executor: Executor
    addresses: AddressBook
    mailroom: Mailroom
    absences: OutOfOffice
    settings: SieveSettings


@dataclass(slots=True)
class _Kept:
    """Compiled scripts of a mailbox, the managed one first; fault: of the first that does not compile."""

    stamp: int
    scripts: tuple[tuple[bool, Script], ...]
    fault: SieveFault | None
    inbox: int
    folders: dict[str, Folder]
    fresh_until: float


@dataclass(slots=True)
class _Decided:
    """What becomes of one message in one mailbox. others: (mailbox, inbox) of ours that get it too."""

    filings: list[Filing] = field(default_factory=list)
    others: list[tuple[int, int]] = field(default_factory=list)
    errands: list[Callable[[], None]] = field(default_factory=list)


class Filters:
    """Applies scripts."""

    def __init__(self, parts: FilterParts) -> None:
        self._parts = parts
        self._running: dict[int, int] | None = None
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    # ------------------------------------------------------------ who has a script

    async def refresh(self) -> None:
        """Read again which mailboxes have a script. Raises MssFault (storage)."""
        self._running = await self._parts.stores.database.read(self._parts.stores.filters.running)

    async def changed(self, mailbox_id: int) -> None:
        """Scripts of a mailbox changed in this process: they act from now on."""
        self._kept.pop(mailbox_id, None)
        await self.refresh()

    async def run(self) -> None:
        """Keep up with changes of other processes; forget old answers."""
        while True:
            await asyncio.sleep(self._parts.settings.refresh_seconds)
            try:
                await self.refresh()
                await self._parts.absences.forget_old()
            except MssFault as fault:  # what is known stays in force
                log.error("filters_not_read", rule=fault.rule)

    # ------------------------------------------------------------ deciding

    async def apply(self, message: NewMessage, targets: Sequence[LocalTarget], placements: tuple[Placement, ...],
                    sender: str) -> tuple[Placement, ...]:
        """Give the placements as scripts want them. sender: of the envelope, empty for none. Never raises for a script."""
        try:
            if self._running is None:
                await self.refresh()
            running = self._running or {}
            concerned = {one.mailbox.id: one for one in targets if one.mailbox.id in running}
            if not concerned:
                return placements
            return tuple([made for one in placements for made in await self._filtered(one, concerned, sender)])
        except Exception as fault:  # the border: whatever fails here, the message is filed as without filters
            FILTERED.labels("failed").inc()
            log.error("filters_failed", kind=type(fault).__name__, trace_id=message.trace_id)
            return placements

    async def _filtered(self, placement: Placement, concerned: dict[int, LocalTarget], sender: str) -> list[Placement]:
        if placement.originals or not any(box in concerned for box in placement.boxes):
            return [placement]
        head = await self._head(placement.message)
        view = MessageView.of(head, sender=sender, recipient="", size=placement.octets)
        filings: list[Filing] = []
        boxes: list[int] = []
        errands = list(placement.errands)
        for box, filing in zip(placement.boxes, placement.filings, strict=True):
            target = concerned.get(box)
            decided = _Decided([filing])
            if target is not None and filing.folder_id == target.mailbox.inbox_id:
                decided = await self._decide(placement.message, view.to(str(target.recipient.address)), target.mailbox)
            filings += decided.filings
            boxes += [box] * len(decided.filings)
            for other, inbox in decided.others:
                if other not in boxes and other not in placement.boxes:
                    filings.append(Filing(inbox))
                    boxes.append(other)
            errands += decided.errands
        return [replace(placement, filings=tuple(filings), boxes=tuple(boxes), errands=tuple(errands))]

    async def _head(self, message: NewMessage) -> bytes:
        body, size = message.body, min(message.facts.header_size, MAX_HEAD)
        if body.inline is not None:
            return message.prefix + body.inline[:size]
        read = self._parts.stores.blobs.read
        return message.prefix + await asyncio.get_running_loop().run_in_executor(
            self._parts.executor, read, body.blob or "", 0, size)

    async def _decide(self, message: NewMessage, view: MessageView, mailbox: Mailbox) -> _Decided:
        kept = await self._scripts(mailbox)
        decided = _Decided()
        if kept.fault is not None:
            self._failed(decided, mailbox, kept, kept.fault)
        around = Surroundings(self._parts.clock.now(), lambda name: _folder_key(name) in kept.folders,
                              self._parts.settings.limits)
        filed = False
        for managed, script in kept.scripts:
            try:
                actions = script.run(view, around).actions
            except SieveFault as fault:
                self._failed(decided, mailbox, kept, fault)
                continue
            self._answers(decided, mailbox, message, view, actions)
            if not managed:
                filed = True
                await self._file(decided, mailbox, kept, actions)
        if not filed or not (decided.filings or self._parts.settings.discard == "delete" or decided.others):
            decided.filings = [Filing(mailbox.inbox_id)]
        return decided

    def _answers(self, decided: _Decided, mailbox: Mailbox, message: NewMessage, view: MessageView,
                 actions: Sequence[Action]) -> None:
        """The first vacation answers; the managed one runs first."""
        for action in actions:
            if isinstance(action, Vacation) and not decided.errands:
                asked = Answering(mailbox, view, action, message.trace_id)
                decided.errands.append(lambda asked=asked: self._parts.absences.answer(asked))  # type: ignore[misc]

    def _failed(self, decided: _Decided, mailbox: Mailbox, kept: _Kept, fault: SieveFault) -> None:
        FILTERED.labels("failed").inc()
        log.warning("script_failed", rule=fault.rule, line=fault.line, mailbox_id=mailbox.id)
        notice = f"{kept.stamp:x}"
        decided.errands.append(lambda: self._parts.absences.tell_fault(mailbox, notice, str(fault)))

    async def _file(self, decided: _Decided, mailbox: Mailbox, kept: _Kept, actions: Sequence[Action]) -> None:
        result = "kept"
        for action in actions:
            match action:
                case Keep(flags):
                    decided.filings.append(filing(mailbox.inbox_id, flags))
                case FileInto(name, flags, create):
                    folder = await self._folder(mailbox, kept, name, create=create)
                    result = "filed" if folder else "missing"
                    decided.filings.append(filing(folder or mailbox.inbox_id, flags))
                case Redirect():
                    result = await self._redirect(decided, mailbox, action)
                case Discard():
                    result = "discarded"
                    trash = next((one for one in kept.folders.values() if one.special_use == SpecialUse.TRASH), None)
                    if self._parts.settings.discard == "trash":
                        decided.filings.append(Filing(trash.id if trash is not None else mailbox.inbox_id))
        FILTERED.labels(result).inc()
        decided.filings = list({one.folder_id: one for one in reversed(decided.filings)}.values())[::-1]

    async def _redirect(self, decided: _Decided, mailbox: Mailbox, action: Redirect) -> str:
        """Add a mailbox of ours; what cannot go there is kept here."""
        domain = action.address.rpartition("@")[2]
        settings = self._parts.settings
        box = None
        if settings.redirect and domain in settings.hosted and domain != settings.citizen:
            box = await self._parts.addresses.find(action.address)
        if box is not None and box.id != mailbox.id and box.state in _OPEN_STATES and self._parts.addresses.has_room(box, 1):
            decided.others.append((box.id, box.inbox_id))
            return "redirected"
        if action.sole:
            decided.filings.append(filing(mailbox.inbox_id, action.flags))
        return "redirect_refused"

    # ------------------------------------------------------------ scripts and folders

    async def _scripts(self, mailbox: Mailbox) -> _Kept:
        """Give the compiled scripts of a mailbox, from memory when they are those in force."""
        stamp = (self._running or {}).get(mailbox.id, 0)
        now = self._parts.clock.monotonic()
        kept = self._kept.get(mailbox.id)
        if kept is not None and kept.stamp == stamp and now < kept.fresh_until:
            return kept
        stores = self._parts.stores

        def unit(tx: Tx) -> _Kept:
            folders = {one.name: one for one in stores.folders.of_mailbox(tx, mailbox.id)}
            if kept is not None and kept.stamp == stamp:
                return replace(kept, folders=folders, fresh_until=now + FOLDER_SECONDS)
            compiled: list[tuple[bool, Script]] = []
            fault = None
            for one in stores.filters.scripts(tx, mailbox.id):
                if one.active:
                    try:
                        compiled.append((one.name == ABSENCE, compile_script(one.content, self._parts.settings.limits)))
                    except SieveFault as seen:
                        fault = fault or seen
            return _Kept(stamp, tuple(compiled), fault, mailbox.inbox_id, folders, now + FOLDER_SECONDS)

        made = await stores.database.read(unit)
        self._kept[mailbox.id] = made
        self._kept.move_to_end(mailbox.id)
        if len(self._kept) > KEPT_SCRIPTS:
            self._kept.popitem(last=False)
        return made

    async def _folder(self, mailbox: Mailbox, kept: _Kept, name: str, *, create: bool) -> int:
        """Give the id of a folder, 0 when it is missing and not to be made, or cannot be."""
        name = _folder_key(name)
        known = kept.folders.get(name)
        if known is not None:
            return known.id
        stores = self._parts.stores
        try:
            if create:
                check_name(name)
                folders = await stores.database.write(lambda tx: self._create(tx, mailbox.id, name))
            else:
                folders = await stores.database.read(lambda tx: stores.folders.of_mailbox(tx, mailbox.id))
        except (MssFault, ValueError) as fault:
            log.info("folder_not_made", kind=type(fault).__name__, mailbox_id=mailbox.id)
            return 0
        kept.folders = {one.name: one for one in folders}
        found = kept.folders.get(name)
        return found.id if found is not None else 0

    def _create(self, tx: Tx, mailbox_id: int, name: str) -> list[Folder]:
        """Make a folder and the missing levels above (RFC 9051 §6.3.4)."""
        store = self._parts.stores.folders
        have = {one.name for one in store.of_mailbox(tx, mailbox_id)}
        levels = name.split("/")
        for depth in range(1, len(levels) + 1):
            level = "/".join(levels[:depth])
            if level not in have and len(have) < MAX_FOLDERS:
                store.create(tx, mailbox_id, level)
                have.add(level)
        return store.of_mailbox(tx, mailbox_id)

    async def rescue(self, placements: Sequence[Placement], results: Sequence[Accepted]) -> None:
        """File into INBOX what a folder removed meanwhile did not take, before the reply. Raises MssFault."""
        for placement, result in zip(placements, results, strict=True):
            if placement.originals or not result.missing:
                continue
            pairs = zip(placement.boxes, placement.filings, strict=True)
            lost = list(dict.fromkeys(box for box, one in pairs if one.folder_id in result.missing and box in self._kept))
            filings = tuple([Filing(self._kept[box].inbox) for box in lost])
            for box in lost:
                self._kept.pop(box)
            if filings:
                await self._parts.mailroom.accept((Acceptance(placement.message, filings),))


def _folder_key(name: str) -> str:
    first, slash, rest = name.partition("/")
    return f"INBOX{slash}{rest}" if first.upper() == "INBOX" else name


def filing(folder_id: int, flags: Sequence[str]) -> Filing:
    """Give a filing with flags as the store keeps them."""
    if not flags:
        return Filing(folder_id)
    mask = 0
    words: dict[str, str] = {}
    for flag in flags:
        bit = _BITS.get(flag.lower())
        if bit is not None:
            mask |= bit
        else:
            words.setdefault(flag.casefold(), flag)
    return Filing(folder_id, mask, " ".join(sorted(words.values())))
