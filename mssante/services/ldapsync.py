"""Joiners and leavers by a local directory (LDAP, Active Directory): reads it all, plans, shows or applies.

- A run reads everything first: a directory that is down, cut by a limit, empty, or that hides an identifier, changes nothing.
  The plan (`ldapsync_plan`, `ldapsync_groups`) is on values; what is applied is decided again in each transaction, and only
  what the plan held is done: two runs at once, or a change by hand in between, cannot do more.
- A joiner gets a login with a secret that nobody knows and a PER mailbox. A leaver is disabled, loses every delegation, its
  mailbox is suspended; no mail, mailbox or account is ever deleted. Coming back undoes what leaving did, not the delegations.
- Members of groups get `open,send` on the ORG mailbox of the group; only grants that a run gave (`granted_by` is `BY`) are ever
  taken away, one given by hand is neither changed nor removed.
- Every change writes its journal events in its transaction (`by: ldap`). A second run on the same directory changes nothing.
Called by `topics/provisioning.py` (by period) and `cli/sync.py`. Passwords of the directory are never read.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mssante.clock import Clock
from mssante.errors import InputFault, OperatorFault
from mssante.lang import say
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.services.accounts import hash_secret
from mssante.services.delegations import MemberPlan, MemberSpec, apply_members, plan_members
from mssante.services.ldapsync_apply import BY, SOURCE, Writer
from mssante.services.ldapsync_groups import Team, teams_of
from mssante.services.ldapsync_plan import Action, Change, Held, Rules, Standing, guard, leavers, plan_people
from mssante.services.ldapsync_values import Problem, RawEntry, Reading, Sighting, contested, people_of
from mssante.storage.interfaces import Stores, Tx

BATCH = 100  # people of one transaction


class PeopleSource(Protocol):
    """Reads a directory (`transport.ldap_people`)."""

    async def read(self) -> tuple[Sequence[RawEntry], Sequence[RawEntry]]:
        """Give people and groups, all of them or none. Raises MssFault."""
        ...


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """What is obeyed. groups: DN or cn → address of an ORG mailbox."""

    reading: Reading
    require_holder: bool = True
    groups: Mapping[str, str] = field(default_factory=dict)
    member_attribute: str = "member"
    guard_percent: float = 20


@dataclass(frozen=True, slots=True)
class TeamChange:
    """Logins that enter and leave a mailbox."""

    address: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found and did. held: the guard's refusal; applied: False for a dry run or one that is held; seen: entries."""

    changes: tuple[Change, ...]
    teams: tuple[TeamChange, ...]
    problems: tuple[Problem, ...]
    seen: int
    held: Problem | None = None
    applied: bool = False


@dataclass(frozen=True, slots=True)
class _Seen:
    people: Mapping[str, Sighting]
    teams: Mapping[str, Team]
    problems: tuple[Problem, ...]
    rules: Rules


