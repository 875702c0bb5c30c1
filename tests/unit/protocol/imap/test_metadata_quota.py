"""Grammar and answers of METADATA, QUOTA, OBJECTID, SAVEDATE, PREVIEW: what the dialogues do not reach."""

from __future__ import annotations

import pytest

from mssante.protocol.imap.commands.fetch import parse_fetch
from mssante.protocol.imap.commands.folders import parse_list, parse_status
from mssante.protocol.imap.commands.metadata import MAX_ENTRIES, MAX_ENTRY, parse_getmetadata, parse_setmetadata
from mssante.protocol.imap.commands.quota import parse_getquota, parse_setquota
from mssante.protocol.imap.encode import status_line
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.metadataencode import metadata_values_line
from mssante.protocol.imap.metadatavalues import Depth, GetMetadata, SetMetadata
from mssante.protocol.imap.quotaencode import quota_line, quotaroot_line
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import FetchItem, StatusAnswer, StatusItem


def tokens(text: bytes, *literals: bytes) -> Tokens:
    return Tokens(b"a", text, literals=literals)


@pytest.mark.parametrize(("text", "value"), [
    (b' "" /shared/comment', GetMetadata("", ("/shared/comment",))),
    (b" (DEPTH 1) inbox (/Private/A/b)", GetMetadata("INBOX", ("/private/a/b",), Depth.CHILDREN)),
    (b" inbox (maxsize 0 depth INFINITY) /private", GetMetadata("INBOX", ("/private",), Depth.ALL, 0)),
    (b' Sent ("/shared/a b" /shared/x /SHARED/X)', GetMetadata("Sent", ("/shared/a b", "/shared/x"))),
])
def test_getmetadata(text: bytes, value: GetMetadata) -> None:
    assert parse_getmetadata(tokens(text)) == value


@pytest.mark.parametrize("text", [
    b" INBOX", b" INBOX ()", b" INBOX /comment", b" INBOX /sharedx/a", b" INBOX /shared/a%", b' INBOX "/shared/\xc3\xa9"',
    b" INBOX /shared/" + b"x" * MAX_ENTRY, b" (DEPTH 1 DEPTH 1) INBOX /shared/a", b" () INBOX /shared/a", b" (DEPTH) INBOX /shared/a",
    b" (MAXSIZE x) INBOX /shared/a", b" (DEPTH 1) INBOX (DEPTH 1) /shared/a", b" INBOX /shared/a /shared/b",
    b" INBOX (" + b" ".join(b"/shared/%d" % number for number in range(MAX_ENTRIES + 1)) + b")"])
def test_getmetadata_refuses(text: bytes) -> None:
    with pytest.raises(ClientFault):
        parse_getmetadata(tokens(text))


def test_setmetadata_reads_every_kind_of_value() -> None:
    found = parse_setmetadata(tokens(b' INBOX (/shared/a "x" /shared/b NIL /shared/c ~{3}\r\n /shared/d {2}\r\n)', b"\0\1\2", b"yz"))
    assert found == SetMetadata("INBOX", (("/shared/a", b"x"), ("/shared/b", None), ("/shared/c", b"\0\1\2"), ("/shared/d", b"yz")))
    assert "x" not in repr(found).removeprefix("SetMetadata")


@pytest.mark.parametrize(("text", "literals"), [
    (b" INBOX (/shared/a {3}\r\n)", (b"\0\1\2",)), (b" INBOX (/shared/a ~\"x\")", ()), (b" INBOX (/shared/a)", ()),
    (b" INBOX (/shared/a x)", ()), (b" INBOX /shared/a \"x\"", ()), (b" INBOX (/shared \"x\")", ()), (b" INBOX (/shared/a \"x\"", ())])
def test_setmetadata_refuses(text: bytes, literals: tuple[bytes, ...]) -> None:
    with pytest.raises(ClientFault):
        parse_setmetadata(tokens(text, *literals))


def test_values_are_written_so_that_no_octet_ends_a_line() -> None:
    line = metadata_values_line("INBOX", [("/shared/a b", b"x"), ("/shared/b", None), ("/shared/c", b"\r\n"), ("/shared/d", b"\0")], utf8=False)
    assert line == b'* METADATA INBOX ("/shared/a b" "x" /shared/b NIL /shared/c {2}\r\n\r\n /shared/d ~{1}\r\n\0)\r\n'
    assert metadata_values_line("", [("/shared/a", b"\xff")], utf8=True) == b'* METADATA "" (/shared/a {1}\r\n\xff)\r\n'


def test_quota() -> None:
    assert parse_getquota(tokens(b' ""')).root == ""
    assert parse_setquota(tokens(b" r (storage 12 MESSAGE 0)")).limits == (("STORAGE", 12), ("MESSAGE", 0))
    assert parse_setquota(tokens(b" r ()")).limits == ()
    for text in (b"", b" r", b" r (a)", b" r (a 1 b)", b" r (a -1)", b" r (a 1) x", b" r (" + b"a 1 " * 30 + b"a 1)"):
        with pytest.raises(ClientFault):
            parse_setquota(tokens(text))
    with pytest.raises(ClientFault):
        parse_getquota(tokens(b" " + b"x" * 1000))
    assert quota_line("a b", [("STORAGE", 1, 2), ("MESSAGE", 0, 9)]) == b'* QUOTA "a b" (STORAGE 1 2 MESSAGE 0 9)\r\n'
    assert quotaroot_line("INBOX", ["", "x"], utf8=False) == b'* QUOTAROOT INBOX "" x\r\n'


def test_items_of_fetch() -> None:
    assert parse_fetch(tokens(b" 1 (EMAILID threadid SaveDate)")).items == FetchItem.EMAILID | FetchItem.THREADID | FetchItem.SAVEDATE
    assert parse_fetch(tokens(b" 1 PREVIEW")).items == FetchItem.PREVIEW
    lazy = parse_fetch(tokens(b" 1 PREVIEW (lazy) (CHANGEDSINCE 3)"))
    assert (lazy.items, lazy.changed_since) == (FetchItem.PREVIEW_LAZY | FetchItem.MODSEQ, 3)
    both = parse_fetch(tokens(b" 1 (PREVIEW (LAZY) UID PREVIEW)"))
    assert both.items == FetchItem.PREVIEW | FetchItem.PREVIEW_LAZY | FetchItem.UID
    for text in (b" 1 PREVIEW (NOW)", b" 1 (PREVIEW(LAZY))", b" 1 EMAILID[]"):
        with pytest.raises(ClientFault):
            parse_fetch(tokens(text))


def test_items_of_status_and_list() -> None:
    assert parse_status(tokens(b" INBOX (deleted-storage MAILBOXID appendlimit)")).items == (
        StatusItem.DELETED_STORAGE, StatusItem.MAILBOXID, StatusItem.APPENDLIMIT)
    with pytest.raises(ClientFault):
        parse_status(tokens(b" INBOX (DELETED_STORAGE)"))
    answer = StatusAnswer("INBOX", ((StatusItem.DELETED_STORAGE, 5), (StatusItem.MAILBOXID, 7)))
    assert status_line(answer) == b"* STATUS INBOX (DELETED-STORAGE 5 MAILBOXID (F7))\r\n"
    found = parse_list(tokens(b' "" * RETURN (CHILDREN METADATA (/shared/x "/private/Y") SUBSCRIBED)'))
    assert found.metadata == ("/shared/x", "/private/y") and found.extended
