"""Answers as bytes."""

from __future__ import annotations

import pytest

from mssante.model.message import Flags
from mssante.protocol.imap import encode
from mssante.protocol.imap.bodystructure import strip_extensions
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.values import (
    Completion,
    Condition,
    ListAnswer,
    StatusAnswer,
    StatusItem,
)


@pytest.mark.parametrize(("data", "utf8", "expected"), [
    (b"", False, b'""'),
    (b"a b", False, b'"a b"'),
    (b'a"\\', False, b'"a\\"\\\\"'),
    (b"a\r\nb", False, b"{4}\r\na\r\nb"),
    (b"a\x00", True, b"{2}\r\na\x00"),
    (b"\xc3\xa9", False, b"{2}\r\n\xc3\xa9"),
    (b"\xc3\xa9", True, b'"\xc3\xa9"'),
    (b"a\x7f", True, b"{2}\r\na\x7f"),
    (b"x" * 1001, False, b"{1001}\r\n" + b"x" * 1001),
])
def test_string(data: bytes, utf8: bool, expected: bytes) -> None:
    assert encode.string(data, utf8=utf8) == expected


def test_other_strings() -> None:
    assert encode.nstring(None) == b"NIL"
    assert encode.nstring(b"a") == b'"a"'
    assert encode.astring(b"abc") == b"abc"
    assert encode.astring(b"nil") == b'"nil"'
    assert encode.astring(b"") == b'""'
    assert encode.astring(b"a\n") == b"{2}\r\na\n"
    assert encode.literal(b"a\x00", binary=True) == b"~{2}\r\na\x00"


@pytest.mark.parametrize(("name", "utf8", "expected"), [
    ("INBOX", False, b"INBOX"),
    ("a b", False, b'"a b"'),
    ("\u00c9t\u00e9", False, b'"&AMk-t&AOk-"'),
    ("\u00c9t\u00e9", True, '"\u00c9t\u00e9"'.encode()),
    ("R&D", False, b'"R&-D"'),
    ("R&D", True, b'"R&D"'),
    ('a"b', False, b'"a\\"b"'),
    ("NIL", False, b'"NIL"'),
])
def test_folder_name(name: str, utf8: bool, expected: bytes) -> None:
    assert encode.folder_name(name, utf8) == expected


def test_status_lines() -> None:
    assert encode.tagged(b"a", Completion()) == b"a OK done\r\n"
    assert encode.tagged(b"a", Completion(Condition.NO, "no\r\nx", b"TRYCREATE")) == b"a NO [TRYCREATE] no??x\r\n"
    assert encode.ok("m", encode.code_number("UIDNEXT", 5)) == b"* OK [UIDNEXT 5] m\r\n"
    assert encode.bye("x") == b"* BYE x\r\n"
    assert encode.continuation(b"idling") == b"+ idling\r\n"
    assert encode.continuation() == b"+ \r\n"


def test_codes() -> None:
    assert encode.code_appenduid(3, NumSet.of([5])) == b"APPENDUID 3 5"
    assert encode.code_copyuid(3, [(1, 10), (2, 11), (9, 12)]) == b"COPYUID 3 1:2,9 10:12"
    assert encode.code_copyuid(3, []) == b""
    assert encode.code_modified(NumSet.of([7, 9])) == b"MODIFIED 7,9"
    assert encode.code_permanent_flags() == b"PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)"
    assert encode.code_permanent_flags(read_only=True) == b"PERMANENTFLAGS ()"


def test_untagged() -> None:
    assert encode.exists(3) == b"* 3 EXISTS\r\n"
    assert encode.recent(3) == b"* 3 RECENT\r\n"
    assert encode.expunges([2, 5, 3]) == b"* 5 EXPUNGE\r\n* 3 EXPUNGE\r\n* 2 EXPUNGE\r\n"
    assert encode.flags_line(["work"]) == b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft work)\r\n"
    assert encode.id_line([("name", "mssante")]) == b'* ID ("name" "mssante")\r\n'
    assert encode.id_line([]) == b"* ID NIL\r\n"
    assert encode.enabled_line(["CONDSTORE"]) == b"* ENABLED CONDSTORE\r\n"
    assert encode.enabled_line([]) == b"* ENABLED\r\n"


def test_list_and_status() -> None:
    answer = ListAnswer("a b", ("\\HasNoChildren", "\\Sent"))
    assert encode.list_line(answer) == b'* LIST (\\HasNoChildren \\Sent) "/" "a b"\r\n'
    assert encode.list_line(ListAnswer("a", lsub=True)) == b'* LSUB () "/" a\r\n'
    assert encode.list_line(ListAnswer("a", child_info=("SUBSCRIBED",))) == b'* LIST () "/" a ("CHILDINFO" ("SUBSCRIBED"))\r\n'
    assert encode.list_line(ListAnswer("", ("\\Noselect",))) == b'* LIST (\\Noselect) "/" ""\r\n'
    status = StatusAnswer("a", ((StatusItem.MESSAGES, 2), (StatusItem.UIDNEXT, 5)))
    assert encode.status_line(status) == b"* STATUS a (MESSAGES 2 UIDNEXT 5)\r\n"


def test_flags() -> None:
    assert encode.flags(0) == b"()"
    assert encode.flags(31) == b"(\\Answered \\Flagged \\Deleted \\Seen \\Draft)"
    assert encode.flags(Flags.SEEN, "a b") == b"(\\Seen a b)"
    assert encode.flags(0, "a") == b"(a)"


TEXT = b'("TEXT" "PLAIN" ("CHARSET" "UTF-8") NIL NIL "7BIT" 5 1'
EXTENSION = b' NIL ("ATTACHMENT" ("FILENAME" "a) \\"b")) NIL NIL'


@pytest.mark.parametrize(("structure", "body"), [
    (TEXT + EXTENSION + b")", TEXT + b")"),
    (TEXT + b")", TEXT + b")"),
    (b'("APPLICATION" "PDF" NIL NIL {3}\r\na)b "BASE64" 5' + EXTENSION + b")",
     b'("APPLICATION" "PDF" NIL NIL {3}\r\na)b "BASE64" 5)'),
    (b"(" + TEXT + EXTENSION + b")" + TEXT + b') "MIXED" ("BOUNDARY" "x") NIL NIL NIL)',
     b"(" + TEXT + b")" + TEXT + b') "MIXED")'),
    (b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 50 (NIL "s" ((NIL NIL "a" "b"))) ' + TEXT + EXTENSION + b") 4" + EXTENSION + b")",
     b'("MESSAGE" "RFC822" NIL NIL NIL "7BIT" 50 (NIL "s" ((NIL NIL "a" "b"))) ' + TEXT + b") 4)"),
    (b"NIL", b"NIL"),
    (b"(", b"("),
    (b"())", b"())"),
    (b"(" * 200 + b")" * 200, b"(" * 200 + b")" * 200),
    (b'("x', b'("x'),
])
def test_body_without_extensions(structure: bytes, body: bytes) -> None:
    assert strip_extensions(structure) == body
