"""Grammar of SORT, THREAD, ESEARCH, CANCELUPDATE and of the search keys of extensions."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.partial import Partial
from mssante.protocol.imap.searchkeys import (
    AllOf,
    DateRelation,
    Everything,
    FuzzyKey,
    NotKey,
    ObjectKey,
    SavedKey,
    WithinKey,
    parts,
)
from mssante.protocol.imap.session import Command, Event, ImapSession
from mssante.protocol.imap.values import (
    CancelUpdate,
    MultiSearch,
    Search,
    SearchReturn,
    Sort,
    SortBy,
    Source,
    Thread,
    ThreadBy,
)


def value(event: Event) -> object:
    """Give the value of a command, or fail with what came instead."""
    assert isinstance(event, Command), event
    return event.value


EVERYTHING = Search(Everything())


@pytest.mark.parametrize(("line", "expected"), [
    (b"SORT (DATE) UTF-8 ALL", Sort(((SortBy.DATE, False),), EVERYTHING)),
    (b"sort (reverse date reverse SUBJECT size) us-ascii all",
     Sort(((SortBy.DATE, True), (SortBy.SUBJECT, True), (SortBy.SIZE, False)), EVERYTHING)),
    (b"UID SORT RETURN (PARTIAL -1:-5 COUNT) (ARRIVAL) UTF-8 ALL",
     Sort(((SortBy.ARRIVAL, False),), Search(Everything(), True, SearchReturn.PARTIAL | SearchReturn.COUNT,
                                            partial=Partial(1, 5, from_end=True)))),
    (b"THREAD REFERENCES UTF-8 ALL", Thread(ThreadBy.REFERENCES, EVERYTHING)),
    (b"UID THREAD orderedsubject UTF-8 ALL", Thread(ThreadBy.ORDEREDSUBJECT, Search(Everything(), True))),
    (b'CANCELUPDATE "a1" "b2"', CancelUpdate((b"a1", b"b2"))),
    (b"ESEARCH ALL", MultiSearch(((Source.SELECTED, ()),), Search(Everything(), True, SearchReturn.ALL))),
    (b'ESEARCH IN (mailboxes (inbox "A b") subtree C personal) RETURN (COUNT) CHARSET UTF-8 ALL',
     MultiSearch(((Source.MAILBOXES, ("INBOX", "A b")), (Source.SUBTREE, ("C",)), (Source.PERSONAL, ())),
                 Search(Everything(), True, SearchReturn.COUNT))),
    (b"SEARCH YOUNGER 60 OLDER 5", Search(AllOf((WithinKey(60, False), WithinKey(5, True))))),
    (b"SEARCH SAVEDON 1-Feb-2026", Search(SavedKey(DateRelation.ON, date(2026, 2, 1)))),
    (b"SEARCH EMAILID M12 THREADID T-1_x", Search(AllOf((ObjectKey("M12", False), ObjectKey("T-1_x", True))))),
    (b"SEARCH RETURN (UPDATE CONTEXT) FUZZY NOT ALL",
     Search(FuzzyKey(NotKey(Everything())), returns=SearchReturn.UPDATE | SearchReturn.CONTEXT)),
])
def test_search_extensions(parse: Callable[..., Event], line: bytes, expected: object) -> None:
    assert value(parse(line)) == expected


@pytest.mark.parametrize("line", [
    b"SORT DATE UTF-8 ALL", b"SORT (DATE)", b"SORT (DATE,SIZE) UTF-8 ALL", b"SORT RETURN (DATE) UTF-8 ALL", b"SORT (DATE )UTF-8 ALL",
    b"THREAD (REFERENCES) UTF-8 ALL", b"THREAD REFERENCES UTF-8", b"CANCELUPDATE a1", b'CANCELUPDATE ("a1")', b"ESEARCH", b"ESEARCH IN ALL",
    b"ESEARCH IN (mailboxes ()) ALL", b"ESEARCH IN (selected)ALL", b"SEARCH RETURN (PARTIAL 1) ALL", b"SEARCH FUZZY", b"SEARCH SAVEDON",
    b"SEARCH EMAILID a.b", b"SEARCH YOUNGER -1", b"SEARCH RETURN (MIN RELEVANCY) ALL",
])
def test_refused(parse: Callable[..., Event], line: bytes) -> None:
    assert isinstance(parse(line), ClientFault)


def test_modseq_in_any_search_turns_condstore_on(open_session: Callable[..., ImapSession]) -> None:
    for line in (b"SORT (DATE) UTF-8 MODSEQ 1", b"THREAD REFERENCES UTF-8 MODSEQ 1", b"ESEARCH FUZZY MODSEQ 1"):
        session = open_session()
        session.receive(b"a " + line + b"\r\n")
        assert isinstance(session.next_event(), Command)
        assert session.condstore


def test_every_key_of_a_tree_is_given() -> None:
    tree = AllOf((NotKey(FuzzyKey(WithinKey(1, True))), Everything()))
    assert {type(one) for one in parts(tree)} == {AllOf, NotKey, FuzzyKey, WithinKey, Everything}


def test_no_charset_once_utf8_is_accepted(open_session: Callable[..., ImapSession]) -> None:
    session = open_session()
    session.enable(("UTF8=ACCEPT",))
    session.receive(b"a SEARCH CHARSET UTF-8 ALL\r\nb SORT (DATE) UTF-8 ALL\r\nc ESEARCH CHARSET UTF-8 ALL\r\n")
    assert isinstance(session.next_event(), ClientFault)
    assert isinstance(session.next_event(), Command)  # SORT always names one
    assert isinstance(session.next_event(), ClientFault)
