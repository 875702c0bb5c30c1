"""Composes the companion message that carries the twins of a message: a few words, one page, the PDFs.

- It comes from this operator, in its own name, never in that of the sender; it is tied to the original (In-Reply-To, References)
  and says that it is automatic (RFC 3834) and what it is (`X-MSSANTE-Lecture`), so that no program takes it for a document.
- One document: its page is the body. Several: each page is a file beside, and the body names them.
Pure. Called by services.twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mssante.documents.mailtwins import MailTwins
from mssante.documents.subject import strip_prefix
from mssante.lang import say
from mssante.model.address import MailAddress
from mssante.protocol.mime.compose import (
    Attachment,
    address_text,
    addresses_line,
    attachment_part,
    base64_lines,
    header_line,
    multipart,
    text_part,
)
from mssante.protocol.mime.dates import format_date

MARK = "X-MSSANTE-Lecture"
MAX_SUBJECT = 300


@dataclass(frozen=True, slots=True)
class Original:
    """What the companion is about. message_id, references: as the original writes them, or empty; subject: decoded."""

    message_id: str
    references: str
    subject: str
    trace_id: str


def companion(original: Original, twins: MailTwins, *, sender: MailAddress, box: MailAddress, trace_id: str, now: datetime,
              ) -> bytes:
    """Give the whole message, CRLF only. twins: at least one."""
    title = say("Lecture : ", "Reading: ") + " ".join(strip_prefix(original.subject).split())[:MAX_SUBJECT]
    lines = [
        b"Date: " + format_date(now) + b"\r\n",
        addresses_line("From", (address_text(sender, say("Documents lisibles", "Readable documents")),)),
        addresses_line("To", (address_text(box),)),
        header_line("Subject", title), header_line("Message-ID", f"<{trace_id}@{sender.domain}>"),
        header_line(MARK, original.trace_id), b"Auto-Submitted: auto-generated\r\n",
    ]
    if original.message_id:
        lines += [header_line("In-Reply-To", original.message_id),
                  header_line("References", " ".join([*original.references.split()[-20:], original.message_id]))]
    lines += [b"MIME-Version: 1.0\r\n", _body(twins, trace_id)]
    return b"".join(lines)


def _body(twins: MailTwins, trace_id: str) -> bytes:
    words = text_part("\n".join(_words(twins)))
    alone = len(twins.twins) == 1
    first = multipart("alternative", [words, _page(twins.twins[0].page)], boundary=f"{trace_id}a") if alone else words
    parts: list[bytes] = []
    for rank, one in enumerate(twins.twins, 1):
        stem = one.name.rpartition(".")[0] or f"document_{rank}"
        name = stem if alone else f"{rank}_{stem}"
        if not alone:
            parts.append(attachment_part(Attachment(f"{name}.html", "text/html", one.page)))
        files = [one.pdf] if one.pdf else list(one.files)
        parts += [attachment_part(Attachment(f"{name}_{number}.pdf" if number > 1 else f"{name}.pdf", "application/pdf", content))
                  for number, content in enumerate(files, 1)]
        if one.pdf:
            parts += [attachment_part(Attachment(f"{name}_piece_{number}.pdf", "application/pdf", content))
                      for number, content in enumerate(one.files, 1)]
    return multipart("mixed", [first, *parts], boundary=trace_id)


def _words(twins: MailTwins) -> list[str]:
    lines = [say("Vue lisible du document reçu, faite par votre opérateur de messagerie. Le document d'origine reste dans le "
                 "message auquel celui-ci répond : lui seul fait foi.",
                 "Readable view of the document that you received, made by your mail operator. The original document stays in "
                 "the message that this one answers: it alone is the reference."), ""]
    lines += [f"- {one.title}" for one in twins.twins]
    if twins.unreadable:
        lines += ["", say(f"{twins.unreadable} document(s) non montré(s) : illisible(s), ou au-delà de la limite.",
                          f"{twins.unreadable} document(s) not shown: unreadable, or beyond the limit.")]
    return lines


def _page(content: bytes) -> bytes:
    return b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64_lines(content)
