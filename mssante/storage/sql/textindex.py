"""The full-text index on SQLite FTS5: one file a mailbox in a folder of its own, and `state.db` for how far it has come.

- A folder beside the mail, mode 0700. Deleting it loses nothing: it is made again, and until then messages are read.
- A mailbox has its own file so that a search costs what its mailbox holds, whatever the others do, and a mailbox that goes
  takes its texts with it.
- Searches read on a few kept connections, each used by one thread at a time; a writer (another process most of the time) never
  stops them. A kept connection knows which messages are in its file, and asks only what changed since (`PRAGMA data_version`).
- A file that is damaged or of another version has nothing for a search; the writer makes it again.
Implements `storage.search.TextIndex`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from mssante.errors import OperatorFault
from mssante.storage.search import IndexedText, TextMatches, TextQuery
from mssante.storage.sql import textfile

KEPT_READERS = 32
KEPT_WRITERS = 16
_FEW = 4  # texts are compared one by one for fewer than a quarter of the messages
_STATE = ("CREATE TABLE IF NOT EXISTS mark(id INTEGER PRIMARY KEY CHECK (id = 1), message_id INTEGER NOT NULL)",
          "CREATE TABLE IF NOT EXISTS settled(mailbox_id INTEGER PRIMARY KEY, signature TEXT NOT NULL)",
          "INSERT OR IGNORE INTO mark VALUES (1, 0)")

T = TypeVar("T")


class _Reader:
    """One open file, and what is known of it."""

    __slots__ = ("connection", "epoch", "inode", "known", "lock", "newest", "version")

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.inode = os.stat(path).st_ino
        self.connection = textfile.connect(path)
        self.known: set[int] = set()
        self.newest = self.epoch = self.version = 0
        try:
            textfile.check(self.connection)
        except BaseException:
            self.connection.close()
            raise

    def refresh(self) -> None:
        """Learn which messages are in, inside the transaction of the search."""
        version = self.connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self.version:
            return
        epoch = self.connection.execute("SELECT epoch FROM head").fetchone()[0]
        if epoch != self.epoch:
            self.known, self.newest = set(), 0
        more = textfile.known_after(self.connection, self.newest)
        self.known.update(more)
        self.newest = more[-1] if more else self.newest
        self.epoch, self.version = epoch, version

    def find(self, query: TextQuery, among: Sequence[int]) -> TextMatches:
        """Search in one snapshot: what is known to be in was searched."""
        self.connection.execute("BEGIN")
        try:
            self.connection.execute("SELECT 1 FROM head").fetchone()  # the snapshot begins here
            self.refresh()
            missing = set(among).difference(self.known)
            few = among if len(among) * _FEW < len(self.known) else None
            return TextMatches(set(textfile.find(self.connection, query.text, head=query.head, among=few)), missing)
        finally:
            self.connection.execute("ROLLBACK")


class SqliteTextIndex:
    """`mssante.storage.search.TextIndex` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._readers: OrderedDict[int, _Reader] = OrderedDict()
        self._writing = threading.Lock()
        self._writers: OrderedDict[int, sqlite3.Connection] = OrderedDict()

    def _path(self, mailbox_id: int) -> Path:
        return self._folder / f"{mailbox_id}.db"

    # ------------------------------------------------------------ searches

    def find(self, query: TextQuery, among: Sequence[int]) -> TextMatches:
        """Look for a text; an index that cannot be read has nothing of the messages."""
        try:
            reader = self._reader(query.mailbox_id)
            with reader.lock:
                return reader.find(query, among)
        except (sqlite3.Error, OSError, textfile.Outdated):
            self._forget(query.mailbox_id)
            return TextMatches((), among)

    def known(self, mailbox_id: int) -> set[int]:
        """Give the messages of a mailbox that are in the index."""
        try:
            connection = textfile.connect(self._path(mailbox_id))
            try:
                textfile.check(connection)
                return set(textfile.known_after(connection, 0))
            finally:
                connection.close()
        except (sqlite3.Error, OSError, textfile.Outdated):
            return set()

    def _reader(self, mailbox_id: int) -> _Reader:
        """Give the reader of a mailbox, opened again when its file is another one now."""
        path = self._path(mailbox_id)
        inode = os.stat(path).st_ino
        with self._lock:
            kept = self._readers.get(mailbox_id)
            if kept is not None and kept.inode == inode:
                self._readers.move_to_end(mailbox_id)
                return kept
        fresh = _Reader(path)
        with self._lock:
            replaced = self._readers.pop(mailbox_id, None)
            self._readers[mailbox_id] = fresh
            oldest = self._readers.popitem(last=False)[1] if len(self._readers) > KEPT_READERS else None
        for reader in (replaced, oldest):
            if reader is not None:
                _close_reader(reader)
        return fresh

    def _forget(self, mailbox_id: int) -> None:
        with self._lock:
            reader = self._readers.pop(mailbox_id, None)
        if reader is not None:
            _close_reader(reader)

    # ------------------------------------------------------------ writing

    def add(self, mailbox_id: int, texts: Sequence[IndexedText]) -> int:
        """Put texts in; give how many were new. Raises OperatorFault `INDEX-WRITE`."""
        return self._write(mailbox_id, lambda connection: textfile.add(connection, texts))

    def remove(self, mailbox_id: int, message_ids: Sequence[int]) -> int:
        """Take messages out; give how many were there. Raises OperatorFault `INDEX-WRITE`."""
        if not message_ids or not self._path(mailbox_id).exists():
            return 0
        return self._write(mailbox_id, lambda connection: textfile.remove(connection, message_ids))

    def settle(self, mailbox_id: int) -> None:
        """Merge what was written, and take off the disk what was removed. Raises OperatorFault `INDEX-WRITE`."""
        if self._path(mailbox_id).exists():
            self._write(mailbox_id, textfile.settle)

    def clear(self, mailbox_id: int) -> None:
        """Empty the index of a mailbox; a file that cannot be read is made again. Raises OperatorFault `INDEX-WRITE`."""
        if self._path(mailbox_id).exists():
            self._write(mailbox_id, textfile.clear)
        self._state(lambda state: state.execute("DELETE FROM settled WHERE mailbox_id = ?", (mailbox_id,)))

    def _write(self, mailbox_id: int, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._writing:
            try:
                return work(self._writer(mailbox_id))
            except (sqlite3.Error, OSError) as exc:
                self._drop_writer(mailbox_id)
                if isinstance(exc, sqlite3.OperationalError):  # busy, disk full: the file is sound
                    raise _fault(exc) from exc
                if isinstance(exc, sqlite3.DatabaseError):  # damaged: it is made again from the mail
                    self._unlink(mailbox_id)
                raise _fault(exc) from exc

    def _writer(self, mailbox_id: int) -> sqlite3.Connection:
        kept = self._writers.get(mailbox_id)
        if kept is not None and self._path(mailbox_id).exists():
            self._writers.move_to_end(mailbox_id)
            return kept
        self._drop_writer(mailbox_id)
        try:
            made = textfile.create(self._path(mailbox_id))
        except textfile.Outdated:
            self._unlink(mailbox_id)
            made = textfile.create(self._path(mailbox_id))
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._unlink(mailbox_id)
            made = textfile.create(self._path(mailbox_id))
        self._writers[mailbox_id] = made
        if len(self._writers) > KEPT_WRITERS:
            self._writers.popitem(last=False)[1].close()
        return made

    def _drop_writer(self, mailbox_id: int) -> None:
        kept = self._writers.pop(mailbox_id, None)
        if kept is not None:
            with suppress(sqlite3.Error):
                kept.close()

    def _unlink(self, mailbox_id: int) -> None:
        """Delete the file of a mailbox, and that it was ever compared with the mail."""
        for ending in ("", "-wal", "-shm"):
            self._path(mailbox_id).with_name(f"{mailbox_id}.db{ending}").unlink(missing_ok=True)
        self._state(lambda state: state.execute("DELETE FROM settled WHERE mailbox_id = ?", (mailbox_id,)))

    def drop_others(self, mailbox_ids: Collection[int]) -> int:
        """Delete the indexes of mailboxes that are gone; give how many."""
        held = {int(path.stem) for path in self._folder.glob("[0-9]*.db") if path.stem.isdigit()}
        gone = held.difference(mailbox_ids)
        with self._writing:
            for mailbox_id in gone:
                self._drop_writer(mailbox_id)
                self._unlink(mailbox_id)
        return len(gone)

    # ------------------------------------------------------------ how far it has come

    def mark(self) -> int:
        """Give the row id up to which messages were put in as they came; 0 when that is not known."""
        try:
            return int(self._state(lambda state: state.execute("SELECT message_id FROM mark").fetchone()[0]))
        except OperatorFault:
            return 0

    def set_mark(self, message_id: int) -> None:
        """Keep the mark. Raises OperatorFault `INDEX-WRITE`."""
        self._state(lambda state: state.execute("UPDATE mark SET message_id = max(message_id, ?)", (message_id,)))

    def settled(self) -> dict[int, str]:
        """Give signatures by mailbox; a mailbox without a file is absent."""
        rows = self._state(lambda state: state.execute("SELECT mailbox_id, signature FROM settled").fetchall())
        return {mailbox_id: signature for mailbox_id, signature in rows if self._path(mailbox_id).exists()}

    def set_settled(self, mailbox_id: int, signature: str) -> None:
        """Keep the signature of a mailbox. Raises OperatorFault `INDEX-WRITE`."""
        self._state(lambda state: state.execute("INSERT OR REPLACE INTO settled VALUES (?, ?)", (mailbox_id, signature)))

    def _state(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one statement on `state.db`, opened for it: it is asked once a second at most."""
        path = self._folder / "state.db"
        try:
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = textfile.connect(path)
            try:
                if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'settled'").fetchone():
                    for statement in _STATE:
                        connection.execute(statement)
                return work(connection)
            finally:
                connection.close()
        except sqlite3.OperationalError as exc:
            raise _fault(exc) from exc
        except sqlite3.DatabaseError as exc:
            path.unlink(missing_ok=True)  # all is compared again
            raise _fault(exc) from exc
        except OSError as exc:
            raise _fault(exc) from exc

    # ------------------------------------------------------------ upkeep

    def octets(self, mailbox_id: int) -> int:
        """Give what the index of a mailbox takes on disk."""
        path = self._path(mailbox_id)
        return sum(one.stat().st_size for one in (path, path.with_name(path.name + "-wal")) if one.exists())

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            readers = list(self._readers.values())
            self._readers.clear()
        for reader in readers:
            _close_reader(reader)
        with self._writing:
            for mailbox_id in list(self._writers):
                self._drop_writer(mailbox_id)


def _close_reader(reader: _Reader) -> None:
    with reader.lock, suppress(sqlite3.Error):
        reader.connection.close()


def _fault(exc: Exception) -> OperatorFault:
    # The text of a driver error may quote values: only its class is told.
    return OperatorFault("the text index cannot be written", detail=type(exc).__name__, rule="INDEX-WRITE",
                         remedy="check the disk and the folder of [search], then: mssante search rebuild --all")
