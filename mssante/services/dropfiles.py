"""Files of a watched folder: listing, reading, moving, receipts; blocking, called in an executor by `services.dropfolder`.

- Everything is done by descriptors of the folder and of its two sub-folders, opened without following links: a link put in their
  place, or in the place of a file, leads nowhere. Only regular files with one name are read, up to a size.
- A file is written under another name, synced, then renamed: a reader sees the old one or the new one. Never removes a file.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mssante.errors import InputFault, OperatorFault, StorageFull
from mssante.lang import say

SENT, REFUSED, FOLLOWED = "envoyes", "refus", ".suivi"
DOCUMENTS = (".pdf", ".xml", ".zip")
READY = ".ready"
MAX_FILES = 10_000  # names read of one folder in one round
MAX_FACTS = 1024 * 1024
_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]{1,150}\Z")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Seen:
    """A pair of files as it is now. name: without extension; document: name of the document; stamp: what changes when one is
    written; ready: its author said that it is whole."""

    name: str
    document: str
    stamp: tuple[int, ...]
    ready: bool


@dataclass(frozen=True, slots=True)
class Putting:
    """Where a pair goes. notes: by ending (`.recu.json`); suffix: added to the name when it is taken there by another pair;
    followed: name of the note that holds the name, empty for none."""

    place: str
    notes: dict[str, bytes]
    suffix: str
    followed: str = ""


@contextmanager
def _opened(folder: Path, *names: str) -> Iterator[list[int]]:
    """Open a folder and sub-folders of it, made when they are missing. Raises OperatorFault `DOSSIER-OUVRIR`."""
    found: list[int] = []
    try:
        found.append(os.open(folder, _FOLDER))
        for name in names:
            with suppress(FileExistsError):
                os.mkdir(name, 0o770, dir_fd=found[0])
            found.append(os.open(name, _FOLDER, dir_fd=found[0]))
        yield found
    except OSError as fault:
        if fault.errno in _FULL:
            raise StorageFull("no room in the watched folder", rule="DOSSIER-PLEIN") from fault
        raise OperatorFault("watched folder cannot be used", detail=errno.errorcode.get(fault.errno or 0, "?"),
                            rule="DOSSIER-OUVRIR",
                            remedy=say("droits et place du dossier", "rights and room of the folder")) from fault
    finally:
        for one in found:
            os.close(one)


def listed(folder: Path) -> list[Seen]:
    """Give the pairs `name.(pdf|xml|zip)` and `name.json` of a folder, by name. Raises OperatorFault."""
    with _opened(folder) as (here,):
        names: dict[str, os.stat_result] = {}
        with os.scandir(here) as entries:
            for entry in entries:
                if len(names) >= MAX_FILES:
                    break
                if not entry.name.startswith(".") and _NAME.match(entry.name) and entry.is_file(follow_symlinks=False):
                    names[entry.name] = entry.stat(follow_symlinks=False)
    found = []
    for document in sorted(names):
        stem, extension = os.path.splitext(document)
        facts = names.get(stem + ".json")
        if extension.lower() in DOCUMENTS and facts is not None:
            stamp = tuple([value for one in (names[document], facts) for value in (one.st_size, one.st_mtime_ns, one.st_ino)])
            found.append(Seen(stem, document, stamp, stem + READY in names))
    return found


def read(folder: Path, name: str, most: int) -> bytes:
    """Give the octets of a file. Raises InputFault `DOSSIER-FICHIER` (a link, not a file), `DOSSIER-TAILLE`; OperatorFault."""
    with _opened(folder) as (here,):
        try:
            handle = os.open(name, _READ, dir_fd=here)
        except OSError as fault:
            if fault.errno == errno.ELOOP:
                raise _not_a_file() from fault
            raise
        with open(handle, "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
                raise _not_a_file()
            content = file.read(most + 1)
    if len(content) > most:
        raise InputFault(say("fichier trop grand", "file too large"), rule="DOSSIER-TAILLE", remedy=f"{most} octets")
    return content


def _not_a_file() -> InputFault:
    return InputFault(say("ce n'est pas un fichier ordinaire", "this is not a regular file"), rule="DOSSIER-FICHIER",
                      remedy=say("ni lien, ni tube, ni lien dur", "no link, no pipe, no hard link"))


def put_away(folder: Path, seen: Seen, putting: Putting) -> str:
    """Write notes into a sub-folder, then move a pair beside them; give its name there.

    Notes first: a crash between is repaired by the next round. Raises StorageFull, OperatorFault.
    """
    with _opened(folder, putting.place, FOLLOWED) as (here, there, followed):
        name = seen.name
        if _exists(there, seen.document) or _exists(there, f"{name}.json"):
            name = f"{name}-{putting.suffix}"
        if putting.followed:
            _write(followed, putting.followed, json.dumps({"name": name}).encode())
        for ending, content in putting.notes.items():
            _write(there, name + ending, content)
        extension = os.path.splitext(seen.document)[1]
        for source, target in ((seen.document, name + extension), (f"{seen.name}.json", f"{name}.json")):
            with suppress(FileNotFoundError):
                os.rename(source, target, src_dir_fd=here, dst_dir_fd=there)
        with suppress(FileNotFoundError):
            os.unlink(seen.name + READY, dir_fd=here)
        os.fsync(there)
        return name


def write_note(folder: Path, place: str, name: str, content: bytes) -> None:
    """Write a file of ours into a sub-folder. Raises StorageFull, OperatorFault."""
    with _opened(folder, place) as (_, there):
        _write(there, name, content)


def read_note(folder: Path, place: str, name: str) -> bytes | None:
    """Give a file of ours, None when it is not there. Raises OperatorFault."""
    with _opened(folder, place) as (_, there):
        try:
            handle = os.open(name, _READ, dir_fd=there)
        except OSError:
            return None
        with open(handle, "rb") as file:
            return file.read(MAX_FACTS)


def _exists(there: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=there, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _write(there: int, name: str, content: bytes) -> None:
    draft = f".{secrets.token_hex(8)}"
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=there)
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(draft, name, src_dir_fd=there, dst_dir_fd=there)
    except OSError:
        with suppress(OSError):
            os.unlink(draft, dir_fd=there)
        raise
