"""`mailbox quota`: shows, sets one limit or both, takes units, tells the journal."""

from __future__ import annotations

import pytest
from support.clispace import Space

BOX = "claire@alpha.mssante.test"


@pytest.fixture
def claire(space: Space) -> Space:
    """One mailbox."""
    assert space.run("mailbox", "add", BOX).code == 0
    return space


def test_it_is_shown_and_set(claire: Space) -> None:
    assert claire.run("mailbox", "quota", BOX, "--json").json == {
        "ok": True, "address": BOX, "quota_bytes": 0, "quota_messages": 0, "used_bytes": 0, "used_messages": 0}
    assert claire.run("mailbox", "quota", BOX.upper(), "--bytes", "2G", "--json").json["quota_bytes"] == 2 << 30
    found = claire.run("mailbox", "quota", BOX, "--messages", "1000", "--json").json
    assert (found["quota_bytes"], found["quota_messages"]) == (2 << 30, 1000)
    shown = claire.run("mailbox", "quota", BOX)
    assert shown.code == 0 and str(2 << 30) in shown.out and "1000" in shown.out
    assert claire.run("mailbox", "quota", BOX, "--bytes", "0", "--json").json["quota_bytes"] == 0
    listed = claire.run("mailbox", "list", "--json").json["mailboxes"]
    assert [(one["quota_bytes"], one["quota_messages"]) for one in listed] == [(0, 1000)]
    events = claire.run("journal", "list", "--kind", "mailbox_changed", "--json").json["events"]
    assert [one["payload"].get("quota_bytes") for one in events] == [0, 2 << 30, 2 << 30, None]


@pytest.mark.parametrize(("text", "octets"), [("500M", 500 << 20), ("1k", 1024), ("3Go", 3 << 30), ("2 GiB", 0), ("12", 12)])
def test_units(claire: Space, text: str, octets: int) -> None:
    outcome = claire.run("mailbox", "quota", BOX, "--bytes", text, "--json")
    assert outcome.code == (0 if octets else 1) and (not octets or outcome.json["quota_bytes"] == octets)


@pytest.mark.parametrize(("words", "rule"), [
    ((BOX, "--bytes", "beaucoup"), "QUOTA-TAILLE"), ((BOX, "--bytes", "-1"), "QUOTA-TAILLE"), (("nul@alpha.mssante.test",), "BAL-INCONNUE"),
    (("nul@alpha.mssante.test", "--messages", "3"), "BAL-INCONNUE")])
def test_what_cannot_be_is_told(claire: Space, words: tuple[str, ...], rule: str) -> None:
    outcome = claire.run("mailbox", "quota", *words)
    assert outcome.code == 1 and f"[{rule}]" in outcome.err and not outcome.out
