"""Requests read within limits, filters matched, answers written so that what was read comes back as it was."""

from __future__ import annotations

import pytest
from lxml import etree

from mssante.protocol.webdav.answers import Found, element, error, multistatus
from mssante.protocol.webdav.matching import MAX_SEARCHES, Value, folded, matches, texts_of
from mssante.protocol.webdav.requests import (
    ADDRESS_DATA,
    CARD,
    DAV,
    MAX_BODY,
    AddressData,
    DavFault,
    MultiGet,
    Query,
    Sync,
    Wanted,
    read_propfind,
    read_report,
)

SPACES = 'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"'
CLAIRE = {"FN": [Value("DR CLAIRE MARTIN", {})], "EMAIL": [Value("claire@x.fr", {"TYPE": ("INTERNET", "WORK")})],
          "ROLE": [Value("Cœur", {}), Value("Médecine générale", {})]}


def query(filter_: str, more: str = "") -> Query:
    found = read_report(f"<C:addressbook-query {SPACES}><prop><getetag/></prop><C:filter{filter_}</C:filter>{more}</C:addressbook-query>".encode())
    assert isinstance(found, Query)
    return found


def one(name: str, inner: str, test: str = "") -> str:
    return f'<C:prop-filter name="{name}"{test}>{inner}</C:prop-filter>'


def text(words: str, **given: str) -> str:
    return "<C:text-match" + "".join(f' {name.replace("_", "-")}="{value}"' for name, value in given.items()) + f">{words}</C:text-match>"


def test_what_a_propfind_asks_for() -> None:
    assert read_propfind(b" \n") == read_propfind(f"<propfind {SPACES}><allprop/></propfind>".encode()) == Wanted(every=True)
    assert read_propfind(f"<propfind {SPACES}><propname/></propfind>".encode()) == Wanted(every=True, bare=True)
    found = read_propfind(f"<propfind {SPACES}><prop><getetag/><C:address-data/><x xmlns=''/><getetag/></prop></propfind>".encode())
    assert found.names == ((DAV, "getetag"), ADDRESS_DATA, ("", "x")) and found.data == AddressData()


def test_what_reports_ask_for() -> None:
    got = read_report(f"""<C:addressbook-multiget {SPACES}><prop><C:address-data content-type="text/vcard" version="4.0">
        <C:prop name="fn"/><C:prop name="EMAIL" novalue="yes"/></C:address-data></prop><href> /a </href><href>/b</href></C:addressbook-multiget>""".encode())
    assert got == MultiGet(Wanted((ADDRESS_DATA,), data=AddressData("4.0", (("FN", False), ("EMAIL", True)))), ("/a", "/b"))
    got = read_report(f"<sync-collection {SPACES}><sync-token>t</sync-token><sync-level>1</sync-level><limit><nresults>5</nresults></limit><prop><getetag/></prop></sync-collection>".encode())
    assert got == Sync(Wanted(((DAV, "getetag"),)), "t", 5)
    assert query(">", "<C:limit><C:nresults>3</C:nresults></C:limit>") == Query(Wanted(((DAV, "getetag"),)), limit=3)


