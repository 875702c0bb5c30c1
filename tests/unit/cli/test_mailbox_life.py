"""`mssante mailbox show|edit|suspend|…`, `mssante life run`, `mssante mailbox plan|apply|export` on folders of an operator."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.clispace import DOMAIN, Space, mode

from mssante.lab.plan import fictitious_finess, luhn_digit

ALICE = f"alice@{DOMAIN}"
RPPS = "9970000007" + luhn_digit("9970000007")


@pytest.fixture
def alice(space: Space) -> Space:
    assert space.run("mailbox", "add", ALICE).code == 0
    return space


def test_a_life_by_commands(alice: Space) -> None:
    moves = (("suspend", "suspended"), ("resume", "active"), ("close", "closed"), ("reopen", "active"))
    for word, state in moves:
        assert alice.run("mailbox", word, ALICE, "--reason", "essai", "--json").json["state"] == state
    shown = alice.run("mailbox", "show", ALICE, "--json").json["mailbox"]
    assert (shown["state"], shown["reason"], shown["warned_step"]) == ("active", "essai", 0)
    refused = alice.run("mailbox", "resume", ALICE)
    assert refused.code == 1 and "BAL-TRANSITION" in refused.err
    assert "BAL-PURGE" in alice.run("mailbox", "state", ALICE, "purged").err
    assert alice.run("mailbox", "close", ALICE, "--successor", f"bob@{DOMAIN}").code == 0
    assert alice.run("mailbox", "show", ALICE, "--json").json["mailbox"]["successor"] == f"bob@{DOMAIN}"
    assert "BAL-INCONNUE" in alice.run("mailbox", "show", f"nobody@{DOMAIN}").err


def test_edit_hold_object(alice: Space) -> None:
    edited = alice.run("mailbox", "edit", ALICE, "--holder", RPPS, "--red-list", "--rank", "1", "--json").json["mailbox"]
    assert (edited["holder_id"], edited["red_list"], edited["rank"]) == ("8" + RPPS, True, 1)
    assert "TITULAIRE-FORME" in alice.run("mailbox", "edit", ALICE, "--holder", "12").err
    assert "BAL-CHAMP" in alice.run("mailbox", "edit", ALICE).err
    assert alice.run("mailbox", "hold", ALICE, "--json").json["hold_until"].startswith("9000")
    assert alice.run("mailbox", "hold", ALICE, "--release", "--json").json["hold_until"] is None
    assert "BAL-DATE" in alice.run("mailbox", "hold", ALICE, "--until", "2001-01-01").err
    assert alice.run("mailbox", "object", ALICE, "--json").json["objected_until"]


def test_life_run(alice: Space) -> None:
    first = alice.run("life", "run", "--json").json
    assert (first["withheld"], first["done"]) == ("first_run", {"reconcile": 1})
    later = alice.run("life", "run", "--dry-run", "--at", "2090-01-01", "--json").json
    assert later["due"] == {"warn": 1} and later["withheld"] == "clock" and later["done"] == {}
    assert later["steps"] == [{"address": ALICE, "step": "warn"}]
    assert alice.run("life", "run", "--json").json["due"] == {}
    assert "BAL-DATE" in alice.run("life", "run", "--at", "2090-01-01").err
    assert "--accept" in alice.run("life", "run", "--dry-run", "--at", "2090-01-01").out


def test_bulk(alice: Space) -> None:
    file = alice.root / "boxes.csv"
    file.write_text(f"address;type;holder;display_name\ndr@{DOMAIN};PER;{RPPS};Dr A\n{ALICE};;;Alice\n")
    shown = alice.run("mailbox", "plan", str(file), "--json").json
    assert shown["ok"] and shown["counts"] == {"create": 1, "update": 1, "unchanged": 0, "conflict": 0, "error": 0}
    assert "display_name" in alice.run("mailbox", "plan", str(file)).out
    assert "IMPORT-PLAN" in alice.run("mailbox", "apply", str(file), "--plan-hash", "0" * 16).err
    assert alice.run("mailbox", "apply", str(file), "--plan-hash", shown["plan_hash"], "--json").json["done"] == {
        "create": 1, "update": 1, "conflict": 0}
    assert "rien à faire" in alice.run("mailbox", "apply", str(file)).out
    assert f"dr@{DOMAIN};PER;active;8{RPPS};Dr A" in alice.run("mailbox", "export").out
    file.write_text(f"address;type;holder\nx@{DOMAIN};PER;1\n")
    wrong = alice.run("mailbox", "plan", str(file))
    assert wrong.code == 1 and "ligne 2" in wrong.err and "TITULAIRE-FORME" in wrong.err
    assert "IMPORT-FAUTES" in alice.run("mailbox", "apply", str(file)).err
    assert "IMPORT-CSV" in alice.run("mailbox", "plan", str(alice.root / "none.csv")).err


PEOPLE = ("address;type;holder;login;members\n"
          "urgences@{d};ORG;{f};;\"zoe:open,send;anne\"\n"
          + "anne@{d};PER;{r};anne;\nzoe@{d};PER;{r};Zoe;\n")


def test_one_file_brings_people_with_their_logins_and_the_box_that_they_share(space: Space, tmp_path: Path) -> None:
    rpps = "9970000007" + luhn_digit("9970000007")
    file, out = tmp_path / "boites.csv", tmp_path / "mots-de-passe.csv"
    file.write_text(PEOPLE.format(d=DOMAIN, f=fictitious_finess(1), r=rpps))
    shown = space.run("mailbox", "plan", str(file), "--json")
    assert shown.code == 0 and shown.json["lines"][2]["changes"][-1] == "login: zoe"
    refused = space.run("mailbox", "apply", str(file))
    assert refused.code == 1 and "--passwords-out" in refused.err
    old = space.run("mailbox", "apply", str(file), "--plan-hash", "0" * 16, "--passwords-out", str(out))
    assert "IMPORT-PLAN" in old.err and not out.exists(), "a plan that is refused leaves no passwords behind"
    done = space.run("mailbox", "apply", str(file), "--passwords-out", str(out), "--json")
    assert done.code == 0 and done.json["done"] == {"create": 3, "update": 0, "conflict": 0}
    assert mode(out) == 0o600
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert [row[0] for row in rows] == ["login", "anne", "zoe"] and all(len(row[1]) >= 16 for row in rows[1:])
    assert rows[1][1] not in done.out
    accounts = {one["login"]: one["mailboxes"] for one in space.run("account", "list", "--json").json["accounts"]}
    assert accounts == {name: [f"{name}@{DOMAIN}", f"urgences@{DOMAIN}"] for name in ("anne", "zoe")}
    assert "rien à faire" in space.run("mailbox", "apply", str(file)).out, "nothing is left, no password is asked for"
    again = tmp_path / "export.csv"
    again.write_text(space.run("mailbox", "export").out)
    assert space.run("mailbox", "plan", str(again), "--json").json["counts"]["unchanged"] == 3


def test_passwords_are_never_written_over(space: Space, tmp_path: Path) -> None:
    rpps = "9970000007" + luhn_digit("9970000007")
    file, out = tmp_path / "boites.csv", tmp_path / "out"
    file.write_text(f"address,type,holder,login\nzoe@{DOMAIN},PER,{rpps},zoe\n")
    out.write_text("précieux")
    refused = space.run("mailbox", "apply", str(file), "--passwords-out", str(out))
    assert refused.code == 1 and out.read_text() == "précieux"
    assert not space.run("mailbox", "list", "--json").json["mailboxes"]


@pytest.mark.parametrize(("line", "rule"), [
    ("zoe@{d},PER,{r},alice@{d}", "COMPTE-EXISTE"), ("zoe@{d},PER,{r},zoe la grande", "COMPTE-NOM"),
    ("zoe@{d},PER,{r},zoe\nanne@{d},PER,{r},ZOE", "IMPORT-DOUBLE")])
def test_a_login_that_cannot_be_made(alice: Space, tmp_path: Path, line: str, rule: str) -> None:
    file, secret = tmp_path / "boites.csv", tmp_path / "secret"
    secret.write_text("un mot de passe")
    assert alice.run("account", "add", ALICE, "--password-file", str(secret)).code == 0
    file.write_text("address,type,holder,login\n" + line.format(d=DOMAIN, r="9970000007" + luhn_digit("9970000007")) + "\n")
    told = alice.run("mailbox", "plan", str(file), "--json")
    assert told.code == 1 and told.json["problems"][-1]["rule"] == rule


def test_what_an_administrator_is_told(alice: Space, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("un mot de passe")
    assert alice.run("account", "add", ALICE, "--password-file", str(secret)).code == 0
    human = alice.run("mailbox", "add", f"robot@{DOMAIN}", "--type", "APP", "--members", ALICE)
    assert human.code == 1 and "BAL-APP-HUMAIN" in human.err
    assert alice.run("mailbox", "add", f"robot@{DOMAIN}", "--type", "APP").code == 0
    assert "BAL-APP-HUMAIN" in alice.run("mailbox", "team", "add", f"robot@{DOMAIN}", "--member", ALICE).err
    twice = alice.run("mailbox", "add", ALICE)
    assert twice.code == 1 and "exists" not in twice.err and f"mailbox show {ALICE}" in twice.err
    assert "déjà dans cet état" in alice.run("mailbox", "state", ALICE, "active").err
    assert alice.run("mailbox", "add", f"service@{DOMAIN}", "--type", "ORG").code == 0
    given = alice.run("mailbox", "team", "add", f"service@{DOMAIN}", "--member", f"{ALICE}:read@2099-12-31")
    assert "2099-12-31" in given.out and "2100-01-01" not in given.out, "the day that was written, not the next midnight"
    shown = alice.run("mailbox", "show", ALICE).out
    assert "liste rouge" in shown and "non" in shown and "red_list" not in shown
