"""`hold list|add|release`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.clispace import Space
from support.storage_values import accept, queued

from mssante.app import open_storage
from mssante.config.load import load_config
from mssante.model.hold import Hold, HoldCause
from mssante.storage.interfaces import Stores

NOW = datetime.now(UTC).replace(microsecond=0)


def with_stores(space: Space, action: Callable[[Stores], Any]) -> Any:
    stores = open_storage(load_config(space.config))
    try:
        return asyncio.run(action(stores))
    finally:
        stores.close()


def test_add_list_release_by_hand(space: Space) -> None:
    assert "aucune retenue" in space.run("hold", "list").out
    added = space.run("hold", "add", "-d", "B.mssante.test", "--hours", "2", "--note", "maintenance", "--json")
    assert added.code == 0 and added.json["hold"]["domain"] == "b.mssante.test", added.err
    assert "RETENUE-EXISTE" in space.run("hold", "add", "-d", "b.mssante.test").err
    with_stores(space, lambda stores: accept(stores, queued("a@b.mssante.test", "c@b.mssante.test", "d@c.fr")))
    (hold,) = space.run("hold", "list", "--json").json["holds"]
    assert (hold["cause"], hold["recipients"], hold["active"], hold["automatic"], hold["note"]) == (
        "manual", 2, True, False, "maintenance")
    assert hold["who"] and hold["released_by"] and hold["why"]
    told = space.run("hold", "list").out
    assert "b.mssante.test" in told and "qui agit" in told
    released = space.run("hold", "release", "--domain", "b.mssante.test", "--json").json["released"]
    assert released == [{"cause": "manual", "domain": "b.mssante.test", "recipients": 2}]
    assert space.run("hold", "list", "--json").json["holds"] == []
    kinds = [one["kind"] for one in space.run("journal", "list", "--json").json["events"]]
    assert kinds.count("hold_started") == 1 and kinds.count("hold_ended") == 1


def test_an_automatic_hold_released_by_hand_stays_spent(space: Space) -> None:
    hold = Hold(HoldCause.LIST_TOO_OLD, "", NOW, NOW + timedelta(hours=96))
    with_stores(space, lambda stores: stores.database.write(lambda tx: stores.holds.put(tx, hold)))
    assert space.run("hold", "release", "--cause", "list-too-old").code == 0
    (found,) = space.run("hold", "list", "--json").json["holds"]
    assert found["active"] is False and "liberee a la main" in found["note"]
    assert "1 retenue(s) à leur limite" in space.run("hold", "list").out


@pytest.mark.parametrize(("words", "code"), [
    (("add",), 2), (("add", "--all", "-d", "a.fr"), 2), (("release",), 2), (("release", "--cause", "x"), 2),
    (("release", "-d", "absent.fr"), 1), (("release", "--all"), 0), (("add", "-d", "..."), 1)])
def test_what_is_asked_wrongly(space: Space, words: tuple[str, ...], code: int) -> None:
    assert space.run("hold", *words).code == code


def test_check_tells_what_is_held(space: Space) -> None:
    space.run("hold", "add", "--all")
    found = space.run("check", str(space.config), "--json", config=False).json["findings"]
    (finding,) = [one for one in found if one["number"] == "RETENUE-01"]
    assert finding["state"] == "warn" and "manual" in finding["seen"] and "mssante hold" in finding["remedy"]
