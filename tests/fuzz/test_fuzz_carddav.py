"""CardDAV from outside: any body ends in a value or in a DavFault, any filter on any card in an answer, any path in a place or none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from mssante.directory.values import DirectoryEntry
from mssante.directory.vcard import KNOWN, SEARCHED, card_of
from mssante.endpoints.carddav_tree import Kind, cards_answer, path_of, place_of
from mssante.protocol.webdav.answers import multistatus
from mssante.protocol.webdav.matching import matches, texts_of
from mssante.protocol.webdav.requests import CARD, DAV, DavFault, Query, read_propfind, read_report

NAMES = st.sampled_from([(DAV, one) for one in ("propfind", "prop", "getetag", "href", "limit", "nresults", "sync-token", "sync-level", "allprop",
                                                "sync-collection", "propname")]
                        + [(CARD, one) for one in ("addressbook-query", "addressbook-multiget", "filter", "prop-filter", "text-match", "limit",
                                                   "nresults", "param-filter", "is-not-defined", "address-data", "prop")] + [("", "x"), ("urn:x", "y")])
VALID = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cn")), max_size=12)
TEXTS = st.one_of(VALID, st.sampled_from(["1", "claire", "/carddav/", "-1", "9" * 30]))
ATTRIBUTES = st.dictionaries(st.sampled_from(["name", "test", "collation", "match-type", "negate-condition", "version", "content-type", "novalue"]),
                             st.one_of(st.sampled_from(["FN", "EMAIL", "anyof", "allof", "yes", "no", "contains", "equals", "i;octet", "4.0", "default"]),
                                       VALID), max_size=3)
ENTRIES = st.builds(lambda words: DirectoryEntry(f"{words[0] or 'a'}@x.fr", "PER", "", "", *words[1:6], town=words[6], postcode=words[7]),
                    st.lists(st.text(max_size=20), min_size=8, max_size=8))


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> etree._Element:
    space, local = draw(NAMES)
    found = etree.Element(f"{{{space}}}{local}" if space else local)
    for name, value in draw(ATTRIBUTES).items():
        found.set(name, value)
    found.text = draw(TEXTS)
    if depth < 4:
        found.extend(draw(st.lists(trees(depth + 1), max_size=3)))
    return found


MATCHES = st.builds(lambda text, collation, kind, negate: f'<C:text-match collation="{collation}" match-type="{kind}" negate-condition="{negate}">'
                    f"{text}</C:text-match>", st.from_regex(r"[a-zé ]{0,12}", fullmatch=True), st.sampled_from(["i;octet", "i;ascii-casemap", "i;unicode-casemap"]),
                    st.sampled_from(["equals", "contains", "starts-with", "ends-with"]), st.sampled_from(["yes", "no"]))
CONDITIONS = st.builds(lambda name, test, inner: f'<C:prop-filter name="{name}" test="{test}">{inner}</C:prop-filter>',
                       st.sampled_from([*KNOWN, "TEL"]), st.sampled_from(["anyof", "allof"]),
                       st.one_of(st.just("<C:is-not-defined/>"), st.lists(MATCHES, max_size=3).map("".join)))
QUERIES = st.builds(lambda test, inner: f'<C:addressbook-query xmlns:C="{CARD}"><C:filter test="{test}">{"".join(inner)}</C:filter></C:addressbook-query>',
                    st.sampled_from(["anyof", "allof"]), st.lists(CONDITIONS, max_size=4))


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), trees().map(etree.tostring)))
def test_any_body(raw: bytes) -> None:
    for read in (read_propfind, read_report):
        try:
            read(raw)
        except DavFault as fault:
            assert fault.status in (400, 403, 413) and fault.rule


@settings(max_examples=150, deadline=None)
@given(QUERIES, ENTRIES)
def test_any_filter_on_any_card(text: str, entry: DirectoryEntry) -> None:
    query = read_report(text.encode())
    assert isinstance(query, Query)
    card = card_of([entry])
    found = matches(query, card.properties)
    assert found in (True, False)
    texts = texts_of(query, SEARCHED, KNOWN)
    assert texts or not found, "what nothing is searched for cannot match"


@settings(max_examples=150, deadline=None)
@given(ENTRIES, st.one_of(st.text(max_size=30), st.text("a/%.?#@ é", max_size=30)))
def test_any_card_and_any_path(entry: DirectoryEntry, path: str) -> None:
    card = card_of([entry])
    for version in ("3.0", "4.0"):
        lines = card.vcard(version).split("\r\n")
        assert lines[0] == "BEGIN:VCARD" and lines[-2:] == ["END:VCARD", ""] and all(len(one.encode()) <= 75 for one in lines)
    etree.fromstring(multistatus(cards_answer(Kind.COLLEAGUES, [card], read_propfind(b""), None)))
    place = place_of(Kind.DIRECTORY.value + path)
    assert place is None or place.kind in (Kind.DIRECTORY,)
    place = place_of(path_of(Kind.COLLEAGUES, "a" + path.lower()))
    assert place is None or place.kind is Kind.COLLEAGUES
