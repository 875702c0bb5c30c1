"""What the command line, the lab and the console call: provisioning, queue, traces. Works beside a running server.

Every change writes its journal event in the same transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from email_validator import EmailNotValidError, validate_email

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType, Usage
from mssante.services.accounts import Secrets, make_secrets
from mssante.services.delegations import MemberSpec, apply_members, plan_members
from mssante.services.shareddesk import SharedDesk
from mssante.services.sharing import SharingDesk
from mssante.storage.interfaces import Account, JournalRow, NewMailbox, QueueItem, Stores, Tx

QUEUE_ACTIONS = ("hold", "release", "retry", "cancel")


@dataclass(frozen=True, slots=True)
class MailboxSpec:
    """A mailbox to create, with a login when `login` is given. password is hashed before it is stored."""

    address: str
    type: MailboxType
    login: str = ""
    password: str = ""
    holder_id: str = ""
    display_name: str = ""


class Admin:
    """Administration over open stores. hosted: our domains."""

    def __init__(self, stores: Stores, clock: Clock, hosted: frozenset[str]) -> None:
        self.stores = stores
        self._clock = clock
        self._hosted = hosted
        self.sharing = SharingDesk(stores, clock)
        self.shared = SharedDesk(stores, clock, hosted)

    def _checked(self, address: str) -> str:
        try:
            found = validate_email(address, check_deliverability=False, allow_smtputf8=False, test_environment=True)
            parse_envelope_address(f"{found.local_part}@{found.ascii_domain}")  # a mailbox that no RCPT could name
        except (EmailNotValidError, InputFault) as exc:
            raise InputFault(say(f"adresse refusée : {address}", f"address refused: {address}"), detail=str(exc),
                             rule="BAL-ADRESSE", remedy=say("utilisez nom@domaine", "use name@domain")) from exc
        if found.ascii_domain not in self._hosted:
            raise InputFault(
                say(f"le domaine {found.ascii_domain} n'est pas hébergé ici", f"{found.ascii_domain} is not hosted here"),
                rule="BAL-DOMAINE",
                remedy=say("ajoutez-le à domains.toml ou corrigez l'adresse", "add it to domains.toml or mend the address"))
        return f"{found.local_part}@{found.ascii_domain}".lower()

    async def create_mailboxes(self, specs: Sequence[MailboxSpec], *, members: Sequence[MemberSpec] = (),
                               by: str = "") -> list[Mailbox]:
        """Create mailboxes and their logins, all or none, each opened to these members. by: who gives them, for the journal.

        Raises InputFault (`BAL-…`, `COMPTE-INCONNU`, `DELEGATION-…`).
        """
        addresses = [self._checked(spec.address) for spec in specs]
        now = self._clock.now()
        news = [NewMailbox(address, spec.type, now, MailboxState.ACTIVE, spec.holder_id, spec.display_name)
                for address, spec in zip(addresses, specs, strict=True)]
        hashes = await self._hashes([spec.password for spec in specs if spec.login])

        def unit(tx: Tx) -> list[Mailbox]:
            made = self.stores.accounts.create_mailboxes(tx, news)
            logins = [(spec.login.lower(), hashes[spec.password].secret_hash, (box.id,))
                      for spec, box in zip(specs, made, strict=True) if spec.login]
            if logins:
                self.stores.accounts.create_accounts(
                    tx, logins, {spec.login.lower(): hashes[spec.password].scram for spec in specs if spec.login})
            self.stores.journal.append(tx, [JournalEvent(
                JournalKind.MAILBOX_CHANGED, now, "", box.address, {"action": "created", "type": box.type.value})
                for box in made])
            for box in made if members else ():
                apply_members(tx, self.stores, plan_members(tx, self.stores, box, members), by=by, now=now)
            return made

        try:
            return await self.stores.database.write(unit)
        except ValueError as exc:
            name = str(exc).removesuffix(" exists")
            raise InputFault(say(f"existe déjà : {name}", f"exists already: {name}"), rule="BAL-EXISTE",
                             remedy=f"mssante mailbox show {name}") from exc

    async def _hashes(self, passwords: Sequence[str]) -> dict[str, Secrets]:
        distinct = list(dict.fromkeys(passwords))
        hashed = await asyncio.gather(*(asyncio.to_thread(make_secrets, password) for password in distinct))
        return dict(zip(distinct, hashed, strict=True))

    async def create_account(self, login: str, password: str, addresses: Sequence[str]) -> Account:
        """Create a login that opens these mailboxes, the first being its own. Raises InputFault."""
        keys = [address.lower() for address in addresses]
        secret = await asyncio.to_thread(make_secrets, password)

        def unit(tx: Tx) -> Account:
            found = {box.address: box.id for box in self.stores.accounts.mailboxes_by_address(tx, keys)}
            missing = [key for key in keys if key not in found]
            if missing or not keys:
                raise InputFault(say(f"boîte inconnue : {', '.join(missing)}", f"unknown mailbox: {', '.join(missing)}"),
                                 rule="BAL-INCONNUE", remedy="mssante mailbox list")
            made = self.stores.accounts.create_accounts(
                tx, [(login.lower(), secret.secret_hash, tuple(found[k] for k in keys))], {login.lower(): secret.scram})
            self._account_event(tx, login, "created")
            return made[0]

        try:
            return await self.stores.database.write(unit)
        except ValueError as exc:
            name = str(exc).removesuffix(" exists")
            raise InputFault(say(f"existe déjà : {name}", f"exists already: {name}"), rule="COMPTE-EXISTE",
                             remedy="mssante account list") from exc

    def _account_event(self, tx: Tx, login: str, action: str) -> None:
        self.stores.journal.append(tx, [JournalEvent(JournalKind.ACCOUNT_CHANGED, self._clock.now(), "", login.lower(),
                                                     {"action": action})])

    async def change_account(self, login: str, *, password: str | None = None, enabled: bool | None = None) -> None:
        """Change password or state of a login. Raises InputFault `COMPTE-INCONNU`, `COMPTE-MOT-DE-PASSE`."""
        secret = await asyncio.to_thread(make_secrets, password) if password is not None else None

        def unit(tx: Tx) -> bool:
            done = self.stores.accounts.update_account(
                tx, login.lower(), secret_hash=secret.secret_hash if secret else None, enabled=enabled,
                scram=secret.scram if secret else "")
            if done:
                self._account_event(tx, login, "password" if secret else f"enabled={enabled}")
            return done

        if not await self.stores.database.write(unit):
            raise InputFault(say(f"compte inconnu : {login}", f"unknown login: {login}"), rule="COMPTE-INCONNU",
                             remedy="mssante account list")

    async def delete_account(self, login: str) -> None:
        """Remove a login; its mailboxes stay. Raises InputFault `COMPTE-INCONNU`."""
        def unit(tx: Tx) -> bool:
            done = self.stores.accounts.delete_account(tx, login.lower())
            if done:
                self.stores.rights.forget(tx, login.lower())  # who takes the name later must not find them
                self._account_event(tx, login, "deleted")
            return done

        if not await self.stores.database.write(unit):
            raise InputFault(say(f"compte inconnu : {login}", f"unknown login: {login}"), rule="COMPTE-INCONNU")

    async def accounts(self) -> list[Account]:
        """Give all logins."""
        return await self.stores.database.read(lambda tx: self.stores.accounts.list_accounts(tx))

    async def mailboxes(self, *, limit: int = 1000, after: str = "") -> list[Mailbox]:
        """Give mailboxes ordered by address."""
        return await self.stores.database.read(
            lambda tx: self.stores.accounts.list_mailboxes(tx, limit=limit, after=after))

    async def quota(self, address: str, *, octets: int | None = None, messages: int | None = None) -> tuple[Mailbox, Usage]:
        """Set those quotas that are given, 0 for none; give the mailbox and what it holds. Raises InputFault `BAL-INCONNUE`."""
        stores, key = self.stores, address.lower()

        def unit(tx: Tx) -> tuple[Mailbox, Usage] | None:
            found = stores.accounts.mailboxes_by_address(tx, [key])
            if not found:
                return None
            box, used = found[0], stores.messages.usage(tx, found[0].id)
            if octets is None and messages is None:
                return box, used
            box = replace(box, quota_bytes=box.quota_bytes if octets is None else octets,
                          quota_messages=box.quota_messages if messages is None else messages)
            stores.accounts.set_quota(tx, key, octets=box.quota_bytes, messages=box.quota_messages)
            stores.journal.append(tx, [JournalEvent(JournalKind.MAILBOX_CHANGED, self._clock.now(), "", key, {
                "action": "quota", "quota_bytes": box.quota_bytes, "quota_messages": box.quota_messages})])
            return box, used

        reading = octets is None and messages is None
        done = await (stores.database.read(unit) if reading else stores.database.write(unit))
        if done is None:
            raise InputFault(say(f"boîte inconnue : {address}", f"unknown mailbox: {address}"), rule="BAL-INCONNUE",
                             remedy="mssante mailbox list")
        return done

    async def queue(self, *, destination: str | None = None, limit: int = 1000) -> list[QueueItem]:
        """Give the recipients in the queue, oldest first."""
        return await self.stores.database.read(
            lambda tx: self.stores.queue.items(tx, destination=destination, limit=limit))

    async def queue_depth(self) -> dict[str, int]:
        """Count recipients in the queue by state."""
        return await self.stores.database.read(lambda tx: self.stores.queue.depth(tx))

    async def change_queue(self, action: str, *, queue_id: int | None = None, destination: str | None = None) -> int:
        """hold, release, retry or cancel recipients of a message or a destination; give how many changed.

        Raises InputFault `FILE-ACTION`.
        """
        if action not in QUEUE_ACTIONS:
            raise InputFault(say(f"action inconnue : {action}", f"unknown action: {action}"), rule="FILE-ACTION",
                             remedy=", ".join(QUEUE_ACTIONS))
        now = self._clock.now()

        def unit(tx: Tx) -> int:
            count = self.stores.queue.change(tx, action, now, queue_id=queue_id, destination=destination)
            self.stores.journal.append(tx, [JournalEvent(
                JournalKind.QUEUE_CHANGED, now, "", destination or f"queue {queue_id}",
                {"action": action, "recipients": count})])
            return count

        return await self.stores.database.write(unit)

    async def trace(self, trace_id: str) -> tuple[list[JournalRow], list[tuple[int, str, int]]]:
        """Give the journal of one transaction and where its message lies now (mailbox id, folder, uid)."""
        def unit(tx: Tx) -> tuple[list[JournalRow], list[tuple[int, str, int]]]:
            return self.stores.journal.by_trace(tx, trace_id), self.stores.messages.by_trace(tx, trace_id)

        return await self.stores.database.read(unit)

    async def journal(self, *, kind: str | None = None, subject: str | None = None, limit: int = 100) -> list[JournalRow]:
        """Give the latest events."""
        return await self.stores.database.read(
            lambda tx: self.stores.journal.recent(tx, kind=kind, subject=subject, limit=limit))
