"""The doorbell: coalescing, unsubscribing, listeners that fail."""

from __future__ import annotations

import asyncio

import pytest

from mssante.services.doorbell import Doorbell, MailboxNews


async def test_rings_of_one_turn_are_one_call_with_the_highest_modseq() -> None:
    doorbell, heard = Doorbell(), list[int]()
    doorbell.subscribe(1, heard.append)
    for modseq in (3, 7, 5):
        doorbell.ring(1, modseq)
    doorbell.ring(2, 9)
    assert heard == []
    await asyncio.sleep(0)
    assert heard == [7]
    doorbell.ring(1, 8)
    await asyncio.sleep(0)
    assert heard == [7, 8]


async def test_unsubscribing_is_safe_twice_and_during_a_ring() -> None:
    doorbell, heard = Doorbell(), list[int]()
    end = doorbell.subscribe(1, heard.append)
    doorbell.ring(1, 3)
    end()
    end()
    await asyncio.sleep(0)
    assert heard == []
    assert doorbell.listeners(1) == 0


async def test_a_listener_that_fails_does_not_silence_the_others(caplog: pytest.LogCaptureFixture) -> None:
    doorbell, heard = Doorbell(), list[int]()

    def broken(modseq: int) -> None:
        raise RuntimeError("broken")

    doorbell.subscribe(1, broken)
    doorbell.subscribe(1, heard.append)
    doorbell.ring(1, 3)
    await asyncio.sleep(0)
    assert heard == [3]
    assert "doorbell listener failed" in caplog.text


def test_the_bell_of_a_mailbox_is_heard_at_once_by_those_who_watch_it(caplog: pytest.LogCaptureFixture) -> None:
    doorbell, heard = Doorbell(), list[MailboxNews]()

    def broken(news: MailboxNews) -> None:
        raise RuntimeError("broken")

    doorbell.watch_mailbox(1, broken)
    end = doorbell.watch_mailbox(1, heard.append)
    news = MailboxNews(1, ("/shared/comment",), folder_id=4)
    doorbell.ring_mailbox(news)
    doorbell.ring_mailbox(MailboxNews(2))
    assert heard == [news]
    assert "doorbell listener failed" in caplog.text
    end()
    end()
    doorbell.ring_mailbox(news)
    assert heard == [news]
