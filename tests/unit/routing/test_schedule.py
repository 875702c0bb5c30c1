"""Retry schedule as arithmetic: spans, marks, expiry, clock jumps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mssante.routing.schedule import (
    Expired,
    RetryPolicy,
    attempts_within,
    base_delay,
    clamp_due,
    next_attempt,
    notice_due,
)

START = datetime(2026, 3, 28, 20, tzinfo=UTC)
POLICY = RetryPolicy()
PLAIN = RetryPolicy(jitter=0.0)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def run(policy: RetryPolicy, fraction: float) -> tuple[list[timedelta], Expired, timedelta | None]:
    """Play a message that never gets through; give the instants of its attempts, its end, when notice was due."""
    now, attempts, instants = START, 0, []
    noticed: timedelta | None = None
    while True:
        attempts += 1
        instants.append(now - START)
        if noticed is None and notice_due(attempts, START, now=now, policy=policy):
            noticed = now - START
        found = next_attempt(attempts, START, now=now, policy=policy, fraction=fraction)
        if isinstance(found, Expired):
            return instants, found, noticed
        assert now < found
        now = found


def test_delays_double_from_5_minutes_to_4_hours() -> None:
    minutes = [base_delay(n, POLICY) // MINUTE for n in range(1, 10)]
    assert minutes == [5, 10, 20, 40, 80, 160, 240, 240, 240]
    assert base_delay(10_000, POLICY) == 4 * HOUR


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("policy", [POLICY, PLAIN, RetryPolicy(jitter=0.3)])
def test_a_dead_destination_gets_notice_at_4_hours_and_expires_at_48(policy: RetryPolicy, fraction: float) -> None:
    instants, expired, noticed = run(policy, fraction)
    assert noticed is not None
    assert 4 * HOUR <= noticed <= 4 * HOUR + 10 * MINUTE
    assert 48 * HOUR <= expired.waited <= 48 * HOUR + 10 * MINUTE
    assert 15 <= len(instants) <= 24


@pytest.mark.parametrize(("fraction", "minutes"), [(0.0, 4.5), (0.5, 5.0), (1.0, 5.5), (-3.0, 4.5), (9.0, 5.5)])
def test_jitter_is_bounded(fraction: float, minutes: float) -> None:
    found = next_attempt(1, START, now=START, policy=POLICY, fraction=fraction)
    assert found == START + timedelta(minutes=minutes)


@pytest.mark.parametrize("days", [1, 2, 30])
def test_forward_jump_does_not_bounce_early(days: int) -> None:
    now = START + 10 * MINUTE + timedelta(days=days)
    found = next_attempt(2, START, now=now, policy=POLICY)
    assert isinstance(found, datetime)
    assert now < found <= now + timedelta(minutes=11)
    assert not notice_due(2, START, now=now, policy=POLICY)


def test_a_day_forward_at_24_hours_leaves_the_rest_of_the_attempts() -> None:
    attempts = attempts_within(24 * HOUR, POLICY)
    assert isinstance(next_attempt(attempts, START, now=START + 48 * HOUR, policy=POLICY), datetime)
    assert attempts < attempts_within(48 * HOUR, POLICY)


def test_backward_jump_keeps_the_step_and_never_gives_the_past() -> None:
    now = START - timedelta(days=1)
    assert next_attempt(3, START, now=now, policy=PLAIN) == now + timedelta(minutes=20)


def test_an_instant_pushed_away_by_a_jump_is_pulled_near() -> None:
    assert clamp_due(START + 24 * HOUR, now=START, policy=PLAIN) == START + 4 * HOUR
    assert clamp_due(START + HOUR, now=START, policy=PLAIN) == START + HOUR
    assert clamp_due(START - HOUR, now=START, policy=PLAIN) == START - HOUR


def test_long_downtime_still_tries_before_it_bounces() -> None:
    found = next_attempt(1, START, now=START + 72 * HOUR, policy=POLICY)
    assert isinstance(found, datetime)


def test_expiry_needs_both_time_and_attempts() -> None:
    enough = attempts_within(48 * HOUR, POLICY)
    assert isinstance(next_attempt(enough + 50, START, now=START + 47 * HOUR, policy=POLICY), datetime)
    assert next_attempt(enough, START, now=START + 48 * HOUR, policy=POLICY) == Expired(48 * HOUR)
