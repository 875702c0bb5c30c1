"""The files that a message carries: the one reader of archives and documents inside mail.

- A file is known by how it begins, whatever its name and its media type (spec F8.1): archive, XML, other. XML is so in UTF-16
  and UTF-32 too, which our readers refuse and others may not, and whatever stands before its root: mark, blanks, comment,
  instruction, document type. A page that says that it is HTML is none. An archive inside an archive is not opened.
- What is opaque-signed and not encrypted can be read through (`Reading.signed`); an attached message is read only when asked for
  (`Reading.embedded`). What is encrypted is not opened: there is nothing to find in it.
- Bounded: number of files, octets of one, depth of signatures. Never raises for what a sender wrote: what cannot be read is told
  in `MailFiles.remarks`, and by `MailFile.content` giving None.
Pure: octets in, values out. Called by `masking`, `patients`, `mailtwins`, `preflight`, `services.hl7mail`,
`services.citizen_reading` and `services.citizen_bounces`. `messagetext` walks by itself, and says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from mssante.documents.messagetext import file_name
from mssante.documents.signedcontent import signed_content
from mssante.errors import InputFault
from mssante.protocol.mime.htmltext import html_text
from mssante.protocol.mime.parameters import parameter
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part, decode_text

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
CDA_TYPES = frozenset({"text/xml", "application/xml", "application/xslt+xml"})
MAX_FILES = 20
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_SIGNED_DEPTH = 3  # signatures inside signatures
_BEGINNING = 400  # octets that tell what a file is
_ROOT = b"ClinicalDocument"
# Begins and ends with a letter: found in both orders of octets.
_WIDE_ROOTS = (_ROOT.decode().encode("utf-16-be")[1:], _ROOT.decode().encode("utf-32-be")[3:])
_XML = re.compile(rb"<(?:\?|!--|!DOCTYPE(?!\s+html\b)|(?:[^\s<>/:]{1,200}:)?" + _ROOT + rb")", re.IGNORECASE)
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # byte order marks, XML 1.0 §F.1; NUL are taken away before
_BLANKS = b" \t\r\n\v\f\0"
_CMS = frozenset({(b"application", b"pkcs7-mime"), (b"application", b"x-pkcs7-mime")})


class Kind(StrEnum):
    """What a file begins as. MESSAGE: an attached message, given as a file where it is not read through."""

    ARCHIVE = "archive"
    XML = "xml"
    MESSAGE = "message"
    OTHER = "other"


class FileRemark(StrEnum):
    """Why something was left out. MANY: more files than the limit; SIGNED: signed data that cannot be read; DEEP: too many
    signatures inside one another."""

    MANY = "MAIL-FICHIERS"
    SIGNED = "MAIL-P7M"
    DEEP = "MAIL-PROFONDEUR"


DOCUMENTS = frozenset({Kind.ARCHIVE, Kind.XML})


@dataclass(frozen=True, slots=True)
class Reading:
    """What is asked. kinds: what is given; embedded: read attached messages; signed: read what is opaque-signed; most: how many
    files; largest: octets of one."""

    kinds: frozenset[Kind] = DOCUMENTS
    embedded: bool = False
    signed: bool = False
    most: int = MAX_FILES
    largest: int = MAX_FILE_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class MailFile:
    """A file of a message, or a text of the letter. begin: its first octets, decoded, without blanks before them; named: it has a
    file name or is of an `application` type: an attachment, not a text of the letter; charset: as the part says, or empty."""

    name: str
    media_type: str
    kind: Kind
    begin: bytes
    named: bool
    charset: str
    _body: memoryview
    _encoding: bytes
    _largest: int

    def content(self) -> bytes | None:
        """Give the decoded octets; None when the encoding is unknown or the file is larger than the limit."""
        found = decode_part(bytes(self._body), self._encoding, limit=self._largest + 1)
        return None if found is None or len(found) > self._largest else found

    def octets(self) -> bytes:
        """Give the decoded octets, cut at the limit; as they stand in the message when their encoding is unknown."""
        found = decode_part(bytes(self._body), self._encoding, limit=self._largest)
        return bytes(self._body[:self._largest]) if found is None else found

    def text(self, most: int) -> str:
        """Give the text of the first `most` octets, that of HTML without its markup."""
        text = decode_text(self.octets()[:most], self.charset)
        return html_text(text) if self.media_type == "text/html" else text


@dataclass(frozen=True, slots=True)
class MailFiles:
    """What was found, in the order of the message. remarks: each at most once."""

    files: tuple[MailFile, ...] = ()
    remarks: tuple[FileRemark, ...] = ()


@dataclass(slots=True)
class _Pending:
    """A part still to be looked at, and the octets its places count in."""

    part: Part
    octets: bytes
    depth: int


def mail_files(message: bytes, reading: Reading) -> MailFiles:
    """Give the files of a whole message. Never raises for what it holds."""
    return files_of(scan(message), message, reading)


def files_of(root: Part, message: bytes, reading: Reading) -> MailFiles:
    """Give the files of a message that was scanned already."""
    found: list[MailFile] = []
    remarks: dict[FileRemark, None] = {}
    pending = [_Pending(root, message, 0)]
    while pending:
        one = pending.pop()
        part = one.part
        if part.message is not None and reading.embedded:
            pending.append(_Pending(part.message, one.octets, one.depth))
            continue
        if part.children:
            pending += [_Pending(child, one.octets, one.depth) for child in reversed(part.children)]
            continue
        if reading.signed and _is_cms(part):
            inside = _opened(one, reading, remarks)
            if inside is not None:
                pending.append(inside)
                continue
        file = _file(one, reading.largest)
        if file.kind not in reading.kinds:
            continue
        if len(found) >= reading.most:
            remarks[FileRemark.MANY] = None
            break
        found.append(file)
    return MailFiles(tuple(found), tuple(remarks))


def names_cda(raw: bytes) -> bool:
    """Tell if octets name the root of a CDA, in UTF-8, ISO-8859, UTF-16 or UTF-32."""
    return _ROOT in raw or any(one in raw for one in _WIDE_ROOTS)


def kind_of(raw: bytes) -> Kind:
    """Tell what a file is by its first octets: an archive, XML in any of its encodings, or something else."""
    if raw.lstrip().startswith(ZIP):
        return Kind.ARCHIVE
    head = raw.lstrip(_BLANKS)[:_BEGINNING].replace(b"\0", b"")
    for mark in _MARKS:
        head = head.removeprefix(mark)
    return Kind.XML if _XML.match(head.lstrip()) else Kind.OTHER


def _is_cms(part: Part) -> bool:
    """Tell if a part may be opaque-signed (RFC 8551 §3.2; older programs name the file only)."""
    media = (part.media.type.lower(), part.media.subtype.lower())
    return media in _CMS or (media[0] == b"application" and file_name(part).lower().endswith(".p7m"))


def _opened(one: _Pending, reading: Reading, remarks: dict[FileRemark, None]) -> _Pending | None:
    """Give what stands inside a signature, None when there is nothing to read."""
    part = one.part
    encoding = part.headers.get(b"content-transfer-encoding") or b""
    raw = decode_part(one.octets[part.body_start:part.body_end], encoding, limit=reading.largest)
    try:
        inside = signed_content(raw or b"")
    except InputFault:
        remarks[FileRemark.SIGNED] = None
        return None
    if inside is None:
        return None
    if one.depth >= MAX_SIGNED_DEPTH:
        remarks[FileRemark.DEEP] = None
        return None
    return _Pending(scan(inside), inside, one.depth + 1)


def _file(one: _Pending, largest: int) -> MailFile:
    part = one.part
    body = memoryview(one.octets)[part.body_start:part.body_end]
    encoding = part.headers.get(b"content-transfer-encoding") or b""
    begin = _begin(body[:_BEGINNING], encoding, _BEGINNING)
    if not begin and len(body) > _BEGINNING:  # nothing but blanks: what they push away is looked for
        begin = _begin(body, encoding, largest)[:_BEGINNING]
    kind = Kind.MESSAGE if part.message is not None else kind_of(begin)
    name = file_name(part)
    media = (part.media.type + b"/" + part.media.subtype).decode("ascii", "replace")
    return MailFile(name, media, kind, begin, bool(name) or part.media.type == b"application",
                    parameter(part.media.parameters, b"charset"), body, encoding, largest)


def _begin(body: memoryview, encoding: bytes, limit: int) -> bytes:
    """Give the first octets, decoded, without a mark of UTF-8 nor blanks before them; an unknown encoding is read as it stands,
    as `octets` does."""
    octets = bytes(body)
    found = decode_part(octets, encoding, limit=limit)
    return (octets if found is None else found).removeprefix(_MARKS[0]).lstrip(_BLANKS)
