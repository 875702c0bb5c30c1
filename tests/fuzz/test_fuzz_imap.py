"""IMAP core under random octets: nothing raised, same events however cut, in step after every fault, memory bounded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.imap.bodystructure import strip_extensions
from mssante.protocol.imap.faults import ClientFault, CommandRefused, SessionEnd, encode_fault
from mssante.protocol.imap.limits import Limits
from mssante.protocol.imap.match import Pattern
from mssante.protocol.imap.session import NEED_DATA, Command, Event, ImapSession, Line, LiteralChunk, LiteralWanted
from mssante.protocol.imap.values import Authenticate, Idle, Noop

SMALL = Limits(line_before=60, line=120, held_before=12, held=30, drop_before=40, drop=90, faults_before=9, faults=9)

WORDS = [
    b" ", b"\r\n", b"\n", b"\r", b"(", b")", b"[", b"]", b"<", b">", b'"', b"\\", b"{", b"}", b"*", b"%", b"$", b",", b":", b"+",
    b"{3}\r\n", b"{3+}\r\n", b"~{5}\r\n", b"{0+}\r\n", b"{99+}\r\n", b"{999999}\r\n", b"{9999999999999999999999+}\r\n", b"\x00",
    b"a", b"a1 ", b"b NOOP\r\n", b"1", b"1:*", b"0", b"4294967296", b"INBOX", b"&AOk-", b"&AC8-", b"\xc3\xa9", b"\xff",
    b"FETCH ", b"UID ", b"STORE ", b"SEARCH ", b"APPEND ", b"LOGIN ", b"AUTHENTICATE PLAIN", b"IDLE", b"SELECT ", b"LIST ",
    b"STATUS ", b"COPY ", b"CREATE ", b"ID ", b"ENABLE ", b"FLAGS", b"(\\Seen)", b"\\Recent", b"BODY[", b"BODY.PEEK[",
    b"HEADER.FIELDS (", b"RFC822", b"NOT ", b"OR ", b"SUBJECT ", b"RETURN (", b"SINCE 1-Feb-2026", b"CHARSET ", b"MODSEQ 1",
    b'"17-Jul-1996 02:44:25 -0700"', b"DONE\r\n", b"(CHANGEDSINCE 1)", b"x" * 50,
]
STREAMS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=4), max_size=40).map(b"".join)
STATES = st.sampled_from(["before tls", "before login", "authenticated", "selected", "rev2"])


def start(state: str, limits: Limits) -> ImapSession:
    """Give a session in a state."""
    session = ImapSession(limits=limits, tls=state != "before tls")
    if state not in ("before tls", "before login"):
        session.logged_in()
    if state == "rev2":
        session.enable(("IMAP4REV2",))
    if state in ("selected", "rev2"):
        session.selected(read_only=False)
    return session


def drain(session: ImapSession, events: list[Event]) -> None:
    """Take events as a server would: accept even sizes, refuse odd ones, ask for lines."""
    while (event := session.next_event()) is not NEED_DATA:
        if isinstance(event, LiteralChunk) and events and isinstance(events[-1], LiteralChunk):
            events[-1] = LiteralChunk(events[-1].data + event.data)
            continue
        events.append(event)
        if isinstance(event, LiteralWanted) and event.size % 2:
            session.accept_literal()
        elif isinstance(event, LiteralWanted):
            session.refuse_literal()
        elif isinstance(event, Command) and isinstance(event.value, Idle | Authenticate):
            session.expect_line()


def run(state: str, pieces: list[bytes], limits: Limits) -> list[Event]:
    """Feed pieces, give all events."""
    session = start(state, limits)
    events: list[Event] = []
    for piece in pieces:
        session.receive(piece)
        drain(session, events)
        assert session.buffered <= limits.line + limits.held + len(piece)
    return events


@settings(max_examples=500, deadline=None)
@given(STATES, STREAMS, st.booleans())
def test_whole_and_octet_by_octet_give_the_same_events(state: str, stream: bytes, small: bool) -> None:
    limits = SMALL if small else Limits()
    whole = run(state, [stream], limits)
    cut = run(state, [stream[at:at + 1] for at in range(len(stream))], limits)
    assert whole == cut
    for event in whole:
        assert isinstance(event, Command | LiteralWanted | LiteralChunk | Line | ClientFault | CommandRefused | SessionEnd)
        if isinstance(event, ClientFault | CommandRefused):
            line = encode_fault(event, event.tag)
            assert line.endswith(b"\r\n")
            assert line.count(b"\n") == 1
            assert line.isascii()


COMMANDS = st.lists(st.sampled_from(WORDS), max_size=12).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(STATES, COMMANDS)
def test_in_step_after_any_line(state: str, junk: bytes) -> None:
    """A line without literal, whatever it holds, is answered once; the next command is understood."""
    line = junk.replace(b"\r", b"").replace(b"\n", b"").replace(b"{", b"").replace(b"IDLE", b"").replace(b"AUTHENTICATE", b"")
    events = run(state, [b"t " + line + b"\r\nu NOOP\r\n"], Limits())
    assert len(events) == 2
    assert events[1] == Command(b"u", "NOOP", Noop())


@settings(max_examples=200, deadline=None)
@given(STATES, COMMANDS, st.integers(0, 30))
def test_octets_of_a_literal_are_never_commands(state: str, junk: bytes, size: int) -> None:
    head = junk.replace(b"\r", b"").replace(b"\n", b"").replace(b"{", b"").replace(b"IDLE", b"").replace(b"AUTHENTICATE", b"")
    hidden = (b"z CAPABILITY\r\n" * 3)[:size]
    stream = b"t " + head + b" {%d+}\r\n" % size + hidden + b"\r\nu NOOP\r\n"
    events = run(state, [stream], Limits())
    assert not [event for event in events if isinstance(event, Command) and event.tag == b"z"]
    assert events[-1] == Command(b"u", "NOOP", Noop())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text('()" {}0123\\\r\nAB', max_size=40).map(str.encode))
def test_any_bodystructure_is_given_back(encoded: bytes) -> None:
    assert isinstance(strip_extensions(encoded), bytes)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_pattern_matches_or_not(pattern: str, name: str) -> None:
    assert Pattern(pattern).matches(name) in (True, False)
