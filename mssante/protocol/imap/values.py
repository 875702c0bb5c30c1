"""IMAP values: one frozen class per command (arguments already typed), and the values that answers are encoded from.

- Parsers in `protocol/imap/commands/` build the command values; `services/imap/` reads them; nobody else does.
- Texts are decoded `str` (folder names from modified UTF-7 or UTF-8, INBOX upper-case); message data stay `bytes`.
- Numbers are in range, sets are bounded, dates are real: a value that exists obeys its grammar (RFC 9051 §9).
- Never here: IO, clock, parsing, encoding.

Sequence sets are `protocol.imap.numset.NumSet`; flags are a mask of `model.message.Flags` plus keywords in client case.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag, StrEnum
from typing import NamedTuple

from mssante.protocol.imap.aclvalues import DeleteAcl, GetAcl, ListRights, MyRights, SetAcl
from mssante.protocol.imap.appendvalues import Append, AppendAction, AppendLiteral, AppendMessage, AppendUrl
from mssante.protocol.imap.metadatavalues import GetMetadata, SetMetadata
from mssante.protocol.imap.notifyvalues import Notify
from mssante.protocol.imap.numset import NumSet
from mssante.protocol.imap.partial import Partial
from mssante.protocol.imap.quotavalues import GetQuota, GetQuotaRoot, SetQuota
from mssante.protocol.imap.searchkeys import (
    AllOf,
    AnyOf,
    DateKey,
    DateRelation,
    Everything,
    FlagKey,
    HeaderKey,
    InSet,
    KeywordKey,
    ModSeqKey,
    NotKey,
    SearchKey,
    SizeKey,
    TextKey,
    TextPlace,
)
from mssante.protocol.imap.searchvalues import (
    CancelUpdate,
    ESearchAnswer,
    MultiSearch,
    Search,
    SearchReturn,
    Sort,
    SortBy,
    Source,
    Thread,
    ThreadBy,
)
from mssante.protocol.imap.sessionvalues import Compress, Unauthenticate
from mssante.protocol.imap.syncvalues import Resync, UidBatches

__all__ = [  # names of another module that are read from here too; the classes below need no list
    "AllOf",
    "AnyOf",
    "Append",
    "AppendAction",
    "AppendLiteral",
    "AppendMessage",
    "AppendUrl",
    "CancelUpdate",
    "Compress",
    "DateKey",
    "DateRelation",
    "ESearchAnswer",
    "Everything",
    "FlagKey",
    "HeaderKey",
    "InSet",
    "KeywordKey",
    "ModSeqKey",
    "MultiSearch",
    "NotKey",
    "Search",
    "SearchKey",
    "SearchReturn",
    "SizeKey",
    "Sort",
    "SortBy",
    "Source",
    "TextKey",
    "TextPlace",
    "Thread",
    "ThreadBy",
    "Unauthenticate",
]


class State(Enum):
    """Connection states of RFC 9051 §3."""

    NOT_AUTHENTICATED = "not authenticated"
    AUTHENTICATED = "authenticated"
    SELECTED = "selected"
    LOGOUT = "logout"


# ------------------------------------------------------------------------------------------------ any state


@dataclass(frozen=True, slots=True)
class Capability:
    """RFC 9051 §6.1.1."""


@dataclass(frozen=True, slots=True)
class Noop:
    """RFC 9051 §6.1.2."""


@dataclass(frozen=True, slots=True)
class Logout:
    """RFC 9051 §6.1.3: answer `* BYE`, then the tagged OK, then close."""


@dataclass(frozen=True, slots=True)
class Id:
    """RFC 2971 §3.1. fields: at most 30 (name, value or None); names at most 30 octets, values 1024."""

    fields: tuple[tuple[str, str | None], ...] = ()


# ------------------------------------------------------------------------------------------------ not authenticated


@dataclass(frozen=True, slots=True)
class StartTls:
    """RFC 9051 §6.2.1."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """RFC 9051 §6.2.2. mechanism: upper-case; initial: decoded initial response (RFC 4959), None when absent."""

    mechanism: str
    initial: bytes | None = None

    def __repr__(self) -> str:
        """Never show what may hold a password."""
        return f"Authenticate(mechanism={self.mechanism!r})"


@dataclass(frozen=True, slots=True)
class Login:
    """RFC 9051 §6.2.3."""

    user: str
    password: str

    def __repr__(self) -> str:
        """Never show a password."""
        return "Login()"


# ------------------------------------------------------------------------------------------------ folders


@dataclass(frozen=True, slots=True)
class Enable:
    """RFC 5161 §3.1. names: upper-case, as asked (unknown ones included: the session ignores them)."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Select:
    """RFC 9051 §6.3.2 and §6.3.3: examine opens read-only. condstore: RFC 7162 §3.1.8; resync: §3.2.5."""

    folder: str
    examine: bool = False
    condstore: bool = False
    resync: Resync | None = None


