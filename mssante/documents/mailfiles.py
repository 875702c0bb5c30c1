"""The files that a message carries: the one reader of archives and documents inside mail.

- A file is known by how it begins, whatever its name and its media type (spec F8.1): archive, XML (of UTF-16 too, which our
  readers refuse and others may not), other. An archive inside an archive is not opened.
- What is opaque-signed and not encrypted can be read through (`Reading.signed`); an attached message is read only when asked for
  (`Reading.embedded`). What is encrypted is not opened: there is nothing to find in it.
- Bounded: number of files, octets of one, depth of signatures. Never raises for what a sender wrote: what cannot be read is told
  in `MailFiles.remarks`, and by `MailFile.content` giving None.
Pure: octets in, values out. Called by `masking`, `patients`, `mailtwins`, `preflight` and `services.hl7mail`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mssante.documents.messagetext import file_name
from mssante.documents.signedcontent import signed_content
from mssante.errors import InputFault
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
CDA_TYPES = frozenset({"text/xml", "application/xml", "application/xslt+xml"})
MAX_FILES = 20
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_SIGNED_DEPTH = 3  # signatures inside signatures
_BEGINNING = 400  # octets that tell what a file is
_XML = (b"<?xml", b"<ClinicalDocument", b"\xff\xfe<\0", b"\xfe\xff\0<", b"<\0?\0x\0", b"\0<\0?\0x", b"<\0C\0", b"\0<\0C")
_ROOT = b"ClinicalDocument"
_WIDE_ROOT = _ROOT.decode().encode("utf-16-be")[1:]  # begins and ends with a letter: found in both orders of octets
_BOM = b"\xef\xbb\xbf"
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
    """A file of a message. begin: its first octets, decoded, without blanks before them; named: it has a file name or is of an
    `application` type: an attachment, not a text of the letter."""

    name: str
    media_type: str
    kind: Kind
    begin: bytes
    named: bool
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
    """Tell if octets name the root of a CDA, in UTF-8, ISO-8859 or UTF-16."""
    return _ROOT in raw or _WIDE_ROOT in raw


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
    begin = (decode_part(bytes(body[:_BEGINNING]), encoding, limit=_BEGINNING) or b"").removeprefix(_BOM).lstrip()
    kind = (Kind.MESSAGE if part.message is not None else Kind.ARCHIVE if begin.startswith(ZIP)
            else Kind.XML if begin.startswith(_XML) else Kind.OTHER)
    name = file_name(part)
    media = (part.media.type + b"/" + part.media.subtype).decode("ascii", "replace")
    return MailFile(name, media, kind, begin, bool(name) or part.media.type == b"application", body, encoding, largest)
