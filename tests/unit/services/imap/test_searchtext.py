"""Folding, and reading ENVELOPE back for SEARCH."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mssante.protocol.mime.headers import parse_headers
from mssante.protocol.mime.imapview import envelope
from mssante.services.imap.searchtext import envelope_words, fold


def test_case_and_accents_fold() -> None:
    assert fold("ÉTÉ à Besançon, Straße, ﬁn") == "ete a besancon, strasse, fin"
    assert fold("ABC") == "abc"


def test_envelope_fields_are_read_back() -> None:
    headers = parse_headers(
        b"Date: Tue, 3 Mar 2026 23:30:00 -0800\r\nSubject: =?utf-8?q?R=C3=A9sultat_=22x=22?= \\ fin\r\n"
        b"From: =?utf-8?q?L=C3=A9a?= <Lea@Un.mssante.fr>\r\nTo: a@b.fr, C <c@d.fr>\r\nMessage-ID: <x@y>\r\n")
    words = envelope_words(envelope(headers))
    assert words["subject"] == 'resultat "x" \\ fin'
    assert words["from"] == "lea <lea@un.mssante.fr>"
    assert "a@b.fr" in words["to"]
    assert "c <c@d.fr>" in words["to"]
    assert words["message-id"] == "<x@y>"
    assert words["date"] == "2026-03-03"  # the day as written, whatever the zone (RFC 9051 §6.4.4)
    assert "cc" not in words


@given(st.binary(max_size=300))
def test_any_octets_are_read_without_fault(raw: bytes) -> None:
    envelope_words(raw)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_header_survives_the_round_trip(subject: bytes, sender: bytes) -> None:
    headers = parse_headers(b"Subject: " + subject + b"\r\nFrom: " + sender + b"\r\nMessage-ID: <fixed@id>\r\n")
    if headers.get(b"message-id") == b"<fixed@id>":
        assert envelope_words(envelope(headers)).get("message-id") == "<fixed@id>"
