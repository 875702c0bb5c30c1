"""`account` and `mailbox`: every command, its faults, its JSON, and what the journal says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.clispace import Space

BOX = "claire@alpha.mssante.test"


@pytest.fixture
def claire(space: Space, typed: Any) -> Space:
    """One mailbox with a login."""
    typed("secret é\n".encode())
    outcome = space.run("mailbox", "add", BOX.upper(), "--type", "per", "--login", BOX, "--password-stdin",
                        "--holder", "899700000013")
    assert outcome.code == 0, outcome.err
    return space


def test_a_mailbox_is_created_listed_and_closed(claire: Space) -> None:
    listed = claire.run("mailbox", "list", "--json").json["mailboxes"]
    assert [(one["address"], one["type"], one["state"], one["holder_id"]) for one in listed] == [
        (BOX, "PER", "active", "899700000013")]
    assert claire.run("mailbox", "state", BOX, "closed").code == 0
    assert "closed" in claire.run("mailbox", "list").out
    changes = claire.run("journal", "list", "--kind", "mailbox_changed", "--json").json["events"]
    assert [one["payload"]["action"] for one in changes] == ["closed", "created"]


def test_the_list_goes_on_after_a_limit(space: Space) -> None:
    for name in ("a", "b", "c"):
        assert space.run("mailbox", "add", f"{name}@alpha.mssante.test", "--type", "ORG").code == 0
    first = space.run("mailbox", "list", "--limit", "2", "--json").json
    assert first["after"] == "b@alpha.mssante.test"
    rest = space.run("mailbox", "list", "--limit", "2", "--after", first["after"], "--json").json
    assert [one["address"] for one in rest["mailboxes"]] == ["c@alpha.mssante.test"]
    assert rest["after"] is None


@pytest.mark.parametrize(("words", "rule"), [
    (("mailbox", "add", "x@ailleurs.test"), "BAL-DOMAINE"),
    (("mailbox", "add", "pas une adresse"), "BAL-ADRESSE"),
    (("mailbox", "add", BOX), "BAL-EXISTE"),
    (("mailbox", "state", "nul@alpha.mssante.test", "closed"), "BAL-INCONNUE"),
    (("account", "disable", "nul"), "COMPTE-INCONNU"),
    (("account", "enable", "nul"), "COMPTE-INCONNU"),
    (("account", "delete", "nul"), "COMPTE-INCONNU"),
])
def test_what_is_not_there_is_told(claire: Space, words: tuple[str, ...], rule: str) -> None:
    outcome = claire.run(*words)
    assert outcome.code == 1
    assert f"[{rule}]" in outcome.err
    assert not outcome.out


def test_the_life_of_an_account(claire: Space, typed: Any, tmp_path: Path) -> None:
    typed(b"autre\n")
    assert claire.run("account", "add", "Poste-12", "-m", BOX, "--password-stdin").code == 0
    file = tmp_path / "password"
    file.write_text("troisieme\nignored\n")
    assert claire.run("account", "password", "poste-12", "--password-file", str(file)).code == 0
    assert claire.run("account", "disable", "poste-12").code == 0
    found = {one["login"]: one for one in claire.run("account", "list", "--json").json["accounts"]}
    assert found["poste-12"] == {"login": "poste-12", "enabled": False, "scram": True, "mailboxes": [BOX]}
    assert claire.run("account", "enable", "poste-12").code == 0
    assert claire.run("account", "delete", "POSTE-12").code == 0
    assert [one["login"] for one in claire.run("account", "list", "--json").json["accounts"]] == [BOX]
    actions = [one["payload"]["action"] for one in
               claire.run("journal", "list", "--subject", "poste-12", "--json").json["events"]]
    assert actions == ["deleted", "enabled=True", "enabled=False", "password", "created"]


def test_the_password_given_is_the_one_that_opens(claire: Space) -> None:
    from argon2 import PasswordHasher

    from mssante.cli.common import administer

    stored = administer(claire.config, lambda admin: admin.accounts())[0].secret_hash
    assert PasswordHasher().verify(stored, "secret é")


def test_no_secret_is_ever_printed(claire: Space) -> None:
    shown = claire.run("account", "list").out + claire.run("account", "list", "--json").out + claire.run("journal", "list").out
    assert "argon2" not in shown and "secret" not in shown


@pytest.mark.parametrize(("octets", "text"), [(b"\n", "vide"), (b"", "vide"), (b"x" * 2000 + b"\n", "1024"),
                                               (b"\xff\n", "UTF-8")])
def test_a_bad_password_is_refused(claire: Space, typed: Any, octets: bytes, text: str) -> None:
    typed(octets)
    outcome = claire.run("account", "password", BOX, "--password-stdin")
    assert outcome.code == 1
    assert text in outcome.err and "[COMPTE-MOT-DE-PASSE]" in outcome.err


def test_without_terminal_a_password_must_be_given(claire: Space, typed: Any) -> None:
    typed(b"secret\n")
    outcome = claire.run("account", "password", BOX)
    assert outcome.code == 1 and "--password-stdin" in outcome.err
    assert "ensemble" in claire.run("account", "password", BOX, "--password-stdin", "--password-file", "x").err
