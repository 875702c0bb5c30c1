"""`check` about programs: silent applications, repair list, failing webhooks, watched folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.clispace import DOMAIN, Space

from mssante.cli.checks.finding import Finding
from mssante.cli.checks.handing import handing_findings
from mssante.config.load import load_config
from mssante.storage.interfacing import CLOSED, GIVEN, OPEN, OutboxItem, RepairItem
from mssante.storage.webhooks import Webhook, WebhookEvent

from mssante.app import open_storage  # isort: skip

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
APPLICATION = """
[hl7]
enabled = true
[[hl7.applications]]
name = "dpi"
mailbox = "dpi@{domain}"
sending_application = "DPI"
networks = ["127.0.0.0/8"]
connect = "127.0.0.1:1"
"""
ITEM = OutboxItem("dpi", "mdm", "C1", "mdm 7/1", b"SECRET", 3, 7, "T" * 26, NOW - timedelta(minutes=20), NOW)
REPAIR = RepairItem("dpi", 3, 7, "T" * 26, "203", "AE 203", OPEN, NOW - timedelta(days=1), NOW)
HOOK = Webhook("wh_1", "token 1", 3, "https://dpi.hopital.test/evenements?c=SECRET", "salt", created_at=NOW)
EVENT = WebhookEvent("wh_1", "evt_1", "document.read", "{}", NOW - timedelta(hours=1), NOW, attempts=3)


@pytest.fixture
def hospital(space: Space) -> Space:
    path = space.config / "operator.toml"
    path.write_text(path.read_text() + APPLICATION.format(domain=DOMAIN))
    return space


def put(space: Space, *things: object) -> None:
    """Write rows as the services do; events keep their attempts."""
    import asyncio

    stores = open_storage(load_config(space.config))

    def unit(tx: object) -> None:
        for one in things:
            if isinstance(one, OutboxItem):
                stores.interfacing.put(tx, one)
            elif isinstance(one, RepairItem):
                stores.interfacing.add_repair(tx, one)
            elif isinstance(one, Webhook):
                stores.webhooks.put(tx, one)
            elif isinstance(one, WebhookEvent):
                stores.webhooks.add_events(tx, [one])
                kept = stores.webhooks.events(tx, one.webhook_id)[-1]
                stores.webhooks.settle(tx, replace(one, sequence=kept.sequence))

    try:
        asyncio.run(stores.database.write(unit))
    finally:
        stores.close()


def found(space: Space) -> list[tuple[str, str]]:
    return [(one.number, one.state.value) for one in findings(space)]


def findings(space: Space) -> list[Finding]:
    given = list(handing_findings(load_config(space.config), NOW))
    assert all(one.remedy for one in given if one.state != "ok")
    assert "SECRET" not in str(given)
    return given


def test_silent_where_nothing_is_set_up(space: Space) -> None:
    assert found(space) == []  # no database
    put(space)
    assert found(space) == []


def test_nothing_waits(hospital: Space) -> None:
    put(hospital)
    assert found(hospital) == [("HL7-01", "ok"), ("HL7-03", "ok")]


@pytest.mark.parametrize(("age", "state"), [(timedelta(minutes=14), "ok"), (timedelta(minutes=15), "warn"), (timedelta(hours=24), "fail")])
def test_an_application_that_does_not_acknowledge(hospital: Space, age: timedelta, state: str) -> None:
    put(hospital, replace(ITEM, created_at=NOW - age, attempts=4, detail="HL7-TLS certificate has expired"),
        replace(ITEM, reference="mdm 7/2", created_at=NOW), replace(ITEM, reference="mdm 7/0", state=GIVEN, created_at=NOW - 2 * age))
    (one,) = [one for one in findings(hospital) if one.number == "HL7-01"]
    assert one.state == state
    assert "dpi : 2 message(s)" in one.seen
    assert "4 essai(s) : HL7-TLS certificate has expired" in one.seen


def test_an_application_that_left_the_configuration(hospital: Space) -> None:
    put(hospital, replace(ITEM, interface="ris", created_at=NOW))
    assert ("HL7-02", "warn") in found(hospital)


@pytest.mark.parametrize(("count", "state"), [(1, "warn"), (49, "warn"), (50, "fail")])
def test_the_repair_list_that_grows(hospital: Space, count: int, state: str) -> None:
    put(hospital, replace(REPAIR, message_id=999, state=CLOSED), *[replace(REPAIR, message_id=rank + 1) for rank in range(count)])
    (one,) = [one for one in findings(hospital) if one.number == "HL7-03"]
    assert (one.state, one.seen) == (state, f"dpi : {count} depuis le 2026-02-28 12:00 UTC")


@pytest.mark.parametrize(("changes", "active", "expected"), [
    ({}, True, ("WEBHOOK-01", "warn")), ({"attempts": 2}, True, ("WEBHOOK-01", "ok")),
    ({"created_at": NOW - timedelta(hours=25)}, True, ("WEBHOOK-01", "fail")), ({"done_at": NOW}, True, ("WEBHOOK-01", "ok")),
    ({}, False, ("WEBHOOK-02", "warn"))])
def test_webhooks(space: Space, changes: dict[str, object], active: bool, expected: tuple[str, str]) -> None:
    put(space, replace(HOOK, active=active), replace(EVENT, **changes))  # type: ignore[arg-type]
    (one,) = findings(space)
    assert (one.number, one.state) == expected
    assert one.state == "ok" or "wh_1 (dpi.hopital.test)" in one.seen


def test_watched_folders(space: Space, tmp_path: Path) -> None:
    folder = tmp_path / "depot"
    path = space.config / "operator.toml"
    path.write_text(path.read_text() + f'\n[handover]\nfolders = {{ "a@{DOMAIN}" = "{folder}" }}\n')
    assert found(space) == [("DOSSIER-01", "fail")]
    (folder / "envoyes").mkdir(parents=True)
    for name in ("neuf.json", ".cache.json", "vieux.pdf", "envoyes/vieux.json"):
        (folder / name).touch()
    ages(folder, ["vieux.pdf", "envoyes/vieux.json", ".cache.json"])
    assert found(space) == [("DOSSIER-01", "ok")]
    ages(folder, ["neuf.json"])
    assert found(space) == [("DOSSIER-02", "warn")]


def ages(folder: Path, old: Iterable[str]) -> None:
    for one in folder.rglob("*.*"):
        moment = NOW.timestamp() - (700 if str(one.relative_to(folder)) in old else 10)
        os.utime(one, (moment, moment))


def test_the_command_tells_it(hospital: Space) -> None:
    put(hospital, ITEM, REPAIR)
    outcome = hospital.run("check", str(hospital.config), "--json", config=False)
    numbers = {one["number"]: one["state"] for one in outcome.json["findings"]}
    assert (numbers["HL7-01"], numbers["HL7-03"]) == ("fail", "warn"), "months ago"
