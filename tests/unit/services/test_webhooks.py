"""Webhooks: what may be called, how it is signed, what is repeated, stopped, told again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.storage_values import make_mailboxes

from mssante.errors import InputFault
from mssante.services.webhooks import DELAYS, MAX_FAILURES, PAUSE_SECONDS, Told, Webhooks, WebhookSender, checked_url, signature
from mssante.storage.interfaces import Stores
from mssante.storage.open import open_stores
from mssante.storage.webhooks import Webhook, WebhookEvent

HOSTS = ("dpi.test", "autre.test:8443", "10.0.0.5")
URL = "https://dpi.test/mss?x=1"


class Poster:
    """Answers what it is told, remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Told] = []
        self.posts: list[tuple[str, dict[str, str], bytes]] = []

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Told:
        self.posts.append((url, headers, body))
        return self.answers.pop(0) if self.answers else Told(200)


class Stage:
    def __init__(self, stores: Stores) -> None:
        self.stores, self.clock, self.poster = stores, FakeClock(), Poster()
        self.hooks = Webhooks(stores, self.clock, b"s" * 32, HOSTS)
        self.sender = WebhookSender(stores, self.clock, self.hooks, self.poster)

    async def put(self, hook: Webhook, *names: str) -> None:
        now = self.clock.now()
        await self.stores.database.write(lambda tx: self.stores.webhooks.add_events(tx, [
            WebhookEvent(hook.id, name, "document.read", f'{{"id":"{name}"}}', now, now) for name in names]))

    async def events(self, hook: Webhook) -> list[WebhookEvent]:
        return await self.stores.database.read(lambda tx: self.stores.webhooks.events(tx, hook.id))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = Stage(open_stores(f"sqlite:///{tmp_path}/a.db", tmp_path / "blobs"))
    await make_mailboxes(made.stores, 2)
    yield made
    made.stores.close()


@pytest.mark.parametrize("url", [URL, "https://DPI.test:443/", "https://dpi.test", "https://autre.test:8443/x", "https://10.0.0.5/"])
def test_what_may_be_called(url: str) -> None:
    assert checked_url(url, HOSTS) == url


@pytest.mark.parametrize(("url", "rule"), [
    ("http://dpi.test/", "WEBHOOK-URL"), ("https://u:p@dpi.test/", "WEBHOOK-URL"), ("https://dpi.test/#f", "WEBHOOK-URL"),
    ("https://dpi.test\\@evil.test/", "WEBHOOK-URL"), ("https://dpi.test:99999/", "WEBHOOK-URL"), ("https:///x", "WEBHOOK-URL"),
    ("ftp://dpi.test/", "WEBHOOK-URL"), ("https://dpi.test/ x", "WEBHOOK-URL"), ("https://dpi.test/" + "x" * 1000, "WEBHOOK-URL"),
    ("https://evil.test/", "WEBHOOK-HOTE"), ("https://dpi.test.evil.test/", "WEBHOOK-HOTE"), ("https://autre.test/", "WEBHOOK-HOTE"),
    ("https://dpi.test:8443/", "WEBHOOK-HOTE"), ("https://127.0.0.1/", "WEBHOOK-HOTE"), ("https://dpi.test@evil.test/", "WEBHOOK-URL"),
    ("https://xdpi.test/", "WEBHOOK-HOTE"), ("https://[::1]/", "WEBHOOK-HOTE"), ("https://dpi.tést/", "WEBHOOK-URL"), ("", "WEBHOOK-URL")])
