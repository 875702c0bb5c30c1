"""Bodies above the inline limit as files, by content (SHA-256), for one machine.

- `commit` gives a key only when the file and the folders that name it are synced: a row may then name the key.
- A file is written under a temporary name in `staging/` of the same file system, then moved: a key never names half a body.
- The same content is stored once. A file found already there is touched and kept for PINNED_SECONDS against `delete`:
  a sweep decided before the new row is committed must not take the body away from under it.
- Below the reserve nothing more is staged (StorageFull): what is queued can still be reported.
- Called from worker threads (blocking); safe from several threads.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from mssante.errors import OperatorFault, StorageFull

FREE_SECONDS = 0.1  # how long an answer on the free room serves: it is asked at each MAIL
PINNED_SECONDS = 600.0  # longer than any transaction between `commit` of a blob and commit of its row
_KEY = re.compile(r"[0-9a-f]{64}\Z")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class FileBlobStore:
    """`mssante.storage.interfaces.BlobStore` on a folder."""

    def __init__(self, folder: Path, *, reserve_bytes: int = 0) -> None:
        self._folder = folder
        self._staging = folder / "staging"
        self._reserve = reserve_bytes
        self._lock = threading.Lock()
        self._pinned: dict[str, float] = {}
        self._fresh: set[Path] = set()  # folders made whose names may not be on disk yet
        self._free = (-1.0, 0)  # when it was asked, what was free
        self._staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sync_folder(folder.parent)
        _sync_folder(folder)

    def stage(self) -> FileBlobWriter:
        """Open a writer. Raises StorageFull below the reserve or on a full disk, OperatorFault on another failure."""
        if self._reserve and self.free_bytes() < self._reserve:
            raise _full("below the reserve")
        try:
            return FileBlobWriter(self, self._staging / f"{os.getpid()}-{os.urandom(8).hex()}")
        except OSError as exc:
            raise _fault(exc) from exc

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Give a range of a blob; shorter at its end. Raises OperatorFault `BLOB-MISSING`."""
        try:
            with self._path(key).open("rb") as file:
                file.seek(offset)
                return file.read() if length is None else file.read(length)
        except FileNotFoundError as exc:
            raise OperatorFault("a stored body is missing", detail=key[:16], rule="BLOB-MISSING",
                                remedy="restore the blob folder of the same time as the database") from exc
        except OSError as exc:
            raise _fault(exc) from exc

    def delete(self, keys: Sequence[str]) -> None:
        """Remove blobs; those already gone are no fault, those committed again meanwhile stay."""
        now = time.monotonic()
        for key in keys:
            with self._lock:
                if now - self._pinned.get(key, -PINNED_SECONDS) < PINNED_SECONDS:
                    continue
                self._pinned.pop(key, None)
                try:
                    self._path(key).unlink(missing_ok=True)
                except OSError as exc:
                    raise _fault(exc) from exc

    def free_bytes(self) -> int:
        """Room left for this user on the file system of the folder, a tenth of a second ago at most."""
        now = time.monotonic()
        at, free = self._free
        if not 0 <= at <= now < at + FREE_SECONDS:
            facts = os.statvfs(self._folder)
            free = facts.f_bavail * facts.f_frsize
            self._free = (now, free)
        return free

    def keys(self, *, older_than_seconds: float = 3600.0) -> Iterator[str]:
        """Give keys of files not touched since: with `messages.blobs_in_use`, what a sweep of files may delete."""
        limit = time.time() - older_than_seconds
        for first in sorted(self._folder.iterdir()):
            if len(first.name) != 2:
                continue
            for file in sorted(first.glob("*/*")):
                if _KEY.match(file.name) and file.stat().st_mtime < limit:
                    yield file.name

    def clear_staging(self, *, older_than_seconds: float = 86400.0) -> int:
        """Remove what dead processes left half written; give how many files."""
        limit = time.time() - older_than_seconds
        count = 0
        for file in self._staging.iterdir():
            if file.stat().st_mtime < limit:
                file.unlink(missing_ok=True)
                count += 1
        return count

    def _path(self, key: str) -> Path:
        if not _KEY.match(key):
            raise OperatorFault("a stored body is missing", detail="not a key", rule="BLOB-MISSING")
        return self._folder / key[:2] / key[2:4] / key

    def place(self, key: str, staged: Path) -> None:
        """Move a synced file under its key and sync the folders that name it; for `FileBlobWriter` only."""
        target = self._path(key)
        with self._lock:  # not held while the disk works: writers of other bodies go on
            if target.exists():
                os.utime(target)
                self._pin(key)
                staged.unlink(missing_ok=True)
            else:
                for folder in (target.parent.parent, target.parent):
                    if not folder.is_dir():
                        folder.mkdir(exist_ok=True, mode=0o700)
                        self._fresh.add(folder)
                os.replace(staged, target)
            fresh = self._fresh & {target.parent.parent, target.parent}
        # Also what was found there: the one who made it may not have come to these lines yet.
        for folder in (target.parent, *(folder.parent for folder in fresh)):
            _sync_folder(folder)
        if fresh:
            with self._lock:
                self._fresh -= fresh

    def _pin(self, key: str) -> None:
        now = time.monotonic()
        if len(self._pinned) > 1000:
            self._pinned = {known: at for known, at in self._pinned.items() if now - at < PINNED_SECONDS}
        self._pinned[key] = now


