"""`mailbox share`, `mailbox shares`, `mailbox seen`: facts, faults, JSON, journal."""

from __future__ import annotations

from typing import Any

import pytest
from support.clispace import Space

BOX = "claire@alpha.mssante.test"
OTHER = "denis@alpha.mssante.test"


@pytest.fixture
def boxes(space: Space, typed: Any) -> Space:
    """Two mailboxes with their logins."""
    for address in (BOX, OTHER):
        typed(b"secret\n")
        assert space.run("mailbox", "add", address, "--login", address, "--password-stdin").code == 0
    return space


def test_rights_are_given_listed_and_taken(boxes: Space) -> None:
    assert boxes.run("mailbox", "share", BOX, "inbox", OTHER.upper(), "lrd", "--json").json["rights"] == "lrte"
    assert boxes.run("mailbox", "share", BOX, "INBOX", OTHER, "+s", "--json").json["rights"] == "lrste"
    assert boxes.run("mailbox", "share", BOX, "Sent", "anyone", "l").code == 0
    found = boxes.run("mailbox", "shares", BOX, "--json").json
    assert found["shares"] == [{"folder": "INBOX", "login": OTHER, "rights": "lrste"},
                               {"folder": "Sent", "login": "anyone", "rights": "l"}]
    assert OTHER in boxes.run("mailbox", "shares", BOX).out
    taken = boxes.run("mailbox", "share", BOX, "INBOX", OTHER, "")
    assert (taken.code, "aucun droit" in taken.out) == (0, True)
    assert boxes.run("mailbox", "share", BOX, "Sent", "anyone", "").code == 0
    assert boxes.run("mailbox", "shares", BOX, "--json").json["shares"] == []
    events = boxes.run("journal", "list", "--kind", "folder_shared", "--json").json["events"]
    assert [(one["payload"]["identifier"], one["payload"]["rights"]) for one in events] == [
        ("anyone", ""), (OTHER, ""), ("anyone", "l"), (OTHER, "lrste"), (OTHER, "lrte")]
    assert all(one["subject"] == BOX and "INBOX" not in str(one["payload"]) for one in events)


def test_a_deleted_login_leaves_no_right(boxes: Space, typed: Any) -> None:
    assert boxes.run("mailbox", "share", BOX, "INBOX", OTHER, "lr").code == 0
    assert boxes.run("account", "delete", OTHER).code == 0
    assert boxes.run("mailbox", "shares", BOX, "--json").json["shares"] == []


def test_seen_is_switched_both_ways(boxes: Space) -> None:
    first = boxes.run("mailbox", "seen", BOX, "INBOX", "private", "--json").json
    assert (first["seen"], first["changed"]) == ("private", True)
    assert boxes.run("mailbox", "seen", BOX, "INBOX", "private", "--json").json["changed"] is False
    assert boxes.run("mailbox", "shares", BOX, "--json").json["seen_private"] == ["INBOX"]
    assert "INBOX" in boxes.run("mailbox", "shares", BOX).out
    assert boxes.run("mailbox", "seen", BOX, "INBOX", "shared").code == 0
    assert boxes.run("mailbox", "shares", BOX, "--json").json["seen_private"] == []
    events = boxes.run("journal", "list", "--kind", "mailbox_changed", "--subject", BOX, "--json").json["events"]
    assert [one["payload"]["action"] for one in events] == ["seen_shared", "seen_private", "created"]


@pytest.mark.parametrize(("words", "rule"), [
    (("share", "nul@alpha.mssante.test", "INBOX", OTHER, "lr"), "BAL-INCONNUE"),
    (("share", BOX, "Rien", OTHER, "lr"), "BAL-DOSSIER"),
    (("share", BOX, "INBOX", OTHER, "lrQ"), "BAL-DROITS"),
    (("share", BOX, "INBOX", "inconnu", "lr"), "BAL-DROITS"),
    (("share", BOX, "INBOX", BOX, "lr"), "BAL-DROITS"),
    (("shares", "nul@alpha.mssante.test"), "BAL-INCONNUE"),
    (("seen", BOX, "Rien", "private"), "BAL-DOSSIER"),
    (("seen", "nul@alpha.mssante.test", "INBOX", "private"), "BAL-INCONNUE"),
])
def test_what_cannot_be_is_told(boxes: Space, words: tuple[str, ...], rule: str) -> None:
    outcome = boxes.run("mailbox", *words)
    assert (outcome.code, f"[{rule}]" in outcome.err, outcome.out) == (1, True, "")
