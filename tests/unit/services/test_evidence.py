"""Facts behind the reply: bounded, pseudonymised, counted, and on disk when flushed."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.pki import build_igc, der, key_for
from support.smtp_stage import CITIZEN, SmtpStage, build

from mssante.errors import StorageFull
from mssante.model import replies
from mssante.model.address import MailAddress
from mssante.model.journal import JournalKind
from mssante.model.reply import Refuse
from mssante.observability.metrics import REGISTRY
from mssante.services import evidence as module
from mssante.services.smtp_session import MailTransaction, SmtpSessionState

INS = "185019930200112"
PEER = "192.0.2.1:4000"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize(("stage_name", "kind"), [
    ("session", JournalKind.SESSION_REFUSED), ("mail", JournalKind.SENDER_REFUSED), ("rcpt", JournalKind.RECIPIENT_REFUSED),
    ("data", JournalKind.DATA_REFUSED)])
async def test_each_stage_has_its_kind(stage: SmtpStage, stage_name: str, kind: JournalKind) -> None:
    before = count("mssante_smtp_refusals_total", stage=stage_name, rule="BOITE-INCONNUE")
    stage.evidence.refusal(SmtpSessionState(PEER), stage_name, replies.unknown_mailbox("x@hopital.mssante.fr"))
    (event,) = await stage.journal(kind)
    assert (event.subject, event.payload["rule"], event.payload["code"], event.payload["detail"]) == (
        PEER, "BOITE-INCONNUE", 550, "x@hopital.mssante.fr")
    assert count("mssante_smtp_refusals_total", stage=stage_name, rule="BOITE-INCONNUE") == before + 1


async def test_a_refusal_inside_a_transaction_names_it(stage: SmtpStage) -> None:
    state = SmtpSessionState(PEER, transaction=MailTransaction(MailAddress("docteur", "a.mssante.fr"), "TRACE"))
    stage.evidence.refusal(state, "rcpt", replies.not_ours("x@b.mssante.fr"))
    (event,) = await stage.journal()
    assert (event.subject, event.trace_id) == ("docteur@a.mssante.fr", "TRACE")


async def test_citizens_are_hidden_everywhere(stage: SmtpStage) -> None:
    address = f"{INS}@{CITIZEN}"
    state = SmtpSessionState(PEER, transaction=MailTransaction(MailAddress(INS, CITIZEN), "TRACE"))
    stage.evidence.refusal(state, "rcpt", replies.unknown_mailbox(address))
    stage.evidence.refusal(state, "data", Refuse(replies.NO_FROM, f"{address}"))
    stage.evidence.login(address, PEER, "imap", accepted=False)
    events = await stage.journal()
    assert len(events) == 3 and INS not in repr(events)


async def test_logins_and_handshakes(stage: SmtpStage) -> None:
    before = count("mssante_logins_total", protocol="imap", result="accepted"), count("mssante_tls_handshake_failures_total")
    stage.evidence.login("alice", PEER, "imap", accepted=True)
    stage.evidence.handshake_failed(PEER, "certificate refused")
    assert [(event.kind, event.subject) for event in await stage.journal()] == [("login", "alice"), ("session_refused", PEER)]
    after = count("mssante_logins_total", protocol="imap", result="accepted"), count("mssante_tls_handshake_failures_total")
    assert after == (before[0] + 1, before[1] + 1)


async def test_a_storm_costs_a_bounded_memory_and_is_counted(
        stage: SmtpStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 5)
    for _ in range(20):
        stage.evidence.handshake_failed(PEER, "storm")
    assert len(await stage.journal()) == 5
    assert "events_not_journalled" in (said := capsys.readouterr().out) and "count=15" in _plain(said)
    stage.evidence.handshake_failed(PEER, "later")
    assert len(await stage.journal()) == 6


def _plain(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)


async def test_a_full_disk_stops_nobody(
        stage: SmtpStage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def full(*_: Any) -> Any:
        raise StorageFull("no room left")

    monkeypatch.setattr(stage.stores.database, "write_many", full)
    stage.evidence.handshake_failed(PEER, "lost")
    await stage.evidence.flush()
    assert "events_not_journalled" in capsys.readouterr().out
    monkeypatch.undo()
    assert await stage.journal() == []


async def test_no_control_character_of_a_peer_forges_a_line_of_the_log(
        stage: SmtpStage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.evidence.handshake_failed("192.0.2.1:1", "x\r\n{\"event\": \"forged\"}\x1b[31m")
    (event,) = await stage.journal()
    assert event.payload["reason"] == "x\r\n{\"event\": \"forged\"}\x1b[31m", "as it came, in a JSON value"
    assert len(capsys.readouterr().out.splitlines()) == 1


async def test_a_refused_certificate_can_be_replayed(stage: SmtpStage) -> None:
    leaf = build_igc().leaf("mta.refuse.test", issuer="personnes", serial=0xABC)[0]
    state = SmtpSessionState(PEER, leaf_der=der(leaf))
    for _ in range(50):
        stage.evidence.refusal(state, "session", replies.not_your_address("x"), list_at="2026-03-01T00:00:00Z")
    payload = (await stage.journal(JournalKind.SESSION_REFUSED))[0].payload
    assert payload["certificate"] == hashlib.sha256(der(leaf)).hexdigest() and payload["serial"] == "abc"
    assert payload["dn"].startswith("CN=mta.refuse.test") and "PERSONNES" in payload["issuer"]
    assert payload["list_at"] == "2026-03-01T00:00:00Z" and payload["key"] == "RSA 2048"
    (kept,) = await stage.stores.database.read(lambda tx: stage.stores.peer_certificates.of_domain(tx, ""))
    assert (kept.der, kept.uses, kept.refused) == (der(leaf), 1, "EXPEDITEUR-AUTRE"), "once, whatever the number"


async def test_refused_certificates_are_bounded(stage: SmtpStage) -> None:
    leaf = build_igc().leaf("mta.refuse.test")[0]
    for rank in range(60):
        other = build_igc().leaf(f"mta{rank}.refuse.test", key=key_for("leaf mta.refuse.test"))[0]
        stage.evidence.refusal(SmtpSessionState(PEER, leaf_der=der(other)), "session", replies.not_your_address("x"))
    stage.evidence.refusal(SmtpSessionState(PEER, leaf_der=der(leaf)[:100]), "session", replies.not_your_address("x"))
    stage.evidence.refusal(SmtpSessionState(PEER), "session", replies.not_your_address("x"))
    events = await stage.journal(JournalKind.SESSION_REFUSED)
    assert len(events) == 62 and "certificate" not in events[-1].payload and "dn" in events[-1].payload
    kept = await stage.stores.database.read(lambda tx: stage.stores.peer_certificates.of_domain(tx, ""))
    assert 1 <= len(kept) <= 20


async def test_no_escape_sequence_of_a_subject_reaches_the_journal(stage: SmtpStage) -> None:
    leaf = build_igc().leaf("mta.refuse.test", o="A\x1b[31m\r\nB")[0]
    stage.evidence.refusal(SmtpSessionState(PEER, leaf_der=der(leaf)), "session", replies.not_your_address("x"))
    (event,) = await stage.journal(JournalKind.SESSION_REFUSED)
    assert "O=A?[31m??B" in event.payload["dn"]
