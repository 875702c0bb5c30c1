"""Bulk changes of mailboxes from a CSV: a plan shown first, then applied in parts; export in the same form.

- Resumable by nature: what a line asks for is compared with what is there, so that a file applied again, after a kill or
  not, does what is left, and says so when there is nothing left.
- Each part of `BATCH` lines is one transaction, which compares again: what changed since the plan was shown is never
  overwritten by a plan that is old (`plan_hash`), nor half a line written.
- A mailbox never changes its address or type (spec §4.1); one that was purged is not made again while its address is reserved.
- Members and aliases are added or changed, never taken away. Nothing is done when a line is wrong, unless `partial`.
- A login that a line names, and that does not exist, is made with its mailbox as its own; its password comes from the caller
  (`ImportPlan.passwords`), which has kept it where it is handed over from before anything is made. Lines that make logins come
  first, so that one file brings people and the shared mailboxes that they open.
Called by `cli/mailbox_bulk.py`. `mailbox_csv` reads and writes the file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.delegation import Alias, rights_text
from mssante.model.identifiers import parse_holder
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox, MailboxState
from mssante.model.mailbox_rules import check_move, check_people
from mssante.services.accounts import Secrets, make_secrets
from mssante.services.delegations import MemberPlan, apply_members, plan_members
from mssante.services.life import Edit, LifeDesk, Why, edit_tx, move_tx, new_life, profile_after
from mssante.services.mailbox_csv import Line, Problem, Sheet, check_edit, write_rows
from mssante.storage.delegations import Person
from mssante.storage.interfaces import NewMailbox, Tx
from mssante.storage.life import Profile

BATCH = 100
PAGE = 500
_LOGIN = "login: "
BORN = (MailboxState.PROVISIONED, MailboxState.PUBLISHED, MailboxState.ACTIVE)


@dataclass(frozen=True, slots=True)
class Planned:
    """What becomes of a line. action: `create`, `update`, `unchanged` or `conflict`; changes: `column: before -> after`."""

    line: Line
    action: str
    changes: tuple[str, ...] = ()
    problem: Problem | None = None


@dataclass(slots=True)
class ImportPlan:
    """A whole file."""

    planned: list[Planned]
    problems: list[Problem]
    notice: str = ""
    passwords: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def logins(self) -> list[str]:
        """Logins that the plan makes: each needs a password."""
        return [one.line.login for one in self.planned if any(change.startswith(_LOGIN) for change in one.changes)]

    def counts(self) -> dict[str, int]:
        """Count lines by action, `error` for those that cannot be read."""
        found = dict.fromkeys(("create", "update", "unchanged", "conflict"), 0)
        for one in self.planned:
            found[one.action] += 1
        return {**found, "error": len(self.problems)}

    @property
    def wrong(self) -> list[Problem]:
        """All that is wrong, by line."""
        conflicts = [one.problem for one in self.planned if one.problem is not None]
        return sorted((*self.problems, *conflicts), key=lambda one: one.row)

    def digest(self) -> str:
        """Give the hash of what the plan does: the same for the same file on the same mailboxes."""
        body = [(one.line.row, one.line.address, one.action, one.changes) for one in self.planned]
        wrong = [(one.row, one.rule) for one in self.wrong]
        return hashlib.sha256(json.dumps([body, wrong]).encode()).hexdigest()[:16]


@dataclass(slots=True)
class _Known:
    """What is there about the mailboxes of a part."""

    boxes: dict[str, Mailbox]
    profiles: dict[int, Profile]
    members: dict[str, MemberPlan] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)  # aliases asked for that are mailboxes
    logins: dict[str, Person] = field(default_factory=dict)


class MailboxImport:
    """Over the desk of lives."""

    def __init__(self, desk: LifeDesk) -> None:
        self._desk = desk
        self._stores = desk.stores
        self._coming: frozenset[str] = frozenset()  # logins of the lines of the file: there before the boxes that they open
        self._secrets: dict[str, Secrets] = {}
        self._making: frozenset[str] = frozenset()  # logins that the part at hand makes

    # ------------------------------------------------------------ plan

    async def plan(self, sheet: Sheet) -> ImportPlan:
        """Compare a file with what is there; nothing is written."""
        planned: list[Planned] = []
        self._coming = frozenset(line.login for line in sheet.lines if line.login)
        for start in range(0, len(sheet.lines), PAGE):
            part = sheet.lines[start:start + PAGE]
            planned += await self._stores.database.read(partial(self._plan_part, part))
        return ImportPlan(planned, list(sheet.problems), sheet.notice)

    def _plan_part(self, lines: Sequence[Line], tx: Tx) -> list[Planned]:
        known = self._known(tx, lines)
        return [self._planned(line, known) for line in lines]

    def _known(self, tx: Tx, lines: Sequence[Line]) -> _Known:
        stores = self._stores
        boxes = {box.address: box for box in stores.accounts.mailboxes_by_address(tx, [line.address for line in lines])}
        known = _Known(boxes, stores.life.profiles(tx, [box.id for box in boxes.values()]))
        asked = sorted({alias for line in lines for alias in line.aliases})
        known.aliases = {one.address: one for one in stores.delegations.resolve(tx, [*asked, *[line.address for line in lines]])}
        known.taken = {box.address for box in stores.accounts.mailboxes_by_address(tx, asked)} if asked else set()
        logins = sorted({one.login for line in lines for one in line.members} | {line.login for line in lines if line.login})
        known.logins = dict(stores.delegations.people(tx, logins)) if logins else {}
        for line in lines:
            if line.members and line.address in boxes:
                there = [one for one in line.members if one.login in known.logins or one.login not in self._coming]
                known.members[line.address] = plan_members(tx, stores, boxes[line.address], there)
        return known

    def _planned(self, line: Line, known: _Known) -> Planned:
        box = known.boxes.get(line.address)
        try:
            changes = self._born(line, known) if box is None else self._changes(line, box, known)
        except InputFault as fault:
            return Planned(line, "conflict", (), Problem(line.row, fault.rule, fault.public, fault.remedy))
        return Planned(line, "create" if box is None else "update" if changes else "unchanged", tuple(changes))

    def _born(self, line: Line, known: _Known) -> list[str]:
        """Check a mailbox to create; give what it is made of. Raises InputFault."""
        if line.address in known.aliases:
            raise InputFault(say(f"{line.address} est un alias de {known.aliases[line.address].box}",
                                 f"{line.address} is an alias of {known.aliases[line.address].box}"), rule="ALIAS-PRIS",
                             remedy="mssante mailbox alias list")
        state = line.state or MailboxState.ACTIVE
        if line.kind is None or (not line.edit.holder and state is not MailboxState.PROVISIONED):
            raise InputFault(say("boîte nouvelle sans type ou sans titulaire", "new mailbox without type or holder"),
                             rule="TITULAIRE-MANQUE", remedy=say("remplissez type et holder, ou state = provisioned",
                                                                 "fill in type and holder, or state = provisioned"))
        if state not in BORN:
            raise InputFault(say(f"une boîte ne naît pas {state.value}", f"a mailbox is not born {state.value}"),
                             rule="BAL-TRANSITION", remedy=", ".join(BORN))
        check_edit(line.kind, line.edit)
        self._logins(line, known)
        self._aliases(line, known, "")
        return [f"type: {line.kind.value}", f"state: {state.value}", *_texts(line.edit),
                *([f"quota: {line.quota}"] if line.quota else []),
                *[f"member: {one.login} {rights_text(one.rights)}" for one in line.members],
                *[f"alias: {one}" for one in line.aliases], *self._own(line, None, known)]

    def _own(self, line: Line, box: Mailbox | None, known: _Known) -> list[str]:
        """Give the login to make for a mailbox. Raises InputFault when it is there, and its own mailbox is another."""
        person = known.logins.get(line.login)
        if person is not None and (box is None or person.own != box.id):
            raise InputFault(say(f"le compte {line.login} existe, et ouvre une autre boîte comme sienne",
                                 f"login {line.login} exists, and its own mailbox is another"), rule="COMPTE-EXISTE",
                             remedy=say("prenez un autre login, ou members", "take another login, or members"))
        return [f"{_LOGIN}{line.login}"] if line.login and person is None else []

    def _changes(self, line: Line, box: Mailbox, known: _Known) -> list[str]:
        """Give what a line changes. Raises InputFault."""
        if box.state is MailboxState.PURGED:
            raise InputFault(say(f"{box.address} est réservée : sa boîte a été effacée",
                                 f"{box.address} is reserved: it was purged"),
                             rule="BAL-RESERVEE", remedy=say("prenez une autre adresse", "take another address"))
        if line.kind is not None and line.kind is not box.type:
            raise InputFault(say(f"{box.address} est {box.type.value} : le type ne change jamais",
                                 f"{box.address} is {box.type.value}: the type never changes"), rule="BAL-TYPE",
                             remedy=say("fermez-la et créez-en une autre", "close it and make another one"))
        edit = _edit_of(line, box)
        check_edit(box.type, edit)
        found = _differences(box, known.profiles.get(box.id, Profile(box.id)), edit)
        if line.state is not None and line.state is not box.state:
            check_move(box, line.state)
            found.append(f"state: {box.state.value} -> {line.state.value}")
        if line.quota is not None and line.quota != box.quota_bytes:
            found.append(f"quota: {box.quota_bytes} -> {line.quota}")
        if line.members:
            check_people(box.type)
            self._logins(line, known)
            plan = known.members[line.address]
            if plan.problems:
                raise InputFault(plan.problems[0].text, rule=plan.problems[0].rule, remedy=plan.problems[0].remedy)
            found += [f"member: {one.action} {one.login} {rights_text(one.rights)}" for one in plan.effective]
            found += [f"member: add {one.login} {rights_text(one.rights)}" for one in line.members
                      if one.login not in known.logins]
        return [*found, *[f"alias: {one}" for one in self._aliases(line, known, box.address)], *self._own(line, box, known)]

    def _logins(self, line: Line, known: _Known) -> None:
        missing = sorted({one.login for one in line.members} - known.logins.keys() - self._coming)
        if missing:
            names = ", ".join(missing[:5])
            raise InputFault(say(f"compte inconnu : {names}", f"unknown login: {names}"), rule="COMPTE-INCONNU",
                             remedy=say("mssante account add, ou une ligne avec ce login",
                                        "mssante account add, or a line with this login"))

    def _aliases(self, line: Line, known: _Known, address: str) -> list[str]:
        """Give the aliases to add. Raises InputFault when one is somebody else's."""
        wanted = []
        for alias in line.aliases:
            standing = known.aliases.get(alias)
            if alias in known.taken or (standing is not None and standing.box != address):
                raise InputFault(say(f"adresse déjà prise : {alias}", f"address taken: {alias}"), rule="ALIAS-PRIS",
                                 remedy="mssante mailbox alias list")
            if standing is None:
                wanted.append(alias)
        return wanted

    # ------------------------------------------------------------ apply

    def check(self, plan: ImportPlan, *, partial_: bool = False, plan_hash: str = "") -> None:
        """Refuse a plan before anything is done. Raises InputFault `IMPORT-PLAN` (the one shown was another), `IMPORT-FAUTES` (a
        line is wrong; not with `partial_`)."""
        if plan_hash and plan_hash != plan.digest():
            raise InputFault(say("le fichier ou les boîtes ont changé depuis le plan",
                                 "file or mailboxes changed since the plan"),
                             rule="IMPORT-PLAN", remedy="mssante mailbox plan")
        if plan.wrong and not partial_:
            count = len(plan.wrong)
            raise InputFault(say(f"{count} ligne(s) en faute : rien n'est fait", f"{count} wrong line(s): nothing is done"),
                             rule="IMPORT-FAUTES", remedy=say("corrigez-les, ou --partial", "mend them, or --partial"))

    async def apply(self, plan: ImportPlan, *, actor: str, partial_: bool = False, plan_hash: str = "",
                    told: Callable[[int, int], None] | None = None) -> dict[str, int]:
        """Do what a plan says; give how many lines were done by action. told: (done, of) after each part.

        Raises InputFault as `check`, and `IMPORT-MOTS-DE-PASSE` (the plan makes logins and `plan.passwords` lacks some).
        """
        self.check(plan, partial_=partial_, plan_hash=plan_hash)
        if not plan.passwords.keys() >= set(plan.logins):
            count = len(plan.logins)
            raise InputFault(say(f"{count} compte(s) à créer : où écrire leurs mots de passe ?",
                                 f"{count} login(s) to make: where do their passwords go?"),
                             rule="IMPORT-MOTS-DE-PASSE", remedy="--passwords-out FILE.csv")
        todo = [one.line for one in plan.planned if one.action in ("create", "update")]
        first = [line for line in todo if line.login and not line.members]  # people before what they open
        rest = [line for line in todo if not line.login or line.members]
        self._coming = frozenset()  # from here on, what is there counts
        done, seen = {"create": 0, "update": 0, "conflict": 0}, 0
        for part in (lines[start:start + BATCH] for lines in (first, rest) for start in range(0, len(lines), BATCH)):
            self._secrets = await self._hashed(part, plan.passwords)
            for action in await self._part(part, actor):
                done[action] = done.get(action, 0) + 1
            seen += len(part)
            if told is not None:
                told(seen, len(todo))
        done.pop("unchanged", None)
        return done

    async def _hashed(self, lines: Sequence[Line], passwords: Mapping[str, str]) -> dict[str, Secrets]:
        """Give the stored forms of the passwords of a part, made off the event loop."""
        logins = [line.login for line in lines if line.login in passwords]
        made = await asyncio.gather(*(asyncio.to_thread(make_secrets, passwords[login]) for login in logins))
        return dict(zip(logins, made, strict=True))

    async def _part(self, lines: Sequence[Line], actor: str) -> list[str]:
        """Do one part in one transaction; line by line when one of them cannot be done any more."""
        try:
            actions, moved = await self._stores.database.write(partial(self._apply_part, lines, (actor, self._desk.clock.now())))
        except (InputFault, ValueError, LookupError):
            if len(lines) == 1:
                return ["conflict"]
            return [action for line in lines for action in await self._part([line], actor)]
        for box, to in moved:
            self._desk.told(box.address, box.state, to)
        return actions

    def _apply_part(self, lines: Sequence[Line], said: tuple[str, datetime],
                    tx: Tx) -> tuple[list[str], list[tuple[Mailbox, MailboxState]]]:
        """Do one part; give actions and moves. Raises LookupError when one of several lines cannot be done any more."""
        known = self._known(tx, lines)
        planned = [self._planned(line, known) for line in lines]
        if any(one.action == "conflict" for one in planned) and len(lines) > 1:
            raise LookupError("a line cannot be done any more")
        self._making = frozenset(one.line.login for one in planned if any(text.startswith(_LOGIN) for text in one.changes))
        made = self._create(tx, [one.line for one in planned if one.action == "create"], said)
        moved = [(box, box.state) for box in made.values()]
        for one in planned:
            if one.action in ("create", "update"):
                box = made.get(one.line.address) or known.boxes[one.line.address]
                moved += self._write(tx, one.line, box, self._aliases(one.line, known, box.address), said)
        return [one.action for one in planned], moved

    def _create(self, tx: Tx, lines: Sequence[Line], said: tuple[str, datetime]) -> dict[str, Mailbox]:
        actor, now = said
        news = [NewMailbox(line.address, line.kind, now, line.state or MailboxState.ACTIVE,
                           display_name=line.edit.display_name or "",
                           holder_id=parse_holder(line.edit.holder).national if line.edit.holder else "")
                for line in lines if line.kind is not None]
        made = self._stores.accounts.create_mailboxes(tx, news)
        self._stores.life.put_lives(tx, [new_life(box, now) for box in made])
        self._stores.journal.append(tx, [JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", box.address, {
            "action": "created", "type": box.type.value, "by": actor}) for box in made])
        return {box.address: box for box in made}

    def _write(self, tx: Tx, line: Line, box: Mailbox, aliases: Sequence[str], said: tuple[str, datetime],
               ) -> list[tuple[Mailbox, MailboxState]]:
        """Write what differs; give the move, if there is one. Raises InputFault, ValueError."""
        (actor, now), stores = said, self._stores
        edit_tx(tx, self._desk, box, _edit_of(line, box), said)
        events: list[JournalEvent] = []
        if line.quota is not None and line.quota != box.quota_bytes:
            stores.accounts.set_quota(tx, box.address, octets=line.quota, messages=box.quota_messages)
            events.append(JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", box.address, {
                "action": "quota", "quota_bytes": line.quota, "quota_messages": box.quota_messages, "by": actor}))
        if line.login in self._making:
            made = self._secrets[line.login]
            stores.accounts.create_accounts(tx, [(line.login, made.secret_hash, (box.id,))], {line.login: made.scram})
            events.append(JournalEvent(JournalKind.ACCOUNT_CHANGED, now, "", line.login, {"action": "created", "by": actor}))
        if line.members:
            apply_members(tx, stores, plan_members(tx, stores, box, line.members), by=actor, now=now)
        for alias in aliases:
            stores.delegations.add_alias(tx, Alias(alias, box.id, box.address, now))
            events.append(JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", box.address, {
                "action": "alias_added", "alias": alias, "until": "", "by": actor}))
        stores.journal.append(tx, events)
        if line.state is None or line.state is box.state:
            return []
        move_tx(tx, stores, box, line.state, Why("import", actor), now=now)
        return [(box, line.state)]

    # ------------------------------------------------------------ export

    async def export(self) -> AsyncIterator[str]:
        """Give CSV text part by part, the head first; purged mailboxes are left out."""
        yield "\ufeff" + write_rows([], head=True)
        after = ""
        while True:
            rows, after = await self._stores.database.read(partial(self._export_page, after))
            yield write_rows(rows, head=False)
            if not after:
                return

    def _export_page(self, after: str, tx: Tx) -> tuple[list[list[str]], str]:
        stores = self._stores
        page = stores.accounts.list_mailboxes(tx, limit=PAGE, after=after)
        boxes = [box for box in page if box.state is not MailboxState.PURGED]
        ids = [box.id for box in boxes]
        profiles = stores.life.profiles(tx, ids)
        members: dict[int, list[str]] = {}
        owners: dict[int, str] = {}
        for one in stores.delegations.of_mailboxes(tx, ids):
            if one.own:
                owners.setdefault(one.mailbox_id, one.login)
            elif one.since is None:
                end = f"@{one.until.isoformat()}" if one.until is not None else ""
                members.setdefault(one.mailbox_id, []).append(f"{one.login}:{rights_text(one.rights)}{end}")
        aliases: dict[int, list[str]] = {}
        for alias in stores.delegations.aliases(tx) if boxes else ():
            aliases.setdefault(alias.mailbox_id, []).append(alias.address)
        rows = [[*_row(box, profiles.get(box.id, Profile(box.id)), members.get(box.id, []), aliases.get(box.id, [])),
                 owners.get(box.id, "")]
                for box in boxes]
        return rows, page[-1].address if len(page) == PAGE else ""


