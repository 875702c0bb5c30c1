"""`lab send`: a real letter, from alpha's professional to a mailbox of the lab, followed until it is seen by IMAP.

- The letter is made as a professional's software makes it (`mssante.documents`, `mssante.protocol.mime`), dropped by
  submission with a password, relayed by the operators alone, and read by a standard IMAP client.
- What is proved at the end: the octets sent are the tail of the octets read, and what comes before is header lines.
- No patient identity in what is shown: addresses, identifiers of transactions, times, sizes and hashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from mssante.documents.ins import ins_syntax_ok
from mssante.documents.letter import structured_letter
from mssante.documents.metadata import SenderFacts
from mssante.errors import InputFault, MssFault
from mssante.lab.accounts import Account
from mssante.lab.mailclient import InboxWatcher, Login, anchors_context, submit
from mssante.lab.manifest import Lab, OperatorEntry
from mssante.lab.plan import CITIZEN_DOMAIN
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.protocol.mime.compose import Attachment, Letter, letter

DEMONSTRATION_INS = b"270019999900123"  # of the patient of the document that the lab comes with
MAX_CDA_BYTES = 50 * 1024 * 1024
DEFAULT_RECIPIENT = "paul.durand@beta.mssante.test"
SENDER = "claire.martin@alpha.mssante.test"
JOURNAL_SECONDS = 3.0
_TRACE = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b")
_HEADER_LINES = re.compile(rb"(?:[!-9;-~]+:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)*\Z")  # RFC 5322 §2.2
# an OID that needs no registration (X.667), short enough for the sourceId of 36 characters
_SOURCE_ID = f"2.25.{uuid.uuid5(uuid.NAMESPACE_DNS, 'poste.mssante.test').int >> 32}"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline. at: UTC; seconds: since the submission began."""

    name: str
    at: datetime
    seconds: float
    detail: str = ""


