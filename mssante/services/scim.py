"""Joiners and leavers by SCIM 2.0 (RFC 7644): a User is a login with its personal mailbox, a Group is a shared ORG mailbox.

- A client sees and changes only the people that SCIM brought (links of source `scim`): a login or a mailbox made otherwise is
  never adopted (409), never shown, never disabled. No password, right, quota, state or type can be set from outside: what is not
  in the schema is left out, whoever sends it.
- A joiner gets a login and a PER mailbox at the first of its addresses that is in a domain of this service, with its RPPS number
  checked. A leaver (`active: false`, or DELETE) is disabled at once, loses every delegation, its mailbox is suspended; no mail is
  deleted. Coming back opens login and mailbox again, not the delegations.
- Groups are the ORG mailboxes of the domains; members get `open,send`. They are neither made nor removed here.
- Every change is one transaction with its journal events (`by: scim:<token>`), refused when the resource changed since it was
  read (If-Match). Filters run over documents in memory, never in the database.
Called by `endpoints/scim.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.ids import new_trace_id
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType
from mssante.protocol.scim.filters import Tree, fits, read_filter, wanted_login
from mssante.protocol.scim.patch import apply_patch
from mssante.protocol.scim.values import GROUP, HOLDER, USER, Document, ScimFault
from mssante.services.accounts import hash_secret
from mssante.services.delegations import MemberChange, MemberPlan, MemberSpec, apply_members, end_delegations, plan_members
from mssante.services.life import Why, move_tx
from mssante.services.scim_documents import clean_user, home_address, member_ids
from mssante.storage.delegations import Link
from mssante.storage.interfaces import NewMailbox, Stores, Tx

SOURCE = "scim"
MAX_GROUPS = 5000
HolderCheck = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ScimSettings:
    """domains: of people and boxes that may be touched; require_mailbox, require_holder: of each person."""

    domains: frozenset[str]
    require_mailbox: bool = True
    require_holder: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks. by: name for the journal; match: the versions of If-Match, empty for any."""

    by: str
    match: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Page:
    """What a search gives: resources of one page, and how many there are in all."""

    resources: tuple[Document, ...]
    total: int


def version_of(document: Document) -> str:
    """Give the entity tag of a resource, over all but its `meta` (RFC 7644 §3.14)."""
    body = {name: value for name, value in document.items() if name != "meta"}
    return f'W/"{hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]}"'


