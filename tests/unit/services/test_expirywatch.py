"""The watcher of dates: one alarm a day for each, at once when it comes nearer, metrics, faults that stop nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from support.clock import FakeClock

from mssante.model.journal import JournalEvent, JournalKind
from mssante.observability.metrics import EXPIRY
from mssante.services import expirywatch
from mssante.services.expirywatch import ExpiryWatch
from mssante.trust.expiry import Expiry, What


class Notes:
    """The part of Evidence that the watcher uses."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.events: list[JournalEvent] = []

    def event(self, kind: JournalKind, subject: str, payload: dict[str, Any]) -> JournalEvent:
        return JournalEvent(kind, self._clock.now(), "", subject, payload)

    def write(self, event: JournalEvent) -> None:
        self.events.append(event)


def stage() -> tuple[ExpiryWatch, FakeClock, Notes, list[Expiry]]:
    clock = FakeClock()
    notes, dates = Notes(clock), [Expiry(What.OPERATOR, "mta.a.fr", clock.now() + timedelta(days=40), "mta.pem")]

    async def gather(now: datetime) -> Sequence[Expiry]:
        return list(dates)

    return ExpiryWatch(gather, notes, clock), clock, notes, dates  # type: ignore[arg-type]


async def test_an_alarm_a_day_and_at_each_level() -> None:
    watch, clock, notes, _ = stage()
    assert len(await watch.once()) == 1 and await watch.once() == []
    clock.advance(timedelta(hours=23))
    assert await watch.once() == []
    clock.advance(timedelta(hours=1))
    assert len(await watch.once()) == 1
    clock.advance(timedelta(days=9, hours=1))
    assert len(await watch.once()) == 1 and notes.events[-1].payload["level"] == "days_30"
    event = notes.events[-1]
    assert event.kind is JournalKind.EXPIRY_NEAR and event.subject == "mta.a.fr"
    assert event.payload["what"] == "operator" and event.payload["days"] == 29
    assert EXPIRY.labels("operator")._value.get() == pytest.approx(29.96 * 86400, abs=900)


async def test_a_renewed_date_is_quiet_and_a_clock_set_back_too() -> None:
    watch, clock, notes, dates = stage()
    await watch.once()
    dates[0] = Expiry(What.OPERATOR, "mta.a.fr", clock.now() + timedelta(days=1000))
    assert await watch.once() == []
    dates[0] = Expiry(What.OPERATOR, "mta.a.fr", clock.now() + timedelta(days=5))
    assert len(await watch.once()) == 1
    clock.set(clock.now() - timedelta(days=2))
    assert len(await watch.once()) <= 1 and len(notes.events) <= 3


async def test_a_fault_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = FakeClock(), []

    async def gather(now: datetime) -> Sequence[Expiry]:
        calls.append(now)
        if len(calls) < 3:
            raise OSError("gone")
        raise KeyboardInterrupt

    monkeypatch.setattr(expirywatch, "PERIOD_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        await ExpiryWatch(gather, Notes(clock), clock).run()  # type: ignore[arg-type]
    assert len(calls) == 3
