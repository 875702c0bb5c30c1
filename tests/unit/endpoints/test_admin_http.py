"""The administrator's listeners: metrics and health in clear on a local address, a status page over HTTPS; read-only."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from support.pki import pem_files
from support.smtp_stage import ALICE, SmtpStage, build, client_context, door_context, leaf, trust_snapshot
from support.storage_values import queued

from mssante.config.model import (
    Config,
    DomainsConfig,
    DomainSection,
    ListenSection,
    OperatorConfig,
    OperatorSection,
    TlsSection,
)
from mssante.endpoints.admin_http import AdminHttp
from mssante.observability.metrics import REFUSALS


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def config(folder: Path, **listen: str) -> Config:
    certificate, key = pem_files(folder, "ours", *leaf("ours"))
    operator = OperatorConfig(operator=OperatorSection(name="Alpha <script>", hostname="mx.hopital.mssante.fr"),
                              listen=ListenSection(**{"metrics": "", "console": "", **listen}),
                              tls=TlsSection(operator_certificate=certificate, operator_key=key))
    return Config(folder=folder, operator=operator, domains=DomainsConfig(domain=(DomainSection(name="hopital.mssante.fr"),)))


@pytest.fixture
async def opened(stage: SmtpStage, tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """The addresses of both listeners."""
    metrics, console = free_port(), free_port()
    admin = AdminHttp(config(tmp_path, metrics=f"127.0.0.1:{metrics}", console=f"127.0.0.1:{console}"), stage.trust, stage.stores, door_context(False))
    await admin.open()
    yield f"http://127.0.0.1:{metrics}", f"https://127.0.0.1:{console}"
    await admin.close()


async def get(url: str, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.request(method, url, ssl=client_context()) as response:
        return response.status, await response.text(), dict(response.headers)


async def test_metrics(opened: tuple[str, str]) -> None:
    REFUSALS.labels("rcpt", "BOITE-INCONNUE").inc()
    status, text, headers = await get(f"{opened[0]}/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'mssante_smtp_refusals_total{rule="BOITE-INCONNUE",stage="rcpt"}' in text and "@" not in text


async def test_health_follows_the_list(stage: SmtpStage, opened: tuple[str, str]) -> None:
    assert (await get(f"{opened[0]}/healthz"))[:2] == (200, '{"trust_list_usable": true}')
    stage.trust.swap(replace(trust_snapshot(), whitelist=None))
    assert (await get(f"{opened[0]}/healthz"))[:2] == (503, '{"trust_list_usable": false}')


async def test_the_page_shows_states_and_counts_and_no_person(stage: SmtpStage, opened: tuple[str, str]) -> None:
    item = queued("x@a.mssante.fr", "y@a.mssante.fr", sender=ALICE)
    await stage.stores.database.write(lambda tx: stage.stores.messages.accept(tx, [item]))
    status, text, headers = await get(f"{opened[1]}/")
    assert status == 200 and "2026-03-01" in text and "<td>2</td>" in text and "<td>oui</td>" in text
    assert "Alpha &lt;script&gt;" in text and "<script>" not in text and "@" not in text
    assert headers["Content-Security-Policy"].startswith("default-src 'none'") and headers["Cache-Control"] == "no-store"
    stage.trust.swap(replace(trust_snapshot(), whitelist=None))
    text = (await get(f"{opened[1]}/"))[1]
    assert "<td>aucune</td>" in text and "<td>non</td>" in text


@pytest.mark.parametrize(("door", "path", "method", "status"), [
    (0, "/", "GET", 404), (0, "/metrics", "POST", 405), (0, "/metrics/../etc/passwd", "GET", 404), (1, "/metrics", "GET", 404),
    (1, "/", "POST", 405), (1, "/", "DELETE", 405), (1, "/x/../..", "PUT", 405)])
async def test_nothing_else_is_there(opened: tuple[str, str], door: int, path: str, method: str, status: int) -> None:
    assert (await get(f"{opened[door]}{path}", method))[0] == status


async def test_the_console_speaks_no_clear_text(opened: tuple[str, str]) -> None:
    with pytest.raises(aiohttp.ClientError):
        await get(opened[1].replace("https", "http"))


async def test_doors_left_empty_stay_closed(stage: SmtpStage, tmp_path: Path) -> None:
    admin = AdminHttp(config(tmp_path), stage.trust, stage.stores, door_context(False))
    before = set(os.listdir("/proc/self/fd"))
    await admin.open()
    assert set(os.listdir("/proc/self/fd")) == before  # no socket was opened
    await admin.close()


async def test_a_port_that_is_taken_is_told(stage: SmtpStage, tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        admin = AdminHttp(config(tmp_path, metrics=f"127.0.0.1:{one.getsockname()[1]}"), stage.trust, stage.stores, door_context(False))
        with pytest.raises(OSError):
            await admin.open()
        await admin.close()
