"""What is asked of a submitted message before anything of it is kept: the one hook of those who check departures.

- A *check* looks at the message as its author sent it, and rules: refuse it, add header lines in front, add journal events, add
  messages of its own (a report to the author) that are committed with it. It never changes the author's octets.
- Checks run in their order, one after the other; the first refusal ends it. A check that fails (a fault) refuses for now (451):
  nothing leaves unchecked, nothing is lost.
- `Leaving.content` reads the whole message and blocks: a check that needs it runs it in the executor, and only after the cheap
  facts (header, body structure) say that the message concerns it: a plain letter is never read twice.

Called by `submission` and by `handover`; checks are added by their topics (`AcceptContext.departure`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from mssante.model.address import MailAddress
from mssante.model.journal import JournalEvent
from mssante.model.mailbox import Mailbox
from mssante.model.message import MessageFacts
from mssante.model.reply import Refuse
from mssante.storage.acceptance import Acceptance


@dataclass(frozen=True, slots=True)
class Leaving:
    """A message about to be accepted.

    sender: of the envelope; box: the mailbox it is sent from; recipients: all of them, in order; head: its header, as sent, at
    most 1 MiB; size: octets of the whole; content: gives all the octets, blocking (run it in the executor).
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

    @property
    def has_archive(self) -> bool:
        """True when the body structure names a ZIP, or the subject is that of a structured message (spec F8.8). Cheap."""
        structure = self.facts.bodystructure.lower()
        named = any(mark in structure for mark in (b".zip", b'"zip"', b"zip-compressed"))
        return named or "xdm/1.0/ddm" in self.facts.subject.lower()

    @property
    def may_hold_documents(self) -> bool:
        """True when the message has an archive, an XML file, or a signature that may hold one (RFC 8551 §3.2). Cheap."""
        structure = self.facts.bodystructure.lower()
        return self.has_archive or any(mark in structure for mark in (b'xml"', b"pkcs7-mime", b".p7m"))


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

    async def judge(self, leaving: Leaving) -> Ruling:
        """Give what all checks say together; with a refusal, only that. Raises MssFault."""
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
