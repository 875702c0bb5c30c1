"""Writes what `ldapsync_plan` decided, inside one transaction: accounts, mailboxes, delegations, links, journal events.

Nothing is deleted but the link of an account that is gone on both sides. Leaving notes what it really changed (an account or a
mailbox closed by hand before stays closed on return). Called by `services/ldapsync.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.services.delegations import end_delegations
from mssante.services.ldapsync_plan import Action, Change, Held, Standing
from mssante.services.ldapsync_values import Person
from mssante.services.life import Why, move_tx
from mssante.storage.delegations import Link
from mssante.storage.identities import AccountProfile
from mssante.storage.interfaces import NewMailbox, Stores, Tx

SOURCE = "ldap"
BY = "ldap"


@dataclass(slots=True)
class Writer:
    """Of one transaction. secret: hash that new logins get."""

    stores: Stores
    now: datetime
    secret: str

    def write(self, tx: Tx, standing: Standing, changes: Sequence[Change]) -> None:
        """Do these changes, in order. Raises ValueError, LookupError when somebody else took a name meanwhile."""
        links: dict[str, Link] = dict(standing.links)
        touched: dict[str, Link] = {}
        deeds: Mapping[Action, Callable[[Tx, Link, Change, Standing], Link]] = {
            Action.RENAME: self._rename, Action.UPDATE: self._update, Action.RETURN: self._return, Action.LEAVE: self._leave}
        for change in changes:
            key = change.external_id
            if change.action is Action.FORGET:
                self.stores.delegations.drop_links(tx, SOURCE, [key])
            elif change.action is Action.CREATE:
                touched[key] = links[key] = self._create(tx, change)
            else:
                done = deeds[change.action](tx, links[key], change, standing)
                touched[key] = links[key] = replace(done, updated_at=self.now, seen_at=self.now)
        self.stores.delegations.put_links(tx, list(touched.values()))

    def _create(self, tx: Tx, change: Change) -> Link:
        person = change.person or Person((change.login,), (change.address,))
        (box,) = self.stores.accounts.create_mailboxes(tx, [NewMailbox(
            change.address, MailboxType.PER, self.now, MailboxState.ACTIVE, person.holder_id, _shown(person))])
        (account,) = self.stores.accounts.create_accounts(tx, [(change.login, self.secret, (box.id,))])
        self._names(tx, account.id, person)
        self._told(tx, change.login, "created")
        self._box_told(tx, box, {"action": "created", "type": box.type.value})
        held = Held(change.login, person.given_name, person.family_name, person.display_name)
        return Link(SOURCE, change.external_id, account.id, box.id, "", held.document(), True, self.now, self.now)

    def _rename(self, tx: Tx, link: Link, change: Change, standing: Standing) -> Link:
        """Rights in folders that name the old login go: who takes it later must not find them."""
        self.stores.delegations.rename_login(tx, link.account_id, change.login)
        self.stores.rights.forget(tx, change.before)
        self._told(tx, change.login, f"renamed from {change.before}")
        return replace(link, document=replace(Held.of(link), login=change.login).document())

    def _update(self, tx: Tx, link: Link, change: Change, standing: Standing) -> Link:
        if change.person is None:
            return link
        person = change.person
        self._names(tx, link.account_id, person)
        self._told(tx, change.login, "names")
        return replace(link, document=replace(Held.of(link), given_name=person.given_name, family_name=person.family_name,
                                              display_name=person.display_name).document())

    def _names(self, tx: Tx, account_id: int, person: Person) -> None:
        standing = self.stores.identities.profile(tx, account_id) or AccountProfile(account_id)
        self.stores.identities.put_profile(tx, replace(
            standing, given_name=person.given_name, family_name=person.family_name,
            holder_id=standing.holder_id or person.holder_id), self.now)

    def _leave(self, tx: Tx, link: Link, change: Change, standing: Standing) -> Link:
        enabled = standing.logins[change.login].enabled
        self.stores.accounts.update_account(tx, change.login, enabled=False)
        end_delegations(tx, self.stores, [link.account_id], by=BY, now=self.now)
        box = standing.boxes.get(link.mailbox_id)
        moved = box is not None and box.state in (MailboxState.ACTIVE, MailboxState.PUBLISHED)
        if box is not None and moved:
            self._state(tx, box, MailboxState.SUSPENDED)
        self._told(tx, change.login, "enabled=False")
        held = replace(Held.of(link), left_account=enabled, left_mailbox=moved)
        return replace(link, active=False, document=held.document())

    def _return(self, tx: Tx, link: Link, change: Change, standing: Standing) -> Link:
        held = Held.of(link)
        if held.left_account:
            self.stores.accounts.update_account(tx, change.login, enabled=True)
        box = standing.boxes.get(link.mailbox_id)
        if box is not None and held.left_mailbox and box.state is MailboxState.SUSPENDED:
            self._state(tx, box, MailboxState.ACTIVE)
        self._told(tx, change.login, f"enabled={held.left_account}")
        return replace(link, active=True, document=replace(held, left_account=False, left_mailbox=False).document())

    def _state(self, tx: Tx, box: Mailbox, state: MailboxState) -> None:
        move_tx(tx, self.stores, box, state, Why("provisioning", BY), now=self.now)

    def _told(self, tx: Tx, login: str, action: str) -> None:
        self.stores.journal.append(tx, [JournalEvent(
            JournalKind.ACCOUNT_CHANGED, self.now, "", login, {"action": action, "by": BY})])

    def _box_told(self, tx: Tx, box: Mailbox, payload: dict[str, str]) -> None:
        self.stores.journal.append(tx, [JournalEvent(
            JournalKind.MAILBOX_CHANGED, self.now, "", box.address, {**payload, "by": BY})])


def _shown(person: Person) -> str:
    return person.display_name or f"{person.given_name} {person.family_name}".strip()
