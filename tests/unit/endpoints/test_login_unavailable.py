"""Logins that cannot be checked now, and clients that sulk over a refused token: what IMAP and submission answer, over sockets."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from support import imap_stage
from support.imap_stage import ADDRESS, PASSWORD, PasswordTable, Stage, offer
from support.smtp_stage import ALICE, SmtpStage, Wire, build, client_context, door_context

from mssante.endpoints.listeners import listen_on
from mssante.errors import OperatorFault
from mssante.model.journal import JournalKind
from mssante.protocol.sasl.base import TokenClaim, TokenRefusal
from mssante.protocol.sasl.mechanisms import ALL, Circumstances
from mssante.services.imap.settings import ImapSettings
from mssante.services.psc import PscChecker, PscSettings
from mssante.services.psc_keys import KeySettings, ProviderKeys
from mssante.services.psc_token import TokenPolicy
from mssante.services.sasl import Caller, TokenChecker

ISSUER = "https://psc.example/realm"
HEAD = b64encode(b'{"alg":"RS256","typ":"JWT","kid":"k1"}').decode().rstrip("=")
TOKEN = f"{HEAD}.e30.c2lnbg"  # of the right shape: its key has to be asked for
MECHANISMS = {"XOAUTH2": f"user={ALICE}\1auth=Bearer {TOKEN}\1\1", "OAUTHBEARER": f"n,a={ALICE},\1auth=Bearer {TOKEN}\1\1"}


class Silent:
    """A provider that cannot be reached."""

    async def document(self, url: str, *, max_bytes: int) -> bytes:
        raise OperatorFault("down", rule="HTTP-UNREACHABLE", detail="secret of the network")

    async def ask(self, url: str, form: Mapping[str, str], *, max_bytes: int) -> bytes:
        raise OperatorFault("down", rule="HTTP-UNREACHABLE")


class Strict:
    """A provider that knows no token."""

    async def check(self, claim: TokenClaim, caller: Caller) -> TokenRefusal:
        return TokenRefusal("invalid_token", "mail")


def b64(text: str) -> str:
    return b64encode(text.encode()).decode()


def unreachable(stage: SmtpStage) -> PscChecker:
    provider = Silent()
    return PscChecker(PscSettings(TokenPolicy(ISSUER, frozenset({"lps"}))),
                      ProviderKeys(provider, KeySettings(ISSUER, ISSUER + "/d"), stage.clock), provider, stage.stores, clock=stage.clock,
                      evidence=stage.evidence)


@pytest.fixture
async def smtp(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def submission(stage: SmtpStage, checker: TokenChecker, **settings: Any) -> Wire:
    stage.accounts._checker = checker
    wire = await stage.connect(await stage.open("submission", login=Circumstances(ALL, tokens=True), **settings))
    await wire.reply()
    assert "XOAUTH2" in await wire.secure()
    return wire


# ------------------------------------------------------------ submission


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("initial", [True, False])
async def test_submission_says_later_when_the_keys_cannot_be_had(smtp: SmtpStage, mechanism: str, initial: bool) -> None:
    """RFC 4954 §6: 454 4.7.0, and no challenge that would have the client throw its token away."""
    wire = await submission(smtp, unreachable(smtp))
    said = b64(MECHANISMS[mechanism])
    with structlog.testing.capture_logs() as logs:
        reply = await wire.ask(f"AUTH {mechanism} {said}") if initial else (await wire.asks(f"AUTH {mechanism}", said))[1]
    assert reply.startswith("454 4.7.0 ") and reply.endswith("[AUTH-INDISPONIBLE]")
    assert [one["rule"] for one in logs if one["event"] == "login_not_checked"] == ["PSC-INJOIGNABLE"]
    assert TOKEN not in repr(logs)
    assert (await wire.ask("NOOP")).startswith("250 "), "the session goes on"
    (row,) = await smtp.journal(JournalKind.TOKEN_REFUSED)
    assert row.payload["rule"] == "PSC-INJOIGNABLE" and TOKEN not in json.dumps(row.payload)


async def test_submission_says_later_many_times_without_blaming(smtp: SmtpStage) -> None:
    wire = await submission(smtp, unreachable(smtp))
    for _ in range(8):
        assert (await wire.ask(f"AUTH XOAUTH2 {b64(MECHANISMS['XOAUTH2'])}")).startswith("454 4.7.0 ")
    assert await smtp.journal(JournalKind.LOGIN_REFUSED) == [], "no failed login is counted"


async def test_submission_refuses_a_bad_token_for_good(smtp: SmtpStage) -> None:
    """The other case: judged and refused, with the challenge in JSON, then 535."""
    wire = await submission(smtp, Strict())
    challenge = await wire.ask(f"AUTH XOAUTH2 {b64(MECHANISMS['XOAUTH2'])}")
    assert challenge.startswith("334 ") and json.loads(b64decode(challenge[4:]))["status"] == "401"
    assert (await wire.ask("")).startswith("535 5.7.8 ")


async def test_who_sulks_over_a_refused_token_is_sent_away_by_submission(smtp: SmtpStage) -> None:
    wire = await submission(smtp, Strict(), command_seconds=60.0)
    assert (await wire.ask(f"AUTH XOAUTH2 {b64(MECHANISMS['XOAUTH2'])}")).startswith("334 ")
    session, door = smtp.sessions[-1], smtp.doors[-1]
    assert session.deadline - time.monotonic() < 61, "the challenge gave it no more time than a command has"
    door.sweep()
    assert door.open_sessions == 1
    session.deadline = 0.0  # its time is over
    door.sweep()
    assert session.state.account is None
    assert (await wire.reply()).endswith("[SESSION-DELAI]")
    await wire.closed()
    await smtp.idle()


# ------------------------------------------------------------ IMAP


class Away(PasswordTable):
    """A desk whose store is away."""

    async def _read(self, login: str) -> Any:
        raise OperatorFault("storage failed", rule="STORE-OPEN", detail="secret")


class Line:
    """An IMAP client on a socket, in TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), 20)).decode().rstrip("\r\n")

    async def ask(self, command: str) -> str:
        self.writer.write(command.encode() + b"\r\n")
        return await self.line()


