"""The letter of `lab send` and the comparison at its end."""

from __future__ import annotations

import email
import hashlib
from datetime import UTC, datetime
from email.policy import default
from pathlib import Path

import pytest

from mssante.documents.xdm import unpack
from mssante.errors import InputFault
from mssante.lab.accounts import Account
from mssante.lab.manifest import Lab
from mssante.lab.send import compare, compose, find_reader, read_cda
from mssante.model.mailbox import MailboxType

TO = "paul.durand@beta.mssante.test"
NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
SENDER = Account("claire.martin@alpha.mssante.test", MailboxType.PER, "x", "y", "899700000011", "Claire MARTIN")
PREFIX = b"Return-Path: <a@b.test>\r\nReceived: from x\r\n by y;\r\n date\r\n"
BODY = b"Subject: t\r\n\r\nbody\r\n"


def test_identical_after_header_lines() -> None:
    assert compare(BODY, PREFIX + BODY) == (True, hashlib.sha256(BODY).hexdigest(), len(PREFIX))
    assert compare(BODY, BODY) == (True, hashlib.sha256(BODY).hexdigest(), 0)


@pytest.mark.parametrize("read", [
    b"", BODY[:-1], PREFIX + BODY[:-2], PREFIX + BODY.replace(b"body", b"b0dy"), b"no header\r\n" + BODY,
    b"X: y\r\n\r\n" + BODY, b"X: y\n" + BODY, PREFIX + BODY + b"\r\n"])
def test_any_other_difference_is_seen(read: bytes) -> None:
    assert compare(BODY, read)[0] is False


def test_demonstration_letter_is_a_structured_message() -> None:
    raw, message_id, attachments, remarks = compose(read_cda(None), SENDER, recipient=TO, now=NOW)
    message = email.message_from_bytes(raw, policy=default)
    assert message["Message-ID"] == message_id
    assert message["Subject"].startswith("XDM/1.0/DDM+") and "EXEMPLE-LABO" in message["Subject"]
    assert message["X-MSS-INS"] == "O" and message["X-MSS-CODECDA"] == "11488-4"
    names = [part.get_filename() for part in message.iter_attachments()]
    assert names[0] == "IHE_XDM.ZIP" and attachments == ("application/zip", "application/pdf")
    archive = unpack(next(iter(message.iter_attachments())).get_content())
    assert read_cda(None) in [document.content for document in archive.documents]
    assert set(remarks) <= {"XDS-FORMAT"}
    assert b"\n" not in raw.replace(b"\r\n", b"")


def test_every_public_cda_makes_a_letter(shared_dir: Path) -> None:
    paths = sorted((shared_dir / "data" / "cda").glob("*.xml"))
    assert len(paths) == 23
    for path in paths:
        raw, message_id, _, _ = compose(read_cda(path), SENDER, recipient=TO, now=NOW)
        assert message_id.encode() in raw and b"IHE_XDM.ZIP" in raw


def test_readers_are_the_mailboxes_with_a_password(lab: Lab) -> None:
    operator, account = find_reader(lab, "Paul.Durand@beta.mssante.test")
    assert operator.name == "beta" and account.login == "paul.durand@beta.mssante.test"
    assert find_reader(lab, "279035121518989@patient.mssante.test")[0].name == "citizen"
    for address in ("resultats@beta.mssante.test", "nobody@beta.mssante.test", "x@gamma.mssante.test"):
        with pytest.raises(InputFault) as caught:
            find_reader(lab, address)
        assert caught.value.rule == "LAB-RECIPIENT" and address in caught.value.public


def test_a_missing_document_is_a_typed_fault(tmp_path: Path) -> None:
    with pytest.raises(InputFault) as caught:
        read_cda(tmp_path / "absent.xml")
    assert caught.value.rule == "LAB-CDA"
