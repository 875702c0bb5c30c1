"""What the command line asks about shared mailboxes: teams, delegations with dates, aliases, who read and who sent.

- One assignment is one call: a team is given to a box in one transaction, or not at all when a member is wrong.
- A delegation for an absence is told to both by a message filed in their own mailboxes, in the same transaction.
- An address names one mailbox: an alias is refused where a mailbox or another alias stands, one that is over included, until it
  is removed. An alias names a mailbox, never another alias.
- Every change writes its journal event in the same transaction. A running server obeys within `DelegationBook.KEEP_SECONDS` and
  `RIGHTS_SECONDS` (5 s each), at an alias within 30 s; dates to the second.
Called by `cli/team.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.ids import new_trace_id
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.delegation import Alias, Delegation, Reading, Rights, rights_text
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox
from mssante.model.message import NewMessage, StagedBody
from mssante.protocol.mime.compose import Letter, letter
from mssante.protocol.mime.imapview import facts
from mssante.services.delegations import MemberChange, MemberPlan, MemberSpec, apply_members, delegation_event, plan_members
from mssante.storage.interfaces import Acceptance, Filing, JournalRow, Stores, Tx

JOURNAL_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Sending:
    """Who sent a message in the name of a box."""

    at: datetime
    login: str
    trace_id: str
    to: str


def filed_letter(box: Mailbox, subject: str, text: str, now: datetime) -> Acceptance:
    """Give a message of the operator to file in a mailbox of ours, without its going through any door."""
    trace_id = new_trace_id()
    to = parse_envelope_address(box.address)
    sender = parse_envelope_address(f"postmaster@{to.domain}")
    raw = letter(Letter(sender, (to,), subject, text, now, f"<{trace_id}@{to.domain}>", trace_id,
                        sender_name="Opérateur MSSanté", headers=(("Auto-Submitted", "auto-generated"),)))
    body = StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
    return Acceptance(NewMessage(body, b"Return-Path: <>\r\n", facts(raw), trace_id, now), (Filing(box.inbox_id),))


class SharedDesk:
    """Over open stores. hosted: our domains."""

    def __init__(self, stores: Stores, clock: Clock, hosted: frozenset[str]) -> None:
        self._stores = stores
        self._clock = clock
        self._hosted = hosted

    def _box(self, tx: Tx, address: str) -> Mailbox:
        found = self._stores.accounts.mailboxes_by_address(tx, [address])
        if not found:
            raise InputFault(say(f"boîte inconnue : {address}", f"unknown mailbox: {address}"), rule="BAL-INCONNUE",
                             remedy="mssante mailbox list")
        return found[0]

    # ------------------------------------------------------------ teams

    async def plan(self, address: str, members: Sequence[MemberSpec]) -> MemberPlan:
        """Say what giving members changes. Raises InputFault `BAL-INCONNUE`."""
        return await self._stores.database.read(lambda tx: plan_members(tx, self._stores, self._box(tx, address), members))

    async def add(self, address: str, members: Sequence[MemberSpec], *, by: str) -> MemberPlan:
        """Give members to a box, all or none. Raises InputFault with the first wrong member."""
        stores, now = self._stores, self._clock.now()

        def unit(tx: Tx) -> MemberPlan:
            plan = plan_members(tx, stores, self._box(tx, address), members)
            apply_members(tx, stores, plan, by=by, now=now)
            return plan

        return await stores.database.write(unit)

    async def remove(self, address: str, logins: Sequence[str], *, by: str) -> list[Delegation]:
        """Take a box from logins; give what they had. Raises InputFault `DELEGATION-ABSENTE` naming who has none."""
        stores, now = self._stores, self._clock.now()
        wanted = {login.lower() for login in logins}

        def unit(tx: Tx) -> list[Delegation]:
            box = self._box(tx, address)
            held = [one for one in stores.delegations.of_mailboxes(tx, [box.id]) if one.login in wanted and not one.own]
            missing = sorted(wanted - {one.login for one in held})
            if missing:
                raise InputFault(say(f"sans délégation sur {box.address} : {', '.join(missing)}",
                                     f"no delegation on {box.address}: {', '.join(missing)}"), rule="DELEGATION-ABSENTE",
                                 remedy="mssante mailbox team list")
            stores.delegations.take(tx, [(one.account_id, box.id) for one in held])
            stores.journal.append(tx, [delegation_event(box.address, MemberChange(
                "remove", one.login, one.account_id, one.rights, one.since, one.until, one), by=by, now=now) for one in held])
            return held

        return await stores.database.write(unit)

    async def team(self, address: str) -> list[Delegation]:
        """Give who opens a box, owners first. Raises InputFault `BAL-INCONNUE`."""
        return await self._stores.database.read(
            lambda tx: self._stores.delegations.of_mailboxes(tx, [self._box(tx, address).id]))

    async def delegate(self, owner: str, member: MemberSpec, *, by: str) -> MemberPlan:
        """Open a mailbox to one login for a time, and tell both. owner: address of the mailbox.

        Raises InputFault `BAL-INCONNUE`, `COMPTE-INCONNU`, `DELEGATION-DATE`, `DELEGATION-SOI` (one's own box).
        """
        stores, now = self._stores, self._clock.now()

        def unit(tx: Tx) -> MemberPlan:
            box = self._box(tx, owner)
            plan = plan_members(tx, stores, box, [member])
            if not plan.changes and not plan.problems:
                raise InputFault(say(f"{box.address} est déjà la boîte de {member.login}",
                                     f"{box.address} is the own mailbox of {member.login}"), rule="DELEGATION-SOI",
                                 remedy=say("nommez un autre compte", "name another login"))
            apply_members(tx, stores, plan, by=by, now=now)
            person = stores.delegations.people(tx, [member.login])[member.login]
            homes = stores.accounts.mailboxes_by_id(tx, [person.own]) if person.own else []
            stores.messages.accept(tx, [*[filed_letter(box, *_told_owner(box, member), now)],
                                        *[filed_letter(home, *_told_delegate(box, member), now) for home in homes]])
            return plan

        return await stores.database.write(unit)

    # ------------------------------------------------------------ aliases

    async def add_alias(self, box: str, address: str, until: datetime | None) -> Alias:
        """Give a mailbox another address. Raises InputFault `BAL-INCONNUE`, `ALIAS-ADRESSE`, `ALIAS-PRIS`."""
        stores, now, key = self._stores, self._clock.now(), self._alias_key(address)
        if until is not None and until <= now:
            raise InputFault(say("la fin de l'alias est passée", "the alias would be over already"), rule="ALIAS-ADRESSE",
                             remedy="--until")

        def unit(tx: Tx) -> Alias:
            home = self._box(tx, box)
            alias = Alias(key, home.id, home.address, now, until)
            stores.delegations.add_alias(tx, alias)
            self._alias_event(tx, alias, "alias_added", now)
            return alias

        try:
            return await stores.database.write(unit)
        except ValueError as exc:
            raise InputFault(say(f"adresse déjà prise : {key}", f"address taken: {key}"), rule="ALIAS-PRIS",
                             remedy="mssante mailbox alias list") from exc

    def _alias_key(self, address: str) -> str:
        try:
            found = parse_envelope_address(address.strip())
        except InputFault as exc:
            raise InputFault(say(f"alias refusé : {address[:80]}", f"alias refused: {address[:80]}"), detail=exc.rule,
                             rule="ALIAS-ADRESSE", remedy=say("utilisez nom@domaine", "use name@domain")) from exc
        if found.domain not in self._hosted or found.local.lower() == "postmaster" or not found.local.isascii():
            raise InputFault(say(f"alias refusé : {address[:80]}", f"alias refused: {address[:80]}"), rule="ALIAS-ADRESSE",
                             remedy=say("un domaine hébergé ici, et pas postmaster", "a domain hosted here, and not postmaster"))
        return found.key

    async def remove_alias(self, address: str) -> None:
        """Remove an alias. Raises InputFault `ALIAS-INCONNU`."""
        stores, now = self._stores, self._clock.now()

        def unit(tx: Tx) -> bool:
            found = stores.delegations.resolve(tx, [address])
            if not found:
                return False
            stores.delegations.remove_alias(tx, address)
            self._alias_event(tx, found[0], "alias_removed", now)
            return True

        if not await stores.database.write(unit):
            raise InputFault(say(f"alias inconnu : {address[:80]}", f"unknown alias: {address[:80]}"), rule="ALIAS-INCONNU",
                             remedy="mssante mailbox alias list")

    def _alias_event(self, tx: Tx, alias: Alias, action: str, now: datetime) -> None:
        self._stores.journal.append(tx, [JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", alias.box, {
            "action": action, "alias": alias.address, "until": alias.until.isoformat() if alias.until else ""})])

    async def aliases(self, box: str = "") -> list[Alias]:
        """Give the aliases of a box, or all. Raises InputFault `BAL-INCONNUE`."""
        def unit(tx: Tx) -> list[Alias]:
            return self._stores.delegations.aliases(tx, self._box(tx, box).id if box else None)

        return await self._stores.database.read(unit)

    # ------------------------------------------------------------ who read, who sent

    async def readers(self, address: str, *, message_key: str = "", since: datetime | None = None,
                      limit: int = 1000) -> list[Reading]:
        """Give first readings of a box, latest first. Raises InputFault `BAL-INCONNUE`."""
        def unit(tx: Tx) -> list[Reading]:
            return self._stores.delegations.readings(tx, self._box(tx, address).id, message_key=message_key, since=since,
                                                     limit=limit)

        return await self._stores.database.read(unit)

    async def senders(self, address: str, *, since: datetime | None = None, limit: int = 1000) -> list[Sending]:
        """Give who sent in the name of a box, latest first, from the journal. Raises InputFault `BAL-INCONNUE`."""
        def unit(tx: Tx) -> list[JournalRow]:
            box = self._box(tx, address)
            return self._stores.journal.recent(tx, kind=JournalKind.SUBMITTED.value, subject=box.address, limit=limit)

        rows = await self._stores.database.read(unit)
        return [Sending(row.at, str(row.payload.get("login", "")), row.trace_id, str(row.payload.get("to", "")))
                for row in rows if since is None or row.at >= since]


def with_bounds(member: MemberSpec, rights: Rights, since: datetime | None, until: datetime | None) -> MemberSpec:
    """Give a member with other rights and dates."""
    return replace(member, rights=rights, since=since, until=until)


def _period(member: MemberSpec) -> str:
    since = f"du {member.since.astimezone():%d/%m/%Y %H:%M} " if member.since else ""
    return f"{since}{f'au {member.until.astimezone():%d/%m/%Y %H:%M}' if member.until else 'sans date de fin'}"


def _told_owner(box: Mailbox, member: MemberSpec) -> tuple[str, str]:
    return ("Délégation de votre boîte", (
        f"Bonjour,\r\n\r\nLa boîte {box.address} est déléguée à {member.login}, {_period(member)}.\r\n"
        f"Droits : {rights_text(member.rights)}.\r\n\r\n"
        "Si vous ne l'avez pas demandé, prévenez l'administrateur de votre messagerie.\r\n"))


def _told_delegate(box: Mailbox, member: MemberSpec) -> tuple[str, str]:
    return ("Une boîte vous est déléguée", (
        f"Bonjour,\r\n\r\nLa boîte {box.address} vous est déléguée, {_period(member)}.\r\n"
        f"Droits : {rights_text(member.rights)}.\r\n\r\n"
        "Vous la trouvez dans votre logiciel sous « Partages », avec votre propre identifiant.\r\n"))
