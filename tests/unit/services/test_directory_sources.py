"""Remote sources: lifetimes of kept answers, shared questions, silence told apart from absence, certificates."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.clock import FakeClock

from mssante.directory.values import DirectoryEntry, Presence, Source
from mssante.errors import OperatorFault
from mssante.services import directory_sources
from mssante.services.directory_sources import LateCertificates, Lifetimes, RemoteDesk, RemoteSources, SourceAnswer, finding_of
from mssante.storage.remotecache import KeptAnswer
from mssante.storage.sql.remotecache import SqliteAnswerCache

A = "a@x.mssante.fr"
ENTRY = DirectoryEntry(A, "PER", family_name="EXEMPLE", lines=("1 RUE",), red_listed=False, rank=2, source=Source.FHIR)
LIVES = Lifetimes(timedelta(hours=24), timedelta(hours=1), timedelta(days=30))


@dataclass
class Box:
    entry: DirectoryEntry
    certificates: tuple[bytes, ...] = ()


class Client:
    """A source that tests command."""

    def __init__(self, *boxes: Box) -> None:
        self.boxes = list(boxes)
        self.asked: list[str] = []
        self.fault: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.closed = False

    async def find(self, address: str) -> list[Box]:
        self.asked.append(address)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return [one for one in self.boxes if one.entry.address == address]

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def client() -> Client:
    return Client(Box(ENTRY, (b"der",)))


@pytest.fixture
async def sources(client: Client, clock: FakeClock, tmp_path: Path) -> AsyncIterator[RemoteSources]:
    made = RemoteSources({Source.FHIR: client}, SqliteAnswerCache(tmp_path / "c.db", 1000), clock, LIVES)
    yield made
    await made.close()
    assert client.closed


async def test_an_answer_serves_for_its_lifetime_and_tells_its_age(sources: RemoteSources, client: Client, clock: FakeClock) -> None:
    (first,) = await sources.answers(A.upper())
    assert first == SourceAnswer(Source.FHIR, (ENTRY,), (b"der",), clock.now(), fresh=True)
    clock.advance(timedelta(hours=23))
    (kept,) = await sources.answers(A)
    assert kept == first and client.asked == [A]
    clock.advance(timedelta(hours=2))
    (again,) = await sources.answers(A)
    assert again.at == clock.now() and len(client.asked) == 2
    await sources.answers(A, renew=True)
    assert len(client.asked) == 3


async def test_absence_is_kept_for_less_long(sources: RemoteSources, client: Client, clock: FakeClock) -> None:
    await sources.answers("b@x.mssante.fr")
    clock.advance(timedelta(minutes=59))
    (kept,) = await sources.answers("b@x.mssante.fr")
    assert not kept.entries and kept.fresh and len(client.asked) == 1
    clock.advance(timedelta(minutes=2))
    await sources.answers("b@x.mssante.fr")
    assert len(client.asked) == 2


@pytest.mark.parametrize(("fault", "rule"), [
    (OperatorFault("x", rule="ANNUAIRE-INJOIGNABLE"), "ANNUAIRE-INJOIGNABLE"), (RuntimeError("bug"), "ANNUAIRE-INCIDENT")])
async def test_a_silent_source_is_replaced_by_its_last_words_up_to_their_end(
        sources: RemoteSources, client: Client, clock: FakeClock, fault: Exception, rule: str) -> None:
    began = clock.now()
    await sources.answers(A)
    client.fault = fault
    clock.advance(timedelta(days=29))
    (stale,) = await sources.answers(A)
    assert stale.entries == (ENTRY,) and stale.at == began and not stale.fresh and stale.rule == rule
    clock.advance(timedelta(days=2))
    (silent,) = await sources.answers(A)
    assert silent == SourceAnswer(Source.FHIR, rule=rule)


async def test_a_question_is_shared_and_outlives_who_stops_waiting(sources: RemoteSources, client: Client) -> None:
    client.gate = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await sources.answers(A)
    waiting = [asyncio.ensure_future(sources.answers(A)) for _ in range(5)]
    await asyncio.sleep(0)
    client.gate.set()
    told = await asyncio.gather(*waiting)
    assert client.asked == [A] and all(one[0].entries == (ENTRY,) for one in told)
    assert (await sources.answers(A))[0].fresh and client.asked == [A]


async def test_questions_at_once_are_bounded(sources: RemoteSources, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_sources, "MAX_QUESTIONS", 2)
    client.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(sources.answers(f"{rank}@x.mssante.fr")) for rank in range(2)]
    while len(client.asked) < 2:
        await asyncio.sleep(0.01)
    assert (await sources.answers(A))[0].rule == "ANNUAIRE-OCCUPE"
    client.gate.set()
    await asyncio.gather(*waiting)


class BrokenCache:
    def get(self, source: str, address: str) -> KeptAnswer | None:
        raise OperatorFault("x", rule="ANNUAIRE-CACHE")

    def put(self, source: str, address: str, answer: KeptAnswer) -> None:
        raise OperatorFault("x", rule="ANNUAIRE-CACHE")

    def close(self) -> None: ...


class OddCache(BrokenCache):
    def __init__(self, document: str, clock: FakeClock) -> None:
        self.document, self.clock = document, clock

    def get(self, source: str, address: str) -> KeptAnswer | None:
        return KeptAnswer(True, self.document, self.clock.now())


async def test_a_broken_cache_costs_questions_only(client: Client, clock: FakeClock) -> None:
    for cache in (BrokenCache(), *(OddCache(text, clock) for text in (
            "", "[]", "{", '{"entries": 3}', '{"entries": [3], "certificates": []}', '{"entries": [{"source": "x"}], "certificates": []}'))):
        (told,) = await RemoteSources({Source.FHIR: client}, cache, clock, LIVES).answers(A)
        assert told.entries == (ENTRY,) and told.fresh


async def test_certificates_are_given_while_fresh(sources: RemoteSources, client: Client, clock: FakeClock) -> None:
    late = LateCertificates()
    assert await late.certificates_of([A]) == {}
    late.sources = sources
    assert await late.certificates_of([A, "b@x.mssante.fr"]) == {A: (b"der",)}
    client.fault = OperatorFault("x", rule="ANNUAIRE-INJOIGNABLE")
    clock.advance(timedelta(hours=25))
    assert await late.certificates_of([A]) == {}


FRESH = SourceAnswer(Source.FHIR, at=FakeClock().now(), fresh=True)


@pytest.mark.parametrize(("answers", "presence"), [
    ((), Presence.UNKNOWN), ((FRESH,), Presence.ABSENT), ((SourceAnswer(Source.FHIR),), Presence.UNKNOWN),
    ((FRESH, SourceAnswer(Source.LDAP, rule="ANNUAIRE-TARD")), Presence.UNKNOWN), ((replace(FRESH, fresh=False),), Presence.UNKNOWN),
    ((FRESH, replace(FRESH, source=Source.LDAP, entries=(ENTRY,), fresh=False)), Presence.PUBLISHED),
    ((replace(FRESH, entries=(replace(ENTRY, red_listed=True),)),), Presence.RED_LISTED)])
def test_answers_are_joined(answers: tuple[SourceAnswer, ...], presence: Presence) -> None:
    found = finding_of(A, answers)
    assert found.presence is presence and bool(found.entries) == (presence is Presence.PUBLISHED)


async def test_the_desk_without_a_mirror_asks_when_told_to(sources: RemoteSources, client: Client) -> None:
    desk = RemoteDesk(sources)
    assert (await desk.find(A)).presence is Presence.UNKNOWN and client.asked == []
    assert (await desk.find(A, ask=True)).presence is Presence.PUBLISHED
