"""Correspondents and closed addresses: counted in memory, written once a minute, nothing of citizens, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.storage_values import make_mailboxes

from mssante.errors import OperatorFault
from mssante.model.outcome import Deferred, Delivered, Outcome, Refused
from mssante.services import exchangewatch
from mssante.services.exchangewatch import ExchangeWatch
from mssante.storage.exchanges import ClosedAddress, Exchange
from mssante.storage.interfaces import Stores
from mssante.storage.open import open_stores

B = "b@x.mssante.fr"
GONE = Refused("550 5.1.1 inconnue", "5.1.1", "mx.x.mssante.fr")


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    opened = open_stores(f"sqlite:///{tmp_path}/store.db", tmp_path / "blobs")
    yield opened
    opened.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watch(stores: Stores, clock: FakeClock) -> ExchangeWatch:
    return ExchangeWatch(stores, clock, lambda address: address.endswith("@patient.mssante.fr"))


async def closed(stores: Stores, address: str = B) -> ClosedAddress | None:
    return (await stores.database.read(lambda tx: stores.exchanges.closed(tx, [address]))).get(address)


async def test_exchanges_are_summed_and_written_together(watch: ExchangeWatch, stores: Stores, clock: FakeClock) -> None:
    first, second = [one.id for one in await make_mailboxes(stores, 2)]
    for _ in range(100):
        watch.sent(first, [B, "1850178000001@patient.mssante.fr", ""])
    watch.received([first, second, 0], B)
    assert await stores.database.read(lambda tx: stores.exchanges.correspondents(tx, first)) == []
    await watch.flush()
    assert await stores.database.read(lambda tx: stores.exchanges.correspondents(tx, first)) == [Exchange(first, B, 100, 1, clock.now())]
    assert await stores.database.read(lambda tx: stores.exchanges.correspondents(tx, second)) == [
        Exchange(second, B, 0, 1, clock.now())]
    await watch.flush()
    assert (await stores.database.read(lambda tx: stores.exchanges.correspondents(tx, first)))[0].sent == 100


@pytest.mark.parametrize(("outcome", "told"), [
    (GONE, True), (Refused("x", "5.2.1", "mx"), True), (Refused("x", "5.1.6", "mx"), True), (Refused("x", "5.7.1", "mx"), False),
    (Refused("x", "5.1.1", "mx", "RELAIS-EXPIRE"), False), (Refused("x", "5.1.1", ""), False), (Deferred("x", "mx"), False),
    (Delivered("250", "mx"), False)])
async def test_only_a_remote_word_closes(watch: ExchangeWatch, stores: Stores, outcome: Outcome, told: bool) -> None:
    watch.settled(B.upper(), outcome)
    assert (watch.closed_lately(B) is not None) is told
    await watch.flush()
    assert (await closed(stores) is not None) is told and watch.closed_lately(B) is None


async def test_a_message_taken_reopens_and_citizens_leave_nothing(watch: ExchangeWatch, stores: Stores) -> None:
    watch.settled(B, GONE)
    watch.settled("1850178000001@patient.mssante.fr", GONE)
    await watch.flush()
    assert await closed(stores) and not await closed(stores, "1850178000001@patient.mssante.fr")
    watch.settled(B, Delivered("250", "mx"))
    await watch.flush()
    assert await closed(stores) is None
    watch.settled(B, Delivered("250", "mx"))
    watch.settled(B, GONE)
    await watch.flush()
    assert await closed(stores)


async def test_what_waits_is_bounded(watch: ExchangeWatch, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchangewatch, "MAX_PENDING", 10)
    (box,) = await make_mailboxes(stores)
    watch.sent(box.id, [f"{rank}@x.fr" for rank in range(50)])
    for rank in range(50):
        watch.settled(f"{rank}@x.fr", GONE)
    await watch.flush()
    assert len(await stores.database.read(lambda tx: stores.exchanges.correspondents(tx, box.id))) == 10
    assert await closed(stores, "9@x.fr") and not await closed(stores, "11@x.fr")


async def test_a_store_that_fails_stops_nothing(watch: ExchangeWatch, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise OperatorFault("disk")

    watch.settled(B, GONE)
    with monkeypatch.context() as broken:
        broken.setattr(stores.database, "write", fails)
        with pytest.raises(OperatorFault):
            await watch.flush()
    assert watch.closed_lately(B) is not None
    await watch.flush()
    assert await closed(stores)
