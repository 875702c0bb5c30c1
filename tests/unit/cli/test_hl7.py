"""`hl7 queue` and `hl7 repair`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support.clispace import Space

from mssante.app import open_storage
from mssante.config.load import load_config
from mssante.storage.interfaces import Stores
from mssante.storage.interfacing import OPEN, OutboxItem, RepairItem

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def with_stores(space: Space, action: Callable[[Stores], Any]) -> Any:
    stores = open_storage(load_config(space.config))
    try:
        return asyncio.run(action(stores))
    finally:
        stores.close()


def put(space: Space) -> int:
    def unit(stores: Stores) -> Any:
        return stores.database.write(lambda tx: (
            stores.interfacing.put(tx, OutboxItem("dpi", "mdm", "C1", "mdm 7/1", b"SECRET", 3, 7, "T" * 26, NOW, NOW)),
            stores.interfacing.add_repair(tx, RepairItem("dpi", 3, 7, "T" * 26, "203", "AE 203", OPEN, NOW, NOW)))[1])

    return int(with_stores(space, unit))


def test_the_queue_is_shown_without_content(space: Space) -> None:
    assert "aucun message" in space.run("hl7", "queue").out
    put(space)
    (found,) = space.run("hl7", "queue", "--json").json["messages"]
    assert (found["application"], found["kind"], found["state"], found["control_id"]) == ("dpi", "mdm", "waiting", "C1")
    assert "C1" in space.run("hl7", "queue", "-a", "dpi", "--state", "waiting").out
    assert space.run("hl7", "queue", "-a", "ris", "--json").json["messages"] == []
    assert "SECRET" not in space.run("hl7", "queue").out


def test_a_repair_from_list_to_close(space: Space) -> None:
    assert "aucune reprise" in space.run("hl7", "repair", "list").out
    number = put(space)
    assert "AE 203" in space.run("hl7", "repair", "list").out
    shown = space.run("hl7", "repair", "show", str(number), "--json").json
    assert shown["repair"]["code"] == "203" and [one["control_id"] for one in shown["messages"]] == ["C1"]
    assert "mssante trace" in space.run("hl7", "repair", "show", str(number)).out
    retried = space.run("hl7", "repair", "retry", str(number), "--by", "anne", "--note", "version corrigée", "--json").json["repair"]
    assert (retried["state"], retried["by"], retried["note"]) == ("retried", "anne", "version corrigée")
    refused = space.run("hl7", "repair", "retry", str(number))
    assert refused.code == 1 and "REPRISE-FERMEE" in refused.err
    assert space.run("hl7", "repair", "list", "--json").json["repairs"] == []
    assert len(space.run("hl7", "repair", "list", "--all", "--json").json["repairs"]) == 1
    kinds = [one["kind"] for one in space.run("journal", "list", "--json").json["events"]]
    assert kinds.count("interface_repair") == 1


@pytest.mark.parametrize(("words", "state", "code"), [((), "closed", "203"), (("--code", "904"), "told", "904")])
def test_closing_with_or_without_a_word_to_the_sender(space: Space, words: tuple[str, ...], state: str, code: str) -> None:
    number = put(space)
    closed = space.run("hl7", "repair", "close", str(number), *words, "--json").json["repair"]
    assert (closed["state"], closed["code"]) == (state, code)


def test_wrong_usage(space: Space) -> None:
    for words, code in ((("repair", "show", "99"), 1), (("repair", "retry", "99"), 1), (("repair", "close", "99"), 1),
                        (("repair", "close", "1", "--code", "207"), 2), (("repair", "list", "--state", "x"), 2), (("repair",), 2)):
        assert space.run("hl7", *words).code == code, words
