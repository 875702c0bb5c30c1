"""Grammar of every command: what is read, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from mssante.protocol.imap.faults import ClientFault, CommandRefused
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.session import Command, Event
from mssante.protocol.imap.values import (
    AllOf,
    AnyOf,
    Copy,
    Create,
    DateKey,
    DateRelation,
    Delete,
    Enable,
    Everything,
    Expunge,
    Fetch,
    FetchItem,
    FlagKey,
    HeaderKey,
    Id,
    InSet,
    KeywordKey,
    List,
    ListReturn,
    ListSelect,
    Lsub,
    ModSeqKey,
    Move,
    NotKey,
    Rename,
    Search,
    SearchReturn,
    Section,
    SectionKind,
    SectionText,
    Select,
    SizeKey,
    Status,
    StatusItem,
    Store,
    StoreMode,
    Subscribe,
    TextKey,
    TextPlace,
)

Parse = Callable[..., Event]
ONE = NumSet.parse(b"1")


def value(event: Event) -> object:
    """Give the value of a command, or fail with what came instead."""
    assert isinstance(event, Command), event
    return event.value


@pytest.mark.parametrize(("line", "expected"), [
    (b"ID NIL", Id()),
    (b'ID ("name" "x" "os" NIL)', Id((("name", "x"), ("os", None)))),
    (b"ID ()", Id()),
    (b"ENABLE condstore IMAP4rev2 X-FOO", Enable(("CONDSTORE", "IMAP4REV2", "X-FOO"))),
    (b"SELECT inbox", Select("INBOX")),
    (b'SELECT "InBoX/a b"', Select("INBOX/a b")),
    (b"EXAMINE a (condstore)", Select("a", examine=True, condstore=True)),
    (b'SELECT "a\\\\b\\"c"', Select('a\\b"c')),
    (b"SELECT a]", Select("a]")),
    (b"SELECT {3+}\r\nabc", Select("abc")),
    (b"CREATE a/b/", Create("a/b")),
    (b"CREATE a (USE (\\sent \\Drafts))", Create("a", ("\\Sent", "\\Drafts"))),
    (b"DELETE a", Delete("a")),
    (b"RENAME a b/c", Rename("a", "b/c")),
    (b"SUBSCRIBE a", Subscribe("a")),
    (b"UNSUBSCRIBE a", Subscribe("a", on=False)),
    (b'LIST "" ""', List("", ("",))),
    (b'LIST "" %/*]', List("", ("%/*]",))),
    (b'LIST (SUBSCRIBED RECURSIVEMATCH) "" * RETURN (CHILDREN)',
     List("", ("*",), ListSelect.SUBSCRIBED | ListSelect.RECURSIVEMATCH, ListReturn.CHILDREN, (), True)),
    (b'LIST () "a/" (INBOX %) RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES SIZE))',
     List("a/", ("INBOX", "%"), ListSelect.NONE, ListReturn.SUBSCRIBED | ListReturn.SPECIAL_USE,
          (StatusItem.MESSAGES, StatusItem.SIZE), True)),
    (b'LIST (SPECIAL-USE REMOTE) "" "*"', List("", ("*",), ListSelect.SPECIAL_USE | ListSelect.REMOTE, extended=True)),
    (b'LSUB "" "*"', Lsub("", "*")),
    (b"STATUS a (MESSAGES uidnext UIDVALIDITY UNSEEN DELETED SIZE RECENT HIGHESTMODSEQ mailboxid APPENDLIMIT DELETED-STORAGE MESSAGES)",
     Status("a", tuple(StatusItem))),
    (b"EXPUNGE", Expunge()),
    (b"UID EXPUNGE 1,3:2", Expunge(NumSet.parse(b"1:3"))),
    (b"COPY 1 a", Copy(ONE, "a")),
    (b"UID COPY $ a", Copy(NumSet(saved=True), "a", uid=True)),
    (b"MOVE 1 a", Move(ONE, "a")),
    (b"UID MOVE 1:* a", Move(NumSet.parse(b"1:*"), "a", uid=True)),
    (b"STORE 1 FLAGS ()", Store(ONE, StoreMode.SET)),
    (b"STORE 1 flags \\seen \\Deleted work", Store(ONE, StoreMode.SET, 9, ("work",))),
    (b"UID STORE 1 +FLAGS.SILENT (\\Answered B a b $Forwarded)",
     Store(ONE, StoreMode.ADD, 2, ("$Forwarded", "B", "a"), silent=True, uid=True)),
    (b"STORE 1 (unchangedsince 0) -FLAGS (\\Flagged \\Draft)", Store(ONE, StoreMode.REMOVE, 20, unchanged_since=0)),
])
def test_commands(line: bytes, expected: object, parse: Parse) -> None:
    assert value(parse(line)) == expected


@pytest.mark.parametrize("line", [
    b"ID", b"ID (", b"ID x", b'ID ("a")', b'ID ("a" "b"', b'ID ("a" "b" )', b"ID NILL", b'ID ("' + b"a" * 31 + b'" NIL)',
    b'ID ("a" "' + b"b" * 1025 + b'")', b"ID (" + b" ".join([b'"a" "b"'] * 31) + b")",
    b"ENABLE", b"ENABLE ", b"ENABLE a  b", b"ENABLE (a)", b"ENABLE" + b" a" * 51,
    b"SELECT", b"SELECT ", b'SELECT ""', b"SELECT a b", b"SELECT a (QRESYNC (1))", b"SELECT a (CONDSTORE", b"SELECT  a",
    b"SELECT a*", b"SELECT a%", b'SELECT "a', b'SELECT "a\\b"', b'SELECT "a\x00"', b'SELECT "a\xc3\xa9"', b"SELECT \xc3\xa9",
    b"SELECT &AAA-", b'SELECT "a\tb"', b"SELECT " + b"a" * 513, b"SELECT &ICg-",
    b"CREATE a (USE \\Sent)", b"CREATE a (USE (Sent))", b"CREATE a (FOO)", b"CREATE a (USE (\\Sent)",
    b"DELETE", b"DELETE a b", b"RENAME a", b"RENAME a b c", b"SUBSCRIBE", b"UNSUBSCRIBE a b",
    b"LIST", b'LIST ""', b'LIST "" a b', b'LIST "" a RETURN', b'LIST "" a RETURN x', b'LIST "" a RETURN (x)',
    b'LIST (x) "" a', b'LIST (RECURSIVEMATCH) "" a', b'LIST (RECURSIVEMATCH REMOTE) "" a', b'LIST "" ()',
    b'LIST "" (a', b'LIST "" a RETURN (STATUS)', b'LIST "" a RETURN (STATUS ())',
    b'LIST "" (' + b" ".join([b"a"] * 101) + b")", b'LSUB ""', b'LSUB "" a b',
    b"STATUS a", b"STATUS a ()", b"STATUS a MESSAGES", b"STATUS a (FOO)", b"STATUS a (MESSAGES) x", b"STATUS a (MESSAGES",
    b"EXPUNGE 1", b"UID EXPUNGE", b"UID EXPUNGE x", b"COPY 1", b"COPY a b", b"COPY 0 a", b"MOVE 1 a b", b"MOVE 1:a b",
    b"STORE 1", b"STORE 1 FLAGS", b"STORE 1 FLAGS (", b"STORE 1 FLAGS (\\Recent)", b"STORE 1 FLAGS (\\Foo)",
    b"STORE 1 FLAGS (a  b)", b"STORE 1 FLAGS.SILENTLY ()", b"STORE 1 *FLAGS ()", b"STORE 1 (FOO 1) FLAGS ()",
    b"STORE 1 (UNCHANGEDSINCE 9223372036854775808) FLAGS ()", b"STORE 1 (UNCHANGEDSINCE x) FLAGS ()",
    b"STORE 1 FLAGS (" + b"x" * 101 + b")", b"STORE 1 FLAGS (" + b" ".join(b"k%d" % i for i in range(51)) + b")",
    b"STORE 1 FLAGS () x", b"STORE 1 FLAGS (a]b)", b"STORE 1 FLAGS (\\)", b"STORE 1 FLAGS (\xc3\xa9)",
    b"IDLE now", b"CHECK x", b"CLOSE x", b"UNSELECT x", b"NAMESPACE x", b"CAPABILITY x",
])
def test_malformed(line: bytes, parse: Parse) -> None:
    fault = parse(line)
    assert isinstance(fault, ClientFault), fault
    assert fault.tag == b"t1"
    assert fault.at >= 0


@pytest.mark.parametrize("name", [b"&AC8-", b"&", b"{1+}\r\n\xff", b"&2D0-", b"!#$&'+,-.0123456789:;<=>?@^_`|[}"])
def test_a_name_that_is_not_modified_utf7_is_refused_and_not_a_fault(name: bytes, parse: Parse) -> None:
    refused = parse(b"SELECT " + name)
    assert isinstance(refused, CommandRefused), refused
    assert (refused.tag, refused.code) == (b"t1", "CANNOT")
    assert isinstance(value(parse(b'LIST "" ' + name)), List)


@pytest.mark.parametrize("line", [
    b"LOGIN", b"LOGIN joe", b"LOGIN joe x y", b'LOGIN "" x', b'LOGIN joe ""', b"LOGIN  joe x", b'LOGIN "jo\xc3\xa9" x',
    b"LOGIN " + b"j" * 256 + b" x", b"LOGIN joe " + b"x" * 1025, b"LOGIN {2+}\r\n\xff\xff x", b"LOGIN {2+}\r\na\t x",
    b"AUTHENTICATE", b"AUTHENTICATE (", b"AUTHENTICATE PLAIN x", b"AUTHENTICATE PLAIN *", b"AUTHENTICATE PLAIN ",
    b"AUTHENTICATE " + b"A" * 21, b"STARTTLS x",
])
def test_malformed_before_login(line: bytes, parse: Parse) -> None:
    fault = parse(line, before_login=True)
    assert isinstance(fault, ClientFault), fault
    assert fault.tag == b"t1"


@pytest.mark.parametrize(("line", "code"), [
    (b"CREATE a//b", "CANNOT"), (b"CREATE /a", "CANNOT"), (b"CREATE ../a", "CANNOT"), (b"CREATE a/..", "CANNOT"),
    (b"CREATE .", "CANNOT"), (b'CREATE "a*"', "CANNOT"), (b'CREATE "a/ b"', "CANNOT"), (b"RENAME a ..", "CANNOT"),
    (b"CREATE " + b"a/" * 21 + b"a", "CANNOT"), (b"CREATE /", "CANNOT"), (b"CREATE a (USE (\\Foo))", "USEATTR"),
    (b"SEARCH CHARSET ISO-8859-1 ALL", "BADCHARSET (US-ASCII UTF-8)"),
])
def test_refused(line: bytes, code: str, parse: Parse) -> None:
    refused = parse(line)
    assert isinstance(refused, CommandRefused)
    assert (refused.tag, refused.code) == (b"t1", code)


def test_names_are_composed(parse: Parse) -> None:
    assert value(parse("SELECT \"E\u0301te\u0301\"".encode(), rev2=True)) == Select("\u00c9t\u00e9")


@pytest.mark.parametrize("line", [b'SELECT "\xff"', b"SELECT {1+}\r\n\xff", b'SELECT "a\x00"', b'SELECT "\xc2\x85"',
                                  b'SELECT "\xed\xa0\x80"', b"SELECT \xc3\xa9"])
def test_malformed_names_in_rev2(line: bytes, parse: Parse) -> None:
    assert isinstance(parse(line, rev2=True), ClientFault)


# ---------------------------------------------------------------- FETCH


@pytest.mark.parametrize(("items", "mask"), [
    (b"FLAGS", FetchItem.FLAGS),
    (b"(flags uid RFC822.SIZE)", FetchItem.FLAGS | FetchItem.UID | FetchItem.SIZE),
    (b"ALL", FetchItem.FLAGS | FetchItem.INTERNALDATE | FetchItem.SIZE | FetchItem.ENVELOPE),
    (b"fast", FetchItem.FLAGS | FetchItem.INTERNALDATE | FetchItem.SIZE),
    (b"FULL", FetchItem.FLAGS | FetchItem.INTERNALDATE | FetchItem.SIZE | FetchItem.ENVELOPE | FetchItem.BODY),
    (b"(BODY BODYSTRUCTURE ENVELOPE INTERNALDATE MODSEQ)", FetchItem.BODY | FetchItem.BODYSTRUCTURE | FetchItem.ENVELOPE
     | FetchItem.INTERNALDATE | FetchItem.MODSEQ),
])
def test_fetch_items(items: bytes, mask: FetchItem, parse: Parse) -> None:
    assert value(parse(b"FETCH 1 " + items)) == Fetch(ONE, mask)


@pytest.mark.parametrize(("item", "section"), [
    (b"BODY[]", Section(b"BODY[]")),
    (b"BODY.PEEK[]<0.100>", Section(b"BODY[]<0>", partial=(0, 100), peek=True)),
    (b"body[header]", Section(b"BODY[HEADER]", text=SectionText.HEADER)),
    (b"BODY[TEXT]<5.1>", Section(b"BODY[TEXT]<5>", text=SectionText.TEXT, partial=(5, 1))),
    (b"BODY[1.2.3]", Section(b"BODY[1.2.3]", part=(1, 2, 3))),
    (b"BODY[1.mime]", Section(b"BODY[1.MIME]", part=(1,), text=SectionText.MIME)),
    (b"BODY[2.HEADER]", Section(b"BODY[2.HEADER]", part=(2,), text=SectionText.HEADER)),
    (b'BODY.PEEK[HEADER.FIELDS (From "To" {2+}\r\nCc)]',
     Section(b"BODY[HEADER.FIELDS (From To Cc)]", text=SectionText.HEADER_FIELDS, fields=("From", "To", "Cc"), peek=True)),
    (b'BODY[1.HEADER.FIELDS.NOT ("X*Y")]',
     Section(b'BODY[1.HEADER.FIELDS.NOT ("X*Y")]', part=(1,), text=SectionText.HEADER_FIELDS_NOT, fields=("X*Y",))),
    (b"BINARY[1]", Section(b"BINARY[1]", SectionKind.BINARY, (1,))),
    (b"BINARY.PEEK[]<7.8>", Section(b"BINARY[]<7>", SectionKind.BINARY, partial=(7, 8), peek=True)),
    (b"BINARY.SIZE[1.1]", Section(b"BINARY.SIZE[1.1]", SectionKind.BINARY_SIZE, (1, 1), peek=True)),
    (b"RFC822", Section(b"RFC822")),
    (b"RFC822.HEADER", Section(b"RFC822.HEADER", text=SectionText.HEADER, peek=True)),
    (b"rfc822.text", Section(b"RFC822.TEXT", text=SectionText.TEXT)),
])
def test_fetch_sections(item: bytes, section: Section, parse: Parse) -> None:
    alone = value(parse(b"FETCH 1 " + item))
    assert alone == Fetch(ONE, FetchItem.NONE, (section,))
    assert isinstance(alone, Fetch)
    assert alone.sets_seen is not section.peek
    both = value(parse(b"UID FETCH 1 (FLAGS " + item + b" " + item + b")"))
    assert both == Fetch(ONE, FetchItem.FLAGS | FetchItem.UID, (section,), uid=True, plain_uid=True)


def test_changed_since(parse: Parse) -> None:
    expected = Fetch(ONE, FetchItem.UID | FetchItem.FLAGS | FetchItem.MODSEQ, uid=True, changed_since=7, plain_uid=True)
    assert value(parse(b"UID FETCH 1 (FLAGS) (changedsince 7)")) == expected


@pytest.mark.parametrize("line", [
    b"", b" 1", b" 1 ", b" 1 ()", b" 1 (FLAGS", b" 1 (FLAGS  UID)", b" 1 (FLAGS UID) x", b" 1 FLAGS UID", b" 1 FOO",
    b" 1 (ALL)", b" 1 (ALL FLAGS)", b" 1 ALL FLAGS", b" 0 FLAGS", b" 1:x FLAGS", b" 1 BODY[", b" 1 BODY[1", b" 1 BODY[0]",
    b" 1 BODY[1.0]", b" 1 BODY[1.]", b" 1 BODY[.1]", b" 1 BODY[MIME]", b" 1 BODY[FOO]", b" 1 BODY[1.FOO]", b" 1 BODY[TEXT.1]",
    b" 1 BODY[HEADER.FIELDS]", b" 1 BODY[HEADER.FIELDS ()]", b" 1 BODY[HEADER.FIELDS (a b]", b" 1 BODY[HEADER.FIELDS (a:b)]",
    b" 1 BODY[HEADER.FIELDS (\"a b\")]", b" 1 BODY[]<0>", b" 1 BODY[]<0.0>", b" 1 BODY[]<-1.5>", b" 1 BODY[]<0.5",
    b" 1 BODY[]<9223372036854775808.1>", b" 1 BODY.PEEK", b" 1 BINARY", b" 1 BINARY[HEADER]", b" 1 BINARY[1.MIME]",
    b" 1 BINARY.SIZE[1]<0.5>", b" 1 RFC822.PEEK", b" 1 FLAGS (CHANGEDSINCE)", b" 1 FLAGS (CHANGEDSINCE x)",
    b" 1 FLAGS (VANISHED)", b" 1 FLAGS (CHANGEDSINCE 1 VANISHED)", b" 1 FLAGS ()", b" ((((", b" 1 " + b"(" * 1000,
    b" 1 BODY[" + b".".join([b"1"] * 51) + b"]", b" 1 BODY[9999999999]",
    b" 1 (" + b" ".join(b"BODY[%d]" % i for i in range(1, 103)) + b")",
    b" 1 BODY[HEADER.FIELDS (" + b" ".join([b"a"] * 201) + b")]", b" 1 BODY[HEADER.FIELDS (" + b"a" * 201 + b")]",
])
def test_malformed_fetch(line: bytes, parse: Parse) -> None:
    fault = parse(b"FETCH" + line)
    assert isinstance(fault, ClientFault), fault
    assert fault.at >= 0


# ---------------------------------------------------------------- SEARCH

SEEN = FlagKey(1, True)


@pytest.mark.parametrize(("keys", "expected"), [
    (b"ALL", Everything()),
    (b"OLD", FlagKey(32, False)),
    (b"RECENT", FlagKey(32, True)),
    (b"new", AllOf((FlagKey(32, True), FlagKey(1, False)))),
    (b"SEEN", SEEN),
    (b"UNSEEN", FlagKey(1, False)),
    (b"ANSWERED UNFLAGGED DELETED UNDRAFT",
     AllOf((FlagKey(2, True), FlagKey(4, False), FlagKey(8, True), FlagKey(16, False)))),
    (b"1:3,*", InSet(NumSet.parse(b"1:3,*"), uid=False)),
    (b"$", InSet(NumSet(saved=True), uid=False)),
    (b"UID 5:*", InSet(NumSet.parse(b"5:*"), uid=True)),
    (b"UID $", InSet(NumSet(saved=True), uid=True)),
    (b"NOT SEEN", NotKey(SEEN)),
    (b"OR SEEN NOT (SEEN ALL)", AnyOf(SEEN, NotKey(AllOf((SEEN, Everything()))))),
    (b"(SEEN)", SEEN),
    (b"KEYWORD work", KeywordKey("work", True)),
    (b"UNKEYWORD $Junk", KeywordKey("$Junk", False)),
    (b'SUBJECT "a b"', TextKey(TextPlace.SUBJECT, "a b")),
    (b"FROM x", TextKey(TextPlace.FROM, "x")),
    (b'BODY ""', TextKey(TextPlace.BODY, "")),
    (b"TEXT {2+}\r\n\xc3\xa9", TextKey(TextPlace.TEXT, "\u00e9")),
    (b"TO a CC b BCC c", AllOf((TextKey(TextPlace.TO, "a"), TextKey(TextPlace.CC, "b"), TextKey(TextPlace.BCC, "c")))),
    (b'HEADER Message-ID "<a@b>"', HeaderKey("Message-ID", "<a@b>")),
    (b'HEADER X-Y ""', HeaderKey("X-Y", "")),
    (b"SINCE 1-Feb-2026", DateKey(DateRelation.SINCE, date(2026, 2, 1), sent=False)),
    (b'BEFORE "28-feb-2026"', DateKey(DateRelation.BEFORE, date(2026, 2, 28), sent=False)),
    (b"ON 01-Jan-0001", DateKey(DateRelation.ON, date(1, 1, 1), sent=False)),
    (b"SENTBEFORE 1-Feb-2026", DateKey(DateRelation.BEFORE, date(2026, 2, 1), sent=True)),
    (b"SENTON 1-Feb-2026", DateKey(DateRelation.ON, date(2026, 2, 1), sent=True)),
    (b"SENTSINCE 1-Feb-2026", DateKey(DateRelation.SINCE, date(2026, 2, 1), sent=True)),
    (b"LARGER 0", SizeKey(0, True)),
    (b"SMALLER 9223372036854775807", SizeKey(9223372036854775807, False)),
    (b"CHARSET UTF-8 SEEN", SEEN),
    (b'CHARSET "us-ascii" SEEN', SEEN),
])
def test_search_keys(keys: bytes, expected: object, parse: Parse) -> None:
    assert value(parse(b"SEARCH " + keys)) == Search(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(("line", "expected"), [
    (b"UID SEARCH SEEN", Search(SEEN, uid=True)),
    (b"SEARCH RETURN () SEEN", Search(SEEN, returns=SearchReturn.ALL)),
    (b"SEARCH return (min MAX COUNT SAVE) CHARSET UTF-8 SEEN",
     Search(SEEN, returns=SearchReturn.MIN | SearchReturn.MAX | SearchReturn.COUNT | SearchReturn.SAVE)),
    (b"SEARCH MODSEQ 7", Search(ModSeqKey(7), modseq=True)),
    (b'SEARCH OR MODSEQ "/flags/\\\\draft" all 7 SEEN', Search(AnyOf(ModSeqKey(7), SEEN), modseq=True)),
])
def test_search(line: bytes, expected: Search, parse: Parse) -> None:
    assert value(parse(line)) == expected


def test_search_in_rev2_is_always_extended(parse: Parse) -> None:
    assert value(parse(b"SEARCH SEEN", rev2=True)) == Search(SEEN, returns=SearchReturn.ALL)
    assert value(parse('SEARCH SUBJECT "\u00e9"'.encode(), rev2=True)) == Search(
        TextKey(TextPlace.SUBJECT, "\u00e9"), returns=SearchReturn.ALL)


@pytest.mark.parametrize("keys", [
    b"", b"FOO", b"SEEN  ALL", b"SEEN ", b"(", b"()", b"(SEEN", b"SEEN)", b"OR SEEN", b"NOT", b"OR", b"UID", b"UID x", b"0",
    b"1:", b"SUBJECT", b'SUBJECT "a', b'SUBJECT "\xc3\xa9"', b"SUBJECT {1+}\r\n\xff", b"SUBJECT " + b"x" * 1001,
    b"KEYWORD (a)", b"KEYWORD", b"HEADER a", b'HEADER "" x', b'HEADER "a b" x', b"HEADER a: x", b"HEADER " + b"a" * 201 + b" x",
    b"SINCE 30-Feb-2026", b"SINCE 1-Foo-2026", b"SINCE 2026-02-01", b'SINCE "1-Feb-2026', b"SINCE 0-Feb-2026", b"ON 1-Jan-0000",
    b"LARGER -1", b"LARGER 9223372036854775808", b"LARGER x", b"SMALLER", b"MODSEQ", b'MODSEQ "a" 7', b'MODSEQ "a" foo 7',
    b"RETURN SEEN", b"RETURN (FOO) SEEN", b"RETURN (NONE) SEEN", b"RETURN (MIN) ", b"CHARSET UTF-8", b"CHARSET",
    b"(" * 5000, b"NOT " * 5000 + b"SEEN", b"OR " * 5000, b"(" * 21 + b"SEEN" + b")" * 21, b"NOT " * 20 + b"SEEN",
    b"SEEN " * 2000 + b"SEEN",
])
def test_malformed_search(keys: bytes, parse: Parse) -> None:
    fault = parse(b"SEARCH " + keys)
    assert isinstance(fault, ClientFault), fault
    assert fault.at >= 0


def test_depth_up_to_the_limit(parse: Parse) -> None:
    assert isinstance(parse(b"SEARCH " + b"(" * 19 + b"SEEN" + b")" * 19), Command)
    assert isinstance(parse(b"SEARCH " + b"NOT " * 19 + b"SEEN"), Command)


@pytest.mark.parametrize(("text", "good"), [
    (b'"17-Jul-1996 02:44:25 -0700"', True), (b'" 1-Jan-2026 00:00:00 +0000"', True), (b'"01-jan-2026 23:59:60 +1400"', True),
    (b'"1-Jan-2026 00:00:00 +0000"', False), (b'"17-Jul-1996 24:00:00 +0000"', False), (b'"17-Jul-1996 02:44:61 +0000"', False),
    (b'"31-Feb-1996 02:44:25 +0000"', False), (b'"17-Foo-1996 02:44:25 +0000"', False), (b'"17-Jul-1996 02:44:25 +9900"', False),
    (b'"17-Jul-1996 02:44:25"', False), (b'"01-Jan-0001 00:00:00 +0100"', False), (b'"31-Dec-9999 23:59:59 -0100"', False),
    (b'"17-Jul-0000 02:44:25 +0000"', False),
])
def test_date_time(text: bytes, good: bool, parse: Parse) -> None:
    event = parse(b"APPEND a " + text + b" {1+}\r\nx")
    assert isinstance(event, Command if good else ClientFault)
