"""`mssante check` tells delays of mailboxes that wait for a human."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from support.clispace import DOMAIN, Space

from mssante.cli.common import administer
from mssante.model.journal import JournalEvent, JournalKind


def vie(space: Space) -> dict[str, Any]:
    found = [one for one in space.run("check", str(space.config), "--json", config=False).json["findings"] if one["number"] == "VIE-01"]
    return found[0] if found else {}


def test_withheld_delays_are_told_until_they_were_accepted(space: Space) -> None:
    assert vie(space) == {}, "no database: nothing to tell"
    assert space.run("mailbox", "add", f"alice@{DOMAIN}").code == 0
    assert vie(space)["state"] == "ok"
    event = JournalEvent(JournalKind.LIFE_STOPPED, datetime(2026, 3, 2, tzinfo=UTC), "", "life", {"cause": "clock", "due_suspend": 7, "due_warn": 3})

    async def stop(admin: Any) -> None:
        await admin.stores.database.write(lambda tx: admin.stores.journal.append(tx, [event]))

    administer(space.config, stop)
    told = vie(space)
    assert told["state"] == "warn" and "7 boîte(s)" in told["seen"] and "--accept" in told["remedy"]
    assert space.run("life", "run", "--accept").code == 0
    assert vie(space)["state"] == "ok"
