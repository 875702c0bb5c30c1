"""mbox files as a source of an import: one file, or a tree of them (Thunderbird, mutt, Apple Mail layouts).

- Each file is a folder; `.sbd` directories (Thunderbird) and `name.mbox/mbox` (Apple) give their levels; index files of mail
  programs and hidden files are passed over; a file without any separator is one line of the report.
- A file is read twice in pieces of 1 MiB: once to find its messages and their SHA-256, once for the octets of the new ones.
- Identity: the SHA-256 of the octets and its rank among equal ones of the file. A file that grew, or was compacted, or whose
  flags changed, doubles nothing.
- Links are not followed (see services/importing_files.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.mime.dates import parse_date
from mssante.protocol.mime.headers import find_header_end, parse_headers
from mssante.protocol.mime.mbox import FromFinder, MboxMessage, Quoting, Span, from_date
from mssante.services.importing_files import (
    MAX_DEPTH,
    MAX_FOLDERS,
    cannot_read,
    not_a_file,
    open_directory,
    open_file,
    printable,
    ranked,
    stepped,
)
from mssante.services.importing_source import PAGE, PIECE, ItemFault, Note, SourceFolder, SourceItem

_INDEXES = (".msf", ".dat", ".json", ".cmeta", ".ev-summary", ".ibex.index", ".lock", ".plist", ".sqlite", ".html", ".log",
            ".idx")
_DATE_OCTETS = 65_536  # of a header, where a date is looked for


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message is: path of its file from the root, and its span."""

    path: tuple[str, ...]
    span: Span