class FileBlobWriter:
    """`mssante.storage.interfaces.BlobWriter`: one body being written."""

    def __init__(self, store: FileBlobStore, path: Path) -> None:
        self._store = store
        self._path = path
        self._hash = sha256()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._key = ""

    def write(self, data: bytes) -> None:
        """Append octets. Raises StorageFull (and forgets what was written), OperatorFault after `commit` or `discard`."""
        if self._descriptor < 0:
            raise OperatorFault("storage failed", detail="blob writer is closed", rule="BLOB-CLOSED")
        self._hash.update(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view):]
        except OSError as exc:
            self.discard()
            raise _fault(exc) from exc

    def commit(self) -> str:
        """Sync file and folders, give the key (SHA-256 hex). Raises StorageFull; calling it again gives the same key."""
        if self._key:
            return self._key
        if self._descriptor < 0:
            raise OperatorFault("storage failed", detail="blob writer is closed", rule="BLOB-CLOSED")
        key = self._hash.hexdigest()
        try:
            os.fsync(self._descriptor)
            _let_go(self._descriptor)
            self._close()
            self._store.place(key, self._path)
        except OSError as exc:
            self.discard()
            raise _fault(exc) from exc
        self._key = key
        return key

    def take(self) -> bytes:
        """Give what was written and forget it. Raises OperatorFault, also after `commit` or `discard`."""
        if self._descriptor < 0:
            raise OperatorFault("storage failed", detail="blob writer is closed", rule="BLOB-CLOSED")
        try:
            return self._path.read_bytes()
        except OSError as exc:
            raise _fault(exc) from exc
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was written; safe to call twice, and after commit (which it does not undo)."""
        if self._key:
            return
        self._close()
        try:
            self._path.unlink(missing_ok=True)
        except OSError:
            pass  # `clear_staging` removes it later

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def _let_go(descriptor: int) -> None:
    """Tell the system that a body on disk need not stay in memory: it is read once, often hours later, and what is kept of it
    takes the place of the database's pages. New pages for each body cost more than the sync where memory is the host's to lend.
    """
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except (OSError, AttributeError):
        pass  # an advice: a file system, or a system, that takes none keeps the pages


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _full(detail: str) -> StorageFull:
    return StorageFull("no room left", detail=detail, rule="STORE-FULL", remedy="make room on the disk of the blob folder")


def _fault(exc: OSError) -> OperatorFault:
    if exc.errno in _FULL:
        return _full("blob folder")
    return OperatorFault("storage failed", detail=f"blob folder: errno {exc.errno}", rule="BLOB-IO",
                         remedy="check the disk and the rights on the blob folder")