class ScimDesk:
    """Over open stores. check_holder raises InputFault for a number that is no RPPS."""

    def __init__(self, stores: Stores, clock: Clock, settings: ScimSettings, check_holder: HolderCheck) -> None:
        self._stores = stores
        self._clock = clock
        self._settings = settings
        self._check_holder = check_holder

    # ------------------------------------------------------------ users

    async def users(self, filter_text: str, start: int, count: int) -> Page:
        """Search users. start: first result, from 1. Raises ScimFault."""
        tree = read_filter(filter_text) if filter_text else None

        def unit(tx: Tx) -> Page:
            name = wanted_login(tree)
            if name:
                people = self._stores.delegations.people(tx, [name])
                links = self._stores.delegations.link_of_accounts(tx, [one.account_id for one in people.values()])
            else:
                links = self._stores.delegations.links(tx, SOURCE)
            return self._page(tx, [one for one in links if one.source == SOURCE], tree, (start, count))

        return await self._stores.database.read(unit)

    def _page(self, tx: Tx, links: Sequence[Link], tree: Tree | None, bounds: tuple[int, int]) -> Page:
        start, count = bounds
        if tree is None:
            return Page(tuple(self._documents(tx, links[start - 1:start - 1 + count])), len(links))
        found = [one for one in self._documents(tx, links) if fits(tree, one)]
        return Page(tuple(found[start - 1:start - 1 + count]), len(found))

    async def user(self, user_id: str) -> Document:
        """Give one user. Raises ScimFault 404."""
        return await self._stores.database.read(lambda tx: self._documents(tx, [self._link(tx, user_id)])[0])

    def _link(self, tx: Tx, user_id: str) -> Link:
        found = self._stores.delegations.find_links(tx, SOURCE, [user_id])
        if not found:
            raise ScimFault(404, "no such user")
        return found[0]

    def _documents(self, tx: Tx, links: Sequence[Link]) -> list[Document]:
        """Give users with what is true here: mailbox, groups."""
        boxes = {box.id: box for box in self._stores.accounts.mailboxes_by_id(tx, sorted({one.mailbox_id for one in links}))}
        groups = self._groups_of(tx, [one.account_id for one in links])
        out = []
        for link in links:
            document: Document = json.loads(link.document)
            held = document.setdefault(HOLDER, {})
            if link.mailbox_id in boxes:
                held["mailbox"] = boxes[link.mailbox_id].address
            if not held:
                del document[HOLDER]
            if groups.get(link.account_id):
                document["groups"] = [{"value": str(box.id), "display": box.address, "$ref": f"/scim/v2/Groups/{box.id}"}
                                      for box in groups[link.account_id]]
            document |= {"schemas": [USER, *([HOLDER] if held else [])], "id": link.external_id, "active": link.active}
            document["meta"] = {"resourceType": "User", "created": document.pop("_created", link.updated_at.isoformat()),
                                "lastModified": link.updated_at.isoformat(), "location": f"/scim/v2/Users/{link.external_id}",
                                "version": version_of(document)}
            out.append(document)
        return out

    async def create(self, raw: Document, asked: Asked) -> Document:
        """Make a login with its mailbox. Raises ScimFault 400, 409 `uniqueness`."""
        wanted = clean_user(raw)
        address = self._address(wanted)
        secret = await asyncio.to_thread(hash_secret, secrets.token_urlsafe(32))  # nobody knows it: one logs in by other means
        now = self._clock.now()

        def unit(tx: Tx) -> Document:
            login = wanted["userName"].lower()
            self._refuse_taken(tx, login, address)
            holder_id = wanted.get(HOLDER, {}).get("holderId", "")
            boxes = self._stores.accounts.create_mailboxes(tx, [NewMailbox(
                address, MailboxType.PER, now, MailboxState.ACTIVE, holder_id, wanted.get("displayName", ""))]) if address else []
            (account,) = self._stores.accounts.create_accounts(tx, [(login, secret, tuple(box.id for box in boxes))])
            document = {name: value for name, value in wanted.items() if name != "active"} | {"_created": now.isoformat()}
            link = Link(SOURCE, new_trace_id(), account.id, boxes[0].id if boxes else 0, "", json.dumps(document), True, now, now)
            self._stores.delegations.put_links(tx, [link])
            self._told(tx, login, boxes, ("created", asked.by))
            if not wanted.get("active", True):
                link = self._leave(tx, link, login, asked)
            return self._documents(tx, [link])[0]

        try:
            return await self._stores.database.write(unit)
        except ValueError as exc:  # made by somebody else at the same moment
            raise ScimFault(409, "userName or address is taken", "uniqueness") from exc

    def _address(self, wanted: Document) -> str:
        """Give the address of a joiner's mailbox. Raises ScimFault."""
        address = home_address(wanted, self._settings.domains)
        if not address and self._settings.require_mailbox:
            raise ScimFault(400, "emails: none is in a domain of this service", "invalidValue")
        holder_id = wanted.get(HOLDER, {}).get("holderId", "")
        if holder_id:
            self._holder(holder_id)
        elif address and self._settings.require_holder:
            raise ScimFault(400, f"{HOLDER}:holderId: a personal mailbox needs the RPPS number of its holder", "invalidValue")
        return address

    def _holder(self, holder_id: str) -> None:
        try:
            self._check_holder(holder_id)
        except InputFault as fault:
            raise ScimFault(400, f"{HOLDER}:holderId: [{fault.rule}]", "invalidValue") from fault

    def _refuse_taken(self, tx: Tx, login: str, address: str) -> None:
        """Neither a login nor a mailbox that exists is taken over, whoever made it."""
        taken = login in self._stores.delegations.people(tx, [login])
        if address and not taken:
            taken = bool(self._stores.accounts.mailboxes_by_address(tx, [address])
                         or self._stores.delegations.resolve(tx, [address]))
        if taken:
            raise ScimFault(409, "userName or address is taken", "uniqueness")

    def _told(self, tx: Tx, login: str, boxes: Sequence[Mailbox], what: tuple[str, str]) -> None:
        action, by = what
        now = self._clock.now()
        self._stores.journal.append(tx, [
            JournalEvent(JournalKind.ACCOUNT_CHANGED, now, "", login, {"action": action, "by": by}),
            *[JournalEvent(JournalKind.MAILBOX_CHANGED, now, "", box.address, {
                "action": action, "type": box.type.value, "by": by}) for box in boxes]])

    async def replace(self, user_id: str, raw: Document, asked: Asked) -> Document:
        """PUT: the whole document. Raises ScimFault 404, 412, 400, 409."""
        return await self._change(user_id, lambda document: raw, asked)

    async def patch(self, user_id: str, raw: Document, asked: Asked) -> Document:
        """PATCH. Raises ScimFault 404, 412, 400, 409."""
        return await self._change(user_id, lambda document: apply_patch(document, raw), asked)

    async def _change(self, user_id: str, change: Callable[[Document], Document], asked: Asked) -> Document:
        now = self._clock.now()

        def unit(tx: Tx) -> Document:
            link = self._link(tx, user_id)
            (standing,) = self._documents(tx, [link])
            _match(standing, asked)
            if not self._owns(tx, {standing["userName"].lower(): link.account_id}):
                raise ScimFault(404, "this login was removed here")
            wanted = clean_user(change(standing))
            self._refuse_immutable(standing, wanted)
            login, before = wanted["userName"].lower(), standing["userName"].lower()
            if login != before:
                self._rename(tx, link, (before, login), asked)
            kept = {name: value for name, value in wanted.items() if name != "active"}
            kept["_created"] = standing["meta"]["created"]
            link = replace(link, document=json.dumps(kept), updated_at=now, seen_at=now)
            self._stores.delegations.put_links(tx, [link])
            active = wanted.get("active", standing["active"])
            if link.active and not active:
                link = self._leave(tx, link, login, asked)
            elif active and not link.active:
                link = self._come_back(tx, link, login, asked)
            return self._documents(tx, [link])[0]

        return await self._stores.database.write(unit)

    def _owns(self, tx: Tx, logins: Mapping[str, int]) -> bool:
        """Tell if these logins still are the accounts that SCIM made: one removed here, and made again by somebody else under the
        same name, is not."""
        people = self._stores.delegations.people(tx, list(logins))
        return all(login in people and people[login].account_id == account_id for login, account_id in logins.items())

    def _refuse_immutable(self, standing: Document, wanted: Document) -> None:
        before = standing.get(HOLDER, {}).get("holderId", "")
        after = wanted.get(HOLDER, {}).get("holderId", "")
        if before and after != before:
            if after:
                raise ScimFault(400, f"{HOLDER}:holderId never changes", "mutability")
            wanted.setdefault(HOLDER, {})["holderId"] = before
        elif after:
            self._holder(after)

    def _rename(self, tx: Tx, link: Link, names: tuple[str, str], asked: Asked) -> None:
        """Give a login another name; rights in folders that name the old one go: who takes it later must not find them."""
        before, after = names
        try:
            self._stores.delegations.rename_login(tx, link.account_id, after)
        except (ValueError, LookupError) as exc:
            raise ScimFault(409, "userName is taken", "uniqueness") from exc
        self._stores.rights.forget(tx, before)
        self._told(tx, after, (), (f"renamed from {before}", asked.by))

    async def delete(self, user_id: str, asked: Asked) -> None:
        """A leaver for good: as `active: false`, and unknown to SCIM from then on; login, mailbox and mail stay.

        Raises ScimFault 404, 412.
        """
        def unit(tx: Tx) -> None:
            link = self._link(tx, user_id)
            (standing,) = self._documents(tx, [link])
            _match(standing, asked)
            if self._owns(tx, {standing["userName"].lower(): link.account_id}):
                self._leave(tx, link, standing["userName"].lower(), asked)
            self._stores.delegations.drop_links(tx, SOURCE, [user_id])

        await self._stores.database.write(unit)

    def _leave(self, tx: Tx, link: Link, login: str, asked: Asked) -> Link:
        """Disable a login, end its delegations, suspend its mailbox."""
        now = self._clock.now()
        self._stores.accounts.update_account(tx, login, enabled=False)
        end_delegations(tx, self._stores, [link.account_id], by=asked.by, now=now)
        self._state(tx, link, (MailboxState.ACTIVE, MailboxState.SUSPENDED), asked)
        self._told(tx, login, (), ("enabled=False", asked.by))
        return self._linked(tx, link, active=False, now=now)

    def _come_back(self, tx: Tx, link: Link, login: str, asked: Asked) -> Link:
        self._stores.accounts.update_account(tx, login, enabled=True)
        self._state(tx, link, (MailboxState.SUSPENDED, MailboxState.ACTIVE), asked)
        self._told(tx, login, (), ("enabled=True", asked.by))
        return self._linked(tx, link, active=True, now=self._clock.now())

    def _linked(self, tx: Tx, link: Link, *, active: bool, now: datetime) -> Link:
        changed = replace(link, active=active, updated_at=now)
        self._stores.delegations.put_links(tx, [changed])
        return changed

    def _state(self, tx: Tx, link: Link, change: tuple[MailboxState, MailboxState], asked: Asked) -> None:
        """Take the mailbox from one state to another; one that is closed or purged stays so."""
        before, after = change
        for box in self._stores.accounts.mailboxes_by_id(tx, [link.mailbox_id]) if link.mailbox_id else ():
            if box.state is before or (before is MailboxState.ACTIVE and box.state is MailboxState.PUBLISHED):
                move_tx(tx, self._stores, box, after, Why("provisioning", asked.by), now=self._clock.now())

    # ------------------------------------------------------------ groups

    def _group_boxes(self, tx: Tx) -> list[Mailbox]:
        found: list[Mailbox] = []
        after = ""
        while len(found) < MAX_GROUPS:
            page = self._stores.accounts.list_mailboxes(tx, limit=1000, after=after)
            found += [box for box in page if self._is_group(box)]
            if len(page) < 1000:
                break
            after = page[-1].address
        return found

    def _is_group(self, box: Mailbox) -> bool:
        return (box.type is MailboxType.ORG and box.address.rpartition("@")[2] in self._settings.domains
                and box.state not in (MailboxState.CLOSED, MailboxState.PURGED))

    def _groups_of(self, tx: Tx, account_ids: Sequence[int]) -> dict[int, list[Mailbox]]:
        held = [one for one in self._stores.delegations.of_accounts(tx, account_ids) if not one.own]
        boxes = {box.id: box for box in self._stores.accounts.mailboxes_by_id(tx, sorted({one.mailbox_id for one in held}))
                 if self._is_group(box)}
        found: dict[int, list[Mailbox]] = {}
        for one in held:
            if one.mailbox_id in boxes:
                found.setdefault(one.account_id, []).append(boxes[one.mailbox_id])
        return found

    def _group_documents(self, tx: Tx, boxes: Sequence[Mailbox]) -> list[Document]:
        ids = {one.account_id: one for one in self._stores.delegations.links(tx, SOURCE)}
        members: dict[int, list[Document]] = {}
        for one in self._stores.delegations.of_mailboxes(tx, [box.id for box in boxes]):
            if not one.own and one.account_id in ids:
                link = ids[one.account_id]
                members.setdefault(one.mailbox_id, []).append({
                    "value": link.external_id, "display": one.login, "type": "User",
                    "$ref": f"/scim/v2/Users/{link.external_id}"})
        out = []
        for box in boxes:
            document: Document = {"schemas": [GROUP], "id": str(box.id), "displayName": box.address}
            if members.get(box.id):
                document["members"] = members[box.id]
            document["meta"] = {"resourceType": "Group", "location": f"/scim/v2/Groups/{box.id}", "version": version_of(document)}
            out.append(document)
        return out

    async def groups(self, filter_text: str, start: int, count: int) -> Page:
        """Search groups. Raises ScimFault."""
        tree = read_filter(filter_text) if filter_text else None

        def unit(tx: Tx) -> Page:
            found = [one for one in self._group_documents(tx, self._group_boxes(tx)) if tree is None or fits(tree, one)]
            return Page(tuple(found[start - 1:start - 1 + count]), len(found))

        return await self._stores.database.read(unit)

    def _group(self, tx: Tx, group_id: str) -> Mailbox:
        number = int(group_id) if group_id.isascii() and group_id.isdecimal() and len(group_id) < 19 else 0
        found = [box for box in self._stores.accounts.mailboxes_by_id(tx, [number]) if self._is_group(box)]
        if not found:
            raise ScimFault(404, "no such group")
        return found[0]

    async def group(self, group_id: str) -> Document:
        """Give one group. Raises ScimFault 404."""
        return await self._stores.database.read(lambda tx: self._group_documents(tx, [self._group(tx, group_id)])[0])

    async def change_group(self, group_id: str, raw: Document, asked: Asked, *, patch: bool) -> Document:
        """PUT or PATCH of the members of a group. People that SCIM did not bring are neither shown nor changed.

        Raises ScimFault 404, 412, 400.
        """
        now = self._clock.now()

        def unit(tx: Tx) -> Document:
            box = self._group(tx, group_id)
            (standing,) = self._group_documents(tx, [box])
            _match(standing, asked)
            wanted = member_ids(apply_patch(standing, raw) if patch else raw)
            self._set_members(tx, box, (set(member_ids(standing)), wanted), (asked.by, now))
            return self._group_documents(tx, [box])[0]

        return await self._stores.database.write(unit)

    def _set_members(self, tx: Tx, box: Mailbox, members: tuple[set[str], Sequence[str]], told: tuple[str, datetime]) -> None:
        before, after = members
        by, now = told
        joining = [one for one in after if one not in before]
        links = {one.external_id: one for one in self._stores.delegations.find_links(tx, SOURCE, [*joining, *before])}
        if any(one not in links or not links[one].active for one in joining):
            raise ScimFault(400, "members: no such active user", "invalidValue")
        standing = {one.account_id: one for one in self._stores.delegations.of_mailboxes(tx, [box.id])}
        logins = {json.loads(links[one].document)["userName"].lower(): links[one].account_id for one in joining}
        if not self._owns(tx, logins):
            raise ScimFault(400, "members: a login was removed here", "invalidValue")
        plan = plan_members(tx, self._stores, box, [MemberSpec(login) for login in logins])
        gone = [standing[links[one].account_id] for one in before if one not in after]
        leaving = tuple(MemberChange("remove", one.login, one.account_id, one.rights, one.since, one.until, one) for one in gone)
        apply_members(tx, self._stores, MemberPlan(box, (*plan.changes, *leaving), plan.problems), by=by, now=now)


def _match(document: Document, asked: Asked) -> None:
    """Refuse a change of a resource that is not what the client read any more (RFC 7644 §3.14)."""
    if asked.match and "*" not in asked.match and document["meta"]["version"] not in asked.match:
        raise ScimFault(412, "the resource changed since it was read")
