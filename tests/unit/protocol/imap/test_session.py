"""Framing, literals, states and limits of one connection."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mssante.protocol.imap.faults import ClientFault, CommandRefused, SessionEnd, encode_fault
from mssante.protocol.imap.limits import Limits
from mssante.protocol.imap.session import (
    NEED_DATA,
    STATES,
    Command,
    Event,
    ImapSession,
    Line,
    LiteralChunk,
    LiteralWanted,
)
from mssante.protocol.imap.values import (
    Append,
    AppendLiteral,
    AppendMessage,
    Authenticate,
    Capability,
    Login,
    Noop,
    Select,
    State,
)

Feed = Callable[[ImapSession, bytes], list[Event]]
Open = Callable[..., ImapSession]

ARGUMENTS = {
    "LOGIN": " joe x", "AUTHENTICATE": " PLAIN", "ENABLE": " CONDSTORE", "SELECT": " a", "EXAMINE": " a", "CREATE": " a",
    "DELETE": " a", "RENAME": " a b", "SUBSCRIBE": " a", "UNSUBSCRIBE": " a", "LIST": ' "" *', "LSUB": ' "" *',
    "COMPRESS": " DEFLATE", "STATUS": " a (MESSAGES)", "APPEND": " a {1+}\r\nx", "ID": " NIL", "UID EXPUNGE": " 1", "SEARCH": " ALL",
    "UID SEARCH": " ALL", "FETCH": " 1 FLAGS", "UID FETCH": " 1 FLAGS", "STORE": " 1 FLAGS ()",
    "UID STORE": " 1 FLAGS ()", "COPY": " 1 a", "UID COPY": " 1 a", "MOVE": " 1 a", "UID MOVE": " 1 a",
    "NOTIFY": " NONE", "UIDBATCHES": " 500",
    "SORT": " (DATE) UTF-8 ALL", "UID SORT": " (DATE) UTF-8 ALL", "THREAD": " REFERENCES UTF-8 ALL",
    "UID THREAD": " REFERENCES UTF-8 ALL", "CANCELUPDATE": ' "a"', "ESEARCH": " ALL",
    "GETMETADATA": " a /shared/b", "SETMETADATA": " a (/shared/b NIL)", "GETQUOTA": " a", "GETQUOTAROOT": " a",
    "SETQUOTA": " a (STORAGE 1)",
    "SETACL": " a b l", "DELETEACL": " a b", "GETACL": " a", "LISTRIGHTS": " a b", "MYRIGHTS": " a",
    "REPLACE": " 1 a {1+}\r\nx", "UID REPLACE": " 1 a {1+}\r\nx",
}


def at_state(state: State) -> ImapSession:
    """Give a session in a state, inside TLS unless STARTTLS is to be tried."""
    session = ImapSession(tls=True)
    if state is not State.NOT_AUTHENTICATED:
        session.logged_in()
    if state is State.SELECTED:
        session.selected(read_only=False)
    return session


# ---------------------------------------------------------------- states


@pytest.mark.parametrize("state", [State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED])
@pytest.mark.parametrize("name", sorted(STATES))
def test_state_table(name: str, state: State, feed: Feed) -> None:
    session = at_state(state)
    session.tls = name != "STARTTLS"
    event = feed(session, f"a {name.lower()}{ARGUMENTS.get(name, '')}\r\n".encode())[-1]
    if state in STATES[name]:
        assert isinstance(event, Command)
        assert (event.tag, event.name) == (b"a", name)
    else:
        assert isinstance(event, ClientFault)
        assert event.tag == b"a"
        assert "not allowed" in event.text


@pytest.mark.parametrize("line", [b"a LOGIN joe x", b"a AUTHENTICATE PLAIN", b"a LOGIN {3}", b"a LOGIN {3+}\r\njoe x"])
def test_no_login_before_tls(line: bytes, feed: Feed) -> None:
    session = ImapSession(tls=False)
    event = feed(session, line + b"\r\n")[-1]
    assert isinstance(event, CommandRefused)
    assert encode_fault(event, event.tag) == b"a NO [PRIVACYREQUIRED] TLS is needed first\r\n"
    assert feed(session, b"b NOOP\r\n") == [Command(b"b", "NOOP", Noop())]


def test_starttls_twice_is_bad(feed: Feed) -> None:
    assert isinstance(feed(ImapSession(tls=True), b"a STARTTLS\r\n")[0], ClientFault)


def test_starttls_forgets_what_came_before_tls(feed: Feed) -> None:
    session = ImapSession(tls=False)
    session.receive(b"a STARTTLS\r\nb LOGIN joe x\r\n")
    assert isinstance(session.next_event(), Command)
    assert session.start_tls() is False
    assert session.next_event() is NEED_DATA
    clean = ImapSession(tls=False)
    feed(clean, b"a STARTTLS\r\n")
    assert clean.start_tls() is True
    assert feed(clean, b"b LOGIN joe x\r\n") == [Command(b"b", "LOGIN", Login("joe", "x"))]


def test_transitions() -> None:
    session = at_state(State.SELECTED)
    session.unselected()
    assert session.state is State.AUTHENTICATED
    session.unselected()
    assert session.state is State.AUTHENTICATED
    session.selected(read_only=True)
    assert session.read_only
    session.logged_out()
    session.receive(b"a NOOP\r\n")
    assert session.next_event() is NEED_DATA


def test_enable(feed: Feed) -> None:
    session = at_state(State.AUTHENTICATED)
    assert session.enable(("CONDSTORE", "X-NOPE", "IMAP4REV2", "CONDSTORE")) == ("CONDSTORE", "IMAP4REV2")
    assert session.enable(("CONDSTORE",)) == ()
    assert session.rev2
    assert session.utf8
    assert session.condstore


@pytest.mark.parametrize("line", [
    b"SELECT a (CONDSTORE)", b"STATUS a (HIGHESTMODSEQ)", b"FETCH 1 (MODSEQ)", b"FETCH 1 FLAGS (CHANGEDSINCE 5)",
    b"STORE 1 (UNCHANGEDSINCE 5) FLAGS ()", b"SEARCH MODSEQ 5",
])
def test_commands_that_enable_condstore(line: bytes, feed: Feed) -> None:
    session = at_state(State.SELECTED)
    assert not session.condstore
    feed(session, b"a " + line + b"\r\n")
    assert session.condstore


# ---------------------------------------------------------------- lines


def test_pipelined_commands_come_one_at_a_time() -> None:
    session = ImapSession(tls=True)
    session.receive(b"a CAPABILITY\r\nb NOOP\r\nc NO")
    assert session.next_event() == Command(b"a", "CAPABILITY", Capability())
    assert session.next_event() == Command(b"b", "NOOP", Noop())
    assert session.next_event() is NEED_DATA
    session.receive(b"OP\r\n")
    assert session.next_event() == Command(b"c", "NOOP", Noop())


@pytest.mark.parametrize(("line", "tag"), [
    (b"", None),
    (b" ", None),
    (b"a", None),
    (b"a ", b"a"),
    (b"a  NOOP", b"a"),
    (b"* NOOP", None),
    (b"+ NOOP", None),
    (b"a+b NOOP", None),
    (b"a(b NOOP", None),
    (b"a\x00 NOOP", None),
    (b"\xe9 NOOP", None),
    (b"x" * 101 + b" NOOP", None),
    (b"a NOOP x", b"a"),
    (b"a NOOP ", b"a"),
    (b"a NO\x00OP", b"a"),
    (b"a UID", b"a"),
    (b"a UID NOOP", b"a"),
    (b"a UID UID FETCH 1 FLAGS", b"a"),
    (b"a BOGUS", b"a"),
    (b"a 1", b"a"),
    (b"a NOOP\r", b"a"),
])
def test_malformed_lines_are_bad_and_stay_in_step(line: bytes, tag: bytes | None, feed: Feed) -> None:
    session = ImapSession(tls=True)
    fault, after = feed(session, line + b"\r\nz NOOP\r\n")
    assert isinstance(fault, ClientFault)
    assert fault.tag == tag
    assert encode_fault(fault, fault.tag).split(b" ")[:2] == [tag or b"*", b"BAD"]
    assert after == Command(b"z", "NOOP", Noop())


def test_bare_lf_is_bad(feed: Feed) -> None:
    events = feed(ImapSession(tls=True), b"a NOOP\nb NOOP\r\n")
    assert events == [ClientFault(b"a", "a line must end with CRLF"), Command(b"b", "NOOP", Noop())]


def test_line_without_end_before_login(feed: Feed) -> None:
    session = ImapSession(tls=True)
    events = []
    for _ in range(40):
        events += feed(session, b"a LOGIN " + b"x" * 4000)
        assert session.buffered <= 36864
    assert events[0] == ClientFault(b"a", "command longer than 36864 octets")
    assert isinstance(events[1], SessionEnd)
    assert len(events) == 2


def test_long_line_after_login_is_bad_and_stays_in_step(open_session: Open, feed: Feed) -> None:
    session = open_session()
    fault, after = feed(session, b"a FETCH 1 " + b"(" * 70000 + b"\r\nb NOOP\r\n")
    assert fault == ClientFault(b"a", "command longer than 65536 octets")
    assert after == Command(b"b", "NOOP", Noop())
    assert isinstance(feed(session, b"c SEARCH SUBJECT " + b"x" * 65000 + b"\r\n")[0], ClientFault)


def test_all_lines_of_a_command_count(open_session: Open, feed: Feed) -> None:
    line = b"a SEARCH" + b" SUBJECT {1+}\r\nx" * 5000 + b"\r\nb NOOP\r\n"
    events = feed(open_session(), line)
    assert isinstance(events[0], ClientFault)
    assert events[0].tag == b"a"
    assert events[-1] == Command(b"b", "NOOP", Noop())


def test_too_many_faults_in_a_row_end_the_session(feed: Feed) -> None:
    events = feed(ImapSession(tls=True), b"a BOGUS\r\n" * 50)
    assert len(events) == 11
    assert isinstance(events[-1], SessionEnd)
    mixed = feed(ImapSession(tls=True), b"a BOGUS\r\nb NOOP\r\n" * 50)
    assert not [event for event in mixed if isinstance(event, SessionEnd)]


def test_the_caller_is_told_when_to_stop_reading() -> None:
    session = ImapSession(tls=True)
    assert session.read_size == 8192
    session.receive(b"a NOOP\r\n" * 3000)
    assert session.full
    while session.next_event() is not NEED_DATA:
        pass
    assert not session.full
    session.logged_in()
    session.receive(b"a SEARCH SUBJECT {65536+}\r\n" + b"x" * 65535)
    assert session.full
    assert session.next_event() is NEED_DATA
    assert session.buffered == 65535
    assert not session.full


def test_memory_before_login_is_under_64_kib() -> None:
    limits = Limits()
    assert limits.line_before + limits.held_before + 2 * limits.read_before < 65536


# ---------------------------------------------------------------- small literals


def test_synchronising_literal_waits_for_an_answer() -> None:
    session = ImapSession(tls=True)
    session.receive(b"a LOGIN {3}\r\n")
    wanted = LiteralWanted(3, True, b"a", "LOGIN")
    assert session.next_event() == wanted
    assert session.next_event() == wanted
    assert session.accept_literal() == b"+ go ahead\r\n"
    assert session.accept_literal() == b""
    assert session.next_event() is NEED_DATA
    session.receive(b"joe {4+}\r\np\r\n!\r\n")
    event = session.next_event()
    assert isinstance(event, ClientFault)  # CR and LF in a password


def test_literals_of_both_kinds(feed: Feed) -> None:
    session = ImapSession(tls=True)
    events = feed(session, b"a LOGIN {3}\r\njoe {4+}\r\np \"x\r\n")
    assert events[-1] == Command(b"a", "LOGIN", Login("joe", 'p "x'))
    assert len(events) == 2


@pytest.mark.parametrize("size", [b"8193", b"2147483648", b"9223372036854775807", b"18446744073709551616", b"0" * 25 + b"1"])
def test_large_literal_before_login_is_refused_without_continuation(size: bytes, feed: Feed) -> None:
    session = ImapSession(tls=True)
    fault, after = feed(session, b"a LOGIN {" + size + b"}\r\nb NOOP\r\n")
    assert isinstance(fault, ClientFault)
    assert fault.tag == b"a"
    assert after == Command(b"b", "NOOP", Noop())


def test_large_literal_that_comes_anyway_is_thrown_away(feed: Feed) -> None:
    session = ImapSession(tls=True)
    hidden = b"z NOOP\r\n" * 1250
    events = feed(session, b"a LOGIN {10000+}\r\n" + hidden + b" {8+}\r\nz NOOP\r\n x\r\nb NOOP\r\n")
    assert isinstance(events[0], ClientFault)
    assert events[1:] == [Command(b"b", "NOOP", Noop())]


@pytest.mark.parametrize("size", [b"65537", b"99999999999", b"9" * 30])
def test_huge_literal_that_does_not_wait_ends_the_session(size: bytes, feed: Feed) -> None:
    events = feed(ImapSession(tls=True), b"a LOGIN {" + size + b"+}\r\nz NOOP\r\n")
    assert isinstance(events[0], ClientFault)
    assert isinstance(events[1], SessionEnd)
    assert len(events) == 2


@pytest.mark.parametrize("start", [b"* BAD ", b"a 1 ", b"a" * 101 + b" NOOP ", b"a BOGUS ", b"a FETCH ", b""])
def test_literal_after_a_malformed_start_is_never_commands(start: bytes, feed: Feed) -> None:
    events = feed(ImapSession(tls=True), start + b"{8+}\r\nz NOOP\r\n\r\nb NOOP\r\n")
    assert isinstance(events[0], ClientFault)
    assert events[1:] == [Command(b"b", "NOOP", Noop())]


def test_literal_after_a_long_line_is_never_commands(feed: Feed) -> None:
    events = feed(ImapSession(tls=True), b"a LOGIN " + b"x" * 9000 + b" {8+}\r\nz NOOP\r\n\r\nb NOOP\r\n")
    assert isinstance(events[0], ClientFault)
    assert events[1:] == [Command(b"b", "NOOP", Noop())]


def test_literal_after_bare_lf_is_never_commands(feed: Feed) -> None:
    events = feed(ImapSession(tls=True), b"a LOGIN {8+}\nz NOOP\r\n\r\nb NOOP\r\n")
    assert isinstance(events[0], ClientFault)
    assert events[1:] == [Command(b"b", "NOOP", Noop())]


@pytest.mark.parametrize("line", [
    b"LOGIN joe {3+}\r\na\x00b", b"LOGIN joe~{3+}\r\nabc", b"LOGIN joe ~{3+}\r\nabc", b"NOOP {3+}\r\nabc",
    b"LOGIN {3+}\r\njoe", b"LOGIN {3+}\r\njoe{3+}\r\nabc", b'LOGIN "joe {3+}\r\nabc"', b"LOGIN joe {0+}\r\n",
])
def test_bad_use_of_a_literal(line: bytes, feed: Feed) -> None:
    session = ImapSession(tls=True)
    events = feed(session, b"a " + line + b"\r\nb NOOP\r\n")
    assert isinstance(events[0], ClientFault)
    assert events[0].tag == b"a"
    assert events[1:] == [Command(b"b", "NOOP", Noop())]


def test_sum_of_small_literals_is_bounded(open_session: Open, feed: Feed) -> None:
    events = feed(open_session(), b"a SEARCH SUBJECT {40000+}\r\n" + b"x" * 40000 + b" SUBJECT {40000+}\r\n"
                  + b"x" * 40000 + b"\r\nb NOOP\r\n")
    assert isinstance(events[0], ClientFault)
    assert "too large" in events[0].text
    assert events[1:] == [Command(b"b", "NOOP", Noop())]


# ---------------------------------------------------------------- APPEND


def test_append_is_streamed(open_session: Open) -> None:
    session = open_session()
    session.receive(b"a APPEND Sent (\\Seen work) {10}\r\n")
    wanted = session.next_event()
    value = Append("Sent", (AppendMessage(1, ("work",)), AppendLiteral(10)))
    assert wanted == LiteralWanted(10, True, b"a", "APPEND", value)
    assert session.accept_literal() == b"+ go ahead\r\n"
    session.receive(b"Subj")
    assert session.next_event() == LiteralChunk(b"Subj")
    assert session.next_event() is NEED_DATA
    session.receive(b"ect: \x00\r\nb NOOP\r\n")
    assert session.next_event() == LiteralChunk(b"ect: \x00")
    assert session.next_event() == Command(b"a", "APPEND", Append("Sent"))
    assert session.next_event() == Command(b"b", "NOOP", Noop())


def test_append_that_does_not_wait(open_session: Open) -> None:
    session = open_session()
    session.receive(b'a APPEND {4+}\r\nSent "17-Jul-1996 02:44:25 -0700" ~{3+}\r\nabc\r\n')
    wanted = session.next_event()
    assert isinstance(wanted, LiteralWanted)
    assert wanted.value is not None
    head, literal = wanted.value.actions
    assert isinstance(head, AppendMessage)
    assert literal == AppendLiteral(3, binary=True)
    assert head.internal_date is not None
    assert head.internal_date.isoformat() == "1996-07-17T02:44:25-07:00"
    assert session.accept_literal() == b""
    assert session.next_event() == LiteralChunk(b"abc")
    assert isinstance(session.next_event(), Command)


def test_append_of_nothing(open_session: Open, feed: Feed) -> None:
    wanted, command = feed(open_session(), b"a APPEND x {0+}\r\n\r\n")
    assert isinstance(wanted, LiteralWanted)
    assert isinstance(command, Command)


def test_append_of_3_gb_is_refused_before_the_data(open_session: Open, feed: Feed) -> None:
    session = open_session()
    session.receive(b"a APPEND x {3221225472}\r\n")
    wanted = session.next_event()
    assert isinstance(wanted, LiteralWanted)
    assert wanted.size == 3221225472
    session.refuse_literal()
    session.refuse_literal()
    assert feed(session, b"b NOOP\r\n") == [Command(b"b", "NOOP", Noop())]


def test_refused_append_that_comes_anyway_is_thrown_away(open_session: Open, feed: Feed) -> None:
    session = open_session()
    session.receive(b"a APPEND x {18+}\r\nz NOOP\r\n")
    assert isinstance(session.next_event(), LiteralWanted)
    session.refuse_literal()
    assert session.next_event() is NEED_DATA
    assert feed(session, b"z NOOP\r\n\r\n {8+}\r\nz NOOP\r\n\r\nb NOOP\r\n") == [Command(b"b", "NOOP", Noop())]


def test_refused_append_too_large_to_read_past(open_session: Open) -> None:
    session = open_session()
    session.receive(b"a APPEND x {3221225472+}\r\n")
    assert isinstance(session.next_event(), LiteralWanted)
    session.refuse_literal()
    assert isinstance(session.next_event(), SessionEnd)
    assert session.next_event() is NEED_DATA


@pytest.mark.parametrize("line", [
    b"APPEND", b"APPEND x", b"APPEND x (\\Seen)", b'APPEND x "x"', b"APPEND (x) {3}", b"APPEND x {3", b"APPEND x  {3}",
    b"APPEND x (\\Recent) {3}", b'APPEND x "32-Jul-1996 02:44:25 +0000" {3}', b"APPEND x y {3}", b"APPEND x (\\Seen){3}",
    b"APPEND x {9223372036854775808000}", b'APPEND "x {3}', b"APPEND x (a",
])
def test_malformed_append(line: bytes, open_session: Open, feed: Feed) -> None:
    fault, after = feed(open_session(), b"a " + line + b"\r\nb NOOP\r\n")
    assert isinstance(fault, ClientFault)
    assert fault.tag == b"a"
    assert after == Command(b"b", "NOOP", Noop())


def test_append_to_a_name_that_no_folder_can_have(open_session: Open, feed: Feed) -> None:
    refused, after = feed(open_session(), b"a APPEND &AC8- {3}\r\nb NOOP\r\n")
    assert isinstance(refused, CommandRefused)
    assert (refused.tag, refused.code) == (b"a", "CANNOT")
    assert after == Command(b"b", "NOOP", Noop())


def test_more_after_the_message(open_session: Open, feed: Feed) -> None:
    events = feed(open_session(), b"a APPEND x {3+}\r\nabc x {8+}\r\nz NOOP\r\n\r\nb NOOP\r\n")
    assert isinstance(events[2], ClientFault)
    assert events[2].tag == b"a"
    assert events[3:] == [Command(b"b", "NOOP", Noop())]


def test_append_before_login_is_not_streamed(feed: Feed) -> None:
    session = ImapSession(tls=True)
    assert isinstance(feed(session, b"a APPEND x {3}\r\n")[0], ClientFault)
    assert isinstance(feed(session, b"b APPEND x {30000+}\r\n" + b"x" * 30000 + b"\r\n")[0], ClientFault)
    assert feed(session, b"c NOOP\r\n") == [Command(b"c", "NOOP", Noop())]


# ---------------------------------------------------------------- lines asked


def test_idle_and_authenticate_lines(feed: Feed) -> None:
    session = ImapSession(tls=True)
    assert feed(session, b"a AUTHENTICATE PLAIN\r\n") == [Command(b"a", "AUTHENTICATE", Authenticate("PLAIN"))]
    session.expect_line()
    assert feed(session, b"AGpvZQB4\r\nb NOOP\r\n") == [Line(b"AGpvZQB4"), Command(b"b", "NOOP", Noop())]
    session.expect_line()
    assert feed(session, b"\r\n") == [Line(b"")]
    assert "AGpv" not in repr(Line(b"AGpvZQB4"))


def test_asked_line_too_long(feed: Feed) -> None:
    session = ImapSession(tls=True)
    feed(session, b"a AUTHENTICATE PLAIN\r\n")
    session.expect_line()
    fault, after = feed(session, b"x" * 37000 + b"\r\nb NOOP\r\n")
    assert isinstance(fault, ClientFault)
    assert fault.tag == b"a"
    assert after == Command(b"b", "NOOP", Noop())


def test_secrets_are_not_shown(feed: Feed) -> None:
    events = feed(ImapSession(tls=True), b"a LOGIN joe hunter2\r\nb AUTHENTICATE PLAIN AGpvZQB4\r\nc LOGIN joe hunter2 x\r\n")
    assert "hunter" not in repr(events)
    assert "x'" not in repr(events)
    assert isinstance(events[1], Command)
    assert events[1].value == Authenticate("PLAIN", b"\x00joe\x00x")
    assert isinstance(events[2], ClientFault)
    assert b"hunter" not in encode_fault(events[2], b"c")


def test_names_follow_what_is_enabled(feed: Feed) -> None:
    session = ImapSession(tls=True)
    session.logged_in()
    assert feed(session, b"a SELECT &AMk-t&AOk-\r\n") == [Command(b"a", "SELECT", Select("\u00c9t\u00e9"))]
    assert isinstance(feed(session, 'b SELECT "\u00c9t\u00e9"\r\n'.encode())[0], ClientFault)
    session.enable(("IMAP4REV2",))
    assert feed(session, 'c SELECT "\u00c9t\u00e9"\r\n'.encode()) == [Command(b"c", "SELECT", Select("\u00c9t\u00e9"))]
    assert feed(session, b"d SELECT &AMk-\r\n") == [Command(b"d", "SELECT", Select("&AMk-"))]


def test_long_line_that_goes_on_a_command_keeps_its_tag(feed: Feed) -> None:
    events = feed(ImapSession(tls=True), b"a LOGIN {3+}\r\njoe " + b"x" * 37000 + b"\r\nb NOOP\r\n")
    assert events == [ClientFault(b"a", "command longer than 36864 octets"), Command(b"b", "NOOP", Noop())]


def test_long_rest_after_a_message(open_session: Open, feed: Feed) -> None:
    events = feed(open_session(), b"a APPEND x {3+}\r\nabc" + b"x" * 70000 + b"\r\nb NOOP\r\n")
    assert events[2:] == [ClientFault(b"a", "command longer than 65536 octets"), Command(b"b", "NOOP", Noop())]


def test_answers_without_a_question_change_nothing(feed: Feed) -> None:
    session = ImapSession(tls=True)
    session.refuse_literal()
    assert session.accept_literal() == b""
    assert feed(session, b"a NOOP\r\n") == [Command(b"a", "NOOP", Noop())]


def test_capability_lines_follow_the_state() -> None:
    session = ImapSession(tls=True)
    assert session.capability_line() == b"* CAPABILITY " + session.capabilities() + b"\r\n"
    before = session.capability_code()
    session.logged_in()
    assert session.capability_code() != before
