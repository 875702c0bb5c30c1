"""PROPFIND and REPORT bodies read into values, within limits (RFC 4918 §9.1, RFC 6352 §8, RFC 6578 §3).

- XML comes in through `protocol.xml` alone: 256 KiB, 12 levels, 4,000 elements. Then: 50 properties whose names have 2,000
  characters together (they come back in each answer of each card), 60 parts of a filter, 200 characters of a text, 1,000
  addresses of a multiget.
- What breaks a rule raises `DavFault`: the status, the element that the RFC names for it, and words for who reads them.
Called by `mssante.endpoints.carddav`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.xml import parse_xml

DAV, CARD, SERVER = "DAV:", "urn:ietf:params:xml:ns:carddav", "http://calendarserver.org/ns/"
MAX_BODY = 256 * 1024
MAX_DEPTH = 12
MAX_ELEMENTS = 4000
MAX_PROPERTIES = 50
MAX_NAMES = 2000
MAX_CONDITIONS = 60
MAX_TEXT = 200
MAX_HREFS = 1000
MAX_HREF = 1000
MAX_TOKEN = 200
VERSIONS = ("3.0", "4.0")
COLLATIONS = ("i;ascii-casemap", "i;octet", "i;unicode-casemap")
MATCHES = ("equals", "contains", "starts-with", "ends-with")
Name = tuple[str, str]  # namespace, local name
ADDRESS_DATA: Name = (CARD, "address-data")


class DavFault(InputFault):
    """A request that is refused. rule: `CARDDAV-…`; status: of HTTP; condition: the element that names the broken rule."""

    def __init__(self, public: str, *, rule: str, status: int = 400, condition: Name | None = None, remedy: str = "") -> None:
        super().__init__(public, rule=rule, remedy=remedy)
        self.status = status
        self.condition = condition


def _malformed(what: str) -> DavFault:
    return DavFault(say(f"requête CardDAV mal formée : {what}", f"malformed CardDAV request: {what}"), rule="CARDDAV-FORME")


def _excess(what: str) -> DavFault:
    return DavFault(say(f"requête CardDAV trop grosse : {what}", f"CardDAV request is too large: {what}"), rule="CARDDAV-TAILLE",
                    status=403)


@dataclass(frozen=True, slots=True)
class AddressData:
    """How cards are wanted (RFC 6352 §10.4). version: of vCard; names: upper-case properties, each with whether its value is left
    out, none for all of them."""

    version: str = "3.0"
    names: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which properties (RFC 4918 §14.20). every: all there are; bare: their names alone; data: how cards are wanted."""

    names: tuple[Name, ...] = ()
    every: bool = False
    bare: bool = False
    data: AddressData | None = None


@dataclass(frozen=True, slots=True)
class TextMatch:
    """One comparison (RFC 6352 §10.5.4)."""

    text: str
    collation: str = "i;unicode-casemap"
    kind: str = "contains"
    negate: bool = False


