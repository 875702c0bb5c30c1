"""Oppositions of patients (table opposition)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select

from mssante.storage.opposition import Opposition
from mssante.storage.sql.tables_documents import opposition
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_TEXT = 500
_C = opposition.c
_NAMES = ["patient", "scope", "since", "until", "by", "reason"]
_SELECT = select(*[_C[name] for name in _NAMES])
_INSERT = InsertRows(opposition, _NAMES)
_OF = Statement(_SELECT.where(_C.patient.in_(bindparam("p_patients", expanding=True))))
_ALL = Statement(_SELECT.order_by(_C.since, _C.patient, _C.scope).limit(bindparam("p_limit")))
_REMOVE = Statement(delete(opposition).where(_C.patient == bindparam("p_patient"), _C.scope == bindparam("p_scope")))


class SqlOppositionStore:
    """`mssante.storage.opposition.OppositionStore`."""

    def put(self, tx: Transaction, one: Opposition) -> None:
        """Record an opposition."""
        self.remove(tx, one.patient, one.scope)
        _INSERT.run(tx, [one.patient, one.scope, micros(one.since), micros(one.until) if one.until is not None else 0,
                         storable(one.by, MAX_TEXT), storable(one.reason, MAX_TEXT)])

    def of(self, tx: Transaction, patients: Sequence[str]) -> list[Opposition]:
        """Give the oppositions of patients."""
        return [_read(row) for row in tx.rows_of(_OF, "p_patients", list(patients))] if patients else []

    def all(self, tx: Transaction, limit: int = 10_000) -> list[Opposition]:
        """Give oppositions, oldest first."""
        return [_read(row) for row in tx.rows(_ALL, p_limit=limit)]

    def remove(self, tx: Transaction, patient: str, scope: str) -> bool:
        """Remove one."""
        return tx.change(_REMOVE, p_patient=patient, p_scope=scope) > 0


def _read(row: Sequence[Any]) -> Opposition:
    patient, scope, since, until, by, reason = row
    return Opposition(patient, scope, instant(since), instant(until) if until else None, by, reason)
