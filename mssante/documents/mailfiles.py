"""The files that a message carries: the one reader of archives and documents inside mail.

- A file is known by how it begins, whatever its name and its media type (`beginnings`); one named IHE_XDM.ZIP is an archive, if
  only a broken one.
- What is opaque-signed and not encrypted can be read through (`Reading.signed`); an attached message is read only when asked for
  (`Reading.embedded`), that of older programs too: a file `.eml`, or one in base64. What is encrypted is not opened: there is
  nothing to find in it.
- What has no clear place in the message (a limit of the scan, a multipart without parts) or an encoding that nobody knows is
  `Kind.CLOSED`: other programs may find something there.
- What other programs would find where there is none of this (`disguises`) is `Kind.CLOSED` too, or read as they do.
- Bounded: number of files, octets of one, depth of signatures and messages. Never raises for what a sender wrote: what cannot be
  read is told in `MailFiles.remarks`, and by `MailFile.content` giving None.
Pure: octets in, values out. Called by `masking`, `patients`, `mailtwins`, `preflight`, `services.hl7mail`, `services.departure`
and `services.citizen_reading`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from mssante.documents.beginnings import BEGINNING, Kind, kind_of, told
from mssante.documents.disguises import early_body, hides_document, hides_in_base64, padded_inside, spells_document
from mssante.documents.messagetext import file_name
from mssante.documents.signedcontent import signed_content
from mssante.errors import InputFault
from mssante.protocol.mime.parameters import OCTETS, raw_parameter
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part

CDA_TYPES = frozenset({"text/xml", "application/xml", "application/xslt+xml"})
MAX_FILES = 20
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 3  # signatures and encoded messages inside one another
_CMS = frozenset({(b"application", b"pkcs7-mime"), (b"application", b"x-pkcs7-mime")})
_ENDING, ARCHIVE_NAME = ".eml", "IHE_XDM.ZIP"  # spec F8.1
_ENCODING, _UNKNOWN = b"content-transfer-encoding", b"?"
_REPORTS = frozenset({  # hold no message, or not all of it
    b"partial", b"external-body", b"delivery-status", b"global-delivery-status", b"disposition-notification",
    b"global-disposition-notification", b"feedback-report", b"tracking-status"})
_COMPOSED = (b"multipart/", b"message/")
_DELIMITED = re.compile(rb"^--[^ \r\n][^\r\n]*+\s*+[^\s-]", re.MULTILINE)
_ZIP_TYPES = frozenset({b"zip", b"x-zip", b"x-zip-compressed"})


class FileRemark(StrEnum):
    """Why something was left out. MANY: more files than the limit; SIGNED: signed data that cannot be read; DEEP: too many
    signatures or messages inside one another."""

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

    @property
    def encoding(self) -> bytes:
        given = {value.lower() for value in self.part.headers.all(_ENCODING)}
        return _UNKNOWN if len(given) > 1 else given.pop() if given else b""  # of two, readers differ on which one counts

    @property
    def broken(self) -> bool:
        """Tell if readers differ on where its base64 ends."""
        return self.encoding == b"base64" and padded_inside(self.octets, self.part.body_start, self.part.body_end)

    def decoded(self, limit: int) -> bytes | None:
        """Give the octets of the part, None when nobody knows their encoding."""
        start, end = self.part.body_start, self.part.body_end
        return decode_part(self.octets[start:min(end, start + 3 * limit)], self.encoding, limit=limit)


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
        early = _early(one)
        if early is not None and one.depth >= MAX_DEPTH:
            remarks[FileRemark.DEEP] = None
        elif early is not None:
            pending.append(early)
        if part.message is not None and reading.embedded and one.decoded(0) is not None:
            pending.append(_Pending(part.message, one.octets, one.depth))
            continue
        if part.children:
            after = _after_end(one)
            if after is not None:
                pending.append(after)
            if early is None or not early.part.children:  # else the same parts are in it
                pending += [_Pending(child, one.octets, one.depth) for child in reversed(part.children)]
            continue
        inside = _inside(one, reading, remarks)
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


def _inside(one: _Pending, reading: Reading, remarks: dict[FileRemark, None]) -> _Pending | None:
    """Give what stands inside a signature or an attached message that is a file, None when there is nothing to read."""
    try:
        if one.broken:
            return None
        if reading.signed and _is_cms(one.part):
            inside = signed_content(one.decoded(reading.largest) or b"")
        elif reading.embedded and _is_message(one.part):
            inside = one.decoded(reading.largest)
        else:
            return None
    except InputFault:
        remarks[FileRemark.SIGNED] = None
        return None
    if inside is None:
        return None
    if one.depth >= MAX_DEPTH:
        remarks[FileRemark.DEEP] = None
        return None
    return _Pending(scan(inside), inside, one.depth + 1)


def _early(one: _Pending) -> _Pending | None:
    """Give the part as it is for a reader that ends its header at the first line which is no field, when it is a multipart or a
    document for that reader; None where all agree."""
    part = one.part
    at = early_body(one.octets, part)
    if at < 0:
        return None
    found = file_name(part).lower().endswith(".zip") or (_says_multipart(part) and one.octets.startswith(b"--", at))
    if not found:
        begin = decode_part(one.octets[at:min(part.body_end, at + 16 * BEGINNING)], one.encoding, limit=8 * BEGINNING)
        found = (hides_document(one.octets[at:part.body_end]) if begin is None
                 else bool(begin.strip()) and told(begin) is not Kind.OTHER)
    if not found:
        return None
    octets = one.octets[part.header_start:at] + b"\r\n" + one.octets[at:part.body_end]
    return _Pending(scan(octets), octets, one.depth + 1)


def _after_end(one: _Pending) -> _Pending | None:
    """Give what stands behind the end of a multipart, when its delimiter comes again there: some readers go on."""
    part, delimiter = one.part, b"--" + raw_parameter(one.part.media.parameters, b"boundary")
    end = one.octets.find(delimiter + b"--", part.children[-1].body_end, part.body_end)
    again = one.octets.find(b"\n" + delimiter, end + len(delimiter), part.body_end) if end >= 0 else -1
    if again < 0 or one.depth >= MAX_DEPTH:
        return None
    octets = b"Content-Type: multipart/mixed; boundary=\"" + delimiter[2:] + b"\"\r\n\r\n" + delimiter + one.octets[
        end + len(delimiter) + 2:part.body_end]
    return _Pending(scan(octets), octets, one.depth + 1)


def _is_cms(part: Part) -> bool:
    """Tell if a part may be opaque-signed (RFC 8551 §3.2; older programs name the file only)."""
    media = (part.media.type.lower(), part.media.subtype.lower())
    return media in _CMS or file_name(part).lower().endswith(".p7m")


def _is_message(part: Part) -> bool:
    """Tell if a leaf is a message all the same: by its name, a type that an encoding closed to the scan (RFC 2046 §5.2.1), or
    another type of messages (`message/news`)."""
    if part.message is not None:
        return False
    said = (part.headers.get(b"content-type") or b"").lstrip().lower()
    other = part.media.type == b"message" and part.media.subtype not in _REPORTS
    return other or said.startswith(b"message/rfc822") or file_name(part).lower().endswith(_ENDING)


def _file(one: _Pending, largest: int) -> MailFile:
    part = one.part
    body = memoryview(one.octets)[part.body_start:part.body_end]
    begin = one.decoded(BEGINNING)
    name = file_name(part)
    named = bool(name) or part.media.type == b"application"
    media = (part.media.type + b"/" + part.media.subtype).decode("ascii", "replace")
    kind = (Kind.CLOSED if part.message is not None and begin is None else Kind.MESSAGE if part.message is not None
            else Kind.ARCHIVE if name.upper() == ARCHIVE_NAME else _kind(one, begin, name=name, largest=largest))
    return MailFile(name, media, kind, (begin or b"").removeprefix(b"\xef\xbb\xbf").lstrip(), named, body, one.encoding, largest)


def _kind(one: _Pending, begin: bytes | None, *, name: str, largest: int) -> Kind:
    """Give the kind of a leaf. begin: its first octets, None when their encoding is unknown."""
    part = one.part
    text, subtype = part.media.type == b"text", part.media.subtype
    html = text and subtype == b"html"
    zipped = name.lower().endswith(".zip") or (not name and subtype in _ZIP_TYPES)
    if begin is None:  # some readers take it as it stands
        raw = one.octets[part.body_start:part.body_end]  # a text of the letter under a wrong word is shown as it is
        closed = name or part.media.type == b"application" or one.encoding == _UNKNOWN or hides_document(raw)
        return Kind.CLOSED if closed and raw.strip() else Kind.OTHER
    if _closed(part) and not _without_parts(one, largest):
        return Kind.CLOSED if begin.strip() or (one.decoded(largest) or b"").strip() else Kind.OTHER
    found = told(begin, html=html, zipped=zipped) if len(begin) >= BEGINNING else None
    if found is None or (zipped and found is Kind.OTHER):
        found = kind_of(one.decoded(largest) or b"", html=html, zipped=zipped)
    if one.broken and (found is not Kind.OTHER or _is_cms(part) or _is_message(part) or hides_in_base64(
            one.octets[part.body_start:part.body_end], zipped=zipped)):
        return Kind.CLOSED
    if found is Kind.OTHER and (text or part.ambiguous) and spells_document(one.decoded(largest) or b""):
        return Kind.CLOSED
    return found


def _without_parts(one: _Pending, largest: int) -> bool:
    """Tell if what is said to be a multipart has no line at all behind which a reader may find a part."""
    raw = one.octets[one.part.body_start:one.part.body_end]
    return _says_multipart(one.part) and not any(_DELIMITED.search(seen) for seen in (raw, one.decoded(largest) or b""))


def _says_multipart(part: Part) -> bool:
    return (part.headers.get(b"content-type") or b"").lower().startswith(_COMPOSED[0])


def _closed(part: Part) -> bool:
    """Tell if a leaf may be several parts for somebody else: one without a clear structure, a fragment (RFC 2046 §5.2.2), or of a
    type that cannot be read or is said twice."""
    if (part.media is OCTETS and part.ambiguous) or (part.media.type, part.media.subtype) == (b"message", b"partial"):
        return True
    return part.media.type != b"message" and any(
        word in said.partition(b";")[0].lower() for said in part.headers.all(b"content-type") for word in _COMPOSED)
