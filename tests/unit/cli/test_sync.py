"""`mssante account sync`: what it prints, how it ends, and what the periodic task logs. Against a directory that is a list."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs
from support.clispace import DOMAIN, Space

from mssante.errors import InputFault, OperatorFault
from mssante.model.identifiers import luhn_ok
from mssante.services.ldapsync import Outcome, SyncDesk
from mssante.services.ldapsync_plan import Action, Change
from mssante.services.ldapsync_values import Problem, RawEntry
from mssante.topics.provisioning import sync_once

RPPS = next(number for number in (f"1000123456{digit}" for digit in range(10)) if luhn_ok(number))
LEA = f"lea@{DOMAIN}"
SECTION = """
[provisioning]
ldap_url = "ldaps://localhost:1"
ldap_base = "dc=x"
[provisioning.ldap_attributes]
holder_id = "employeeNumber"
"""


@pytest.fixture
def people(space: Space, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Mail by identifier, as the directory gives it."""
    file = space.config / "operator.toml"
    file.write_text(file.read_text() + SECTION)
    found: dict[str, str] = {"1": LEA}

    async def read(self: Any) -> Any:
        return [RawEntry(f"uid={key},dc=x", {"entryuuid": (key.encode(),), "mail": (mail.encode(),), "sn": (b"Essai",),
                                             "employeenumber": (RPPS.encode(),)}) for key, mail in found.items()], []

    monkeypatch.setattr("mssante.transport.ldap_people.LdapPeople.read", read)
    return found


def test_shown_then_applied_then_nothing(space: Space, people: dict[str, str]) -> None:
    people["2"] = "x@ailleurs.fr"
    shown = space.run("account", "sync", "--dry-run")
    assert shown.code == 0 and LEA in shown.out and "SYNC-DOMAINE" in shown.out and "non appliqués" in shown.out
    assert space.run("account", "list", "--json").json["accounts"] == []
    done = space.run("account", "sync", "--json").json
    assert (done["applied"], [one["action"] for one in done["people"]], done["seen"]) == (True, ["create"], 2)
    assert space.run("account", "sync", "--json").json["people"] == []
    boxes = space.run("mailbox", "list", "--json").json["mailboxes"]
    assert [(one["address"], one["holder_id"]) for one in boxes] == [(LEA, "8" + RPPS)]


def test_the_guard_ends_with_3(space: Space, people: dict[str, str]) -> None:
    people |= {str(rank): f"u{rank}@{DOMAIN}" for rank in range(2, 8)}
    assert space.run("account", "sync").code == 0
    for rank in range(2, 7):
        del people[str(rank)]
    for words in ((), ("--dry-run",)):
        held = space.run("account", "sync", *words)
        assert held.code == 3 and "[SYNC-GARDE]" in held.out
    assert space.run("account", "sync", "--json").json["held"]["rule"] == "SYNC-GARDE"
    assert all(one["enabled"] for one in space.run("account", "list", "--json").json["accounts"])
    forced = space.run("account", "sync", "--force", "--json")
    assert forced.code == 0 and sorted(one["action"] for one in forced.json["people"]) == ["leave"] * 5


@pytest.mark.parametrize(("old", "new", "rule"), [
    ('ldap_url = "ldaps://localhost:1"', "", "CFG-SYNC"), ('ldap_base = "dc=x"', "", "CFG-SYNC"), ("ldaps://", "http://", "LDAP-CONFIG"),
    ('"employeeNumber"', '"userPassword"', "CFG-SYNC"), ('ldap_base = "dc=x"', 'ldap_base = "dc=x"\nldap_filter = "(mail=*"', "LDAP-FILTRE"),
    ('ldap_base = "dc=x"', 'ldap_base = "dc=x"\nldap_member_attribute = "unicodePwd"', "CFG-SYNC")])
def test_a_configuration_that_cannot_be_followed(space: Space, people: dict[str, str], old: str, new: str, rule: str) -> None:
    space.change(old, new)
    done = space.run("account", "sync", "--json")
    assert (done.code, done.json["rule"]) == (1, rule)


class _Desk(SyncDesk):
    def __init__(self, found: Outcome | Exception) -> None:
        self._found = found

    async def run(self, *, dry_run: bool = False, force: bool = False) -> Outcome:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


CHANGES = (Change(Action.LEAVE, "1", LEA),)
PROBLEM = Problem("SYNC-PRIS", LEA, f"{LEA} …")


@pytest.mark.parametrize(("found", "event"), [
    (OperatorFault("down", rule="LDAP-INJOIGNABLE"), "ldap_sync_failed"), (InputFault("empty", rule="SYNC-VIDE"), "ldap_sync_failed"),
    (Outcome(CHANGES, (), (), 1, PROBLEM), "ldap_sync_held"), (Outcome(CHANGES, (), (PROBLEM,), 1, None, True), "ldap_sync"),
    (Outcome((), (), (), 1, None, True), None)])
async def test_the_task_logs_counts_and_never_who(found: Outcome | Exception, event: str | None) -> None:
    with capture_logs() as logs:
        await sync_once(_Desk(found))
    assert [one["event"] for one in logs] == ([event] if event else [])
    assert LEA not in repr(logs)
