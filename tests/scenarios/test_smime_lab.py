"""S/MIME between two running operators: sealed by policy at one, verified and opened at the other, read by IMAP; and back.

The professionals of the lab have keys; the policies set here are taken back at the end.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from support.lab import RunningLab, as_json, letter, soon

from mssante.app import open_admin
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.lab.mailclient import Login, anchors_context, submit
from mssante.services.smime_admin import SmimeDesk
from mssante.smime.encrypt import encrypt_message
from mssante.smime.keys import FileKey, load_key
from mssante.smime.layer import LayerKind, find_layer
from mssante.smime.sign import sign_message

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

CLAIRE, PAUL = "claire.martin@alpha.mssante.test", "paul.durand@beta.mssante.test"
ORIGINALS = '"Chiffr&AOk-s"'
FALLBACK = "X-MSS-SMIME-Sent: v=1; wanted=both; done=sign; reason=SMIME-SANS-CERTIFICAT"
_number = count(1)


def smime(lab: RunningLab, operator: str, *words: object) -> str:
    """`mssante smime …` on an operator."""
    code, out, error = lab.command("smime", *words, "--config", lab.folder / operator / "operator_config")
    assert code == 0, out + error
    return out


def key_of(lab: RunningLab, address: str) -> FileKey:
    """The S/MIME key of a professional."""
    operator = address.partition("@")[2].split(".")[0]
    account = lab.operator(operator).account(address)
    assert account is not None
    return load_key((lab.folder / account.smime_key).read_bytes(), (lab.folder / account.smime_certificate).read_bytes())


def mark() -> str:
    return f"smime-{next(_number)}-{time.time_ns()}"


def send(lab: RunningLab, sender: str, recipient: str) -> str:
    """Drop a letter as the user's program does; give its mark."""
    name = mark()
    operator = lab.operator(sender.partition("@")[2].split(".")[0])
    account = operator.account(sender)
    assert account is not None
    where = Login(operator.address("submission"), account.login, account.password)
    submit(where, anchors_context(lab.anchors_file), recipient=recipient, message=letter(sender, recipient, name))
    return name


def received(lab: RunningLab, address: str, name: str) -> bytes:
    with lab.reader(address) as reader:
        return reader.wait_for(name)


def original(lab: RunningLab, address: str, name: str) -> bytes:
    """The one original of that mark in the folder of originals."""
    with lab.reader(address) as reader:
        reader.client.select(ORIGINALS, readonly=True)
        (found,) = reader.whole(name)
        return found


def check(lab: RunningLab, operator: str, raw: bytes, folder: Path) -> dict[str, object]:
    """`mssante smime check` of a message read by IMAP, at its recipient's operator."""
    path = folder / "message.eml"
    path.write_bytes(raw)
    _, out, _ = lab.command("smime", "check", path, "--json", "--config", lab.folder / operator / "operator_config")
    return as_json(out)


@pytest.fixture(scope="module")
def sealing(running_lab: RunningLab) -> Iterator[RunningLab]:
    """Both professionals sign and encrypt; alpha knows paul's certificate, beta nothing of claire."""
    lab = running_lab
    smime(lab, "alpha", "policy", "set", CLAIRE, "--outgoing", "both")
    smime(lab, "beta", "policy", "set", PAUL, "--outgoing", "both")
    smime(lab, "alpha", "certificate", "add", PAUL, lab.folder / "beta" / "certs" / "smime-paul.durand.pem")
    try:  # a running operator takes a policy up within 5 s
        assert soon(lambda: find_layer(original_of_send(lab)).kind is LayerKind.CLEAR_SIGNED, 60)
        yield lab
    finally:
        for operator, ours, theirs in (("alpha", CLAIRE, PAUL), ("beta", PAUL, CLAIRE)):
            asyncio.run(take_back(lab, operator, ours, theirs))


async def take_back(lab: RunningLab, operator: str, ours: str, theirs: str) -> None:
    """Leave an operator as it was found."""
    async with open_admin(load_config(lab.folder / operator / "operator_config")) as admin:
        desk = SmimeDesk(admin.stores, SystemClock())
        await desk.set_policy(ours, outgoing="")
        for one in await desk.certificates(theirs):
            await desk.remove_certificate(theirs, one.fingerprint)


def original_of_send(lab: RunningLab) -> bytes:
    """What beta makes of one more letter of claire's: its view, or the letter in clear."""
    return body_of(received(lab, PAUL, send(lab, CLAIRE, PAUL)))


def body_of(raw: bytes) -> bytes:
    """What follows the last line that the receiving operator put before a message with our field; else all of it."""
    at = raw.find(b"X-MSS-SMIME:")
    if at < 0:
        return raw
    end = raw.index(b"\r\n", at) + 2
    while raw[end:end + 1] in (b" ", b"\t"):
        end = raw.index(b"\r\n", end) + 2
    return raw[end:]


