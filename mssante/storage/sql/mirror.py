"""The mirror of the national directory (`mssante.storage.mirror.Mirror`) over its SQLite file.

- Questions run on a few read connections, each in one transaction: a state is seen whole. Without a file every question is
  answered as by an empty directory with no age (`as_of` None), which is not absence.
- Near addresses: every address one slip away in the same domain or in one much like it, names the other way round, and those that
  share a name with it; at most 5, none farther than three slips.
Called by `services.directory` and `services.directory_keeper` in the executor, and by `mssante directory`.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from mssante.directory.closeness import closest_domains, distance, swapped, variants
from mssante.directory.extraction import entry_of
from mssante.directory.values import DirectoryEntry, DirectoryQuery
from mssante.directory.words import FAMILY, cut, domain_tag
from mssante.storage.mirror import Adoption, DirectoryChange, ImportRequest, Located, MirrorPolicy, MirrorState
from mssante.storage.sql import mirrorimport, mirrorsearch
from mssante.storage.sql.mirrorfile import open_for_reading, storage_fault
from mssante.storage.sql.mirrorsearch import beginning, quoted
from mssante.storage.sql.values import instant, micros

READERS = 4
_KNOWN = "SELECT DISTINCT address FROM entry WHERE address IN (SELECT value FROM json_each(?)) LIMIT 200"
_BY_WORDS = ("SELECT DISTINCT address FROM entry WHERE id IN (SELECT rowid FROM find WHERE find MATCH ? LIMIT 300)")
_DOMAINS = "SELECT substr(term, 3) FROM word WHERE term >= 'µa' AND term < 'µb'"


class SqliteMirror:
    """One mirror, for any thread."""

    def __init__(self, folder: Path, policy: MirrorPolicy | None = None) -> None:
        """folder: of `mirror.db`, made by the first import."""
        self._path = folder / "mirror.db"
        self._policy = policy or MirrorPolicy()
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue(READERS)
        self._domains: tuple[int, tuple[str, ...]] = (0, ())

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        try:
            try:
                connection: sqlite3.Connection | None = self._idle.get_nowait()
            except queue.Empty:
                connection = open_for_reading(self._path)
            if connection is None:
                yield None
                return
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
            try:
                self._idle.put_nowait(connection)
            except queue.Full:
                connection.close()
        except (sqlite3.Error, OSError) as exc:
            raise storage_fault(exc) from exc

    def close(self) -> None:
        """Close idle connections."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def adopt(self, request: ImportRequest) -> Adoption | None:
        """Take a file in as a whole; None when it is the one in force."""
        try:
            return mirrorimport.adopt(self._path, request, self._policy)
        except (sqlite3.Error, OSError) as exc:
            raise storage_fault(exc) from exc

    def state(self) -> MirrorState:
        """Tell what is in force."""
        with self._reading() as connection:
            if connection is None:
                return MirrorState(None, 0, 0, 0, 0)
            entries, addresses = connection.execute("SELECT count(*), count(DISTINCT address) FROM entry").fetchone()
            departed, = connection.execute("SELECT count(*) FROM departed").fetchone()
            files = (self._path, self._path.with_name("mirror.db-wal"))
            octets = sum(one.stat().st_size for one in files if one.exists())
            return MirrorState(mirrorimport.latest(connection), entries, addresses, departed, octets)

    def latest(self) -> Adoption | None:
        """Give the file in force (cheaper than `state`)."""
        with self._reading() as connection:
            return mirrorimport.latest(connection) if connection is not None else None

    def find(self, address: str) -> Located:
        """Look one address up (any case)."""
        key = address.lower()
        with self._reading() as connection:
            if connection is None:
                return Located((), (), None, None)
            newest = connection.execute("SELECT stamp FROM adoption ORDER BY id DESC LIMIT 1").fetchone()
            rows = connection.execute("SELECT e.packed, a.stamp FROM entry e LEFT JOIN adoption a ON a.id = e.adoption"
                                      " WHERE e.address = ? ORDER BY e.id LIMIT 100", (key,)).fetchall()
            left = None
            if not rows:
                left = connection.execute("SELECT stamp FROM departed WHERE address = ?", (key,)).fetchone()
        return Located(tuple(entry_of(packed) for packed, _ in rows), tuple(instant(stamp or 0) for _, stamp in rows),
                       instant(left[0]) if left else None, instant(newest[0]) if newest else None)

    def search(self, query: DirectoryQuery, *, exchanges: Mapping[str, float] | None = None) -> list[DirectoryEntry]:
        """Give entries, best first."""
        with self._reading() as connection:
            return mirrorsearch.search(connection, query, exchanges or {}) if connection is not None else []

    def changes(self, since: datetime | None, *, limit: int = 1000) -> Sequence[DirectoryChange]:
        """Give changes of files stamped after an instant, the latest first."""
        with self._reading() as connection:
            if connection is None:
                return ()
            rows = connection.execute("SELECT stamp, kind, address FROM change WHERE stamp > ? ORDER BY stamp DESC, id LIMIT ?",
                                      (micros(since) if since is not None else 0, limit)).fetchall()
        return [DirectoryChange(instant(stamp), kind, address) for stamp, kind, address in rows]

    # ------------------------------------------------------------------------------------------ near addresses

    def near(self, address: str, *, most: int = 5) -> list[str]:
        """Give published addresses that a mistyped one may mean, best first; the address itself is not among them."""
        local, at, domain = address.lower()[:254].rpartition("@")
        if not (local and at and domain):
            return []
        with self._reading() as connection:
            if connection is None:
                return []
            domains = self._likely(connection, domain)
            found = dict.fromkeys(self._slips(connection, local, domains))
            found.update(dict.fromkeys(_sharing(connection, local, domains)))
        own = f"{local}@{domain}"
        turned = set(swapped(local))
        scored = []
        for one in found:
            other, _, place = one.rpartition("@")
            apart = 1 if other in turned else distance(local, other, 3)
            apart += min(distance(domain, place, 3), 2) if place != domain else 0
            if one != own and apart <= 3:
                scored.append((apart, one))
        return [one for _, one in sorted(scored)[:min(most, 20)]]

    def _likely(self, connection: sqlite3.Connection, domain: str) -> list[str]:
        """Give the domain when it is known, with those much like it; the list of domains is read once for each state."""
        newest = connection.execute("SELECT max(id) FROM adoption").fetchone()[0] or 0
        if self._domains[0] != newest:
            names = tuple(name.replace("0x0", ".").replace("1x1", "-") for name, in connection.execute(_DOMAINS))
            self._domains = newest, names
        return [domain] if domain in self._domains[1] else closest_domains(domain, self._domains[1])

    @staticmethod
    def _slips(connection: sqlite3.Connection, local: str, domains: Sequence[str]) -> Iterable[str]:
        """Give published addresses one slip away in the likeliest domain, and the same or turned names in each."""
        tries = [f"{one}@{domain}" for domain in domains for one in (local, *swapped(local))]
        tries += [f"{one}@{domain}" for domain in domains[:1] for one in variants(local)]
        return [row[0] for row in connection.execute(_KNOWN, (json.dumps(tries),))]


def _sharing(connection: sqlite3.Connection, local: str, domains: Sequence[str]) -> list[str]:
    """Give addresses of a likely domain that share one name with a local part, while the other begins alike."""
    words = [word for word in cut(local) if len(word) > 1][:3]
    found: list[str] = []
    for domain in domains[:2]:
        place = quoted(domain_tag(domain))
        if len(words) == 1:
            asked = [f"{place} AND {quoted(FAMILY + words[0][:3])}*"] if len(words[0]) > 2 else []
        else:
            asked = [" AND ".join([place, *(quoted(word) if at == kept else beginning(connection, word[:2])
                                            for at, word in enumerate(words))]) for kept in range(len(words))]
        for expression in asked:
            found += [row[0] for row in connection.execute(_BY_WORDS, (expression,))]
    return found
