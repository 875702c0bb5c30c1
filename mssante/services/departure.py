"""What is asked of a submitted message before anything of it is kept: the one hook of those who check departures.

- A *check* looks at the message as its author sent it, and rules: refuse it, add header lines in front, add journal events, add
  messages of its own (a report to the author) that are committed with it. It never changes the author's octets.
- Checks run in their order, one after the other; the first refusal ends it. A check that fails (a fault) refuses for now (451):
  nothing leaves unchecked, nothing is lost.
- `Leaving.content` reads the whole message and blocks: a check that needs it runs it in the executor, and only when
  `Leaving.may_hold_documents`: the beginnings of its files were looked at once for all checks.

Called by `submission` and by `handover`; checks are added by their topics (`AcceptContext.departure`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from mssante.documents.mailfiles import mail_files
from mssante.documents.masking import READING
from mssante.model.address import MailAddress
from mssante.model.journal import JournalEvent
from mssante.model.mailbox import Mailbox
from mssante.model.message import MessageFacts
from mssante.model.reply import Refuse
from mssante.storage.acceptance import Acceptance

SMALL = 16 * 1024  # octets of a message that is looked at where it stands: less work than handing it to a thread


@dataclass(frozen=True, slots=True)
class Leaving:
    """A message about to be accepted.

    sender: of the envelope; box: the mailbox it is sent from; recipients: all of them, in order; head: its header, as sent, at
    most 1 MiB; size: octets of the whole; content: gives all the octets, blocking (run it in the executor); may_hold_documents:
    by the beginnings of its files, told by `Departure.judge`.
    """

    sender: MailAddress
    box: Mailbox
    login: str
    recipients: tuple[MailAddress, ...]
    head: bytes
    facts: MessageFacts
    size: int
    trace_id: str
    at: datetime
    content: Callable[[], bytes]
    may_hold_documents: bool = True

    @property
    def announced(self) -> bool:
        """True when the subject is that of a structured message (spec F8.8)."""
        return "xdm/1.0/ddm" in self.facts.subject.lower()


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a check says. headers: lines to put in front, CRLF-ended; events: journalled with the message; messages: committed
    with it, or not at all."""

    refusal: Refuse | None = None
    headers: bytes = b""
    events: tuple[JournalEvent, ...] = ()
    messages: tuple[Acceptance, ...] = ()


FREE = Ruling()


class DepartureCheck(Protocol):
    """One check of departures."""

    async def look(self, leaving: Leaving) -> Ruling:
        """Rule on a message. Raises MssFault (the message is refused for now)."""
        ...


@dataclass(slots=True)
class Departure:
    """The checks of an operator, in order."""

    checks: list[DepartureCheck] = field(default_factory=list)

    async def judge(self, leaving: Leaving, executor: Executor) -> Ruling:
        """Give what all checks say together; with a refusal, only that. Raises MssFault."""
        if leaving.size <= SMALL:
            found = may_hold(leaving.content())
        else:
            found = await asyncio.get_running_loop().run_in_executor(executor, lambda: may_hold(leaving.content()))
        leaving = replace(leaving, may_hold_documents=found)
        headers = b""
        events: tuple[JournalEvent, ...] = ()
        messages: tuple[Acceptance, ...] = ()
        for check in self.checks:
            ruling = await check.look(leaving)
            if ruling.refusal is not None:
                return Ruling(ruling.refusal, events=ruling.events)
            headers += ruling.headers
            events += ruling.events
            messages += ruling.messages
        return Ruling(None, headers, events, messages)


def may_hold(message: bytes) -> bool:
    """Tell by the beginnings of its files if a whole message may hold documents: an archive, an XML file, what nobody can tell.
    Blocking, a few µs for each file."""
    found = mail_files(message, READING)
    return bool(found.files or found.remarks)