@dataclass(frozen=True, slots=True)
class ParameterFilter:
    """A condition on a parameter (RFC 6352 §10.5.2). text None: it is there, or absent."""

    name: str
    text: TextMatch | None = None
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a property (RFC 6352 §10.5.1). every: all of its parts, else one of them; no part: it is there."""

    name: str
    every: bool = False
    absent: bool = False
    texts: tuple[TextMatch, ...] = ()
    parameters: tuple[ParameterFilter, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """An addressbook-query (RFC 6352 §8.6). every: all conditions, else one; limit: cards that are wanted, 0 for any number."""

    wanted: Wanted
    every: bool = False
    conditions: tuple[Condition, ...] = ()
    limit: int = 0


@dataclass(frozen=True, slots=True)
class MultiGet:
    """An addressbook-multiget (RFC 6352 §8.7). hrefs: as they were sent."""

    wanted: Wanted
    hrefs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """A sync-collection (RFC 6578 §3.2). token: empty at first; limit: 0 for none."""

    wanted: Wanted
    token: str
    limit: int = 0


Report = Query | MultiGet | Sync


def read_propfind(raw: bytes) -> Wanted:
    """Give what a PROPFIND asks for; no body asks for everything (RFC 4918 §9.1). Raises DavFault."""
    if not raw.strip():
        return Wanted(every=True)
    root = _root(raw)
    if _name(root) != (DAV, "propfind"):
        raise _malformed("propfind")
    return _wanted(root)


def read_report(raw: bytes) -> Report:
    """Give the report that is asked for. Raises DavFault."""
    root = _root(raw)
    match _name(root):
        case (space, "addressbook-query") if space == CARD:
            return _query(root)
        case (space, "addressbook-multiget") if space == CARD:
            hrefs = tuple((one.text or "").strip() for one in _children(root) if _name(one) == (DAV, "href"))
            if not hrefs or max(map(len, hrefs)) > MAX_HREF:
                raise _malformed("href")
            if len(hrefs) > MAX_HREFS:
                raise _excess(f"> {MAX_HREFS} href")
            return MultiGet(_wanted(root), hrefs)
        case (space, "sync-collection") if space == DAV:
            return _sync(root)
    raise DavFault(say("rapport inconnu ici", "unknown report"), rule="CARDDAV-RAPPORT", status=403,
                   condition=(DAV, "supported-report"), remedy="addressbook-query, addressbook-multiget, sync-collection")


def _root(raw: bytes) -> etree._Element:
    try:
        return parse_xml(raw, max_bytes=MAX_BODY, max_depth=MAX_DEPTH, max_elements=MAX_ELEMENTS)
    except InputFault as fault:
        raise DavFault(fault.public, rule=fault.rule, status=413 if fault.rule == "XML-SIZE" else 400,
                       remedy=fault.remedy) from None


def _name(element: etree._Element) -> Name:
    space, _, local = str(element.tag).rpartition("}")
    return space.lstrip("{"), local


def _children(element: etree._Element) -> Iterator[etree._Element]:
    return (one for one in element if isinstance(one.tag, str))  # no comments, no processing instructions


def _child(element: etree._Element, name: Name) -> etree._Element | None:
    return next((one for one in _children(element) if _name(one) == name), None)


def _text(element: etree._Element | None) -> str:
    return (element.text or "").strip() if element is not None else ""


def _wanted(root: etree._Element) -> Wanted:
    listed = _child(root, (DAV, "prop"))
    if listed is None:
        bare = _child(root, (DAV, "propname")) is not None
        if not bare and _child(root, (DAV, "allprop")) is None and _name(root) == (DAV, "propfind"):
            raise _malformed("prop")
        return Wanted(every=True, bare=bare)
    names = tuple(dict.fromkeys(_name(one) for one in _children(listed)))
    if len(names) > MAX_PROPERTIES or sum(len(space) + len(local) for space, local in names) > MAX_NAMES:
        raise _excess(f"> {MAX_PROPERTIES} prop, {MAX_NAMES} c.")
    data = _child(listed, ADDRESS_DATA)
    return Wanted(names, data=_data(data) if data is not None else None)


def _data(element: etree._Element) -> AddressData:
    kind, version = element.get("content-type", "text/vcard"), element.get("version", VERSIONS[0])
    if kind.lower() != "text/vcard" or version not in VERSIONS:
        raise DavFault(say("ce format de fiche n'est pas servi", "this format of cards is not served"), rule="CARDDAV-FORMAT",
                       status=403, condition=(CARD, "supported-address-data"), remedy="text/vcard 3.0, 4.0")
    names = tuple((one.get("name", "").upper(), one.get("novalue") == "yes") for one in _children(element)
                  if _name(one) == (CARD, "prop"))
    if len(names) > MAX_PROPERTIES:
        raise _excess(f"> {MAX_PROPERTIES} prop")
    return AddressData(version, names)


def _limit(element: etree._Element | None, name: Name) -> int:
    if element is None:
        return 0
    text = _text(_child(element, name))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise _malformed("nresults")
    return int(text)


def _sync(root: etree._Element) -> Sync:
    level, token = _text(_child(root, (DAV, "sync-level"))), _text(_child(root, (DAV, "sync-token")))
    if level not in ("1", ""):  # collections here hold no collections (RFC 6578 §3.3)
        raise DavFault(say("sync-level : 1", "sync-level: 1"), rule="CARDDAV-FORME", status=403,
                       condition=(DAV, "sync-traversal-supported"))
    if len(token) > MAX_TOKEN:
        raise _malformed("sync-token")
    if _child(root, (DAV, "prop")) is None:
        raise _malformed("prop")
    return Sync(_wanted(root), token, _limit(_child(root, (DAV, "limit")), (DAV, "nresults")))


def _query(root: etree._Element) -> Query:
    filter_ = _child(root, (CARD, "filter"))
    if filter_ is None:
        raise _malformed("filter")
    conditions = tuple(_condition(one) for one in _children(filter_) if _name(one) == (CARD, "prop-filter"))
    if sum(1 + len(one.texts) + len(one.parameters) for one in conditions) > MAX_CONDITIONS:
        raise _excess(f"> {MAX_CONDITIONS} prop-filter, text-match, param-filter")
    return Query(_wanted(root), _every(filter_), conditions, _limit(_child(root, (CARD, "limit")), (CARD, "nresults")))


def _every(element: etree._Element) -> bool:
    test = element.get("test", "anyof")
    if test not in ("anyof", "allof"):
        raise _malformed("test")
    return test == "allof"


def _named(element: etree._Element) -> str:
    name = element.get("name", "").upper()
    if not 0 < len(name) <= 100:
        raise _malformed("name")
    return name


def _absent(element: etree._Element) -> bool:
    return _child(element, (CARD, "is-not-defined")) is not None


def _condition(element: etree._Element) -> Condition:
    texts = tuple(_match(one) for one in _children(element) if _name(one) == (CARD, "text-match"))
    parameters = tuple(_parameter(one) for one in _children(element) if _name(one) == (CARD, "param-filter"))
    absent = _absent(element)
    if absent and (texts or parameters):
        raise _malformed("is-not-defined")
    return Condition(_named(element), _every(element), absent, texts, parameters)


def _parameter(element: etree._Element) -> ParameterFilter:
    text, absent = _child(element, (CARD, "text-match")), _absent(element)
    if absent and text is not None:
        raise _malformed("is-not-defined")
    return ParameterFilter(_named(element), _match(text) if text is not None else None, absent)


def _match(element: etree._Element) -> TextMatch:
    collation, kind = element.get("collation", "i;unicode-casemap"), element.get("match-type", "contains")
    negate = element.get("negate-condition", "no")
    if collation == "default":
        collation = "i;unicode-casemap"
    if collation not in COLLATIONS:
        raise DavFault(say("cette collation n'est pas servie", "this collation is not served"), rule="CARDDAV-COLLATION",
                       status=403, condition=(CARD, "supported-collation"), remedy=", ".join(COLLATIONS))
    if kind not in MATCHES or negate not in ("yes", "no"):
        raise _malformed("text-match")
    text = element.text or ""
    if len(text) > MAX_TEXT:
        raise _excess(f"text-match > {MAX_TEXT}")
    return TextMatch(text, collation, kind, negate == "yes")
