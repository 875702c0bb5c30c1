"""What we write: lines, letters, From facts. Letters are read back by another reader (stdlib email)."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.message import EmailMessage
from typing import cast

import pytest

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.protocol.mime.author import read_author
from mssante.protocol.mime.compose import (
    Attachment,
    Letter,
    ReceivedFrom,
    add_missing,
    address_text,
    check_value,
    encode_words,
    header_line,
    letter,
    multipart,
    received_line,
    return_path_line,
)
from mssante.protocol.mime.headers import decode_words, parse_headers, read_headers
from mssante.protocol.mime.scan import is_ambiguous, scan
from mssante.protocol.mime.sections import decode_part

NOW = datetime(2026, 9, 1, 8, 30, tzinfo=timezone(timedelta(hours=2)))
ALICE = MailAddress("alice", "alpha.mssante.test")
BRUNO = MailAddress("bruno", "beta.mssante.test")
SIMPLE = Letter(ALICE, (BRUNO,), "Essai", "Bonjour", NOW, "<m1@alpha.mssante.test>", "b1")


def read(raw: bytes) -> EmailMessage:
    assert b"\n" not in raw.replace(b"\r\n", b"") and b"\r" not in raw.replace(b"\r\n", b"")
    assert max(len(line) for line in raw.split(b"\r\n")) <= 998
    return cast(EmailMessage, email.message_from_bytes(raw, policy=email.policy.SMTP))


def test_missing_lines_are_a_prefix() -> None:
    added = add_missing(b"From: a@b.fr\r\n\r\nDate: in the body\r\n", date=NOW, domain="alpha.test", trace_id="01ABC")
    assert added == b"Date: Tue, 01 Sep 2026 08:30:00 +0200\r\nMessage-ID: <01ABC@alpha.test>\r\n"
    assert add_missing(b"date: x\r\nmessage-id: <y>\r\n\r\n", date=NOW, domain="alpha.test", trace_id="01ABC") == b""
    assert add_missing(b"DATE: x\r\n\r\n", date=NOW, domain="a.fr", trace_id="Z") == b"Message-ID: <Z@a.fr>\r\n"
    with pytest.raises(InputFault) as caught:
        add_missing(b"", date=NOW, domain="a.fr\r\nBcc: x", trace_id="Z")
    assert caught.value.rule == "HEADER-INJECTION"


def test_received_line() -> None:
    facts = ReceivedFrom("mta.beta.test", "192.0.2.1", "mta.alpha.test", "ESMTPS", "01ABC", NOW, "TLSv1.3 AES_256")
    assert received_line(facts) == (
        b"Received: from mta.beta.test ([192.0.2.1])\r\n (using TLSv1.3 AES_256)\r\n by mta.alpha.test with ESMTPS id "
        b"01ABC;\r\n Tue, 01 Sep 2026 08:30:00 +0200\r\n")
    assert b"([IPv6:2001:db8::1])" in received_line(replace(facts, peer_ip="2001:db8::1", tls=""))
    hostile = received_line(replace(facts, helo="x\r\nBcc: y (", peer_ip="", tls="a)\r\nb"))
    assert len(parse_headers(hostile).fields) == 1 and b"(" not in hostile.split(b"using")[0][:-1]


def test_return_path_line() -> None:
    assert return_path_line(ALICE) == b"Return-Path: <alice@alpha.mssante.test>\r\n"
    assert return_path_line(None) == b"Return-Path: <>\r\n"


@pytest.mark.parametrize("value", ["a\r\nBcc: x", "a\nb", "a\rb", "a\x00b"])
@pytest.mark.parametrize("field", ["subject", "sender_name", "message_id"])
def test_injection_is_refused(field: str, value: str) -> None:
    with pytest.raises(InputFault) as caught:
        letter(replace(SIMPLE, **{field: value}))  # type: ignore[arg-type]
    assert caught.value.rule == "HEADER-INJECTION" and "Bcc" not in str(caught.value)


def test_injection_elsewhere_is_refused() -> None:
    for bad in (replace(SIMPLE, headers=(("X-A", "a\nb"),)), replace(SIMPLE, headers=(("X A", "a"),)),
                replace(SIMPLE, headers=(("X:", "a"),)), replace(SIMPLE, headers=(("X-A\n", "a"),)),
                replace(SIMPLE, attachments=(Attachment("a\r\nb", "text/xml", b""),)),
                replace(SIMPLE, attachments=(Attachment("a", "text/xml\r\nX: y", b""),)),
                replace(SIMPLE, attachments=(Attachment("a", "text", b""),)),
                replace(SIMPLE, boundary="b\r\n", attachments=(Attachment("a", "text/xml", b""),)),
                replace(SIMPLE, to=(MailAddress("a\r\nBcc: b", "c.fr"),))):
        with pytest.raises(InputFault):
            letter(bad)
    assert check_value("Subject", "fine") == "fine"


def test_plain_letter() -> None:
    raw = letter(SIMPLE)
    message = read(raw)
    assert raw.isascii()
    assert message["From"] == "alice@alpha.mssante.test" and message["To"] == "bruno@beta.mssante.test"
    assert message["Message-ID"] == "<m1@alpha.mssante.test>" and message["Subject"] == "Essai"
    assert message.get_content() == "Bonjour\r\n"


def test_rich_letter() -> None:
    subject = "Lettre de liaison à la sortie, très longue : " + "été " * 40
    raw = letter(replace(
        SIMPLE, subject=subject.strip(), text="Été\n.point\n" + "long " * 60 + "\nfin ", sender_name="Dr Alicé, service",
        cc=(ALICE, BRUNO), headers=(("X-MSS-NIL", "LAB-1"), ("Disposition-Notification-To", str(ALICE))),
        attachments=(Attachment("IHE_XDM.zip", "application/zip", bytes(range(256)) * 10),
                     Attachment('é "1".pdf', "application/pdf", b""))))
    message = read(raw)
    assert raw.isascii() and max(len(line) for line in raw.split(b"\r\n")) <= 78
    assert message["Subject"] == subject.strip()
    assert message["From"].addresses[0].display_name == "Dr Alicé, service"
    assert [entry.addr_spec for entry in message["Cc"].addresses] == [str(ALICE), str(BRUNO)]
    assert message["X-MSS-NIL"] == "LAB-1"
    text, archive, pdf = message.iter_parts()
    content = cast(EmailMessage, text).get_content()
    assert content.splitlines() == ["Été", ".point", "long " * 60, "fin "]
    assert cast(EmailMessage, archive).get_content() == bytes(range(256)) * 10
    assert archive.get_filename() == "IHE_XDM.zip" and pdf.get_filename() == 'é "1".pdf'


def test_our_scanner_reads_our_letters() -> None:
    raw = letter(replace(SIMPLE, attachments=(Attachment("a.bin", "application/octet-stream", b"\x00\xff" * 100),)))
    root = scan(raw)
    part = root.children[1]
    assert not is_ambiguous(root)
    assert decode_part(raw[part.body_start:part.body_end], b"base64") == b"\x00\xff" * 100
    assert decode_words(read_headers(raw).get(b"subject") or b"") == "Essai"


def test_letter_without_recipient_is_valid() -> None:
    assert b"To: undisclosed-recipients:;\r\n" in letter(replace(SIMPLE, to=()))


def test_boundary_never_stands_in_a_part() -> None:
    raw = multipart("mixed", [b"\r\n--=_b\r\n", b"\r\n--=_b_1--\r\n"], boundary="b")
    assert b'boundary="=_b_2"' in raw
    assert len(scan(raw).children) == 2


@pytest.mark.parametrize("text", ["é" * 200, "\U0001f600" * 60, "a\tb", "=?utf-8?q?x?=", "mixte é fin", "x" * 300 + "é"])
def test_words_are_short_and_come_back(text: str) -> None:
    encoded = encode_words(text, first=9)
    assert all(len(line.strip()) <= 75 for line in encoded.split("\r\n"))
    assert decode_words(encoded.replace("\r\n", "").encode(), 1_000) == text.replace("\t", " ")


def test_long_values_are_folded_at_white_space() -> None:
    value = "un deux  trois " * 20 + "x" * 200
    line = header_line("X-Long", value)
    assert parse_headers(line).get(b"x-long") == value.encode()
    assert max(len(one) for one in line.split(b"\r\n")[:-2]) <= 76


@pytest.mark.parametrize(("name", "text"), [
    ("", "alice@alpha.mssante.test"), ("Alice", "Alice <alice@alpha.mssante.test>"),
    ('Dr. "A"', '"Dr. \\"A\\"" <alice@alpha.mssante.test>'), ("Été", "=?utf-8?b?w4l0w6k=?= <alice@alpha.mssante.test>"),
])
def test_address_text(name: str, text: str) -> None:
    assert address_text(ALICE, name) == text


@pytest.mark.parametrize(("fields", "matches"), [
    ([b"alice@alpha.mssante.test"], True),
    ([b"Alice <ALICE@Alpha.mssante.test>"], True),
    ([b"alice@alpha.mssante.test", b"alice@alpha.mssante.test"], False),
    ([b"alice@alpha.mssante.test, bruno@beta.mssante.test"], False),
    ([b"G: alice@alpha.mssante.test;"], False),
    ([b"<@evil.test:alice@alpha.mssante.test>"], False),
    ([b"alice@alpha.mssante.test@evil.test"], False),
    ([b"alice@alpha.mssante.test.evil.test"], False),
    ([b'"alice@alpha.mssante.test" <mallory@evil.test>'], False),
    ([b"alice@alpha.mssante.test <mallory@evil.test>"], False),
    ([b"alice@alpha.mssante.test, <not an address>"], False),
    ([b"alice%evil.test@alpha.mssante.test"], False),
    ([b""], False), ([], False),
])
def test_check_from(fields: list[bytes], matches: bool) -> None:
    headers = parse_headers(b"".join(b"From: " + value + b"\r\n" for value in fields))
    facts = read_author(headers)
    assert facts.is_only(ALICE) is matches and facts.fields == len(fields)
    assert not read_author(headers).is_only(None)


def test_international_domain_compares_as_a_label() -> None:
    facts = read_author(parse_headers("From: a@hôpital.test\r\n".encode()))
    assert facts.is_only(MailAddress("a", "xn--hpital-ixa.test"))


def test_utc_date() -> None:
    assert b"+0000" in letter(replace(SIMPLE, date=NOW.astimezone(UTC)))
