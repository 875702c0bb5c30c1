"""The one entry for XML from outside: nothing is fetched, nothing expands, everything is bounded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from mssante.errors import InputFault
from mssante.protocol.xml import MAX_DEPTH, parse_xml

ROOT = Path(__file__).resolve().parents[3] / "mssante"


def refused(raw: bytes, rule: str, **limits: int) -> None:
    with pytest.raises(InputFault) as caught:
        parse_xml(raw, **{"max_bytes": 1 << 20, **limits})
    assert caught.value.rule == rule


@pytest.mark.parametrize(("raw", "text"), [
    (b"<a>x</a>", "x"), ("<a>été</a>".encode(), "été"), (b'<?xml version="1.0" encoding="ISO-8859-1"?><a>\xe9</a>', "é"),
    (b'<?xml version="1.0" encoding="iso-8859-15"?><a>\xa4</a>', "€"), (b"\xef\xbb\xbf<a>x</a>", "x"),
    (b'<?xml version="1.0" encoding="UTF-8"?>\n<a>&lt;&#233;&amp;</a>', "<é&"), (b"<a><![CDATA[<b>]]></a>", "<b>")])
def test_good(raw: bytes, text: str) -> None:
    assert parse_xml(raw, max_bytes=1000).text == text


@pytest.mark.parametrize(("raw", "rule"), [
    (b"", "XML-SYNTAX"), (b"<a>", "XML-SYNTAX"), (b"<a/><b/>", "XML-SYNTAX"), (b"<a>&b;</a>", "XML-SYNTAX"), (b"text", "XML-SYNTAX"),
    (b"<a>\x01</a>", "XML-SYNTAX"), (b"<a>\xff</a>", "XML-SYNTAX"), (b"<!DOCTYPE a><a/>", "XML-DTD"), (b"<!doctype a><a/>", "XML-DTD"),
    (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "XML-DTD"), (b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a/>', "XML-DTD"),
    (b'<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd">%p;]><a/>', "XML-DTD"), (b"<a><!ENTITY b 'c'></a>", "XML-DTD"),
    ('<?xml version="1.0"?><a/>'.encode("utf-16"), "XML-ENCODING"), ("<a/>".encode("utf-16-le"), "XML-ENCODING"),
    ("<a/>".encode("utf-32-be"), "XML-ENCODING"), (b'<?xml version="1.0" encoding="UTF-7"?><a/>', "XML-ENCODING"),
    (b'<?xml version="1.0" encoding="cp037"?><a/>', "XML-ENCODING"), (b"<?xml version='1.0' encoding='UTF-16'?><a/>", "XML-ENCODING")])
def test_bad(raw: bytes, rule: str) -> None:
    refused(raw, rule)


def test_limits() -> None:
    refused(b"<a>" + b"x" * 100 + b"</a>", "XML-SIZE", max_bytes=100)
    depth = b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH
    assert parse_xml(depth, max_bytes=10_000).tag == "a"
    refused(b"<a>" + depth + b"</a>", "XML-LIMIT")
    refused(b"<a>" + b"<b/>" * 100 + b"</a>", "XML-LIMIT", max_elements=100)
    assert len(parse_xml(b"<a>" + b"<b/>" * 99 + b"</a>", max_bytes=10_000, max_elements=100)) == 99
    refused(b"<a>" * 200_000, "XML-LIMIT")


def test_a_long_text_is_taken_when_the_limit_allows_it() -> None:
    raw = b"<a>" + b"x" * 11_000_000 + b"</a>"
    assert len(parse_xml(raw, max_bytes=12_000_000).text or "") == 11_000_000


def test_nothing_is_included_or_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret.xml"
    secret.write_text("<s>secret</s>")
    raw = (f'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="{secret.as_uri()}"/>'
           f'<?xml-stylesheet href="{secret.as_uri()}"?></a>').encode()
    assert b"secret</s>" not in etree.tostring(parse_xml(raw, max_bytes=10_000))


@pytest.mark.parametrize("raw", [b"<a b='1' b='2'/>", b"<a xmlns:x=''/>", b"<x:a/>", b"<a " + b"b" * 100_000 + b"='1'/>", b"</a>" * 1000])
def test_malformed_names_and_attributes(raw: bytes) -> None:
    try:
        parse_xml(raw, max_bytes=1 << 20)
    except InputFault as fault:
        assert fault.rule == "XML-SYNTAX" and len(str(fault)) < 200


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="<>/ab&;!?=\"' \n\x00é", max_size=100).map(str.encode)))
def test_any_octets_give_a_tree_or_a_typed_fault(raw: bytes) -> None:
    try:
        root = parse_xml(raw, max_bytes=150)
    except InputFault as fault:
        assert fault.rule.startswith("XML-")
    else:
        assert root.getroottree().docinfo.doctype == ""


def test_nobody_else_parses_xml() -> None:
    pattern = re.compile(r"etree\.(?:fromstring|parse|XML|iterparse|XMLParser|HTML)\b|xml\.(?:etree|dom|sax)\b(?!\.saxutils)|pyexpat")
    found = {file.relative_to(ROOT).as_posix() for file in ROOT.rglob("*.py") if pattern.search(file.read_text(encoding="utf-8"))}
    assert found == {"protocol/xml.py", "trust/signing.py", "documents/schema.py"}, \
        "signing reads back what it has just written; a schema is read from the files already checked, by a resolver of ours"
