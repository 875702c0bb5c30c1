"""`mssante mailbox show|edit|suspend|…`, `mssante life run`, `mssante mailbox plan|apply|export` on folders of an operator."""

from __future__ import annotations

import pytest
from support.clispace import DOMAIN, Space

from mssante.lab.plan import luhn_digit

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
