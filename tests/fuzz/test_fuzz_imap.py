"""IMAP core under random octets: nothing raised, same events however cut, in step after every fault, memory bounded."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.imap.bodystructure import strip_extensions
from mssante.protocol.imap.faults import ClientFault, CommandRefused, SessionEnd, encode_fault
from mssante.protocol.imap.limits import Limits
from mssante.protocol.imap.match import Pattern
from mssante.protocol.imap.session import NEED_DATA, Command, Event, ImapSession, Line, LiteralChunk, LiteralWanted
from mssante.protocol.imap.url import bad_url_code, parse_url
from mssante.protocol.imap.values import Append, AppendLiteral, AppendMessage, AppendUrl, Authenticate, Idle, Noop

SMALL = Limits(line_before=60, line=120, held_before=12, held=30, drop_before=40, drop=90, faults_before=9, faults=9)

WORDS = [
    b" ", b"\r\n", b"\n", b"\r", b"(", b")", b"[", b"]", b"<", b">", b'"', b"\\", b"{", b"}", b"*", b"%", b"$", b",", b":", b"+",
    b"{3}\r\n", b"{3+}\r\n", b"~{5}\r\n", b"{0+}\r\n", b"{99+}\r\n", b"{999999}\r\n", b"{9999999999999999999999+}\r\n", b"\x00",
    b"a", b"a1 ", b"b NOOP\r\n", b"1", b"1:*", b"0", b"4294967296", b"INBOX", b"&AOk-", b"&AC8-", b"\xc3\xa9", b"\xff",
    b"FETCH ", b"UID ", b"STORE ", b"SEARCH ", b"APPEND ", b"LOGIN ", b"AUTHENTICATE PLAIN", b"IDLE", b"SELECT ", b"LIST ",
    b"STATUS ", b"COPY ", b"CREATE ", b"ID ", b"ENABLE ", b"FLAGS", b"(\\Seen)", b"\\Recent", b"BODY[", b"BODY.PEEK[",
    b"HEADER.FIELDS (", b"RFC822", b"NOT ", b"OR ", b"SUBJECT ", b"RETURN (", b"SINCE 1-Feb-2026", b"CHARSET ", b"MODSEQ 1",
    b'"17-Jul-1996 02:44:25 -0700"', b"DONE\r\n", b"(CHANGEDSINCE 1)",
    b"(QRESYNC (", b"1 1", b"UIDBATCHES 500", b"(PARTIAL -1:-5)", b"VANISHED", b"UIDAFTER 1", b"UIDONLY", b"QRESYNC", b"x" * 50,
    b"REPLACE 1 ", b"CATENATE (", b"TEXT ", b"URL ", b"/INBOX/;UID=1", b"UTF8 (", b")\r\n", b"NOTIFY SET (", b"selected ", b"personal ",
    b"(MessageNew MessageExpunge)", b"MessageNew (UID) ", b"NOTIFY NONE",
]
STREAMS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=4), max_size=40).map(b"".join)
STATES = st.sampled_from(["before tls", "before login", "authenticated", "selected", "rev2", "utf8"])


def start(state: str, limits: Limits) -> ImapSession:
    """Give a session in a state."""
    session = ImapSession(limits=limits, tls=state != "before tls")
    if state not in ("before tls", "before login"):
        session.logged_in()
    if state == "rev2":
        session.enable(("IMAP4REV2",))
    if state == "utf8":
        session.enable(("UTF8=ACCEPT",))
    if state in ("selected", "rev2", "utf8"):
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


FLAGS = st.sampled_from([b"", b" (\\Seen)", b" ()", b' "17-Jul-1996 02:44:25 -0700"', b' (a \\Draft) "17-Jul-1996 02:44:25 -0700"'])
DATA = st.binary(max_size=12) | st.sampled_from([b"z CAPABILITY\r\n", b" {9+}\r\n", b")\r\n"])
LITERALS = st.tuples(st.sampled_from([b"", b"~"]), st.sampled_from([b"", b"+"]), DATA)
PARTS = st.lists(st.tuples(st.just(b"TEXT"), LITERALS) | st.tuples(st.sampled_from([b"URL", b"URL literal"]), st.just((b"", b"", b"/x/;UID=1"))),
                 min_size=1, max_size=4)
MESSAGES = st.lists(st.tuples(FLAGS, LITERALS | PARTS), min_size=1, max_size=4)
HEADS = st.sampled_from([b"APPEND x", b"APPEND {3}\r\nURL", b"APPEND {3+}\r\nb c", b'APPEND "CATENATE (URL "', b"APPEND URL"])


def literal(kind: bytes, plus: bytes, data: bytes) -> bytes:
    """Write a literal as a client that never waits would."""
    return kind + b"{%d%b}\r\n" % (len(data), plus) + data


def part(word: bytes, value: tuple[bytes, bytes, bytes]) -> bytes:
    """Write one part of CATENATE."""
    if word == b"URL":
        return b"URL " + value[2]
    return word.split(b" ")[0] + b" " + literal(b"", value[1], value[2])


def written(head: bytes, messages: list[tuple[bytes, Any]]) -> tuple[bytes, list[bytes], int]:
    """Write a whole APPEND: give it, the octets of its messages in order, and how many URLs it holds."""
    text, data, urls = b"t " + head, [], 0
    for flags, body in messages:
        text += flags
        if isinstance(body, tuple):
            text += b" " + literal(*body)
            data.append(body[2])
            continue
        text += b" CATENATE (" + b" ".join(part(word, value) for word, value in body) + b")"
        data += [value[2] for word, value in body if word == b"TEXT"]
        urls += sum(word != b"TEXT" for word, _ in body)
    return text + b"\r\n", data, urls


def play(stream: bytes, cut: int, refused: int) -> tuple[list[Event], list[bytes]]:
    """Feed in pieces; accept every literal but one. Give events without chunks, and the octets of each streamed literal."""
    session = start("selected", Limits())
    events: list[Event] = []
    octets: list[bytes] = []
    for at in range(0, len(stream), cut):
        session.receive(stream[at:at + cut])
        while (event := session.next_event()) is not NEED_DATA:
            if isinstance(event, LiteralChunk):
                octets[-1] += event.data
                continue
            events.append(event)
            if not isinstance(event, LiteralWanted):
                continue
            if event.value is not None:
                octets.append(b"")
            if event.value is not None and len(octets) == refused + 1:
                session.refuse_literal()
            else:
                session.accept_literal()
    return events, octets


@settings(max_examples=400, deadline=None)
@given(HEADS, MESSAGES, st.integers(1, 40))
def test_several_messages_and_parts_come_whole(head: bytes, messages: list[tuple[bytes, Any]], cut: int) -> None:
    stream, data, urls = written(head, messages)
    events, octets = play(stream + b"u NOOP\r\n", cut, -2)
    assert octets == data
    assert events[-1] == Command(b"u", "NOOP", Noop())
    assert not [event for event in events if isinstance(event, ClientFault)]
    values = [event.value for event in events if isinstance(event, Command | LiteralWanted) and isinstance(event.value, Append)]
    actions = [action for value in values for action in value.actions]
    assert len([action for action in actions if isinstance(action, AppendMessage)]) == len(messages)
    assert [action.size for action in actions if isinstance(action, AppendLiteral)] == [len(one) for one in data]
    assert len([action for action in actions if isinstance(action, AppendUrl)]) == urls


@settings(max_examples=400, deadline=None)
@given(HEADS, MESSAGES, st.integers(1, 40), st.integers(0, 5))
def test_a_refused_literal_in_the_middle_takes_the_command_with_it(head: bytes, messages: list[tuple[bytes, Any]], cut: int,
                                                                   refused: int) -> None:
    """A client that does not wait (`{n+}` everywhere): what is left of its command is read past, never taken for commands."""
    eager = [(flags, (body[0], b"+", body[2]) if isinstance(body, tuple) else [(word, (b"", b"+", value[2])) for word, value in body])
             for flags, body in messages]
    stream, data, _ = written(head.replace(b"{3}", b"{3+}"), eager)
    events, octets = play(stream + b"u NOOP\r\n", cut, refused)
    assert events[-1] == Command(b"u", "NOOP", Noop())
    assert not [event for event in events if isinstance(event, Command) and event.tag == b"z"]
    if refused < len(data):
        assert octets == [*data[:refused], b""]
        assert len([event for event in events if isinstance(event, Command)]) == 1
    else:
        assert octets == data


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([b"/", b";", b"INBOX", b"UID=1", b";UID=", b"/;", b"UIDVALIDITY=", b"SECTION=", b"PARTIAL=", b"1", b"0.1",
                                 b"%2F", b"%5D", b"%FF", b"..", b"]", b"HEADER", b"imap://", b"?", b"\r\n", b"A" * 30])
                | st.binary(max_size=3), max_size=16).map(b"".join), st.sampled_from([None, "A/B"]))
def test_any_url_names_a_message_or_is_refused(raw: bytes, open_folder: str | None) -> None:
    code = bad_url_code(raw)
    assert code.startswith("BADURL ")
    assert code.isprintable()
    assert "]" not in code
    try:
        url = parse_url(raw, open_folder=open_folder)
    except ValueError:
        return
    assert url.folder
    assert ".." not in url.folder.split("/")
    assert 0 < url.uid < 2**32


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text('()" {}0123\\\r\nAB', max_size=40).map(str.encode))
def test_any_bodystructure_is_given_back(encoded: bytes) -> None:
    assert isinstance(strip_extensions(encoded), bytes)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_pattern_matches_or_not(pattern: str, name: str) -> None:
    assert Pattern(pattern).matches(name) in (True, False)
