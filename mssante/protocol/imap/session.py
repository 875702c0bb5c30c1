"""One IMAP connection without IO: framing, state table and grammar behind one `next_event` (usage: package docstring).

Theory of the state table (RFC 9051 §3). A connection is in one state; a command is good in some states only. LOGIN and
AUTHENTICATE lead from NOT_AUTHENTICATED to AUTHENTICATED, SELECT and EXAMINE to SELECTED, CLOSE and UNSELECT (and a
SELECT that fails) back, LOGOUT to LOGOUT from anywhere. `STATES` says which command is good where, and is checked
before the grammar and before any literal is accepted, so that what is not allowed costs no memory. Transitions depend on the
outcome of a command, which the caller knows: it tells them (`logged_in`, `selected`…).

Enabling (RFC 5161): IMAP4REV2 turns names and strings to UTF-8 and SEARCH to ESEARCH; CONDSTORE is also turned on by
the commands of RFC 7162 §3.1. Only UNAUTHENTICATE turns things off (RFC 8437). STARTTLS forgets what was read ahead (injection).
"""

from __future__ import annotations

from typing import NamedTuple

from mssante.protocol.imap.capabilities import ENABLED_BY_CLIENT, PASSWORD_MECHANISMS, Figures, announce, with_figures
from mssante.protocol.imap.commands.append import AppendReader
from mssante.protocol.imap.commands.table import PARSERS
from mssante.protocol.imap.faults import ClientFault, CommandRefused, SessionEnd, ascii_text
from mssante.protocol.imap.limits import Limits
from mssante.protocol.imap.modes import IMPLIED, wrong_name, wrong_value
from mssante.protocol.imap.receiver import (
    NEED_DATA,
    Line,
    LiteralChunk,
    NeedData,
    RawCommand,
    RawLiteral,
    Receiver,
)
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import (
    Append,
    CommandValue,
    Fetch,
    MultiSearch,
    Search,
    Select,
    Sort,
    State,
    Status,
    StatusItem,
    Store,
    Thread,
)

__all__ = ["NEED_DATA", "Command", "Event", "ImapSession", "Line", "LiteralChunk", "LiteralWanted", "NeedData"]

# Tuples: a member of an Enum is found in one without its hash, which is a call.
_ANY = (State.SELECTED, State.AUTHENTICATED, State.NOT_AUTHENTICATED)
_BEFORE = (State.NOT_AUTHENTICATED,)
_AFTER = (State.SELECTED, State.AUTHENTICATED)
_SELECTED = (State.SELECTED,)

STATES: dict[str, tuple[State, ...]] = {
    **dict.fromkeys(("CAPABILITY", "NOOP", "LOGOUT", "ID"), _ANY),  # RFC 9051 §6.1
    **dict.fromkeys(("STARTTLS", "AUTHENTICATE", "LOGIN"), _BEFORE),  # §6.2
    **dict.fromkeys((  # §6.3
        "ENABLE", "SELECT", "EXAMINE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "LIST", "LSUB",
        "NAMESPACE", "STATUS", "SETACL", "DELETEACL", "GETACL", "LISTRIGHTS", "MYRIGHTS", "APPEND", "IDLE"), _AFTER),
    **dict.fromkeys(("GETMETADATA", "SETMETADATA", "GETQUOTA", "GETQUOTAROOT", "SETQUOTA"), _AFTER),  # RFC 5464, RFC 9208
    "COMPRESS": _AFTER,  # RFC 4978 §3
    "UNAUTHENTICATE": _AFTER,  # RFC 8437 §3
    "ESEARCH": _AFTER,  # RFC 7377
    **dict.fromkeys(("SORT", "UID SORT", "THREAD", "UID THREAD", "CANCELUPDATE"), _SELECTED),  # RFC 5256, RFC 5267
    "NOTIFY": _AFTER,  # RFC 5465
    "UIDBATCHES": _SELECTED,  # RFC 10022
    **dict.fromkeys((  # §6.4
        "CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "UID EXPUNGE", "SEARCH", "UID SEARCH", "FETCH", "UID FETCH", "STORE",
        "UID STORE", "COPY", "UID COPY", "MOVE", "UID MOVE", "REPLACE", "UID REPLACE"), _SELECTED),
}


class Command(NamedTuple):
    """A command that is well-formed and allowed now. name: upper-case, `UID FETCH` in one."""

    tag: bytes
    name: str
    value: CommandValue


class LiteralWanted(NamedTuple):
    """A literal was announced: answer `accept_literal` or `refuse_literal`.

    value: the step of the Append that it ends (octets come as LiteralChunk), None for a small literal that the core holds.
    synchronising: the client waits for `+` before it sends (RFC 9051 §4.3).
    """

    size: int
    synchronising: bool
    tag: bytes
    name: str
    value: Append | None = None


Event = Command | LiteralWanted | LiteralChunk | Line | ClientFault | CommandRefused | SessionEnd | NeedData


