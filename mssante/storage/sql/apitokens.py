"""API tokens (table api_token)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from mssante.storage.apitokens import ApiToken
from mssante.storage.sql.tables_people import api_token
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_LABEL = 100

_C = api_token.c
_COLUMNS = (_C.id, _C.label, _C.scopes, _C.created_at, _C.last_used_at, _C.expires_at)
_INSERT = InsertRows(api_token, ["id", "token_hash", "label", "scopes", "created_at", "last_used_at", "expires_at"])
_FIND = Statement(select(*_COLUMNS).where(_C.token_hash == bindparam("p_digest")))
_ALL = Statement(select(*_COLUMNS).order_by(_C.created_at, _C.id))
_REVOKE = Statement(delete(api_token).where(_C.id == bindparam("p_id")))
_USED = Statement(update(api_token).where(_C.id == bindparam("p_id"), _C.last_used_at < bindparam("p_at")).values(
    last_used_at=bindparam("p_at")))


class SqlApiTokenStore:
    """`mssante.storage.apitokens.ApiTokenStore`."""

    def add(self, tx: Transaction, digest: str, token: ApiToken) -> ApiToken:
        """Keep a token; give it with its id."""
        kept = replace(token, id=tx.take_ids(1))
        _INSERT.run(tx, [kept.id, digest, storable(kept.label, MAX_LABEL), " ".join(sorted(kept.scopes)), micros(kept.created_at),
                         0, micros(kept.expires_at) if kept.expires_at is not None else 0])
        return kept

    def find(self, tx: Transaction, digest: str) -> ApiToken | None:
        """Give the token of a digest."""
        row = tx.one(_FIND, p_digest=digest)
        return _token(row) if row is not None else None

    def all(self, tx: Transaction) -> list[ApiToken]:
        """Give all, oldest first."""
        return [_token(row) for row in tx.rows(_ALL)]

    def revoke(self, tx: Transaction, token_id: int) -> bool:
        """Remove a token."""
        return tx.change(_REVOKE, p_id=token_id) > 0

    def used(self, tx: Transaction, uses: Mapping[int, datetime]) -> None:
        """Write when tokens were last used; they are few."""
        for token_id, at in uses.items():
            tx.change(_USED, p_id=token_id, p_at=micros(at))


def _token(row: Sequence[Any]) -> ApiToken:
    token_id, label, scopes, created, used, expires = row
    return ApiToken(token_id, label, frozenset(scopes.split()), instant(created), instant(used) if used else None,
                    instant(expires) if expires else None)
