"""What a token opened ends with BYE after its seconds, not before, and never inside a command (ECO.1.2.7)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.imap_stage import ADDRESS, TOKEN, PasswordTable, Stage, build, offer

from mssante.endpoints.imap_connection import ImapConnection
from mssante.protocol.sasl.base import TokenClaim, TokenRefusal
from mssante.services.sasl import Accepted, Caller
from mssante.storage.interfaces import Account


class Desk(PasswordTable):
    """Tokens open a session of so many seconds."""

    seconds = 3600.0

    async def token(self, claim: TokenClaim, caller: Caller) -> Account | Accepted | TokenRefusal:  # type: ignore[override]
        found = await super().token(claim, caller)
        return Accepted(found, self.seconds) if isinstance(found, Account) else found


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    made = await build(tmp_path)
    made.endpoint.services = replace(made.services, authenticator=Desk(made.stores))
    common = offer()
    made.endpoint.offer = replace(common, common=replace(common.common, tokens=True))
    yield made
    await made.close()


class Pipe(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 4000), "ssl_object": None})
        self.said = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.said += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0


async def logged_in(stage: Stage) -> tuple[ImapConnection, Pipe]:
    connection, pipe = ImapConnection(stage.endpoint), Pipe()
    connection.connection_made(pipe)
    connection._core.tls = True
    connection._circumstances = stage.endpoint.offer.common
    connection._core.mechanisms = ("XOAUTH2",)
    said = base64.b64encode(f"user={ADDRESS}\1auth=Bearer {TOKEN}\1\1".encode())
    connection.data_received(b"a AUTHENTICATE XOAUTH2 " + said + b"\r\n")
    while connection._busy:
        await asyncio.sleep(0)
    connection._flush()
    assert b"a OK" in pipe.said, pipe.said
    return connection, pipe


async def test_a_session_by_token_has_an_end(stage: Stage) -> None:
    connection, pipe = await logged_in(stage)
    timer = connection._session_end
    assert timer is not None
    left = timer.when() - asyncio.get_running_loop().time()
    assert 3500 < left <= 3600
    connection._end_session()
    connection._flush()
    assert b"* BYE session over, log in again\r\n" in pipe.said and pipe.closed
    connection.connection_lost(None)


async def test_never_inside_a_command(stage: Stage) -> None:
    connection, pipe = await logged_in(stage)
    connection._busy = True
    connection._end_session()
    connection._flush()
    assert b"BYE" not in pipe.said and connection._session_end is not None, "looked at again in a second"
    connection._busy = False
    connection._end_session()
    connection._flush()
    assert b"* BYE session over" in pipe.said
    connection.connection_lost(None)


async def test_it_is_forgotten_with_the_session(stage: Stage) -> None:
    connection, _ = await logged_in(stage)
    connection.data_received(b"u UNAUTHENTICATE\r\n")
    while connection._busy:
        await asyncio.sleep(0)
    assert connection._session_end is None
    connection.connection_lost(None)
