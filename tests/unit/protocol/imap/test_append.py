"""APPEND and REPLACE as events: several messages, parts, the literals that are streamed and those that are held."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from mssante.protocol.imap.commands.append import MAX_URL
from mssante.protocol.imap.faults import ClientFault, encode_fault
from mssante.protocol.imap.limits import LITERAL_MINUS, Limits
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.session import Command, Event, ImapSession, LiteralChunk, LiteralWanted
from mssante.protocol.imap.streaming import is_message
from mssante.protocol.imap.values import Append, AppendLiteral, AppendMessage, AppendUrl, Noop

DATE = datetime(1996, 7, 17, 2, 44, 25, tzinfo=timezone(-timedelta(hours=7)))

Feed = Callable[[ImapSession, bytes], list[Event]]
Open = Callable[..., ImapSession]


def steps(events: list[Event]) -> list[Append | None]:
    """Give the values of the steps of one command."""
    return [event.value for event in events if isinstance(event, LiteralWanted)] + [
        event.value for event in events if isinstance(event, Command) and isinstance(event.value, Append)]


def selected(open_session: Open) -> ImapSession:
    session = open_session()
    session.selected(read_only=False)
    return session


def test_several_messages(open_session: Open, feed: Feed) -> None:
    events = feed(open_session(), b"a APPEND x (\\Seen) {3+}\r\nabc (work) {2+}\r\nde ~{1+}\r\nf\r\nb NOOP\r\n")
    assert steps(events) == [
        Append("x", (AppendMessage(1), AppendLiteral(3))),
        Append("x", (AppendMessage(0, ("work",)), AppendLiteral(2))),
        Append("x", (AppendMessage(), AppendLiteral(1, binary=True))),
        Append("x"),
    ]
    assert [event.data for event in events if isinstance(event, LiteralChunk)] == [b"abc", b"de", b"f"]
    assert events[-1] == Command(b"b", "NOOP", Noop())


def test_parts(open_session: Open, feed: Feed) -> None:
    events = feed(open_session(), b"a APPEND {3+}\r\nbox CATENATE (URL /a/;UID=1 TEXT {3+}\r\nabc URL {9+}\r\n/a/;UID=2 "
                                  b"TEXT {1+}\r\nd URL \"/a/;UID=3\") (\\Draft) CATENATE (URL z)\r\n")
    assert steps(events) == [
        Append("box", (AppendMessage(), AppendUrl(b"/a/;UID=1"), AppendLiteral(3, alone=False))),
        Append("box", (AppendUrl(b"/a/;UID=2"), AppendLiteral(1, alone=False))),
        Append("box", (AppendUrl(b"/a/;UID=3"), AppendMessage(16), AppendUrl(b"z"))),
    ]


def test_no_literal_at_all(open_session: Open, feed: Feed) -> None:
    assert feed(open_session(), b'a append x "17-Jul-1996 02:44:25 -0700" catenate (url "u" url v)\r\n')[0] == Command(
        b"a", "APPEND", Append("x", (AppendMessage(internal_date=DATE), AppendUrl(b"u"), AppendUrl(b"v"))))


def test_utf8_literals(open_session: Open, feed: Feed) -> None:
    session = open_session()
    session.enable(("UTF8=ACCEPT",))
    events = feed(session, b'a APPEND "\xc3\xa9" UTF8 (~{1+}\r\na) CATENATE (UTF8 (~{1+}\r\nb) TEXT {1+}\r\nc)\r\n')
    assert steps(events) == [
        Append("é", (AppendMessage(), AppendLiteral(1, binary=True, utf8=True))),
        Append("é", (AppendMessage(), AppendLiteral(1, binary=True, utf8=True, alone=False))),
        Append("é", (AppendLiteral(1, alone=False),)),
        Append("é"),
    ]
    assert isinstance(feed(open_session(), b"a APPEND x UTF8 (~{1+}\r\na)\r\n")[0], ClientFault)


def test_replace(open_session: Open, feed: Feed) -> None:
    events = feed(selected(open_session), b"a UID REPLACE 7 {1+}\r\nx (\\Draft) {3+}\r\nabc\r\n")
    assert steps(events) == [Append("x", (AppendMessage(16), AppendLiteral(3)), NumSet.parse(b"7"), uid=True),
                             Append("x", (), NumSet.parse(b"7"), uid=True)]
    events = feed(selected(open_session), b"a REPLACE * URL CATENATE (URL u)\r\n")
    assert steps(events) == [Append("URL", (AppendMessage(), AppendUrl(b"u")), NumSet.parse(b"*"))]


@pytest.mark.parametrize("command", [
    b"REPLACE 1", b"REPLACE 1 x", b"REPLACE 0 x {1+}\r\na", b"REPLACE 1:2 x {1+}\r\na", b"REPLACE 1,2 x {1+}\r\na",
    b"REPLACE $ x {1+}\r\na", b"REPLACE 4294967296 x {1+}\r\na", b"REPLACE 1 x {1+}\r\na {1+}\r\nb", b"UID REPLACE x {1+}\r\na",
    b"APPEND x CATENATE", b"APPEND x CATENATE (", b"APPEND x CATENATE ()", b"APPEND x CATENATE (URL )", b"APPEND x CATENATE (URL u",
    b"APPEND x CATENATE (TEXT {1+}\r\na", b"APPEND x CATENATE (TEXT {1+}\r\na))", b"APPEND x CATENATE (TEXT ~{1+}\r\na)",
    b"APPEND x CATENATE ({1+}\r\na)", b"APPEND x CATENATE (TEXT {1+}\r\naURL u)", b"APPEND x CATENATE (URL u) y",
    b"APPEND x (\\Seen)(\\Draft) {1+}\r\na", b"APPEND x {1+}\r\na(\\Seen) {1+}\r\nb", b"APPEND x {1+}\r\na (\\Seen)",
    b"APPEND x {1+}\r\na ", b"APPEND x CATENATE (URL {2001+}\r\n" + b"u" * (MAX_URL + 1) + b")",
])
def test_malformed(command: bytes, open_session: Open, feed: Feed) -> None:
    events = feed(selected(open_session), b"a " + command + b"\r\nb NOOP\r\n")
    faults = [event for event in events if isinstance(event, ClientFault)]
    assert [fault.tag for fault in faults] == [b"a"]
    assert not [event for event in events if isinstance(event, Command) and isinstance(event.value, Append)]
    assert events[-1] == Command(b"b", "NOOP", Noop())


def test_many_small_literals_are_read_in_one_go(open_session: Open, feed: Feed) -> None:
    """Each octet of the text is parsed once: 5000 parts give 5000 steps, and the text is bounded as of any command."""
    parts = b" ".join(b"TEXT {1+}\r\nx" for _ in range(5000))
    events = feed(open_session(), b"a APPEND x CATENATE (" + parts + b")\r\n")
    assert len(steps(events)) == 5001
    events = feed(open_session(), b"a APPEND x CATENATE (" + b" ".join(b"TEXT {1+}\r\nx" for _ in range(6000)) + b")\r\nb NOOP\r\n")
    assert isinstance(events[-2], ClientFault)
    assert events[-1] == Command(b"b", "NOOP", Noop())


@pytest.mark.parametrize(("name", "text", "first", "streamed"), [
    ("APPEND", b" ", True, False), ("APPEND", b" x ", True, True), ("APPEND", b" URL ", True, True),
    ("APPEND", b" x CATENATE (URL ", True, False), ("APPEND", b" x CATENATE (URL a url ", True, False),
    ("APPEND", b" x CATENATE (TEXT ", True, True), ("APPEND", b" URL ", False, False), ("APPEND", b" ", False, True),
    ("APPEND", b" (\\Seen) ", False, True), ("REPLACE", b" 4 ", True, False), ("REPLACE", b" 4 x ", True, True),
    ("REPLACE", b" 4 URL ", True, True), ("UID REPLACE", b" 4 x CATENATE (URL ", True, False), ("LOGIN", b" x ", True, False),
])
def test_which_literals_are_streamed(name: str, text: bytes, first: bool, streamed: bool) -> None:
    assert is_message(name, text, first=first) is streamed


def test_literal_minus(feed: Feed) -> None:
    session = ImapSession(limits=Limits(unasked=LITERAL_MINUS), tls=True)
    assert b" LITERAL- " in session.capabilities()
    assert b"LITERAL+" not in session.capabilities()
    session.logged_in()
    assert b" LITERAL- " in session.capabilities()
    assert b"LITERAL+" not in session.capabilities()
    fault, after = feed(session, b"a APPEND x {4097+}\r\n" + b"x" * 4097 + b"\r\nb NOOP\r\n")
    assert isinstance(fault, ClientFault)
    assert encode_fault(fault, fault.tag).startswith(b"a BAD [TOOBIG] ")
    assert after == Command(b"b", "NOOP", Noop())
    fault, after = feed(session, b"a LIST {4097+}\r\n" + b"x" * 4097 + b" *\r\nb NOOP\r\n")
    assert isinstance(fault, ClientFault)
    assert fault.code == ""
    assert isinstance(feed(session, b"a APPEND x {4096+}\r\n" + b"x" * 4096 + b"\r\n")[-1], Command)
    assert b"LITERAL-" not in ImapSession(tls=True).capabilities()
