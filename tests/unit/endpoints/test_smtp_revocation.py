"""A session whose certificate has to be asked about: it waits, the others do not; with the policy `crl` nobody ever waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from support.smtp_stage import SmtpStage, Wire, build, trust_snapshot

from mssante.errors import PeerFault
from mssante.model.journal import JournalKind
from mssante.trust.peer import PeerPolicy, Proven, UnknownRevocation

MAIL = "MAIL FROM:<docteur@a.mssante.fr>"


@dataclass(slots=True)
class Desk:
    """A desk whose answers tests give. asks: a session has to wait; fault: what it is then told."""

    asks: bool = True
    fault: PeerFault | None = None
    prepared: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def prepare(self, proven: Proven) -> Awaitable[None] | None:
        self.prepared += 1
        return self._wait() if self.asks else None

    async def _wait(self) -> None:
        await self.gate.wait()

    def check(self, proven: Proven) -> None:
        if self.fault is not None:
            raise self.fault


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def with_policy(stage: SmtpStage, revocation: str) -> Desk:
    desk = Desk()
    stage.trust.ask_at(desk)
    stage.trust.swap(replace(trust_snapshot(), peer_policy=PeerPolicy(revocation=revocation)))
    return desk


async def started(stage: SmtpStage, port: int) -> Wire:
    """Give a session after the handshake, before any answer to EHLO."""
    wire = await stage.connect(port)
    await wire.reply()
    await wire.ask("EHLO mx.a.mssante.fr")
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    await wire.upgrade("a")
    return wire


async def test_the_policy_crl_asks_nobody(stage: SmtpStage) -> None:
    desk = with_policy(stage, "crl")
    wire = await stage.session(await stage.open())
    assert (await wire.ask(MAIL)).startswith("250 ") and desk.prepared == 0


@pytest.mark.parametrize("policy", ["ocsp", "both"])
async def test_a_session_waits_for_its_answer_and_holds_up_no_other(stage: SmtpStage, policy: str) -> None:
    desk = with_policy(stage, policy)
    port = await stage.open()
    waiting = await started(stage, port)
    await waiting.send(b"EHLO mx.a.mssante.fr\r\nNOOP\r\n")
    other = await stage.connect(port)
    assert (await other.reply()).startswith("220 ") and (await other.ask("EHLO mx.b.mssante.fr")).startswith("250")
    assert not waiting.reader._buffer  # type: ignore[attr-defined]
    desk.gate.set()
    assert (await waiting.reply()).startswith("250-") and (await waiting.reply()).startswith("250 ")
    desk.asks = False
    assert (await waiting.ask(MAIL)).startswith("250 ")


async def test_a_session_that_is_refused_after_the_wait_is_told_why(stage: SmtpStage) -> None:
    desk = with_policy(stage, "both")
    desk.fault = UnknownRevocation("Etat de revocation inconnu, reessayez : x (OCSP-DELAI)", rule="PEER-OCSP-STALE")
    port = await stage.open()
    wire = await started(stage, port)
    await wire.send(b"EHLO mx.a.mssante.fr\r\n")
    desk.gate.set()
    reply = await wire.reply()
    assert reply.startswith("454") and "(OCSP-DELAI) [PEER-OCSP-STALE]" in reply
    await wire.closed()
    assert [row.payload["rule"] for row in await stage.journal(JournalKind.SESSION_REFUSED)] == ["PEER-OCSP-STALE"]


async def test_an_open_session_is_refused_at_mail_once_the_answer_says_so(stage: SmtpStage) -> None:
    desk = with_policy(stage, "ocsp")
    desk.gate.set()
    wire = await stage.session(await stage.open())
    assert (await wire.ask(MAIL)).startswith("250 ") and (await wire.ask("RSET")).startswith("250 ")
    desk.gate.clear()
    await wire.send(MAIL.encode() + b"\r\nRCPT TO:<alice@hopital.mssante.fr>\r\nNOOP\r\n")
    desk.fault = PeerFault("Certificat revoque", rule="PEER-REVOKED")
    desk.gate.set()
    replies = [await wire.reply() for _ in range(3)]
    assert replies[0].startswith("554 ") and "PEER-REVOKED" in replies[0]
    assert replies[1].startswith("503 ") and replies[2].startswith("250 "), "the batch goes on in order"
    desk.fault = None
    assert (await wire.ask(MAIL)).startswith("250 "), "healed"


async def test_a_peer_that_leaves_while_it_waits_leaves_nothing(stage: SmtpStage) -> None:
    desk = with_policy(stage, "ocsp")
    desk.fault = PeerFault("Certificat revoque", rule="PEER-REVOKED")
    wire = await started(stage, await stage.open())
    await wire.send(b"EHLO mx.a.mssante.fr\r\n")
    wire.writer.transport.abort()
    await stage.idle()
    desk.gate.set()
    await stage.settled()
    assert [door.open_sessions for door in stage.doors] == [0]