def test_a_letter_is_signed_and_encrypted_verified_and_opened(sealing: RunningLab, tmp_path: Path) -> None:
    name = send(sealing, CLAIRE, PAUL)
    view = received(sealing, PAUL, name)
    line = hashlib.sha256(name.encode()).hexdigest().encode()
    assert b"signature=SMIME-VALIDE; encryption=SMIME-OUVERT" in view.replace(b"\r\n ", b" ") and line in view
    kept = original(sealing, PAUL, name)
    raw = body_of(kept)
    assert find_layer(raw).kind is LayerKind.ENVELOPED and line not in kept and b"encryption=SMIME-CHIFFRE" in kept
    found = check(sealing, "beta", view, tmp_path)
    assert found["ok"] and found["signature"] == "SMIME-VALIDE" and found["signer"] == CLAIRE
    (field,) = found["fields"]  # type: ignore[misc]
    assert field["genuine"] and field["original"] == hashlib.sha256(raw).hexdigest() and field["folder"] == "Chiffrés"
    assert not any(line in path.read_bytes() for path in (sealing.folder / "alpha" / "data").rglob("*") if path.is_file())
    assert line not in sealing.log("alpha").encode() + sealing.log("beta").encode()


def test_the_answer_is_encrypted_with_the_certificate_learnt(sealing: RunningLab, tmp_path: Path) -> None:
    received(sealing, PAUL, send(sealing, CLAIRE, PAUL))
    known = as_json(smime(sealing, "beta", "certificate", "list", CLAIRE, "--json"))["certificates"]
    assert [(one["source"], one["state"]) for one in known] == [("learnt", "ok")]
    name = send(sealing, PAUL, CLAIRE)
    view = received(sealing, CLAIRE, name)
    found = check(sealing, "alpha", view, tmp_path)
    assert found["ok"] and found["signature"] == "SMIME-VALIDE" and found["signer"] == PAUL
    assert b"encryption=SMIME-OUVERT" in view
    assert find_layer(body_of(original(sealing, CLAIRE, name))).kind is LayerKind.ENVELOPED


def test_without_certificate_the_reason_is_written(sealing: RunningLab) -> None:
    other = "labo.biologie@beta.mssante.test"
    raw = received(sealing, other, send(sealing, CLAIRE, other))
    assert FALLBACK.encode() in raw and b"signature=SMIME-VALIDE; encryption=SMIME-ABSENT" in raw.replace(b"\r\n ", b" ")


@pytest.mark.parametrize(("make", "code"), [
    (lambda signed: signed.replace(b"essai", b"essay").replace(b"Subject: essay", b"Subject: essai"), "SMIME-VALIDE"),
    (lambda signed: alter(signed), "SMIME-ALTERE"),
    (lambda signed: signed.replace(b"--=_smime", b"--=_autre", 1), "SMIME-")],
    ids=["subject-is-not-covered", "altered", "boundary"])
def test_what_another_operator_brings_is_told_with_its_code(sealing: RunningLab, tmp_path: Path, make: object, code: str) -> None:
    name = mark()
    signed = sign_message(letter(CLAIRE, PAUL, name), key_of(sealing, CLAIRE), now=datetime.now(UTC))
    assert callable(make)
    raw = make(signed)
    with sealing.session_as("alpha", "beta") as wire:
        assert wire.deliver(CLAIRE, [PAUL], raw).code == 250
    stored = received(sealing, PAUL, name)
    assert stored.endswith(raw) and f"signature={code}".encode() in stored
    found = check(sealing, "beta", stored, tmp_path)
    assert str(found["signature"]).startswith(code) and found["fields"][0]["genuine"]  # type: ignore[index]


def alter(signed: bytes) -> bytes:
    """Change one letter of the text that was signed."""
    at = signed.index(b"\r\n\r\n", signed.index(b"Content-Type: text/plain")) + 4
    return signed[:at] + (b"0" if signed[at:at + 1] != b"0" else b"1") + signed[at + 1:]


def test_what_is_encrypted_for_another_key_stays_closed(sealing: RunningLab) -> None:
    name = mark()
    raw = encrypt_message(letter(CLAIRE, PAUL, name), [key_of(sealing, CLAIRE).certificate])
    with sealing.session_as("alpha", "beta") as wire:
        assert wire.deliver(CLAIRE, [PAUL], raw).code == 250
    stored = received(sealing, PAUL, name)
    assert stored.endswith(raw) and b"encryption=SMIME-AUTRE-DESTINATAIRE" in stored


def test_the_story_of_a_message_tells_what_smime_did(sealing: RunningLab) -> None:
    received(sealing, PAUL, send(sealing, CLAIRE, PAUL))
    code, out, _ = sealing.command("journal", "list", "--kind", "smime_sealed", "--json", "--config", sealing.folder / "alpha" / "operator_config")
    assert code == 0 and '"done": "both"' in out and CLAIRE not in out
