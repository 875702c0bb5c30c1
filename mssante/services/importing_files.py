"""Mail on disk as a source of an import: what Maildir and mbox sources share, and the Maildir one.

- No symbolic link is ever followed below the path given, no device or pipe is opened, whatever names say: directories and
  files are opened one from the other (`dir_fd`, O_NOFOLLOW) and only regular files are read.
- Octets of a message: the file's, with CRLF line ends. Its identity: its unique name and their SHA-256, so that a change of
  flags or of folder path never doubles it and two files of one name never hide each other.
- Internal date: the file's time of change, as Maildir servers keep it.
Called by cli/mailbox_import.py through services/importing.py; mbox files are in services/importing_mbox.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.message import Flags
from mssante.protocol.mime.lineends import LineEnds
from mssante.protocol.mime.maildir import MaildirName, decoded, folder_levels, read_keywords, read_name
from mssante.services.importing_source import PAGE, PIECE, ItemFault, Note, SourceFolder, SourceItem

T = TypeVar("T")
MAX_FOLDERS = 10_000
MAX_DEPTH = 20
_KEYWORDS_OCTETS = 64 * 1024
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_directory(path: Path | str, parent: int | None = None) -> int:
    """Open a directory; below `parent` links are refused, the path given by the user may be one. Raises OSError."""
    return os.open(path, _DIRECTORY if parent is not None else _DIRECTORY & ~os.O_NOFOLLOW, dir_fd=parent)


def open_file(name: str, parent: int) -> int:
    """Open a regular file of a directory. Raises ItemFault `IMPORT-FICHIER` for anything else, OSError."""
    descriptor = os.open(name, _FILE, dir_fd=parent)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_a_file()
    return descriptor


def not_a_file() -> ItemFault:
    """What is no regular file is not read."""
    return ItemFault("IMPORT-FICHIER", say("lien ou fichier spécial : non suivi", "link or special file: not followed"))


def cannot_read(exc: OSError) -> ItemFault:
    """A file that went away or may not be read."""
    if exc.errno in (40,):  # ELOOP: a link, by O_NOFOLLOW
        return not_a_file()
    return ItemFault("IMPORT-LECTURE", say("ne se lit pas : ", "cannot be read: ") + (exc.strerror or type(exc).__name__))


def printable(name: str) -> str:
    """Give a file name as a report may hold it."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def ranked(identities: Counter[str], identity: str) -> str:
    """Give an identity that two equal messages of a folder do not share: the second has its rank."""
    identities[identity] += 1
    return f"{identity} {identities[identity]}"


