"""From a text to the FTS5 expression that finds exactly the messages which hold it as a substring.

- The index holds runs (`searchform.runs`): each distinct one is a row of `word`, and `place` keeps where the row ids stand. A
  single blank between words is not kept: it is what stands there when nothing else does.
- The runs of the text must follow one another there: those in the middle as they are, the first one as an end of a run, the last
  one as a beginning. `spelling`, a trigram index of the runs, expands these two.
- An edge that is a blank, or expands to too many runs, is left out of the expression; what is found is then compared with the
  kept texts. When nothing is left, all kept texts are compared.
Called by `textfile.py`.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from itertools import product

from mssante.protocol.imap.searchform import runs

START, END = "\x02", "\x03"  # around each run in `spelling`: no normal text holds them
MAX_CHOICES = 200  # runs or phrases of one expression: 10,000 messages take 25 ms with 500
MAX_RUNS = 64  # of a text that stand in the expression: the rest is compared
_TRIGRAM = 3
_BEGINNING = "SELECT id FROM word WHERE substr(text, 1, ?) = ? LIMIT ?"
_ENDING = "SELECT id FROM word WHERE substr(text, -?) = ? LIMIT ?"


@dataclass(frozen=True, slots=True)
class Plan:
    """How to find a text. expression: of FTS5, empty when there is none; verify: compare with the kept texts; nowhere: no run of
    the mailbox fits, so no message does."""

    expression: str = ""
    verify: bool = False
    nowhere: bool = False


NOWHERE = Plan(nowhere=True)
COMPARE_ALL = Plan(verify=True)


def plan(connection: sqlite3.Connection, text: str) -> Plan:
    """Give the plan for a normal text; `word` and `spelling` are asked, at most one statement a run."""
    parts = runs(text)
    if not parts:
        return COMPARE_ALL
    if len(parts) == 1:
        choices = None if text == " " else _containing(connection, text)
        return _of([choices], verify=False)
    if len(parts) > MAX_RUNS:
        parts = [*parts[:MAX_RUNS], " "]
    inner = [part for part in parts[1:-1] if part != " "]
    known = _exact(connection, inner)
    if len(known) < len(set(inner)):
        return NOWHERE
    first, last = parts[0], parts[-1]
    before = None if first == " " else _range(connection, first, suffix=True)
    after = None if last == " " else _range(connection, last, suffix=False)
    if before is not None and after is not None and len(before) * len(after) > MAX_CHOICES:
        before, after = (before, None) if len(before) <= len(after) else (None, after)
    return _of([before, *([known[part]] for part in inner), after], verify=before is None or after is None)


def _of(choices: list[list[int] | None], *, verify: bool) -> Plan:
    """Give the plan for choices of run ids at each place; None stands for a place that was left out."""
    kept = [choice for choice in choices if choice is not None]
    if not kept:
        return COMPARE_ALL
    if not all(kept):
        return NOWHERE
    phrases = ['"' + " ".join([f"{one:x}" for one in phrase]) + '"' for phrase in product(*kept)]
    return Plan(" OR ".join(phrases), verify)


def _exact(connection: sqlite3.Connection, parts: list[str]) -> dict[str, int]:
    """Give the ids of runs, by their text."""
    if not parts:
        return {}
    sql = "SELECT text, id FROM word WHERE text IN (SELECT value FROM json_each(?))"
    return dict(connection.execute(sql, (json.dumps(parts),)))


def _containing(connection: sqlite3.Connection, part: str) -> list[int] | None:
    """Give the runs that hold a text; None when they are too many."""
    if len(part) >= _TRIGRAM:
        return _spelled(connection, part)
    return _bounded(connection.execute("SELECT id FROM word WHERE instr(text, ?) LIMIT ?", (part, MAX_CHOICES + 1)).fetchall())


def _range(connection: sqlite3.Connection, part: str, *, suffix: bool) -> list[int] | None:
    """Give the runs that end or begin with a text; None when they are too many. Blank ends of separators count as such: the
    trigram of a short text is made with the mark of the end."""
    if len(part) + 1 < _TRIGRAM:
        sql = _ENDING if suffix else _BEGINNING
        return _bounded(connection.execute(sql, (len(part), part, MAX_CHOICES + 1)).fetchall())
    return _spelled(connection, part + END if suffix else START + part)


def _spelled(connection: sqlite3.Connection, text: str) -> list[int] | None:
    quoted = '"' + text.replace('"', '""') + '"'
    return _bounded(connection.execute("SELECT rowid FROM spelling WHERE spelling MATCH ? LIMIT ?",
                                       (quoted, MAX_CHOICES + 1)).fetchall())


def _bounded(rows: list[tuple[int]]) -> list[int] | None:
    return [row[0] for row in rows] if len(rows) <= MAX_CHOICES else None
