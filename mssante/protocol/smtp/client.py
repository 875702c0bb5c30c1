"""One outbound SMTP session as a machine without IO: octets and acts in, octets and events out.

    GREETING -> HELLO -> STARTTLS -> HANDSHAKE -> TLS_HELLO -> READY -> QUIT -> CLOSED
    READY -> ENVELOPE -> BODY -> FINAL -> READY          any -> CLOSED

Guarantees
- No envelope and no message octet leaves before the driver says `tls_established()`: STARTTLS not offered, refused, or
  followed by anything in clear ends the session (`SMTP-NO-STARTTLS`, `SMTP-STARTTLS-INJECTION`); what was announced in
  clear is forgotten (RFC 3207 §4.2).
- A reply counts only for a command that has left (`data_to_send`): one that comes early is a fault, never a success,
  so that a 250 sent before our final dot cannot pass for a delivery.
- With PIPELINING, MAIL, RCPT and DATA leave as one group (RFC 2920 §3.1); without it, one by one. Each recipient keeps
  its own reply.
- CR, LF, NUL or a space in an address or a parameter is refused when the transaction is built.

Never: touches a socket, decides a retry, changes content. Called by `transport/smtp_connection.py`, which stuffs the
body with `dots.DotStuffer` between `SendBody` and `body_sent()`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.protocol.smtp.dots import END_OF_DATA
from mssante.protocol.smtp.extensions import Extensions, parse_extensions
from mssante.protocol.smtp.replies import Reply, ReplyParser, SmtpFault

MAX_RECIPIENTS = 1_000

_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"  # RFC 3461 §4
_ENVID = re.compile(rf"{_XTEXT}{{1,100}}\Z")  # RFC 3461 §4.4
_ORCPT = re.compile(rf"[A-Za-z0-9\-]{{1,32}};(?:{_XTEXT}|[^\x00-\x9f\s]){{1,466}}\Z")  # RFC 3461 §4.2, RFC 6533 §3
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,252})\Z|\[[0-9A-Za-z:.]{2,60}\]\Z")
_UNSAFE = re.compile(r"[\x00-\x20\x7f<>]")
_NOTIFY = ("NEVER", "SUCCESS", "FAILURE", "DELAY")


class Phase(Enum):
    """Where the session stands; the drawing at the top of the module is the theory."""

    GREETING = auto()
    HELLO = auto()
    STARTTLS = auto()
    HANDSHAKE = auto()
    TLS_HELLO = auto()
    READY = auto()
    ENVELOPE = auto()
    BODY = auto()
    FINAL = auto()
    QUIT = auto()
    CLOSED = auto()


class Step(Enum):
    """What a reply answers. The value is the set of code classes that make sense there (RFC 5321 §4.3.2)."""

    GREETING = ("greeting", "245")
    EHLO = ("EHLO", "245")
    STARTTLS = ("STARTTLS", "245")
    TLS_EHLO = ("EHLO in TLS", "245")
    RESET = ("RSET", "245")
    MAIL = ("MAIL", "245")
    RCPT = ("RCPT", "245")
    DATA = ("DATA", "345")
    FINAL = ("final dot", "245")
    EMPTY_FINAL = ("final dot of nothing", "245")
    QUIT = ("QUIT", "245")


@dataclass(frozen=True, slots=True)
class Transaction:
    """One envelope to send. size: octets of the content; body_8bit: the content holds octets above 127.

    Raises InputFault when built with a value that is no address or parameter: `SMTP-ADDRESS`, `SMTP-PARAMETER`.
    """

    sender: MailAddress | None
    recipients: tuple[Recipient, ...]
    size: int = 0
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    body_8bit: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.recipients) <= MAX_RECIPIENTS:
            raise InputFault("number of recipients", rule="SMTP-PARAMETER", remedy=f"1 to {MAX_RECIPIENTS}")
        if self.sender is not None:
            _check_address(self.sender, self.smtputf8)
        for recipient in self.recipients:
            _check_address(recipient.address, self.smtputf8)
            _check_notify(recipient)
        if self.ret not in ("", "FULL", "HDRS"):  # RFC 3461 §4.3
            raise InputFault("RET is neither FULL nor HDRS", rule="SMTP-PARAMETER")
        if self.envid and not _ENVID.match(self.envid):
            raise InputFault("ENVID is not xtext", rule="SMTP-PARAMETER", remedy="RFC 3461 §4.4")
        if self.size < 0:
            raise InputFault("size is negative", rule="SMTP-PARAMETER")


def _check_address(address: MailAddress, utf8: bool) -> None:
    """Refuse what would change the meaning of a command line (command injection, RELIABILITY §2)."""
    text = str(address)
    if _UNSAFE.search(text) or not address.local or not address.domain or len(text.encode("utf-8", "replace")) > 254:
        raise InputFault("address cannot stand in an SMTP command", rule="SMTP-ADDRESS", remedy="use name@domain.tld")
    if not text.isascii() and not utf8:
        raise InputFault("address needs SMTPUTF8", rule="SMTP-ADDRESS", remedy="RFC 6531 §3.4")


def _check_notify(recipient: Recipient) -> None:
    odd = recipient.notify - set(_NOTIFY)
    if odd or ("NEVER" in recipient.notify and len(recipient.notify) > 1):  # RFC 3461 §4.1
        raise InputFault("NOTIFY is not valid", rule="SMTP-PARAMETER", remedy="RFC 3461 §4.1")
    if recipient.orcpt and not _ORCPT.match(recipient.orcpt):
        raise InputFault("ORCPT is not type;xtext", rule="SMTP-PARAMETER", remedy="RFC 3461 §4.2")


@dataclass(slots=True)
class TransactionReplies:
    """What was answered so far in one transaction. recipients: one place each, None while not answered.

    final: the reply to the final dot, or the refusal that came in its place; body_ended: our final dot has left.
    """

    sender: Reply | None = None
    recipients: list[Reply | None] = field(default_factory=list)
    data: Reply | None = None
    final: Reply | None = None
    body_ended: bool = False

    def accepted(self) -> bool:
        """Tell whether at least one recipient was accepted after an accepted sender."""
        return bool(self.sender and self.sender.positive and any(r and r.positive for r in self.recipients))


@dataclass(frozen=True, slots=True)
class StartTls:
    """The driver must do the TLS handshake now, check the peer, then call `tls_established()`."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The session takes a transaction. extensions: those announced inside TLS."""

    extensions: Extensions


