"""S/MIME on what our users send: policies, forms, fallbacks, refusals; opened again with the recipients' keys."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.pki import der
from support.smime_stage import SmimeSpace, mail_key, mail_leaf, put_key, smime_space
from support.smtp_stage import ALICE, BOB, CITIZEN, NOW, OURS, PASSWORD, SmtpStage, Wire, build

from mssante.documents.ins import ins_key
from mssante.errors import OperatorFault
from mssante.model.journal import JournalKind
from mssante.model.message import StoredMessage
from mssante.services.sealing import MAX_BLIND
from mssante.services.smime_policy import Incoming, Outgoing, SmimeSettings
from mssante.smime.decrypt import open_message
from mssante.smime.encrypt import encrypt_message
from mssante.smime.layer import LayerKind, find_layer
from mssante.smime.sign import sign_message
from mssante.smime.values import Cipher, SmimeCode, SmimeFault
from mssante.smime.verify import verify_message
from mssante.storage.interfaces import CertificateSource, MailboxSmime

A, B = "docteur@a.mssante.fr", "labo@b.mssante.fr"
HIDDEN = "archive@b.mssante.fr"
_BODY = "2850178000001"
CITIZEN_ADDRESS = f"{_BODY}{ins_key(_BODY):02d}@{CITIZEN}"
SECRET = "Compte rendu confidentiel."


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def space(stage: SmtpStage, tmp_path: Path) -> SmimeSpace:
    made = smime_space(stage, tmp_path / "keys", outgoing=Outgoing.BOTH, incoming=Incoming.OPEN, routes={CITIZEN: Outgoing.NEVER})
    await made.give_key(ALICE)
    return made


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await logged_in(stage)


async def logged_in(stage: SmtpStage, **settings: int) -> Wire:
    wire = await stage.connect(await stage.open("submissions", **settings), tls=True)
    await wire.reply()
    await wire.ask("EHLO poste-du-cabinet")
    word = b64encode(f"\0{ALICE}\0{PASSWORD}".encode()).decode()
    assert (await wire.ask(f"AUTH PLAIN {word}")).startswith("235 ")
    return wire


def letter(*to: str, text: str = SECRET) -> bytes:
    return (f"Date: Sun, 01 Mar 2026 10:00:00 +0100\r\nFrom: {ALICE}\r\nTo: {', '.join(to)}\r\nSubject: Essai\r\n"
            f"Message-ID: <essai@{OURS}>\r\n\r\n{text}\r\n").encode()


async def send(wire: Wire, *to: str, raw: bytes | None = None) -> str:
    answers = await wire.asks(f"MAIL FROM:<{ALICE}>", *(f"RCPT TO:<{one}>" for one in to))
    assert all(one.startswith("250") for one in answers), answers
    return await wire.data(raw if raw is not None else letter(*to))


async def copies(space: SmimeSpace) -> dict[str, StoredMessage]:
    """The stored message of each queued recipient."""
    stored = {one.id: one for one in await space.queued()}
    return {item.address: stored[item.message_id] for item in await space.stage.queue()}


def opened(space: SmimeSpace, stored: StoredMessage, address: str) -> bytes:
    return open_message(space.body(stored), [mail_key(address)]).message


def is_signed_by_alice(space: SmimeSpace, raw: bytes) -> bool:
    return verify_message(raw, author=ALICE, check=space.trust.check_signer, now=NOW).signature is SmimeCode.VALID


# ------------------------------------------------------------------ what leaves


async def test_both_signs_then_encrypts(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.know(A, mail_leaf(A)[0])
    assert (await send(wire, A)).startswith("250 ")
    stored = (await copies(space))[A]
    raw = space.body(stored)
    assert find_layer(raw).kind is LayerKind.ENVELOPED and SECRET.encode() not in raw and b"Subject: Essai\r\n" in raw
    clear = opened(space, stored, A)
    assert is_signed_by_alice(space, clear) and SECRET.encode() in clear
    assert b"X-MSS-SMIME" not in space.whole(stored) and stored.prefix.startswith(b"Received: ")
    (event,) = await space.events(JournalKind.SMIME_SEALED)
    assert (event["wanted"], event["done"], event["reason"], event["cipher"]) == ("both", "both", "", "aes256-cbc")
    assert SECRET not in repr(await stage.journal())


@pytest.mark.parametrize(("settings", "kind"), [
    ({"outgoing": Outgoing.SIGN}, LayerKind.CLEAR_SIGNED), ({"outgoing": Outgoing.SIGN, "opaque": True}, LayerKind.OPAQUE_SIGNED),
    ({"outgoing": Outgoing.ENCRYPT}, LayerKind.ENVELOPED), ({"outgoing": Outgoing.ENCRYPT, "cipher": Cipher.AES256_GCM}, LayerKind.AUTH_ENVELOPED),
    ({"outgoing": Outgoing.NEVER}, LayerKind.NONE)])
async def test_each_wish_gives_its_form(stage: SmtpStage, space: SmimeSpace, wire: Wire, settings: dict[str, Any], kind: LayerKind) -> None:
    space.build(**settings)
    await space.know(A, mail_leaf(A)[0])
    await send(wire, A)
    stored = (await copies(space))[A]
    assert find_layer(space.body(stored)).kind is kind
    if settings["outgoing"] is Outgoing.ENCRYPT:
        assert opened(space, stored, A).endswith(f"\r\n\r\n{SECRET}\r\n".encode())
    elif settings["outgoing"] is Outgoing.SIGN:
        assert is_signed_by_alice(space, space.body(stored))
    else:
        assert space.body(stored) == letter(A) and await space.events(JournalKind.SMIME_SEALED) == []


@pytest.mark.parametrize(("default", "route", "box", "wish"), [
    ("never", None, "", "never"), ("both", None, "", "both"), ("both", None, "never", "never"), ("never", None, "encrypt", "encrypt"),
    ("never", "sign", "", "sign"), ("both", "sign", "", "sign"), ("never", "sign", "both", "both"), ("both", "never", "both", "never"),
    ("sign", "both", "never", "never")])
def test_precedence(default: str, route: str | None, box: str, wish: str) -> None:
    routes = {"a.fr": Outgoing(route)} if route else {}
    settings = SmimeSettings(outgoing=Outgoing(default), routes=routes)
    assert settings.wish(MailboxSmime(1, outgoing=box), "a.fr") is Outgoing(wish)
    assert settings.wish(MailboxSmime(1, outgoing=box), "b.fr") is Outgoing(box or default)


async def test_one_message_leaves_in_as_many_forms_as_its_recipients_ask(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.know(A, mail_leaf(A)[0])
    reply = await send(wire, A, B, CITIZEN_ADDRESS)
    assert reply.startswith("250 ")
    found = await copies(space)
    assert {one.trace_id for one in found.values()} == {reply.split()[-1]} and len({one.id for one in found.values()}) == 3
    assert find_layer(space.body(found[A])).kind is LayerKind.ENVELOPED
    assert find_layer(space.body(found[B])).kind is LayerKind.CLEAR_SIGNED
    assert b"X-MSS-SMIME-Sent: v=1; wanted=both; done=sign; reason=SMIME-SANS-CERTIFICAT\r\n" in found[B].prefix
    assert space.body(found[CITIZEN_ADDRESS]) == letter(A, B, CITIZEN_ADDRESS) and b"SMIME" not in found[CITIZEN_ADDRESS].prefix
    events = {event["done"]: event for event in await space.events(JournalKind.SMIME_SEALED)}
    assert events["sign"]["reason"] == "SMIME-SANS-CERTIFICAT" and set(events) == {"both", "sign"}
    assert B not in repr(events)  # domains alone


async def test_blind_copies_are_not_told_by_the_list_of_readers(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    for one in (A, B, HIDDEN):
        await space.know(one, mail_leaf(one)[0])
    await send(wire, A, B, HIDDEN, raw=letter(A, B))
    found = await copies(space)
    assert found[A].id == found[B].id != found[HIDDEN].id
    assert b"multipart/signed" in opened(space, found[HIDDEN], HIDDEN)
    for shown, reader in ((A, HIDDEN), (HIDDEN, A)):
        with pytest.raises(SmimeFault) as refused:
            opened(space, found[shown], reader)
        assert refused.value.code is SmimeCode.NOT_FOR_US


async def test_too_many_blind_copies_of_an_encrypted_message(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    many = [f"copie{number}@b.mssante.fr" for number in range(MAX_BLIND + 5)]
    for one in many:
        await space.know(one, mail_leaf(B)[0])  # put there by hand: need not name them
    assert (await send(wire, *many, raw=letter(A))).endswith("[SMIME-COPIES]")
    assert await stage.queue() == []
    assert (await send(wire, *many)).startswith("250 ")  # shown to all: one message
    assert len(await space.queued()) == 1


async def test_missing_fields_go_under_the_outside_once(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    raw = f"From: {ALICE}\r\nTo: {A}\r\nSubject: Essai\r\n\r\n{SECRET}\r\n".encode()
    await send(wire, A, raw=raw)
    whole = space.whole((await copies(space))[A])
    assert whole.count(b"\r\nDate: ") == 1 and whole.count(b"\r\nMessage-ID: ") == 1 and is_signed_by_alice(space, whole)


async def test_a_message_for_a_mailbox_here_is_sealed_and_opened_at_once(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.give_key(BOB)
    await space.know(BOB, mail_leaf(BOB)[0])
    await send(wire, BOB, A)
    (view,), (original,) = await stage.inbox(BOB), await space.folder_of(BOB, "Chiffrés")
    (result,) = [one.result for one in space.results(view)]
    assert result is not None and (result.signature, result.encryption, result.signer) == ("SMIME-VALIDE", "SMIME-OUVERT", ALICE)
    assert find_layer(space.body(original)).kind is LayerKind.ENVELOPED
    stored = (await copies(space))[A]
    assert b"X-MSS-SMIME:" not in stored.prefix and find_layer(space.body(stored)).kind is LayerKind.CLEAR_SIGNED
    assert [event["opened"] for event in await space.events(JournalKind.SMIME_CHECKED)] == [1]
    assert len(await stage.journal(JournalKind.SUBMITTED)) == 1


async def test_a_local_and_a_remote_recipient_of_one_form_share_what_is_sent(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    space.build(outgoing=Outgoing.SIGN)
    await send(wire, BOB, A)
    (local,), stored = await stage.inbox(BOB), (await copies(space))[A]
    assert space.body(local) == space.body(stored) and b"X-MSS-SMIME:" in local.prefix and b"X-MSS-SMIME:" not in stored.prefix


# ------------------------------------------------------------------ what the user's program did


async def test_a_message_signed_by_the_user_is_encrypted_as_it_stands(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.know(A, mail_leaf(A)[0])
    own = sign_message(letter(A, B), mail_key(ALICE), now=NOW)
    await send(wire, A, B, raw=own)
    found = await copies(space)
    assert space.body(found[B]) == own  # signed already: what cannot be encrypted leaves as it came
    entity = own[own.index(b"--=_smime"):]
    assert entity in opened(space, found[A], A)
    assert {event["client"] for event in await space.events(JournalKind.SMIME_SEALED)} == {"signed"}


async def test_a_message_encrypted_by_the_user_is_left(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    space.build(refuses=True)
    own = encrypt_message(letter(A), [mail_leaf(A)[0]])
    assert (await send(wire, A, raw=own)).startswith("250 ")
    assert space.body((await copies(space))[A]) == own
    (event,) = await space.events(JournalKind.SMIME_SEALED)
    assert event["client"] == "encrypted" and event["done"] == "never"


# ------------------------------------------------------------------ what lacks: fall back, or refuse


async def lacks_certificate(space: SmimeSpace) -> None:
    """Nothing is known of the recipient."""


async def revoked_certificate(space: SmimeSpace) -> None:
    await space.know(A, mail_leaf(A, serial=0xDEAD)[0])


async def expired_certificate(space: SmimeSpace) -> None:
    await space.know(A, mail_leaf(A, not_after=NOW - timedelta(days=1))[0])


async def signing_certificate(space: SmimeSpace) -> None:
    await space.know(A, mail_leaf(A, usage=("digital_signature",))[0])


async def foreign_certificate(space: SmimeSpace) -> None:
    await space.know(A, mail_leaf(A, issuer="foreign")[0])


async def learnt_for_another(space: SmimeSpace) -> None:
    await space.know(A, mail_leaf(B)[0], CertificateSource.LEARNT)


async def no_key(space: SmimeSpace) -> None:
    await space.know(A, mail_leaf(A)[0])
    await space.wish(ALICE)


async def old_key(space: SmimeSpace) -> None:
    await space.know(A, mail_leaf(A)[0])
    await space.give_key(ALICE, not_after=NOW - timedelta(days=1))


async def open_key(space: SmimeSpace) -> None:
    await space.know(A, mail_leaf(A)[0])
    (space.folder / f"{ALICE}.pem").chmod(0o640)


CASES = [(lacks_certificate, "sign", "SMIME-SANS-CERTIFICAT", "554 5.7.3"), (revoked_certificate, "sign", "SMIME-CERTIFICAT-REFUSE", "554 5.7.3"),
         (expired_certificate, "sign", "SMIME-CERTIFICAT-REFUSE", "554 5.7.3"), (signing_certificate, "sign", "SMIME-CERTIFICAT-REFUSE", "554 5.7.3"),
         (foreign_certificate, "sign", "SMIME-CERTIFICAT-REFUSE", "554 5.7.3"), (learnt_for_another, "sign", "SMIME-CERTIFICAT-REFUSE", "554 5.7.3"),
         (no_key, "encrypt", "SMIME-SANS-CLE", "554 5.7.3"), (old_key, "encrypt", "SMIME-CLE-EXPIREE", "554 5.7.3"),
         (open_key, "encrypt", "SMIME-CLE", "451 4.7.5")]


@pytest.mark.parametrize(("lack", "done", "reason", "reply"), CASES, ids=[case[0].__name__ for case in CASES])
async def test_what_lacks_is_written_or_refused(
        stage: SmtpStage, space: SmimeSpace, wire: Wire, lack: Any, done: str, reason: str, reply: str) -> None:
    await lack(space)
    assert (await send(wire, A)).startswith("250 ")
    stored = (await copies(space))[A]
    assert f"X-MSS-SMIME-Sent: v=1; wanted=both; done={done}; reason={reason}\r\n".encode() in stored.prefix
    expected = LayerKind.CLEAR_SIGNED if done == "sign" else LayerKind.ENVELOPED
    assert find_layer(space.body(stored)).kind is expected
    space.build(refuses=True)
    found = await send(wire, A)
    assert found.startswith(reply) and found.endswith(f"[{reason}]") and found.isascii()
    assert "CERTIFICA" not in reason or "a.mssante.fr" in found
    assert A not in found and len(await stage.queue()) == 1
    (refused,) = await stage.journal(JournalKind.DATA_REFUSED)
    assert refused.payload["rule"] == reason


async def test_refusal_is_for_all_recipients_and_loses_nothing_weaker(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    space.build(refuses=True)
    await space.know(A, mail_leaf(A)[0])
    assert (await send(wire, A, B, BOB)).startswith("554 ")
    assert await stage.queue() == [] and await stage.inbox(BOB) == []


async def test_an_old_key_that_is_gone_does_not_keep_the_new_one_from_signing(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    space.build(outgoing=Outgoing.SIGN, refuses=True)
    await space.wish(ALICE, keys=(f"file:{ALICE}.pem", "file:effacee.pem"))
    assert (await send(wire, A)).startswith("250 ")
    await space.wish(ALICE, keys=("file:effacee.pem",))
    assert (await send(wire, A)).endswith("[SMIME-CLE]")


@pytest.mark.parametrize("defect", ["encrypt_message", "sign_message", "stage_body"])
async def test_a_defect_of_ours_never_lets_a_weaker_copy_leave(
        stage: SmtpStage, space: SmimeSpace, wire: Wire, monkeypatch: pytest.MonkeyPatch, defect: str) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("defect")

    await space.know(A, mail_leaf(A)[0])
    monkeypatch.setattr(f"mssante.services.sealing.{defect}", fails)
    assert (await send(wire, A, B)).startswith("451 ")
    assert await stage.queue() == []


async def test_a_message_that_cannot_be_signed(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    space.build(outgoing=Outgoing.SIGN)
    twice = letter(A).replace(b"Message-ID", b"Content-Type: text/plain\r\nContent-Type: text/html\r\nMessage-ID")
    await send(wire, A, raw=twice)
    stored = (await copies(space))[A]
    assert space.body(stored) == twice and b"done=never; reason=SMIME-CONFUS" in stored.prefix
    space.build(refuses=True)
    assert (await send(wire, A, raw=twice)).endswith("[SMIME-CONFUS]")


async def test_a_sealed_message_too_big_for_its_destination_is_refused(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    stage.submission._settings.size_limits["a.mssante.fr"] = 2500
    await space.know(A, mail_leaf(A)[0])
    assert len(letter(A)) < 2500
    assert (await send(wire, A)).endswith("[TAILLE]") and await stage.queue() == []


# ------------------------------------------------------------------ certificates


class Directory:
    """A directory of our own."""

    def __init__(self, held: Mapping[str, Sequence[bytes]] | None) -> None:
        self.held = held
        self.asked: list[list[str]] = []

    async def certificates_of(self, addresses: Sequence[str]) -> Mapping[str, Sequence[bytes]]:
        self.asked.append(list(addresses))
        if self.held is None:
            raise OperatorFault("the directory does not answer")
        return self.held


async def test_the_directory_is_asked_for_those_without_a_local_certificate(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.know(A, mail_leaf(A)[0])
    space.directory = directory = Directory({B: [b"junk", der(mail_leaf(B)[0])]})
    space.build()
    await send(wire, A, B)
    assert directory.asked == [[B]] and SECRET.encode() in opened(space, (await copies(space))[B], B)


async def test_a_directory_that_fails_is_one_without_answer(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    space.directory = Directory(None)
    space.build()
    await space.know(B, mail_leaf(B)[0], CertificateSource.LEARNT)
    await send(wire, A, B)
    found = await copies(space)
    assert SECRET.encode() in opened(space, found[B], B) and b"SMIME-SANS-CERTIFICAT" in found[A].prefix


async def test_a_certificate_refused_by_hand_is_not_used_wherever_it_comes_from(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.know(A, mail_leaf(A)[0], CertificateSource.LEARNT)
    mark = (await space.known(A))[0].fingerprint
    await stage.stores.database.write(lambda tx: stage.stores.smime.refuse_certificate(tx, A, mark, "compromis"))
    space.directory = Directory({A: [der(mail_leaf(A)[0])]})
    space.build()
    await send(wire, A)
    assert b"reason=SMIME-SANS-CERTIFICAT" in (await copies(space))[A].prefix


async def test_of_several_certificates_the_admitted_one_that_ends_last_serves(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    await space.know(A, mail_leaf(A, serial=0xDEAD)[0])  # revoked
    await space.know(A, mail_leaf(A, not_after=NOW + timedelta(days=30))[0])
    chosen = mail_leaf(A, not_after=NOW + timedelta(days=300))[0]
    await space.know(A, chosen)
    (candidates,) = (await stage.context.sealing._parts.finder.candidates([A])).values()  # type: ignore[union-attr]
    assert len(candidates) == 3
    assert stage.context.sealing._parts.finder.choose(A, candidates, NOW) == chosen  # type: ignore[union-attr]


# ------------------------------------------------------------------ large messages, nothing left in clear


async def test_the_clear_text_of_what_leaves_encrypted_stays_in_no_file(stage: SmtpStage, space: SmimeSpace, tmp_path: Path) -> None:
    wire = await logged_in(stage, message_bytes=1 << 23)
    await space.know(A, mail_leaf(A)[0])
    assert (await send(wire, A, raw=letter(A, text="\r\n".join([SECRET * 2] * 60000)))).startswith("250 ")
    stored = (await copies(space))[A]
    assert stored.blob and SECRET.encode() in opened(space, stored, A)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "keys" not in path.parts]
    assert [path.name for path in files if SECRET.encode() in path.read_bytes()] == []
    assert not list((tmp_path / "blobs" / "staging").iterdir())


async def test_a_key_file_that_changes_is_read_again(stage: SmtpStage, space: SmimeSpace, wire: Wire) -> None:
    space.build(outgoing=Outgoing.SIGN)
    await send(wire, A)
    certificate, key = mail_leaf(ALICE, serial=77)
    put_key(space.folder, f"{ALICE}.pem", certificate, key)
    await send(wire, A)
    signers = [verify_message(space.body(one), author=ALICE, check=space.trust.check_signer, now=NOW).fingerprint for one in await space.queued()]
    assert len(set(signers)) == 2
