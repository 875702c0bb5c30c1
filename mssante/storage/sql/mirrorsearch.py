"""Type-ahead search in the mirror: bounded however frequent the words are.

- Rows are numbered in the order of names, so that the first rows of a question that half the directory answers are a fair
  choice. At most 150 rows are taken for each of four questions, the narrowest first: names in the asker's department, anything
  there, names anywhere, anything anywhere; then they are ranked here.
- A beginning of up to four characters is answered by a prefix index; a longer one by the words that it begins, when they are
  frequent, so that no long list is merged.
- Rank: past exchanges, the asker's department, the name itself, a name that begins so, the order of names.
Called by `storage.sql.mirror`, inside one read transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from mssante.directory.extraction import entry_of
from mssante.directory.values import DirectoryEntry, DirectoryQuery
from mssante.directory.words import FAMILY, GIVEN, asked, cut, entry_words, tag

CANDIDATES = 150
MAX_EXCHANGES = 300
MAX_LIMIT = 200
_INDEXED = 4  # characters of the longest prefix index
_MERGED = 20_000  # rows that merging a prefix may cost
_TERMS = 24
_LAST = "\U0010ffff"
_FOUND = "SELECT rowid FROM find WHERE find MATCH ? LIMIT ?"
_ROWS = "SELECT id, packed FROM entry WHERE id IN (SELECT value FROM json_each(?))"
_BY_HOLDER = {"holder": "SELECT id, packed FROM entry WHERE holder = ? AND holder <> '' LIMIT 1000",
              "structure": "SELECT id, packed FROM entry WHERE structure = ? AND structure <> '' LIMIT 1000"}
_BY_ADDRESSES = "SELECT id, packed FROM entry WHERE address IN (SELECT value FROM json_each(?))"
_BEGINNING = "SELECT id FROM entry WHERE address >= ? AND address < ? ORDER BY address LIMIT ?"
_WORDS = "SELECT term, docs FROM word WHERE term >= ? AND term < ? ORDER BY docs DESC LIMIT 400"
_HELD = "SELECT 1 FROM word WHERE term = ?"


def quoted(term: str) -> str:
    """Give a term as FTS5 takes it (§3.1): folded words and marks hold no quote."""
    return f'"{term}"'


def beginning(connection: sqlite3.Connection, start: str) -> str:
    """Give the expression for every word that begins so; empty when there is none."""
    if len(start) <= _INDEXED:
        return f"{quoted(start)}*"
    rows = connection.execute(_WORDS, (start, start + _LAST)).fetchall()
    if not rows:
        return ""
    if len(rows) > _TERMS and sum(docs for _, docs in rows) <= _MERGED:
        return f"{quoted(start)}*"
    return "(" + " OR ".join(quoted(term) for term, _ in rows[:_TERMS]) + ")"


def _either(parts: Iterable[str]) -> str:
    given = [part for part in parts if part]
    return f"({' OR '.join(given)})" if given else ""


def _both(parts: Sequence[str]) -> str:
    """Give all of them together; empty when one cannot be found."""
    return " AND ".join(parts) if parts and all(parts) else ""


class Question:
    """One search on one connection."""

    def __init__(self, connection: sqlite3.Connection, query: DirectoryQuery) -> None:
        self._db = connection
        self._query = query
        self.words, self._open = asked(query.text)
        self._filters = self._marks()

    def _marks(self) -> list[str]:
        query = self._query
        marks = []
        if query.type:
            marks.append(quoted(tag("t", query.type)))
        if query.department:
            marks.append(quoted(tag("d", query.department)))
        if query.postcode:
            marks.append(beginning(self._db, tag("z", query.postcode)))
        for kind, text in (("p", query.profession), ("s", query.specialty)):
            words = cut(text[:200])
            if len(words) == 1 and any(char.isdigit() for char in words[0]):
                marks.append(quoted(tag(kind, text)))
            else:
                marks += [beginning(self._db, word) for word in words[:8]]
        return marks

    def _anywhere(self) -> list[str]:
        """Each word in any field; the last may be unfinished, and one that nobody bears is taken for a beginning."""
        parts = []
        for at, word in enumerate(self.words):
            unfinished = (at == len(self.words) - 1 and self._open) or not self._db.execute(_HELD, (word,)).fetchone()
            parts.append(beginning(self._db, word) if unfinished else quoted(word))
        return parts

    def _names(self) -> list[str]:
        if len(self.words) == 1:
            return [beginning(self._db, FAMILY + self.words[0])]
        return [_either(beginning(self._db, mark + word) if at == len(self.words) - 1 and self._open else quoted(mark + word)
                        for mark in (FAMILY, GIVEN)) for at, word in enumerate(self.words)]

    def expressions(self) -> list[str]:
        """Give the questions for FTS5, the narrowest first."""
        near = self._query.near_department
        shapes: list[list[str]] = [self._anywhere()] if self.words else [[]]
        if self.words and self._query.type not in ("ORG", "APP"):
            shapes.insert(0, self._names())
        wheres = [[quoted(tag("d", near))], []] if near and not self._query.department else [[]]
        found = (_both([*shape, *self._filters, *where]) for where in wheres for shape in shapes)
        return [one for one in found if one]

    def candidates(self) -> dict[int, DirectoryEntry]:
        """Give a bounded choice of rows."""
        query = self._query
        if query.holder_id or query.structure_id:
            return self._held_by()
        ids: dict[int, None] = {}
        start = query.text.strip().lower()[:254]
        if "@" in start and " " not in start:
            ids.update(dict.fromkeys(row[0] for row in self._db.execute(_BEGINNING, (start, start + _LAST, CANDIDATES))))
        for expression in self.expressions() if not ids else ():
            ids.update(dict.fromkeys(row[0] for row in self._db.execute(_FOUND, (expression, CANDIDATES))))
            if len(ids) >= max(CANDIDATES, query.limit):
                break
        found = {one: entry_of(packed) for one, packed in self._db.execute(_ROWS, (json.dumps(list(ids)),))}
        return {one: entry for one, entry in found.items() if self.fits(entry)} if "@" in start else found

    def _held_by(self) -> dict[int, DirectoryEntry]:
        column, value = ("holder", self._query.holder_id) if self._query.holder_id else ("structure", self._query.structure_id)
        rows = self._db.execute(_BY_HOLDER[column], (value,))
        found = {one: entry_of(packed) for one, packed in rows}
        return {one: entry for one, entry in found.items() if self.fits(entry)}

    def exchanged(self, addresses: Iterable[str]) -> dict[int, DirectoryEntry]:
        """Give the rows of addresses that the question fits."""
        rows = self._db.execute(_BY_ADDRESSES, (json.dumps(list(addresses)),))
        found = {one: entry_of(packed) for one, packed in rows}
        return {one: entry for one, entry in found.items() if self.fits(entry)}

    def fits(self, entry: DirectoryEntry) -> bool:
        """Tell if an entry answers the question, as the index would."""
        query = self._query
        if ((query.type and entry.type != query.type) or (query.department and entry.department != query.department)
                or (query.holder_id and entry.holder_id != query.holder_id) or not entry.postcode.startswith(query.postcode)
                or (query.structure_id and entry.structure_id != query.structure_id)):
            return False
        if "@" in query.text:
            return entry.address.startswith(query.text.strip().lower())
        return self._says(entry)

    def _says(self, entry: DirectoryEntry) -> bool:
        held = entry_words(entry)
        for text, code in ((self._query.profession, entry.profession_code), (self._query.specialty, entry.specialty_code)):
            if text and text.casefold() != code.casefold() and not all(
                    any(one.startswith(word) for one in held) for word in cut(text)):
                return False
        return all(any(one.startswith(word) for one in held) for word in self.words)


def search(connection: sqlite3.Connection, query: DirectoryQuery, exchanges: Mapping[str, float]) -> list[DirectoryEntry]:
    """Give entries, best first, at most `query.limit`."""
    question = Question(connection, query)
    found = question.candidates()
    if exchanges:
        known = sorted(exchanges, key=lambda one: -exchanges[one])[:MAX_EXCHANGES]
        found |= question.exchanged(known)
    words = question.words

    def rank(item: tuple[int, DirectoryEntry]) -> tuple[object, ...]:
        number, entry = item
        family = cut(entry.family_name or entry.trade_name or entry.structure_name)
        name = " ".join(family)
        given = " ".join(cut(entry.given_name))
        whole = bool(words) and (name in words or (bool(family) and family[0] in words))
        starts = bool(words) and any(name.startswith(word) for word in words)
        near = bool(query.near_department) and entry.department == query.near_department
        return (-exchanges.get(entry.address, 0.0), not near, not whole, not starts,
                not any(given.startswith(word) for word in words if given), number)

    ordered = sorted(found.items(), key=rank)
    return [entry for _, entry in ordered[:min(max(query.limit, 1), MAX_LIMIT)]]
