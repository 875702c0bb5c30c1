"""Grammar of QRESYNC, UIDONLY, PARTIAL of FETCH, UIDBATCHES, UIDAFTER and UIDBEFORE; figures of capabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mssante.protocol.imap.capabilities import with_figures
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.partial import Partial
from mssante.protocol.imap.session import Command, ImapSession
from mssante.protocol.imap.syncencode import vanished_lines
from mssante.protocol.imap.syncvalues import Resync, UidBatches
from mssante.protocol.imap.values import FetchItem

Open = Callable[..., ImapSession]
Feed = Callable[[ImapSession, bytes], list[Any]]


def with_modes(session: ImapSession, *names: str) -> ImapSession:
    session.enable(names)
    return session


@pytest.mark.parametrize(("text", "value"), [
    ("(QRESYNC (67890007 20050715194045000))", Resync(67890007, 20050715194045000)),
    ("(QRESYNC (67890007 20050715194045000 41,43:211,214:541))",
     Resync(67890007, 20050715194045000, NumSet(((41, 41), (43, 211), (214, 541))))),
    ("(QRESYNC (67890007 90060115194045000 41:211,214:541) CONDSTORE)",
     Resync(67890007, 90060115194045000, NumSet(((41, 211), (214, 541))))),
    ("(CONDSTORE QRESYNC (1 2 (1,3 5,9)))", Resync(1, 2, None, NumSet.of([1, 3]), NumSet.of([5, 9]))),
    ("(qresync (1 2 1:9 (1,3 5,9)))", Resync(1, 2, NumSet(((1, 9),)), NumSet.of([1, 3]), NumSet.of([5, 9]))),
])
def test_select_with_qresync(open_session: Open, feed: Feed, text: str, value: Resync) -> None:
    event = feed(with_modes(open_session(), "QRESYNC"), b"t SELECT INBOX " + text.encode() + b"\r\n")[-1]
    assert isinstance(event, Command)
    assert event.value.resync == value  # type: ignore[union-attr]


@pytest.mark.parametrize("text", [
    "()", "(QRESYNC)", "(QRESYNC ())", "(QRESYNC (1))", "(QRESYNC (0 1))", "(QRESYNC (1 0))", "(QRESYNC (1 1 1:*))",
    "(QRESYNC (1 1 $))", "(QRESYNC (1 1 (1 1:2)))", "(QRESYNC (1 1 (1:2)))", "(QRESYNC (1 1 1:2 (1 1) 3))",
    "(QRESYNC (4294967296 1))", "(QRESYNC (1 9223372036854775808))", "(QRESYNC (1 1)) x", "(QRESYNC (1 1)",
    "(QRESYNC (1 1) QRESYNC (1 1))", "(CONDSTORE CONDSTORE)", "(CONDSTORE  QRESYNC (1 1))", "(QRESYNC (1 1 ))",
])
def test_select_malformed(open_session: Open, feed: Feed, text: str) -> None:
    event = feed(with_modes(open_session(), "QRESYNC"), b"t SELECT INBOX " + text.encode() + b"\r\n")[-1]
    assert isinstance(event, ClientFault)


def test_enable_qresync_implies_condstore(open_session: Open) -> None:
    session = open_session()
    assert session.enable(("QRESYNC", "X")) == ("QRESYNC",)
    assert session.condstore
    assert session.qresync
    assert session.enable(("CONDSTORE",)) == ()


def test_fetch_modifiers(open_session: Open, feed: Feed) -> None:
    session = with_modes(open_session(), "QRESYNC")
    value = feed(session, b"t UID FETCH 1:* FLAGS (PARTIAL -1:-30 VANISHED CHANGEDSINCE 98305)\r\n")[-1].value
    assert (value.changed_since, value.vanished, value.partial) == (98305, True, Partial(1, 30, from_end=True))
    assert value.items == FetchItem.UID | FetchItem.FLAGS | FetchItem.MODSEQ
    assert value.plain_uid
    value = feed(session, b"t UID FETCH 1:* (UID FLAGS) (PARTIAL 5:2)\r\n")[-1].value
    assert (value.partial, value.plain_uid, value.items) == (Partial(5, 2), False, FetchItem.UID | FetchItem.FLAGS)


@pytest.mark.parametrize("line", [
    "FETCH 1 FLAGS (PARTIAL 1:2)", "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)", "UID FETCH 1 FLAGS (VANISHED)",
    "UID FETCH 1 FLAGS (PARTIAL 1:-2)", "UID FETCH 1 FLAGS (PARTIAL 0:2)", "UID FETCH 1 FLAGS (PARTIAL 1)",
    "UID FETCH 1 FLAGS (PARTIAL 1:4294967296)", "UID FETCH 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 2)", "UID FETCH 1 FLAGS ()",
    "UIDBATCHES", "UIDBATCHES 0", "UIDBATCHES x", "UIDBATCHES 1 1", "UIDBATCHES 1 0:1", "UIDBATCHES 1 1:2 3", "UIDBATCHES -1",
    "UID SEARCH UIDAFTER 0", "UID SEARCH UIDAFTER 1:2", "UID SEARCH UIDBEFORE *", "UID SEARCH UIDBEFORE",
])
def test_malformed(open_session: Open, feed: Feed, line: str) -> None:
    event = feed(with_modes(open_session(), "QRESYNC"), f"t {line}\r\n".encode())[-1]
    assert isinstance(event, ClientFault)
    assert event.code == ""


def test_uid_batches(open_session: Open, feed: Feed) -> None:
    assert feed(open_session(), b"t UIDBATCHES 2000\r\n")[-1].value == UidBatches(2000)
    assert feed(open_session(), b"t UIDBATCHES 2000 21:50\r\n")[-1].value == UidBatches(2000, 21, 50)
    event = feed(open_session(), b"t UIDBATCHES 2000 50:21\r\n")[-1]
    assert (type(event), event.code) == (ClientFault, "CLIENTBUG")


def test_uids_beside(open_session: Open, feed: Feed) -> None:
    def uids(text: bytes) -> NumSet:
        value = feed(open_session(), b"t UID SEARCH " + text + b"\r\n")[-1].value
        assert value.key.uid
        return value.key.numbers

    assert uids(b"UIDAFTER 7").ranges == ((8, 4_294_967_295),)
    assert uids(b"UIDBEFORE 7").ranges == ((1, 6),)
    assert not uids(b"UIDBEFORE 1")
    assert not uids(b"UIDAFTER 4294967295")


@pytest.mark.parametrize("line", [
    "FETCH 1 FLAGS", "STORE 1 FLAGS ()", "COPY 1 a", "MOVE 1 a", "SEARCH ALL", "SEARCH UID 1", "UID SEARCH 1:*",
    "UID SEARCH NOT 1", "UID SEARCH OR SEEN 2", "UID SEARCH (SEEN (UNSEEN 3))", "SORT (DATE) UTF-8 ALL",
    "UID SORT (DATE) UTF-8 1:5", "THREAD REFERENCES UTF-8 ALL", "UID THREAD REFERENCES UTF-8 OR 1 SEEN",
    "SELECT INBOX (QRESYNC (1 1 (1 1)))", "REPLACE 1 INBOX {3}",
])
def test_uidonly_refuses_numbers(open_session: Open, feed: Feed, line: str) -> None:
    session = with_modes(open_session(), "UIDONLY", "QRESYNC")
    event = feed(session, f"t {line}\r\n".encode())[-1]
    assert isinstance(event, ClientFault)
    assert event.code == "UIDREQUIRED"


@pytest.mark.parametrize("line", [
    "UID FETCH 1:* FLAGS", "UID STORE 1 FLAGS ()", "UID COPY 1 a", "UID MOVE 1 a", "UID SEARCH ALL", "UID SEARCH $",
    "UID SEARCH NOT UID 1:5", "EXPUNGE", "UID EXPUNGE 1", "CLOSE", "SELECT INBOX (QRESYNC (1 1 1:5))", "UIDBATCHES 500",
])
def test_uidonly_leaves_the_rest(open_session: Open, feed: Feed, line: str) -> None:
    session = with_modes(open_session(), "UIDONLY", "QRESYNC")
    assert isinstance(feed(session, f"t {line}\r\n".encode())[-1], Command)


def test_vanished_lines_are_bounded() -> None:
    uids = NumSet.of(range(4_000_000_001, 4_000_002_001, 2))
    lines = vanished_lines(uids, earlier=True)
    assert len(lines) > 1
    assert max(map(len, lines)) <= 8192
    assert all(line.startswith(b"* VANISHED (EARLIER) ") for line in lines)
    told = b",".join(line[21:-2] for line in lines)
    assert NumSet.parse(told) == uids
    assert vanished_lines(NumSet()) == []
    assert vanished_lines(NumSet.of([1, 2, 3])) == [b"* VANISHED 1:3\r\n"]


def test_figures_of_capabilities() -> None:
    words = b"IMAP4rev1 MESSAGELIMIT= IDLE"
    assert with_figures(words, (("MESSAGELIMIT", 5),)) == b"IMAP4rev1 MESSAGELIMIT=5 IDLE"
    assert with_figures(words, (("MESSAGELIMIT", 0),)) == b"IMAP4rev1 IDLE"
    assert with_figures(words, ()) == b"IMAP4rev1 IDLE"
