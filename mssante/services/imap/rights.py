"""What a session may do in the mailboxes of others (RFC 4314), and under which names it sees them (RFC 2342).

- One's own mailbox (the first of the account) needs nothing from here: its owner has all rights, for ever, without a read.
- A mailbox that the account opens by delegation gives it all rights but `a`, on every folder, `lr` when it only reads it; what is
  said to its login or to `anyone` comes on top. Delegations are read with the tree, not taken from the login of long ago, and
  their dates are obeyed to the second. Elsewhere, rights are what the rows of `folder_right` say.
- Names: `<prefix>/<address>/<folder>`, the prefix from the configuration. A folder without `l` is not in the tree at all, so that
  it cannot be told from one that does not exist: same answer, same reads.
- The tree is read in one unit and kept by the session; it is read again when a folder list or a right changed in this process,
  and after `RIGHTS_SECONDS`, for what another process (the command line) changed.
- The rights of the open folder are looked at before every command; when `r` or `l` is gone, the session ends (RFC 4314 §5.1.1).
Called by `session.py` and the folder commands; the letters are in `protocol/imap/rights.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from mssante.model.delegation import Right
from mssante.model.mailbox import Folder
from mssante.protocol.imap import rights as letters
from mssante.protocol.imap.faults import CommandRefused
from mssante.storage.interfaces import Account, Grant, Reader, Stores, Tx

if TYPE_CHECKING:
    from mssante.services.imap.session import ImapServices

RIGHTS_SECONDS = 5.0
_INBOX = "INBOX"
_OWNER = frozenset(letters.ALL)
DELEGATE = _OWNER - {"a"}  # of who opens the box of others in place of its own, by a token that names it


@dataclass(frozen=True, slots=True)
class SharedFolder:
    """A folder of another mailbox that the user may see. folder: under the name that the user gives it; local: its own name."""

    folder: Folder
    address: str
    local: str
    rights: frozenset[str]
    delegated: bool


@dataclass(slots=True)
class SharedTree:
    """All that a user may see of others. boxes: mailbox id by address; opened: ids of those that the account opens itself."""

    by_name: dict[str, SharedFolder] = field(default_factory=dict)
    by_id: dict[int, SharedFolder] = field(default_factory=dict)
    boxes: dict[str, int] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)


class Shares:
    """The part of others that one session sees."""

    __slots__ = ("_account", "_lead", "_read_at", "_root", "_services", "_tree", "_turn", "_version")

    def __init__(self, services: ImapServices) -> None:
        self._services = services
        self._root = services.settings.other_users_prefix
        self._lead = self._root + "/"
        self._tree = SharedTree()
        self._account: Account | None = None
        self._version = -1
        self._read_at = 0.0
        self._turn: datetime | None = None  # when a delegation begins or ends next

    # ------------------------------------------------------------------------------------------ names

    @property
    def lead(self) -> str:
        """The prefix of the namespace, with its separator."""
        return self._lead

    def covers(self, name: str) -> bool:
        """Tell if a name is in the namespace of other users."""
        return name.startswith(self._lead) or name == self._root

    def split(self, name: str) -> tuple[str, str]:
        """Give (address, local name) of a name of this namespace, both as they are kept; local is empty above a mailbox."""
        address, _, local = name[len(self._lead):].partition("/")
        if local[:5].upper() == _INBOX and local[5:6] in ("", "/"):
            local = _INBOX + local[5:]
        return address.lower(), local

    def join(self, address: str, local: str) -> str:
        """Give the name under which the user sees a folder."""
        return f"{self._lead}{address}/{local}"

    # ------------------------------------------------------------------------------------------ reading

    def fresh(self, account: Account | None) -> bool:
        """Tell if what is known may be trusted without a read."""
        return (account is self._account and self._version == self._services.registry.shares_version
                and self._services.clock.monotonic() - self._read_at < RIGHTS_SECONDS
                and (self._turn is None or self._services.clock.now() < self._turn))

    async def tree(self, account: Account | None) -> SharedTree:
        """Give what this account sees of others; one unit when it was not read lately."""
        if account is None:
            return SharedTree()
        if self.fresh(account):
            return self._tree
        version, read_at = self._services.registry.shares_version, self._services.clock.monotonic()
        stores, now = self._services.stores, self._services.clock.now()

        def unit(tx: Tx) -> SharedRead:
            return shared_tx(tx, stores, account, now)

        return self.keep(account, version, read_at, await stores.database.read(unit, quick=True))

    def keep(self, account: Account, version: int, read_at: float, found: SharedRead) -> SharedTree:
        """Take what was read as what is known. version, read_at: of before the read."""
        tree = SharedTree()
        for grant in found.grants:
            lasting = letters.DELEGATED if grant.delegated else ""
            held = frozenset(letters.effective(grant.rows, lasting))
            if "l" not in held:
                continue
            name = self.join(grant.address, grant.folder.name)
            folder = replace(grant.folder, name=name, subscribed=grant.subscribed, special_use="")
            shared = SharedFolder(folder, grant.address, grant.folder.name, held, grant.delegated)
            tree.by_name[name] = tree.by_id[folder.id] = shared
            tree.boxes[grant.address] = folder.mailbox_id
            if grant.delegated:
                tree.opened.add(folder.mailbox_id)
        self._tree, self._account, self._version, self._read_at = tree, account, version, read_at
        self._turn = found.turn
        return tree

    async def find(self, account: Account | None, name: str, *, code: str, needs: str) -> Folder:
        """Give a folder of another mailbox by the user's name for it (and under that name).

        Raises CommandRefused: `code` when the user sees none, NOPERM when a right in `needs` is missing (RFC 5530 §3).
        """
        shared = (await self.tree(account)).by_name.get(self.join(*self.split(name)))
        if shared is None:
            raise CommandRefused("no such folder", code=code)
        check(shared.rights, needs)
        return shared.folder

    def known(self, folder: Folder) -> frozenset[str] | None:
        """Give the rights last read in a folder that `find` gave; None for one's own folders, which have them all."""
        if not self.covers(folder.name):
            return None
        shared = self._tree.by_id.get(folder.id)
        return frozenset() if shared is None else shared.rights


@dataclass(frozen=True, slots=True)
class SharedRead:
    """What one unit read of others. turn: the next instant at which a delegation begins or ends by itself."""

    grants: list[Grant]
    turn: datetime | None = None


def shared_tx(tx: Tx, stores: Stores, account: Account, now: datetime) -> SharedRead:
    """Read what an account may see of others at an instant."""
    held = [one for one in stores.delegations.of_account(tx, account.id) if not one.own]
    own = account.opened or account.mailbox_ids[0]
    running = [one for one in held if one.runs(now) and one.mailbox_id != own]
    opened = tuple([one.mailbox_id for one in running if Right.OPEN in one.rights])
    reading = tuple([one.mailbox_id for one in running if Right.READ in one.rights and Right.OPEN not in one.rights])
    grants = stores.rights.visible(tx, Reader(account.id, account.login, own, opened, reading))
    return SharedRead(grants, min([at for one in held if (at := one.turn(now)) is not None], default=None))


def check(held: frozenset[str] | None, needs: str) -> None:
    """Raise CommandRefused NOPERM when a right is missing (RFC 4314 §4). held None: all."""
    if held is not None and not held.issuperset(needs):
        raise CommandRefused("you do not have the rights for this", code="NOPERM")


def spelled(held: frozenset[str] | None) -> str:
    """Give rights as a text of letters. held None: all."""
    return letters.ordered(_OWNER if held is None else held)
