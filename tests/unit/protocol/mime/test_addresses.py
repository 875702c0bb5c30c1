"""Address lists and parameters."""

from __future__ import annotations

import pytest

from mssante.protocol.mime.addresses import MAX_ADDRESSES, HeaderAddress, parse_addresses
from mssante.protocol.mime.parameters import parameter, parse_disposition, parse_media, raw_parameter


def one(display: bytes, local: bytes, domain: bytes, route: bytes = b"") -> HeaderAddress:
    return HeaderAddress(display, route, local, domain)


@pytest.mark.parametrize(("value", "entries"), [
    (b"a@b.fr", [one(b"", b"a", b"b.fr")]),
    (b"<a@b.fr>", [one(b"", b"a", b"b.fr")]),
    (b"Jean Test <a@b.fr>", [one(b"Jean Test", b"a", b"b.fr")]),
    (b"Dr. Jean  Test   <a.b@b.fr>", [one(b"Dr. Jean  Test", b"a.b", b"b.fr")]),
    (b'"Test, Jean" <a@b.fr>', [one(b"Test, Jean", b"a", b"b.fr")]),
    (b'"Say \\"hi\\"" <a@b.fr>', [one(b'Say "hi"', b"a", b"b.fr")]),
    (b"=?utf-8?q?=C3=A9?= <a@b.fr>", [one(b"=?utf-8?q?=C3=A9?=", b"a", b"b.fr")]),
    (b"a@b.fr (Jean (le vrai) Test)", [one(b"Jean (le vrai) Test", b"a", b"b.fr")]),
    (b"a@b.fr, C <c@d.fr>,, e@f.fr,", [one(b"", b"a", b"b.fr"), one(b"C", b"c", b"d.fr"), one(b"", b"e", b"f.fr")]),
    (b"<@one.fr,@two.fr:a@b.fr>", [one(b"", b"a", b"b.fr", b"@one.fr,@two.fr")]),
    (b'"a b"@c.fr', [one(b"", b"a b", b"c.fr")]),
    (b"a@[127.0.0.1]", [one(b"", b"a", b"[127.0.0.1]")]),
    (b"a@b.fr@c.fr", [one(b"", b"a@b.fr", b"c.fr")]),
    (b"postmaster", [one(b"", b"postmaster", b"")]),
    (b"Group: a@b.fr, c@d.fr;", [HeaderAddress(b"", b"", b"Group", None), one(b"", b"a", b"b.fr"),
                                 one(b"", b"c", b"d.fr"), HeaderAddress(b"", b"", None, None)]),
    (b"undisclosed-recipients:;", [HeaderAddress(b"", b"", b"undisclosed-recipients", None),
                                   HeaderAddress(b"", b"", None, None)]),
    (b"<>", [one(b"", b"", b"")]),
    (b"", []), (b" , ;", []),
    (b'"unclosed <a@b.fr>', [one(b"", b"unclosed <a@b.fr>", b"")]),
    (b"Name <a@b.fr", [one(b"Name", b"a", b"b.fr")]),
    (b"a@b.fr (open", [one(b"ope", b"a", b"b.fr")]),
])
def test_lists(value: bytes, entries: list[HeaderAddress]) -> None:
    assert list(parse_addresses(value)) == entries


def test_long_lists_are_cut() -> None:
    assert len(parse_addresses(b", ".join(b"u%d@d.fr" % number for number in range(5_000)))) == MAX_ADDRESSES


@pytest.mark.parametrize(("value", "kind", "parameters"), [
    (b"text/html; charset=UTF-8", (b"text", b"html"), ((b"charset", b"UTF-8"),)),
    (b'Multipart/Mixed;\tboundary="a;b\\"c" ; x=y', (b"multipart", b"mixed"), ((b"boundary", b'a;b"c'), (b"x", b"y"))),
    (b"text/plain; charset=us-ascii (Plain)", (b"text", b"plain"), ((b"charset", b"us-ascii"),)),
    (b"application/pdf; name=mon fichier.pdf; a", (b"application", b"pdf"), ((b"name", b"mon fichier.pdf"),)),
    (b'a/b; name="unclosed', (b"a", b"b"), ((b"name", b"unclosed"),)),
    (b"a/b;;; ;x=1;", (b"a", b"b"), ((b"x", b"1"),)),
    (b"garbage", (b"text", b"plain"), ((b"charset", b"us-ascii"),)),
])
def test_media(value: bytes, kind: tuple[bytes, bytes], parameters: tuple[tuple[bytes, bytes], ...]) -> None:
    media = parse_media(value)
    assert (media.type, media.subtype) == kind
    assert media.parameters == parameters


def test_continuations_are_joined_in_order() -> None:
    _, pairs = parse_disposition(b"attachment; filename*1*=%20ta; filename*0*=utf-8'fr'%C3%A9; filename*2=\"b%.txt\"")
    assert pairs == ((b"filename*", b"utf-8'fr'%C3%A9%20tab%25.txt"),)
    assert parameter(pairs, b"filename") == "é tab%.txt"
    _, plain = parse_disposition(b"attachment; filename*0=one; filename*1=two; filename*3=lost")
    assert plain == ((b"filename", b"onetwo"),)
    assert raw_parameter(plain, b"filename") == b"onetwo" and raw_parameter(plain, b"x") == b""


def test_parameter_forms() -> None:
    pairs = ((b"filename", b"plain.txt"), (b"filename*", b"iso-8859-1''%E9.txt"))
    assert parameter(pairs, b"filename") == "é.txt"
    assert parameter(((b"name", b"=?utf-8?q?=C3=A9?=.txt"),), b"name") == "é.txt"
    assert parameter(((b"name*", b"utf-8''a%0D%0Ab"),), b"name") == "a b"
    assert parameter((), b"name") == ""
