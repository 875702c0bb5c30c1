"""An open transaction, and statements prepared once: what every store function works with.

- `Statement` is written in SQLAlchemy Core, compiled once per engine to text with positional parameters, and then run on
  the driver's cursor: the cost of Core is paid once, the portability stays.
- `InsertRows` writes rows by multi-row INSERTs of 64, 32, … 1 rows: N rows are at most N/64 + 6 statements. Every step
  of the SQLite driver lets the interpreter lock go; measured for rows of 10 KB beside a busy thread, executemany costs
  1,096 µs a row at 20 rows and 906 at 100, one statement 272 and 60 (alone: 4.7 and 3.4 against 5.3 and 3.2).
- Few shapes on purpose: a cached statement of the driver keeps the bodies last bound to it, so 127 rows at most.
- `Head` holds the counters of `store_head` (ids, UIDVALIDITY, end of the journal chain). It is read once per
  transaction, inside it, so that two processes never share a number; it is written back once, before the commit.
- Never used outside `Database.read` and `Database.write`; services see it as an opaque value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlalchemy import Connection, Table, bindparam, select, update
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ClauseElement

from mssante.errors import OperatorFault
from mssante.storage.sql.tables import store_head

INSERT_SHAPES = (64, 32, 16, 8, 4, 2, 1)
KEPT_TEXTS = 256  # shapes of one statement kept as text
MAX_LIST = 8192  # values of one IN list; SQLite binds 32766, PostgreSQL 65535


class Cursor(Protocol):
    """The part of a DB-API cursor that we use."""

    @property
    def rowcount(self) -> int:
        """How many rows the last statement changed."""
        ...

    def execute(self, text: str, parameters: Sequence[Any] = ..., /) -> Any:
        """Run one statement."""
        ...

    def fetchall(self) -> Sequence[Any]:
        """Give all rows left."""
        ...


@dataclass(slots=True)
class Head:
    """Counters of the store; `journal_hash` is lower-case hex."""

    next_id: int
    next_uidvalidity: int
    journal_sequence: int
    journal_hash: str


class Statement:
    """A Core statement compiled once per engine. At most one parameter may be an IN list (`expanding=True`)."""

    __slots__ = ("_clause", "_compiled", "_texts")

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause
        self._compiled: dict[str, tuple[SQLCompiler, tuple[str, ...], dict[str, Any], str]] = {}
        self._texts: dict[tuple[str, int], str] = {}

    def render(self, dialect: Dialect, given: dict[str, Any]) -> tuple[str, list[Any]]:
        """Give the text for this engine and its positional parameters.

        A list is padded to a power of two with its last value, so that a few texts serve all sizes.
        """
        entry = self._compiled.get(dialect.name)
        if entry is None:
            entry = self._compile(dialect)
        compiled, order, defaults, expanding = entry
        if not expanding:
            text = compiled.string
            if defaults:
                return text, [given[name] if name in given else defaults[name] for name in order]
            return text, [given[name] for name in order]
        values = _padded(given[expanding])
        key = (dialect.name, len(values))
        text = self._texts.get(key, "")
        if not text:
            text = self._texts[key] = compiled.construct_expanded_state({**defaults, **given, expanding: values}).statement
        parameters: list[Any] = []
        for name in order:
            if name == expanding:
                parameters.extend(values)
            else:
                parameters.append(given[name] if name in given else defaults[name])
        return text, parameters

    def _compile(self, dialect: Dialect) -> tuple[SQLCompiler, tuple[str, ...], dict[str, Any], str]:
        compiled = self._clause.compile(dialect=dialect)
        if not isinstance(compiled, SQLCompiler):
            raise TypeError("not a statement")
        defaults = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        lists = [bind.key for bind in compiled.binds.values() if bind.expanding]
        entry = (compiled, tuple(compiled.positiontup or ()), defaults, lists[0] if lists else "")
        self._compiled[dialect.name] = entry
        return entry


def _padded(values: Sequence[Any]) -> list[Any]:
    """Give the values repeated at the end up to the next power of two; IN does not see the difference."""
    count = len(values)
    size = 1 << max(count - 1, 0).bit_length()
    return [*values, *([values[-1]] * (size - count))] if size != count else list(values)


class InsertRows:
    """A multi-row INSERT of fixed columns. `ignore` names conflict columns whose rows are skipped."""

    __slots__ = ("_head", "_tail", "_texts", "_width")

    def __init__(self, table: Table, columns: Sequence[str], *, ignore: str = "") -> None:
        names = [table.c[name].name for name in columns]  # a wrong name fails at import
        self._width = len(names)
        self._head = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES "  # noqa: S608 -- names of the table definition
        self._tail = f" ON CONFLICT ({ignore}) DO NOTHING" if ignore else ""
        self._texts: dict[tuple[str, int], str] = {}

    def run(self, tx: Transaction, flat: list[Any]) -> None:
        """Insert rows given as one flat list of values, row after row."""
        width = self._width
        rows = len(flat) // width
        start = 0
        for shape in INSERT_SHAPES:
            while rows >= shape:
                end = start + shape * width
                tx.run_text(self._text(tx.mark, shape), flat[start:end] if start or end < len(flat) else flat)
                start = end
                rows -= shape

    def _text(self, mark: str, rows: int) -> str:
        text = self._texts.get((mark, rows))
        if text is None:
            row = f"({', '.join([mark] * self._width)})"
            text = self._texts[mark, rows] = self._head + ", ".join([row] * rows) + self._tail
        return text


class ValuesStatement:
    """A statement of this package that joins bound rows: `{rows}` in its text becomes `(?, …), (?, …)`.

    VALUES names its columns column1, column2… on SQLite and PostgreSQL alike. The text is built from the names of the
    table definitions; whatever is read from outside is bound, never written into it.
    """

    __slots__ = ("_template", "_texts", "_width")

    def __init__(self, template: str, width: int) -> None:
        self._template = template
        self._width = width
        self._texts: dict[tuple[str, int], str] = {}

    def run(self, tx: Transaction, flat: list[Any], *, before: Sequence[Any] = (), after: Sequence[Any] = ()) -> list[Any]:
        """Run with rows given as one flat list, in parts of MAX_LIST values; `before` and `after` are the marks around
        the rows. Gives the returned rows of all parts."""
        most = MAX_LIST // self._width * self._width
        found: list[Any] = []
        for start in range(0, len(flat), most):
            part = flat[start:start + most]
            text = self._text(tx.mark, len(part) // self._width)
            found.extend(tx.run_text(text, [*before, *part, *after]).fetchall())
        return found

    def execute(self, tx: Transaction, flat: list[Any]) -> None:
        """Run a statement that gives no rows, in parts of MAX_LIST values."""
        most = MAX_LIST // self._width * self._width
        for start in range(0, len(flat), most):
            part = flat[start:start + most]
            tx.run_text(self._text(tx.mark, len(part) // self._width), part)

    def _text(self, mark: str, rows: int) -> str:
        text = self._texts.get((mark, rows))
        if text is None:
            row = f"({', '.join([mark] * self._width)})"
            text = self._template.format(rows=", ".join([row] * rows), mark=mark)
            if len(self._texts) < KEPT_TEXTS:
                self._texts[mark, rows] = text
        return text


_HEAD = Statement(select(
    store_head.c.next_id, store_head.c.next_uidvalidity, store_head.c.journal_sequence, store_head.c.journal_hash,
).where(store_head.c.id == 1).with_for_update())
_SAVE_HEAD = Statement(update(store_head).where(store_head.c.id == 1).values(
    next_id=bindparam("p_id"), next_uidvalidity=bindparam("p_uidvalidity"),
    journal_sequence=bindparam("p_sequence"), journal_hash=bindparam("p_hash")))


class Transaction:
    """One transaction on one database thread. `mark` is the parameter mark of the driver."""

    __slots__ = ("_driver", "_head", "_stored", "connection", "dialect", "mark")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.dialect = connection.dialect
        self.mark = "?" if self.dialect.paramstyle == "qmark" else "%s"
        self._head: Head | None = None
        self._stored: Head | None = None
        self._driver: Cursor = connection.connection.cursor()

    def run_text(self, text: str, parameters: Sequence[Any] = ()) -> Cursor:
        """Run a text built by this package; give the cursor."""
        cursor = self._driver
        cursor.execute(text, parameters)
        return cursor

    def rows(self, statement: Statement, **given: Any) -> list[Any]:
        """Run a statement and give all its rows as tuples."""
        text, parameters = statement.render(self.dialect, given)
        cursor = self._driver
        cursor.execute(text, parameters)
        return list(cursor.fetchall())

    def rows_of(self, statement: Statement, name: str, values: Sequence[Any], **given: Any) -> list[Any]:
        """Run a statement with an IN list, in parts of MAX_LIST values; give all rows."""
        found: list[Any] = []
        for start in range(0, len(values), MAX_LIST):
            found.extend(self.rows(statement, **given, **{name: values[start:start + MAX_LIST]}))
        return found

    def one(self, statement: Statement, **given: Any) -> Any:
        """Run a statement that gives at most one row; give it or None."""
        found = self.rows(statement, **given)
        return found[0] if found else None

    def change(self, statement: Statement, **given: Any) -> int:
        """Run a statement that gives no row; give how many rows it changed."""
        text, parameters = statement.render(self.dialect, given)
        cursor = self._driver
        cursor.execute(text, parameters)
        return cursor.rowcount

    def change_of(self, statement: Statement, name: str, values: Sequence[Any], **given: Any) -> int:
        """Run a changing statement with an IN list, in parts of MAX_LIST values; give how many rows it changed."""
        changed = 0
        for start in range(0, len(values), MAX_LIST):
            changed += self.change(statement, **given, **{name: values[start:start + MAX_LIST]})
        return changed

    # ------------------------------------------------------------ counters

    @property
    def head(self) -> Head:
        """The counters, read once per transaction; change them in place."""
        if self._head is None:
            row = self.one(_HEAD)
            if row is None:
                raise OperatorFault("storage is not ready", detail="store_head has no row", rule="STORE-HEAD")
            self._head = Head(*row)
            self._stored = replace(self._head)
        return self._head

    def take_ids(self, count: int) -> int:
        """Reserve `count` ids; give the first."""
        head = self.head
        first = head.next_id
        head.next_id = first + count
        return first

    def remember(self) -> Head | None:
        """Give a copy of the counters as they are, for `restore`."""
        return None if self._head is None else replace(self._head)

    def restore(self, head: Head | None) -> None:
        """Take the counters back to a copy (after a rollback to a savepoint); None reads them again when needed."""
        self._head = head

    def forget(self) -> None:
        """Forget the counters: the transaction has ended."""
        self._head = None
        self._stored = None

    def flush(self) -> None:
        """Write the counters back when they moved; called before the commit."""
        head = self._head
        if head is not None and head != self._stored:
            self.change(_SAVE_HEAD, p_id=head.next_id, p_uidvalidity=head.next_uidvalidity,
                        p_sequence=head.journal_sequence, p_hash=head.journal_hash)
