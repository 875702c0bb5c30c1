"""Folding, and the columns of header fields: what they hold is what a scan of the header gives."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from mssante.model.headers import IndexedHeaders
from mssante.protocol.imap import envelopes
from mssante.protocol.imap.collation import casemap, fold
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import decode_words, parse_headers
from mssante.protocol.mime.imapview import envelope, facts
from mssante.services.imap.headcolumns import CELLS, HEADER_LIMIT


def row_of(header: bytes) -> IndexedHeaders:
    """Give the columns that ingest keeps of a header."""
    found = facts(header + b"\r\n")
    sent = None if found.date is None else int((found.date - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000
    return IndexedHeaders(1, found.subject, sent, found.message_id, found.in_reply_to, found.envelope)


def test_case_and_accents_fold() -> None:
    assert fold("ÉTÉ à Besançon, Straße, ﬁn") == "ete a besancon, strasse, fin"
    assert fold("ABC") == "abc"


def test_casemap_is_the_comparator_of_rfc_5051() -> None:
    assert casemap("Été") == casemap("éTÉ") == "E\u0301TE\u0301"
    assert casemap("abc") == "ABC"
    assert casemap("\u01c6") == casemap("\u01c5") == "D" + "z\u030c"  # dz with caron: titlecase, then decomposed
    assert casemap("e") != casemap("é")
    assert casemap("ı") == "I"
    assert fold("\u1fc2") == fold(casemap("\u1fc2")) == "ηι"  # found by hypothesis


@given(st.text(max_size=8), st.text(max_size=4), st.text(max_size=4))
def test_search_finds_all_that_the_comparator_finds(text: str, before: str, after: str) -> None:
    assert casemap(text) in casemap(before + text + after)
    assert fold(text) in fold(before + text + after)
    assert fold(casemap(text)) == fold(text)
    assert fold(text.lower()) == fold(text) or unicodedata.normalize("NFKD", text.lower()) != text.lower()


def test_envelope_fields_are_read_back() -> None:
    row = row_of(
        b"Date: Tue, 3 Mar 2026 23:30:00 -0800\r\nSubject: =?utf-8?q?R=C3=A9sultat_=22x=22?= \\ fin\r\n"
        b"From: =?utf-8?q?L=C3=A9a?= <Lea@Un.mssante.fr>\r\nTo: a@b.fr, C <c@d.fr>\r\nMessage-ID: <x@y>\r\n")
    words = {name: cell(row) for name, cell in CELLS.items()}
    assert words["subject"] == 'resultat "x" \\ fin'
    assert words["from"] == "lea <lea@un.mssante.fr>"
    assert words["to"] == " <a@b.fr>, c <c@d.fr>"
    assert words["message-id"] == "<x@y>"
    assert words["date"] == "2026-03-03"  # the day as written, whatever the zone (RFC 9051 §6.4.4)
    assert words["cc"] == ""
    assert words["mailbox of from"] == "LEA"
    assert words["mailbox of to"] == "A"
    assert words["mailbox of cc"] == ""
    assert words["display of from"] == "LE\u0301A"
    assert words["display of to"] == "A@B.FR"


def test_groups_sort_by_their_name() -> None:
    row = row_of(b"To: Equipe: a@b.fr, c@d.fr;\r\n")
    assert CELLS["mailbox of to"](row) == CELLS["display of to"](row) == "EQUIPE"  # RFC 5957 §3


@given(st.binary(max_size=300))
def test_any_octets_are_read_without_fault(raw: bytes) -> None:
    row = IndexedHeaders(1, "", None, "", "", raw)
    for cell in CELLS.values():
        cell(row)
    assert len(envelopes.fields(raw)) == 10


FIELD = st.one_of(st.binary(max_size=60), st.text(max_size=30).map(lambda text: text.encode()),
                  st.sampled_from([b"=?utf-8?q?=C3=A9t=C3=A9?=", b"a" * 700, b"  x " + b" " * 600 + b"y", b'"q\\"" <a@b>'])).map(
    lambda octets: octets.replace(b"\0", b"?"))  # what no IMAP string can hold, ENVELOPE shows so


@given(FIELD, FIELD, FIELD)
def test_columns_say_what_a_scan_of_the_header_says(subject: bytes, sender: bytes, identity: bytes) -> None:
    header = b"Subject: " + subject + b"\r\nFrom: " + sender + b"\r\nCc: " + sender + b"\r\nMessage-ID: " + identity + b"\r\n"
    headers = parse_headers(header)
    row = row_of(header)
    if facts(header + b"\r\n").envelope != envelope(headers):
        return  # the line ends in the values made another header of it
    scanned = fold(decode_words(headers.get(b"subject") or b"", HEADER_LIMIT))
    assert CELLS["subject"](row) == scanned
    people = ", ".join(
        fold(decode_words(entry.display or b"", HEADER_LIMIT)) + " <"
        + fold(((entry.local or b"") + b"@" + (entry.domain or b"")).decode("utf-8", "replace")) + ">"
        for entry in parse_addresses(headers.get(b"from") or b""))
    assert CELLS["from"](row) == people
    assert CELLS["message-id"](row) == fold(decode_words(headers.get(b"message-id") or b"", HEADER_LIMIT))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_header_survives_the_round_trip(subject: bytes, sender: bytes) -> None:
    header = b"Subject: " + subject + b"\r\nFrom: " + sender + b"\r\nMessage-ID: <fixed@id>\r\n"
    if parse_headers(header).get(b"message-id") == b"<fixed@id>":
        assert envelopes.text(envelopes.fields(envelope(parse_headers(header)))[envelopes.MESSAGE_ID]) == b"<fixed@id>"