@dataclass(frozen=True, slots=True)
class SenderReply:
    """The answer to MAIL."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class RecipientReply:
    """The answer to the RCPT of recipient number `index` (from 0)."""

    index: int
    reply: Reply


@dataclass(frozen=True, slots=True)
class SendBody:
    """The driver sends the stuffed content now, then calls `body_sent()`."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The transaction is over; the session takes another one. replies: all that was answered."""

    replies: TransactionReplies


@dataclass(frozen=True, slots=True)
class Ended:
    """The server ended the session properly: 421, a refusal in the middle of the body, or the answer to QUIT."""

    reply: Reply | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The session is unusable; what was answered before stays in `SmtpClient.replies`."""

    fault: SmtpFault


Event = StartTls | Ready | SenderReply | RecipientReply | SendBody | Finished | Ended | Failed


class SmtpClient:
    """The machine. The driver gives octets to `receive`, sends what `data_to_send` gives, and obeys the events."""

    def __init__(self, ehlo_name: str) -> None:
        """ehlo_name: our host name (or address literal) for EHLO. Raises InputFault (`SMTP-PARAMETER`)."""
        if not _NAME.match(ehlo_name):
            raise InputFault("EHLO name is not a host name", rule="SMTP-PARAMETER", remedy="use the MTA's full name")
        self._hello = b"EHLO " + ehlo_name.encode("ascii") + b"\r\n"
        self._parser = ReplyParser()
        self._awaited: deque[Step] = deque((Step.GREETING,))
        self._unsent: deque[tuple[Step, bytes]] = deque()
        self._recipient = 0
        self._dirty = False
        self.phase = Phase.GREETING
        self.extensions = Extensions()
        self.replies = TransactionReplies()
        self._handlers: dict[Step, Callable[[Reply], list[Event]]] = {
            Step.GREETING: self._on_greeting,
            Step.EHLO: self._on_clear_hello,
            Step.STARTTLS: self._on_starttls,
            Step.TLS_EHLO: self._on_tls_hello,
            Step.RESET: self._on_reset,
            Step.MAIL: self._on_mail,
            Step.RCPT: self._on_recipient,
            Step.DATA: self._on_data,
            Step.FINAL: self._on_final,
            Step.EMPTY_FINAL: self._on_empty_final,
            Step.QUIT: lambda reply: self._end(reply),
        }

    def receive(self, data: bytes) -> list[Event]:
        """Take octets from the server; give the events they make, in order. Faults come as the last event, `Failed`."""
        events: list[Event] = []
        if self.phase is Phase.CLOSED:
            return events
        try:
            if self._in(Phase.HANDSHAKE):
                raise _injection()
            self._parser.feed(data)
            while not self._in(Phase.CLOSED) and (reply := self._parser.next_reply()) is not None:
                events += self._on_reply(reply)
                if self._in(Phase.HANDSHAKE) and self._parser.pending:  # RFC 3207 §4.2, NO STARTTLS (2021)
                    raise _injection()
        except SmtpFault as fault:
            self.phase = Phase.CLOSED
            events = [event for event in events if not isinstance(event, StartTls)]  # no handshake on a poisoned line
            events.append(Failed(fault))
        return events

    def receive_end(self, detail: str = "") -> list[Event]:
        """Take the end of the connection. detail: the system's reason, for our log."""
        if self.phase is Phase.CLOSED:
            return []
        quitting = self.phase is Phase.QUIT
        self.phase = Phase.CLOSED
        if quitting:
            return [Ended(None)]
        rule = "SMTP-OUTCOME-UNKNOWN" if self.replies.body_ended and self.replies.final is None else "SMTP-CLOSED"
        return [Failed(SmtpFault("connection closed by the remote server", rule=rule, detail=detail))]

    def data_to_send(self) -> bytes:
        """Give the octets to send now (may be empty). Their replies are awaited from here on."""
        if self.phase is Phase.CLOSED or (self._awaited and not self.extensions.pipelining):
            return b""
        out = []
        while self._unsent:
            step, octets = self._unsent.popleft()
            self._awaited.append(step)
            out.append(octets)
            if not self.extensions.pipelining:
                break
        return b"".join(out)

    def tls_established(self) -> None:
        """Go on inside TLS: the driver has finished the handshake and accepted the peer (RFC 3207 §4.2)."""
        self._require(Phase.HANDSHAKE)
        self.phase = Phase.TLS_HELLO
        self._queue(Step.TLS_EHLO, self._hello)

    def begin(self, transaction: Transaction) -> None:
        """Queue the commands of a transaction; the session must be ready.

        Raises InputFault (`SMTP-ADDRESS`) when it needs SMTPUTF8 and the server has not announced it.
        """
        self._require(Phase.READY)
        if transaction.smtputf8 and not self.extensions.smtputf8:
            raise InputFault("server does not accept SMTPUTF8", rule="SMTP-ADDRESS", remedy="RFC 6531 §3.2")
        self.replies = TransactionReplies(recipients=[None] * len(transaction.recipients))
        self._recipient = 0
        if self._dirty:
            self._queue(Step.RESET, b"RSET\r\n")
            self._dirty = False
        self._queue(Step.MAIL, self._mail_command(transaction))
        for recipient in transaction.recipients:
            self._queue(Step.RCPT, self._recipient_command(recipient))
        self._queue(Step.DATA, b"DATA\r\n")
        self.phase = Phase.ENVELOPE

    def body_sent(self) -> None:
        """Queue the end mark: the driver has sent the whole stuffed content, CRLF-ended or empty."""
        self._require(Phase.BODY)
        self.phase = Phase.FINAL
        self.replies.body_ended = True
        self._queue(Step.FINAL, END_OF_DATA)

    def quit(self) -> None:
        """Queue QUIT; only between transactions, elsewhere the driver closes."""
        self._require(Phase.READY)
        self.phase = Phase.QUIT
        self._queue(Step.QUIT, b"QUIT\r\n")

    def _in(self, phase: Phase) -> bool:
        return self.phase is phase

    def _require(self, phase: Phase) -> None:
        if not self._in(phase):
            raise RuntimeError(f"SMTP session is in {self.phase.name}, not in {phase.name}")

    def _queue(self, step: Step, octets: bytes) -> None:
        self._unsent.append((step, octets))

    def _mail_command(self, transaction: Transaction) -> bytes:
        words = [f"MAIL FROM:<{transaction.sender or ''}>"]
        if self.extensions.size and transaction.size:
            words.append(f"SIZE={transaction.size}")  # RFC 1870 §3
        if self.extensions.eight_bit:
            words.append("BODY=8BITMIME")  # RFC 6152 §2: also true of 7-bit content
        if transaction.smtputf8:
            words.append("SMTPUTF8")  # RFC 6531 §3.4
        if self.extensions.dsn and transaction.ret:
            words.append(f"RET={transaction.ret}")
        if self.extensions.dsn and transaction.envid:
            words.append(f"ENVID={transaction.envid}")
        return " ".join(words).encode() + b"\r\n"

    def _recipient_command(self, recipient: Recipient) -> bytes:
        words = [f"RCPT TO:<{recipient.address}>"]
        if self.extensions.dsn and recipient.notify:
            words.append("NOTIFY=" + ",".join(word for word in _NOTIFY if word in recipient.notify))
        if self.extensions.dsn and recipient.orcpt and (recipient.orcpt.isascii() or self.extensions.smtputf8):
            words.append(f"ORCPT={recipient.orcpt}")
        return " ".join(words).encode() + b"\r\n"

    def _on_reply(self, reply: Reply) -> list[Event]:
        if reply.code == 421 and self.phase is not Phase.GREETING:  # RFC 5321 §3.8: may answer anything, or nothing
            return self._end(reply)
        if not self._awaited:
            if self.phase is Phase.BODY and reply.code >= 400:  # refused in the middle: the rest must not be sent
                self.replies.final = reply
                return self._end(reply)
            raise SmtpFault("reply to no command", rule="SMTP-UNSOLICITED", detail=reply.text[:200], reply=reply)
        step = self._awaited.popleft()
        name, classes = step.value
        if str(reply.code)[0] not in classes or (step is Step.DATA and reply.code < 400 and reply.code != 354):
            raise SmtpFault(f"reply to {name} makes no sense", rule="SMTP-REPLY-SYNTAX", detail=reply.text[:200],
                            reply=reply)
        return self._handlers[step](reply)

    def _end(self, reply: Reply) -> list[Event]:
        self.phase = Phase.CLOSED
        return [Ended(reply)]

    def _on_greeting(self, reply: Reply) -> list[Event]:
        if reply.code != 220:
            raise SmtpFault("server refuses sessions", rule="SMTP-GREETING", detail=reply.text[:200], reply=reply)
        self.phase = Phase.HELLO
        self._queue(Step.EHLO, self._hello)
        return []

    def _on_clear_hello(self, reply: Reply) -> list[Event]:
        _need_hello(reply)
        if not parse_extensions(reply).starttls:  # never fall back to clear (spec §2.2)
            raise SmtpFault("server does not offer STARTTLS", rule="SMTP-NO-STARTTLS",
                            remedy="the remote operator must enable STARTTLS")
        self.phase = Phase.STARTTLS
        self._queue(Step.STARTTLS, b"STARTTLS\r\n")
        return []

    def _on_starttls(self, reply: Reply) -> list[Event]:
        if reply.code != 220:
            raise SmtpFault("server refuses STARTTLS", rule="SMTP-NO-STARTTLS", detail=reply.text[:200], reply=reply)
        self.phase = Phase.HANDSHAKE
        return [StartTls()]

    def _on_tls_hello(self, reply: Reply) -> list[Event]:
        _need_hello(reply)
        self.extensions = parse_extensions(reply)
        self.phase = Phase.READY
        return [Ready(self.extensions)]

    def _on_reset(self, reply: Reply) -> list[Event]:
        if not reply.positive:
            raise SmtpFault("server refuses RSET", rule="SMTP-RESET", detail=reply.text[:200], reply=reply)
        return []

    def _on_mail(self, reply: Reply) -> list[Event]:
        self.replies.sender = reply
        events: list[Event] = [SenderReply(reply)]
        if not reply.positive:
            self._unsent.clear()
        return events + self._finish_if_over()

    def _on_recipient(self, reply: Reply) -> list[Event]:
        index = self._recipient
        self._recipient += 1
        self.replies.recipients[index] = reply
        none_left = self._recipient == len(self.replies.recipients)
        if none_left and not self.replies.accepted():
            self._unsent.clear()  # without PIPELINING, DATA has not left: do not send it
            self._dirty = True
        return [RecipientReply(index, reply), *self._finish_if_over()]

    def _finish_if_over(self) -> list[Event]:
        """End a refused envelope once all that left is answered."""
        return [] if self._awaited or self._unsent else self._finish()

    def _on_data(self, reply: Reply) -> list[Event]:
        self.replies.data = reply
        if reply.code != 354:
            self._dirty = True
            return self._finish()
        if self.replies.accepted():
            self.phase = Phase.BODY
            return [SendBody()]
        self._queue(Step.EMPTY_FINAL, END_OF_DATA)  # RFC 2920 §3.1: no recipient yet 354, send nothing and end it
        return []

    def _on_final(self, reply: Reply) -> list[Event]:
        self.replies.final = reply
        return self._finish()

    def _on_empty_final(self, reply: Reply) -> list[Event]:
        return self._finish()

    def _finish(self) -> list[Event]:
        self.phase = Phase.READY
        return [Finished(self.replies)]


def _need_hello(reply: Reply) -> None:
    if reply.code != 250:
        raise SmtpFault("server refuses EHLO", rule="SMTP-EHLO", detail=reply.text[:200], reply=reply)


def _injection() -> SmtpFault:
    return SmtpFault("data in clear after the reply to STARTTLS", rule="SMTP-STARTTLS-INJECTION",
                     remedy="somebody on the path, or a fault of the remote server, adds data before TLS")
