"""The pace of CRLs, their parts, and sources that hang, with a source that tests command and a clock by hand."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from support.clock import FakeClock
from support.pki import build_igc

from mssante.errors import MssFault, OperatorFault
from mssante.model.journal import JournalKind
from mssante.observability.metrics import REGISTRY
from mssante.services import crlkeeper
from mssante.services.crlkeeper import CrlKeeper, CrlSettings
from mssante.services.truststate import TrustSnapshot, TrustState
from mssante.trust.crl import CrlSet, RevocationStatus
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
IGC = build_igc()
ISSUER = IGC.organisations.certificate
ONE, TWO = "http://igc.test/1.crl", "http://igc.test/2.crl"
DEAD = OperatorFault("source could not be reached", rule="HTTP-UNREACHABLE")


@dataclass(frozen=True, slots=True)
class Given:
    """What a source answers."""

    body: bytes | None
    etag: str = ""


@dataclass(slots=True)
class Source:
    """Gives what was put; hangs where told."""

    answers: dict[str, bytes | MssFault] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def fetch(self, url: str, *, max_bytes: int, etag: str = "") -> Given:
        self.asked.append(url)
        if url in self.hangs:
            await asyncio.Event().wait()
        answer = self.answers.get(url, DEAD)
        if isinstance(answer, MssFault):
            raise answer
        return Given(answer)


class NoEvidence:
    """Takes the journal's events."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def event(self, *facts: Any) -> tuple[Any, ...]:
        return facts

    def write(self, event: tuple[Any, ...]) -> None:
        self.events.append(event)


class Stage:
    """A keeper of two addresses."""

    def __init__(self, folder: Path, executor: ThreadPoolExecutor, refresh: float = 3600.0) -> None:
        self.folder, self.clock, self.source, self.evidence = folder, FakeClock(NOW), Source(), NoEvidence()
        self.state = TrustState(TrustSnapshot(IGC.anchors, CrlSet(), PeerPolicy(), DnMode.CN_OU, timedelta(days=3)), self.clock)
        self.keeper = CrlKeeper(self.state, self.evidence, self.clock, executor, self.source,  # type: ignore[arg-type]
                                CrlSettings((ONE, TWO), folder, 1 << 20, refresh))

    def status(self, serial: int, *points: str) -> RevocationStatus:
        return self.state.snapshot.crls.status(serial, ISSUER, self.clock.now(), points=frozenset(points))

    def rules(self) -> list[str]:
        return [event[2]["rule"] for event in self.evidence.events if event[0] is JournalKind.CRL_REFUSED]


@pytest.fixture
def executor() -> Any:
    with ThreadPoolExecutor(1) as made:
        yield made


def part(url: str, revoked: list[int], **options: object) -> bytes:
    scope = x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url)], relative_name=None, only_contains_user_certs=True,
        only_contains_ca_certs=False, only_some_reasons=None, indirect_crl=False, only_contains_attribute_certs=False)
    return IGC.crl(revoked, extra=[(scope, True)], **options)  # type: ignore[arg-type]


async def test_parts_of_one_authority_are_kept_side_by_side_and_loaded_again(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    stage = Stage(tmp_path, executor)
    stage.source.answers = {ONE: part(ONE, [1]), TWO: part(TWO, [2])}
    await stage.keeper.refresh()
    for again in (stage, Stage(tmp_path, executor)):
        again.keeper.load_kept()
        assert again.status(1) is again.status(2) is RevocationStatus.REVOKED
        assert again.status(3, ONE) is again.status(3, TWO) is RevocationStatus.GOOD
        assert again.status(3, "http://igc.test/3.crl") is RevocationStatus.UNKNOWN
    adopted = [event for event in stage.evidence.events if event[0] is JournalKind.CRL_ADOPTED]
    assert [(event[1], event[2]["number"]) for event in adopted] == [(ONE, 1), (TWO, 1)]


async def test_a_part_past_its_time_rings_though_the_other_is_in_time(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    stage = Stage(tmp_path, executor)
    stage.source.answers = {ONE: part(ONE, [1], next_update=NOW + HOUR), TWO: part(TWO, [2])}
    await stage.keeper.refresh()
    stage.clock.advance(2 * HOUR)
    await stage.keeper.refresh()
    assert stage.rules() == ["CRL-EXPIREE"]
    assert [REGISTRY.get_sample_value("mssante_trust_alarm", {"source": name}) for name in ("crl0", "crl1")] == [1, 0]


async def test_an_address_that_hangs_holds_up_no_other(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    stage = Stage(tmp_path, executor)
    stage.source.hangs, stage.source.answers = {ONE}, {TWO: IGC.crl([2])}
    refreshing = asyncio.ensure_future(stage.keeper.refresh())
    while stage.status(2) is not RevocationStatus.REVOKED:
        await asyncio.sleep(0)
    assert not refreshing.done()
    refreshing.cancel()


def paced(monkeypatch: pytest.MonkeyPatch, rounds: int) -> list[float]:
    """Let the keeper's pauses pass at once; give where their lengths are noted; the loop ends after so many."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > rounds:
            raise asyncio.CancelledError

    monkeypatch.setattr(crlkeeper, "asyncio", type("Loop", (), {
        "sleep": staticmethod(sleep), "gather": asyncio.gather, "get_running_loop": asyncio.get_running_loop}))
    return pauses


async def follow(stage: Stage) -> None:
    with pytest.raises(asyncio.CancelledError):
        await stage.keeper._follow(stage.keeper._sources[0])


@pytest.mark.parametrize(("configured", "life", "expected"), [
    (3600.0, timedelta(hours=24), 3600.0), (3600.0, timedelta(hours=1), 1800.0), (3600.0, timedelta(seconds=1), 1.0),
    (2.0, timedelta(hours=24), 2.0)])
async def test_the_pace_is_the_configured_one_or_half_of_the_life(tmp_path: Path, executor: ThreadPoolExecutor,
                                                                  monkeypatch: pytest.MonkeyPatch, configured: float, life: timedelta,
                                                                  expected: float) -> None:
    stage = Stage(tmp_path, executor, configured)
    stage.source.answers = {ONE: IGC.crl(this_update=NOW, next_update=NOW + life)}
    pauses = paced(monkeypatch, 3)
    await follow(stage)
    assert pauses == [configured, expected, expected, expected]


async def test_a_failure_is_tried_again_soon_then_less_and_less(tmp_path: Path, executor: ThreadPoolExecutor,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, executor)
    pauses = paced(monkeypatch, 12)
    await follow(stage)
    assert pauses == [3600, 15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]
    assert stage.rules() == ["HTTP-UNREACHABLE"], "told once"


async def test_what_is_unforeseen_does_not_end_the_next_rounds(tmp_path: Path, executor: ThreadPoolExecutor,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, executor)
    monkeypatch.setattr(stage.source, "answers", None)
    pauses = paced(monkeypatch, 2)
    await follow(stage)
    assert pauses == [3600, 15, 30] and stage.source.asked == [ONE, ONE]


async def test_an_older_part_does_not_replace_the_one_in_force(tmp_path: Path, executor: ThreadPoolExecutor) -> None:
    stage = Stage(tmp_path, executor)
    stage.source.answers = {ONE: part(ONE, [1], number=5), TWO: part(TWO, [], number=1)}
    await stage.keeper.refresh()
    stage.source.answers[ONE] = part(ONE, [], number=4)
    await stage.keeper.refresh()
    assert stage.status(1, ONE) is RevocationStatus.REVOKED and stage.rules() == ["CRL-RECUL"]
