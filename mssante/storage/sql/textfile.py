"""The index of one mailbox: one SQLite file with FTS5, written in transactions, read beside.

- `doc` and `content`: which messages are in, and their normal texts; `word`: their distinct runs and in how many messages each
  one stands; `spelling`: trigrams of the runs; `place`: where the runs stand, as numbers (contentless FTS5).
- `doc`, `content` and `place` always agree: a message is put in or taken out in one transaction. A power cut loses the last ones
  (synchronous=NORMAL with WAL), never half of one: what is lost is put in again.
- The files are readable by the operator's user only, as the mail is; what is deleted is overwritten (secure_delete).
Called by `textindex.py`, which says from which threads.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mssante.protocol.imap.searchform import runs
from mssante.storage.search import IndexedText
from mssante.storage.sql.textplan import END, START, plan

VERSION = 1
BUSY_SECONDS = 5.0
_SCHEMA = (
    "CREATE TABLE head(id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, epoch INTEGER NOT NULL)",
    "CREATE TABLE doc(id INTEGER PRIMARY KEY)",
    "CREATE TABLE content(id INTEGER PRIMARY KEY, head TEXT NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE word(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, docs INTEGER NOT NULL)",
    "CREATE VIRTUAL TABLE spelling USING fts5(text, content='', columnsize=0, tokenize='trigram case_sensitive 1')",
    "CREATE VIRTUAL TABLE place USING fts5(head, body, content='', columnsize=0, tokenize='ascii')",
)
_WORDS = "SELECT text, id FROM word WHERE text IN (SELECT value FROM json_each(?))"
_KNOWN = "SELECT id FROM doc WHERE id IN (SELECT value FROM json_each(?))"
_CONTENT = "SELECT id, head, body FROM content WHERE id IN (SELECT value FROM json_each(?))"
_DELETES = ("DELETE FROM content WHERE id IN (SELECT value FROM json_each(?))",
            "DELETE FROM doc WHERE id IN (SELECT value FROM json_each(?))")
_MERGES = ("INSERT INTO spelling(spelling) VALUES ('optimize')", "INSERT INTO place(place) VALUES ('optimize')")
_DROPS = tuple(f"DROP TABLE IF EXISTS {name}" for name in ("head", "doc", "content", "word", "spelling", "place"))
# By whether headers count: texts compared with ?1, all of them or those of the list ?2, or what an expression ?2 found.
_COMPARE_ALL = {False: "SELECT id FROM content WHERE instr(body, ?1)",
                True: "SELECT id FROM content WHERE instr(body, ?1) OR instr(head, ?1)"}
_COMPARE_FEW = {
    False: "SELECT id FROM content WHERE id IN (SELECT value FROM json_each(?2)) AND instr(body, ?1)",
    True: "SELECT id FROM content WHERE id IN (SELECT value FROM json_each(?2)) AND (instr(body, ?1) OR instr(head, ?1))"}
_COMPARE_FOUND = {
    False: "SELECT c.id FROM place CROSS JOIN content c ON c.id = place.rowid WHERE place MATCH ?2 AND instr(c.body, ?1)",
    True: "SELECT c.id FROM place CROSS JOIN content c ON c.id = place.rowid WHERE place MATCH ?2"
          " AND (instr(c.body, ?1) OR instr(c.head, ?1))"}


class Outdated(Exception):
    """The file is of another version, or not an index: it must be made again."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a file that exists; transactions are begun by text. Raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False,
                                 timeout=BUSY_SECONDS)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA temp_store=MEMORY")  # no word of a mail in a temporary file
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA cache_size=-4096")
    except BaseException:
        connection.close()
        raise
    return connection


def check(connection: sqlite3.Connection) -> None:
    """Raise Outdated unless the file is an index of our version."""
    try:
        row = connection.execute("SELECT version FROM head").fetchone()
    except sqlite3.OperationalError as exc:
        raise Outdated from exc
    if row is None or row[0] != VERSION:
        raise Outdated


def create(path: Path) -> sqlite3.Connection:
    """Open a file, made when it is not there or empty. Raises sqlite3.Error, OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = connect(path)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        with Writing(connection):
            if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                _lay(connection, epoch=1)
        check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _lay(connection: sqlite3.Connection, epoch: int) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("INSERT INTO head VALUES (1, ?, ?)", (VERSION, epoch))


class Writing:
    """One transaction: committed at the end, rolled back on any error."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


# ---------------------------------------------------------------------------------------------- writing


def _tokens(text: str) -> list[str]:
    return [run for run in runs(text) if run != " "]


def _line(tokens: Iterable[str], ids: dict[str, int]) -> str:
    """Give tokens as `place` keeps them."""
    return " ".join([f"{ids[token]:x}" for token in tokens])


