"""History of adopted white lists; the file itself stays in the `whitelist/` folder."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from mssante.storage.interfaces import WhitelistVersion
from mssante.storage.sql.tables import whitelist_version
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros

_C = whitelist_version.c
_NAMES = ["sha256", "generated_at", "adopted_at", "entries", "domains", "file", "forced"]
_INSERT = InsertRows(whitelist_version, ["id", *_NAMES])
_NEWEST = Statement(select(*[_C[name] for name in _NAMES]).order_by(_C.id.desc())  # not by a clock
                    .limit(bindparam("p_limit")))


class SqlTrustStore:
    """`mssante.storage.interfaces.TrustStore`."""

    def add_whitelist(self, tx: Transaction, version: WhitelistVersion) -> None:
        """Record an adopted list."""
        _INSERT.run(tx, [tx.take_ids(1), version.sha256, micros(version.generated_at), micros(version.adopted_at),
                         version.entries, version.domains, version.file, int(version.forced)])

    def whitelists(self, tx: Transaction, limit: int = 50) -> list[WhitelistVersion]:
        """Give versions, newest adoption first."""
        return [WhitelistVersion(sha256, instant(generated), instant(adopted), entries, domains, file, bool(forced))
                for sha256, generated, adopted, entries, domains, file, forced in tx.rows(_NEWEST, p_limit=limit)]
