"""Faults of IMAP and the one place that turns them into responses (RFC 9051 §7.1).

- `ClientFault` -> tagged BAD: the octets do not obey the grammar, or the command is not allowed now.
- `CommandRefused` -> tagged NO with a response code: well-formed, but we cannot or will not.
- `SessionEnd` -> untagged BYE: the connection must be closed after it.
- Any other fault -> tagged NO [SERVERBUG] with a neutral text: no detail of ours leaves the process.

The core returns them as events and never raises them out of `next_event`. Texts are ours, never
an echo of the client's octets: a line of a client may hold a password.
"""

from __future__ import annotations

from functools import lru_cache

from mssante.errors import MssFault, OperatorFault, PeerFault, StorageFull


class ClientFault(PeerFault):
    """A command that breaks the grammar. tag: its tag, None when it could not be read; at: octet in the line, or -1.

    code: response code without brackets, where a document wants one with BAD (RFC 7888 §5).
    """

    kind = "imap_bad"

    def __init__(self, tag: bytes | None, text: str, *, at: int = -1, rule: str = "RFC 9051", code: str = "") -> None:
        super().__init__(text, rule=rule, remedy="")
        self.tag = tag
        self.code = code
        self.text = text
        self.at = at

    def __eq__(self, other: object) -> bool:
        """Compare as a value: events are compared by tests."""
        return isinstance(other, ClientFault) and (self.tag, self.text, self.at) == (other.tag, other.text, other.at)

    def __hash__(self) -> int:
        """Hash as a value."""
        return hash((self.tag, self.text, self.at))


class CommandRefused(MssFault):
    """A command that we refuse. code: response code without brackets (`TRYCREATE`, `TOOBIG`), may be empty.

    tag: set when the core gives it as an event (`BADCHARSET`, `PRIVACYREQUIRED`); None when a service raises it.
    """

    kind = "imap_no"
    temporary = False

    def __init__(self, text: str, *, code: str = "", detail: str = "", rule: str = "") -> None:
        super().__init__(text, detail=detail, rule=rule)
        self.code = code
        self.tag: bytes | None = None

    def __eq__(self, other: object) -> bool:
        """Compare as a value: events are compared by tests."""
        return isinstance(other, CommandRefused) and (self.tag, self.public, self.code) == (
            other.tag, other.public, other.code)

    def __hash__(self) -> int:
        """Hash as a value."""
        return hash((self.tag, self.public, self.code))


class SessionEnd(PeerFault):
    """The session must end now: `* BYE text`, then close."""

    kind = "imap_bye"

    def __init__(self, text: str, *, rule: str = "RFC 9051 §7.1.5") -> None:
        super().__init__(text, rule=rule)
        self.text = text

    def __eq__(self, other: object) -> bool:
        """Compare as a value: events are compared by tests."""
        return isinstance(other, SessionEnd) and self.text == other.text

    def __hash__(self) -> int:
        """Hash as a value."""
        return hash(self.text)


@lru_cache(maxsize=512)
def ascii_text(text: str) -> bytes:
    """Give a response text safe on the wire: printable ASCII, one line, at most 400 octets, never empty.

    A `[` at the start would be read as a response code (RFC 9051 §9 resp-text), so it is replaced.
    """
    if text.isascii() and text.isprintable() and 0 < len(text) <= 400 and text[0] != "[":
        return text.encode("ascii")
    raw = text.encode("ascii", "replace")[:400]
    clean = bytes(octet if 32 <= octet < 127 else 63 for octet in raw)
    if clean.startswith(b"["):
        clean = b"(" + clean[1:]
    return clean or b"-"


def encode_fault(fault: BaseException, tag: bytes | None) -> bytes:
    """Give the whole response line for a fault, CRLF included.

    tag: of the command that failed; None gives an untagged line (`* BAD`). Raises nothing.
    """
    lead = tag if tag else b"*"
    if isinstance(fault, SessionEnd):
        return b"* BYE " + ascii_text(fault.text) + b"\r\n"
    if isinstance(fault, ClientFault):
        where = f" (at octet {fault.at})" if fault.at >= 0 else ""
        code = f"[{fault.code}] ".encode("ascii", "replace") if fault.code else b""
        return lead + b" BAD " + code + ascii_text(fault.text + where) + b"\r\n"
    if isinstance(fault, CommandRefused):
        code = f"[{fault.code}] ".encode("ascii", "replace") if fault.code else b""
        return lead + b" NO " + code + ascii_text(fault.public) + b"\r\n"
    if isinstance(fault, StorageFull):
        return lead + b" NO [UNAVAILABLE] no room left, nothing was changed\r\n"  # RFC 5530 §3: the store, not a quota
    if isinstance(fault, MssFault) and not isinstance(fault, OperatorFault):
        return lead + b" NO [CANNOT] " + ascii_text(fault.public) + b"\r\n"
    return lead + b" NO [SERVERBUG] internal error, please try again later\r\n"  # RFC 9051 §7.1
