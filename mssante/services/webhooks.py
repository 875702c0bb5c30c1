"""Webhooks: telling programs at once what `GET /api/v1/events` also tells; signed, repeated until heard, told again on demand.

- Body: one event as JSON (services/handevents.py), no identity of a patient in it. Headers of Standard Webhooks: `webhook-id`
  (of the event, the same when told again), `webhook-timestamp`, and `webhook-signature: v1,<base64>`: HMAC-SHA256 over
  `id.timestamp.body`.
- Only https, only to hosts that the configuration names (`handover.webhook_hosts`): a token or the owner of a box cannot make
  this server call anything else. The transport pins the address, follows nothing (transport/webhook.py).
- The secret is derived from this operator's own and a salt: it is shown once, and the database does not hold it.
- The outbox is filled by the follower of the journal in the transaction that moves its cursor; an event is told at least once. A
  failure is repeated with growing delays for three days; `410 Gone` stops the webhook.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from mssante.clock import Clock
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.observability.metrics import WEBHOOK_POSTS
from mssante.services.handevents import KINDS
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.webhooks import Webhook, WebhookEvent

log = structlog.get_logger("webhook")
DELAYS = tuple(timedelta(seconds=one) for one in (5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200, 86400, 86400))
IDLE_SECONDS = 1.0
ROUND = 100  # events of one webhook in one round
MAX_FAILURES = 3  # in a round: then the webhook is left alone for a while
PAUSE_SECONDS = 30.0
MAX_URL = 1000
MAX_HOOKS = 200
GONE = 410


@dataclass(frozen=True, slots=True)
class Told:
    """What a host answered. status 0: it did not; detail: why, without content."""

    status: int
    detail: str = ""

    @property
    def heard(self) -> bool:
        """True for 2xx."""
        return 200 <= self.status < 300


class Poster(Protocol):
    """Posts to hosts of programs (`transport.webhook.WebhookPoster`)."""

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Told:
        """Post once. Raises nothing but cancellation."""
        ...


def signature(secret: bytes, event_id: str, timestamp: int, body: bytes) -> str:
    """Give the value of `webhook-signature` (Standard Webhooks, scheme v1)."""
    digest = hmac.new(secret, b"%b.%d.%b" % (event_id.encode(), timestamp, body), hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode("ascii")


def checked_url(url: str, hosts: Collection[str]) -> str:
    """Give the URL when it may be called. Raises InputFault `WEBHOOK-URL`, `WEBHOOK-HOTE`."""
    wrong = InputFault(say("URL refusée : https, sans identité ni fragment", "URL refused: https, without identity or fragment"),
                       rule="WEBHOOK-URL", remedy="https://hôte[:port]/chemin")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise wrong from exc
    plain = url.isascii() and url.isprintable() and len(url) <= MAX_URL and not set(url) & {" ", "\\", "#"}
    if not plain or parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise wrong
    named = {parts.hostname.lower(), f"{parts.hostname.lower()}:{port or 443}"}
    allowed = {one.lower() for one in hosts}
    if not (named & allowed if port in (None, 443) else f"{parts.hostname.lower()}:{port}" in allowed):
        raise InputFault(say(f"hôte non admis : {parts.hostname}", f"host not allowed: {parts.hostname}"), rule="WEBHOOK-HOTE",
                         remedy="[handover] webhook_hosts, operator.toml")
    return url


class Webhooks:
    """Administration."""

    def __init__(self, stores: Stores, clock: Clock, secret: bytes, hosts: Sequence[str]) -> None:
        """secret: this operator's own; hosts: those that may be called."""
        self._stores = stores
        self._clock = clock
        self._key = hmac.new(secret, b"mssante webhook", hashlib.sha256).digest()
        self.hosts = tuple(hosts)

    def secret_of(self, hook: Webhook) -> bytes:
        """Give the octets that sign for a webhook."""
        return hmac.new(self._key, f"{hook.id} {hook.secret}".encode(), hashlib.sha256).digest()

    def shown_secret(self, hook: Webhook) -> str:
        """Give the secret as programs are given it (Standard Webhooks)."""
        return "whsec_" + base64.b64encode(self.secret_of(hook)).decode("ascii")

    async def add(self, mailbox: str, url: str, *, owner: str, kinds: Sequence[str] = ()) -> Webhook:
        """Make a webhook. Raises InputFault `WEBHOOK-…`."""
        checked_url(url, self.hosts)
        unknown = sorted(set(kinds) - set(KINDS))
        if unknown:
            raise InputFault(say(f"évènement inconnu : {unknown[0][:50]}", f"unknown event: {unknown[0][:50]}"),
                             rule="WEBHOOK-EVENEMENT", remedy=", ".join(KINDS))
        hook_id, salt, now = "wh_" + secrets.token_hex(8), secrets.token_hex(16), self._clock.now()

        def unit(tx: Tx) -> Webhook | None:
            boxes = self._stores.accounts.mailboxes_by_address(tx, [mailbox.strip().lower()])
            if not boxes or len(self._stores.webhooks.all(tx)) >= MAX_HOOKS:
                return None
            hook = Webhook(hook_id, owner[:100], boxes[0].id, url, salt, tuple(dict.fromkeys(kinds)), True, now)
            self._stores.webhooks.put(tx, hook)
            self._stores.journal.append(tx, [self._event("added", hook, boxes[0].address)])
            return hook

        made = await self._stores.database.write(unit)
        if made is None:
            raise InputFault(say("boîte inconnue, ou trop de webhooks", "unknown mailbox, or too many webhooks"),
                             rule="WEBHOOK-BOITE", remedy=f"mssante mailbox list ; {MAX_HOOKS}")
        return made

    async def all(self) -> list[Webhook]:
        """Give all, oldest first."""
        return await self._stores.database.read(self._stores.webhooks.all)

    async def find(self, hook_id: str) -> Webhook:
        """Give one. Raises InputFault `WEBHOOK-INCONNU`."""
        found = next((one for one in await self.all() if one.id == hook_id), None)
        if found is None:
            raise InputFault(say(f"webhook inconnu : {hook_id[:40]}", f"unknown webhook: {hook_id[:40]}"), rule="WEBHOOK-INCONNU",
                             remedy="mssante webhook list")
        return found

    async def remove(self, hook_id: str) -> None:
        """Remove one with what it was to be told. Raises InputFault."""
        hook = await self.find(hook_id)

        def unit(tx: Tx) -> None:
            self._stores.webhooks.remove(tx, hook.id)
            self._stores.journal.append(tx, [self._event("removed", hook, "")])

        await self._stores.database.write(unit)

    async def replay(self, hook_id: str, since: datetime) -> int:
        """Make one be told again since an instant, active again if it was stopped; give how many events. Raises InputFault."""
        hook = await self.find(hook_id)

        def unit(tx: Tx) -> int:
            self._stores.webhooks.put(tx, replace(hook, active=True))
            return self._stores.webhooks.replay(tx, hook.id, since, self._clock.now())

        return await self._stores.database.write(unit)

    async def test(self, hook_id: str, poster: Poster) -> Told:
        """Post a signed `webhook.test` event now, outside the outbox. Raises InputFault."""
        hook = await self.find(hook_id)
        now = self._clock.now()
        body = b'{"at":"%b","type":"webhook.test"}' % now.isoformat(timespec="seconds").encode()
        event = WebhookEvent(hook.id, f"evt_test_{int(now.timestamp())}", "webhook.test", body.decode(), now, now)
        return await poster.post(checked_url(hook.url, self.hosts), self.headers(hook, event, now), body)

    def headers(self, hook: Webhook, event: WebhookEvent, now: datetime) -> dict[str, str]:
        """Give the headers of one post."""
        stamp = int(now.timestamp())
        return {"Content-Type": "application/json", "webhook-id": event.event_id, "webhook-timestamp": str(stamp),
                "webhook-signature": signature(self.secret_of(hook), event.event_id, stamp, event.payload.encode())}

    def _event(self, action: str, hook: Webhook, mailbox: str) -> JournalEvent:
        return JournalEvent(JournalKind.WEBHOOK, self._clock.now(), "", hook.id, {
            "action": action, "host": urlsplit(hook.url).netloc, "mailbox": mailbox, "owner": hook.owner,
            "events": " ".join(hook.kinds)})


