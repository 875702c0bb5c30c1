"""The base of those who follow the journal: where it begins, what a crash repeats, who wins, what a fault costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.smtp_stage import SmtpStage, build

from mssante.errors import OperatorFault
from mssante.model.journal import JournalEvent, JournalKind
from mssante.services.journal_consumer import Ending, Following, JournalConsumer, Wanted, traces_of
from mssante.storage.interfaces import JournalRow, Tx

NAME = "essai"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


class Keeper(JournalConsumer[list[str]]):
    """Keeps what it saw; `fault` is raised once by `look`."""

    def __init__(self, stage: SmtpStage, *, batch: int = 3, forget: float = 0.0) -> None:
        super().__init__(Following(stage.stores, stage.clock, NAME, batch, 0.001, forget))
        self.seen: list[str] = []
        self.ended: list[str] = []
        self.told: list[str] = []
        self.faults: list[Exception] = []
        self.rounds = asyncio.Event()
        self.wanted: Wanted | None = Wanted()

    def wants(self, tx: Tx) -> Wanted | None:
        return self.wanted

    def gather(self, tx: Tx, rows: Sequence[JournalRow]) -> list[str]:
        return traces_of(rows, {JournalKind.RECEIVED.value})

    async def look(self, rows: Sequence[JournalRow], gathered: list[str]) -> Ending | None:
        if self.faults:
            raise self.faults.pop()
        self.seen += gathered
        return lambda tx: self.ended.extend(gathered)

    async def moved(self) -> None:
        self.told.append("moved")

    async def between(self) -> None:
        self.told.append("between")
        self.rounds.set()

    async def forget(self) -> None:
        self.told.append("forget")


async def put(stage: SmtpStage, *traces: str, kind: JournalKind = JournalKind.RECEIVED) -> None:
    events = [JournalEvent(kind, stage.clock.now(), one, "x@alpha.test", {}) for one in traces]
    await stage.stores.database.write(lambda tx: stage.stores.journal.append(tx, events))


async def place(stage: SmtpStage) -> int | None:
    return await stage.stores.database.read(lambda tx: stage.stores.cursors.get(tx, NAME))


async def end(stage: SmtpStage) -> int:
    return await stage.stores.database.read(stage.stores.journal.end)


async def test_it_begins_at_the_end_then_sees_each_event_once(stage: SmtpStage) -> None:
    await put(stage, "before")
    keeper = Keeper(stage)
    await keeper.open()
    assert await keeper.step() == 0
    await put(stage, "a", "b")
    await put(stage, "other", kind=JournalKind.RELAYED)
    await put(stage, "c")
    assert [await keeper.step(), await keeper.step(), await keeper.step()] == [3, 1, 0]
    assert keeper.seen == keeper.ended == ["a", "b", "c"]
    await put(stage, "d")
    again = Keeper(stage)
    await again.open()  # it stands where the other left
    assert await again.step() == 1
    assert again.seen == ["d"]


async def test_what_nobody_wants_is_passed_over_and_costs_no_commit_until_all_is_quiet(stage: SmtpStage) -> None:
    keeper = Keeper(stage)
    await keeper.open()
    before, keeper.wanted = await place(stage), None
    await put(stage, "a", "b")
    assert await keeper.step() > 0 and await place(stage) == before, "more may come: nothing is written"
    await put(stage, "c")
    assert await keeper.step() > 0 and await place(stage) == before
    assert await keeper.step() == 0 and await place(stage) == await end(stage), "nothing came: where it stands is written"
    keeper.wanted = Wanted(frozenset({JournalKind.RELAYED.value}))
    await put(stage, "d")
    await put(stage, "e", kind=JournalKind.RELAYED)
    keeper.seen.clear()
    assert await keeper.step() == 1 and await place(stage) == await end(stage)
    assert (keeper.seen, keeper.told) == ([], ["moved"]), "only what it wants was given to it"


async def test_a_stride_of_what_nobody_wants_moves_the_cursor(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mssante.services.journal_consumer.STRIDE", 2)
    keeper = Keeper(stage)
    await keeper.open()
    keeper.wanted = Wanted(frozenset({JournalKind.RELAYED.value}))
    await put(stage, "a", "b", "c")
    await put(stage, "d", kind=JournalKind.RELAYED)
    before = await place(stage) or 0
    assert await keeper.step() == 2 and await place(stage) == before + 2, "no step looks further, and each is written"
    assert await keeper.step() == 1 and await place(stage) == before + 4


async def test_where_another_process_stands_is_left(stage: SmtpStage) -> None:
    first, second = Keeper(stage), Keeper(stage)
    await first.open()
    first.wanted = None
    await put(stage, "a")
    await first.step()
    assert await second.step() == 1 and second.seen == ["a"]
    await first.step()
    assert await place(stage) == await end(stage)


async def test_a_fault_leaves_the_cursor_where_it_was(stage: SmtpStage) -> None:
    keeper = Keeper(stage)
    await keeper.open()
    await put(stage, "a", "b")
    before = await place(stage)
    keeper.faults.append(OperatorFault("full", rule="DOC-FILE"))
    with pytest.raises(OperatorFault):
        await keeper.step()
    assert (await place(stage), keeper.ended, keeper.told) == (before, [], [])
    assert await keeper.step() == 2
    assert (await place(stage), keeper.ended, keeper.told) == (await end(stage), ["a", "b"], ["moved"])


async def test_what_fails_at_the_end_moves_nothing(stage: SmtpStage) -> None:
    keeper = Keeper(stage)
    await keeper.open()
    await put(stage, "a")
    before = await place(stage)
    real = keeper.look

    async def spoilt(*arguments: Any) -> Ending:
        await real(*arguments)

        def ending(tx: Tx) -> None:
            raise OperatorFault("no room", rule="BASE-PLEINE")

        return ending

    keeper.look = spoilt  # type: ignore[method-assign]
    with pytest.raises(OperatorFault):
        await keeper.step()
    assert (await place(stage), keeper.told) == (before, [])


async def test_of_two_processes_one_ends_the_batch(stage: SmtpStage) -> None:
    first, second = Keeper(stage), Keeper(stage)
    await first.open()
    await put(stage, "a")
    real = first.look

    async def late(*arguments: Any) -> Ending | None:
        await second.step()
        return await real(*arguments)

    first.look = late  # type: ignore[method-assign]
    assert await first.step() == 1
    assert (first.seen, first.ended, first.told) == (["a"], [], [])
    assert (second.ended, second.told) == (["a"], ["moved"])


async def test_running_it_catches_up_survives_faults_and_forgets_at_times(stage: SmtpStage) -> None:
    keeper = Keeper(stage, forget=60.0)
    await keeper.open()
    await put(stage, *[f"t{rank}" for rank in range(8)])
    keeper.faults = [OperatorFault("full", rule="DOC-FILE"), ValueError("what somebody wrote")]
    task = asyncio.ensure_future(keeper.run())
    for _ in range(2):
        keeper.rounds.clear()
        await asyncio.wait_for(keeper.rounds.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert keeper.ended == [f"t{rank}" for rank in range(8)]
    assert keeper.told[:5] == ["moved"] * 3 + ["between", "forget"]
    assert keeper.told.count("forget") == 1
    assert task.cancelled()


async def test_the_base_alone_does_nothing(stage: SmtpStage) -> None:
    bare: JournalConsumer[None] = JournalConsumer(Following(stage.stores, stage.clock, NAME))
    await bare.open()
    assert await bare.step() == 0
    await bare.between()
    await bare.moved()
    await bare.forget()
    with pytest.raises(NotImplementedError):
        bare.gather(None, [])
    with pytest.raises(NotImplementedError):
        await bare.look([], None)
