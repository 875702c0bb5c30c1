"""A message as a citizen reads it: who by name, subject without technical prefix, text, documents a person can open.

- `who` is the display name of From; an address never stands in for it (F9.3), a name that looks like one is dropped.
- Text: the first text/plain, else the text of the first HTML part; at most 200,000 characters; never markup.
- Documents: PDF, JPEG, PNG, plain text, and each CDA, in an IHE_XDM archive or by itself: the PDF that it carries, else the CDA,
  of which the page makes a readable twin; told by their octets, not by the name that somebody gave. A PDF that stands beside the
  archive is the same letter twice: the archive's forms come last.
- A document that is invisible to the patient (its metadata or its CDA says so, spec §8.4) is not there: neither listed nor given.
  Then nothing of the letter that may be a copy of it is there either: no PDF, picture nor text file, nor a CDA of the same
  octets, identifier or set; other CDA are. The letter's own text and subject are what its author wrote to the patient: they stay.
- At most 30 files and 20 archives, through `documents.xdm` (bounded); what cannot be read is named as such, nothing raises. Files
  are found by `documents.mailfiles`, inside an opaque signature too, never inside an attached message.
Pure; blocking for large messages: called in an executor by `citizen_space`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mssante.documents.cda import read_header
from mssante.documents.mailfiles import CDA_TYPES, Kind, MailFile, Reading, kind_of, mail_files, names_cda
from mssante.documents.masking import for_patient, masking_in, masking_of
from mssante.documents.metadata import sha1_hex
from mssante.documents.readable import readable
from mssante.documents.subject import strip_prefix
from mssante.documents.xdm import XdmDocument, unpack
from mssante.errors import InputFault
from mssante.model.message import Flags, FolderRow
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import Headers, decode_words, message_id, parse_headers

MAX_FILES = 30
MAX_ARCHIVES = 20
MAX_CHARACTERS = 200_000
MAX_OCTETS = 40 * 1024 * 1024
_READING = Reading(frozenset(Kind), signed=True, most=1_000, largest=MAX_OCTETS)
_MARKS = ((b"%PDF-", "application/pdf", "pdf"), (b"\xff\xd8\xff", "image/jpeg", "jpg"),
          (b"\x89PNG\r\n\x1a\n", "image/png", "png"))
CDA_MEDIA = "application/hl7-cda+xml"
PLAIN = "text/plain; charset=utf-8"


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
        return FileShown(f"{self.name}.txt", PLAIN, found.content)


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


@dataclass(frozen=True, slots=True)
class _Found:
    """A document of a letter. kind: as in `FileListed`; size: of its octets; content: kept for the one that is asked for; codes:
    of its masking; marks: hashes, identifier and set, by which a copy is known; structured: it says its masking itself."""

    name: str
    kind: str = ""
    media_type: str = ""
    content: bytes = b""
    size: int = 0
    codes: frozenset[str] = frozenset()
    marks: frozenset[str] = frozenset()
    structured: bool = False


def read_letter(raw: bytes, shown: LetterShown) -> LetterShown:
    """Give a letter with its text and the list of its documents."""
    parts = mail_files(raw, _READING).files
    files = tuple([FileListed(number, one.name, one.kind, one.size) for number, one in _seen(parts)])
    return replace(shown, text=_text(parts), files=files)


def read_file(raw: bytes, number: int) -> FileShown | None:
    """Give a document by its number; None when there is none, or none that a person can open, or one invisible to the patient."""
    one = dict(_seen(mail_files(raw, _READING).files, kept=number)).get(number)
    return FileShown(one.name, one.media_type, one.content) if one is not None and one.kind else None


def _seen(parts: Sequence[MailFile], kept: int = -1) -> list[tuple[int, _Found]]:
    """Give the documents that the patient may see, with their numbers (spec §8.4)."""
    found = [(number, replace(one, size=len(one.content), content=one.content if number == kept else b""))
             for number, one in enumerate(_files(parts))]
    hidden = [one for _, one in found if not for_patient(one.codes)]
    if not hidden:
        return found
    marks = frozenset().union(*[one.marks for one in hidden])
    return [(number, one) for number, one in found if one.structured and for_patient(one.codes) and not one.marks & marks]


def _who(headers: Headers) -> str:
    entries = [one for one in parse_addresses(headers.get(b"from") or b"") if one.local is not None]
    name = decode_words(entries[0].display, 200) if entries else ""
    name = " ".join(name.replace("_", " ").strip("\"' ").split())  # ECO.2.2.7: Titre_Prénom_NOM_Entité
    return "" if "@" in name else name[:120]


def _text(parts: Sequence[MailFile]) -> str:
    """Give the text: plain when there is some, else that of HTML."""
    texts = [one for one in parts if one.media_type.startswith("text/") and not one.named and not _is_cda(one)]
    chosen = next((one for one in texts if one.media_type == "text/plain"), texts[0] if texts else None)
    if chosen is None:
        return ""
    plain = chosen.text(4 * MAX_CHARACTERS)
    return "".join(one for one in plain.replace("\r\n", "\n") if one.isprintable() or one in "\n\t")[:MAX_CHARACTERS].strip()


def _is_cda(part: MailFile) -> bool:
    return part.kind is Kind.XML and names_cda(part.octets())


def _files(parts: Sequence[MailFile]) -> Iterator[_Found]:
    """Give each document, archives last; beyond the limit those only that are invisible to the patient, for what they hide."""
    left = MAX_FILES
    for one in _each(parts):
        left -= 1
        if left >= 0 or not for_patient(one.codes):
            yield one


def _each(parts: Sequence[MailFile]) -> Iterator[_Found]:
    for part in parts:
        name = part.name or "document"
        if _is_cda(part):
            yield _cda(part.octets(), name)
        elif part.named and part.kind not in (Kind.ARCHIVE, Kind.MESSAGE):
            content = part.content()
            yield _unreadable(name) if content is None else _told(name, content, is_text=part.media_type == "text/plain")
    for rank, archive in enumerate([part for part in parts if part.kind is Kind.ARCHIVE], 1):
        yield from _documents((archive.content() or b"") if rank <= MAX_ARCHIVES else b"")


def _unreadable(name: str) -> _Found:
    return _Found(_plain(name, name.rpartition(".")[2][:8]))


def _told(name: str, content: bytes, *, is_text: bool) -> _Found:
    """Tell what a file is by its first octets; give it a name that a header and a page may hold."""
    for mark, media, ending in _MARKS:
        if content.startswith(mark):
            return _Found(_plain(name, ending), ending.upper().replace("JPG", "JPEG"), media, content)
    if is_text:
        return _Found(_plain(name, "txt"), "texte", PLAIN, content)
    return _unreadable(name)


def _documents(archive: bytes) -> Iterator[_Found]:
    """Give the readable form of each document of an archive."""
    try:
        documents = unpack(archive).documents
    except InputFault:
        yield _Found("archive illisible")
        return
    for rank, document in enumerate(documents, 1):
        if document.content is not None:
            yield _of_archive(document, document.content, document.entry.title or f"document {rank}")
        elif not for_patient(masking_of(document)):  # its file may stand beside
            yield _Found("", codes=masking_of(document), marks=frozenset({document.entry.unique_id}))


def _of_archive(document: XdmDocument, content: bytes, name: str) -> _Found:
    """Give one whose masking is what metadata and CDA say together."""
    entry = document.entry
    is_cda = entry.mime_type in CDA_TYPES or (kind_of(content) is Kind.XML and names_cda(content))
    found = _cda(content, name) if is_cda else _told(name, content, is_text=entry.mime_type == "text/plain")
    return replace(found, codes=found.codes | masking_of(document), marks=found.marks | {entry.unique_id, sha1_hex(content)})


def _cda(content: bytes, name: str) -> _Found:
    """Give the PDF that a CDA carries, else the CDA. name: for want of a title."""
    try:
        header = read_header(content)
    except InputFault:
        return _Found(_plain(name, ""))
    title, codes = header.title or name, masking_in(header)
    marks = frozenset({sha1_hex(content), header.id.unique_id, header.set_id.unique_id if header.set_id else header.id.unique_id})
    try:
        companion = readable(content, header)
    except InputFault:
        return _Found(_plain(title, ""), codes=codes, marks=marks)
    if companion.extension == "pdf":
        return _Found(_plain(title, "pdf"), "PDF", companion.media_type, companion.content, codes=codes,
                      marks=marks | {sha1_hex(companion.content)}, structured=True)
    return _Found(_plain(title, ""), "document", CDA_MEDIA, content, codes=codes, marks=marks, structured=True)


def _plain(name: str, ending: str) -> str:
    """Give a file name of letters, digits, spaces, `-` and `_`, at most 80, with an ending that tells its kind."""
    base = name.replace("\\", "/").rpartition("/")[2]
    stem = base.rpartition(".")[0] or base
    clean = "".join(one if one.isalnum() or one in "-_ " else " " for one in stem)
    safe = "".join(one for one in ending.lower() if one.isalnum())
    return (" ".join(clean.split())[:80] or "document") + (f".{safe}" if safe else "")