def test_what_may_not(url: str, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        checked_url(url, HOSTS)
    assert caught.value.rule == rule


def test_a_signature_of_standard_webhooks() -> None:
    """The example of the specification's reference libraries."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    got = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert got == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_the_secret_is_shown_and_not_stored(stage: Stage) -> None:
    hook = await stage.hooks.add("box0@a.mssante.fr", URL, owner="dpi", kinds=("document.read",))
    shown = stage.hooks.shown_secret(hook)
    assert shown.startswith("whsec_") and len(base64.b64decode(shown[6:])) == 32
    rows = await stage.stores.database.read(stage.stores.webhooks.all)
    assert rows == [hook] and shown[6:] not in repr(rows) and base64.b64decode(shown[6:]).hex() not in f"{rows[0].secret}"
    assert stage.hooks.secret_of(hook) != Webhooks(stage.stores, stage.clock, b"t" * 32, HOSTS).secret_of(hook)


@pytest.mark.parametrize(("mailbox", "url", "kinds", "rule"), [
    ("absent@a.mssante.fr", URL, (), "WEBHOOK-BOITE"), ("box0@a.mssante.fr", "https://evil.test/", (), "WEBHOOK-HOTE"),
    ("box0@a.mssante.fr", URL, ("x",), "WEBHOOK-EVENEMENT")])
async def test_what_is_refused(stage: Stage, mailbox: str, url: str, kinds: tuple[str, ...], rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        await stage.hooks.add(mailbox, url, owner="", kinds=kinds)
    assert caught.value.rule == rule and await stage.hooks.all() == []


async def test_events_are_told_in_order_signed(stage: Stage) -> None:
    hook = await stage.hooks.add("box0@a.mssante.fr", URL, owner="")
    await stage.put(hook, "evt_1_0", "evt_2_0")
    assert await stage.sender.step() == 2 and await stage.sender.step() == 0
    assert [headers["webhook-id"] for _, headers, _ in stage.poster.posts] == ["evt_1_0", "evt_2_0"]
    url, headers, body = stage.poster.posts[0]
    secret = base64.b64decode(stage.hooks.shown_secret(hook)[6:])
    signed = f"evt_1_0.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert url == URL and headers["webhook-timestamp"] == str(int(stage.clock.now().timestamp()))
    assert [bool(one.done_at) for one in await stage.events(hook)] == [True, True]


async def test_a_failure_is_repeated_later_and_given_up_at_the_end(stage: Stage) -> None:
    hook = await stage.hooks.add("box0@a.mssante.fr", URL, owner="")
    await stage.put(hook, "evt_1_0")
    for rank, delay in enumerate(DELAYS, 1):
        stage.poster.answers = [Told(0, "TimeoutError") if rank % 2 else Told(500)]
        await stage.sender.step()
        (event,) = await stage.events(hook)
        assert (event.attempts, event.next_attempt_at, event.done_at) == (rank, stage.clock.now() + delay, None)
        await stage.sender.step()
        assert len(stage.poster.posts) == rank, "not before its time"
        stage.clock.advance(delay)
    stage.poster.answers = [Told(302)]
    await stage.sender.step()
    (event,) = await stage.events(hook)
    assert event.done_at == stage.clock.now() and event.detail == "302"


async def test_a_host_that_is_down_costs_a_few_calls_a_round_and_holds_nobody_up(stage: Stage) -> None:
    down = await stage.hooks.add("box0@a.mssante.fr", URL, owner="")
    well = await stage.hooks.add("box1@a.mssante.fr", "https://autre.test:8443/", owner="")
    await stage.put(down, *[f"evt_{rank}_0" for rank in range(20)])
    await stage.put(well, "evt_21_0")

    async def post(url: str, headers: dict[str, str], body: bytes) -> Told:
        stage.poster.posts.append((url, headers, body))
        return Told(0) if "dpi" in url else Told(204)

    stage.poster.post = post  # type: ignore[method-assign]
    assert await stage.sender.step() == 1
    assert len(stage.poster.posts) == MAX_FAILURES + 1
    assert await stage.sender.step() == 0 and len(stage.poster.posts) == MAX_FAILURES + 1, "left alone for a while"
    stage.clock.advance(timedelta(seconds=PAUSE_SECONDS))
    await stage.sender.step()
    assert len(stage.poster.posts) == 2 * MAX_FAILURES + 1


async def test_gone_stops_it_and_a_replay_begins_again(stage: Stage) -> None:
    hook = await stage.hooks.add("box0@a.mssante.fr", URL, owner="")
    await stage.put(hook, "evt_1_0")
    began = stage.clock.now()
    stage.clock.advance(timedelta(minutes=5))
    await stage.put(hook, "evt_2_0")
    stage.poster.answers = [Told(200), Told(410)]
    await stage.sender.step()
    assert not (await stage.hooks.find(hook.id)).active
    stage.clock.advance(timedelta(days=2))
    assert await stage.sender.step() == 0, "it is stopped"
    assert await stage.hooks.replay(hook.id, began + timedelta(minutes=1)) == 1
    assert await stage.sender.step() == 1 and stage.poster.posts[-1][1]["webhook-id"] == "evt_2_0"
    assert await stage.hooks.replay(hook.id, began) == 2 and await stage.sender.step() == 2


async def test_a_host_taken_out_of_the_configuration_is_called_no_more(stage: Stage) -> None:
    hook = await stage.hooks.add("box0@a.mssante.fr", URL, owner="")
    await stage.put(hook, "evt_1_0")
    later = Webhooks(stage.stores, stage.clock, b"s" * 32, ())
    assert await WebhookSender(stage.stores, stage.clock, later, stage.poster).step() == 0
    assert stage.poster.posts == [] and (await stage.events(hook))[0].detail == "0 WEBHOOK-HOTE"
    with pytest.raises(InputFault):
        await later.test(hook.id, stage.poster)


async def test_test_and_remove(stage: Stage) -> None:
    hook = await stage.hooks.add("box0@a.mssante.fr", URL, owner="")
    assert (await stage.hooks.test(hook.id, stage.poster)).heard and stage.poster.posts[0][2].startswith(b'{"at":')
    await stage.put(hook, "evt_1_0")
    await stage.hooks.remove(hook.id)
    assert await stage.events(hook) == []
    with pytest.raises(InputFault) as caught:
        await stage.hooks.remove(hook.id)
    assert caught.value.rule == "WEBHOOK-INCONNU"
    rows = await stage.stores.database.read(lambda tx: stage.stores.journal.recent(tx, kind="webhook_changed"))
    assert [row.payload["action"] for row in rows] == ["removed", "added"] and all(row.payload["host"] == "dpi.test" for row in rows)


async def test_it_runs_until_it_is_stopped(stage: Stage) -> None:
    hook = await stage.hooks.add("box0@a.mssante.fr", URL, owner="")
    woken = asyncio.Event()
    task = asyncio.create_task(stage.sender.run(woken))
    await stage.put(hook, "evt_1_0")
    woken.set()
    async with asyncio.timeout(5):
        while not stage.poster.posts:
            await asyncio.sleep(0)
    task.cancel()
