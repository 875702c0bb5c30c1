"""Delivery status notifications: what became of a message, told to its sender (RFC 3461, RFC 3464, spec §7.3).

- `build_dsn` writes `multipart/report; report-type=delivery-status`: a text in French and English, the machine part,
  and the headers of the original (the whole original only for a failure asked with RET=FULL and of reasonable size).
- The text of the first part holds addresses, states and replies of remote servers: never the subject nor the content.
  The returned headers go to the sender, who wrote them.
- The envelope (null sender) belongs to the caller, as does the rule that no report answers a null sender.
- `parse_dsn` reads what others send, leniently, and never raises.
- Called by services.reports; pure: date and identifiers are arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mssante.model.address import MailAddress
from mssante.protocol.mime.compose import address_text, addresses_line, header_line, multipart, text_part
from mssante.protocol.mime.dates import format_date
from mssante.protocol.mime.headers import Headers, decode_raw, find_header_end, message_id, parse_headers, read_headers
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part

MAX_RETURNED_HEADERS = 65_536
MAX_RETURNED_MESSAGE = 10 << 20
MAX_FIELD_CHARS = 900
MAX_STATUS_BYTES = 1 << 20
MAX_STATUS_RECIPIENTS = 1_000

_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")


class DsnAction(StrEnum):
    """Actions of RFC 3464 §2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True)
class DsnRecipient:
    """What became of one recipient. status: enhanced code; orcpt: xtext as received (RFC 3461 §4.2), or empty.

    remote_mta: host name of the other side; diagnostic: its reply, or ours; will_retry_until: for delays only.
    """

    address: MailAddress
    action: DsnAction
    status: str
    orcpt: str = ""
    remote_mta: str = ""
    diagnostic: str = ""
    last_attempt: datetime | None = None
    will_retry_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DsnRequest:
    """A report to write. sender: who wrote the original and gets the report; domain: of MAILER-DAEMON and Message-ID.

    trace_id: of the report; reference: trace id of the original; envid: xtext as received; ret: FULL, HDRS or empty;
    original: the message as it stands (prefix and body), or its header alone.
    """

    sender: MailAddress
    domain: str
    reporting_mta: str
    recipients: tuple[DsnRecipient, ...]
    original: bytes
    now: datetime
    trace_id: str
    reference: str = ""
    arrival: datetime | None = None
    envid: str = ""
    ret: str = ""


@dataclass(frozen=True, slots=True)
class DsnStatus:
    """One recipient of a report received, as text; addresses without their type; empty when absent."""

    final_recipient: str
    original_recipient: str
    action: str
    status: str
    diagnostic: str = ""
    remote_mta: str = ""


@dataclass(frozen=True, slots=True)
class DsnFacts:
    """What a received report says. original_message_id comes from the returned headers, with its brackets."""

    reporting_mta: str
    envelope_id: str
    original_message_id: str
    recipients: tuple[DsnStatus, ...]


def decode_xtext(text: str) -> str:
    """Undo RFC 3461 §4 xtext; what would not be printable ASCII stays encoded."""
    def one(found: re.Match[str]) -> str:
        character = chr(int(found.group(1), 16))
        return character if " " <= character <= "~" else found.group()
    return _XTEXT.sub(one, text)


def build_dsn(request: DsnRequest) -> bytes:
    """Give the report as a whole message, CRLF only, 7-bit unless the original's headers are not.

    Raises InputFault (`HEADER-INJECTION`) when an identifier holds a line end; texts of others are cleaned instead.
    """
    failed = any(entry.action is DsnAction.FAILED for entry in request.recipients)
    daemon = MailAddress("MAILER-DAEMON", request.domain)
    lines = [
        b"Date: " + format_date(request.now) + b"\r\n",
        addresses_line("From", (address_text(daemon, "Mail Delivery System"),)),
        addresses_line("To", (address_text(request.sender),)),
        header_line("Subject", _subject(request)),
        header_line("Message-ID", f"<{request.trace_id}@{request.domain}>"),
        b"Auto-Submitted: auto-replied\r\n",  # RFC 3834 §5
        b"MIME-Version: 1.0\r\n",
    ]
    original_id = message_id(read_headers(request.original).get(b"message-id"))
    if original_id and original_id.isascii() and original_id.isprintable() and len(original_id) < MAX_FIELD_CHARS:
        lines.insert(5, f"References: {original_id}\r\n".encode("ascii"))
    parts = [text_part(_text(request)), _machine_part(request), _returned_part(request, failed)]
    lines.append(multipart("report", parts, boundary=request.trace_id, parameters=" report-type=delivery-status;"))
    return b"".join(lines)


_SUBJECTS = {
    DsnAction.FAILED: "Message non remis / Undelivered message",
    DsnAction.DELAYED: "Message retardé / Delayed message",
    DsnAction.DELIVERED: "Message remis / Message delivered",
    DsnAction.RELAYED: "Message transmis / Message relayed",
}