class ImapSession:
    """The core of one connection. Attributes `state`, `tls`, `read_only`, `enabled` are for reading."""

    def __init__(self, *, limits: Limits | None = None, tls: bool = False) -> None:
        """Start before login; tls: the connection is already encrypted (port 993)."""
        self._limits = limits or Limits()
        self._receiver = Receiver(self._limits)
        self.state = State.NOT_AUTHENTICATED
        self.tls = tls
        self.read_only = False
        self.enabled: set[str] = set()
        self.mechanisms: tuple[str, ...] = PASSWORD_MECHANISMS  # names of SASL that are offered here
        self.figures: Figures = ()  # of capabilities that have one
        self._faults = 0
        self._reader: AppendReader | None = None  # of the APPEND or REPLACE whose literals are under way
        self._wanted: LiteralWanted | None = None
        self._tag = b"*"

    # ---------------------------------------------------------------- octets and events

    def receive(self, data: bytes) -> None:
        """Take octets from the client."""
        self._receiver.receive(data)

    @property
    def read_size(self) -> int:
        """At most this many octets should be read at once: keeps memory before login under 64 KiB."""
        return self._receiver.read_size

    @property
    def full(self) -> bool:
        """True while enough is read ahead: stop reading until events are taken."""
        return self._receiver.full

    @property
    def hungry(self) -> bool:
        """True when nothing is left to do before more octets come."""
        return self._wanted is None and self._receiver.hungry

    @property
    def buffered(self) -> int:
        """Octets received and not used yet."""
        return self._receiver.buffered

    def next_event(self) -> Event:
        """Give the next event. Never raises. A LiteralWanted that is not answered is given again."""
        if self._wanted is not None:
            return self._wanted
        while True:
            raw = self._receiver.next_event()
            if isinstance(raw, RawCommand):
                return self._command(raw)
            if isinstance(raw, ClientFault):
                return self._count(raw)
            if not isinstance(raw, RawLiteral):
                return raw
            event = self._literal(raw)
            if event is not None:
                return event

    def _command(self, raw: RawCommand) -> Event:
        """Check and read a framed command."""
        self._tag = raw.tag
        reader, self._reader = self._reader, None
        refusal = self._not_now(raw)
        if refusal is not None:
            return self._count(refusal)
        self._tune(raw.tokens)
        value: CommandValue
        try:
            value = PARSERS[raw.name](raw.tokens) if reader is None else reader.end(raw.tokens)
        except ClientFault as fault:
            return self._count(fault)
        except CommandRefused as refused:
            refused.tag = raw.tag
            return refused
        wrong = wrong_value(raw.tag, value, self.enabled)
        if wrong is not None:
            return self._count(wrong)
        self._faults = 0
        if _uses_condstore(value):
            self.enabled.add("CONDSTORE")  # RFC 7162 §3.1
        return Command(raw.tag, raw.name, value)

    def _tune(self, tokens: Tokens) -> None:
        """Tell a reader what the client enabled."""
        tokens.rev2 = self.rev2
        tokens.accept = "UTF8=ACCEPT" in self.enabled

    def _not_now(self, raw: RawCommand) -> ClientFault | CommandRefused | None:
        """Give why a command is not allowed now, None when it is."""
        states = STATES.get(raw.name)
        if states is None:
            return ClientFault(raw.tag, "unknown command")
        if self.state not in states:
            return ClientFault(raw.tag, f"{raw.name} is not allowed in the {self.state.value} state")
        if raw.name == "STARTTLS" and self.tls:
            return ClientFault(raw.tag, "TLS is already active")  # RFC 9051 §6.2.1
        if raw.name in ("LOGIN", "AUTHENTICATE") and not self.tls:
            refused = CommandRefused("TLS is needed first", code="PRIVACYREQUIRED", rule="RFC 9051 §6.2.3")
            refused.tag = raw.tag
            return refused
        return wrong_name(raw.tag, raw.name, self.enabled)

    def _literal(self, raw: RawLiteral) -> Event | None:
        """Check what stands before a literal; None: refused without an event, go on."""
        self._tag = raw.head.tag
        fault: ClientFault | CommandRefused | None = self._not_now(raw.head)
        value = None
        if fault is None and raw.streamed:
            self._tune(raw.head.tokens)
            reader = self._reader or AppendReader(raw.head.name, utf8=raw.head.tokens.accept)
            self._reader = reader
            try:
                value = reader.literal(raw.head.tokens, size=raw.size, binary=raw.binary)
            except ClientFault as found:
                fault = found
            except CommandRefused as refused:
                refused.tag = raw.head.tag
                fault = refused
        if fault is not None:
            self._receiver.refuse_literal()
            return self._count(fault)
        if not raw.synchronising and value is None:
            self._receiver.accept_literal()
            return None
        self._wanted = LiteralWanted(raw.size, raw.synchronising, raw.head.tag, raw.head.name, value)
        return self._wanted

    def _count(self, fault: ClientFault | CommandRefused) -> ClientFault | CommandRefused | SessionEnd:
        """Count faults in a row; too many end the session."""
        self._reader = None
        self._faults += 1
        most = self._limits.faults_before if self.state is State.NOT_AUTHENTICATED else self._limits.faults
        if self._faults <= most:
            return fault
        self._receiver.end()
        return SessionEnd("too many malformed commands")

    # ---------------------------------------------------------------- answers of the caller

    def accept_literal(self) -> bytes:
        """Take the literal of the last LiteralWanted; give what to write: `+` line, or nothing for LITERAL+."""
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            return b""
        self._receiver.accept_literal()
        return b"+ go ahead\r\n" if wanted.synchronising else b""

    def refuse_literal(self) -> None:
        """Refuse it: the caller writes the tagged NO; octets that come anyway are thrown away."""
        if self._wanted is not None:
            self._wanted = self._reader = None
            self._receiver.refuse_literal()

    def expect_line(self) -> None:
        """Read the next line as it is (IDLE, AUTHENTICATE): one `Line` event, then commands again."""
        self._receiver.expect_line(self._tag)

    # ---------------------------------------------------------------- state

    @property
    def rev2(self) -> bool:
        """IMAP4rev2 is enabled."""
        return "IMAP4REV2" in self.enabled

    @property
    def utf8(self) -> bool:
        """Folder names go as UTF-8, not as modified UTF-7 (RFC 9051 §5.1, RFC 9755 §3)."""
        return self.rev2 or "UTF8=ACCEPT" in self.enabled

    @property
    def condstore(self) -> bool:
        """CONDSTORE is enabled: FETCH answers that we start carry MODSEQ (RFC 7162 §3.2)."""
        return "CONDSTORE" in self.enabled

    @property
    def qresync(self) -> bool:
        """QRESYNC is enabled (RFC 7162 §3.2)."""
        return "QRESYNC" in self.enabled

    @property
    def uidonly(self) -> bool:
        """UIDONLY is enabled: no message number is written (RFC 9586 §3)."""
        return "UIDONLY" in self.enabled

    def start_tls(self) -> bool:
        """TLS is active now. False: octets had come before it (injection); they are forgotten, the caller closes."""
        self.tls = True
        self._faults = 0
        return not self._receiver.drop_buffer()

    def logged_in(self) -> None:
        """A user is authenticated."""
        self.state = State.AUTHENTICATED
        self._receiver.trusted = True

    def unauthenticated(self) -> None:
        """Nobody is logged in any more: what was enabled or selected is forgotten (RFC 8437 §3, §4.1)."""
        self.state = State.NOT_AUTHENTICATED
        self.read_only = False
        self.enabled.clear()
        self._reader = None
        self._receiver.trusted = False

    def selected(self, *, read_only: bool) -> None:
        """A folder is open."""
        self.state = State.SELECTED
        self.read_only = read_only

    def unselected(self) -> None:
        """No folder is open."""
        if self.state is State.SELECTED:
            self.state = State.AUTHENTICATED
        self.read_only = False

    def logged_out(self) -> None:
        """Nothing more is read."""
        self.state = State.LOGOUT
        self._receiver.end()

    def enable(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Turn on what we know of these upper-case names; give those newly on, in order (RFC 5161 §3.2)."""
        new = tuple(dict.fromkeys(name for name in names if name in ENABLED_BY_CLIENT and name not in self.enabled))
        self.enabled.update(new)
        self.enabled.update(IMPLIED[name] for name in new if name in IMPLIED)
        return new

    # ---------------------------------------------------------------- lines that depend on state only

    def capabilities(self) -> bytes:
        """Give the names to announce now."""
        words = with_figures(announce(self.state, self.tls, self.mechanisms), self.figures)
        return words if self._limits.unasked is None else words.replace(b"LITERAL+", b"LITERAL-", 1)  # RFC 7888 §5

    def capability_line(self) -> bytes:
        """Give `* CAPABILITY …` with CRLF."""
        return b"* CAPABILITY " + self.capabilities() + b"\r\n"

    def capability_code(self) -> bytes:
        """Give `CAPABILITY …` to stand in brackets in a tagged OK (RFC 9051 §7.1)."""
        return b"CAPABILITY " + self.capabilities()

    def greeting(self, text: str) -> bytes:
        """Give the greeting line with CRLF (RFC 9051 §7.1)."""
        return b"* OK [" + self.capability_code() + b"] " + ascii_text(text) + b"\r\n"


def _uses_condstore(value: CommandValue) -> bool:
    """Tell if a command enables CONDSTORE (RFC 7162 §3.1)."""
    if isinstance(value, Fetch):
        return value.condstore
    if isinstance(value, Search):
        return value.modseq
    if isinstance(value, Sort | Thread | MultiSearch):
        return value.search.modseq
    if isinstance(value, Store):
        return value.unchanged_since is not None
    if isinstance(value, Select):
        return value.condstore
    return isinstance(value, Status) and StatusItem.HIGHESTMODSEQ in value.items