@dataclass(slots=True)
class Report:
    """What happened. identical: the octets read end with the octets sent, after header lines only."""

    sender: str
    recipient: str
    message_id: str = ""
    trace_id: str = ""
    size: int = 0
    sent_sha256: str = ""
    read_sha256: str = ""
    added_octets: int = 0
    arrived: bool = False
    identical: bool = False
    attachments: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    steps: list[Step] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether the letter arrived as it was sent."""
        return self.arrived and self.identical


@dataclass(frozen=True, slots=True)
class SendOrder:
    """cda: file or None for the demonstration document; seconds: how long to wait for the letter."""

    recipient: str = DEFAULT_RECIPIENT
    cda: Path | None = None
    seconds: float = 30.0


def read_cda(path: Path | None) -> bytes:
    """Give the CDA document to send; raises InputFault (`LAB-CDA`)."""
    if path is None:
        return (files("mssante.lab") / "data" / "compte-rendu-fictif.xml").read_bytes()
    try:
        if path.stat().st_size > MAX_CDA_BYTES:
            raise InputFault(say(f"{path} est trop gros", f"{path} is too large"), rule="LAB-CDA")
        return path.read_bytes()
    except OSError as exc:
        raise InputFault(say(f"{path} ne peut être lu", f"{path} cannot be read"), detail=str(exc), rule="LAB-CDA") from exc


def find_reader(lab: Lab, address: str) -> tuple[OperatorEntry, Account]:
    """Give the operator and the mailbox of a recipient; raises InputFault (`LAB-RECIPIENT`) when nobody can read it here."""
    for operator in lab.operators:
        account = operator.account(address)
        if account is not None and account.password:
            return operator, account
    raise InputFault(say(f"{address} n'est pas une boîte du laboratoire lisible par mot de passe",
                         f"{address} is not a mailbox of the lab that a password opens"), rule="LAB-RECIPIENT",
                     remedy=say("voyez `accounts` dans lab.json", "see `accounts` in lab.json"))


def made_out_to(recipient: str, cda: bytes) -> bytes:
    """Give the demonstration document for who gets it: a citizen gets his own, as the bridge wants it (F9.6)."""
    local, _, domain = recipient.rpartition("@")
    return cda.replace(DEMONSTRATION_INS, local.encode()) if domain == CITIZEN_DOMAIN and ins_syntax_ok(local) else cda


def compose(cda: bytes, sender: Account, *, recipient: str, now: datetime) -> tuple[bytes, str, tuple[str, ...], tuple[str, ...]]:
    """Give the message, its Message-ID, the names of its attachments and the remarks on the document."""
    given, _, family = sender.display_name.partition(" ")
    made = structured_letter([cda], SenderFacts(
        source_id=_SOURCE_ID, structure_name="OPERATEUR ALPHA LAB", professional_id=sender.holder_id, family=family,
        given=given), now=now)
    unique = uuid.uuid4().hex
    message_id = f"<{unique}@poste.mssante.test>"
    text = ("Bonjour,\n\nVeuillez trouver le document ci-joint, dans son archive et sous forme lisible.\n\n"
            "Message de démonstration du laboratoire mssante.\n")
    message = letter(Letter(
        sender=parse_envelope_address(sender.address), to=(parse_envelope_address(recipient),), subject=made.subject,
        text=text, date=now, message_id=message_id, boundary=unique, sender_name=sender.display_name,
        attachments=tuple(Attachment(one.name, one.media_type, one.content) for one in made.attachments),
        headers=tuple(made.headers.items())))
    return (message, message_id, tuple(one.media_type for one in made.attachments),
            tuple(sorted({one.rule for one in made.findings})))


def compare(sent: bytes, read: bytes) -> tuple[bool, str, int]:
    """Give whether `read` is header lines then exactly `sent`, the SHA-256 of that tail, and how much was added before."""
    added = len(read) - len(sent)
    tail = read[added:] if added >= 0 else read
    identical = added >= 0 and tail == sent and _HEADER_LINES.match(read[:added]) is not None
    return identical, hashlib.sha256(tail).hexdigest(), max(added, 0)


async def _journal(config: Path, trace_id: str) -> list[tuple[str, datetime, str]]:
    """Give the journal of a transaction at one operator: (kind, instant, decision), oldest first."""
    from mssante.app import open_admin  # the composition root is heavy: only following needs it
    from mssante.config.load import load_config

    async with open_admin(load_config(config)) as admin:
        rows, _ = await admin.trace(trace_id)
    return [(row.kind, row.at, str(row.payload.get("reply") or row.payload.get("rule") or "")) for row in rows]


class Sending:
    """One run of `lab send`."""

    def __init__(self, lab: Lab, order: SendOrder) -> None:
        self._lab = lab
        self._order = order
        self._began = datetime.now(UTC)
        self._clock = time.monotonic()

    def run(self) -> Report:
        """Send, follow, compare; raises MssFault when the letter is refused or the lab does not answer."""
        origin = self._lab.operator("alpha")
        sender = origin.account(SENDER)
        if sender is None:
            raise InputFault(say(f"lab.json n'a pas la boîte {SENDER}", f"lab.json has no mailbox {SENDER}"), rule="LAB-MANIFEST")
        target, reader = find_reader(self._lab, self._order.recipient)
        cda = read_cda(self._order.cda)
        if self._order.cda is None:
            cda = made_out_to(self._order.recipient, cda)
        message, message_id, attachments, remarks = compose(cda, sender, recipient=self._order.recipient,
                                                           now=self._began)
        report = Report(sender.address, self._order.recipient, message_id, size=len(message), attachments=attachments,
                        remarks=remarks, sent_sha256=hashlib.sha256(message).hexdigest())
        context = anchors_context(self._lab.path(self._lab.trust("anchors")))
        watcher = InboxWatcher(Login(target.address("imaps"), reader.login, reader.password), context)
        with watcher:
            watcher.open()
            self._began, self._clock = datetime.now(UTC), time.monotonic()
            reply = submit(Login(origin.address("submission"), sender.login, sender.password), context,
                           recipient=self._order.recipient, message=message)
            trace = _TRACE.search(reply)
            report.trace_id = trace.group() if trace else ""
            self._note(report, "accepted", reply)
            read = watcher.wait_for(message_id, self._order.seconds)
        if read is not None:
            report.arrived = True
            self._note(report, "visible", f"INBOX {self._order.recipient}")
            report.identical, report.read_sha256, report.added_octets = compare(message, read)
        self._follow(report, origin, local=target.name == origin.name)
        report.steps.sort(key=lambda step: step.at)
        return report

    def _note(self, report: Report, name: str, detail: str = "") -> None:
        report.steps.append(Step(name, datetime.now(UTC), time.monotonic() - self._clock, detail))

    def _follow(self, report: Report, origin: OperatorEntry, *, local: bool) -> None:
        """Add what the sender's operator wrote in its journal; its last line may come after the letter is seen."""
        if not report.trace_id:
            return
        events: Sequence[tuple[str, datetime, str]] = ()
        deadline = time.monotonic() + JOURNAL_SECONDS
        try:
            while True:
                events = asyncio.run(_journal(self._lab.path(origin.config), report.trace_id))
                settled = local or any(kind in ("relayed", "bounced") for kind, _, _ in events)
                if settled or not report.arrived or time.monotonic() > deadline:
                    break
                time.sleep(0.1)
        except MssFault as fault:
            report.remarks = (*report.remarks, str(fault))
        for kind, at, detail in events:
            report.steps.append(Step(kind, at, (at - self._began).total_seconds(), detail))
