"""The resources of the CardDAV face: which path names what, and the properties of each.

    /carddav/                      where clients are told to begin (RFC 6764 §5 leads here)
    /carddav/principal/            whoever is logged in (RFC 5397)
    /carddav/books/                its address books (RFC 6352 §7.1.1)
    /carddav/books/colleagues/     the book that is kept whole; one card: ADDRESS.vcf
    /carddav/directory/            the whole directory, searched and never listed (resource type `directory`, so that no client
                                   takes it for a book to copy); one card: ADDRESS.vcf

The same paths serve every account: what stands there depends on who logs in. Called by `mssante.endpoints.carddav`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, unquote, urlsplit

from mssante.directory.vcard import Card
from mssante.lang import say
from mssante.protocol.webdav.answers import Found, element, href, text
from mssante.protocol.webdav.requests import (
    ADDRESS_DATA,
    CARD,
    COLLATIONS,
    DAV,
    SERVER,
    VERSIONS,
    AddressData,
    Name,
    Wanted,
)
from mssante.services.cardbooks import COLLEAGUES, Book

ROOT = "/carddav/"
SUFFIX = ".vcf"
MAX_PATH = 1000
VCARD = "text/vcard"


class Kind(StrEnum):
    """What a path names; the value is its path."""

    ROOT = ROOT
    PRINCIPAL = ROOT + "principal/"
    HOME = ROOT + "books/"
    COLLEAGUES = ROOT + "books/colleagues/"
    DIRECTORY = ROOT + "directory/"


@dataclass(frozen=True, slots=True)
class Place:
    """A path understood. address: of one card of a collection, empty for the collection itself."""

    kind: Kind
    address: str = ""


def place_of(raw_path: str) -> Place | None:
    """Give what a path (quoted, as it was sent, or a whole URL) names; None for nothing of ours."""
    if len(raw_path) > MAX_PATH:
        return None
    try:
        path = urlsplit(raw_path).path
    except ValueError:
        return None
    folder, slash, last = path.rpartition("/")
    for kind in Kind:
        if path in (kind.value, kind.value[:-1]):
            return Place(kind)
    for kind in (Kind.COLLEAGUES, Kind.DIRECTORY):
        if folder + slash == kind.value:
            name = unquote(last)
            address = name.removesuffix(SUFFIX).lower()
            return Place(kind, address) if name.endswith(SUFFIX) and 3 <= len(address) <= 254 else None
    return None


def path_of(kind: Kind, address: str) -> str:
    """Give the path of a card, quoted."""
    return kind.value + quote(address, safe="@") + SUFFIX


Maker = Callable[[], str]


def _types(*names: Name) -> str:
    return "".join(map(element, names))


def _reports(*names: Name) -> str:
    return "".join(element((DAV, "supported-report"), element((DAV, "report"), element(one))) for one in names)


_READ = "".join(element((DAV, "privilege"), element((DAV, name))) for name in ("read", "read-current-user-privilege-set"))
_FORMATS = "".join(element((CARD, "address-data-type"), "", f' content-type="{VCARD}" version="{one}"') for one in VERSIONS)
_COLLATIONS = "".join(element((CARD, "supported-collation"), one) for one in COLLATIONS)
_COLLECTION: Name = (DAV, "collection")
QUERY, MULTIGET, SYNC = (CARD, "addressbook-query"), (CARD, "addressbook-multiget"), (DAV, "sync-collection")
HIDDEN = frozenset({(CARD, "addressbook-home-set"), (CARD, "directory-gateway"), (CARD, "supported-address-data"),
                    (CARD, "supported-collation-set"), (DAV, "sync-token"), (DAV, "supported-report-set"),
                    (DAV, "current-user-principal"), (DAV, "current-user-privilege-set"), (CARD, "addressbook-description"),
                    (SERVER, "getctag"), (DAV, "principal-URL"), (DAV, "owner")})  # not told unless asked for by name


def properties_of(kind: Kind, login: str, book: Book | None) -> dict[Name, str]:
    """Give the properties of a collection as XML. book: of the account, for those that depend on it."""
    principal = href(Kind.PRINCIPAL)
    found: dict[Name, str] = {(DAV, "current-user-principal"): principal, (DAV, "current-user-privilege-set"): _READ,
                              (DAV, "owner"): principal, (DAV, "resourcetype"): element(_COLLECTION)}
    if kind in (Kind.ROOT, Kind.PRINCIPAL, Kind.HOME):  # clients look for these at each of the three
        found[CARD, "addressbook-home-set"] = href(Kind.HOME)
        found[CARD, "directory-gateway"] = href(Kind.DIRECTORY)
        found[DAV, "principal-URL"] = principal
    if kind is Kind.PRINCIPAL:
        found[DAV, "resourcetype"] = _types(_COLLECTION, (DAV, "principal"))
        found[DAV, "displayname"] = text(login)
    elif kind is Kind.COLLEAGUES:
        found[DAV, "resourcetype"] = _types(_COLLECTION, (CARD, "addressbook"))
        found[DAV, "displayname"] = text(say("Collègues MSSanté", "MSSanté colleagues"))
        found[CARD, "addressbook-description"] = text(say(
            f"Vos correspondants et les boîtes de votre domaine, {COLLEAGUES} au plus ; lecture seule",
            f"Your correspondents and the mailboxes of your domain, {COLLEAGUES} at most; read only"))
        found[DAV, "supported-report-set"] = _reports(QUERY, MULTIGET, SYNC)
        if book is not None:
            found[DAV, "sync-token"] = found[SERVER, "getctag"] = text(book.token)
    elif kind is Kind.DIRECTORY:
        found[DAV, "resourcetype"] = _types(_COLLECTION, (CARD, "directory"))
        found[DAV, "displayname"] = text(say("Annuaire MSSanté (recherche)", "MSSanté directory (search)"))
        found[DAV, "supported-report-set"] = _reports(QUERY, MULTIGET)
    if kind in (Kind.COLLEAGUES, Kind.DIRECTORY):
        found[CARD, "supported-address-data"] = _FORMATS
        found[CARD, "supported-collation-set"] = _COLLATIONS
    return found


def card_properties(card: Card, data: AddressData | None) -> dict[Name, Maker]:
    """Give the properties of a card; each is made when it is asked for. data: how the card itself is wanted, None: not at all."""
    found: dict[Name, Maker] = {
        (DAV, "resourcetype"): str, (DAV, "getetag"): lambda: text(f'"{card.tag}"'),
        (DAV, "getcontenttype"): lambda: f"{VCARD}; charset=utf-8",
        (DAV, "getcontentlength"): lambda: str(len(card.vcard().encode())),
        (DAV, "displayname"): lambda: text(next(line.text for line in card.lines if line.name == "FN")),
        (DAV, "current-user-principal"): lambda: href(Kind.PRINCIPAL), (DAV, "owner"): lambda: href(Kind.PRINCIPAL),
        (DAV, "current-user-privilege-set"): lambda: _READ}
    if data is not None:
        found[ADDRESS_DATA] = lambda: text(card.vcard(data.version, data.names))
    return found


def answer(path: str, wanted: Wanted, held: dict[Name, Maker]) -> Found:
    """Give what is told of a resource: what is asked for that it has, and the names of what it has not (RFC 4918 §9.1)."""
    if wanted.every:
        shown = [name for name in held if name not in HIDDEN and (wanted.bare or name != ADDRESS_DATA)]
        return Found(path, [(name, "" if wanted.bare else held[name]()) for name in shown])
    return Found(path, [(name, held[name]()) for name in wanted.names if name in held],
                 [name for name in wanted.names if name not in held])


def cards_answer(kind: Kind, cards: Sequence[Card], wanted: Wanted, data: AddressData | None) -> list[Found]:
    """Give what is told of cards."""
    return [answer(path_of(kind, card.address), wanted, card_properties(card, data)) for card in cards]
