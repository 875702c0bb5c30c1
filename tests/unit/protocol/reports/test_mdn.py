"""Disposition notifications: strict writer, lenient reader, the published samples and their slips."""

from __future__ import annotations

import email
import email.policy
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.protocol.mime.compose import Attachment
from mssante.protocol.mime.scan import is_ambiguous, scan
from mssante.protocol.reports.mdn import (
    MdnAction,
    MdnError,
    MdnRequest,
    MdnSending,
    MdnType,
    build_mdn,
    parse_mdn,
)

REQUEST = MdnRequest(
    sender=MailAddress("bruno", "beta.mssante.test"), to=MailAddress("alice", "alpha.mssante.test"),
    final_recipient=MailAddress("bruno", "beta.mssante.test"), original_message_id="<m1@alpha.mssante.test>",
    subject="XDM/1.0/DDM+Essai", text="Document intégré.", now=datetime(2026, 9, 1, tzinfo=UTC), trace_id="01MDN",
    reporting_ua="mssante; 0.1")


def machine(raw: bytes) -> bytes:
    assert b"\n" not in raw.replace(b"\r\n", b"")
    root = scan(raw)
    assert not is_ambiguous(root)
    part = root.children[1]
    assert part.media.subtype == b"disposition-notification"
    return raw[part.body_start:part.body_end]


def test_processed() -> None:
    raw = build_mdn(REQUEST)
    assert machine(raw) == (
        b"Reporting-UA: mssante; 0.1\r\nOriginal-Recipient: rfc822;bruno@beta.mssante.test\r\n"
        b"Final-Recipient: rfc822;bruno@beta.mssante.test\r\nOriginal-Message-ID: <m1@alpha.mssante.test>\r\n"
        b"Disposition: automatic-action/MDN-sent-automatically; processed\r\n")
    facts = parse_mdn(raw)
    assert facts is not None and not facts.error
    assert (facts.disposition, facts.action, facts.sending) == ("processed", "automatic-action", "mdn-sent-automatically")
    assert facts.final_recipient == facts.original_recipient == "bruno@beta.mssante.test"
    assert facts.original_message_id == "<m1@alpha.mssante.test>"


def test_french_error_form() -> None:
    raw = build_mdn(replace(REQUEST, error=MdnError("902", "Patient inconnu")))
    assert machine(raw).endswith(b"Disposition: automatic-action/MDN-sent-automatically; processed/Error: "
                                 b"902^Patient inconnu^messageErrorCondition\r\n")
    facts = parse_mdn(raw)
    assert facts is not None and (facts.error, facts.error_code, facts.error_label) == (True, "902", "Patient inconnu")


def test_rfc_error_form() -> None:
    raw = build_mdn(replace(REQUEST, rfc_error=True, error=MdnError("904", "INS erronée; é^x")))
    assert b"; processed/error\r\nError: 904^INS erronee  e x^messageErrorCondition\r\n" in machine(raw)
    facts = parse_mdn(raw)
    assert facts is not None and (facts.error, facts.error_code, facts.error_label) == (True, "904", "INS erronee  e x")


def test_displayed_by_hand_with_the_original() -> None:
    original = b"Subject: x\r\n\r\nbody \xe9\r\n"
    raw = build_mdn(replace(REQUEST, action=MdnAction.MANUAL, sending=MdnSending.MANUAL, disposition=MdnType.DISPLAYED,
                            original=original, attachments=(Attachment("IHE_XDM.zip", "application/zip", b"zip"),)))
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert message["In-Reply-To"] == "<m1@alpha.mssante.test>"
    kinds = [part.get_content_type() for part in message.iter_parts()]  # type: ignore[attr-defined]
    assert kinds == ["text/plain", "message/disposition-notification", "message/rfc822", "application/zip"]
    part = scan(raw).children[2]
    assert raw[part.body_start:part.body_end] == original
    facts = parse_mdn(raw)
    assert facts is not None and (facts.disposition, facts.action, facts.sending) == (
        "displayed", "manual-action", "mdn-sent-manually")