# One sentence a state, French then English. A reader must know what happened and what to do, nothing about the content.
_SENTENCES = {
    DsnAction.FAILED: ("Votre message n'a pas pu être remis aux destinataires ci-dessous. Il ne sera plus présenté.",
                       "Your message could not be delivered to the recipients below. It will not be tried again."),
    DsnAction.DELAYED: ("Votre message n'a pas encore pu être remis aux destinataires ci-dessous. Les essais "
                        "continuent : il est inutile de le renvoyer.",
                        "Your message could not be delivered yet to the recipients below. We keep trying: there is no "
                        "need to send it again."),
    DsnAction.DELIVERED: ("Votre message a été déposé dans la boîte aux lettres des destinataires ci-dessous.",
                          "Your message was delivered to the mailbox of the recipients below."),
    DsnAction.RELAYED: ("Votre message a été transmis à un opérateur qui n'annonce pas d'accusé de réception, pour les "
                        "destinataires ci-dessous.",
                        "Your message was relayed to an operator that does not announce delivery receipts, for the "
                        "recipients below."),
}


def _actions(request: DsnRequest) -> list[DsnAction]:
    present = {entry.action for entry in request.recipients}
    return [action for action in DsnAction if action in present]


def _subject(request: DsnRequest) -> str:
    actions = _actions(request)
    return _SUBJECTS[actions[0]] if actions else "Rapport de remise / Delivery report"


def _text(request: DsnRequest) -> str:
    """The first part, for people."""
    out: list[str] = []
    for action in _actions(request):
        french, english = _SENTENCES[action]
        out.extend([french, english, ""])
        for entry in request.recipients:
            if entry.action is action:
                out.append(f"  {clean(str(entry.address))}  ({clean(entry.status)})")
                if entry.diagnostic:
                    out.append(f"    {clean(entry.diagnostic)}")
                if entry.will_retry_until is not None and action is DsnAction.DELAYED:
                    limit = format_date(entry.will_retry_until).decode("ascii")
                    out.append(f"    dernier essai prévu / last attempt: {limit}")
        out.append("")
    if request.reference:
        out.append(f"Référence / Reference: {clean(request.reference)}")
    out.append(f"Opérateur / Operator: {clean(request.reporting_mta)}")
    return "\n".join(out)


def clean(text: str) -> str:
    """Give text of others as one line of printable ASCII of at most `MAX_FIELD_CHARS` characters (nothing can be
    injected).

    Non-ASCII addresses and replies become `?` here; the machine part has a form of its own for addresses.
    """
    return _UNPRINTABLE.sub(lambda found: " " if found.group().isspace() else "?", text)[:MAX_FIELD_CHARS].strip()


def _typed_address(text: str) -> str:
    """Give `rfc822; address`, or the RFC 6533 §3 form when it is not ASCII."""
    if text.isascii():
        return f"rfc822; {clean(text)}"
    octets = "".join([character if "!" <= character <= "~" and character not in "\\+=" else f"\\x{{{ord(character):X}}}"
                      for character in text])
    return f"utf-8; {octets[:MAX_FIELD_CHARS]}"


def _original_recipient(orcpt: str) -> str:
    """Give `type; address` from an ORCPT value (RFC 3464 §2.3.1): decoded from xtext."""
    kind, mark, rest = orcpt.partition(";")
    return f"{clean(kind)}; {clean(decode_xtext(rest))}" if mark else f"rfc822; {clean(decode_xtext(orcpt))}"


def _field(name: str, value: str) -> bytes:
    return header_line(name, value)


def _machine_part(request: DsnRequest) -> bytes:
    """message/delivery-status (RFC 3464 §2.1): one block for the message, one for each recipient."""
    block = [_field("Reporting-MTA", f"dns; {clean(request.reporting_mta)}")]
    if request.envid:
        block.append(_field("Original-Envelope-Id", clean(decode_xtext(request.envid))))
    if request.arrival is not None:
        block.append(b"Arrival-Date: " + format_date(request.arrival) + b"\r\n")
    out = [b"Content-Type: message/delivery-status\r\n\r\n", *block]
    for entry in request.recipients:
        out.append(b"\r\n")
        out.extend(_recipient_fields(entry))
    return b"".join(out)


def _recipient_fields(entry: DsnRecipient) -> Iterator[bytes]:
    """RFC 3464 §2.3, in its order."""
    if entry.orcpt:
        yield _field("Original-Recipient", _original_recipient(entry.orcpt))
    yield _field("Final-Recipient", _typed_address(str(entry.address)))
    yield _field("Action", entry.action.value)
    yield _field("Status", entry.status if _STATUS.fullmatch(entry.status) else _default_status(entry.action))
    if entry.remote_mta:
        yield _field("Remote-MTA", f"dns; {clean(entry.remote_mta)}")
    if entry.diagnostic:
        yield _field("Diagnostic-Code", f"smtp; {clean(entry.diagnostic)}")
    if entry.last_attempt is not None:
        yield b"Last-Attempt-Date: " + format_date(entry.last_attempt) + b"\r\n"
    if entry.will_retry_until is not None and entry.action is DsnAction.DELAYED:
        yield b"Will-Retry-Until: " + format_date(entry.will_retry_until) + b"\r\n"