@pytest.fixture
async def imap(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await imap_stage.build(tmp_path, ImapSettings(hostname="imap.example", login_seconds=1.0))
    common = offer()
    made.endpoint.offer = replace(common, common=replace(common.common, tokens=True), login_of=None)
    yield made
    await made.close()


async def opened(stage: Stage, desk: PasswordTable) -> tuple[Line, asyncio.Server]:
    stage.endpoint.services = replace(stage.services, authenticator=desk)
    server = await listen_on("127.0.0.1:0", stage.endpoint, door_context(False))
    port = server.sockets[0].getsockname()[1]
    one = Line(*await asyncio.open_connection("127.0.0.1", port, ssl=client_context()))
    assert (await one.line()).startswith("* OK")
    return one, server


class FarKeys(PasswordTable):
    """A desk that asks the checker of the product about tokens."""

    def __init__(self, stage: Stage, smtp: SmtpStage) -> None:
        super().__init__(stage.stores)
        self._checker = unreachable(smtp)

    async def token(self, claim: TokenClaim, caller: Caller) -> Any:
        return await self._checker.check(claim, caller)


UNAVAILABLE = "NO [UNAVAILABLE] the login cannot be checked now, try again later"


async def test_imap_says_unavailable_when_the_keys_cannot_be_had(imap: Stage, tmp_path_factory: pytest.TempPathFactory) -> None:
    """RFC 5530 §3."""
    smtp = await build(tmp_path_factory.mktemp("keys"))
    client, server = await opened(imap, FarKeys(imap, smtp))
    for mechanism, said in MECHANISMS.items():
        assert await client.ask(f"a AUTHENTICATE {mechanism} {b64(said)}") == "a " + UNAVAILABLE
        assert (await client.ask(f"b AUTHENTICATE {mechanism}")).startswith("+")
        assert await client.ask(b64(said)) == "b " + UNAVAILABLE
    assert (await client.ask("c NOOP")).startswith("c OK"), "the connection goes on"
    client.writer.close()
    server.close()
    await smtp.close()


async def test_imap_says_unavailable_when_the_store_is_away(imap: Stage) -> None:
    client, server = await opened(imap, Away(imap.stores))
    for _ in range(4):  # more than the failures that end a connection
        assert await client.ask(f"a AUTHENTICATE XOAUTH2 {b64(MECHANISMS['XOAUTH2'])}") == "a " + UNAVAILABLE
        assert await client.ask(f"b AUTHENTICATE PLAIN {b64(chr(0) + ADDRESS + chr(0) + PASSWORD)}") == "b " + UNAVAILABLE
        assert await client.ask(f'c LOGIN {ADDRESS} "{PASSWORD}"') == "c " + UNAVAILABLE
    client.writer.close()
    server.close()


async def test_who_sulks_over_a_refused_token_is_sent_away_by_imap(imap: Stage) -> None:
    """What Cyrus SASL's XOAUTH2 plug-in does (mbsync): no word after the challenge."""
    client, server = await opened(imap, PasswordTable(imap.stores))
    challenge = await client.ask(f"a AUTHENTICATE XOAUTH2 {b64(MECHANISMS['XOAUTH2'])}")
    assert challenge.startswith("+ ") and json.loads(b64decode(challenge[2:]))["status"] == "401"
    assert await client.line() == "* BYE no login in time"
    assert await client.line() == "", "closed"
    assert imap.endpoint.connections == 0
    client.writer.close()
    server.close()
