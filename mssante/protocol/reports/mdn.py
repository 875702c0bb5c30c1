"""Message disposition notifications: read, processed or not integrated (RFC 8098, spec §7.4).

- `build_mdn` writes them strictly; an application error takes the French form `processed/Error: code^label^condition`,
  or on demand the RFC form (`processed/error` and an Error field).
- `parse_mdn` reads both, and the slips of published samples: misspelt field names, no space after the colon, white
  space inside identifiers, wrong closing delimiter, missing empty line. It never raises.
- Whether a notification may be sent at all (address differing from Return-Path, no loops) is decided by the caller.
- Called by services.reports.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mssante.errors import InputFault
from mssante.model.address import MailAddress
from mssante.protocol.mime.compose import (
    Attachment,
    address_text,
    addresses_line,
    attachment_part,
    check_value,
    header_line,
    multipart,
    text_part,
)
from mssante.protocol.mime.dates import format_date
from mssante.protocol.mime.headers import Headers, decode_raw, parse_headers
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.reports.dsn import find_media, part_content, typed_value

MAX_NOTIFICATION_BYTES = 65_536
_SEARCHED = 1 << 20

_CODE = re.compile(r"[0-9]{1,3}\Z")
_LABEL = re.compile(r"[^\x20-\x7e]|[\^;]")
_IDENTIFIER = re.compile(r"<[^<>\s]{1,996}>\Z")
_DISPOSITION = re.compile(r"\s*([A-Za-z\-]{1,40})\s*/\s*([A-Za-z\-]{1,40})\s*;\s*([A-Za-z\-]{1,40})\s*"
                          r"(?:/\s*([\s\S]{0,1000}))?")
_ERROR = re.compile(r"\s*error\s*:?\s*([\s\S]*)", re.IGNORECASE)
_ERROR_CODE = re.compile(r"\s*([0-9]{1,3})\s*(?:\^\s*([^\^]{0,300}))?")
_PART_START = re.compile(rb"^content-type[ \t]*:[ \t]*message/disposition-notification[^\n]*\n",
                         re.IGNORECASE | re.MULTILINE)
_DELIMITER = re.compile(rb"^--[^\n]*", re.MULTILINE)


class MdnAction(StrEnum):
    """Action mode (RFC 8098 §3.2.6.1)."""

    MANUAL = "manual-action"
    AUTOMATIC = "automatic-action"


class MdnSending(StrEnum):
    """Sending mode (RFC 8098 §3.2.6.1)."""

    MANUAL = "MDN-sent-manually"
    AUTOMATIC = "MDN-sent-automatically"


class MdnType(StrEnum):
    """Disposition type (RFC 8098 §3.2.6.2)."""

    DISPLAYED = "displayed"
    DELETED = "deleted"
    DISPATCHED = "dispatched"
    PROCESSED = "processed"


@dataclass(frozen=True, slots=True)
class MdnError:
    """An application error of the trade (900-906, HL7 0-207): code as text, label and condition in plain words."""

    code: str
    label: str
    condition: str = "messageErrorCondition"


@dataclass(frozen=True, slots=True)
class MdnRequest:
    """A notification to write. sender: the mailbox that read; to: the Disposition-Notification-To address.

    original_message_id with its brackets; original_recipient empty means final_recipient; original: the message that is
    answered, returned as message/rfc822 when given; rfc_error: write the error in the RFC 8098 form.
    """

    sender: MailAddress
    to: MailAddress
    final_recipient: MailAddress
    original_message_id: str
    subject: str
    text: str
    now: datetime
    trace_id: str
    reporting_ua: str
    action: MdnAction = MdnAction.AUTOMATIC
    sending: MdnSending = MdnSending.AUTOMATIC
    disposition: MdnType = MdnType.PROCESSED
    error: MdnError | None = None
    rfc_error: bool = False
    original_recipient: str = ""
    original: bytes = b""
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class MdnFacts:
    """What a received notification says. disposition in lower case; error: a modifier said error; code and label when
    readable; addresses without their type."""

    disposition: str
    action: str
    sending: str
    final_recipient: str
    original_recipient: str
    original_message_id: str
    error: bool = False
    error_code: str = ""
    error_label: str = ""


def build_mdn(request: MdnRequest) -> bytes:
    """Give the notification as a whole message, CRLF only.

    Raises InputFault: `HEADER-INJECTION`, `MDN-ORIGINAL` (no usable Message-ID), `MDN-ERROR` (code that is not a
    number).
    """
    if not _IDENTIFIER.match(request.original_message_id):
        raise InputFault("original Message-ID is missing or has no brackets", rule="MDN-ORIGINAL",
                         remedy="give it with its brackets")
    domain = request.sender.domain
    lines = [
        b"Date: " + format_date(request.now) + b"\r\n",
        addresses_line("From", (address_text(request.sender),)),
        addresses_line("To", (address_text(request.to),)),
        header_line("Subject", request.subject),
        header_line("Message-ID", f"<{request.trace_id}@{domain}>"),
        header_line("In-Reply-To", request.original_message_id),
        header_line("References", request.original_message_id),
        b"Auto-Submitted: auto-replied\r\n",
        b"MIME-Version: 1.0\r\n",
    ]
    parts = [text_part(request.text), _machine_part(request)]
    if request.original:
        encoding = b"" if request.original.isascii() else b"Content-Transfer-Encoding: 8bit\r\n"
        parts.append(b"Content-Type: message/rfc822\r\n" + encoding + b"\r\n" + request.original)
    parts.extend([attachment_part(attachment) for attachment in request.attachments])
    lines.append(multipart("report", parts, boundary=request.trace_id,
                           parameters=" report-type=disposition-notification;"))
    return b"".join(lines)


def _machine_part(request: MdnRequest) -> bytes:
    """message/disposition-notification (RFC 8098 §3.1); Original-Recipient always stands, a PFI correlates on it
    (§7.4).
    """
    original = request.original_recipient or str(request.final_recipient)
    out = [
        b"Content-Type: message/disposition-notification\r\n\r\n",
        header_line("Reporting-UA", request.reporting_ua),
        header_line("Original-Recipient", f"rfc822;{original}"),
        header_line("Final-Recipient", f"rfc822;{request.final_recipient}"),
        header_line("Original-Message-ID", request.original_message_id),
    ]
    mode = f"{request.action.value}/{request.sending.value}; {request.disposition.value}"
    if request.error is None:
        out.append(_plain_line("Disposition", mode))
        return b"".join(out)
    detail = _error_text(request.error)
    if request.rfc_error:
        out.extend([_plain_line("Disposition", f"{mode}/error"), _plain_line("Error", detail)])
    else:
        out.append(_plain_line("Disposition", f"{mode}/Error: {detail}"))
    return b"".join(out)


def _plain_line(name: str, value: str) -> bytes:
    """One unfolded line: readers of the trade match these values with simple patterns."""
    return f"{name}: {check_value(name, value)}\r\n".encode("ascii")


def _error_text(error: MdnError) -> str:
    """Give `code^label^condition` in ASCII: accents are dropped, `^` and `;` become spaces."""
    if not _CODE.match(error.code):
        raise InputFault("error code is not a number of at most 3 digits", rule="MDN-ERROR",
                         remedy="900 to 906, or HL7")
    pieces = []
    for text in (error.label, error.condition):
        check_value("Error", text)
        bare = "".join([one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one)])
        pieces.append(_LABEL.sub(" ", bare)[:200].strip())
    return "^".join([error.code, *pieces])


def parse_mdn(raw: bytes) -> MdnFacts | None:
    """Read a notification; None when the message holds none with a Disposition that can be read. Never raises."""
    headers = _notification(raw, scan(raw))
    found = _DISPOSITION.match(_value(headers, b"disposition")) if headers is not None else None
    if headers is None or found is None:
        return None
    action, sending, kind, modifier = found.groups()
    error, code, label = _read_error(modifier or "", _value(headers, b"error"))
    identifier = "".join(_value(headers, b"original-message-id").split())  # samples have white space inside
    return MdnFacts(disposition=kind.lower(), action=action.lower(), sending=sending.lower(),
                    final_recipient=typed_value(headers.get(b"final-recipient")),
                    original_recipient=typed_value(headers.get(b"original-recipient")),
                    original_message_id=identifier, error=error, error_code=code, error_label=label)


def _value(headers: Headers, name: bytes) -> str:
    return decode_raw((headers.get(name) or b"")[:2_000])


def _read_error(modifier: str, field: str) -> tuple[bool, str, str]:
    """Read both forms: `Error: 902^label^…` inside Disposition, or modifier `error` with an Error field."""
    marked = _ERROR.match(modifier)
    if marked is None and not field:
        return False, "", ""
    detail = _ERROR_CODE.match((marked.group(1) if marked else "") or field) or _ERROR_CODE.match(field)
    if detail is None:
        return True, "", (field or (marked.group(1) if marked else "")).strip()[:300]
    return True, detail.group(1), (detail.group(2) or "").strip()


def _notification(raw: bytes, root: Part) -> Headers | None:
    """Give the fields of the machine part: by structure, else by its Content-Type line when the structure is broken."""
    part = find_media(root, b"message", (b"disposition-notification",))
    if part is not None:
        # Fields may have slipped into the part's header when the empty line is missing.
        content = part_content(raw, part, MAX_NOTIFICATION_BYTES)
        inside = parse_headers(_without_empty_lines(content))
        headers = part.headers if part.headers.get(b"disposition") else inside
        if headers.get(b"disposition"):
            return headers
    if root.media.subtype != b"report" and not root.ambiguous:
        return None
    searched = raw[:_SEARCHED]
    start = _PART_START.search(searched)
    if start is None:
        return None
    stop = _DELIMITER.search(searched, start.end())
    end = min(stop.start() if stop else len(searched), start.end() + MAX_NOTIFICATION_BYTES)
    return parse_headers(_without_empty_lines(searched[start.end():end]))


def _without_empty_lines(content: bytes) -> bytes:
    return b"\r\n".join([line for line in content.splitlines() if line.strip()])
