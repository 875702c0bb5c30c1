"""IMAP URLs of CATENATE: what names a message of ours, and what does not."""

from __future__ import annotations

import pytest

from mssante.protocol.imap.url import bad_url_code, parse_url
from mssante.protocol.imap.values import SectionKind, SectionText


@pytest.mark.parametrize(("raw", "open_folder", "wanted"), [
    (b"/INBOX/;UID=20", None, ("INBOX", 20, 0)),
    (b"/inbox/;uid=20", None, ("INBOX", 20, 0)),
    (b"/Drafts;UIDVALIDITY=385759045/;UID=20", None, ("Drafts", 20, 385759045)),
    (b"/A/B%20C/;UID=4294967295", None, ("A/B C", 4294967295, 0)),
    (b"/R%C3%A9sultats/;UID=1", None, ("Résultats", 1, 0)),
    (b"/Re%CC%81sultats/;UID=1", None, ("Résultats", 1, 0)),
    (b"Drafts/;UID=1", None, ("Drafts", 1, 0)),
    (b";UID=7", "Sent", ("Sent", 7, 0)),
    (b"Drafts/;UID=1", "Sent", ("Drafts", 1, 0)),
    (b"Deux/;UID=1", "Projets/Un", ("Projets/Deux", 1, 0)),
    (b"/Deux/;UID=1", "Projets/Un", ("Deux", 1, 0)),
    (b"/a%40b/;UID=1", None, ("a@b", 1, 0)),
    (b"/a:b/;UID=1", None, ("a:b", 1, 0)),
])
def test_messages(raw: bytes, open_folder: str | None, wanted: tuple[str, int, int]) -> None:
    url = parse_url(raw, open_folder=open_folder)
    assert (url.folder, url.uid, url.uidvalidity) == wanted
    assert (url.section.text, url.section.part, url.section.partial) == (SectionText.ALL, (), None)


def test_sections_and_ranges() -> None:
    url = parse_url(b"/INBOX/;UID=1/;SECTION=1.2.MIME/;PARTIAL=10.5", open_folder=None)
    assert (url.section.kind, url.section.part, url.section.text) == (SectionKind.BODY, (1, 2), SectionText.MIME)
    assert url.section.partial == (10, 5)
    assert parse_url(b"/INBOX/;UID=1/;PARTIAL=10", open_folder=None).section.partial == (10, 9223372036854775807)
    fields = parse_url(b"/INBOX/;UID=1/;section=HEADER.FIELDS%20(Subject%20From)", open_folder=None).section
    assert (fields.text, fields.fields) == (SectionText.HEADER_FIELDS, ("Subject", "From"))


@pytest.mark.parametrize("raw", [
    b"", b"/", b"/INBOX", b"/;UID=1", b";UID=1", b"/INBOX;UID=1", b"/INBOX/;UID=0", b"/INBOX/;UID=x", b"/INBOX/;UID=4294967296",
    b"/INBOX;UIDVALIDITY=0/;UID=1", b"imap://host/INBOX/;UID=1", b"imap:/INBOX/;UID=1", b"//host/INBOX/;UID=1", b"///INBOX/;UID=1",
    b"http://host/", b"file:///etc/passwd", b"/../INBOX/;UID=1", b"/./INBOX/;UID=1", b"/A//B/;UID=1", b"/A/../B/;UID=1",
    b"/A%2F..%2FB/;UID=1", b"/%FF/;UID=1", b"/A%/;UID=1", b"/A B/;UID=1", b"/\xc3\xa9/;UID=1", b"/A\r\nB/;UID=1",
    b"/INBOX/;UID=1?SUBJECT", b"/INBOX/;UID=1;URLAUTH=anonymous:internal:00", b"/INBOX/;UID=1/;SECTION=", b"/INBOX/;UID=1/;SECTION=X",
    b"/INBOX/;UID=1/;SECTION=1%5D%20BODY.PEEK%5B2", b"/INBOX/;UID=1/;SECTION=HEADER%5D%3C0.1%3E", b"/INBOX/;UID=1/;PARTIAL=",
    b"/INBOX/;UID=1/;PARTIAL=0.0", b"/INBOX/;UID=1/;PARTIAL=0.5/;SECTION=1", b"/INBOX?SINCE%201-Feb-2026", b"/" + b"a/" * 900 + b";UID",
])
def test_what_names_no_message_here(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_url(raw, open_folder=None)


@pytest.mark.parametrize(("raw", "code"), [
    (b"/INBOX/;UID=9", "BADURL /INBOX/;UID=9"), (b"", "BADURL %20"), (b"a]b\r\nc\xff d", "BADURL a%5Db%0D%0Ac%FF%20d"),
    (b"x" * 3000, "BADURL " + "x" * 1000),
])
def test_the_url_in_the_answer_is_safe(raw: bytes, code: str) -> None:
    assert bad_url_code(raw) == code
