"""STARTTLS between operators: what is said before it, what its switch forgets, and who may come in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.smtp_stage import ALICE, IGC, OURS, SmtpStage, Wire, build, leaf, message, trust_snapshot

from mssante.endpoints.listeners import Door
from mssante.endpoints.smtp_base import SmtpSettings
from mssante.endpoints.smtp_verbs import HardenedSmtp
from mssante.model.journal import JournalKind


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def greeted(stage: SmtpStage, **settings: Any) -> Wire:
    wire = await stage.connect(await stage.open(**settings))
    assert await wire.reply() == f"220 mx.{OURS} ESMTP mssante"
    return wire


def words(ehlo: str) -> list[str]:
    return [line[4:] for line in ehlo.split("\n")[1:]]


async def test_ehlo_announces_starttls_in_clear_and_no_more_inside(stage: SmtpStage) -> None:
    wire = await greeted(stage, message_bytes=123456)
    common = ["PIPELINING", "SIZE 123456", "ENHANCEDSTATUSCODES", "8BITMIME", "DSN", "SMTPUTF8"]
    assert sorted(words(await wire.ask("EHLO mx.a.mssante.fr"))) == sorted([*common, "STARTTLS"])
    inside = await wire.secure("a")
    assert inside.split("\n")[0] == f"250-mx.{OURS}"
    assert sorted(words(inside)) == sorted(common)


@pytest.mark.parametrize("command", [
    "MAIL FROM:<docteur@a.mssante.fr>", f"RCPT TO:<{ALICE}>", "DATA", "AUTH PLAIN", f"VRFY {ALICE}", "HELP", "EXPN x"])
async def test_nothing_of_a_message_before_tls(stage: SmtpStage, command: str) -> None:
    wire = await greeted(stage)
    await wire.ask("EHLO mx.a.mssante.fr")
    reply = await wire.ask(command)
    assert reply.startswith("530 5.7.0 ") and reply.endswith("[TLS-REQUIS]")
    assert (await wire.asks("NOOP", "RSET", "QUIT"))[-1].startswith("221 ")
    await wire.closed()


async def test_starttls_takes_no_argument_and_comes_once(stage: SmtpStage) -> None:
    wire = await greeted(stage)
    assert (await wire.ask("STARTTLS now")).startswith("501 ")
    await wire.secure("a")
    assert (await wire.ask("STARTTLS")).endswith("[TLS-DEJA]")


@pytest.mark.parametrize("injected", [b"NOOP\r\n", b"EHLO evil\r\n", b"MAIL FROM:<docteur@a.mssante.fr>\r\nRSET\r\n", b"NO", b"\n",
                                      b"\x16\x03\x01"])
async def test_octets_behind_starttls_in_its_segment_close_the_session(stage: SmtpStage, injected: bytes) -> None:
    wire = await greeted(stage)
    await wire.send(b"STARTTLS\r\n" + injected)
    assert (await wire.reply()).endswith("[TLS-INJECTION]")
    await wire.closed()
    await stage.idle()
    (event,) = await stage.journal(JournalKind.SESSION_REFUSED)
    assert event.payload["rule"] == "TLS-INJECTION"


@pytest.mark.parametrize("lines", [b"STARTTLS\nNOOP\n", b"STARTTLS\n"])
async def test_starttls_ended_by_a_bare_lf_is_no_command(stage: SmtpStage, lines: bytes) -> None:
    wire = await greeted(stage)
    await wire.send(lines + b"QUIT\r\n")
    assert (await wire.rest()).count(b"[SMTP-LIGNE]") == lines.count(b"\n")


async def test_a_half_line_in_clear_is_not_finished_inside_tls(stage: SmtpStage) -> None:
    """`NO` in clear, STARTTLS cannot come behind it as a command: both are one line."""
    wire = await greeted(stage)
    await wire.send(b"NO")
    assert (await wire.ask("STARTTLS")).endswith("[SMTP-COMMANDE]")
    assert (await wire.ask("NOOP")).startswith("250 ")


class Tape(asyncio.Transport):
    """A transport that keeps what is written; nothing is behind it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 4000)})
        self.written = b""
        self.closing = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.closing
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def test_octets_that_come_in_clear_before_the_switch_is_made_are_never_acted_on(stage: SmtpStage) -> None:
    """A loop may hand two reads before it runs the task that switches: the second is still clear text."""
    door = Door("smtp", total=1, per_address=1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    loop = asyncio.get_running_loop()
    session = HardenedSmtp(stage.reception, SmtpSettings("mx", context), door, loop).spawn()
    switched = []
    tape = Tape()
    tape.set_protocol = switched.append
    session.connection_made(tape)
    session.data_received(b"STARTTLS\r\n")
    session.data_received(b"NOOP\r\nMAIL FROM:<docteur@a.mssante.fr>\r\n")
    await stage.settled()
    assert tape.closing and not switched
    assert tape.written.count(b"\r\n") == 2, "the greeting and the 220 of STARTTLS"


async def test_the_switch_forgets_what_was_said_in_clear(stage: SmtpStage) -> None:
    wire = await greeted(stage)
    await wire.ask("EHLO mx.a.mssante.fr")
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    await wire.upgrade("a")
    assert (await wire.ask("MAIL FROM:<docteur@a.mssante.fr>")).endswith("[SMTP-SEQUENCE]")


async def test_ehlo_may_come_with_the_last_octets_of_the_handshake(stage: SmtpStage) -> None:
    wire = await greeted(stage)
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    await wire.upgrade("a")
    await wire.send(b"EHLO mx.a.mssante.fr\r\nMAIL FROM:<docteur@a.mssante.fr>\r\n")
    assert (await wire.reply()).startswith("250-")
    assert (await wire.reply()).startswith("250 2.1.0")


@pytest.mark.parametrize(("certificate", "code", "rule"), [
    ("", 554, "PEER-ABSENT"), ("unlisted", 554, "LB-CERTIFICAT"), ("revoked", 554, "PEER-REVOKED"),
    ("expired", 554, "PEER-EXPIRED"), ("early", 554, "PEER-NOT-YET"), ("personnes", 554, "PEER-ISSUER")])
async def test_a_peer_that_trust_refuses_is_told_the_rule_and_closed(
        stage: SmtpStage, certificate: str, code: int, rule: str) -> None:
    wire = await greeted(stage)
    reply = await wire.secure(certificate)
    assert reply.startswith(f"{code} 5.7.1 ") and reply.endswith(f"[{rule}]")
    await wire.closed()
    await stage.idle()
    (event,) = await stage.journal(JournalKind.SESSION_REFUSED)
    assert (event.payload["rule"], event.payload["code"]) == (rule, code)


async def test_a_refused_peer_gets_no_further_by_leaving_out_ehlo(stage: SmtpStage) -> None:
    wire = await greeted(stage)
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    await wire.upgrade("unlisted")
    for command in ("MAIL FROM:<docteur@a.mssante.fr>", f"RCPT TO:<{ALICE}>", "DATA"):
        assert (await wire.ask(command)).endswith("[LB-CERTIFICAT]")
    assert await stage.bodies() == []


async def test_a_certificate_of_a_foreign_authority_of_the_same_name_ends_the_handshake(stage: SmtpStage) -> None:
    wire = await greeted(stage)
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    try:
        await wire.upgrade("foreign")
        await wire.send(b"EHLO mx.a.mssante.fr\r\n")
    except (ssl.SSLError, ConnectionError):
        pass
    await wire.closed()
    await stage.idle()  # the door forgets a session that never came to life
    (event,) = await stage.journal(JournalKind.SESSION_REFUSED)
    assert event.payload["rule"] == "TLS-POIGNEE" and "certificate" in str(event.payload["reason"])


@pytest.mark.parametrize("garbage", [b"NOOP\r\n", b"\x16\x03\x01\x00\x05hello", b"\x00" * 100])
async def test_clear_text_in_place_of_a_handshake_closes(stage: SmtpStage, garbage: bytes) -> None:
    wire = await greeted(stage)
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    await wire.send(garbage)
    assert b"250" not in await wire.rest()
    await stage.idle()
    assert [event.payload["rule"] for event in await stage.journal(JournalKind.SESSION_REFUSED)] == ["TLS-POIGNEE"]


async def test_a_handshake_that_never_comes_is_left(stage: SmtpStage) -> None:
    wire = await greeted(stage, handshake_seconds=0.05)
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    await wire.closed()
    await stage.idle()
    assert [event.payload["rule"] for event in await stage.journal(JournalKind.SESSION_REFUSED)] == ["TLS-POIGNEE"]


@pytest.mark.parametrize("leaving", [b"", b"\x16\x03\x01"])
async def test_a_peer_that_leaves_during_the_handshake_is_forgotten(stage: SmtpStage, leaving: bytes) -> None:
    wire = await greeted(stage)
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    await wire.send(leaving)
    await wire.leave()
    await stage.idle()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_old_versions_of_tls_are_refused(stage: SmtpStage, version: ssl.TLSVersion) -> None:
    wire = await greeted(stage)
    assert (await wire.ask("STARTTLS")).startswith("220 ")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await wire.writer.start_tls(context)
    await stage.idle()


async def test_tls_1_2_with_ecdhe_is_taken_and_rsa_key_exchange_is_not(stage: SmtpStage) -> None:
    port = await stage.open()
    for cipher, good in (("ECDHE-RSA-AES128-GCM-SHA256", True), ("AES128-GCM-SHA256", False), ("ECDHE-RSA-AES128-SHA", False)):
        wire = await stage.connect(port)
        await wire.reply()
        assert (await wire.ask("STARTTLS")).startswith("220 ")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(cipher)
        if good:
            await wire.writer.start_tls(context)
            assert (await wire.ask("EHLO mx.a.mssante.fr")).endswith("[PEER-ABSENT]")
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await wire.writer.start_tls(context)


async def test_without_a_usable_list_the_session_is_put_off(stage: SmtpStage) -> None:
    stage.trust.swap(replace(trust_snapshot(), whitelist=None))
    reply = await (await greeted(stage)).secure("a")
    assert reply.startswith("451 4.7.1 ") and reply.endswith("[LB-INDISPONIBLE]")


async def test_a_revocation_adopted_during_the_session_stops_its_next_message(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open())
    assert (await wire.ask("MAIL FROM:<docteur@a.mssante.fr>")).startswith("250 ")
    assert (await wire.ask(f"RCPT TO:<{ALICE}>")).startswith("250 ")
    assert (await wire.data(message())).startswith("250 ")
    stage.trust.swap(replace(trust_snapshot(), crls=IGC.crl_set([leaf("a")[0]])))
    reply = await wire.ask("MAIL FROM:<docteur@a.mssante.fr>")
    assert reply.startswith("554 ") and reply.endswith("[PEER-REVOKED]")
    assert len(await stage.bodies()) == 1


async def test_what_the_journal_keeps_of_tls_is_in_received(stage: SmtpStage) -> None:
    wire = await stage.session(await stage.open())
    await wire.asks("MAIL FROM:<docteur@a.mssante.fr>", f"RCPT TO:<{ALICE}>")
    await wire.data(message())
    (stored,) = await stage.inbox()
    assert b"(using TLSv1.3 " in stored.prefix and b" with ESMTPS id " in stored.prefix
