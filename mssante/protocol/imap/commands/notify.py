"""NOTIFY (RFC 5465 §8): event groups, and the rules that bind events to each other.

- What the grammar or §5 forbids is BAD; an event that we do not have is NO [BADEVENT …] with those that we have (§3.1).
- Keywords in any case; at most MAX_GROUPS groups and MAX_NAMES names.
"""

from __future__ import annotations

from mssante.protocol.imap.commands.fetch import parse_attributes
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.notifyvalues import (
    EVENT_NAMES,
    MESSAGE_EVENTS,
    ON_SELECTED,
    WITH_NAMES,
    Asked,
    Notify,
    NotifyEvent,
    NotifyGroup,
    NotifyWhere,
)
from mssante.protocol.imap.tokens import Tokens

MAX_GROUPS = 100
MAX_NAMES = 1_000
MAX_EVENTS = 50

_EVENTS = {name.upper(): event for name, event in EVENT_NAMES.items()}
_BOTH = NotifyEvent.MESSAGE_NEW | NotifyEvent.MESSAGE_EXPUNGE


def parse_notify(tokens: Tokens) -> Notify:
    """Read `NONE` or `SET [STATUS] group…`. Raises ClientFault, CommandRefused BADEVENT."""
    tokens.space()
    word = tokens.word()
    if word == "NONE":
        tokens.end()
        return Notify(None)
    if word != "SET":
        tokens.fault("expected SET or NONE")
    tokens.space()
    status = tokens.peek() != 0x28
    if status:
        if tokens.word() != "STATUS":
            tokens.fault("expected STATUS or a group of events")
        tokens.space()
    reader = _Reader(tokens)
    groups = [reader.group()]
    while not tokens.ended:
        tokens.space()
        groups.append(reader.group())
        if len(groups) > MAX_GROUPS:
            tokens.fault(f"more than {MAX_GROUPS} groups of events")
    if reader.unknown:
        raise CommandRefused("this event is not supported", code=f"BADEVENT ({' '.join(EVENT_NAMES)})", rule="RFC 5465 §3.1")
    return Notify(tuple(groups), status)


class _Reader:
    """Reads groups, and remembers what no single one can tell."""

    __slots__ = ("_names", "_selected", "_tokens", "unknown")

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._names = 0
        self._selected = False
        self.unknown = False  # an event that we do not have was asked

    def group(self) -> NotifyGroup:
        """Read `(mailboxes events)`."""
        tokens = self._tokens
        tokens.expect(b"(", "a group of events")
        start = tokens.at
        try:
            where = NotifyWhere(tokens.word())
        except ValueError:
            tokens.at = start
            tokens.fault("unknown choice of folders")
        if where in ON_SELECTED:
            if self._selected:
                tokens.fault("SELECTED and SELECTED-DELAYED can be given once")  # RFC 5465 §6.1
            self._selected = True
        tokens.space()
        names: tuple[str, ...] = ()
        if where in WITH_NAMES:
            names = self._folders()
            tokens.space()
        events, asked = self._all_events(where)
        tokens.expect(b")", "a closing parenthesis")
        return NotifyGroup(where, events, names, asked)

    def _folders(self) -> tuple[str, ...]:
        """Read one name, or several in parentheses."""
        tokens = self._tokens
        if not tokens.skip(b"("):
            found = [tokens.folder()]
        else:
            found = [tokens.folder()]
            while not tokens.skip(b")"):
                tokens.space()
                found.append(tokens.folder())
        self._names += len(found)
        if self._names > MAX_NAMES:
            tokens.fault(f"more than {MAX_NAMES} folder names")
        return tuple(dict.fromkeys(found))

    def _all_events(self, where: NotifyWhere) -> tuple[NotifyEvent, Asked | None]:
        """Read `NONE` or the events, and check that they go together (RFC 5465 §5, §6.1)."""
        tokens = self._tokens
        if tokens.peek() != 0x28:
            if tokens.word() != "NONE":
                tokens.fault("expected events in parentheses or NONE")
            return NotifyEvent.NONE, None
        start, count = tokens.at, 0
        events = NotifyEvent.NONE
        asked: Asked | None = None
        tokens.expect(b"(", "events")
        while not count or not tokens.skip(b")"):
            if count:
                tokens.space()
            count += 1
            if count > MAX_EVENTS:
                tokens.fault(f"more than {MAX_EVENTS} events")
            event = _EVENTS.get(tokens.atom().decode("ascii").upper())
            if event is None:
                self.unknown = True
                continue
            events |= event
            if event is NotifyEvent.MESSAGE_NEW and tokens.text.startswith(b" (", tokens.at):
                tokens.space()
                asked = Asked(*parse_attributes(tokens))
        fault = _conflict(where, events, asked is not None)
        if fault:
            tokens.at = start
            tokens.fault(fault)
        return events, asked


def _conflict(where: NotifyWhere, events: NotifyEvent, fetches: bool) -> str:
    """Give what the document forbids in a group, empty when nothing."""
    if events & _BOTH and events & _BOTH != _BOTH:
        return "MessageNew and MessageExpunge go together"
    if events & NotifyEvent.FLAG_CHANGE and not events & _BOTH:
        return "FlagChange needs MessageNew and MessageExpunge"
    if where in ON_SELECTED and events & ~MESSAGE_EVENTS:
        return "only events of messages can be asked of the folder that is open"
    if where not in ON_SELECTED and fetches:
        return "items of new messages can be asked of the folder that is open only"
    return ""
