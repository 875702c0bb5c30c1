"""Guessing: places, networks, spraying, blocks that let one through, turns for hashes, and memory that stays small."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from support.clock import FakeClock

from mssante.services import guessing as module
from mssante.services.guessing import (
    ADDRESS_FAILURES,
    BLOCK_FACTOR,
    LOGIN_FAILURES,
    NETWORK_FAILURES,
    SPRAY_LOGINS,
    Guard,
    HashGate,
    origin_of,
)
from mssante.services.refusedlogins import RefusedLogins
from mssante.services.sasl import Caller, TryLater


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return delays


def at(address: str) -> Caller:
    return Caller(f"{address}:4000", "imap")


@pytest.mark.parametrize(("peer", "address", "network"), [
    ("192.0.2.77:1", "192.0.2.77", "192.0.2.0/24"), ("[2001:db8:1:2::9]:1", "2001:db8:1:2::/64", "2001:db8:1::/56"),
    ("2001:db8:1:ff::9:1", "2001:db8:1:ff::/64", "2001:db8:1::/56"), ("::ffff:192.0.2.77:1", "192.0.2.77", "192.0.2.0/24"),
    ("fe80::1%eth0:1", "fe80::/64", "fe80::/56"), ("nowhere:1", "nowhere", "nowhere"), ("", "", "")])
def test_where_a_caller_is(peer: str, address: str, network: str) -> None:
    found = origin_of(Caller(peer, "imap"))
    assert (found.address, found.network) == (address, network)


async def test_a_network_is_blocked_and_its_users_are_not(clock: FakeClock) -> None:
    guard = Guard(clock)
    guard.succeeded("claire@x", at("192.0.2.200"))
    for number in range(NETWORK_FAILURES * BLOCK_FACTOR):
        await guard.failed(f"nobody{number}", at(f"192.0.2.{number % 100}"))
    for _ in range(3):
        await guard.before("paul@x", at("192.0.2.150"))
    with pytest.raises(TryLater):
        await guard.before("paul@x", at("192.0.2.150"))
    await guard.before("claire@x", at("192.0.2.200"))
    await guard.before("claire@x", at("192.0.2.201"))
    await guard.before("paul@x", at("198.51.100.1"))
    clock.advance(timedelta(seconds=1))
    await guard.before("paul@x", at("192.0.2.150"))


async def test_a_login_guessed_from_everywhere(clock: FakeClock, slept: list[float]) -> None:
    guard = Guard(clock)
    guard.succeeded("claire@x", at("192.0.2.1"))
    for number in range(LOGIN_FAILURES * BLOCK_FACTOR):
        await guard.failed("claire@x", at(f"10.{number}.0.1"))
    slept.clear()
    await guard.before("claire@x", at("192.0.2.1"))
    assert slept == []
    for _ in range(3):
        await guard.before("claire@x", at("203.0.113.9"))
    with pytest.raises(TryLater):
        await guard.before("claire@x", at("203.0.113.10"))


async def test_a_place_is_no_excuse_for_a_guesser_in_it(clock: FakeClock) -> None:
    guard = Guard(clock)
    guard.succeeded("claire@x", at("192.0.2.1"))
    for _ in range(19):
        await guard.failed("claire@x", at("192.0.2.1"))
    assert guard.known("claire@x", at("192.0.2.1"))
    await guard.failed("claire@x", at("192.0.2.1"))
    assert not guard.known("claire@x", at("192.0.2.1")) and guard.known("claire@x", at("192.0.2.2"))
    guard.succeeded("claire@x", at("192.0.2.1"))
    assert guard.known("claire@x", at("192.0.2.1"))


async def test_one_password_on_many_logins_of_a_network(clock: FakeClock) -> None:
    guard = Guard(clock)
    for _ in range(100):
        await guard.failed("claire@x", at("192.0.2.1"), b"one old pw")
    await guard.before("paul@x", at("192.0.2.2"))
    for number in range(SPRAY_LOGINS - 1):
        await guard.failed(f"nobody{number}", at("192.0.2.3"), b"one old pw")
    for _ in range(3):
        await guard.before("paul@x", at("192.0.2.2"))
    with pytest.raises(TryLater):
        await guard.before("paul@x", at("192.0.2.2"))
    clock.advance(timedelta(minutes=16))
    await guard.before("paul@x", at("192.0.2.2"))


async def test_memory_is_bounded(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_FAILURES", "MAX_KEYS", "MAX_SPRAYS", "MAX_BUCKETS"):
        monkeypatch.setattr(module, name, 50)
    guard = Guard(clock)
    for number in range(300):
        caller = at(f"10.{number % 250}.{number // 250}.1")
        await guard.failed(f"nobody{number}", caller, bytes([number % 256]) * 8)
        guard.succeeded(f"somebody{number}", caller)
        guard._let_one("login", f"nobody{number}", 0.0)
    assert max(len(guard._failures), len(guard._places), len(guard._sprays), len(guard._buckets)) <= 50


async def test_not_everybody_may_sleep(clock: FakeClock, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SLEEPERS", 0)
    await Guard(clock).failed("x", at("192.0.2.1"))
    assert slept == []


# ---------------------------------------------------------------- turns


async def attack(guard: Guard) -> None:
    for number in range(61):
        await guard.failed(f"n{number}", at(f"10.0.{number}.1"))
    assert guard.attacked


async def test_known_places_go_first(clock: FakeClock) -> None:
    guard, order, release = Guard(clock), list[str](), asyncio.Event()
    gate = HashGate(guard)
    await attack(guard)

    async def work(name: str, *, known: bool) -> None:
        async with gate.turn(known=known):
            order.append(name)
            await release.wait()

    tasks = [asyncio.ensure_future(work(f"stranger{number}", known=False)) for number in range(5)]
    await asyncio.wait(tasks, timeout=0)
    assert order == ["stranger0"], "one at once during an attack"
    tasks += [asyncio.ensure_future(work(f"known{number}", known=True)) for number in range(3)]
    await asyncio.wait(tasks, timeout=0)
    assert order == ["stranger0", "known0", "known1"]
    release.set()
    await asyncio.gather(*tasks)
    assert order[3] == "known2" and order[4:] == [f"stranger{number}" for number in range(1, 5)]


async def test_too_many_strangers_are_told_to_come_back(clock: FakeClock) -> None:
    guard, release = Guard(clock), asyncio.Event()
    gate = HashGate(guard)
    await attack(guard)

    async def work() -> None:
        async with gate.turn(known=False):
            await release.wait()

    tasks = [asyncio.ensure_future(work()) for _ in range(module.ATTACK_QUEUE + 1)]
    await asyncio.wait(tasks, timeout=0)
    with pytest.raises(TryLater):
        async with gate.turn(known=False):
            pass
    async with gate.turn(known=True):
        pass
    tasks[3].cancel()
    await asyncio.wait([tasks[3]], timeout=1)
    release.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert gate._running == gate._strangers_running == 0
    async with gate.turn(known=False):
        assert gate._running == 1


async def test_a_cancelled_winner_hands_its_turn_on(clock: FakeClock) -> None:
    guard, release = Guard(clock), asyncio.Event()
    gate = HashGate(guard)
    await attack(guard)
    done: list[int] = []

    async def work(number: int) -> None:
        async with gate.turn(known=False):
            done.append(number)
            await release.wait()

    tasks = [asyncio.ensure_future(work(number)) for number in range(3)]
    await asyncio.wait(tasks, timeout=0)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]], timeout=0)
    tasks[1].cancel()  # woken or waiting, whichever
    release.set()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
    assert 2 in done


# ---------------------------------------------------------------- journal


def test_refusals_are_told_one_by_one_then_counted() -> None:
    book, singles = RefusedLogins(), 0
    for number in range(10_000):
        singles += book.single(f"n{number % 7}", at(f"10.0.{number % 3}.{number % 200}"), number / 1000)
    counts = book.take()
    assert 200 <= singles <= 260 and len(counts) == 3
    assert singles + sum(int(payload["count"] or 0) for _, payload in counts) == 10_000
    assert {network for network, _ in counts} == {"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"}
    assert all(payload["logins"] == 7 and payload["protocol"] == "imap" for _, payload in counts)
    assert book.take() == []


def test_the_count_is_bounded_and_truthful(monkeypatch: pytest.MonkeyPatch) -> None:
    book = RefusedLogins()
    singles = sum(book.single("x", at(f"10.{number // 250}.{number % 250}.1"), 0.0) for number in range(5_000))
    counts = book.take()
    assert len(counts) == 501 and dict(counts)["*"]["count"] == 5_000 - singles - 500


def test_ceilings_are_in_order() -> None:
    assert LOGIN_FAILURES < ADDRESS_FAILURES < NETWORK_FAILURES
