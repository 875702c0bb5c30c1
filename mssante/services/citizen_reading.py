"""A message as a citizen reads it: who by name, subject without technical prefix, text, documents a person can open.

- `who` is the display name of From; an address never stands in for it (F9.3), a name that looks like one is dropped.
- Text: the first text/plain, else the text of the first HTML part; at most 200,000 characters; never markup.
- Documents: PDF, JPEG, PNG, plain text, and each CDA, in an IHE_XDM archive or by itself: the PDF that it carries, else the CDA,
  of which the page makes a readable twin; told by their octets, not by the name that somebody gave. A PDF that stands beside the
  archive is the same letter twice: the archive's forms come last.
- A letter with a document that its author made invisible to the patient (`INVISIBLE_PATIENT`, spec §8.4) shows none of its files:
  a PDF beside the archive is its copy. Nothing tells that there is one. Its sender should not have let it go; another may.
- At most 30 files, archives through `documents.xdm` (bounded); what cannot be read is named as such, nothing raises.
Pure; blocking for large messages: called in an executor by `citizen_space`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from mssante.documents.beginnings import names_cda
from mssante.documents.cda import read_header
from mssante.documents.masking import INVISIBLE, departing
from mssante.documents.readable import readable
from mssante.documents.subject import strip_prefix
from mssante.documents.xdm import unpack
from mssante.errors import InputFault
from mssante.model.message import Flags, FolderRow
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import Headers, decode_words, message_id, parse_headers
from mssante.protocol.mime.htmltext import html_text
from mssante.protocol.mime.parameters import parameter, parse_disposition
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part, decode_text

MAX_FILES = 30
MAX_CHARACTERS = 200_000
MAX_OCTETS = 40 * 1024 * 1024
CDA_HEAD = 4096  # octets in which a CDA says that it is one
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MARKS = ((b"%PDF-", "application/pdf", "pdf"), (b"\xff\xd8\xff", "image/jpeg", "jpg"),
          (b"\x89PNG\r\n\x1a\n", "image/png", "png"))
CDA_MEDIA = "application/hl7-cda+xml"
_CDA = ("text/xml", "application/xml", "application/xslt+xml")


@dataclass(frozen=True, slots=True)
class FileListed:
    """A document as it is listed. number: names it in URLs; size in octets; kind: `PDF`, `JPEG`, `PNG`, `texte`, `document` (a
    CDA, shown by its twin), empty: not shown."""

    number: int
    name: str
    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class FileShown:
    """A document, decoded. name: safe for a header."""

    name: str
    media_type: str
    content: bytes

    @property
    def is_cda(self) -> bool:
        """True for the CDA itself, which a person reads by its twin."""
        return self.media_type == CDA_MEDIA

    def plain(self) -> FileShown:
        """Give a CDA as plain text, for want of its twin. Raises InputFault. Blocking."""
        found = readable(self.content, read_header(self.content))
        return FileShown(f"{self.name}.txt", "text/plain; charset=utf-8", found.content)


@dataclass(frozen=True, slots=True)
class LetterShown:
    """One message. mine: the citizen sent it; text and files are filled by `read_letter`."""

    uid: int
    folder_id: int
    message_id: int
    reference: str
    who: str
    subject: str
    at: datetime
    seen: bool
    keywords: str
    mine: bool
    is_report: bool
    text: str = ""
    files: tuple[FileListed, ...] = ()

    @classmethod
    def of(cls, row: FolderRow, folder_id: int, header: bytes, *, mine: bool) -> LetterShown:
        """Make one from its row and its header block, ours in front."""
        headers = parse_headers(header)
        kind = (headers.get(b"content-type") or b"").strip().lower()
        subject = strip_prefix(decode_words(headers.get(b"subject") or b"", 500))
        return cls(row.uid, folder_id, row.message_id, message_id(headers.get(b"message-id")), _who(headers), subject,
                   row.internal_date, bool(row.flags & Flags.SEEN), row.keywords, mine, kind.startswith(b"multipart/report"))


def read_letter(raw: bytes, shown: LetterShown) -> LetterShown:
    """Give a letter with its text and the list of its documents."""
    root = scan(raw)
    files = () if _reserved(raw) else tuple([FileListed(number, name, kind, len(content))
                                             for number, (name, kind, _, content) in enumerate(_files(raw, root))])
    return replace(shown, text=_text(raw, root), files=files)


def read_file(raw: bytes, number: int) -> FileShown | None:
    """Give a document by its number; None when there is none, or none that a person can open or the patient may see."""
    if _reserved(raw):
        return None
    for rank, (name, kind, media, content) in enumerate(_files(raw, scan(raw))):
        if rank == number:
            return FileShown(name, media, content) if kind else None
    return None


def _reserved(raw: bytes) -> bool:
    """Tell if a document of a letter is not for the patient."""
    return any(INVISIBLE in codes for codes in departing(raw).masking)


def _who(headers: Headers) -> str:
    entries = [one for one in parse_addresses(headers.get(b"from") or b"") if one.local is not None]
    name = decode_words(entries[0].display, 200) if entries else ""
    name = " ".join(name.replace("_", " ").strip("\"' ").split())  # ECO.2.2.7: Titre_Prénom_NOM_Entité
    return "" if "@" in name else name[:120]


def _leaves(root: Part) -> Iterator[Part]:
    pending = [root]
    while pending:
        part = pending.pop()
        pending.extend(reversed(part.children))
        if not part.children and part.message is None:
            yield part


def _content(raw: bytes, part: Part) -> bytes:
    encoding = part.headers.get(b"content-transfer-encoding") or b""
    return decode_part(raw[part.body_start:part.body_end], encoding, limit=MAX_OCTETS) or b""


def _name(part: Part) -> str:
    disposition, parameters = parse_disposition(part.headers.get(b"content-disposition") or b"")
    name = parameter(parameters, b"filename") or parameter(part.media.parameters, b"name")
    return name if name or disposition != b"attachment" else "document"


def _text(raw: bytes, root: Part) -> str:
    """Give the text: plain when there is some, else that of HTML."""
    texts = [part for part in _leaves(root) if part.media.type == b"text" and not _name(part)]
    chosen = next((part for part in texts if part.media.subtype == b"plain"), texts[0] if texts else None)
    if chosen is None:
        return ""
    text = decode_text(_content(raw, chosen)[:4 * MAX_CHARACTERS], parameter(chosen.media.parameters, b"charset"))
    plain = html_text(text) if chosen.media.subtype == b"html" else text
    return "".join(one for one in plain.replace("\r\n", "\n") if one.isprintable() or one in "\n\t")[:MAX_CHARACTERS].strip()


def _files(raw: bytes, root: Part) -> Iterator[tuple[str, str, str, bytes]]:
    """Give (name, kind, media type, octets) of each document, archives last."""
    left = MAX_FILES
    archives: list[bytes] = []
    for part in _leaves(root):
        name = _name(part)
        if not name or left <= 0:
            continue
        content = _content(raw, part)
        if content.startswith(_ZIP):
            archives.append(content)
            continue
        left -= 1
        if names_cda(content[:CDA_HEAD]):
            yield _cda(content, name)
        else:
            yield _told(name, content, is_text=part.media.type == b"text" and part.media.subtype == b"plain")
    for archive in archives:
        for one in _documents(archive):
            if left <= 0:
                return
            left -= 1
            yield one


def _told(name: str, content: bytes, *, is_text: bool) -> tuple[str, str, str, bytes]:
    """Tell what a file is by its first octets; give it a name that a header and a page may hold."""
    for mark, media, ending in _MARKS:
        if content.startswith(mark):
            return _plain(name, ending), ending.upper().replace("JPG", "JPEG"), media, content
    if is_text:
        return _plain(name, "txt"), "texte", "text/plain; charset=utf-8", content
    return _plain(name, name.rpartition(".")[2][:8]), "", "", content


def _documents(archive: bytes) -> Iterator[tuple[str, str, str, bytes]]:
    """Give the readable form of each document of an archive."""
    try:
        documents = unpack(archive).documents
    except InputFault:
        yield "archive illisible", "", "", b""
        return
    for rank, document in enumerate(documents, 1):
        if document.content is None:
            continue
        if document.entry.mime_type not in _CDA:
            yield _told(document.entry.title or f"document {rank}", document.content,
                        is_text=document.entry.mime_type == "text/plain")
            continue
        yield _cda(document.content, document.entry.title or f"document {rank}")


def _cda(content: bytes, name: str) -> tuple[str, str, str, bytes]:
    """Give the PDF that a CDA carries, else the CDA. name: for want of a title."""
    try:
        header = read_header(content)
        companion = readable(content, header)
    except InputFault:
        return _plain(name, ""), "", "", b""
    title = header.title or name
    if companion.extension == "pdf":
        return _plain(title, "pdf"), "PDF", companion.media_type, companion.content
    return _plain(title, ""), "document", CDA_MEDIA, content


def _plain(name: str, ending: str) -> str:
    """Give a file name of letters, digits, spaces, `-` and `_`, at most 80, with an ending that tells its kind."""
    base = name.replace("\\", "/").rpartition("/")[2]
    stem = base.rpartition(".")[0] or base
    clean = "".join(one if one.isalnum() or one in "-_ " else " " for one in stem)
    safe = "".join(one for one in ending.lower() if one.isalnum())
    return (" ".join(clean.split())[:80] or "document") + (f".{safe}" if safe else "")