def add(connection: sqlite3.Connection, texts: Sequence[IndexedText]) -> int:
    """Put texts in, in one transaction; give how many were new. Raises sqlite3.Error."""
    with Writing(connection):
        held = known_of(connection, [text.id for text in texts])
        new = sorted({text.id: text for text in texts if text.id not in held}.values())
        if not new:
            return 0
        newest = connection.execute("SELECT max(id) FROM doc").fetchone()[0] or 0
        cut = [(text.id, _tokens(text.head), _tokens(text.body)) for text in new]
        counts: Counter[str] = Counter()
        for _, head, body in cut:
            counts.update({*head, *body})
        ids = _counted(connection, counts)
        connection.executemany("INSERT INTO doc VALUES (?)", [(text.id,) for text in new])
        connection.executemany("INSERT INTO content VALUES (?, ?, ?)", new)
        connection.executemany("INSERT INTO place(rowid, head, body) VALUES (?, ?, ?)",
                               [(one, _line(head, ids), _line(body, ids)) for one, head, body in cut])
        if new[0].id <= newest:  # readers know messages up to the newest one: they must look again
            connection.execute("UPDATE head SET epoch = epoch + 1")
        return len(new)


def _counted(connection: sqlite3.Connection, counts: Counter[str]) -> dict[str, int]:
    """Count words in more messages, those not known yet are made; give the ids of all."""
    ids = _ids(connection, counts)
    connection.executemany("UPDATE word SET docs = docs + ? WHERE id = ?", [(counts[word], one) for word, one in ids.items()])
    last = connection.execute("SELECT max(id) FROM word").fetchone()[0] or 0
    made = {word: last + number for number, word in enumerate((word for word in counts if word not in ids), 1)}
    connection.executemany("INSERT INTO word VALUES (?, ?, ?)", [(one, word, counts[word]) for word, one in made.items()])
    connection.executemany("INSERT INTO spelling(rowid, text) VALUES (?, ?)",
                           [(one, START + word + END) for word, one in made.items()])
    return ids | made


def _ids(connection: sqlite3.Connection, words: Iterable[str]) -> dict[str, int]:
    return dict(connection.execute(_WORDS, (json.dumps(list(words)),)))


def remove(connection: sqlite3.Connection, message_ids: Sequence[int]) -> int:
    """Take messages out, and the words that stand in no other; give how many were there. Raises sqlite3.Error."""
    given = json.dumps(list(message_ids))
    with Writing(connection):
        rows = connection.execute(_CONTENT, (given,)).fetchall()
        if not rows:
            return 0
        cut = [(one, _tokens(head), _tokens(body)) for one, head, body in rows]
        counts: Counter[str] = Counter()
        for _, head, body in cut:
            counts.update({*head, *body})
        ids = _ids(connection, counts)
        connection.executemany("INSERT INTO place(place, rowid, head, body) VALUES ('delete', ?, ?, ?)",
                               [(one, _line(head, ids), _line(body, ids)) for one, head, body in cut])
        connection.executemany("UPDATE word SET docs = docs - ? WHERE id = ?", [(counts[word], ids[word]) for word in counts])
        _forget_unused(connection)
        for statement in _DELETES:
            connection.execute(statement, (given,))
        connection.execute("UPDATE head SET epoch = epoch + 1")
        return len(rows)


def _forget_unused(connection: sqlite3.Connection) -> None:
    unused = connection.execute("SELECT id, text FROM word WHERE docs <= 0").fetchall()
    connection.executemany("INSERT INTO spelling(spelling, rowid, text) VALUES ('delete', ?, ?)",
                           [(one, START + text + END) for one, text in unused])
    connection.execute("DELETE FROM word WHERE docs <= 0")


def settle(connection: sqlite3.Connection) -> None:
    """Merge each FTS5 table into one segment: what was deleted leaves them (FTS5 §6.8). Then empty the log of the file."""
    for statement in _MERGES:
        with Writing(connection):
            connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def clear(connection: sqlite3.Connection) -> None:
    """Empty the file; readers find out by the epoch. Raises sqlite3.Error."""
    with Writing(connection):
        row = connection.execute("SELECT epoch FROM head").fetchone()
        for statement in _DROPS:
            connection.execute(statement)
        _lay(connection, epoch=(row[0] if row else 0) + 1)
    connection.execute("VACUUM")


# ---------------------------------------------------------------------------------------------- reading


def known_of(connection: sqlite3.Connection, message_ids: Sequence[int]) -> set[int]:
    """Give which of these messages are in."""
    return {row[0] for row in connection.execute(_KNOWN, (json.dumps(list(message_ids)),))}


def known_after(connection: sqlite3.Connection, newest: int) -> list[int]:
    """Give the messages above a row id, in order."""
    return [row[0] for row in connection.execute("SELECT id FROM doc WHERE id > ? ORDER BY id", (newest,))]


def find(connection: sqlite3.Connection, text: str, *, head: bool, among: Sequence[int] | None) -> list[int]:
    """Give the messages that hold a normal text. among: compare kept texts of these only, when texts must be compared.

    At most one statement for each run of the text and one more. Raises sqlite3.Error.
    """
    way = plan(connection, text)
    if way.nowhere:
        return []
    if not way.expression:
        if among is None:
            return _ids_of(connection.execute(_COMPARE_ALL[head], (text,)))
        return _ids_of(connection.execute(_COMPARE_FEW[head], (text, json.dumps(list(among)))))
    expression = way.expression if head else f"body : ({way.expression})"
    if way.verify:
        return _ids_of(connection.execute(_COMPARE_FOUND[head], (text, expression)))
    return _ids_of(connection.execute("SELECT rowid FROM place WHERE place MATCH ?", (expression,)))


def _ids_of(rows: sqlite3.Cursor) -> list[int]:
    return [row[0] for row in rows.fetchall()]