def _result(told: Told, settled: WebhookEvent) -> str:
    """Give the word of metrics for a post."""
    if told.heard:
        return "heard"
    if told.status == GONE:
        return "gone"
    if settled.done_at is not None:
        return "given_up"
    return "refused" if told.status else "unreachable"


class WebhookSender:
    """Empties the outbox."""

    def __init__(self, stores: Stores, clock: Clock, hooks: Webhooks, poster: Poster) -> None:
        self._stores = stores
        self._clock = clock
        self._hooks = hooks
        self._poster = poster
        self._paused: dict[str, float] = {}  # until when a webhook that does not hear is left alone

    async def run(self, woken: asyncio.Event) -> None:
        """Send for ever. woken: set when there may be something to tell."""
        while True:
            woken.clear()
            try:
                await self.step()
            except MssFault as fault:
                log.error("webhooks_not_sent", rule=fault.rule)
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    await woken.wait()
            except TimeoutError:
                pass

    async def step(self) -> int:
        """Tell each webhook what is due; give how many events were heard."""
        now = self._clock.monotonic()
        self._paused = {name: until for name, until in self._paused.items() if until > now}
        hooks = [one for one in await self._hooks.all() if one.active and one.id not in self._paused]
        return sum(await asyncio.gather(*[self._tell(hook) for hook in hooks]))

    async def _tell(self, hook: Webhook) -> int:
        now = self._clock.now()
        events = await self._stores.database.read(lambda tx: self._stores.webhooks.due(tx, hook.id, now, ROUND))
        heard = failures = 0
        for event in events:
            told = await self._post(hook, event)
            settled = self._settled(event, told)
            stop = told.status == GONE
            await self._stores.database.write(partial(self._write, hook=hook, event=settled, gone=stop))
            WEBHOOK_POSTS.labels(_result(told, settled)).inc()
            heard += told.heard
            failures += not told.heard
            if stop or failures >= MAX_FAILURES:
                self._paused[hook.id] = self._clock.monotonic() + PAUSE_SECONDS
                break
        if failures:
            log.warning("webhook_not_heard", webhook=hook.id, failures=failures)
        return heard

    async def _post(self, hook: Webhook, event: WebhookEvent) -> Told:
        try:
            url = checked_url(hook.url, self._hooks.hosts)  # the configuration may have changed since
        except InputFault as fault:
            return Told(0, fault.rule)
        return await self._poster.post(url, self._hooks.headers(hook, event, self._clock.now()), event.payload.encode())

    def _write(self, tx: Tx, *, hook: Webhook, event: WebhookEvent, gone: bool) -> None:
        self._stores.webhooks.settle(tx, event)
        if gone:
            self._stores.webhooks.put(tx, replace(hook, active=False))

    def _settled(self, event: WebhookEvent, told: Told) -> WebhookEvent:
        now, attempts = self._clock.now(), event.attempts + 1
        detail = f"{told.status} {told.detail}".strip()
        if told.heard or attempts > len(DELAYS):
            return replace(event, attempts=attempts, done_at=now, detail=detail)
        return replace(event, attempts=attempts, next_attempt_at=now + DELAYS[attempts - 1], detail=detail)