async def stepped(make: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
    """Run a blocking iterator one step at a time in a worker thread."""
    iterator = make()
    end = object()
    while True:
        step = await asyncio.to_thread(next, iterator, end)
        if step is end:
            return
        yield step  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class _File:
    """Where a message's file is: directory levels from the root, sub-directory, name."""

    path: tuple[str, ...]
    part: str
    name: str


class MaildirSource:
    """A Maildir with its Maildir++ folders (`.A.B`), and nested folders where a program made such."""

    identity = "maildir"

    def __init__(self, root: Path) -> None:
        """Raises InputFault `IMPORT-MAILDIR` when `root` holds no `cur` or `new`."""
        self._root = root
        self._notes: list[Note] = []
        if not (root / "cur").is_dir() and not (root / "new").is_dir():
            raise InputFault(say(f"{root} n'est pas un Maildir", f"{root} is not a Maildir"), rule="IMPORT-MAILDIR",
                             remedy=say("donnez le dossier qui contient cur et new", "give the folder that holds cur and new"))

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
        """Give INBOX and the folders below, by name."""
        return await asyncio.to_thread(self._folders)

    def _folders(self) -> list[SourceFolder]:
        found = [SourceFolder("", ("INBOX",))]
        for path in self._walk((), open_directory(self._root)):
            if len(path) == 1 and path[0].startswith("."):
                levels = folder_levels(path[0])
            else:
                levels = tuple(decoded(level) for level in path)
            found.append(SourceFolder("/".join(path), levels))
        return found

    def _walk(self, path: tuple[str, ...], descriptor: int) -> Iterator[tuple[str, ...]]:
        """Give the paths of the directories below that hold messages; `descriptor` is closed at the end."""
        try:
            with os.scandir(descriptor) as entries:
                listed = sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in entries)
            for name, is_directory, is_link in listed:
                if name in ("cur", "new", "tmp") or len(path) >= MAX_DEPTH or (path and name.startswith(".")):
                    continue
                if is_link:
                    fault = not_a_file()
                    self._notes.append(Note("", printable("/".join((*path, name))), fault.rule, fault.text))
                if not is_directory:
                    continue
                below = open_directory(name, descriptor)
                if self._holds_messages(below):
                    yield (*path, name)
                yield from self._walk((*path, name), below)
        finally:
            os.close(descriptor)

    @staticmethod
    def _holds_messages(descriptor: int) -> bool:
        return any(stat.S_ISDIR(os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode)
                   for part in ("cur", "new") if part in os.listdir(descriptor))

    def _open(self, path: tuple[str, ...]) -> int:
        """Open a directory below the root, step by step. Raises OSError."""
        descriptor = open_directory(self._root)
        for level in path:
            below = open_directory(level, descriptor)
            os.close(descriptor)
            descriptor = below
        return descriptor

    # ------------------------------------------------------------ messages

    async def pages(self, folder: SourceFolder) -> AsyncIterator[Sequence[SourceItem]]:
        """Give the messages by unique name (which begins with the time of delivery)."""
        async for page in stepped(lambda: self._pages(folder)):
            yield page

    def _pages(self, folder: SourceFolder) -> Iterator[list[SourceItem]]:
        path = tuple(folder.key.split("/")) if folder.key else ()
        files = self._files(folder, path)
        words = self._keywords(path)
        seen: Counter[str] = Counter()
        for start in range(0, len(files), PAGE):
            page: list[SourceItem] = []
            for file, read in files[start:start + PAGE]:
                try:
                    page.append(self._item(file, read, words, seen))
                except (ItemFault, OSError) as exc:
                    fault = exc if isinstance(exc, ItemFault) else cannot_read(exc)
                    self._notes.append(Note(folder.shown, printable(file.name), fault.rule, fault.text, lost=True))
            yield page

    def _files(self, folder: SourceFolder, path: tuple[str, ...]) -> list[tuple[_File, MaildirName]]:
        found: list[tuple[_File, MaildirName]] = []
        parent = self._open(path)
        try:
            for part in ("cur", "new"):
                try:
                    descriptor = open_directory(part, parent)
                except OSError as exc:
                    fault = cannot_read(exc)
                    if not isinstance(exc, FileNotFoundError):
                        self._notes.append(Note(folder.shown, part, fault.rule, fault.text))
                    continue
                names = os.listdir(descriptor)
                os.close(descriptor)
                found += [(_File(path, part, name), read_name(name)) for name in names if not name.startswith(".")]
        finally:
            os.close(parent)
        return sorted(found, key=lambda one: (_time(one[1].unique), one[1].unique, one[0].part))

    def _keywords(self, path: tuple[str, ...]) -> dict[str, str]:
        parent = self._open(path)
        try:
            descriptor = open_file("dovecot-keywords", parent)
        except (OSError, ItemFault):
            return {}
        finally:
            os.close(parent)
        with open(descriptor, "rb") as file:
            return read_keywords(file.read(_KEYWORDS_OCTETS))

    def _item(self, file: _File, read: MaildirName, words: dict[str, str], seen: Counter[str]) -> SourceItem:
        """Read a file once for its identity."""
        digest = hashlib.sha256()
        size = 0
        changed_at = 0.0
        for piece in self._read(file):
            if isinstance(piece, float):
                changed_at = piece
                continue
            digest.update(piece)
            size += len(piece)
        keywords = [words[letter] for letter in read.letters if letter in words]
        if read.forwarded:
            keywords.append("$Forwarded")
        flags = read.flags if file.part == "cur" else read.flags & ~Flags.SEEN
        return SourceItem(printable(file.name), ranked(seen, f"{read.unique} {digest.hexdigest()}"), size, int(flags),
                          tuple(keywords), datetime.fromtimestamp(changed_at, UTC), digest.hexdigest(), file)

    def _read(self, file: _File) -> Iterator[bytes | float]:
        """Give the file's time of change, then its octets. Raises ItemFault, OSError."""
        folder = self._open((*file.path, file.part))
        try:
            descriptor = open_file(file.name, folder)
        finally:
            os.close(folder)
        ends = LineEnds()
        with open(descriptor, "rb", buffering=0) as opened:
            yield os.fstat(descriptor).st_mtime
            while piece := opened.read(PIECE):
                yield ends.feed(piece)
        yield ends.close()

    async def octets(self, item: SourceItem) -> AsyncIterator[bytes]:
        """Give the octets of a message. Raises ItemFault."""
        if not isinstance(item.handle, _File):
            raise not_a_file()
        file = item.handle
        try:
            async for piece in stepped(lambda: self._read(file)):
                if isinstance(piece, bytes) and piece:
                    yield piece
        except OSError as exc:
            raise cannot_read(exc) from exc


def _time(unique: str) -> int:
    """Give the seconds that a unique name begins with, 0 when it does not."""
    first = unique.partition(".")[0]
    return int(first) if first.isascii() and first.isdigit() and len(first) < 13 else 0
