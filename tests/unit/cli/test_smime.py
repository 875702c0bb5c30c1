"""`mssante smime`: keys, policies, certificates, and the check of a message on files alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from support.clispace import DOMAIN, Space
from support.pki import ORGANISATIONS_CN, certificate_pem, key_pem
from support.smime_stage import mail_key, mail_leaf, put_key

from mssante.cli.smime_check import offline_trust
from mssante.services.privacy import load_key
from mssante.services.sealing import SealReason
from mssante.services.smime_header import SmimeResult, derive_key, result_line
from mssante.services.smime_words import CODES, meaning, remedy
from mssante.smime.encrypt import encrypt_message
from mssante.smime.sign import sign_message
from mssante.smime.values import SmimeCode

BOX = f"claire@{DOMAIN}"
AUTHOR = "paul@beta.mssante.test"
NOW = datetime.now(UTC).replace(microsecond=0)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def box(space: Space) -> Space:
    """The operator with S/MIME on and one mailbox."""
    with (space.config / "operator.toml").open("a") as file:
        file.write(f'\n[smime]\nenabled = true\noutgoing = "sign"\nkeys_folder = "../keys"\nissuers = ["{ORGANISATIONS_CN}"]\n')
    assert space.run("mailbox", "add", BOX, "--type", "PER").code == 0
    return space


def key(space: Space, name: str = "claire.pem", address: str = BOX, **leaf: Any) -> str:
    return put_key(space.root / "keys", name, *mail_leaf(address, **leaf))


def message(text: str = "Bonjour.") -> bytes:
    return f"Date: Sun, 01 Mar 2026 10:00:00 +0100\r\nFrom: {AUTHOR}\r\nTo: {BOX}\r\nSubject: Essai\r\n\r\n{text}\r\n".encode()


# ------------------------------------------------------------------ keys and policies


def test_keys_are_added_listed_removed(box: Space) -> None:
    first, second = key(box), key(box, "neuve.pem", serial=5)
    added = box.run("smime", "key", "add", BOX, first, "--json")
    assert added.code == 0 and added.json["keys"] == [first] and added.json["key"]["state"] == "ok"
    assert box.run("smime", "key", "add", BOX, second).code == 0
    found = box.run("smime", "key", "list", "--json").json["keys"]
    assert [(one["mailbox"], one["reference"]) for one in found] == [(BOX, second), (BOX, first)]  # the new one signs, the old one opens
    known = box.run("smime", "certificate", "list", BOX, "--json").json["certificates"]
    assert {one["source"] for one in known} == {"local"} and len(known) == 2
    assert box.run("smime", "key", "remove", BOX, first, "--json").json["keys"] == [second]
    assert len(box.run("smime", "certificate", "list", BOX, "--json").json["certificates"]) == 1
    gone = box.run("smime", "key", "remove", BOX, first)
    assert gone.code == 1 and "[SMIME-CLE-INCONNUE]" in gone.err and second in gone.err


@pytest.mark.parametrize(("make", "rule"), [
    (lambda box: key(box, address="autre@alpha.mssante.test"), "SMIME-CLE-ADRESSE"),
    (lambda box: "file:absente.pem", "SMIME-CLE-ABSENTE"), (lambda box: "file:../certs/mta.key", "SMIME-CLE-NOM"),
    (lambda box: "file:a.p12,mot=b", "SMIME-CLE-NOM"), (lambda box: "coffre:1", "SMIME-CLE-NOM"), (lambda box: open_to_all(box), "SMIME-CLE-DROITS"),
    (lambda box: junk(box), "SMIME-CLE"), (lambda box: link(box), "SMIME-CLE-ABSENTE")])
def test_a_key_that_cannot_serve_is_refused_with_its_rule(box: Space, make: Any, rule: str) -> None:
    refused = box.run("smime", "key", "add", BOX, make(box))
    assert refused.code == 1 and f"[{rule}]" in refused.err
    assert "aucune clé" in box.run("smime", "key", "list").out


def open_to_all(space: Space) -> str:
    reference = key(space)
    (space.root / "keys" / "claire.pem").chmod(0o644)
    return reference


def junk(space: Space) -> str:
    reference = key(space)
    (space.root / "keys" / "claire.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    return reference


def link(space: Space) -> str:
    key(space)
    (space.root / "keys" / "lien.pem").symlink_to(space.root / "keys" / "claire.pem")
    return "file:lien.pem"


def test_pkcs12_with_its_password_in_a_file_and_a_certificate_beside(box: Space) -> None:
    certificate, private = mail_leaf(BOX)
    folder = box.root / "keys"
    folder.mkdir()
    bundle = pkcs12.serialize_key_and_certificates(b"claire", private, certificate, None, BestAvailableEncryption(b"secret"))
    for name, content in (("claire.p12", bundle), ("claire.txt", b"secret\n")):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)
    done = box.run("smime", "key", "add", BOX, "file:claire.p12,password=claire.txt", "--json")
    assert done.code == 0 and done.json["key"]["state"] == "ok" and "secret" not in done.out
    (folder / "claire.txt").write_bytes(b"incorrect-2026\n")
    (found,) = box.run("smime", "key", "list", BOX, "--json").json["keys"]
    assert found["state"] == "SMIME-CLE" and "incorrect-2026" not in str(found)
    (folder / "nue.key").touch(mode=0o600)
    (folder / "nue.key").write_bytes(key_pem(private))
    (folder / "nue.pem").write_bytes(certificate_pem(certificate))
    assert box.run("smime", "key", "add", BOX, "file:nue.key").code == 0


def test_a_key_past_its_end_is_shown_as_such(box: Space) -> None:
    added = box.run("smime", "key", "add", BOX, key(box, not_after=NOW - timedelta(days=1)), "--json")
    assert added.code == 0 and added.json["key"]["state"] == "CHEMIN-EXPIRE"


def test_policies_are_set_shown_and_taken_back(box: Space) -> None:
    done = box.run("smime", "policy", "set", BOX, "--outgoing", "both", "--json")
    assert done.json == {"ok": True, "mailbox": BOX, "outgoing": "both", "incoming": "default"}
    assert box.run("smime", "policy", "set", BOX, "--incoming", "open").code == 0
    shown = box.run("smime", "policy", "show", "--json").json
    assert shown["mailboxes"] == [{"mailbox": BOX, "outgoing": "both", "incoming": "open", "keys": []}]
    assert (shown["enabled"], shown["outgoing"], shown["routes"]) == (True, "sign", {"patient.mssante.fr": "never"})
    assert f"{BOX}" in box.run("smime", "policy", "show", BOX).out
    box.run("smime", "policy", "set", BOX, "--incoming", "default", "--outgoing", "default")
    assert box.run("smime", "policy", "show", "--json").json["mailboxes"] == []
    assert box.run("smime", "policy", "set", BOX).code == 2
    unknown = box.run("smime", "policy", "set", f"absent@{DOMAIN}", "--outgoing", "sign")
    assert unknown.code == 1 and "[BAL-INCONNUE]" in unknown.err
    events = box.run("journal", "list", "--kind", "mailbox_changed", "--json").json["events"]
    assert [event["payload"]["action"] for event in events].count("smime_policy") == 3


def test_commands_say_when_smime_is_off(box: Space) -> None:
    box.change("enabled = true", "enabled = false")
    assert "S/MIME est éteint" in box.run("smime", "policy", "show").out


# ------------------------------------------------------------------ certificates


def test_certificates_of_correspondents(box: Space, tmp_path: Path) -> None:
    good, foreign = tmp_path / "paul.pem", tmp_path / "autre.pem"
    good.write_bytes(certificate_pem(mail_leaf(AUTHOR)[0]))
    foreign.write_bytes(certificate_pem(mail_leaf(AUTHOR, issuer="foreign")[0]))
    added = box.run("smime", "certificate", "add", AUTHOR.upper(), str(good), "--json").json["certificate"]
    assert (added["address"], added["state"], added["source"]) == (AUTHOR, "ok", "local")
    other = box.run("smime", "certificate", "add", AUTHOR, str(foreign), "--json").json["certificate"]
    assert other["state"] == "CHEMIN-SIGNATURE"
    refused = box.run("smime", "certificate", "remove", AUTHOR, other["fingerprint"][:12], "--refuse", "faux", "--json")
    assert refused.json["refused"] == "faux"
    assert "refusé : faux" in box.run("smime", "certificate", "list", AUTHOR).out
    assert box.run("smime", "certificate", "remove", AUTHOR, added["fingerprint"]).code == 0
    assert [one["refused"] for one in box.run("smime", "certificate", "list", "--json").json["certificates"]] == ["faux"]
    for words in (("remove", AUTHOR, "abc"), ("remove", AUTHOR, "0123456789"), ("forget", AUTHOR)):
        failed = box.run("smime", "certificate", *words)
        assert failed.code == 1 and "[SMIME-CERTIFICAT-INCONNU]" in failed.err


@pytest.mark.parametrize(("content", "rule"), [(b"rien", "ANCRE-LECTURE"), (b"", "ANCRE-LECTURE"), (b"x" * 70000, "SMIME-CERTIFICAT")])
def test_a_file_that_is_no_certificate(box: Space, tmp_path: Path, content: bytes, rule: str) -> None:
    (tmp_path / "x.pem").write_bytes(content)
    refused = box.run("smime", "certificate", "add", AUTHOR, str(tmp_path / "x.pem"))
    assert refused.code == 1 and f"[{rule}]" in refused.err


def test_a_certificate_that_is_not_for_encryption(box: Space, tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_bytes(certificate_pem(mail_leaf(AUTHOR, usage=("digital_signature",))[0]))
    assert "[SMIME-CLE-USAGE]" in box.run("smime", "certificate", "add", AUTHOR, str(tmp_path / "x.pem")).err


# ------------------------------------------------------------------ check


def secret(space: Space) -> bytes:
    return derive_key(load_key(space.root / "data" / "pseudonym.key"))


def field(body: bytes, space: Space, signature: str = "SMIME-VALIDE", *, key_: bytes = b"", at: datetime = NOW) -> bytes:
    from hashlib import sha256

    return result_line(SmimeResult(signature, "SMIME-ABSENT", sha256(body).hexdigest(), at, "T" * 26, AUTHOR), key_ or secret(space))


def signed(**leaf: Any) -> bytes:
    return sign_message(message(), mail_key(AUTHOR, **leaf), now=NOW)


def checked(space: Space, raw: bytes, *words: str) -> Any:
    path = space.root / "message.eml"
    path.write_bytes(raw)
    return space.run("smime", "check", str(path), *words)


def test_a_message_as_it_was_received(box: Space) -> None:
    body = signed()
    raw = b"X-Mozilla-Status: 0001\r\nReturn-Path: <x>\r\n" + field(body, box) + body
    done = checked(box, raw, "--json")
    assert done.code == 0 and done.json["ok"] and done.json["signature"] == "SMIME-VALIDE" and done.json["signer"] == AUTHOR
    assert [one["genuine"] for one in done.json["fields"]] == [True] and done.json["at"] == NOW.isoformat(timespec="seconds")
    text = checked(box, raw).out
    assert "authentique" in text and "signé par l'auteur" in text
    assert checked(box, raw.replace(b"\r\n", b"\n")).code == 0  # saved with the line ends of a system


@pytest.mark.parametrize(("make", "code", "says"), [
    (lambda box: signed().replace(b"Bonjour", b"Bonsoir"), "SMIME-ALTERE", "n'est plus celui qui a été signé"),
    (lambda box: signed(issuer="foreign"), "SMIME-CHAINE", "CHEMIN-SIGNATURE"),
    (lambda box: signed(not_after=NOW - timedelta(days=2)), "SMIME-EXPIRE", "CHEMIN-EXPIRE"),
    (lambda box: b"From: x\r\n\r\nx\r\n", "SMIME-ABSENT", ""),
    (lambda box: encrypt_message(message(), [mail_leaf(BOX)[0]]), "SMIME-ABSENT", "SMIME-CHIFFRE")])
def test_what_is_found_is_explained(box: Space, make: Any, code: str, says: str) -> None:
    raw = make(box)
    done = checked(box, raw)
    assert done.code == (0 if code == "SMIME-ABSENT" else 3)
    assert says in done.out and code in done.out
    assert checked(box, raw, "--json").json["signature"] == code


def test_a_false_field_is_told(box: Space) -> None:
    body = message()
    forged = checked(box, field(body, box, key_=b"z" * 32) + body, "--json")
    assert forged.code == 3 and not forged.json["fields"][0]["genuine"]
    moved = checked(box, field(signed(), box) + body)
    assert moved.code == 3 and "pour un autre message" in moved.out
    below = checked(box, field(b"", box)[:0] + field(forged_below := field(body, box, key_=b"z" * 32) + body, box, "SMIME-ABSENT") + forged_below)
    assert below.code == 0 and "pas de notre clé" in below.out and "authentique" in below.out


def test_without_a_key_of_ours_no_field_is_genuine(box: Space) -> None:
    body = message()
    raw = field(body, box, key_=derive_key(b"")) + field(body, box, key_=b"x") + body
    for key_file in (box.root / "data").glob("pseudonym.key"):
        key_file.unlink()
    assert not any(one["genuine"] for one in checked(box, raw, "--json").json["fields"])


def test_the_instant_may_be_chosen(box: Space) -> None:
    raw = signed(not_before=NOW - timedelta(days=30), not_after=NOW - timedelta(days=2))
    assert checked(box, raw).code == 3
    assert checked(box, raw, "--at", f"{NOW - timedelta(days=10):%Y-%m-%d}").code == 0


def test_nothing_to_check(box: Space) -> None:
    assert "[SMIME-FICHIER]" in checked(box, b"").err
    assert "[SMIME-FICHIER]" in box.run("smime", "check", str(box.root / "absent.eml")).err


# ------------------------------------------------------------------ mssante check


def findings(space: Space) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in space.run("check", str(space.config), "--json", config=False).json["findings"]:
        if one["number"].startswith("SMIME"):
            found.setdefault(one["number"], []).append((one["state"], one["rule"]))
    return found


def test_check_tells_keys_and_authorities(box: Space) -> None:
    assert findings(box) == {"SMIME-01": [("ok", "")], "SMIME-02": [("ok", "")]}
    box.run("smime", "key", "add", BOX, key(box, not_after=NOW + timedelta(days=10)))
    assert findings(box)["SMIME-03"] == [("warn", "")]
    (box.root / "keys" / "claire.pem").chmod(0o644)
    assert ("fail", "SMIME-CLE-DROITS") in findings(box)["SMIME-02"]
    box.change('keys_folder = "../keys"\nissuers = ["', 'keys_folder = "../keys"\nissuers = ["AC INCONNUE", "')
    assert findings(box)["SMIME-01"] == [("fail", ""), ("ok", "")]
    box.change("enabled = true", "enabled = false")
    assert findings(box) == {}


# ------------------------------------------------------------------ codes


def test_every_code_has_its_words_and_its_row_in_the_manual(box: Space) -> None:
    assert set(CODES) == {*SmimeCode, *SealReason}
    manual = (ROOT / "docs" / "smime.md").read_text(encoding="utf-8")
    for code in CODES:
        assert meaning(code) != code and remedy(code)
        assert f"| `{code}` | {meaning(code)} | {remedy(code)} |" in manual, code
    listed = box.run("smime", "codes", "--json", config=False).json["codes"]
    assert [one["code"] for one in listed] == list(CODES)


def test_the_trust_of_the_command_is_that_of_the_files(box: Space) -> None:
    from mssante.config.load import load_config

    trust = offline_trust(load_config(box.config))
    assert trust.check_recipient(mail_leaf(AUTHOR)[0], NOW) is SmimeCode.VALID
    assert trust.check_recipient(mail_leaf(AUTHOR, issuer="personnes")[0], NOW) is SmimeCode.CHAIN
