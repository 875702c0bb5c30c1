"""The life of mailboxes: every change of state goes through `move`, in one transaction with its journal event (spec §5).

- A move that the life cycle has not is refused (`BAL-TRANSITION`); the state is read again inside the transaction, so that two
  processes never both make the same move, nor one from a state that is over.
- Purge is brought by time alone (`services.life_keeper`): nobody asks for it by hand.
- A login that may open a mailbox is a use of it. Uses are gathered in memory and written once a minute; a mailbox that was
  suspended for inactivity opens again, one suspended by a human does not.
- `listeners` are told after the commit, with the address and both states; a listener that fails is no fault of the move.
Called by the command line (`cli/mailbox_life.py`), the import of mailboxes, `services.life_keeper` and `topics/life.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.identifiers import parse_holder
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox, MailboxState
from mssante.model.mailbox_rules import INACTIVITY, PURGING, Life, LifePolicy, check_field, check_holder, check_move
from mssante.services.sasl import Caller
from mssante.storage.interfaces import Account, Stores, Tx
from mssante.storage.life import Profile

log = structlog.get_logger("life")
MAX_WAITING = 200_000  # logins whose use is to be written
FRESH = timedelta(hours=1)  # a use is not written again sooner
Listener = Callable[[str, MailboxState, MailboxState], None]


@dataclass(frozen=True, slots=True)
class LifeSettings:
    """hosted: our domains; cab: CAB mailboxes are allowed."""

    policy: LifePolicy
    hosted: frozenset[str]
    resume_on_login: bool = True
    cab: bool = False


@dataclass(frozen=True, slots=True)
class Why:
    """Why a mailbox moves, and who moves it. successor: whom to write to once it is closed."""

    reason: str
    actor: str
    successor: str = ""


@dataclass(frozen=True, slots=True)
class Dossier:
    """All that is known of a mailbox."""

    mailbox: Mailbox
    profile: Profile
    life: Life


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change; None: as it is."""

    holder: str | None = None
    display_name: str | None = None
    service: str | None = None
    description: str | None = None
    responsible: str | None = None
    structure: str | None = None
    contact: str | None = None
    red_list: bool | None = None
    rank: int | None = None


def new_life(mailbox: Mailbox, now: datetime) -> Life:
    """Give the life of a mailbox seen for the first time: its delays begin now."""
    return Life(mailbox.id, mailbox.state.value, now, now)


def life_of(tx: Tx, stores: Stores, mailbox: Mailbox, now: datetime) -> Life:
    """Give the life of a mailbox; one whose state was changed elsewhere begins again."""
    found = stores.life.lives(tx, [mailbox.id]).get(mailbox.id)
    if found is None:
        return new_life(mailbox, now)
    if found.state != mailbox.state.value:
        return replace(found, state=mailbox.state.value, state_since=now, last_used_at=max(found.last_used_at, now), reason="",
                       warned_step=0, warned_at=None)
    return found


def move_tx(tx: Tx, stores: Stores, mailbox: Mailbox, to: MailboxState, why: Why, *, now: datetime) -> Life:
    """Move a mailbox in this transaction, with its event. mailbox: as read in it. Raises InputFault `BAL-TRANSITION`,
    `BAL-PURGE` (its content is going)."""
    check_move(mailbox, to)
    before = life_of(tx, stores, mailbox, now)
    if before.reason == PURGING and to is not MailboxState.PURGED:
        raise InputFault(say(f"{mailbox.address} : l'effacement a commencé", f"{mailbox.address}: erasing has begun"),
                         rule="BAL-PURGE", remedy=say("restaurez une sauvegarde", "restore a backup"))
    opened = to in (MailboxState.ACTIVE, MailboxState.PUBLISHED)
    after = replace(before, state=to.value, state_since=now, reason=why.reason,
                    successor="" if opened else why.successor or before.successor)
    if opened:
        after = replace(after, last_used_at=max(now, before.last_used_at), warned_step=0, warned_at=None)
    stores.accounts.set_mailbox_state(tx, mailbox.address, to)
    stores.life.put_lives(tx, [after])
    stores.journal.append(tx, [JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", mailbox.address, {
        "action": to.value, "before": mailbox.state.value, "after": to.value, "reason": why.reason, "by": why.actor})])
    return after


