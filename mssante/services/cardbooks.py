"""Which cards an account sees: the book of its colleagues, kept whole by its clients, and the whole directory, only searched.

- Colleagues (`COLLEAGUES` cards at most): first those to whom the account's own mailbox wrote, the latest first (`WRITTEN` at
  most), then the mailboxes of its own domain by address. Only what the directory shows: no closed, absent or red-listed one
  (F4.3), no citizen.
- The directory is never listed: one card by its address, or those that a filter narrowed by words finds (`MOST` at most).
- A book is kept `FRESH_SECONDS`: what closes or goes onto the red list leaves it within that. A mirror or a base that cannot be
  read raises: an empty answer would have every client throw its cards away.
- Tokens of RFC 6578 name a state by its digest: the present one is known whatever happened in between, earlier ones as long as
  this process remembers them (`REMEMBERED` cards in all); any other asks the client to read the book anew.
Called by `mssante.endpoints.carddav`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mssante.clock import Clock
from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding
from mssante.directory.vcard import KNOWN, SEARCHED, Card, card_of
from mssante.directory.words import asked
from mssante.lang import say
from mssante.protocol.webdav.matching import MAX_SEARCHES, matches, texts_of
from mssante.protocol.webdav.requests import CARD, DavFault, Query
from mssante.storage.interfaces import Account, Stores, Tx

COLLEAGUES = 1000
WRITTEN = 300
READ = 50_000  # mailboxes looked at to find those of a domain
MOST = 200  # cards of a search, the desk's own bound
CANDIDATES = 150  # rows from which on the mirror may have left some out
FRESH_SECONDS = 60.0
BOOKS = 200  # kept at once
REMEMBERED = 200_000  # cards of earlier states, of all books together
TOKEN = "urn:mssante:carddav:"  # noqa: S105 -- where the tokens of states begin, no secret
PAGE = 1000


class BookDesk(Protocol):
    """What is asked of the directory (`services.directory_port.DirectoryDesk`)."""

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        """Tell what is known of an address."""
        ...

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        """Give entries, best first."""
        ...

    async def published(self, addresses: Sequence[str]) -> Mapping[str, tuple[DirectoryEntry, ...]]:
        """Give the entries shown of addresses. Raises MssFault."""
        ...


@dataclass(frozen=True)
class Book:
    """The book of an account at one moment. cards: by address; cut: there would be more."""

    cards: Mapping[str, Card]
    cut: bool = False
    token: str = field(default="", init=False)

    def __post_init__(self) -> None:
        state = "\n".join(f"{address} {card.tag}" for address, card in sorted(self.cards.items()))
        object.__setattr__(self, "token", TOKEN + hashlib.sha256(state.encode()).hexdigest()[:40])


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search found. cut: there may be more."""

    cards: tuple[Card, ...]
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a state. gone: addresses."""

    cards: tuple[Card, ...]
    gone: tuple[str, ...]


class AddressBooks:
    """The books of all accounts."""

    def __init__(self, desk: BookDesk, stores: Stores, clock: Clock, domains: frozenset[str], *, citizens: str = "") -> None:
        """domains: ours; citizens: the domain of which no card is ever shown."""
        self._desk = desk
        self._stores = stores
        self._clock = clock
        self._domains = domains - {citizens}
        self._citizens = citizens
        self._books: OrderedDict[int, tuple[float, Book]] = OrderedDict()  # by mailbox
        self._of_domain: dict[str, tuple[float, Mapping[str, Card], bool]] = {}
        self._states: OrderedDict[tuple[int, str], Mapping[str, str]] = OrderedDict()  # tags by address, oldest first
        self._remembered = 0
        self._building = asyncio.Lock()

    # ------------------------------------------------------------------------------------------ colleagues

    async def colleagues(self, account: Account) -> Book:
        """Give the book of an account. Raises MssFault."""
        mailbox_id = next(iter(account.mailbox_ids), 0)
        if not mailbox_id:
            return Book({})
        async with self._building:  # one at a time: a second client of the same account finds it made
            now = self._clock.monotonic()
            held = self._books.get(mailbox_id)
            if held is None or held[0] <= now:
                held = (now + FRESH_SECONDS, await self._made(mailbox_id))
                self._books[mailbox_id] = held
                self._remember(mailbox_id, held[1])
            self._books.move_to_end(mailbox_id)
            while len(self._books) > BOOKS:
                self._books.popitem(last=False)
        return held[1]

    async def _made(self, mailbox_id: int) -> Book:
        def read(tx: Tx) -> tuple[str, list[str]]:
            boxes = self._stores.accounts.mailboxes_by_id(tx, [mailbox_id])
            rows = self._stores.exchanges.correspondents(tx, mailbox_id, limit=PAGE)
            return (boxes[0].address if boxes else ""), [row.address for row in rows if row.sent > 0 and self._open(row.address)]

        own, written = await self._stores.database.read(read)
        domain = own.rpartition("@")[2]
        near, cut = await self._domain(domain) if domain in self._domains else ({}, False)
        shown = await self._desk.published([one for one in written if one not in near][:WRITTEN])
        cards = {address: near[address] if address in near else card_of(shown[address])
                 for address in written[:WRITTEN] if address in near or address in shown}
        for address, card in near.items():
            if len(cards) >= COLLEAGUES:
                cut = True
                break
            cards.setdefault(address, card)
        return Book(cards, cut)

    async def _domain(self, domain: str) -> tuple[Mapping[str, Card], bool]:
        """Give the cards of one of our domains, made once for all who are of it."""
        now = self._clock.monotonic()
        held = self._of_domain.get(domain)
        if held is None or held[0] <= now:
            addresses, cut = await self._addresses(domain)
            shown = await self._desk.published(addresses)
            cards = {one: card_of(shown[one]) for one in addresses if one in shown}
            held = (now + FRESH_SECONDS, cards, cut)
            self._of_domain[domain] = held
        return held[1], held[2]

    async def _addresses(self, domain: str) -> tuple[list[str], bool]:
        found: list[str] = []
        after, read = "", 0
        while read < READ and len(found) <= COLLEAGUES:
            page = await self._stores.database.read(
                lambda tx, start=after: self._stores.accounts.list_mailboxes(  # type: ignore[misc]
                    tx, limit=PAGE, after=start))
            found += [box.address for box in page if box.address.rpartition("@")[2] == domain]
            if len(page) < PAGE:
                return found[:COLLEAGUES], len(found) > COLLEAGUES
            after, read = page[-1].address, read + len(page)
        return found[:COLLEAGUES], True

    # ------------------------------------------------------------------------------------------ states

    def _remember(self, mailbox_id: int, book: Book) -> None:
        key = (mailbox_id, book.token)
        if self._states.pop(key, None) is None:
            self._remembered += len(book.cards) + 1
        self._states[key] = {address: card.tag for address, card in book.cards.items()}
        while self._remembered > REMEMBERED:
            self._remembered -= len(self._states.popitem(last=False)[1]) + 1

    def changes(self, account: Account, book: Book, token: str) -> Changes | None:
        """Tell what changed since the state that a token names, all of it for an empty one; None: it is not known any more."""
        if token == book.token:
            return Changes((), ())
        before = self._states.get((next(iter(account.mailbox_ids), 0), token)) if token else {}
        if before is None:
            return None
        changed = tuple(card for address, card in book.cards.items() if before.get(address) != card.tag)
        return Changes(changed, tuple(address for address in before if address not in book.cards))

    # ------------------------------------------------------------------------------------------ the directory

    async def several(self, addresses: Sequence[str]) -> Mapping[str, Card]:
        """Give the cards of lower-case addresses, of those that the directory shows. Raises MssFault."""
        shown = await self._desk.published([one for one in addresses if self._open(one)])
        return {address: card_of(rows) for address, rows in shown.items()}

    def _open(self, address: str) -> bool:
        """An address that may have a card: a citizen's has none, whoever asks (its local part is an identity)."""
        return 3 <= len(address) <= 254 and "@" in address and address.rpartition("@")[2] != self._citizens

    async def search(self, account: Account, query: Query) -> Sought:
        """Give the cards that a filter finds, those of usual correspondents first.

        Raises DavFault (`CARDDAV-FILTRE`) for a filter that no word narrows: nobody copies the directory through here.
        """
        texts = texts_of(query, SEARCHED, KNOWN)
        if not all(asked(text)[0] for text in texts):
            raise DavFault(say("ce filtre ne restreint pas l'annuaire : un mot au moins", "this filter does not narrow the "
                               "directory: one word at least"), rule="CARDDAV-FILTRE", status=403,
                           condition=(CARD, "supported-filter"), remedy="FN, N, EMAIL, ORG, TITLE, ROLE, ADR")
        most = min(query.limit or MOST, MOST)
        found: dict[str, Card] = {}
        cut = len(texts) > MAX_SEARCHES
        for text in texts[:MAX_SEARCHES]:
            rows = await self._desk.search(DirectoryQuery(text=text, mailbox_id=next(iter(account.mailbox_ids), 0), limit=MOST))
            cut = cut or len(rows) >= CANDIDATES
            for card in _cards(rows):
                if card.address not in found and matches(query, card.properties):
                    found[card.address] = card
        return Sought(tuple(found.values())[:most], cut or len(found) > most)


def _cards(rows: Sequence[DirectoryEntry]) -> list[Card]:
    held: dict[str, list[DirectoryEntry]] = {}
    for row in rows:
        held.setdefault(row.address, []).append(row)
    return [card_of(some) for some in held.values() if not any(row.red_listed for row in some)]
