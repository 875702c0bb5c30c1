"""No octets make the readers of SEARCH, SORT, THREAD, ESEARCH raise; what they accept obeys its bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.imap.commands.search import MAX_KEYS
from mssante.protocol.imap.faults import ClientFault, CommandRefused
from mssante.protocol.imap.searchkeys import parts
from mssante.protocol.imap.session import Command, ImapSession

WORDS = st.sampled_from([
    "SEARCH", "UID", "SORT", "THREAD", "ESEARCH", "CANCELUPDATE", "RETURN", "IN", "(", ")", "((", "))", "UTF-8", "CHARSET", "REFERENCES",
    "ORDEREDSUBJECT", "REVERSE", "DATE", "SUBJECT", "RELEVANCY", "PARTIAL", "1:5", "-1:-5", "-1:5", "*", "1:*", "$", "ALL", "MIN", "COUNT",
    "UPDATE", "CONTEXT", "SAVE", "FUZZY", "NOT", "OR", "YOUNGER", "OLDER", "99", "0", "EMAILID", "M1", "SAVEDON", "1-Feb-2026", "MODSEQ",
    "mailboxes", "subtree-one", "selected", "personal", '"a b"', "INBOX", '"', "\\", "{3+}", "é", "HEADER", "a"])


@given(st.sampled_from(["SEARCH", "UID SEARCH", "SORT", "UID SORT", "THREAD", "ESEARCH", "CANCELUPDATE"]), st.lists(WORDS, max_size=14),
       st.booleans())
@settings(max_examples=1500, deadline=None)
def test_words_in_any_order(name: str, words: list[str], spaced: bool) -> None:
    session = ImapSession(tls=True)
    session.logged_in()
    session.selected(read_only=False)
    session.receive(f"a {name} {(' ' if spaced else '').join(words)}\r\n".encode())
    event = session.next_event()
    if isinstance(event, Command):
        key = getattr(event.value, "key", None)
        assert key is None or sum(1 for _ in parts(key)) <= 2 * MAX_KEYS
    elif isinstance(event, ClientFault):
        assert event.text
    else:
        assert not isinstance(event, CommandRefused) or event.code