class LifeDesk:
    """Over open stores."""

    def __init__(self, stores: Stores, clock: Clock, settings: LifeSettings) -> None:
        self.stores = stores
        self.clock = clock
        self.settings = settings
        self.listeners: list[Listener] = []

    def told(self, address: str, before: MailboxState, after: MailboxState) -> None:
        """Tell those who listen that a mailbox moved; after the commit."""
        for listener in self.listeners:
            try:
                listener(address, before, after)
            except Exception as exc:  # the move is done whatever its listeners make of it
                log.error("listener_failed", detail=type(exc).__name__)

    def box(self, tx: Tx, address: str) -> Mailbox:
        """Give a mailbox. Raises InputFault `BAL-INCONNUE`."""
        found = self.stores.accounts.mailboxes_by_address(tx, [address])
        if not found:
            raise InputFault(say(f"boîte inconnue : {address[:254]}", f"unknown mailbox: {address[:254]}"), rule="BAL-INCONNUE",
                             remedy="mssante mailbox list")
        return found[0]

    async def show(self, address: str) -> Dossier:
        """Give all that is known of a mailbox. Raises InputFault `BAL-INCONNUE`."""
        now = self.clock.now()

        def unit(tx: Tx) -> Dossier:
            box = self.box(tx, address)
            return Dossier(box, self.stores.life.profiles(tx, [box.id]).get(box.id, Profile(box.id)),
                           life_of(tx, self.stores, box, now))

        return await self.stores.database.read(unit)

    async def move(self, address: str, to: MailboxState, *, reason: str, actor: str, successor: str = "") -> Mailbox:
        """Move a mailbox; give it as it was.

        Raises InputFault `BAL-INCONNUE`, `BAL-TRANSITION`, `BAL-PURGE`, `BAL-SUCCESSEUR`.
        """
        now, heir = self.clock.now(), self._successor(address, successor)
        if to is MailboxState.PURGED:
            raise InputFault(say("l'effacement vient du délai, jamais d'une commande",
                                 "erasing comes by its delay, never by a command"),
                             rule="BAL-PURGE", remedy="operator.toml [life] closed_days")

        def unit(tx: Tx) -> Mailbox:
            box = self.box(tx, address)
            move_tx(tx, self.stores, box, to, Why(reason[:200], actor, heir), now=now)
            return box

        before = await self.stores.database.write(unit)
        self.told(before.address, before.state, to)
        return before

    def _successor(self, address: str, successor: str) -> str:
        if not successor:
            return ""
        try:
            found = parse_envelope_address(successor.strip()).key
        except InputFault as exc:
            raise InputFault(say(f"successeur illisible : {successor[:80]}", f"not an address: {successor[:80]}"),
                             rule="BAL-SUCCESSEUR", remedy=say("utilisez nom@domaine", "use name@domain")) from exc
        if found == address.lower() or not found.isascii() or not found.isprintable():
            raise InputFault(say(f"successeur impossible : {found}", f"impossible successor: {found}"), rule="BAL-SUCCESSEUR",
                             remedy=say("nommez une autre boîte", "name another mailbox"))
        return found

    async def hold(self, address: str, until: datetime | None, *, actor: str) -> Life:
        """Keep a mailbox from being erased until an instant, or no longer (None).

        Raises InputFault `BAL-INCONNUE`, `BAL-EFFACEE`.
        """
        return await self._dated(address, actor, "hold", lambda life: replace(life, hold_until=until), until)

    async def object(self, address: str, *, actor: str) -> Life:
        """Its holder asks that an unused mailbox stays (CNIL F5.5). Raises InputFault `BAL-INCONNUE`, `BAL-EFFACEE`."""
        until = self.clock.now() + timedelta(days=self.settings.policy.objection)
        return await self._dated(address, actor, "objection", lambda life: replace(
            life, objected_until=until, warned_step=0, warned_at=None), until)

    async def _dated(self, address: str, actor: str, action: str, change: Callable[[Life], Life], until: datetime | None) -> Life:
        now = self.clock.now()

        def unit(tx: Tx) -> Life:
            box = self.box(tx, address)
            if box.state is MailboxState.PURGED:
                raise InputFault(say(f"{box.address} est effacée", f"{box.address} is purged"), rule="BAL-EFFACEE")
            life = change(life_of(tx, self.stores, box, now))
            self.stores.life.put_lives(tx, [life])
            self.stores.journal.append(tx, [JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", box.address, {
                "action": action, "until": until.isoformat() if until is not None else "", "by": actor})])
            return life

        return await self.stores.database.write(unit)

    async def edit(self, address: str, wanted: Edit, *, actor: str) -> Dossier:
        """Change what the directory and others know of a mailbox. Raises InputFault `BAL-…`, `TITULAIRE-…`."""
        now = self.clock.now()
        await self.stores.database.write(lambda tx: edit_tx(tx, self, self.box(tx, address), wanted, (actor, now)))
        return await self.show(address)


def edit_tx(tx: Tx, desk: LifeDesk, box: Mailbox, wanted: Edit, told: tuple[str, datetime]) -> bool:
    """Change a mailbox in this transaction; False when nothing differs. told: who, when. Raises InputFault."""
    actor, now = told
    stores = desk.stores
    if box.state is MailboxState.PURGED:
        raise InputFault(say(f"{box.address} est effacée", f"{box.address} is purged"), rule="BAL-EFFACEE")
    holder = box.holder_id if wanted.holder is None else check_holder(box.type, wanted.holder).national if wanted.holder else ""
    name = box.display_name if wanted.display_name is None else wanted.display_name
    before = stores.life.profiles(tx, [box.id]).get(box.id, Profile(box.id))
    after = profile_after(box, before, wanted)
    changed = [field for field in ("service", "description", "responsible", "structure_id", "contact", "red_list", "rank")
               if getattr(before, field) != getattr(after, field)]
    changed += [field for field, old, new in (("holder", box.holder_id, holder), ("display_name", box.display_name, name))
                if old != new]
    if not changed:
        return False
    stores.life.set_holder(tx, box.id, holder_id=holder, display_name=name[:200])
    stores.life.put_profiles(tx, [after], now)
    stores.journal.append(tx, [JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", box.address, {
        "action": "edited", "fields": " ".join(sorted(changed)), "by": actor})])
    return True


