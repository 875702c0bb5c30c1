"""Reads a mail of an application's mailbox for the HL7 gateway: its archive, its text, its addresses. Pure; runs on the executor.

- `read_mail` takes the message apart once; `XdmArchive` is read and checked by `documents.xdm`, whose findings decide whether
  a program may use it (spec §8.6): one error, and a person looks at it.
- Nothing here raises for what a sender wrote but InputFault from the archive's reader.
Called by services.hl7inbox and services.hl7replies.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.documents.beginnings import Kind
from mssante.documents.mailfiles import Reading, files_of
from mssante.documents.messagetext import file_name
from mssante.documents.subject import parse_subject
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import Headers, decode_words, message_id, reference_ids
from mssante.protocol.mime.parameters import parameter
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part, decode_text

MAX_TEXT = 64_000  # characters
MAX_FILE = 100 << 20
MAX_FILES = 100
_READING = Reading(frozenset(Kind), most=10_000, largest=MAX_FILE)
ARCHIVE = "ihe_xdm.zip"


@dataclass(frozen=True, slots=True, repr=False)
class MailFile:
    """An attached file."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Mail:
    """A message taken apart. head: its header as it stands; message_id with brackets or empty; return_path: empty for the null
    sender; receipt_to: Disposition-Notification-To; error_code: of an error return (spec F7.2); automatic: no person wrote it."""

    raw: bytes
    head: bytes
    message_id: str
    references: tuple[str, ...]
    subject: str
    text: str
    sender: str
    reply_to: str
    return_path: str
    receipt_to: str
    structured: bool
    error_code: str
    automatic: bool
    files: tuple[MailFile, ...]

    @property
    def archives(self) -> tuple[MailFile, ...]:
        """Give the archives of documents: files of that name, or any ZIP under a subject that announces one (spec F8.8)."""
        named = tuple([one for one in self.files if one.name.lower() == ARCHIVE])
        if named or not self.structured:
            return named
        return tuple([one for one in self.files if one.content[:4] == b"PK\x03\x04"])


def read_mail(prefix: bytes, body: bytes) -> Mail:
    """Take a message apart; never raises. prefix: the lines that were put before it at arrival."""
    root = scan(body)
    headers = root.headers
    subject = decode_words(headers.get(b"subject") or b"", 1_000)
    said = parse_subject(subject)
    named = [one for one in files_of(root, body, _READING).files if one.name]
    files = [MailFile(one.name, one.media_type, one.octets()) for one in named[:MAX_FILES]]
    sender = _address(headers, b"from")
    references = reference_ids(headers.get(b"references"), headers.get(b"in-reply-to")).split()
    return Mail(
        body, body[:root.body_start], message_id(headers.get(b"message-id")), (*references, *_embedded(root)), subject,
        _text(root, body)[:MAX_TEXT], sender, _address(headers, b"reply-to"), _return_path(prefix, sender),
        _address(headers, b"disposition-notification-to"), said.structured, said.error_code,
        (headers.get(b"auto-submitted") or b"no").lower().split(b";")[0].strip() != b"no", tuple(files))


def _text(root: Part, body: bytes) -> str:
    """Give the letter: the first plain text that is no file."""
    pending = [root]
    while pending:
        one = pending.pop()
        pending.extend(reversed(one.children))
        if (not one.children and one.message is None and (one.media.type, one.media.subtype) == (b"text", b"plain")
                and not file_name(one)):
            data = bytes(body[one.body_start:min(one.body_end, one.body_start + 8 * MAX_TEXT)])
            decoded = decode_part(data, one.headers.get(b"content-transfer-encoding") or b"", limit=4 * MAX_TEXT)
            return decode_text(data[:4 * MAX_TEXT] if decoded is None else decoded, parameter(one.media.parameters, b"charset"))
    return ""


def _embedded(root: Part) -> list[str]:
    """Give the Message-ID of a message that is attached: what an error return brings back."""
    return [found for one in root.children if one.message is not None
            for found in [message_id(one.message.headers.get(b"message-id"))] if found]


def _address(headers: Headers, name: bytes) -> str:
    found = parse_addresses(headers.get(name) or b"")
    if len(found) != 1 or not found[0].local or not found[0].domain:
        return ""
    return b"@".join((found[0].local, found[0].domain)).decode("utf-8", "replace")


def _return_path(prefix: bytes, sender: str) -> str:
    """Give the envelope sender from the line that reception puts in front; one in the message itself is not believed.

    Mail of our own users has none: submission has made sure that its author is its envelope sender.
    """
    for line in prefix.split(b"\r\n"):
        if line.lower().startswith(b"return-path:"):
            return line.partition(b":")[2].strip().strip(b"<>").decode("utf-8", "replace")
    return sender