@pytest.mark.parametrize(("raw", "status", "rule"), [
    (b"", 400, "XML-SYNTAX"), (b"<a", 400, "XML-SYNTAX"), (b"<a/>", 403, "CARDDAV-RAPPORT"),
    (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', 400, "XML-DTD"), (b"<a>" + b" " * MAX_BODY + b"</a>", 413, "XML-SIZE"),
    (b"<a>" * 20 + b"</a>" * 20, 400, "XML-LIMIT"), (b"<a>" + b"<b/>" * 5000 + b"</a>", 400, "XML-LIMIT"),
    (f"<C:addressbook-query {SPACES}/>".encode(), 400, "CARDDAV-FORME"),
    (f"<C:addressbook-multiget {SPACES}><prop/></C:addressbook-multiget>".encode(), 400, "CARDDAV-FORME"),
    (f"<C:addressbook-multiget {SPACES}><prop/>{'<href>/a</href>' * 1001}</C:addressbook-multiget>".encode(), 403, "CARDDAV-TAILLE"),
    (f"<C:addressbook-multiget {SPACES}><prop/><href>{'a' * 1001}</href></C:addressbook-multiget>".encode(), 400, "CARDDAV-FORME"),
    (f"<C:addressbook-multiget {SPACES}><prop>{''.join(f'<a{n}/>' for n in range(51))}</prop><href>/</href></C:addressbook-multiget>".encode(), 403, "CARDDAV-TAILLE"),
    (f"<C:addressbook-multiget {SPACES}><prop><{'a' * 2001}/></prop><href>/</href></C:addressbook-multiget>".encode(), 403, "CARDDAV-TAILLE"),
    (f"<C:addressbook-multiget {SPACES}><prop><C:address-data version='2.1'/></prop><href>/</href></C:addressbook-multiget>".encode(), 403, "CARDDAV-FORMAT"),
    (f"<sync-collection {SPACES}><sync-token/><sync-level>infinite</sync-level><prop/></sync-collection>".encode(), 403, "CARDDAV-FORME"),
    (f"<sync-collection {SPACES}><sync-token>{'t' * 201}</sync-token><prop/></sync-collection>".encode(), 400, "CARDDAV-FORME"),
    (f"<sync-collection {SPACES}><sync-token/></sync-collection>".encode(), 400, "CARDDAV-FORME")])
def test_reports_that_are_refused(raw: bytes, status: int, rule: str) -> None:
    with pytest.raises(DavFault) as caught:
        read_report(raw)
    assert (caught.value.status, caught.value.rule) == (status, rule)


@pytest.mark.parametrize(("filter_", "rule"), [
    (' test="some">', "CARDDAV-FORME"), (">" + one("", ""), "CARDDAV-FORME"), (">" + one("a" * 101, ""), "CARDDAV-FORME"),
    (">" + one("FN", "<C:is-not-defined/>" + text("a")), "CARDDAV-FORME"), (">" + one("FN", text("a" * 201)), "CARDDAV-TAILLE"),
    (">" + one("FN", text("a", collation="i;basic")), "CARDDAV-COLLATION"), (">" + one("FN", text("a", match_type="like")), "CARDDAV-FORME"),
    (">" + one("FN", text("a", negate_condition="maybe")), "CARDDAV-FORME"), (">" + one("FN", text("a") * 60), "CARDDAV-TAILLE")])
def test_filters_that_are_refused(filter_: str, rule: str) -> None:
    with pytest.raises(DavFault) as caught:
        query(filter_)
    assert caught.value.rule == rule


@pytest.mark.parametrize(("filter_", "expected"), [
    (">", True), (">" + one("FN", ""), True), (">" + one("TEL", ""), False), (">" + one("TEL", "<C:is-not-defined/>"), True),
    (">" + one("FN", "<C:is-not-defined/>"), False),
    (">" + one("fn", text("claire mar")), True), (">" + one("FN", text("Clairé")), True), (">" + one("ROLE", text("COEUR")), True),
    (">" + one("ROLE", text("medecine", match_type="starts-with")), True), (">" + one("ROLE", text("generale", match_type="ends-with")), True),
    (">" + one("FN", text("CLAIRE", match_type="equals")), False), (">" + one("EMAIL", text("CLAIRE@x.fr", match_type="equals")), True),
    (">" + one("EMAIL", text("CLAIRE", collation="i;octet")), False), (">" + one("EMAIL", text("CLAIRE", collation="i;ascii-casemap")), True),
    (">" + one("ROLE", text("medecine", collation="i;ascii-casemap")), False),
    (">" + one("FN", text("paul", negate_condition="yes")), True), (">" + one("FN", text("claire", negate_condition="yes")), False),
    (">" + one("FN", text("claire") + text("paul")), True), (">" + one("FN", text("claire") + text("paul"), ' test="allof"'), False),
    (">" + one("FN", text("claire")) + one("FN", text("paul")), True), (' test="allof">' + one("FN", text("claire")) + one("FN", text("paul")), False),
    (">" + one("EMAIL", '<C:param-filter name="type">' + text("work", match_type="equals") + "</C:param-filter>"), True),
    (">" + one("EMAIL", '<C:param-filter name="PREF"/>'), False),
    (">" + one("EMAIL", '<C:param-filter name="PREF"><C:is-not-defined/></C:param-filter>'), True)])
def test_filters_that_match(filter_: str, expected: bool) -> None:
    assert matches(query(filter_), CLAIRE) is expected


def test_unicode_casemap_of_letters_with_several_capitals() -> None:
    assert folded("ŀé", "i;unicode-casemap") == folded("Ŀe", "i;unicode-casemap")
    assert folded("e", "i;unicode-casemap") == folded("É", "i;unicode-casemap") != folded("É", "i;ascii-casemap")


def test_words_that_narrow_a_filter() -> None:
    known, searched = ("FN", "EMAIL", "UID"), ("FN", "EMAIL")

    def words(filter_: str) -> list[str]:
        return texts_of(query(filter_), searched, known)

    assert words(">") == words(">" + one("FN", "")) == words(">" + one("UID", text("x"))) == words(">" + one("FN", text("x", negate_condition="yes"))) == [""]
    assert words(">" + one("TEL", text("x"))) == [], "our cards have no TEL: nothing matches"
    assert words(">" + one("TEL", text("x")) + one("FN", text("a b")) + one("EMAIL", text("c"))) == ["a b", "c"]
    assert words(' test="allof">' + one("TEL", text("x")) + one("FN", text("a"))) == []
    assert words(' test="allof">' + one("FN", text("a") + text("b")) + one("EMAIL", text("c"))) == ["a c", "b c"]
    assert words(">" + one("FN", text("a") + text("b"), ' test="allof"')) == ["a b"]
    assert "" in words(">" + one("FN", text("a") + text("b", negate_condition="yes")))
    assert "" in words(">" + one("TEL", "<C:is-not-defined/>") + one("FN", text("a")))
    assert len(words(">" + "".join(one("FN", text(f"w{n}")) for n in range(20)))) == MAX_SEARCHES + 1


def test_answers_come_back_as_they_were() -> None:
    body = multistatus([Found("/a?b&c", [((DAV, "getetag"), '"1"'), (ADDRESS_DATA, "A&#13;\nB")], [("urn:a&b", "x"), (CARD, "y")]),
                        Found("/gone", status=404)], token="t&")
    root = etree.fromstring(body)
    space = {"D": DAV, "C": CARD}
    assert root.xpath("string(D:response[1]/D:href)", namespaces=space) == "/a?b&c"
    assert root.xpath("string(//C:address-data)", namespaces=space) == "A\r\nB"
    assert [one.tag for one in root.xpath("D:response[1]/D:propstat[2]/D:prop/*", namespaces=space)] == ["{urn:a&b}x", f"{{{CARD}}}y"]
    assert root.xpath("string(D:response[2]/D:status)", namespaces=space) == "HTTP/1.1 404 Not Found"
    assert root.xpath("string(D:sync-token)", namespaces=space) == "t&"
    root = etree.fromstring(error((CARD, "supported-filter"), "non <\x00\ud800> é"))
    assert root[0].tag == f"{{{CARD}}}supported-filter" and root[1].text == "non <> é"
    assert element(("", "x")) == '<x xmlns=""/>'
