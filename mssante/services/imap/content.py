"""Cutting sections out of a message as a reader sees it: prefix (our header lines), then the body as received.

- Sections of the whole message (BODY[], HEADER, TEXT, HEADER.FIELDS) need no scan: the size of the header is known.
- Sections of a part are found by one scan of the body; their offsets are the body's own, so the prefix never shifts them.
- Bodies in the blob store are read in ranges as they are sent; only a scan or a decoding takes such a body whole, two at a
  time in the process at most.
- A section that does not exist is NIL (RFC 9051 §6.4.5.1); BINARY of an encoding we do not know is NO [UNKNOWN-CTE]
  (RFC 3516 §4.3).
Called by `fetch.py` and `search.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from typing import TypeVar

from mssante.model.message import StoredMessage
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.values import Section, SectionKind, SectionText
from mssante.protocol.mime import sections as mime
from mssante.protocol.mime.scan import Part, scan
from mssante.storage.interfaces import BlobStore

T = TypeVar("T")
_WHOLE_BODIES = 2  # bodies of up to 30 MB held whole at the same moment


def needs_tree(section: Section) -> bool:
    """True when the parts of the message must be found."""
    return bool(section.part)


def cut(section: Section, content: StoredMessage, body: bytes, tree: Part | None = None) -> bytes | None:
    """Give the octets of a section, partial applied, or None when there is no such part. Raises CommandRefused."""
    data = _part(section, body, tree) if section.part else _top(section, content, body)
    if data is None or section.partial is None:
        return data
    first, count = section.partial
    return data[first:first + count]


def _top(section: Section, content: StoredMessage, body: bytes) -> bytes | None:
    """Give a section of the whole message. body may be the header only when TEXT and ALL are not asked."""
    text = section.text
    if text is SectionText.ALL:
        return content.prefix + body
    if text is SectionText.TEXT:
        return body[content.header_size:]
    if text is SectionText.MIME:
        return None
    header = content.prefix + body[:content.header_size]
    if text is SectionText.HEADER:
        return header
    return mime.header_fields(header, _names(section), keep=text is SectionText.HEADER_FIELDS)


def _names(section: Section) -> tuple[bytes, ...]:
    return tuple(field.encode("utf-8", "replace") for field in section.fields)


def _part(section: Section, body: bytes, tree: Part | None) -> bytes | None:
    """Give a section of a part."""
    root = scan(body) if tree is None else tree
    found = mime.section_bytes(body, root, mime.Section(section.part, mime.SectionKind(section.text.value),
                                                        _names(section)))
    if section.kind is SectionKind.BODY or found is None:
        return found
    part = mime.find_part(root, section.part)
    if part is None or part.children:  # RFC 3516 §4.2: BINARY is for leaves
        return found
    decoded = mime.decode_part(found, part.headers.get(b"content-transfer-encoding") or b"")
    if decoded is None:
        raise CommandRefused("the transfer encoding of this part is not known", code="UNKNOWN-CTE")
    return decoded


def literal(section: Section, data: bytes | None) -> bytes:
    """Give the answer of a section: label and literal, NIL, or a size for BINARY.SIZE."""
    if data is None:
        return section.label + (b" 0" if section.kind is SectionKind.BINARY_SIZE else b" NIL")
    if section.kind is SectionKind.BINARY_SIZE:
        return section.label + b" %d" % len(data)
    return opening(section, len(data), b"\0" in data) + data


def opening(section: Section, size: int, has_nul: bool) -> bytes:
    """Give label and literal marker; `~{` only where the client asked for BINARY (RFC 3516 §4.2)."""
    tilde = b"~" if has_nul and section.kind is SectionKind.BINARY else b""
    return section.label + b" " + tilde + b"{%d}\r\n" % size


class ContentReader:
    """One message whose body is in the blob store."""

    __slots__ = ("_blobs", "_content", "_executor", "_key", "_piece", "_tree")

    _whole = asyncio.Semaphore(_WHOLE_BODIES)

    def __init__(self, blobs: BlobStore, executor: Executor, content: StoredMessage, piece_bytes: int) -> None:
        self._blobs = blobs
        self._executor = executor
        self._content = content
        self._key = content.blob or ""
        self._piece = piece_bytes
        self._tree: Part | None = None

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _scan(self, body: bytes) -> Part:
        """Scan once a message (worker thread)."""
        if self._tree is None:
            self._tree = scan(body)
        return self._tree

    async def section(self, section: Section) -> bytes | AsyncGenerator[bytes, None]:
        """Give the answer of one section, whole or as pieces still to be read. Raises CommandRefused."""
        content = self._content
        ranges: list[tuple[int, int]] | None = None
        lead = b""
        if section.kind is SectionKind.BODY and not section.part:
            if section.text is SectionText.ALL:
                lead, ranges = content.prefix, [(0, content.body_size)]
            elif section.text is SectionText.TEXT:
                ranges = [(content.header_size, content.body_size - content.header_size)]
        elif section.kind is SectionKind.BODY and section.text is SectionText.ALL:
            ranges = await self._ranges(section)
        if ranges is not None:
            return self._stream(section, lead, ranges)
        return literal(section, await self._cut(section))

    async def _ranges(self, section: Section) -> list[tuple[int, int]] | None:
        """Give where a part stands in the body, None when it does not exist."""
        if self._tree is None:
            async with self._whole:
                await self._run(lambda: self._scan(self._blobs.read(self._key)))
        if self._tree is None:
            return None
        found = mime.resolve(b"", self._tree, mime.Section(section.part))
        return found if isinstance(found, list) else None

    async def _cut(self, section: Section) -> bytes | None:
        """Cut a section that must be read before it is sent: headers, decoded parts."""
        content = self._content
        if not section.part and section.kind is SectionKind.BODY:
            header = await self._run(lambda: self._blobs.read(self._key, 0, content.header_size))
            return cut(section, content, header)

        def work() -> bytes | None:
            body = self._blobs.read(self._key)
            return cut(section, content, body, self._scan(body))

        async with self._whole:
            return await self._run(work)

    async def _stream(self, section: Section, lead: bytes, ranges: list[tuple[int, int]]) -> AsyncGenerator[bytes, None]:
        """Give a literal made of `lead` and ranges of the blob, read piece by piece; partial applied."""
        total = len(lead) + sum(length for _, length in ranges)
        first, count = section.partial if section.partial is not None else (0, total)
        first = min(first, total)
        count = min(count, total - first)
        yield opening(section, count, False) + lead[first:first + count]
        place = len(lead)
        for offset, length in ranges:
            start, stop = max(first, place), min(first + count, place + length)
            at, end = offset + start - place, offset + stop - place
            while at < end:
                size = min(self._piece, end - at)
                begin = at
                yield await self._run(lambda begin=begin, size=size: self._blobs.read(self._key, begin, size))  # type: ignore[misc]
                at += size
            place += length
