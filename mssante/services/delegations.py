"""Who opens and sends for a mailbox beside its owner: reading of members, plans, their application, and what is in force now.

- A member is written `LOGIN[:rights][@until]`, for example `lea@ch.mssante.fr:read,send@2026-12-31`; several are separated by
  semicolons or spaces (a CSV cell), rights in it by commas or `+`. Without rights: `open,send`. `until` is the last day included,
  in the time of this machine, or an ISO 8601 instant.
- A plan is shown before anything changes; what it names wrongly is told member by member, and nothing of such a plan is applied.
- Every change writes its journal event in the same transaction: the mailbox, the login, rights, dates, and who gave it.
- `DelegationBook` answers what a login may do in a mailbox at this instant: rows are remembered for `KEEP_SECONDS`, dates are
  compared at each question, so that a delegation begins and ends to the second; one taken away by another process acts within
  `KEEP_SECONDS`.
Called by `services/shareddesk.py`, the import of mailboxes, provisioning (`ScimDesk`, LDAP) and submission.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.delegation import TEAM, Delegation, NewDelegation, Right, Rights, rights_of, rights_text
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.mailbox_rules import check_people
from mssante.storage.interfaces import Stores, Tx

KEEP_SECONDS = 5.0
CAPACITY = 20_000
MAX_MEMBERS = 500
MAX_MEMBERS_TEXT = 65_536  # characters
_UNTIL = re.compile(r"@(\d{4}-\d{2}-\d{2}(?:[Tt][0-9:.+\-Zz]{4,24})?)\Z")


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """One member as it was written. until: excluded end."""

    login: str
    rights: Rights = TEAM
    until: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class MemberChange:
    """What becomes of one login. action: `add`, `change`, `keep` or `remove`; before: what it has, None for nothing."""

    action: str
    login: str
    account_id: int
    rights: Rights
    since: datetime | None
    until: datetime | None
    before: Delegation | None = None


@dataclass(frozen=True, slots=True)
class MemberProblem:
    """A member that cannot be: the rule, the login, what to do."""

    rule: str
    login: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """What is to be done for one mailbox."""

    mailbox: Mailbox
    changes: tuple[MemberChange, ...] = ()
    problems: tuple[MemberProblem, ...] = ()

    @property
    def effective(self) -> tuple[MemberChange, ...]:
        """Those that change something."""
        return tuple(one for one in self.changes if one.action != "keep")


# ------------------------------------------------------------------------------------------ reading


def bound(text: str, *, end: bool) -> datetime:
    """Give the instant of a day or an ISO 8601 instant; a day means its beginning, or with `end` the beginning of the next one.

    Raises InputFault `DELEGATION-DATE`. Days are those of this machine's time zone.
    """
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            return datetime.combine(day + timedelta(days=1) if end else day, time()).astimezone()
        at = datetime.fromisoformat(text)
        return at if at.tzinfo is not None else at.astimezone()
    except (ValueError, OverflowError) as exc:
        raise InputFault(say(f"date illisible : {text[:40]}", f"not a date: {text[:40]}"), rule="DELEGATION-DATE",
                         remedy=say("AAAA-MM-JJ ou un instant ISO 8601", "YYYY-MM-DD or an ISO 8601 instant")) from exc


def read_rights(text: str) -> Rights:
    """Give rights from `open,send`. Raises InputFault `DELEGATION-DROITS`."""
    try:
        return rights_of(text)
    except ValueError as exc:
        raise InputFault(say(f"droits inconnus : {text[:64]}", f"unknown rights: {text[:64]}"), rule="DELEGATION-DROITS",
                         remedy="open, read, send") from exc


def parse_member(text: str) -> MemberSpec:
    """Read one member. Raises InputFault `DELEGATION-MEMBRE`, `DELEGATION-DROITS`, `DELEGATION-DATE`."""
    rest, until = text.strip(), None
    found = _UNTIL.search(rest)
    if found is not None:
        until, rest = bound(found[1], end=True), rest[:found.start()]
    login, colon, rights = rest.partition(":")
    login = login.strip().lower()
    if not 0 < len(login) <= 254 or any(character.isspace() or not character.isprintable() for character in login):
        raise InputFault(say(f"membre illisible : {text[:80]}", f"not a member: {text[:80]}"), rule="DELEGATION-MEMBRE",
                         remedy="LOGIN[:open,send][@AAAA-MM-JJ]")
    return MemberSpec(login, read_rights(rights) if colon else TEAM, until)


def parse_members(text: str) -> tuple[MemberSpec, ...]:
    """Read members separated by semicolons or white space; the last mention of a login counts.

    Raises InputFault as `parse_member`.
    """
    if len(text) > MAX_MEMBERS_TEXT:
        raise InputFault(say("liste de membres trop longue", "list of members too long"), rule="DELEGATION-MEMBRE",
                         remedy=say(f"{MAX_MEMBERS} membres au plus", f"{MAX_MEMBERS} members at most"))
    words = [word for word in re.split(r"[;\s]+", text) if word]
    if len(words) > MAX_MEMBERS:
        raise InputFault(say(f"{len(words)} membres : trop", f"{len(words)} members: too many"), rule="DELEGATION-MEMBRE",
                         remedy=say(f"{MAX_MEMBERS} au plus", f"{MAX_MEMBERS} at most"))
    found = {one.login: one for one in map(parse_member, words)}
    return tuple(found.values())


# ------------------------------------------------------------------------------------------ planning


def plan_members(tx: Tx, stores: Stores, mailbox: Mailbox, members: Sequence[MemberSpec], *, exact: bool = False) -> MemberPlan:
    """Say what giving these members to a mailbox changes; nothing is written. Two statements.

    exact: who is not among the members loses what it had (provisioning from another system).
    """
    people = stores.delegations.people(tx, [one.login for one in members]) if members else {}
    standing = {one.login: one for one in stores.delegations.of_mailboxes(tx, [mailbox.id])}
    changes: list[MemberChange] = []
    problems: list[MemberProblem] = []
    for one in members:
        person, before = people.get(one.login), standing.get(one.login)
        problem = _problem(one, mailbox, known=person is not None)
        if before is not None and before.own:
            continue  # an owner has it all already, and without end
        if problem is not None or person is None:
            problems += [problem] if problem is not None else []
            continue
        same = before is not None and (before.rights, before.since, before.until) == (one.rights, one.since, one.until)
        action = "keep" if same else "add" if before is None else "change"
        changes.append(MemberChange(action, one.login, person.account_id, one.rights, one.since, one.until, before))
    if exact:
        named = {one.login for one in members}
        changes += [MemberChange("remove", one.login, one.account_id, one.rights, one.since, one.until, one)
                    for one in standing.values() if one.login not in named and not one.own]
    return MemberPlan(mailbox, tuple(changes), tuple(problems))


def _problem(member: MemberSpec, mailbox: Mailbox, *, known: bool) -> MemberProblem | None:
    try:
        check_people(mailbox.type)
    except InputFault as fault:
        return MemberProblem(fault.rule, member.login, fault.public, fault.remedy)
    if not known:
        return MemberProblem("COMPTE-INCONNU", member.login, say(f"compte inconnu : {member.login}",
                                                                 f"unknown login: {member.login}"), "mssante account add")
    if member.since is not None and member.until is not None and member.until <= member.since:
        return MemberProblem("DELEGATION-DATE", member.login, say(f"{member.login} : la fin précède le début",
                                                                  f"{member.login}: it ends before it begins"), "--from, --until")
    return None


def apply_members(tx: Tx, stores: Stores, plan: MemberPlan, *, by: str, now: datetime) -> int:
    """Write what a plan says, with its events; give how many members changed. by: who gives it, for the journal.

    Raises InputFault with the first problem of the plan: nothing of a plan with problems is applied.
    """
    if plan.problems:
        first = plan.problems[0]
        raise InputFault(first.text, rule=first.rule, remedy=first.remedy)
    changes = plan.effective
    stores.delegations.give(tx, [NewDelegation(one.account_id, plan.mailbox.id, one.rights, one.since, one.until, by)
                                 for one in changes if one.action != "remove"])
    stores.delegations.take(tx, [(one.account_id, plan.mailbox.id) for one in changes if one.action == "remove"])
    if changes:
        stores.journal.append(tx, [delegation_event(plan.mailbox.address, one, by=by, now=now) for one in changes])
    return len(changes)


def delegation_event(address: str, change: MemberChange, *, by: str, now: datetime) -> JournalEvent:
    """Give the event of one change."""
    return JournalEvent(JournalKind.DELEGATION, now, subject=address, payload={
        "action": change.action, "login": change.login, "rights": rights_text(change.rights),
        "since": change.since.isoformat() if change.since else "", "until": change.until.isoformat() if change.until else "",
        "by": by})


def end_delegations(tx: Tx, stores: Stores, account_ids: Sequence[int], *, by: str, now: datetime) -> int:
    """Take every delegation of logins away (a leaver), their own mailboxes excepted; give how many."""
    held = [one for one in stores.delegations.of_accounts(tx, account_ids) if not one.own]
    stores.delegations.take_all(tx, account_ids)
    if held:
        stores.journal.append(tx, [delegation_event(one.address, MemberChange(
            "remove", one.login, one.account_id, one.rights, one.since, one.until, one), by=by, now=now) for one in held])
    return len(held)


# ------------------------------------------------------------------------------------------ in force


@dataclass(frozen=True, slots=True)
class _Kept:
    until: float
    by_box: dict[int, Delegation]


class DelegationBook:
    """What logins may do in mailboxes at this instant."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    async def of(self, account_id: int, mailbox_id: int) -> Delegation | None:
        """Give the delegation (or ownership) in force now, None when there is none."""
        kept = self._kept.get(account_id)
        if kept is None or kept.until < self._clock.monotonic():
            kept = await self._read(account_id)
        found = kept.by_box.get(mailbox_id)
        return found if found is not None and found.runs(self._clock.now()) else None

    async def may_send(self, account_id: int, mailbox_id: int) -> bool:
        """Tell if a login may send in the name of a mailbox now."""
        found = await self.of(account_id, mailbox_id)
        return found is not None and (found.own or Right.SEND in found.rights)

    async def _read(self, account_id: int) -> _Kept:
        at = self._clock.monotonic()
        rows = await self._stores.database.read(
            lambda tx: self._stores.delegations.of_account(tx, account_id), quick=True)
        kept = self._kept[account_id] = _Kept(at + KEEP_SECONDS, {one.mailbox_id: one for one in rows})
        if len(self._kept) > CAPACITY:
            self._kept.popitem(last=False)
        return kept

    def forget(self) -> None:
        """Forget all: this process changed delegations."""
        self._kept.clear()