def _row(box: Mailbox, profile: Profile, members: Sequence[str], aliases: Sequence[str]) -> list[str]:
    return [box.address, box.type.value, box.state.value, box.holder_id, box.display_name, profile.service, profile.description,
            profile.responsible, profile.structure_id, "oui" if profile.red_list else "non", str(profile.rank),
            str(box.quota_bytes),
            profile.contact, " ".join(members), " ".join(aliases)]


def _edit_of(line: Line, box: Mailbox) -> Edit:
    """Give the edit of a line; a holder that stands already is not judged again: old numbers may be wrong (spec ans-data §2)."""
    return replace(line.edit, holder=None) if line.edit.holder == box.holder_id else line.edit


def _texts(edit: Edit) -> list[str]:
    names = ("holder", "display_name", "service", "description", "responsible", "structure", "contact", "red_list", "rank")
    return [f"{name}: {value}" for name in names if (value := getattr(edit, name)) not in (None, "", False, 0)]


def _differences(box: Mailbox, before: Profile, edit: Edit) -> list[str]:
    """Give `column: before -> after` of what an edit changes. Raises InputFault."""
    after = profile_after(box, before, edit)
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in (
        "service", "description", "responsible", "structure_id", "contact", "red_list", "rank")]
    holder = parse_holder(edit.holder).national if edit.holder else edit.holder
    wanted = replace(box, holder_id=box.holder_id if holder is None else holder,
                     display_name=box.display_name if edit.display_name is None else edit.display_name)
    pairs += [(name, getattr(box, name), getattr(wanted, name)) for name in ("holder_id", "display_name")]
    return [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]
