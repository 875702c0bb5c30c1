"""`search rebuild`, `search index`, `search status`: facts, faults, JSON; beside a mailbox that has mail."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path
from typing import Any

import pytest
from support.clispace import Space, mode
from support.imap_stage import simple

BOX = "claire@alpha.mssante.test"


@pytest.fixture
def boxes(space: Space, typed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Space:
    """Two mailboxes, two messages in the first one; the priority and the memory of the tests' process stay."""
    monkeypatch.setattr(os, "nice", lambda value: None)
    monkeypatch.setattr(resource, "setrlimit", lambda what, value: None)
    for address in (BOX, "denis@alpha.mssante.test"):
        assert space.run("mailbox", "add", address).code == 0
    folder = tmp_path / "mail"
    for name in ("cur", "new", "tmp"):
        (folder / name).mkdir(parents=True)
    for number in (1, 2):
        (folder / "new" / f"{number}.x").write_bytes(simple(f"Sujet {number}", "a@b.fr", "Fracture du tibia").replace(b"@example", b"%d@x" % number))
    assert space.run("mailbox", "import", BOX, "--maildir", str(folder)).code == 0
    return space


def test_index_then_status(boxes: Space) -> None:
    assert boxes.run("search", "status", "--json").json == {"ok": True, "lag": 2}
    assert boxes.run("search", "index", "--json").json == {"ok": True, "added": 2, "removed": 0}
    assert boxes.run("search", "status").out.strip() == "messages à indexer : 0"
    assert boxes.run("search", "index", "--sweep", "--json").json == {"ok": True, "added": 0, "removed": 0}
    folder = boxes.root / "data" / "search"
    assert mode(folder) == 0o700 and all(mode(path) == 0o600 for path in folder.iterdir())


def test_rebuild(boxes: Space) -> None:
    done = boxes.run("search", "rebuild", BOX.upper(), "--json").json
    assert (done["ok"], done["messages"]) == (True, 2)
    assert done["mailboxes"][0]["address"] == BOX and done["mailboxes"][0]["index_octets"] > 0
    assert boxes.run("search", "rebuild", "--all", "--json").json["messages"] == 2
    told = boxes.run("--lang", "en", "search", "rebuild", "--all")
    assert told.code == 0 and "2 messages indexed" in told.out and BOX in told.out


def test_faults(boxes: Space) -> None:
    assert boxes.run("search", "rebuild").code == 2
    assert boxes.run("search", "rebuild", BOX, "--all").code == 2
    unknown = boxes.run("search", "rebuild", "nobody@alpha.mssante.test")
    assert unknown.code == 1 and "BAL-INCONNUE" in unknown.err
    boxes.change("[trust]", "[search]\nenabled = false\n[trust]")
    off = boxes.run("search", "status", "--json")
    assert off.code == 1 and "INDEX-OFF" in off.err


def test_progress_is_for_a_terminal(boxes: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert "tibia" not in boxes.run("search", "rebuild", BOX).err


def test_the_feeder_starts_the_indexer_and_knows_when_it_is_done(boxes: Space) -> None:
    from mssante.app import open_storage
    from mssante.clock import SystemClock
    from mssante.config.load import load_config
    from mssante.observability.metrics import INDEX_LAG
    from mssante.search_setup import IndexFeeder, text_index

    boxes.change("[trust]", "[search]\nlinger_seconds = 0\n[trust]")
    config = load_config(boxes.config)

    async def feed() -> list[float]:
        stores, index = open_storage(config), text_index(config)
        assert index is not None
        feeder = IndexFeeder(config, stores, index, SystemClock())
        lags = []
        try:
            await feeder.once()
            lags.append(INDEX_LAG._value.get())
            assert feeder._process is not None
            assert await feeder._process.wait() == 0
            await feeder.once()
            lags.append(INDEX_LAG._value.get())
            assert feeder._process is None  # nothing to do any more
        finally:
            index.close()
            stores.close()
        return lags

    assert asyncio.run(feed()) == [2.0, 0.0]


def test_an_indexer_that_fails_is_tried_again_later(boxes: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    from mssante import search_setup
    from mssante.app import open_storage
    from mssante.clock import SystemClock
    from mssante.config.load import load_config

    monkeypatch.setattr(search_setup.sys, "executable", "/bin/false")
    config = load_config(boxes.config)

    async def feed() -> None:
        stores, index = open_storage(config), search_setup.text_index(config)
        assert index is not None
        feeder = search_setup.IndexFeeder(config, stores, index, SystemClock())
        await feeder.once()
        assert feeder._process is not None
        await feeder._process.wait()
        await feeder.once()
        assert feeder._process is None and feeder._not_before > SystemClock().monotonic()
        task = asyncio.ensure_future(feeder.run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        index.close()
        stores.close()

    asyncio.run(feed())


def test_the_indexer_leaves_when_its_server_is_gone(boxes: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    from mssante.cli import search

    parents = iter([10, 10, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(search, "LOOK_SECONDS", 0.0)
    assert boxes.run("search", "index", "--linger", "1000", "--json").json["added"] == 2
    assert list(parents) == []


def test_the_indexer_of_a_server_that_was_killed_meanwhile_does_nothing(boxes: Space) -> None:
    """Thirty `kill -9` in a row left thirty indexers, each at the same work."""
    away = str(2 ** 31 - 1)
    assert boxes.run("search", "index", "--linger", "1000", "--server", away, "--json").json["added"] == 0
    assert boxes.run("search", "index", "--linger", "0", "--server", str(os.getppid()), "--json").json["added"] == 2


def test_the_indexer_rests_while_its_server_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    from mssante.cli import search

    used, now = [10.0], [100.0]
    monkeypatch.setattr(search.Courtesy, "_used", lambda self: used[0])
    monkeypatch.setattr(search.time, "monotonic", lambda: now[0])
    courtesy = search.Courtesy(1)
    used[0], now[0] = 10.9, 101.0  # 0.9 of a core since the last batch
    assert courtesy.rest(0.1) == pytest.approx(0.1 * 16)
    used[0], now[0] = 11.3, 102.0  # 0.4 of a core
    assert courtesy.rest(0.1) == pytest.approx(0.1 * 4)
    now[0] = 103.0  # idle since
    assert courtesy.rest(0.1) == 0.0
    used[0], now[0] = 12.5, 103.5
    assert courtesy.rest(60.0) == search.LONGEST_REST
    used[0], now[0] = -1.0, 104.0  # the server is gone, or nothing tells
    assert courtesy.rest(0.1) == 0.0


@pytest.mark.parametrize(("busy_seconds", "waited"), [(0, 1), (3, 4), (1000, 10)])
async def test_the_indexer_lets_a_burst_pass_but_not_for_ever(monkeypatch: pytest.MonkeyPatch, busy_seconds: int, waited: int) -> None:
    from mssante.cli import search

    now = [100.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(search.Courtesy, "_used", lambda self: min(now[0], 100.0 + busy_seconds))  # a whole core, then nothing
    monkeypatch.setattr(search.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(search.asyncio, "sleep", sleep)
    await search.Courtesy(1).turn()
    assert now[0] == 100.0 + waited and search.PATIENCE_SECONDS == 10


def test_processor_time_of_a_process_is_read() -> None:
    from mssante.cli.search import Courtesy

    assert Courtesy(os.getpid())._used() > 0 and Courtesy(2 ** 31 - 1)._used() == -1.0
