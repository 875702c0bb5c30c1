"""Helpers for tests of the IMAP core."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mssante.protocol.imap.session import NEED_DATA, Event, ImapSession, LiteralWanted


def run(session: ImapSession, data: bytes) -> list[Event]:
    """Feed octets, accept every literal, give the events up to NEED_DATA."""
    session.receive(data)
    events: list[Event] = []
    while (event := session.next_event()) is not NEED_DATA:
        events.append(event)
        if isinstance(event, LiteralWanted):
            session.accept_literal()
    return events


def opened(*, rev2: bool = False) -> ImapSession:
    """Give a session with a folder open."""
    session = ImapSession(tls=True)
    session.logged_in()
    if rev2:
        session.enable(("IMAP4REV2",))
    session.selected(read_only=False)
    return session


@pytest.fixture
def feed() -> Callable[[ImapSession, bytes], list[Event]]:
    """Feed octets and give events."""
    return run


@pytest.fixture
def parse() -> Callable[..., Event]:
    """Parse one command (without tag) in a session with a folder open; give the last event."""

    def one(line: bytes, *, rev2: bool = False, before_login: bool = False) -> Event:
        session = ImapSession(tls=True) if before_login else opened(rev2=rev2)
        return run(session, b"t1 " + line + b"\r\n")[-1]

    return one


@pytest.fixture
def open_session() -> Callable[..., ImapSession]:
    """Give a session with a folder open."""
    return opened
