"""A resumed session between operators: the same peer, judged by the list and the CRLs of the moment, over real STARTTLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from support.pki import pem_files
from support.smtp_stage import ALICE, IGC, WAIT_SECONDS, SmtpStage, Wire, build, leaf, message
from support.tls_memory import client

from mssante.model.journal import JournalKind
from mssante.observability.metrics import REGISTRY
from mssante.transport.tls_offer import Offer

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Peer:
    """Operator a, who resumes its sessions."""

    def __init__(self, stage: SmtpStage, port: int, context: ssl.SSLContext) -> None:
        self.stage = stage
        self.port = port
        self.context = context
        self.session: ssl.SSLSession | None = None

    async def ehlo(self) -> tuple[Wire, str, bool]:
        """Connect, STARTTLS, EHLO; give the wire, the reply, and whether the session was resumed."""
        wire = await self.stage.connect(self.port)
        await wire.reply()
        assert (await wire.ask("STARTTLS")).startswith("220 ")
        offer = Offer(ssl.PROTOCOL_TLS_CLIENT)
        offer.beneath, offer.session = self.context, self.session
        await asyncio.wait_for(wire.writer.start_tls(offer, server_hostname="localhost"), WAIT_SECONDS)
        reply = await wire.ask("EHLO mx.a.mssante.fr")
        tls = wire.writer.get_extra_info("ssl_object")
        self.session = tls.session
        return wire, reply, tls.session_reused


async def peer(stage: SmtpStage, folder: Path, version: ssl.TLSVersion) -> Peer:
    context = client(version=version)
    context.load_cert_chain(*pem_files(folder / "peer", "a", *leaf("a")))
    return Peer(stage, await stage.open(), context)


def resumed() -> float:
    return REGISTRY.get_sample_value("mssante_tls_sessions_total", {"side": "in", "kind": "resumed"}) or 0.0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("factory", LOOPS, ids=["asyncio", "uvloop"])
def test_a_resumed_peer_keeps_its_identity_until_it_is_revoked(
        tmp_path: Path, version: ssl.TLSVersion, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def story() -> None:
        stage = await build(tmp_path)
        try:
            a = await peer(stage, tmp_path, version)
            wire, _, again = await a.ehlo()
            assert not again
            await wire.leave()
            counted = resumed()
            wire, reply, again = await a.ehlo()
            assert again and reply.startswith("250") and resumed() == counted + 1
            assert (await wire.ask("MAIL FROM:<docteur@a.mssante.fr>")).startswith("250")
            assert (await wire.ask(f"RCPT TO:<{ALICE}>")).startswith("250")
            assert (await wire.data(message())).startswith("250 2.0.0")
            assert (await wire.ask("MAIL FROM:<docteur@b.mssante.fr>")).startswith("5"), "a's certificate speaks for a alone"
            (event,) = list(await stage.journal(JournalKind.RECEIVED))
            assert "CN=mx.a.mssante.fr" in str(event.payload["dn"])
            stage.trust.swap(replace(stage.trust.snapshot, crls=IGC.crl_set([leaf("a")[0]])))
            assert (await wire.ask("MAIL FROM:<docteur@a.mssante.fr>")).endswith("[PEER-REVOKED]"), "in the session under way"
            await wire.leave()
            wire, reply, again = await a.ehlo()
            assert again and reply.startswith("554 5.7.1") and reply.endswith("[PEER-REVOKED]"), "and it cannot come back by resumption"
            await wire.closed()
        finally:
            await stage.close()

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(story())


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_peer_that_left_the_list_does_not_come_back_by_resumption(tmp_path: Path, version: ssl.TLSVersion) -> None:
    stage = await build(tmp_path)
    try:
        a = await peer(stage, tmp_path, version)
        await (await a.ehlo())[0].leave()
        stage.trust.swap(replace(stage.trust.snapshot, whitelist=None))
        _, reply, again = await a.ehlo()
        assert again and reply.startswith("451 ")
    finally:
        await stage.close()
