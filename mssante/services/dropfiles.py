"""Files of a watched folder: listing, reading, moving, receipts; blocking, called in an executor by `services.dropfolder`.

- Everything is done by descriptors of the folder and of its two sub-folders, opened without following links: a link put in their
  place, or in the place of a file, leads nowhere. Only regular files with one name are read, up to a size.
- A file is written under another name, synced, then renamed: a reader sees the old one or the new one. Never removes a file of
  others.
- Moving a pair is two renames. What is to be moved is noted first (`.suivi/*.move`), the request goes before the document, and
  `finish` ends at the next start what a crash cut: a request never stays alone to meet the next document of that name, which
  would go to the wrong recipients. A file that was replaced since it was read is not moved: it has not been sent.
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
MOVE = ".move"
OLD_SECONDS = 60.0  # a draft of ours that is older was left by a crash
_DRAFT = re.compile(r"\.[0-9a-f]{16}\Z")
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
            stamp = stamp_of(names[document]) + stamp_of(facts)
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

    Notes first: a crash between is repaired by the next round, or by `finish`. Raises StorageFull, OperatorFault.
    """
    with _opened(folder, putting.place, FOLLOWED) as (here, there, followed):
        name = seen.name
        if _exists(there, seen.document) or _exists(there, f"{name}.json") or _of_another(there, name, putting):
            name = f"{name}-{putting.suffix}"
        if putting.followed:
            _write(followed, putting.followed, json.dumps({"name": name}).encode())
        for ending, content in putting.notes.items():
            _write(there, name + ending, content)
        move = secrets.token_hex(8) + MOVE
        _write(followed, move, json.dumps({"place": putting.place, "document": seen.document, "name": name,
                                           "stamp": seen.stamp}).encode())
        _move(here, there, seen, name, checked=putting.place == SENT)
        os.fsync(there)
        os.unlink(move, dir_fd=followed)
        return name


def finish(folder: Path, now: float) -> int:
    """End the moves that a crash cut, remove drafts of ours that it left; give how many moves. now: seconds since 1970.

    Raises StorageFull, OperatorFault.
    """
    ended = 0
    with _opened(folder, FOLLOWED, SENT, REFUSED) as (here, followed, sent, refused):
        for note in [name for name in _names(followed) if name.endswith(MOVE)]:
            found = _move_of(followed, note)
            if found is not None:
                place, seen, name = found
                _move(here, sent if place == SENT else refused, seen, name, checked=True)
                ended += 1
            with suppress(FileNotFoundError):
                os.unlink(note, dir_fd=followed)
        for place_fd in (followed, sent, refused):
            for name in [one for one in _names(place_fd) if _DRAFT.match(one)]:
                with suppress(FileNotFoundError):
                    if os.stat(name, dir_fd=place_fd, follow_symlinks=False).st_mtime < now - OLD_SECONDS:
                        os.unlink(name, dir_fd=place_fd)
    return ended


def _names(place: int) -> list[str]:
    with os.scandir(place) as entries:
        return sorted([one.name for one in entries])


def _move(here: int, there: int, seen: Seen, name: str, *, checked: bool) -> None:
    """Rename a pair, the request first. checked: leave what is no longer the file that was seen."""
    extension = os.path.splitext(seen.document)[1]
    half = len(seen.stamp) // 2
    for source, target, stamp in ((f"{seen.name}.json", f"{name}.json", seen.stamp[half:]),
                                  (seen.document, name + extension, seen.stamp[:half])):
        if checked and _stamp(here, source) != stamp:
            continue
        with suppress(FileNotFoundError):
            os.rename(source, target, src_dir_fd=here, dst_dir_fd=there)
    if not _exists(here, f"{seen.name}.json"):
        with suppress(FileNotFoundError):
            os.unlink(seen.name + READY, dir_fd=here)


def _stamp(here: int, name: str) -> tuple[int, ...]:
    try:
        return stamp_of(os.stat(name, dir_fd=here, follow_symlinks=False))
    except FileNotFoundError:
        return ()


def stamp_of(facts: os.stat_result) -> tuple[int, ...]:
    """Give what changes when a file is written or replaced."""
    return facts.st_size, facts.st_mtime_ns, facts.st_ino


def _move_of(followed: int, note: str) -> tuple[str, Seen, str] | None:
    """Read a note of `put_away`; None when it is not one (the folder is shared with programs)."""
    try:
        value = json.loads(_content(followed, note))
        document, name, place = value["document"], value["name"], value["place"]
        stamp = tuple([int(one) for one in value["stamp"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if place not in (SENT, REFUSED) or len(stamp) != 6 or not all(
            isinstance(one, str) and 0 < len(one) <= 200 and not set(one) & {"/", "\0"} for one in (document, name)):
        return None
    return place, Seen(os.path.splitext(document)[0], document, stamp, False), name


def _of_another(there: int, name: str, putting: Putting) -> bool:
    """True when a receipt of another document has that name: its own files were replaced before they could be moved."""
    if not putting.followed:
        return False
    try:
        value = json.loads(_content(there, f"{name}.recu.json"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.get("id") != putting.followed


def _content(place: int, name: str) -> bytes:
    with open(os.open(name, _READ, dir_fd=place), "rb") as file:
        return file.read(MAX_FACTS)


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