class SyncDesk:
    """Over open stores and one source."""

    def __init__(self, stores: Stores, clock: Clock, source: PeopleSource, settings: SyncSettings) -> None:
        self._stores = stores
        self._clock = clock
        self._source = source
        self._settings = settings

    async def run(self, *, dry_run: bool = False, force: bool = False) -> Outcome:
        """Read, plan, and unless `dry_run` apply. force: the guard does not hold; nothing else is forced.

        Raises MssFault: `LDAP-…` and `SYNC-…`, nothing is changed then but by `SYNC-CONCURRENCE` (a part may be: run again).
        """
        people, groups = await self._source.read()
        if not people or (self._settings.groups and not groups):
            raise InputFault(say("l'annuaire ne rend personne, ou aucun groupe : rien n'est changé",
                                 "the directory gives nobody, or no group: nothing is changed"), rule="SYNC-VIDE",
                             remedy="provisioning.ldap_base, ldap_filter, ldap_groups_base")
        seen = await asyncio.to_thread(self._seen, people, groups)
        found = await self._stores.database.read(lambda tx: self._plan(tx, seen, len(people)))
        if dry_run or (found.held is not None and not force):
            return found
        try:
            changes = await self._apply_people(seen, found.changes)
            teams = [await self._team(seen, one) for one in found.teams]
        except (ValueError, LookupError) as exc:  # made or removed by somebody else at the same moment
            raise OperatorFault(say("un compte a changé pendant la synchronisation",
                                    "a login changed during the synchronisation"), detail=type(exc).__name__,
                                rule="SYNC-CONCURRENCE", remedy="mssante account sync") from exc
        changed = tuple(one for one in teams if one.add or one.remove)
        return Outcome(tuple(changes), changed, found.problems, found.seen, None, True)

    # ------------------------------------------------------------ planning

    def _seen(self, people: Sequence[RawEntry], groups: Sequence[RawEntry]) -> _Seen:
        settings = self._settings
        found = people_of(people, settings.reading)
        teams, problems = teams_of(groups, settings.groups, settings.member_attribute, found)
        return _Seen(found, {one.address: one for one in teams}, tuple(problems),
                     Rules(settings.require_holder, contested(found.values())))

    def _standing(self, tx: Tx, people: Mapping[str, Sighting], external_ids: Sequence[str] | None) -> Standing:
        """Give what stands here for these people, or for all."""
        store = self._stores.delegations
        links = store.links(tx, SOURCE) if external_ids is None else store.find_links(tx, SOURCE, external_ids)
        asked = people.keys() if external_ids is None else people.keys() & set(external_ids)
        persons = [person for key in asked if (person := people[key].person) is not None]
        logins = {Held.of(one).login for one in links}.union(*[one.logins for one in persons])
        addresses = {name for one in persons for name in (*one.addresses, *one.logins) if "@" in name}
        taken = {one.address: one.mailbox_id for one in store.resolve(tx, sorted(addresses))}
        taken |= {box.address: box.id for box in self._stores.accounts.mailboxes_by_address(tx, sorted(addresses))}
        boxes = self._stores.accounts.mailboxes_by_id(tx, sorted({one.mailbox_id for one in links if one.mailbox_id}))
        return Standing({one.external_id: one for one in links}, store.people(tx, sorted(logins)), taken,
                        {box.id: box for box in boxes})

    def _plan(self, tx: Tx, seen: _Seen, count: int) -> Outcome:
        standing = self._standing(tx, seen.people, None)
        changes, problems = plan_people(seen.people, {*seen.people, *standing.links}, standing, seen.rules)
        teams, told, grants = self._plan_teams(tx, seen, standing, changes)
        percent = self._settings.guard_percent
        held = (guard(len(leavers(changes)), sum(one.active for one in standing.links.values()), percent,
                      say("comptes", "accounts"))
                or guard(sum(len(one.remove) for one in teams), grants, percent, say("membres d'équipes", "members of teams")))
        return Outcome(tuple(changes), tuple(teams), (*problems, *seen.problems, *told), count, held)

    def _boxes(self, tx: Tx, seen: _Seen) -> tuple[list[Mailbox], list[Problem]]:
        """Give the mailboxes of teams that may be touched, and tell the others."""
        found = {box.address: box for box in self._stores.accounts.mailboxes_by_address(tx, sorted(seen.teams))}
        good = [box for box in found.values() if box.type is MailboxType.ORG
                and box.address.rpartition("@")[2] in self._settings.reading.domains
                and box.state not in (MailboxState.CLOSED, MailboxState.PURGED)]
        wrong = sorted(set(seen.teams) - {box.address for box in good})
        return good, [Problem("SYNC-BOITE", one, say("ce n'est pas une boîte ORG ouverte d'un domaine permis",
                                                     "not an open ORG mailbox of a domain that may be touched"),
                              f"mssante mailbox add {one} --type ORG") for one in wrong]

    def _plan_teams(self, tx: Tx, seen: _Seen, standing: Standing,
                    changes: Sequence[Change]) -> tuple[list[TeamChange], list[Problem], int]:
        """Give what becomes of teams, what is told, and how many grants there are that a run gave."""
        boxes, told = self._boxes(tx, seen)
        coming = _logins_after(standing, changes)
        renamed = {one.before: one.login for one in changes if one.action is Action.RENAME}
        gone = {one.login for one in changes if one.action is Action.LEAVE}
        out, grants = [], 0
        rows = self._stores.delegations.of_mailboxes(tx, [box.id for box in boxes])
        for box in boxes:
            held = {renamed.get(one.login, one.login): one for one in rows if one.mailbox_id == box.id and one.login not in gone}
            wanted = {coming[one] for one in seen.teams[box.address].members if one in coming}
            ours = {login for login, one in held.items() if not one.own and one.granted_by == BY}
            grants += len(ours)
            change = TeamChange(box.address, tuple(sorted(wanted - held.keys())), tuple(sorted(ours - wanted)))
            out += [change] if change.add or change.remove else []
        return out, told, grants

    # ------------------------------------------------------------ applying

    async def _apply_people(self, seen: _Seen, changes: Sequence[Change]) -> list[Change]:
        planned: dict[str, set[Action]] = {}
        for one in sorted(changes, key=lambda one: one.action is not Action.LEAVE):  # who leaves, leaves first
            planned.setdefault(one.external_id, set()).add(one.action)
        secret = ""
        if any(one.action is Action.CREATE for one in changes):  # one a run, known to nobody: one logs in by other means
            secret = await asyncio.to_thread(hash_secret, secrets.token_urlsafe(32))
        ids, done = list(planned), list[Change]()
        for start in range(0, len(ids), BATCH):
            batch = ids[start:start + BATCH]

            def unit(tx: Tx, batch: list[str] = batch) -> list[Change]:
                standing = self._standing(tx, seen.people, batch)
                again, _ = plan_people(seen.people, batch, standing, seen.rules)
                now_done = [one for one in again if one.action in planned[one.external_id]]
                Writer(self._stores, self._clock.now(), secret).write(tx, standing, now_done)
                return now_done

            done += await self._stores.database.write(unit)
        return done

    async def _team(self, seen: _Seen, change: TeamChange) -> TeamChange:
        return await self._stores.database.write(lambda tx: self._apply_team(tx, seen, change))

    def _apply_team(self, tx: Tx, seen: _Seen, change: TeamChange) -> TeamChange:
        stores = self._stores
        boxes, _ = self._boxes(tx, seen)
        box = next((one for one in boxes if one.address == change.address), None)
        if box is None:
            return TeamChange(change.address)
        links = stores.delegations.find_links(tx, SOURCE, sorted(seen.teams[change.address].members))
        logins = {Held.of(one).login: one.account_id for one in links if one.active}
        people = stores.delegations.people(tx, sorted(logins))
        members = [MemberSpec(login) for login, account_id in logins.items()
                   if login in people and people[login].account_id == account_id]
        plan = plan_members(tx, stores, box, members, exact=True)
        kept = tuple(one for one in plan.effective if one.action == "add" or (
            one.action == "remove" and one.before is not None and one.before.granted_by == BY and one.login in change.remove))
        apply_members(tx, stores, MemberPlan(box, kept), by=BY, now=self._clock.now())
        return TeamChange(box.address, tuple(one.login for one in kept if one.action == "add"),
                          tuple(one.login for one in kept if one.action == "remove"))


def _logins_after(standing: Standing, changes: Sequence[Change]) -> dict[str, str]:
    """Give the login of each linked person that is active after these changes."""
    out = {}
    for key, link in standing.links.items():
        login = Held.of(link).login
        if link.active and login in standing.logins and standing.logins[login].account_id == link.account_id:
            out[key] = login
    for one in changes:
        if one.action in (Action.CREATE, Action.RETURN) or (one.action is Action.RENAME and one.external_id in out):
            out[one.external_id] = one.login
        elif one.action in (Action.LEAVE, Action.FORGET):
            out.pop(one.external_id, None)
    return out


__all__ = ["BY", "SOURCE", "Outcome", "PeopleSource", "SyncDesk", "SyncSettings", "TeamChange"]