class MboxSource:
    """A file, or a tree of files."""

    identity = "mbox"

    def __init__(self, root: Path, quoting: Quoting = Quoting.MBOXRD, *, message_bytes: int = 1 << 40) -> None:
        """message_bytes: longer spans are not read. Raises InputFault `IMPORT-MBOX` when there is no such path."""
        self._quoting = quoting
        self._limit = message_bytes
        self._notes: list[Note] = []
        try:
            self._single = stat.S_ISREG(root.stat().st_mode)
        except OSError as exc:
            raise InputFault(say(f"{root} ne se lit pas", f"{root} cannot be read"), detail=exc.strerror or "",
                             rule="IMPORT-MBOX", remedy=say("vérifiez le chemin", "check the path")) from exc
        self._root = root.parent if self._single else root
        self._name = root.name if self._single else ""

    def notes(self) -> list[Note]:
        """Give what was found wrong since the last call."""
        found, self._notes = self._notes, []
        return found

    async def close(self) -> None:
        """Nothing is held open."""

    def plan(self, items: Sequence[SourceItem]) -> None:
        """Files need no plan."""

    # ------------------------------------------------------------ folders

    async def folders(self) -> list[SourceFolder]:
        """Give one folder for each file, by name."""
        return await asyncio.to_thread(self._folders)

    def _folders(self) -> list[SourceFolder]:
        if self._single:
            return [SourceFolder(self._name, _levels((self._name,)))]
        return [SourceFolder("/".join(path), _levels(path)) for path in self._walk((), open_directory(self._root))]

    def _walk(self, path: tuple[str, ...], descriptor: int, count: list[int] | None = None) -> Iterator[tuple[str, ...]]:
        """Give the paths of the files that may be mailboxes; `descriptor` is closed at the end."""
        counted = [0] if count is None else count
        try:
            with os.scandir(descriptor) as entries:
                listed = sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False))
                                for entry in entries)
            for name, is_directory, is_file in listed:
                if name.startswith(".") or name.lower().endswith(_INDEXES) or counted[0] >= MAX_FOLDERS:
                    continue
                if is_directory and len(path) < MAX_DEPTH:
                    yield from self._walk((*path, name), open_directory(name, descriptor), counted)
                elif is_file:
                    counted[0] += 1
                    yield (*path, name)
                elif not is_directory:
                    fault = not_a_file()
                    self._notes.append(Note("", printable("/".join((*path, name))), fault.rule, fault.text))
        finally:
            os.close(descriptor)

    # ------------------------------------------------------------ messages

    async def pages(self, folder: SourceFolder) -> AsyncIterator[Sequence[SourceItem]]:
        """Give the messages in the order of the file."""
        async for page in stepped(lambda: self._pages(folder)):
            yield page

    def _open(self, path: tuple[str, ...]) -> int:
        """Open a file below the root, step by step. Raises ItemFault, OSError."""
        directory = open_directory(self._root)
        try:
            for level in path[:-1]:
                below = open_directory(level, directory)
                os.close(directory)
                directory = below
            if self._single:  # named by the user: may be a link
                return os.open(path[-1], os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
            return open_file(path[-1], directory)
        finally:
            os.close(directory)

    def _pages(self, folder: SourceFolder) -> Iterator[list[SourceItem]]:
        path = tuple(folder.key.split("/"))
        try:
            descriptor = self._open(path)
        except (ItemFault, OSError) as exc:
            fault = exc if isinstance(exc, ItemFault) else cannot_read(exc)
            self._notes.append(Note(folder.shown, "", fault.rule, fault.text, lost=True))
            return
        seen: Counter[str] = Counter()
        page: list[SourceItem] = []
        try:
            for span in self._spans(folder, descriptor):
                page += self._item(folder, _Place(path, span), descriptor, seen)
                if len(page) >= PAGE:
                    yield page
                    page = []
            if page:
                yield page
        except OSError as exc:
            fault = cannot_read(exc)
            self._notes.append(Note(folder.shown, "", fault.rule, fault.text, lost=True))
        finally:
            os.close(descriptor)

    def _spans(self, folder: SourceFolder, descriptor: int) -> Iterator[Span]:
        finder = FromFinder()
        offset = count = 0
        while piece := os.pread(descriptor, PIECE, offset):
            offset += len(piece)
            for span in finder.feed(piece):
                count += 1
                yield span
        for span in finder.close():
            count += 1
            yield span
        if count == 0 and offset:
            self._notes.append(Note(folder.shown, "", "IMPORT-MBOX", say("pas un fichier mbox : non importé",
                                                                         "not an mbox file: not imported"), lost=True))
        elif finder.garbage:
            self._notes.append(Note(folder.shown, "0", "IMPORT-MBOX", say(
                f"{finder.garbage} octets avant le premier message : laissés",
                f"{finder.garbage} octets before the first message: left out"), lost=True))

    def _item(self, folder: SourceFolder, place: _Place, descriptor: int, seen: Counter[str]) -> list[SourceItem]:
        """Read one message for its identity, flags and date; give it, or nothing when it is no letter."""
        span = place.span
        label = f"@{span.offset}"
        if span.end - span.start > 2 * self._limit:  # line ends may be taken for twice their size, never more
            size = span.end - span.start
            return [SourceItem(label, f"{span.offset} {size}", size, 0, (), None, "", place)]
        message = MboxMessage(self._quoting)
        digest = hashlib.sha256()
        size = 0
        head = b""
        for piece in _pieces(descriptor, span, message):
            digest.update(piece)
            size += len(piece)
            head = head or piece[:_DATE_OCTETS]
        if message.own:
            self._notes.append(Note(folder.shown, label, "IMPORT-MBOX", say("note d'un logiciel, pas une lettre : laissée",
                                                                            "a program's own note, no letter: left out")))
            return []
        if span.loose:
            self._notes.append(Note(folder.shown, label, "IMPORT-MBOX", say("séparateur sans ligne vide avant lui",
                                                                            "separator without empty line before it")))
        date = from_date(span.from_line) or _header_date(head) or datetime.fromtimestamp(os.fstat(descriptor).st_mtime, UTC)
        identity = ranked(seen, digest.hexdigest())
        return [SourceItem(label, identity, size, int(message.flags), message.keywords, date, digest.hexdigest(), place)]

    async def octets(self, item: SourceItem) -> AsyncIterator[bytes]:
        """Give the octets of a message. Raises ItemFault."""
        if not isinstance(item.handle, _Place):
            raise not_a_file()
        place = item.handle
        try:
            async for piece in stepped(lambda: self._octets(place)):
                yield piece
        except OSError as exc:
            raise cannot_read(exc) from exc

    def _octets(self, place: _Place) -> Iterator[bytes]:
        descriptor = self._open(place.path)
        try:
            yield from _pieces(descriptor, place.span, MboxMessage(self._quoting))
        finally:
            os.close(descriptor)


def _pieces(descriptor: int, span: Span, message: MboxMessage) -> Iterator[bytes]:
    """Give the letter of a span in pieces."""
    offset = span.start
    while offset < span.end and (raw := os.pread(descriptor, min(PIECE, span.end - offset), offset)):
        offset += len(raw)
        if piece := message.feed(raw):
            yield piece
    if piece := message.close():
        yield piece


def _header_date(head: bytes) -> datetime | None:
    """Give the date of the last relay that took the letter, else its own Date."""
    headers = parse_headers(head[:find_header_end(head)])
    received = headers.get(b"received")
    if received is not None and (date := parse_date(received.rpartition(b";")[2])) is not None:
        return date
    return parse_date(headers.get(b"date"))


def _levels(path: Sequence[str]) -> tuple[str, ...]:
    """Give the folder name of a file."""
    levels = [printable(name) for name in path]
    if len(levels) > 1 and levels[-1].lower() == "mbox" and levels[-2].lower().endswith(".mbox"):
        levels.pop()  # Apple Mail: name.mbox/mbox
    names = [level[:-4] if level.lower().endswith(".sbd") else level for level in levels]
    last = names[-1]
    names[-1] = last[:-5] if last.lower().endswith(".mbox") and len(last) > 5 else last
    if len(names) == 1 and names[0].lower() in ("inbox", "mbox"):
        return ("INBOX",)
    return tuple(name or "_" for name in names)
