"""When a deferred message is tried again, when its sender is told of the delay, when it is given up (spec §2.3 F2.18).

Guarantees
- Exponential back-off from 5 min to 4 h, jitter bounded and given by the caller, delay notice at 4 h, expiry at 48 h.
- Clock jumps do no harm (RELIABILITY W5): time alone never expires a message, it must also have been tried as often as
  the schedule tries within that time; an instant pushed too far by a jump back is pulled near by `clamp_due`.
- Attempts fall on the two marks (4 h, 48 h) so that notice and bounce leave on time without a timer of their own.

Never: reads a clock, draws a random number. Called by `services/relay.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """jitter 0.1: a delay varies by ±10 %. All spans positive."""

    first_delay: timedelta = timedelta(minutes=5)
    max_delay: timedelta = timedelta(hours=4)
    factor: float = 2.0
    jitter: float = 0.1
    notice_after: timedelta = timedelta(hours=4)
    expire_after: timedelta = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class Expired:
    """No further attempt: a failure report is due. waited: the time since the first attempt, never negative."""

    waited: timedelta


def base_delay(attempts: int, policy: RetryPolicy) -> timedelta:
    """Give the delay after attempt number `attempts` (1 or more) without jitter."""
    delay = policy.first_delay
    for _ in range(1, attempts):
        if delay >= policy.max_delay:
            break
        delay *= policy.factor
    return min(delay, policy.max_delay)


@lru_cache(maxsize=64)
def attempts_within(span: timedelta, policy: RetryPolicy) -> int:
    """Give how many attempts the slowest schedule makes from 0 to `span`, the one at 0 included."""
    attempts, at = 1, timedelta(0)
    while True:
        at += base_delay(attempts, policy) * (1 + policy.jitter)
        if at > span:
            return attempts
        attempts += 1


def next_attempt(attempts: int, first_at: datetime, *, now: datetime, policy: RetryPolicy, fraction: float = 0.5,
                 ) -> datetime | Expired:
    """Give when to try again after `attempts` attempts (1 or more, the last one just failed), or Expired.

    first_at: first attempt or acceptance; fraction: 0.0 to 1.0, a random draw of the caller (0.5 means no jitter).
    """
    waited = max(now - first_at, timedelta(0))
    if waited >= policy.expire_after and attempts >= attempts_within(policy.expire_after, policy):
        return Expired(waited)
    spread = 1 + policy.jitter * (2 * min(max(fraction, 0.0), 1.0) - 1)
    delay = base_delay(attempts, policy) * spread
    for mark in (policy.notice_after, policy.expire_after):
        left = mark - waited
        if policy.first_delay <= left < delay:  # never so near that it adds a burst
            return now + left
    return now + delay


def notice_due(attempts: int, first_at: datetime, *, now: datetime, policy: RetryPolicy) -> bool:
    """Tell whether the sender should now be told of the delay (NOTIFY=DELAY, RFC 3461 §4.1); once is the caller's care.

    Like expiry, it asks for the attempts that such a time implies, so that a jump of the clock alone tells nothing.
    """
    waited = now - first_at
    return waited >= policy.notice_after and attempts >= attempts_within(policy.notice_after, policy)


def clamp_due(due: datetime, *, now: datetime, policy: RetryPolicy) -> datetime:
    """Give `due`, or the latest instant that the schedule could have set from `now` when a clock jump put it beyond."""
    return min(due, now + policy.max_delay * (1 + policy.jitter))
