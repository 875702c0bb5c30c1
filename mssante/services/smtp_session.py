"""What an SMTP endpoint needs from the services behind it, and the state of one session.

The endpoint knows bytes, lines and TLS; a `SmtpPolicy` (reception, submission) decides. Decisions are values; those that
need storage come as awaitables, the others at once, so that a pipelined batch is answered without a task switch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.model.identity import OperatorIdentity
from mssante.model.mailbox import Mailbox
from mssante.model.reply import Decision, Refuse, SmtpReply
from mssante.protocol.sasl.base import Answer, Challenge, Exchange, Failure
from mssante.services.staging import BodySink
from mssante.storage.interfaces import Accepted, Account


@dataclass(frozen=True, slots=True)
class LocalTarget:
    """A recipient that we file ourselves; mailbox: as it was found at RCPT."""

    recipient: Recipient
    mailbox: Mailbox


@dataclass(frozen=True, slots=True)
class RemoteTarget:
    """A recipient for another operator; destination is its domain."""

    recipient: Recipient
    destination: str


@dataclass(slots=True)
class MailTransaction:
    """From MAIL to the reply after DATA. sender None is the null reverse-path."""

    sender: MailAddress | None
    trace_id: str
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    declared_size: int = 0
    local: list[LocalTarget] = field(default_factory=list)
    remote: list[RemoteTarget] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    directory: list[str] = field(default_factory=list)  # what the directory says of each recipient elsewhere, for the journal
    box: Mailbox | None = None  # ours that the sender is, on the doors of users
    also: Callable[[Any, Accepted], None] | None = None  # run in the transaction of the acceptance (services/handover.py)
    strays: list[tuple[Recipient, str]] = field(default_factory=list)  # taken, and returned by a later message (citizen_house.py)
    copy_sent: bool = False  # a program sends: its copy is filed whatever `sharing.sent_copy`

    def behalf(self, account: Account | None) -> bool:
        """Tell if the login sends in the name of a box that is not its own."""
        return account is not None and self.box is not None and account.mailbox_ids[:1] != (self.box.id,)

    @property
    def recipient_count(self) -> int:
        """Recipients accepted so far."""
        return len(self.local) + len(self.remote) + len(self.strays)


@dataclass(slots=True)
class SmtpSessionState:
    """One connection. identity: proven by the certificate (operator port); account: by AUTH (submission)."""

    peer: str
    helo: str = ""
    tls: str = ""  # protocol and cipher once TLS is up
    identity: OperatorIdentity | None = None
    leaf_der: bytes = b""
    account: Account | None = None
    refused: Refuse | None = None
    transaction: MailTransaction | None = None


class SmtpPolicy(Protocol):
    """Reception and submission. No method raises for what a peer did; faults of ours become 451 at the endpoint."""

    needs_auth: bool

    def secured(self, state: SmtpSessionState) -> Awaitable[None] | None:
        """TLS is up (state.leaf_der, state.tls): set identity, or refused to close the session with a reply; what to await
        before that is so, or None."""
        ...

    def begin(self, state: SmtpSessionState, transaction: MailTransaction) -> Decision | Awaitable[Decision]:
        """MAIL: may this session send as this sender?"""
        ...

    def add_recipient(self, state: SmtpSessionState, recipient: Recipient) -> Decision | Awaitable[Decision]:
        """RCPT: on Allow the target was added to the transaction."""
        ...

    def sink(self) -> BodySink:
        """Give where DATA goes."""
        ...

    async def finish(self, state: SmtpSessionState, transaction: MailTransaction, sink: BodySink) -> SmtpReply:
        """Commit the message, then give the reply: 250 only when it is on disk."""
        ...

    async def log_in(self, state: SmtpSessionState, exchange: Exchange, answer: Answer) -> Challenge | Failure | SmtpReply:
        """Go on with a SASL exchange from its answer (submission): a challenge for the client, or how the login ends."""
        ...

    def note_refusal(self, state: SmtpSessionState, stage: str, refusal: Refuse) -> None:
        """Journal a refusal. stage: session, mail, rcpt or data."""
        ...

    def handshake_failed(self, peer: str, reason: str) -> None:
        """Journal a TLS handshake that did not end well; reason holds no secret."""
        ...
