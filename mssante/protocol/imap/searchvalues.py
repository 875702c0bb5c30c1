"""Values of SEARCH, SORT, THREAD, ESEARCH and CANCELUPDATE, and of their answers.

Built by `commands/search.py`, `commands/sort.py` and `commands/multisearch.py`, read by `services/imap/*`; encoded by
`encode_search.py`. Also importable from `protocol.imap.values`, with all other values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntFlag, StrEnum

from mssante.protocol.imap.notifyvalues import Asked
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.partial import Partial
from mssante.protocol.imap.searchkeys import SearchKey


class SearchReturn(IntFlag):
    """Result options (RFC 9051 §6.4.4; RFC 5267 §4; RFC 6203 §4; RFC 9394 §3.1). `RETURN ()` is ALL."""

    NONE = 0
    MIN = 1
    MAX = 2
    ALL = 4
    COUNT = 8
    SAVE = 16
    UPDATE = 32
    CONTEXT = 64  # a hint: everything is kept in memory here anyway
    RELEVANCY = 128
    PARTIAL = 256  # with `partial`


@dataclass(frozen=True, slots=True)
class Search:
    """RFC 9051 §6.4.4. returns: None for the plain form (`* SEARCH`), else answer `* ESEARCH` (RFC 4731).

    modseq: a MODSEQ key is in the tree: enables CONDSTORE, and the answer ends with the highest modseq.
    partial: the page asked by PARTIAL; update: what UPDATE asks of messages that come (RFC 5465 §7).
    """

    key: SearchKey
    uid: bool = False
    returns: SearchReturn | None = None
    modseq: bool = False
    partial: Partial | None = None
    update: Asked | None = None


class SortBy(StrEnum):
    """Sort criteria (RFC 5256 §5, RFC 5957 §3, RFC 6203 §6)."""

    ARRIVAL = "ARRIVAL"
    CC = "CC"
    DATE = "DATE"
    DISPLAYFROM = "DISPLAYFROM"
    DISPLAYTO = "DISPLAYTO"
    FROM = "FROM"
    RELEVANCY = "RELEVANCY"
    SIZE = "SIZE"
    SUBJECT = "SUBJECT"
    TO = "TO"


@dataclass(frozen=True, slots=True)
class Sort:
    """SORT and UID SORT (RFC 5256 §3, RFC 5267 §3). order: (criterion, reverse), the most important first; never empty.

    search: what is sorted; its `returns` is None for the plain form (`* SORT`).
    """

    order: tuple[tuple[SortBy, bool], ...]
    search: Search

    @property
    def key(self) -> SearchKey:
        """What is searched."""
        return self.search.key


class ThreadBy(StrEnum):
    """Threading algorithms that we have (RFC 5256 §3, §4)."""

    ORDEREDSUBJECT = "ORDEREDSUBJECT"
    REFERENCES = "REFERENCES"


@dataclass(frozen=True, slots=True)
class Thread:
    """THREAD and UID THREAD (RFC 5256 §3)."""

    by: ThreadBy
    search: Search

    @property
    def key(self) -> SearchKey:
        """What is searched."""
        return self.search.key


@dataclass(frozen=True, slots=True)
class CancelUpdate:
    """CANCELUPDATE (RFC 5267 §4.3.5). tags: of the commands whose results are no more followed."""

    tags: tuple[bytes, ...]


class Source(Enum):
    """Where ESEARCH looks (RFC 7377 §2.2, RFC 5465 §6)."""

    SELECTED = "SELECTED"
    INBOXES = "INBOXES"
    PERSONAL = "PERSONAL"
    SUBSCRIBED = "SUBSCRIBED"
    SUBTREE = "SUBTREE"
    SUBTREE_ONE = "SUBTREE-ONE"
    MAILBOXES = "MAILBOXES"


@dataclass(frozen=True, slots=True)
class MultiSearch:
    """ESEARCH (RFC 7377). sources: (source, folder names it takes); just SELECTED when the command names none.

    search: `uid` is true, `returns` never None.
    """

    sources: tuple[tuple[Source, tuple[str, ...]], ...]
    search: Search

    @property
    def key(self) -> SearchKey:
        """What is searched."""
        return self.search.key


@dataclass(frozen=True, slots=True)
class ESearchAnswer:
    """One `* ESEARCH` line (RFC 9051 §7.3.4). None and an empty `all` are left out (RFC 4731 §3.1).

    all: a set, or numbers whose order matters (RFC 5267 §3.2); page: what PARTIAL asked, and what it gives;
    mailbox: (folder name as on the wire, UIDVALIDITY) of RFC 7377 §2.1; relevancy: one score a message, 1 to 100.
    """

    tag: bytes
    uid: bool = False
    minimum: int | None = None
    maximum: int | None = None
    all: NumSet | Sequence[int] | None = None
    count: int | None = None
    modseq: int | None = None
    page: tuple[Partial, NumSet | Sequence[int]] | None = None
    relevancy: Sequence[int] | None = None
    mailbox: tuple[bytes, int] | None = None
