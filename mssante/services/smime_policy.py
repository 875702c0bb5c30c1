"""What each mailbox and each destination wants of S/MIME: the operator's settings, and the wishes of mailboxes from storage.

Outgoing, first that speaks wins: a route `never`; the mailbox's own wish; the route; the operator's `outgoing`.
Incoming: the mailbox's own wish; the operator's `incoming`.

- Wishes are read by key and kept 5 s: a change of the command line is seen within that time, an ordinary message costs no
  statement. Called by `sealing` and `opening`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mssante.clock import Clock
from mssante.smime.values import Cipher, SmimeLimits
from mssante.storage.interfaces import MailboxSmime, Stores, Tx

KEEP_SECONDS = 5.0
CAPACITY = 50_000


class Outgoing(StrEnum):
    """What is done to a message that leaves."""

    NEVER = "never"
    SIGN = "sign"
    ENCRYPT = "encrypt"
    BOTH = "both"

    @property
    def signs(self) -> bool:
        """True when a signature is wanted."""
        return self in (Outgoing.SIGN, Outgoing.BOTH)

    @property
    def encrypts(self) -> bool:
        """True when encryption is wanted."""
        return self in (Outgoing.ENCRYPT, Outgoing.BOTH)


class Incoming(StrEnum):
    """What is done to a message that comes."""

    OFF = "off"
    VERIFY = "verify"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class SmimeSettings:
    """The operator's settings. refuses: a missing key or certificate refuses the message rather than weaken it; routes: by
    domain, lower-case A-label; originals: folder of what was opened; learnt: certificates kept of one address."""

    outgoing: Outgoing = Outgoing.NEVER
    incoming: Incoming = Incoming.VERIFY
    routes: Mapping[str, Outgoing] = field(default_factory=dict)
    refuses: bool = False
    cipher: Cipher = Cipher.AES256_CBC
    oaep: bool = True
    opaque: bool = False
    originals: str = "Chiffrés"
    learnt: int = 5
    limits: SmimeLimits = field(default_factory=SmimeLimits)

    def wish(self, box: MailboxSmime, domain: str) -> Outgoing:
        """Give what is wanted for a message of a mailbox to a domain."""
        route = self.routes.get(domain)
        if route is Outgoing.NEVER:
            return route
        if box.outgoing:
            return Outgoing(box.outgoing)
        return route or self.outgoing

    def look(self, box: MailboxSmime) -> Incoming:
        """Give what is wanted for what comes to a mailbox."""
        return Incoming(box.incoming) if box.incoming else self.incoming


class Wishes:
    """The wishes of mailboxes."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock
        self._kept: OrderedDict[int, tuple[float, MailboxSmime]] = OrderedDict()

    async def of(self, mailbox_ids: Iterable[int]) -> dict[int, MailboxSmime]:
        """Give the wishes of each of these mailboxes, those without any included."""
        now = self._clock.monotonic()
        wanted = list(dict.fromkeys(mailbox_ids))
        found = {one: kept[1] for one in wanted if (kept := self._kept.get(one)) is not None and kept[0] >= now}
        missing = [one for one in wanted if one not in found]
        if missing:
            read = await self._stores.database.read(lambda tx: self._read(tx, missing), quick=len(missing) <= 10)
            for one in missing:
                found[one] = read.get(one) or MailboxSmime(one)
                self._keep(one, found[one], now)
        return found

    def _read(self, tx: Tx, mailbox_ids: Sequence[int]) -> dict[int, MailboxSmime]:
        return self._stores.smime.policies(tx, mailbox_ids)

    def _keep(self, mailbox_id: int, wishes: MailboxSmime, now: float) -> None:
        self._kept[mailbox_id] = (now + KEEP_SECONDS, wishes)
        if len(self._kept) > CAPACITY:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Drop the cache: wishes changed."""
        self._kept.clear()