def _default_status(action: DsnAction) -> str:
    return {DsnAction.FAILED: "5.0.0", DsnAction.DELAYED: "4.0.0"}.get(action, "2.0.0")


def _returned_part(request: DsnRequest, failed: bool) -> bytes:
    """The headers of the original, or all of it: RET counts for failures only (RFC 3461 §4.3), HDRS by default
    (§7.3).
    """
    if request.ret.upper() == "FULL" and failed and len(request.original) <= MAX_RETURNED_MESSAGE:
        kind, content = b"message/rfc822", request.original
    else:
        kind, content = b"text/rfc822-headers", _headers_only(request.original)
    encoding = b"" if content.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
    return b"Content-Type: " + kind + b"\r\n" + encoding + b"\r\n" + content


def _headers_only(original: bytes) -> bytes:
    """Give the header without its empty line, cut at a line end within `MAX_RETURNED_HEADERS`."""
    block = original[:find_header_end(original)]
    if len(block) > MAX_RETURNED_HEADERS:
        block = block[:block.rfind(b"\n", 0, MAX_RETURNED_HEADERS) + 1]
    return block.rstrip(b"\r\n") + b"\r\n"


def find_media(root: Part, kind: bytes, subtypes: tuple[bytes, ...]) -> Part | None:
    """Give the first part of a type, in order, not inside an embedded message."""
    pending = [root]
    while pending:
        part = pending.pop()
        if part.media.type == kind and part.media.subtype in subtypes:
            return part
        pending.extend(reversed(part.children))
    return None


def part_content(raw: bytes, part: Part, limit: int) -> bytes:
    """Give the decoded content of a part, at most `limit` octets; as it stands when its encoding is unknown."""
    data = raw[part.body_start:min(part.body_end, part.body_start + 4 * limit)]
    decoded = decode_part(data, part.headers.get(b"content-transfer-encoding") or b"", limit=limit)
    return data[:limit] if decoded is None else decoded


def typed_value(value: bytes | None) -> str:
    """Give what follows `rfc822;` or another type, stripped; empty when absent."""
    if not value:
        return ""
    _, mark, rest = value[:2_000].partition(b";")
    return decode_raw((rest if mark else value[:2_000]).strip())


def _text_field(headers: Headers, name: bytes) -> str:
    return decode_raw((headers.get(name) or b"")[:2_000])


def parse_dsn(raw: bytes) -> DsnFacts | None:
    """Read a report of another system; None when the message is not one (no delivery-status part with a recipient)."""
    root = scan(raw)
    part = find_media(root, b"message", (b"delivery-status", b"global-delivery-status"))
    if part is None:
        return None
    content = part_content(raw, part, MAX_STATUS_BYTES)
    blocks = _blocks(content)
    recipients = tuple([_status(block) for block in blocks if block.get(b"action")])
    if not recipients:
        return None
    message = next((block for block in blocks if block.get(b"reporting-mta")), blocks[0])
    return DsnFacts(typed_value(message.get(b"reporting-mta")), _text_field(message, b"original-envelope-id"),
                    _original_message_id(raw, root), recipients)


def _blocks(content: bytes) -> list[Headers]:
    """Cut at empty lines; white space on them is forgiven."""
    out: list[Headers] = []
    lines: list[bytes] = []
    for line in [*content.splitlines(), b""]:
        if line.strip():
            lines.append(line)
        elif lines:
            out.append(parse_headers(b"\r\n".join(lines)))
            lines = []
            if len(out) > MAX_STATUS_RECIPIENTS:
                break
    return out


def _status(block: Headers) -> DsnStatus:
    return DsnStatus(
        final_recipient=typed_value(block.get(b"final-recipient")),
        original_recipient=typed_value(block.get(b"original-recipient")),
        action=_text_field(block, b"action").lower(),
        status=_text_field(block, b"status").partition(" ")[0],
        diagnostic=typed_value(block.get(b"diagnostic-code")),
        remote_mta=typed_value(block.get(b"remote-mta")),
    )


def _original_message_id(raw: bytes, root: Part) -> str:
    """Give the Message-ID of the returned headers or message, or an empty string."""
    part = find_media(root, b"message", (b"rfc822", b"global"))
    if part is not None and part.message is not None:
        return message_id(part.message.headers.get(b"message-id"))
    part = find_media(root, b"text", (b"rfc822-headers",)) or find_media(root, b"message", (b"global-headers",))
    if part is None:
        return ""
    return message_id(parse_headers(part_content(raw, part, MAX_STATUS_BYTES)).get(b"message-id"))
