"""The twins of all documents that a message carries: what a worker does for one message (services/twin.py, services/workshop.py).

- Archives and loose CDA files are found wherever they stand in the message, by their first octets (spec F8.1); an archive inside
  an archive is not opened; at most `MAX_TWINS` documents, the others are counted.
- What cannot be read is counted and left out: the original is beside, and other checks judge it (spec §8.6).
- What the sender or another operator encrypted is not opened: there is nothing to find in it.
Pure: octets in, values out. What comes out holds a patient's identity: show it, never log it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mssante.documents.beginnings import ZIP, names_cda, trimmed
from mssante.documents.cda import read_header
from mssante.documents.mailfiles import CDA_TYPES, Reading, mail_files
from mssante.documents.pdf_twin import pdf_twin
from mssante.documents.subject import companion_name
from mssante.documents.twin_header import read_twin
from mssante.documents.twin_html import Frame, html_page
from mssante.documents.xdm import XdmArchive, unpack
from mssante.errors import InputFault

MAX_TWINS = 10
MAX_OUT = 60 * 1024 * 1024  # octets of all pages and PDFs


@dataclass(frozen=True, slots=True)
class MailTwin:
    """The twin of one document. name: of its PDF file; pdf: empty when none could be made; files: PDFs embedded in the document,
    octet for octet."""

    title: str
    name: str
    page: bytes
    pdf: bytes
    files: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class MailTwins:
    """Of one message. unreadable: files and documents that could not be read, or were one too many."""

    twins: tuple[MailTwin, ...] = ()
    unreadable: int = 0


def twins_of(message: bytes, *, most: int = MAX_TWINS, pdf: bool = True) -> MailTwins:
    """Give the twins of a whole message. pdf: make the PDF too. Never raises for what the message holds."""
    found: list[MailTwin] = []
    unreadable = 0
    room = MAX_OUT
    for raw in documents_of(message):
        if raw is None or len(found) >= most:
            unreadable += 1
            continue
        try:
            twin = _twin(raw, pdf=pdf)
        except InputFault:
            unreadable += 1
            continue
        room -= len(twin.page) + len(twin.pdf) + sum(len(one) for one in twin.files)
        if room < 0:
            unreadable += 1
            continue
        found.append(twin)
    return MailTwins(tuple(found), unreadable)


def pages_of(message: bytes) -> MailTwins:
    """Give the twins of a whole message without their PDFs."""
    return twins_of(message, pdf=False)


def page_of(raw: bytes, frame: Frame) -> bytes:
    """Give the page of one CDA in the web account that shows it. Raises InputFault."""
    return html_page(read_twin(raw), frame)


def print_of(raw: bytes) -> bytes:
    """Give the PDF of one structured CDA. Raises InputFault."""
    return pdf_twin(read_twin(raw)).content


def _twin(raw: bytes, *, pdf: bool) -> MailTwin:
    twin = read_twin(raw)
    name = companion_name(read_header(raw), "pdf")
    made = b""
    embedded = len(twin.files) == 1 and not any(section.title for section in twin.sections)  # level 1: its PDF is the document
    if pdf and not embedded:
        try:
            made = pdf_twin(twin).content
        except InputFault:
            made = b""
    return MailTwin(twin.title, name, html_page(twin), made, tuple([one.content for one in twin.files]))


def documents_of(message: bytes) -> Iterator[bytes | None]:
    """Give the CDA documents of a message in order, None for a file that cannot be read; at most 20 files are opened."""
    for raw in _files(message):
        if not raw.startswith(ZIP):
            if names_cda(raw):
                yield raw
            continue
        archive = _opened(raw)
        if archive is None:
            yield None
            continue
        for document in archive.documents:
            if document.entry.mime_type in CDA_TYPES:
                yield document.content


def archives_of(message: bytes) -> Iterator[XdmArchive | None]:
    """Give the archives of a message in order, None for one that cannot be read."""
    for raw in _files(message):
        if raw.startswith(ZIP):
            yield _opened(raw)


def _opened(raw: bytes) -> XdmArchive | None:
    try:
        return unpack(raw)
    except InputFault:
        return None


def _files(message: bytes) -> Iterator[bytes]:
    """Give the decoded files of a message that begin as an archive or an XML document, at most `mailfiles.MAX_FILES`; an attached
    message has twins of its own where it was delivered."""
    for file in mail_files(message, Reading()).files:
        yield trimmed(file.octets())
