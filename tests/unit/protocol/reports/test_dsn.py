"""Delivery reports: built ones are read back by ours and by stdlib email; foreign ones leniently."""

from __future__ import annotations

import email
import email.policy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.protocol.mime.headers import decode_words, read_headers
from mssante.protocol.mime.scan import is_ambiguous, scan
from mssante.protocol.reports.dsn import DsnAction, DsnRecipient, DsnRequest, build_dsn, decode_xtext, parse_dsn

NOW = datetime(2026, 9, 1, 6, 30, tzinfo=UTC)
ORIGINAL = (b"From: alice@alpha.mssante.test\r\nTo: bruno@beta.mssante.test\r\nSubject: XDM/1.0/DDM+Secret NOM Prenom\r\n"
            b"Message-ID: <m1@alpha.mssante.test>\r\n\r\nsecret content\r\n")
BRUNO = DsnRecipient(MailAddress("bruno", "beta.mssante.test"), DsnAction.FAILED, "5.1.1", "rfc822;Bruno+2Ba@beta.mssante.test",
                     "mta.beta.mssante.test", "550 5.1.1 no such\r\nmailbox", NOW - timedelta(minutes=1))
REQUEST = DsnRequest(MailAddress("alice", "alpha.mssante.test"), "alpha.mssante.test", "mta.alpha.mssante.test", (BRUNO,),
                     ORIGINAL, NOW, "01REPORT", "01ORIGINAL", NOW - timedelta(hours=1), "QQ+2B314", "")


def parts(raw: bytes) -> list[bytes]:
    assert b"\n" not in raw.replace(b"\r\n", b"")
    root = scan(raw)
    assert not is_ambiguous(root)
    return [raw[part.body_start:part.body_end] for part in root.children]


def test_failure() -> None:
    raw = build_dsn(REQUEST)
    text, status, returned = parts(raw)
    headers = read_headers(raw)
    assert headers.get(b"from") == b"Mail Delivery System <MAILER-DAEMON@alpha.mssante.test>"
    assert headers.get(b"to") == b"alice@alpha.mssante.test"
    assert headers.get(b"auto-submitted") == b"auto-replied"
    assert headers.get(b"references") == b"<m1@alpha.mssante.test>"
    assert headers.get(b"message-id") == b"<01REPORT@alpha.mssante.test>"
    assert decode_words(headers.get(b"subject") or b"") == "Message non remis / Undelivered message"
    assert b"report-type=delivery-status" in (headers.get(b"content-type") or b"")
    assert status == (
        b"Reporting-MTA: dns; mta.alpha.mssante.test\r\nOriginal-Envelope-Id: QQ+314\r\n"
        b"Arrival-Date: Tue, 01 Sep 2026 05:30:00 +0000\r\n\r\n"
        b"Original-Recipient: rfc822; Bruno+a@beta.mssante.test\r\nFinal-Recipient: rfc822; bruno@beta.mssante.test\r\n"
        b"Action: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mta.beta.mssante.test\r\n"
        b"Diagnostic-Code: smtp; 550 5.1.1 no such mailbox\r\nLast-Attempt-Date: Tue, 01 Sep 2026 06:29:00 +0000\r\n")
    assert returned == ORIGINAL[:ORIGINAL.index(b"\r\n\r\n") + 2]
    assert b"bruno@beta.mssante.test" in text and b"01ORIGINAL" in text


def test_text_says_nothing_of_the_content() -> None:
    for ret in ("", "HDRS", "FULL"):
        text, status, _ = parts(build_dsn(replace(REQUEST, ret=ret)))
        for word in (b"XDM", b"Secret", b"secret", b"NOM"):
            assert word not in text and word not in status


def test_other_reader_sees_the_same() -> None:
    message = email.message_from_bytes(build_dsn(REQUEST), policy=email.policy.default)
    assert message.get_content_type() == "multipart/report"
    text, status, returned = message.iter_parts()  # type: ignore[attr-defined]
    assert "n'a pas pu être remis" in text.get_content() and "could not be delivered" in text.get_content()
    assert [dict(block.items())["Action"] for block in status.get_payload()[1:]] == ["failed"]
    assert returned.get_content_type() == "text/rfc822-headers"


def test_return_of_the_whole_message_is_for_failures_only() -> None:
    full = replace(REQUEST, ret="FULL")
    assert parts(build_dsn(full))[2] == ORIGINAL
    delivered = replace(full, recipients=(replace(BRUNO, action=DsnAction.DELIVERED, status="2.0.0"),))
    assert b"secret content" not in build_dsn(delivered)
    huge = replace(full, original=ORIGINAL + b"x" * (11 << 20))
    assert len(build_dsn(huge)) < 10_000