def profile_after(box: Mailbox, before: Profile, wanted: Edit) -> Profile:
    """Give the profile that an edit asks for. Raises InputFault `BAL-CHAMP`, `BAL-CONTACT`, `TITULAIRE-…`."""
    given = {name: value for name in ("service", "description", "responsible") if (value := getattr(wanted, name)) is not None}
    for name, value in given.items():
        check_field(box.type, name, value)
    after = replace(before, **given)
    if wanted.structure is not None:
        after = replace(after, structure_id=structure_of(wanted.structure))
    if wanted.contact is not None:
        after = replace(after, contact=contact_of(wanted.contact))
    if wanted.red_list is not None:
        after = replace(after, red_list=wanted.red_list)
    if wanted.rank is not None:
        if not 0 <= wanted.rank <= 99:
            raise InputFault(say(f"rang {wanted.rank}", f"rank {wanted.rank}"), rule="BAL-CHAMP",
                             remedy=say("de 1 à 99, 0 pour aucun", "1 to 99, 0 for none"))
        after = replace(after, rank=wanted.rank)
    return after


def structure_of(text: str) -> str:
    """Give the national identifier of a structure, empty for none. Raises InputFault `TITULAIRE-…`."""
    if not text:
        return ""
    found = parse_holder(text)
    if found.is_person:
        raise InputFault(say(f"{found.kind.value} n'est pas une structure", f"{found.kind.value} is not a structure"),
                         rule="TITULAIRE-TYPE", remedy="FINESS, SIRET")
    return found.national


def contact_of(text: str) -> str:
    """Give an address to warn a holder at, empty for none. Raises InputFault `BAL-CONTACT`."""
    if not text.strip():
        return ""
    try:
        return parse_envelope_address(text.strip()).key
    except InputFault as exc:
        raise InputFault(say(f"contact illisible : {text[:80]}", f"not an address: {text[:80]}"), rule="BAL-CONTACT",
                         remedy=say("utilisez nom@domaine", "use name@domain")) from exc


class UseBook:
    """Gathers logins, and writes what they mean for mailboxes."""

    def __init__(self, desk: LifeDesk) -> None:
        self._desk = desk
        self._seen: dict[int, datetime] = {}

    def note(self, account: Account, caller: Caller) -> None:
        """A login succeeded (`Accounts.listeners`): memory only."""
        if account.id in self._seen or len(self._seen) < MAX_WAITING:
            self._seen[account.id] = self._desk.clock.now()

    async def flush(self) -> int:
        """Write the uses; give how many mailboxes changed. What cannot be written is kept. Raises MssFault."""
        seen, self._seen = self._seen, {}
        if not seen:
            return 0
        try:
            moved, count = await self._desk.stores.database.write(lambda tx: self._write(tx, seen))
        except BaseException:
            self._seen = {**seen, **self._seen}
            raise
        for box, to in moved:
            self._desk.told(box.address, box.state, to)
        return count

    def _write(self, tx: Tx, seen: dict[int, datetime]) -> tuple[list[tuple[Mailbox, MailboxState]], int]:
        """Give the mailboxes that moved, and how many changed."""
        stores = self._desk.stores
        used: dict[int, datetime] = {}
        for held in stores.delegations.of_accounts(tx, list(seen)):
            at = seen[held.account_id]
            if held.runs(at):
                used[held.mailbox_id] = max(at, used.get(held.mailbox_id, at))
        boxes = stores.accounts.mailboxes_by_id(tx, sorted(used))
        lives = stores.life.lives(tx, [box.id for box in boxes])
        moved: list[tuple[Mailbox, MailboxState]] = []
        plain: list[Life] = []
        for box in boxes:
            at = used[box.id]
            life = lives.get(box.id) or new_life(box, at)
            to = self._opens(box, life)
            if to is not None:
                move_tx(tx, stores, box, to, Why("login", "life"), now=at)
                moved.append((box, to))
            elif box.id not in lives or life.warned_step or abs(at - life.last_used_at) > FRESH:
                plain.append(replace(life, last_used_at=at, warned_step=0, warned_at=None))
        stores.life.put_lives(tx, plain)
        return moved, len(moved) + len(plain)

    def _opens(self, box: Mailbox, life: Life) -> MailboxState | None:
        if box.state is MailboxState.PUBLISHED:
            return MailboxState.ACTIVE
        idle = box.state is MailboxState.SUSPENDED and (life.state, life.reason) == (box.state.value, INACTIVITY)
        return MailboxState.ACTIVE if idle and self._desk.settings.resume_on_login else None