@dataclass(frozen=True, slots=True)
class Create:
    """RFC 9051 §6.3.4, RFC 6154 §3. A last `/` of the name is already cut; special_use like `\\Sent`, or empty."""

    folder: str
    special_use: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """RFC 9051 §6.3.5."""

    folder: str


@dataclass(frozen=True, slots=True)
class Rename:
    """RFC 9051 §6.3.6."""

    folder: str
    new_name: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """RFC 9051 §6.3.7 (on) and §6.3.8 (off)."""

    folder: str
    on: bool = True


class ListSelect(IntFlag):
    """Selection options of LIST (RFC 5258 §3.1, RFC 6154 §5.2)."""

    NONE = 0
    SUBSCRIBED = 1
    REMOTE = 2
    RECURSIVEMATCH = 4
    SPECIAL_USE = 8


class ListReturn(IntFlag):
    """Return options of LIST (RFC 5258 §3.2, RFC 6154 §5.2). STATUS stands beside, in `List.status`."""

    NONE = 0
    SUBSCRIBED = 1
    CHILDREN = 2
    SPECIAL_USE = 4
    MYRIGHTS = 8  # RFC 8440


class StatusItem(StrEnum):
    """What STATUS may ask (RFC 9051 §6.3.11, RFC 8438, RFC 7162 §3.1.7). RECENT: IMAP4rev1 only."""

    MESSAGES = "MESSAGES"
    UIDNEXT = "UIDNEXT"
    UIDVALIDITY = "UIDVALIDITY"
    UNSEEN = "UNSEEN"
    DELETED = "DELETED"
    SIZE = "SIZE"
    RECENT = "RECENT"
    HIGHESTMODSEQ = "HIGHESTMODSEQ"
    MAILBOXID = "MAILBOXID"  # RFC 8474 §4.3
    APPENDLIMIT = "APPENDLIMIT"  # RFC 7889 §3
    DELETED_STORAGE = "DELETED-STORAGE"  # RFC 9208 §4.1.4


@dataclass(frozen=True, slots=True)
class List:
    """RFC 9051 §6.3.9. patterns: one for the plain form; match with `protocol.imap.match`.

    extended: the client used selection options, several patterns or RETURN (RFC 5258 §3): answer in that form.
    status: items for LIST-STATUS (RFC 5819), metadata: entries for LIST-METADATA (RFC 9590), empty when not asked.
    """

    reference: str
    patterns: tuple[str, ...]
    select: ListSelect = ListSelect.NONE
    returns: ListReturn = ListReturn.NONE
    status: tuple[StatusItem, ...] = ()
    extended: bool = False
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lsub:
    """RFC 3501 §6.3.9: subscribed folders, answered by `* LSUB`."""

    reference: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """RFC 9051 §6.3.10."""


@dataclass(frozen=True, slots=True)
class Status:
    """RFC 9051 §6.3.11."""

    folder: str
    items: tuple[StatusItem, ...]


@dataclass(frozen=True, slots=True)
class Idle:
    """RFC 9051 §6.3.13: the session calls `expect_line`, answers `+ idling`, and waits for `Line(b"DONE")`."""


# ------------------------------------------------------------------------------------------------ selected


@dataclass(frozen=True, slots=True)
class Check:
    """RFC 3501 §6.4.1: like NOOP."""


@dataclass(frozen=True, slots=True)
class Close:
    """RFC 9051 §6.4.1: expunge silently (unless read-only), then leave the folder."""


@dataclass(frozen=True, slots=True)
class Unselect:
    """RFC 9051 §6.4.2: leave the folder, expunge nothing."""


@dataclass(frozen=True, slots=True)
class Expunge:
    """RFC 9051 §6.4.3; uids: UID EXPUNGE (RFC 4315 §2.1), None for EXPUNGE."""

    uids: NumSet | None = None


class FetchItem(IntFlag):
    """Data items of FETCH that have no section (RFC 9051 §6.4.5). BODY: BODYSTRUCTURE without extension data."""

    NONE = 0
    UID = 1
    FLAGS = 2
    INTERNALDATE = 4
    SIZE = 8
    ENVELOPE = 16
    BODY = 32
    BODYSTRUCTURE = 64
    MODSEQ = 128
    SAVEDATE = 256  # RFC 8514
    EMAILID = 512  # RFC 8474
    THREADID = 1024
    PREVIEW = 2048  # RFC 8970
    PREVIEW_LAZY = 4096  # only what is at hand


class SectionKind(Enum):
    """What is cut out of the message. BINARY: transfer encoding removed; BINARY_SIZE: only its length (RFC 3516)."""

    BODY = "BODY"
    BINARY = "BINARY"
    BINARY_SIZE = "BINARY.SIZE"