def test_all_actions_and_round_trip() -> None:
    until = NOW + timedelta(hours=44)
    others = tuple(DsnRecipient(MailAddress(action.value, "beta.mssante.test"), action, status, will_retry_until=until)
                   for action, status in ((DsnAction.DELAYED, "4.4.1"), (DsnAction.DELIVERED, "2.0.0"),
                                          (DsnAction.RELAYED, "2.0.0"), (DsnAction.FAILED, "not a status")))
    raw = build_dsn(replace(REQUEST, recipients=(BRUNO, *others)))
    assert raw.count(b"Will-Retry-Until: Thu, 03 Sep 2026 02:30:00 +0000") == 1
    facts = parse_dsn(raw)
    assert facts is not None
    assert facts.reporting_mta == "mta.alpha.mssante.test" and facts.envelope_id == "QQ+314"
    assert facts.original_message_id == "<m1@alpha.mssante.test>"
    assert [(entry.final_recipient, entry.action, entry.status) for entry in facts.recipients] == [
        ("bruno@beta.mssante.test", "failed", "5.1.1"), ("delayed@beta.mssante.test", "delayed", "4.4.1"),
        ("delivered@beta.mssante.test", "delivered", "2.0.0"), ("relayed@beta.mssante.test", "relayed", "2.0.0"),
        ("failed@beta.mssante.test", "failed", "5.0.0")]
    assert facts.recipients[0].original_recipient == "Bruno+a@beta.mssante.test"
    assert facts.recipients[0].diagnostic == "550 5.1.1 no such mailbox"
    assert facts.recipients[0].remote_mta == "mta.beta.mssante.test"


def test_texts_of_others_cannot_inject() -> None:
    hostile = replace(BRUNO, diagnostic="550 x\r\n\r\nAction: delivered\x00\x1b[31m é", remote_mta="a\r\nX: y",
                      orcpt="rfc822;a+0D+0AX: y")
    raw = build_dsn(replace(REQUEST, recipients=(hostile,), envid="a+0D+0Ab\r\nX: y", reporting_mta="m\r\nX: y"))
    status = parts(raw)[1]
    assert status.count(b"Action:") == 2 and status.count(b"\r\n\r\n") == 1 and b"\r\nX:" not in status
    assert b"\x1b" not in raw and b"\x00" not in raw
    facts = parse_dsn(raw)
    assert facts is not None and [entry.action for entry in facts.recipients] == ["failed"]
    with pytest.raises(InputFault):
        build_dsn(replace(REQUEST, trace_id="a\r\nb"))


def test_utf8_addresses_have_their_form() -> None:
    entry = replace(BRUNO, address=MailAddress("hélène", "beta.mssante.test"), orcpt="")
    raw = build_dsn(replace(REQUEST, recipients=(entry,)))
    assert b"Final-Recipient: utf-8; h\\x{E9}l\\x{E8}ne@beta.mssante.test\r\n" in raw and raw.isascii()


def test_8bit_headers_are_returned_as_they_are() -> None:
    raw = build_dsn(replace(REQUEST, original="Subject: é\r\n\r\nx".encode()))
    assert parts(raw)[2] == "Subject: é\r\n".encode()
    assert b"Content-Transfer-Encoding: 8bit\r\n" in raw


def test_original_cannot_close_the_report() -> None:
    raw = build_dsn(replace(REQUEST, ret="FULL", original=ORIGINAL + b"--=_01REPORT--\r\n"))
    assert len(parts(raw)) == 3 and parts(raw)[2].endswith(b"--=_01REPORT--\r\n")


def test_huge_headers_are_cut_at_a_line() -> None:
    raw = build_dsn(replace(REQUEST, original=b"X-Line: y\r\n" * 20_000 + b"\r\n"))
    returned = parts(raw)[2]
    assert len(returned) <= 65_536 and returned.endswith(b"X-Line: y\r\n")


@pytest.mark.parametrize(("text", "decoded"), [("a+2Bb", "a+b"), ("a+0Ab", "a+0Ab"), ("a+C3b", "a+C3b"), ("+", "+")])
def test_xtext(text: str, decoded: str) -> None:
    assert decode_xtext(text) == decoded


FOREIGN = (b"Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
           b"Content-Type: Message/Delivery-Status\r\nContent-Transfer-Encoding: base64\r\n\r\n"
           b"UmVwb3J0aW5nLU1UQTpkbnM7eAogICAKRmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGFAYi5mcgpBQ1RJT046IERlbGl2ZXJlZApTdGF0dXM6\r\n"
           b"IDIuMC4wIChvaykK\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: <z@y>\r\n\r\nx\r\n--b--\r\n")


def test_foreign_report() -> None:
    facts = parse_dsn(FOREIGN)
    assert facts is not None and facts.reporting_mta == "x" and facts.original_message_id == "<z@y>"
    (entry,) = facts.recipients
    assert (entry.final_recipient, entry.action, entry.status) == ("a@b.fr", "delivered", "2.0.0")


@pytest.mark.parametrize("raw", [b"", ORIGINAL, b"Content-Type: message/delivery-status\r\n\r\n",
                                 b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: x\r\n\r\nStatus: 2.0.0\r\n"])
def test_what_is_no_report(raw: bytes) -> None:
    assert parse_dsn(raw) is None


def test_report_inside_a_forwarded_message_does_not_count() -> None:
    assert parse_dsn(b"Content-Type: message/rfc822\r\n\r\n" + FOREIGN) is None