@pytest.mark.parametrize(("change", "rule"), [
    ({"original_message_id": ""}, "MDN-ORIGINAL"), ({"original_message_id": "<a b>"}, "MDN-ORIGINAL"),
    ({"original_message_id": "<a>\r\nBcc: x"}, "MDN-ORIGINAL"), ({"subject": "a\r\nb"}, "HEADER-INJECTION"),
    ({"error": MdnError("9x", "l")}, "MDN-ERROR"), ({"error": MdnError("902", "l\r\nX: y")}, "HEADER-INJECTION"),
    ({"reporting_ua": "a\nb"}, "HEADER-INJECTION"), ({"original_recipient": "a\nb"}, "HEADER-INJECTION"),
])
def test_writer_is_strict(change: dict[str, object], rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        build_mdn(replace(REQUEST, **change))  # type: ignore[arg-type]
    assert caught.value.rule == rule


def test_samples(shared_dir: Path) -> None:
    expected = json.loads((shared_dir / "data/mail/expected.json").read_text())["messages"]
    seen = 0
    for path in sorted((shared_dir / "data/mail").glob("*.eml")):
        facts = parse_mdn(path.read_bytes())
        wanted = expected[path.name]
        assert (facts is not None) is ("mdn" in wanted), path.name
        if facts is not None:
            seen += 1
            assert facts.disposition == wanted["mdn"]
            assert (facts.error_code or None) == wanted["error"]
            assert facts.original_message_id == wanted["original_message_id"]
            assert facts.final_recipient == "bruno.exemple-deux@medecin.operateur-a.mssante.fr"
    assert seen == 2


HEAD = b"From: a@b.fr\r\nContent-Type: multipart/report; report-type=disposition-notification; boundary=\"bd\"\r\n\r\n"
FIELDS = (b"Final-Recipient:rfc822;a@b.fr\r\nOriginal-Message-ID:<m 1@\r\n alpha.test>\r\n"
          b"Disposition:automatic-action/MDN-sent-automatically;processed/error\r\nError: 903^INS absent\r\n")


@pytest.mark.parametrize("body", [
    b"--bd\r\nContent-Type: text/plain\r\nContent-Transfert-Encoding: 8bit\r\n\r\nx\r\n--bd\r\n"
    b"Content-Type: message/disposition-notification\r\nContent-Transfert-Encoding: 7bit\r\n\r\n" + FIELDS + b"--bd-\r\n",
    b"--bd\r\nContent-Type: message/disposition-notification\r\n" + FIELDS + b"\r\n--bd--\r\n",  # no empty line
    b"--BD\r\nContent-Type: message/disposition-notification\r\n\r\n" + FIELDS + b"\r\n--BD--\r\n",  # other boundary
    b"--bd\r\nContent-Type: message/disposition-notification\r\n\r\n\r\n" + FIELDS.replace(b"\r\nD", b"\r\n\r\nD") + b"--bd",
    b"Content-Type: message/disposition-notification\r\n\r\n" + FIELDS,
])
def test_slips_are_forgiven(body: bytes) -> None:
    facts = parse_mdn(HEAD + body)
    assert facts is not None
    assert facts.original_message_id == "<m1@alpha.test>" and facts.final_recipient == "a@b.fr"
    assert (facts.disposition, facts.error, facts.error_code, facts.error_label) == ("processed", True, "903", "INS absent")


@pytest.mark.parametrize("raw", [b"", b"Subject: x\r\n\r\nDisposition: a/b; processed\r\n", HEAD,
                                 HEAD + b"--bd\r\nContent-Type: message/disposition-notification\r\n\r\nX: y\r\n--bd--\r\n"])
def test_what_is_no_notification(raw: bytes) -> None:
    assert parse_mdn(raw) is None


def test_error_in_words_only() -> None:
    raw = HEAD + (b"--bd\r\nContent-Type: message/disposition-notification\r\n\r\n"
                  b"Disposition: manual-action/MDN-sent-manually; deleted/error\r\nError: disk full\r\n--bd--\r\n")
    facts = parse_mdn(raw)
    assert facts is not None and (facts.error, facts.error_code, facts.error_label) == (True, "", "disk full")
