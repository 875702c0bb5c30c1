"""ENVELOPE, BODYSTRUCTURE and facts against goldens written by hand from the examples of RFC 9051."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import imap_sexp

from mssante.protocol.mime.headers import read_headers
from mssante.protocol.mime.imapview import body_of, bodystructure, envelope, facts
from mssante.protocol.mime.scan import scan
from mssante.protocol.mime.wire import MAX_STRING, nstring


def lines(count: int, octets: int) -> bytes:
    """Give `octets` octets in `count` CRLF lines."""
    first = octets - 3 * (count - 1) - 2
    return b"x" * first + b"\r\n" + b"y\r\n" * (count - 1)


# RFC 9051 §8 (sample session): the message whose FETCH FULL it shows.
MEETING = (b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
           b"Subject: IMAP4rev2 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
           b"cc: minutes@CNRI.Reston.VA.US,\r\n   John Klensin <KLENSIN@MIT.EDU>\r\n"
           b"Message-Id: <B27397-0100000@cac.washington.edu>\r\nMIME-Version: 1.0\r\n"
           b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n") + lines(92, 3028)


def test_envelope_of_the_rfc() -> None:
    assert envelope(read_headers(MEETING)) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev2 WG mtg summary and minutes" '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")')


def test_body_of_the_rfc() -> None:
    assert body_of(scan(MEETING)) == b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 3028 92)'
    assert bodystructure(scan(MEETING)) == (b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 3028 92 '
                                            b'NIL NIL NIL NIL)')


def test_multipart_body_of_the_rfc() -> None:
    message = (b"Content-Type: multipart/mixed; boundary=cut\r\n\r\n--cut\r\nContent-Type: text/plain; charset=US-ASCII\r\n\r\n"
               + lines(23, 1152) + b"\r\n--cut\r\nContent-Type: text/plain; charset=US-ASCII; name=cc.diff\r\n"
               b"Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n"
               b"Content-Transfer-Encoding: base64\r\n\r\n" + lines(73, 4554) + b"\r\n--cut--\r\n")
    assert body_of(scan(message)) == (
        b'(("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7BIT" 1152 23)'
        b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII" "NAME" "cc.diff") "<960723163407.20117h@cac.washington.edu>" '
        b'"Compiler diff" "BASE64" 4554 73) "MIXED")')


def test_extension_data() -> None:
    message = (b'Content-Type: multipart/alternative; boundary="x y"\r\nContent-Language: fr, en\r\n\r\n--x y\r\n'
               b"Content-Type: application/pdf; name*0*=utf-8''%C3%A9; name*1=.pdf\r\nContent-MD5: Q2hlY2s=\r\n"
               b"Content-Disposition: attachment; filename=\"a \\\"b\\\".pdf\"; size=3\r\nContent-Language: fr\r\n"
               b"Content-Location: http://a/b\r\n\r\nabc\r\n--x y--\r\n")
    assert bodystructure(scan(message)) == (
        b'(("APPLICATION" "PDF" ("NAME*" "utf-8\'\'%C3%A9.pdf") NIL NIL "7BIT" 3 "Q2hlY2s=" '
        b'("ATTACHMENT" ("FILENAME" "a \\"b\\".pdf" "SIZE" "3")) "fr" "http://a/b") '
        b'"ALTERNATIVE" ("BOUNDARY" "x y") NIL ("fr" "en") NIL)')


def test_embedded_message() -> None:
    message = (b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\nFrom: a@b.fr\r\n\r\nhello\r\n")
    assert bodystructure(scan(message)) == (
        b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 36 (NIL "in" ((NIL NIL "a" "b.fr")) ((NIL NIL "a" "b.fr")) '
        b'((NIL NIL "a" "b.fr")) NIL NIL NIL NIL NIL) '
        b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 7 1 NIL NIL NIL NIL) 4 NIL NIL NIL NIL)')


def test_groups_sender_and_repeated_fields() -> None:
    headers = read_headers(b"From: A <a@b.fr>\r\nSender: s@b.fr\r\nReply-To:\r\nTo: G: x@y.fr;\r\nTo: z@y.fr\r\n\r\n")
    value = imap_sexp.read(envelope(headers))
    assert isinstance(value, tuple)
    assert value[2] == ((b"A", None, b"a", b"b.fr"),)
    assert value[3] == ((None, None, b"s", b"b.fr"),)
    assert value[4] == value[2]  # an empty Reply-To counts as absent
    assert value[5] == ((None, None, b"G", None), (None, None, b"x", b"y.fr"), (None, None, None, None),
                        (None, None, b"z", b"y.fr"))


@pytest.mark.parametrize(("value", "wire"), [
    (None, b"NIL"), (b"", b'""'), (b"a b", b'"a b"'), (b'a"\\', b'"a\\"\\\\"'),
    (b"\xc3\xa9", b"{2}\r\n\xc3\xa9"), (b"a\rb", b"{3}\r\na\rb"), (b"a\x00b", b"{3}\r\na?b"),
    (b"x" * 1_000, b'"' + b"x" * 1_000 + b'"'), (b"x" * 1_001, b"{1001}\r\n" + b"x" * 1_001),
])
def test_strings(value: bytes | None, wire: bytes) -> None:
    assert nstring(value) == wire


def test_strings_are_capped() -> None:
    assert nstring(b"\xe9" * 100_000) == b"{%d}\r\n" % MAX_STRING + b"\xe9" * MAX_STRING


LETTER = (b"Received: from a by b; Tue, 01 Sep 2026 06:30:01 +0000\r\nreceived: from c by a; x\r\n"
          b'From: "DR_Alice_EXEMPLE-UN" <alice@Hopital-A.mssante.fr>\r\nTo: bruno@operateur-a.mssante.fr\r\n'
          b"Subject: XDM/1.0/DDM+Lettre =?utf-8?q?=C3=A0?= la sortie\r\n ESSAI\r\nDate: Tue, 01 Sep 2026 08:30:00 +0200\r\n"
          b"Message-ID: <s1@operateur-a.mssante.fr>\r\nIn-Reply-To: <s0@operateur-a.mssante.fr> (x)\r\n\r\nBonjour\r\n")


def test_facts() -> None:
    found = facts(LETTER)
    assert found.message_id == "<s1@operateur-a.mssante.fr>"
    assert found.in_reply_to == "<s0@operateur-a.mssante.fr>"
    assert found.from_address == "alice@hopital-a.mssante.fr"
    assert found.subject == "XDM/1.0/DDM+Lettre à la sortie ESSAI"
    assert found.date == datetime(2026, 9, 1, 6, 30, tzinfo=UTC)
    assert found.header_size == LETTER.index(b"Bonjour")
    assert found.received_count == 2
    imap_sexp.check_envelope(imap_sexp.read(found.envelope))
    imap_sexp.check_body(imap_sexp.read(found.bodystructure))


def test_prefix_lines_count_in_the_envelope_only() -> None:
    bare = b"From: a@b.fr\r\n\r\nx"
    found = facts(bare, prefix=b"Received: x\r\nDate: Tue, 01 Sep 2026 08:30:00 +0200\r\nMessage-ID: <n@d.fr>\r\n")
    assert found.message_id == "<n@d.fr>" and found.date is not None and found.received_count == 0
    assert found.header_size == 16
    value = imap_sexp.read(found.envelope)
    assert isinstance(value, tuple) and value[0] == b"Tue, 01 Sep 2026 08:30:00 +0200" and value[9] == b"<n@d.fr>"


@pytest.mark.parametrize("message", [b"", b"\r\n", b"x", b"\x00" * 50, b":\r\n\r\n", b"From:\r\n\r\n", b"From: ,\r\n\r\n"])
def test_facts_of_hardly_a_message(message: bytes) -> None:
    found = facts(message)
    imap_sexp.check_envelope(imap_sexp.read(found.envelope))
    imap_sexp.check_body(imap_sexp.read(found.bodystructure))
    assert found.from_address == "" and found.date is None


def test_samples_have_the_expected_shape(shared_dir: Path) -> None:
    message = (shared_dir / "data/mail/structured-to-professional.eml").read_bytes()
    found = facts(message)
    value = imap_sexp.read(found.bodystructure)
    imap_sexp.check_body(value)
    assert isinstance(value, tuple) and isinstance(value[1], tuple)
    assert value[1][8] == (b"ATTACHMENT", (b"FILENAME", b"IHE_XDM.zip"))
    assert found.subject.startswith("XDM/1.0/DDM+Lettre de liaison à la sortie ")
    assert found.message_id == "<essai-s1@operateur-a.mssante.fr>"


def test_what_a_message_answers_is_its_references_else_in_reply_to() -> None:
    body = b"References: <a@x>\r\n <b @x> junk <c@x>\r\nIn-Reply-To: <d@x>\r\n\r\n"
    assert facts(body).in_reply_to == "<a@x> <b@x> <c@x>"
    assert facts(b"References: none\r\nIn-Reply-To: <d@x>\r\n\r\n").in_reply_to == "<d@x>"
    many = b"References: " + b" ".join(b"<%d@x>" % number for number in range(300)) + b"\r\n\r\n"
    kept = facts(many).in_reply_to.split(" ")
    assert len(kept) == 100 and kept[0] == "<0@x>" and kept[1] == "<201@x>" and kept[-1] == "<299@x>"
