"""`publication list|show|sweep|retry|reconcile`: what is wanted and what became of it, without a directory to talk to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.clispace import DOMAIN, Space
from support.storage_values import NOW

from mssante.app import open_storage
from mssante.config.load import load_config
from mssante.directory.values import Finding, Presence
from mssante.model.mailbox import MailboxType
from mssante.storage.interfaces import NewMailbox, Stores
from mssante.storage.publication import PublicationState

BOXES = {"per1": ("PER", "899700000011"), "org1": ("ORG", "1990000013"), "bad1": ("ORG", "")}


def with_stores(space: Space, unit: Any) -> Any:
    stores: Stores = open_storage(load_config(space.config))
    try:
        return asyncio.run(stores.database.write(lambda tx: unit(stores, tx)))
    finally:
        stores.close()


@pytest.fixture
def boxes(space: Space) -> Space:
    news = [NewMailbox(f"{name}@{DOMAIN}", MailboxType(kind), NOW, holder_id=holder) for name, (kind, holder) in BOXES.items()]
    with_stores(space, lambda stores, tx: stores.accounts.create_mailboxes(tx, news))
    return space


def test_what_is_wanted_is_told(boxes: Space) -> None:
    assert "aucune adresse" in boxes.run("publication", "list").out
    assert boxes.run("publication", "sweep", "--json").json == {"ok": True, "changed": 3}
    assert boxes.run("publication", "sweep", "--json").json["changed"] == 0
    document = boxes.run("publication", "list", "--json").json
    assert document["counts"] == {"due": 2, "held": 1}
    states = {one["address"].partition("@")[0]: (one["state"], one["error"].partition(":")[0]) for one in document["entries"]}
    assert states == {"bad1": ("held", "PUB-TITULAIRE"), "org1": ("due", ""), "per1": ("due", "")}
    told = boxes.run("publication", "list").out
    assert "à envoyer" in told and "attend quelqu'un" in told and "PUB-TITULAIRE" in told
    assert [one["address"] for one in boxes.run("publication", "list", "--state", "held", "--json").json["entries"]] == [f"bad1@{DOMAIN}"]
    assert boxes.run("publication", "list", "--state", "x").code == 1
    shown = boxes.run("publication", "show", f"ORG1@{DOMAIN}", "--json").json
    assert shown["wanted"]["carrier"] == "Organization" and shown["sent"] is None
    assert "Organization" in boxes.run("publication", "show", f"org1@{DOMAIN}").out
    assert "PUB-INCONNUE" in boxes.run("publication", "show", "nobody@x.fr").err


def test_what_waits_is_sent_again(boxes: Space) -> None:
    boxes.run("publication", "sweep")
    with_stores(boxes, lambda stores, tx: stores.publication.put(tx, [
        replace(row, state=PublicationState.HELD, attempts=7) for row in stores.publication.page(tx)]))
    assert boxes.run("publication", "retry", f"org1@{DOMAIN}", "--json").json["due"] == 1
    assert boxes.run("publication", "retry").code == 0
    assert boxes.run("publication", "list", "--json").json["counts"] == {"due": 2, "held": 1}
    assert "PUB-INCONNUE" in boxes.run("publication", "retry", "nobody@x.fr").err
    kinds = [one["kind"] for one in boxes.run("journal", "list", "--json").json["events"]]
    assert kinds.count("publication") == 3


def test_reconciliation_tells_and_mends(boxes: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes.run("publication", "sweep")
    with_stores(boxes, lambda stores, tx: stores.publication.put(tx, [
        replace(row, state=PublicationState.ACCEPTED, sent=row.wanted) for row in stores.publication.page(tx) if row.wanted]))

    class Empty:
        async def shown(self, address: str) -> Finding:
            return Finding(address, Presence.ABSENT)

    @asynccontextmanager
    async def open_desk(*given: object) -> Any:
        yield Empty()

    monkeypatch.setattr("mssante.topics.directory.open_desk", open_desk)
    found = boxes.run("publication", "reconcile", "--json")
    assert found.code == 3 and found.json["compared"] == 2
    assert {one["address"]: one["differences"] for one in found.json["differences"]} == {
        f"org1@{DOMAIN}": ["missing"], f"per1@{DOMAIN}": ["missing"]}
    assert "2 écart(s)" in boxes.run("publication", "reconcile", "--fix").out
    assert boxes.run("publication", "list", "--json").json["counts"] == {"due": 2, "held": 1}
    assert boxes.run("publication", "reconcile").code == 0
