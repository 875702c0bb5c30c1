"""Posts over real TLS on this machine: pinned address, no redirect, private addresses, certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from support.smtp_stage import IGC, leaf, pem_files

from mssante.transport import webhook
from mssante.transport.webhook import WebhookPoster, public


class Host:
    """A server of events."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.port = 0
        self.over = asyncio.Event()

    async def hear(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((dict(request.headers), await request.read()))
        if request.path == "/ailleurs":
            raise web.HTTPFound("/entendu")
        if request.path == "/long":
            await self.over.wait()
        return web.Response(text="x" * 100_000, status=202)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    made = Host()
    certificate, key = pem_files(tmp_path, "ours", *leaf("ours"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    application = web.Application()
    application.router.add_post("/{path}", made.hear)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    made.port = runner.addresses[0][1]
    yield made
    made.over.set()
    await runner.cleanup()


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    path = tmp_path / "anchors.pem"
    path.write_bytes(IGC.anchors_pem)
    return path


async def test_a_post_reaches_its_host(host: Host, anchors: Path) -> None:
    poster = WebhookPoster(allow_private=True, authorities=anchors)
    told = await poster.post(f"https://localhost:{host.port}/entendu", {"webhook-id": "evt_1", "Content-Type": "application/json"}, b"{}")
    assert told.status == 202 and told.heard
    headers, body = host.seen[0]
    assert (headers["webhook-id"], headers["Host"], body) == ("evt_1", f"localhost:{host.port}", b"{}")


async def test_a_redirect_is_an_answer(host: Host, anchors: Path) -> None:
    told = await WebhookPoster(allow_private=True, authorities=anchors).post(f"https://localhost:{host.port}/ailleurs", {}, b"{}")
    assert told.status == 302 and not told.heard and len(host.seen) == 1


async def test_private_addresses_are_not_called_unless_configured(host: Host, anchors: Path) -> None:
    told = await WebhookPoster(allow_private=False, authorities=anchors).post(f"https://localhost:{host.port}/entendu", {}, b"{}")
    assert (told.status, told.detail) == (0, "address not allowed") and host.seen == []


@pytest.mark.parametrize("url", ["https://127.0.0.1:{}/entendu", "http://localhost:{}/entendu", "https://localhost:1/", "https://absent.invalid/"])
async def test_what_fails_is_a_value(host: Host, anchors: Path, url: str) -> None:
    told = await WebhookPoster(allow_private=True, authorities=anchors).post(url.format(host.port), {}, b"{}")
    assert told.status == 0 and told.detail and host.seen == []


async def test_another_authority_is_not_trusted(host: Host) -> None:
    assert (await WebhookPoster(allow_private=True, authorities=None).post(f"https://localhost:{host.port}/entendu", {}, b"")).status == 0
    assert host.seen == []


async def test_a_slow_host_is_left(host: Host, anchors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 0.3)
    told = await WebhookPoster(allow_private=True, authorities=anchors).post(f"https://localhost:{host.port}/long", {}, b"{}")
    assert (told.status, told.detail) == (0, "TimeoutError")


async def test_a_name_that_changes_between_look_and_call_gains_nothing(host: Host, anchors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: one look only, and the call goes to what was looked at."""
    asked: list[str] = []

    async def getaddrinfo(name: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(name)
        return [(2, 1, 6, "", ("127.0.0.1" if len(asked) == 1 else "127.0.0.2", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    told = await WebhookPoster(allow_private=True, authorities=anchors).post(f"https://localhost:{host.port}/entendu", {}, b"{}")
    assert told.status == 202 and asked == ["localhost"]


@pytest.mark.parametrize(("address", "expected"), [
    ("8.8.8.8", True), ("2001:4860:4860::8888", True), ("10.1.2.3", False), ("127.0.0.1", False), ("169.254.169.254", False),
    ("192.168.0.1", False), ("172.16.0.1", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("::1", False),
    ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:8.8.8.8", True), ("2002:7f00:1::", False),
    ("64:ff9b::7f00:1", False), ("64:ff9b::808:808", True), ("ff02::1", False)])
def test_public_addresses(address: str, expected: bool) -> None:
    assert public(address) is expected
