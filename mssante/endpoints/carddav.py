"""CardDAV on the web door: the directory in the contacts of phones and mail programs, read only (RFC 6352, RFC 6764 §5).

- HTTP Basic, as each door of programs: (app) passwords of scope `carddav`, with the delays and blocks of IMAP; nothing but the
  redirection of `/.well-known/carddav` is answered without a login.
- OPTIONS, PROPFIND at depth 0 and 1, REPORT (addressbook-query, addressbook-multiget, and of the book of colleagues
  sync-collection), GET and HEAD of one card with its ETag. Every method that writes is refused with 403 and words.
- What each account sees is `services.cardbooks`'s to say; a card that is not shown answers as an absent one (F4.3).
- Bounds: requests of 256 KiB (protocol/webdav), `AT_ONCE` requests of an account at once and `ALL_AT_ONCE` of everybody,
  `LIMIT` a minute of an account (429 with Retry-After), `SECONDS` each, 200 cards of the directory for a request.
- A token of a state that is not known any more gets 400 with DAV:valid-sync-token, where RFC 6578 §3.2 would have 403:
  Thunderbird reads the book anew after 400 alone, and after 403 never again.
Never: a write, a list of the directory, a log of what was asked.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from mssante.clock import Clock
from mssante.directory.vcard import Card
from mssante.endpoints.carddav_tree import (
    ROOT,
    VCARD,
    Kind,
    Maker,
    Place,
    answer,
    cards_answer,
    path_of,
    place_of,
    properties_of,
)
from mssante.endpoints.web import basic_account
from mssante.lang import say
from mssante.protocol.webdav.answers import Found, error, multistatus
from mssante.protocol.webdav.matching import matches
from mssante.protocol.webdav.requests import (
    ADDRESS_DATA,
    DAV,
    MAX_BODY,
    SERVER,
    AddressData,
    DavFault,
    MultiGet,
    Name,
    Query,
    Sync,
    Wanted,
    read_propfind,
    read_report,
)
from mssante.services.accounts import Accounts
from mssante.services.cardbooks import MOST, AddressBooks, Book
from mssante.storage.interfaces import Account

SCOPE = "carddav"
WELL_KNOWN = "/.well-known/carddav"
READS = "OPTIONS, GET, HEAD, PROPFIND, REPORT"
LIMIT = 600
AT_ONCE = 8
ALL_AT_ONCE = 60
SECONDS = 10.0
MAX_CALLERS = 10_000
_TOKENS: frozenset[Name] = frozenset({(DAV, "sync-token"), (SERVER, "getctag")})
_LIMITS: Name = (DAV, "number-of-matches-within-limits")


@dataclass(frozen=True, slots=True)
class CardParts:
    """What the face stands on. books: None while there is no directory."""

    books: AddressBooks | None
    accounts: Accounts
    clock: Clock


class _Turns:
    """Requests under way, and asked in this minute, by account."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: Counter[int] = Counter()
        self._asked: dict[int, tuple[int, int]] = {}

    def wait(self, account_id: int) -> int:
        """Count a request; give the seconds to wait when there are too many."""
        now = self._clock.monotonic()
        minute = int(now // 60)
        since, count = self._asked.get(account_id, (minute, 0))
        if len(self._asked) > MAX_CALLERS:
            self._asked = {}
        count = count + 1 if since == minute else 1
        self._asked[account_id] = (minute, count)
        if count > LIMIT:
            return int(60 - now % 60) + 1
        return int(self._running[account_id] >= AT_ONCE or self._running.total() >= ALL_AT_ONCE)

    def begin(self, account_id: int) -> None:
        """A request begins."""
        self._running[account_id] += 1

    def end(self, account_id: int) -> None:
        """It is over."""
        self._running[account_id] -= 1
        if not self._running[account_id]:
            del self._running[account_id]


def _xml(body: bytes, status: int = 207) -> web.Response:
    return web.Response(body=body, status=status, headers={"Content-Type": "application/xml; charset=utf-8"})


def _refusal(fault: DavFault) -> web.Response:
    words = f"{fault.public} [{fault.rule}]" + (f" -> {fault.remedy}" if fault.remedy else "")
    return _xml(error(fault.condition, words), fault.status)


def _absent() -> DavFault:
    return DavFault(say("rien à cette adresse", "nothing at this address"), rule="CARDDAV-ABSENT", status=404)


class CardDav:
    """The routes."""

    def __init__(self, parts: CardParts) -> None:
        self._parts = parts
        self._turns = _Turns(parts.clock)

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes for the web door."""
        return (web.route("*", WELL_KNOWN, self._lead), web.route("*", ROOT[:-1], self._answer),
                web.route("*", ROOT + "{tail:.*}", self._answer))

    async def _lead(self, request: web.Request) -> web.Response:
        """RFC 6764 §5: the same for everybody, asked for with any method."""
        return web.Response(status=301, headers={"Location": ROOT, "Cache-Control": "max-age=3600"})

    async def _answer(self, request: web.Request) -> web.Response:
        account = await basic_account(request, self._parts.accounts, SCOPE)
        if account is None:
            refusal = _refusal(DavFault(say("identifiant et mot de passe d'application requis", "login and app password needed"),
                                        rule="CARDDAV-IDENTITE", status=401, remedy=say("portée carddav", "scope carddav")))
            refusal.headers["WWW-Authenticate"] = 'Basic realm="mssante", charset="UTF-8"'
            return refusal
        wait = self._turns.wait(account.id)
        if wait:
            refusal = _refusal(DavFault(say("trop de demandes", "too many requests"), rule="CARDDAV-RYTHME", status=429))
            refusal.headers["Retry-After"] = str(wait)
            return refusal
        self._turns.begin(account.id)
        try:
            async with asyncio.timeout(SECONDS):
                return await self._served(request, account)
        except DavFault as fault:
            return _refusal(fault)
        except TimeoutError:
            return _refusal(DavFault(say("recherche trop longue", "search took too long"), rule="CARDDAV-DUREE", status=503))
        finally:
            self._turns.end(account.id)

    async def _served(self, request: web.Request, account: Account) -> web.Response:
        if self._parts.books is None:
            raise DavFault(say("aucun annuaire ici", "no directory here"), rule="CARDDAV-ANNUAIRE", status=503,
                           remedy="[directory] operator.toml")
        asked = _Asked(request, account, self._parts.books)
        place = place_of(request.rel_url.raw_path)
        if request.method == "OPTIONS":
            return web.Response(headers={"DAV": "1, 3, addressbook", "Allow": READS})
        if request.method not in ("GET", "HEAD", "PROPFIND", "REPORT"):
            raise DavFault(say("ce carnet se lit et ne s'écrit pas : il vient de l'annuaire MSSanté", "this book is read, never "
                               "written: it comes from the directory"), rule="CARDDAV-LECTURE", status=403,
                           condition=(DAV, "need-privileges"))
        if place is None:
            raise _absent()
        if request.method == "PROPFIND":
            return await asked.propfind(place)
        return await (asked.report(place) if request.method == "REPORT" else asked.get(place))


class _Asked:
    """One request of one account."""

    def __init__(self, request: web.Request, account: Account, books: AddressBooks) -> None:
        self._request = request
        self._account = account
        self._books = books

    async def _body(self) -> bytes:
        if (self._request.content_length or 0) > MAX_BODY:
            raise DavFault(say("requête trop grosse", "request is too large"), rule="XML-SIZE", status=413)
        body = bytearray()
        async for part in self._request.content.iter_chunked(65536):
            body += part
            if len(body) > MAX_BODY:
                raise DavFault(say("requête trop grosse", "request is too large"), rule="XML-SIZE", status=413)
        return bytes(body)

    async def _card(self, place: Place) -> Card:
        cards = (await self._books.colleagues(self._account)).cards if place.kind is Kind.COLLEAGUES \
            else await self._books.several([place.address])
        card = cards.get(place.address)
        if card is None:
            raise _absent()
        return card

    # ------------------------------------------------------------------------------------------ GET

    async def get(self, place: Place) -> web.Response:
        """Give one card; of a collection, words for who opened it in a browser."""
        if not place.address:
            words = say("Carnet d'adresses CardDAV : donnez cette adresse à votre logiciel.\n",
                        "CardDAV address book: give this address to your program.\n")
            return web.Response(text=words, content_type="text/plain", charset="utf-8")
        card = await self._card(place)
        version = _version(self._request.headers.get("Accept", ""))
        tag = f'"{card.tag}"' if version == "3.0" else f'"{card.tag}-4"'
        headers = {"ETag": tag, "Content-Type": f"{VCARD}; charset=utf-8; version={version}", "Vary": "Accept, Authorization"}
        given = self._request.headers.get("If-None-Match", "")
        if given.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in given.split(",")):
            return web.Response(status=304, headers={name: headers[name] for name in ("ETag", "Vary")})
        return web.Response(body=card.vcard(version).encode(), headers=headers)

    # ------------------------------------------------------------------------------------------ PROPFIND

    async def propfind(self, place: Place) -> web.Response:
        """Tell properties of a resource, at depth 1 of those below it too (RFC 4918 §9.1)."""
        depth = self._request.headers.get("Depth", "infinity").strip().lower()
        if depth not in ("0", "1"):
            raise DavFault("Depth: 0, 1", rule="CARDDAV-PROFONDEUR", status=403 if depth == "infinity" else 400,
                           condition=(DAV, "propfind-finite-depth"))
        wanted = read_propfind(await self._body())
        if place.address:
            return _xml(multistatus(cards_answer(place.kind, [await self._card(place)], wanted, None)))
        below = {Kind.ROOT: (Kind.PRINCIPAL, Kind.HOME, Kind.DIRECTORY), Kind.HOME: (Kind.COLLEAGUES,)}.get(place.kind, ())
        told = [await self._collection(kind, wanted) for kind in (place.kind, *(below if depth == "1" else ()))]
        if depth == "1" and place.kind is Kind.COLLEAGUES:
            book = await self._books.colleagues(self._account)
            told += cards_answer(place.kind, list(book.cards.values()), wanted, None)
        return _xml(multistatus(told))

    async def _collection(self, kind: Kind, wanted: Wanted) -> Found:
        needed = kind is Kind.COLLEAGUES and bool(_TOKENS.intersection(wanted.names))
        book = await self._books.colleagues(self._account) if needed else None
        held = properties_of(kind, self._account.login, book)
        return answer(kind.value, wanted, {name: _given(inner) for name, inner in held.items()})

    # ------------------------------------------------------------------------------------------ REPORT

    async def report(self, place: Place) -> web.Response:
        """Answer a report on a collection of cards."""
        report = read_report(await self._body())
        if place.address or place.kind not in (Kind.COLLEAGUES, Kind.DIRECTORY) or (
                isinstance(report, Sync) and place.kind is not Kind.COLLEAGUES):
            raise DavFault(say("ce rapport ne se demande pas ici", "this report is not answered here"), rule="CARDDAV-RAPPORT",
                           status=403, condition=(DAV, "supported-report"), remedy=Kind.COLLEAGUES)
        if isinstance(report, MultiGet):
            return _xml(multistatus(await self._several(place.kind, report)))
        if isinstance(report, Sync):
            return await self._changes(report)
        cards, cut = await self._sought(place.kind, report)
        told = cards_answer(place.kind, cards, report.wanted, _data(report.wanted))
        if cut:  # RFC 6352 §8.6.2: what is there is told, and that there is more
            told.append(Found(place.kind.value, status=507, condition=_LIMITS))
        return _xml(multistatus(told))

    async def _sought(self, kind: Kind, query: Query) -> tuple[list[Card], bool]:
        if kind is Kind.DIRECTORY:
            found = await self._books.search(self._account, query)
            return list(found.cards), found.cut
        book = await self._books.colleagues(self._account)
        cards = [card for card in book.cards.values() if matches(query, card.properties)]
        most = query.limit or len(cards)
        return cards[:most], len(cards) > most

    async def _several(self, kind: Kind, report: MultiGet) -> list[Found]:
        places = [place_of(one) for one in report.hrefs]
        wanted = [one.address for one in places if one is not None and one.kind is kind and one.address]
        if kind is Kind.DIRECTORY and len(wanted) > MOST:
            raise DavFault(say("trop de fiches demandées", "too many cards"), rule="CARDDAV-TAILLE", status=403,
                           condition=_LIMITS, remedy=f"{MOST} href")
        held = (await self._books.colleagues(self._account)).cards if kind is Kind.COLLEAGUES \
            else await self._books.several(wanted)
        told: dict[str, Found] = {}
        for sent, place in zip(report.hrefs, places, strict=True):
            card = held.get(place.address) if place is not None and place.kind is kind else None
            if card is None:
                told[sent] = Found(sent, status=404)
            else:
                path = path_of(kind, card.address)
                told[path] = cards_answer(kind, [card], report.wanted, _data(report.wanted))[0]
        return list(told.values())

    async def _changes(self, report: Sync) -> web.Response:
        book: Book = await self._books.colleagues(self._account)
        changes = self._books.changes(self._account, book, report.token)
        if changes is None:
            raise DavFault(say("état inconnu : relire le carnet entier", "unknown state: read the whole book anew"),
                           rule="CARDDAV-JETON", status=400, condition=(DAV, "valid-sync-token"))
        if report.limit and len(changes.cards) + len(changes.gone) > report.limit:  # RFC 6578 §3.7: nothing is told by halves
            raise DavFault(say("plus de changements que voulu", "more changes than wanted"), rule="CARDDAV-TAILLE", status=507,
                           condition=_LIMITS)
        told = cards_answer(Kind.COLLEAGUES, changes.cards, report.wanted, _data(report.wanted))
        told += [Found(path_of(Kind.COLLEAGUES, one), status=404) for one in changes.gone]
        return _xml(multistatus(told, book.token))


def _given(inner: str) -> Maker:
    return lambda: inner


def _data(wanted: Wanted) -> AddressData | None:
    """How cards are wanted in a report: as asked, not at all when address-data is not among the properties."""
    return wanted.data if wanted.data is not None or ADDRESS_DATA not in wanted.names else AddressData()


def _version(accept: str) -> str:
    """Give the version that a GET wants. Raises DavFault (406)."""
    ranges = [one.strip().lower().replace(" ", "").replace('"', "") for one in accept.split(",")] if accept.strip() else ["*/*"]
    for one in ranges:
        kind, _, parameters = one.partition(";")
        if kind in ("text/vcard", "text/x-vcard", "text/directory") and "version=4.0" in parameters:
            return "4.0"
        if kind in ("*/*", "text/*", "text/vcard", "text/x-vcard", "text/directory") and (
                "version=" not in parameters or "version=3.0" in parameters):
            return "3.0"
    raise DavFault("Accept: text/vcard", rule="CARDDAV-FORMAT", status=406)
