"""The state of one run of a script, and how its actions end (RFC 5228 §2.10, RFC 5232 §2).

- What a script was compiled to (`compile`) is called with a `Run`; it reads the view, spends work, adds actions.
- Implicit keep: unless cancelled, the message is kept with the flags of the internal variable (RFC 5232 §5).
- Filing twice into one folder is done once, with the flags of both (RFC 5228 §2.10.3).
- Beyond the limits: SieveRunFault, with nothing done; the caller keeps the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mssante.protocol.sieve.actions import Action, Discard, FileInto, Keep, Outcome, Redirect, Vacation
from mssante.protocol.sieve.faults import DEFAULT_LIMITS, Limits, SieveRunFault
from mssante.protocol.sieve.message import MessageView
from mssante.protocol.sieve.strings import Text

MAX_FLAGS = 64
MAX_KEYWORD = 64
_KEYWORD = re.compile(r"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+\Z")  # RFC 9051 §9 atom, less what wildcards and lists use
_SYSTEM = {word.lower(): word for word in ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft")}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run knows beside the message. now: aware; exists: tells if a folder of the mailbox is there (RFC 5490)."""

    now: datetime
    exists: Callable[[str], bool]
    limits: Limits = DEFAULT_LIMITS
    traced: bool = False


class Stop(Exception):
    """The `stop` command (RFC 5228 §3.3)."""


@dataclass(slots=True)
class Run:
    """One run under way."""

    view: MessageView
    around: Surroundings
    variables: dict[str, str] = field(default_factory=dict)
    matched: Sequence[str] = ()
    flags: tuple[str, ...] = ()
    implicit: bool = True
    actions: list[Action] = field(default_factory=list)
    trace: list[tuple[int, str]] = field(default_factory=list)
    work: int = 0
    line: int = 1
    redirects: int = 0
    vacation: bool = False

    def spend(self, amount: int) -> None:
        """Count work. Raises SieveRunFault beyond the limit."""
        self.work += amount
        if self.work > self.around.limits.work:
            raise SieveRunFault(self.line, "trop de travail pour un message", "too much work for one message",
                                rule="SIEVE-LIMITE")

    def text(self, text: Text) -> str:
        """Give a string with its variables."""
        return text if isinstance(text, str) else text.expand(self.variables, self.matched, self.around.limits.text)

    def note(self, line: int, words: str) -> None:
        """Keep what happened, when it was asked for."""
        if self.around.traced and len(self.trace) < 1_000:
            self.trace.append((line, words))

    def add(self, action: Action) -> None:
        """Take an action. Raises SieveRunFault when there are too many."""
        if len(self.actions) >= self.around.limits.actions:
            raise SieveRunFault(self.line, f"plus de {self.around.limits.actions} actions",
                                f"over {self.around.limits.actions} actions", rule="SIEVE-LIMITE")
        if isinstance(action, Redirect):
            self.redirects += 1
            if self.redirects > self.around.limits.redirects:
                raise SieveRunFault(self.line, f"plus de {self.around.limits.redirects} renvois",
                                    f"over {self.around.limits.redirects} redirects", rule="SIEVE-LIMITE")
        if isinstance(action, Vacation):
            if self.vacation:
                raise SieveRunFault(self.line, "deux vacation dans un message", "two vacations for one message")
            self.vacation = True
        self.actions.append(action)

    def outcome(self) -> Outcome:
        """Give what was decided."""
        actions = list(self.actions)
        if self.implicit:
            actions.append(Keep(self.flags))
        return Outcome(tuple(_merged(actions)), tuple(self.trace), self.work)


def _merged(actions: Sequence[Action]) -> list[Action]:
    """One filing for each folder, one redirect for each address; a discard beside others says nothing."""
    places: dict[str, int] = {}
    out: list[Action] = []
    for one in actions:
        if isinstance(one, Discard):
            continue
        key = _key(one)
        if key in places:
            out[places[key]] = _joined(out[places[key]], one)
            continue
        if key:
            places[key] = len(out)
        out.append(one)
    kept = any(isinstance(one, Keep | FileInto | Redirect) for one in out)
    return out if kept else [*out, Discard()]


def _key(action: Action) -> str:
    match action:
        case Keep():
            return "folder INBOX"
        case FileInto(folder):
            return f"folder {'INBOX' if folder.upper() == 'INBOX' else folder}"
        case Redirect(address):
            return f"to {address.lower()}"
        case _:
            return ""


def _joined(one: Action, other: Action) -> Action:
    if isinstance(one, Keep) and isinstance(other, Keep | FileInto):
        return Keep(joined_flags(one.flags, other.flags))
    if isinstance(one, FileInto) and isinstance(other, Keep | FileInto):
        create = one.create or (isinstance(other, FileInto) and other.create)
        return FileInto(one.folder, joined_flags(one.flags, other.flags), create)
    return one


def joined_flags(*lists: Sequence[str]) -> tuple[str, ...]:
    """Give the flags of several lists, each once whatever its case, the first spelling kept (RFC 5232 §2)."""
    seen: dict[str, str] = {}
    for words in lists:
        for word in words:
            seen.setdefault(word.lower(), word)
    return tuple(seen.values())


def read_flags(texts: Sequence[str]) -> tuple[str, ...]:
    """Give the flags that texts name, separated by spaces; what is no flag is left out (RFC 5232 §2)."""
    found: dict[str, str] = {}
    for text in texts:
        for word in text.split(" "):
            key = word.lower()
            spelt = _SYSTEM.get(key) or (word if len(word) <= MAX_KEYWORD and _KEYWORD.match(word) else "")
            if spelt and len(found) < MAX_FLAGS:
                found.setdefault(key, spelt)
    return tuple(found.values())
