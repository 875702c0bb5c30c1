"""`mssante mailbox team | delegate | alias | readers | senders`, and `mailbox add --members`."""

from __future__ import annotations

from typing import Any

import pytest
from support.clispace import DOMAIN, Space

BOX = f"accueil@{DOMAIN}"
LEA, TOM = f"lea@{DOMAIN}", f"tom@{DOMAIN}"


@pytest.fixture
def people(space: Space, monkeypatch: pytest.MonkeyPatch) -> Space:
    """Two people with their boxes."""
    monkeypatch.setattr("mssante.services.admin.make_secrets", lambda password: _Secrets())
    for name in (LEA, TOM):
        file = space.root / "password"
        file.write_text("juste assez long\n", encoding="utf-8")
        assert space.run("mailbox", "add", name, "--login", name, "--password-file", str(file)).code == 0
    return space


class _Secrets:
    secret_hash = "unused"
    scram = ""


def told(space: Space, *words: str) -> Any:
    done = space.run(*words, "--json")
    assert done.code == 0, done.err
    return done.json


def test_one_command_makes_a_team(people: Space) -> None:
    told(people, "mailbox", "add", BOX, "--type", "ORG", "--members", f"{LEA};{TOM}:read@2030-12-31")
    found = told(people, "mailbox", "team", "list", BOX)["members"]
    assert [(one["login"], one["rights"], one["until"] is None, one["state"]) for one in found] == [
        (LEA, "open,send", True, "running"), (TOM, "read", False, "running")]
    assert found[0]["granted_by"].startswith("cli")
    assert LEA in people.run("mailbox", "team", "list", BOX).out
    plan = told(people, "mailbox", "team", "add", BOX, "--member", f"{TOM}:open", "--dry-run")
    assert [one["action"] for one in plan["members"]] == ["change"]
    assert told(people, "mailbox", "team", "remove", BOX, LEA)["removed"] == [LEA]
    assert [one["login"] for one in told(people, "mailbox", "team", "list", BOX)["members"]] == [TOM]


def test_a_wrong_member_makes_nothing(people: Space) -> None:
    for members, rule in (("absent", "COMPTE-INCONNU"), (f"{LEA}:admin", "DELEGATION-DROITS")):
        done = people.run("mailbox", "add", BOX, "--type", "ORG", "--members", members)
        assert (done.code, rule in done.err) == (1, True)
    assert people.run("mailbox", "team", "list", BOX).code == 1, "the box was not made either"
    dry = people.run("mailbox", "team", "add", LEA, "--member", "absent", "--dry-run", "--json")
    assert (dry.code, dry.json["problems"][0]["rule"]) == (1, "COMPTE-INCONNU")


def test_a_replacement_and_its_dates(people: Space) -> None:
    done = told(people, "mailbox", "delegate", LEA, TOM, "--from", "2030-07-01", "--until", "2030-07-31")
    assert [(one["login"], one["rights"]) for one in done["members"]] == [(TOM, "read,send")]
    assert [one["state"] for one in told(people, "mailbox", "team", "list", LEA)["members"]] == ["running", "future"]
    wrong = people.run("mailbox", "delegate", LEA, TOM, "--from", "2030-07-31", "--until", "2030-07-01")
    assert (wrong.code, "DELEGATION-DATE" in wrong.err) == (1, True)


def test_aliases(people: Space) -> None:
    told(people, "mailbox", "alias", "add", LEA, f"l.essai@{DOMAIN}", "--until", "2030-12-31")
    (one,) = told(people, "mailbox", "alias", "list", LEA)["aliases"]
    assert (one["alias"], one["mailbox"], one["until"] is None) == (f"l.essai@{DOMAIN}", LEA, False)
    taken = people.run("mailbox", "add", f"l.essai@{DOMAIN}")
    assert (taken.code, "BAL-EXISTE" in taken.err) == (1, True)
    told(people, "mailbox", "alias", "remove", f"l.essai@{DOMAIN}")
    assert told(people, "mailbox", "alias", "list")["aliases"] == []


def test_nobody_read_nor_sent_yet(people: Space) -> None:
    assert told(people, "mailbox", "readers", LEA, "--message-id", "x@y", "--since", "2026-01-01")["readings"] == []
    assert told(people, "mailbox", "senders", LEA)["sent"] == []
    assert people.run("mailbox", "readers", BOX).code == 1
