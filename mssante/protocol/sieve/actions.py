"""What a script decides, as values: the caller files, sends, or not.

flags are words as IMAP writes them (`\\Seen`, `$Label1`), each once. Called by `interpreter` (makes them) and `services.sieve`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Keep:
    """File into INBOX (RFC 5228 §4.3)."""

    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileInto:
    """File into a folder (RFC 5228 §4.1). create: make it when missing (RFC 5490 §3.2)."""

    folder: str
    flags: tuple[str, ...] = ()
    create: bool = False


@dataclass(frozen=True, slots=True)
class Redirect:
    """Send on to an address (RFC 5228 §4.2). sole: the message is not kept otherwise; flags: of the copy kept when it fails."""

    address: str
    sole: bool = True
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Discard:
    """Throw away when nothing else files it (RFC 5228 §4.4)."""


@dataclass(frozen=True, slots=True)
class Vacation:
    """Tell the sender that its reader is away (RFC 5230 §4). seconds: before the same sender is told again, None: as configured;
    mime: the reason is a whole MIME entity; plain_subject, plain_reason: no variable stood in it, so that it holds no word of the
    message answered."""

    reason: str = field(repr=False)
    seconds: int | None = None
    subject: str = field(default="", repr=False)
    sender: str = ""
    addresses: tuple[str, ...] = ()
    mime: bool = False
    handle: str = ""
    plain_subject: bool = True
    plain_reason: bool = True


Action = Keep | FileInto | Redirect | Discard | Vacation


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a run decided, in order; an implicit keep stands last. trace: (line, what happened), when it was asked for."""

    actions: tuple[Action, ...]
    trace: tuple[tuple[int, str], ...] = ()
    work: int = 0