class SectionText(Enum):
    """Last word of a section (RFC 9051 §6.4.5.1); ALL: none written, the whole part or message."""

    ALL = ""
    HEADER = "HEADER"
    HEADER_FIELDS = "HEADER.FIELDS"
    HEADER_FIELDS_NOT = "HEADER.FIELDS.NOT"
    TEXT = "TEXT"
    MIME = "MIME"


@dataclass(frozen=True, slots=True)
class Section:
    """One piece of content asked by FETCH.

    label: name of the answer, ready to write (`BODY[1.2]<0>`, `RFC822.TEXT`); part: `1.2` is (1, 2), () is the message;
    fields: header names in client case for HEADER_FIELDS*; partial: (first octet, at most this many octets >= 1);
    peek: False means that the FETCH sets `\\Seen`.
    """

    label: bytes
    kind: SectionKind = SectionKind.BODY
    part: tuple[int, ...] = ()
    text: SectionText = SectionText.ALL
    fields: tuple[str, ...] = ()
    partial: tuple[int, int] | None = None
    peek: bool = False


@dataclass(frozen=True, slots=True)
class Fetch:
    """RFC 9051 §6.4.5, §6.4.9. uid: numbers are UIDs, and items hold UID; macros are expanded.

    changed_since: RFC 7162 §3.1.4.1 (items then hold MODSEQ); None when not asked. vanished: §3.2.6. partial: RFC 9394 §3.3.
    plain_uid: UID was not asked, it is in items because of the command: UIDFETCH says it already (RFC 9586 §3.3).
    """

    numbers: NumSet
    items: FetchItem
    sections: tuple[Section, ...] = ()
    uid: bool = False
    changed_since: int | None = None
    vanished: bool = False
    partial: Partial | None = None
    plain_uid: bool = False

    @property
    def sets_seen(self) -> bool:
        """True when a section without PEEK is asked (RFC 9051 §6.4.5)."""
        return any(not section.peek for section in self.sections)

    @property
    def condstore(self) -> bool:
        """True when this command enables CONDSTORE (RFC 7162 §3.1)."""
        return bool(self.items & FetchItem.MODSEQ)


class StoreMode(StrEnum):
    """`FLAGS`, `+FLAGS`, `-FLAGS`: the words of `storage.interfaces.FlagChange.mode`."""

    SET = "set"
    ADD = "add"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Store:
    """RFC 9051 §6.4.6. unchanged_since: RFC 7162 §3.1.3, None when not asked (0 is a value)."""

    numbers: NumSet
    mode: StoreMode
    flags: int = 0
    keywords: tuple[str, ...] = ()
    silent: bool = False
    uid: bool = False
    unchanged_since: int | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """RFC 9051 §6.4.7."""

    numbers: NumSet
    folder: str
    uid: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """RFC 9051 §6.4.8."""

    numbers: NumSet
    folder: str
    uid: bool = False


CommandValue = (
    Compress | Unauthenticate |
    Capability | Noop | Logout | Id | StartTls | Authenticate | Login | Enable | Select | Create | Delete | Rename
    | Subscribe | List | Lsub | Namespace | Status | Append | Idle | Check | Close | Unselect | Expunge | Fetch | Store
    | Copy | Move | Search
    | SetAcl | DeleteAcl | GetAcl | ListRights | MyRights
    | CancelUpdate | MultiSearch | Sort | Thread
    | UidBatches
    | GetMetadata | SetMetadata | GetQuota | GetQuotaRoot | SetQuota
    | Notify
)

# ------------------------------------------------------------------------------------------------ answers


class Condition(StrEnum):
    """Status words of RFC 9051 §7.1."""

    OK = "OK"
    NO = "NO"
    BAD = "BAD"
    BYE = "BYE"
    PREAUTH = "PREAUTH"


class Completion(NamedTuple):  # a tuple: made for each command
    """What a command ends with: `tag OK [code] text`. code without brackets (`READ-WRITE`), text ASCII."""

    condition: Condition = Condition.OK
    text: str = "done"
    code: bytes = b""


@dataclass(frozen=True, slots=True)
class ListAnswer:
    """One `* LIST` or `* LSUB` line (RFC 9051 §7.3.1). attributes like `\\HasChildren`, in order.

    child_info: words of CHILDINFO (RFC 5258 §4), such as `SUBSCRIBED`; empty for none.
    """

    name: str
    attributes: tuple[str, ...] = ()
    child_info: tuple[str, ...] = ()
    delimiter: str = "/"
    lsub: bool = False


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """One `* STATUS` line (RFC 9051 §7.3.4), values in the order asked."""

    name: str
    values: tuple[tuple[StatusItem, int], ...]

