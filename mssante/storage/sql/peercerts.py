"""Certificates that peers showed (table peer_certificate)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import bindparam, delete, func, select

from mssante.storage.peercerts import KEPT, PeerCertificate
from mssante.storage.sql.tables import peer_certificate
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_RULE = 64

_C = peer_certificate.c
_NAMES = ["domain", "fingerprint", "direction", "der", "not_after", "first_seen", "last_seen", "uses", "refused"]
_COLUMNS = [_C[name] for name in _NAMES]
_AMONG = _C.domain.in_(bindparam("p_domains", expanding=True))
_OF = Statement(select(*_COLUMNS).where(_AMONG).order_by(_C.last_seen.desc(), _C.fingerprint))
_CLEAR = Statement(delete(peer_certificate).where(_AMONG))
_INSERT = InsertRows(peer_certificate, _NAMES)
_FORGET = Statement(delete(peer_certificate).where(_C.last_seen < bindparam("p_before")))
_MOST = Statement(select(_C.domain, func.sum(_C.uses).label("total")).where(_C.direction == bindparam("p_direction"))
                  .group_by(_C.domain).order_by(func.sum(_C.uses).desc(), _C.domain).limit(bindparam("p_limit")))
_Key = tuple[str, str, str]


class SqlPeerCertificateStore:
    """`mssante.storage.peercerts.PeerCertificateStore`."""

    def record(self, tx: Transaction, seen: Sequence[PeerCertificate]) -> list[PeerCertificate]:
        """Merge a batch: one SELECT, one DELETE, INSERTs of many rows; the domains of the batch are rewritten whole."""
        if not seen:
            return []
        domains = list(dict.fromkeys(one.domain for one in seen))
        known = {_key(row): row for row in self._of(tx, domains)}  # last seen first
        newest: dict[tuple[str, str], PeerCertificate] = {}
        for row in known.values():
            newest.setdefault((row.domain, row.direction), row)
        changed: list[PeerCertificate] = []
        for one in seen:
            old = known.get(_key(one))
            former = newest.get((one.domain, one.direction))
            if old is None and former is not None:
                changed.append(former)
            known[_key(one)] = one if old is None else _merged(old, one)
        tx.change_of(_CLEAR, "p_domains", domains)
        flat: list[object] = []
        for row in _kept(list(known.values())):
            flat += (row.domain, row.fingerprint, row.direction, row.der, micros(row.not_after), micros(row.first_seen),
                     micros(row.last_seen), row.uses, storable(row.refused, MAX_RULE))
        _INSERT.run(tx, flat)
        return changed

    def of_domain(self, tx: Transaction, domain: str) -> list[PeerCertificate]:
        """Give what is known of a domain, last seen first."""
        return self._of(tx, [domain])

    def most_used(self, tx: Transaction, direction: str, limit: int) -> list[PeerCertificate]:
        """Give the certificate seen last of the domains used most, most used first."""
        domains = [row[0] for row in tx.rows(_MOST, p_direction=direction, p_limit=limit)]
        found: dict[str, PeerCertificate] = {}
        for row in self._of(tx, domains) if domains else ():
            if row.direction == direction and not row.refused:
                found.setdefault(row.domain, row)
        return [found[domain] for domain in domains if domain in found]

    def forget(self, tx: Transaction, before: datetime) -> int:
        """Remove what was last seen before an instant."""
        return tx.change(_FORGET, p_before=micros(before))

    def _of(self, tx: Transaction, domains: list[str]) -> list[PeerCertificate]:
        return [PeerCertificate(domain, fingerprint, direction, bytes(der), instant(not_after), instant(first), instant(last),
                                uses, refused)
                for domain, fingerprint, direction, der, not_after, first, last, uses, refused
                in tx.rows_of(_OF, "p_domains", domains)]


def _key(row: PeerCertificate) -> _Key:
    return (row.domain, row.direction, row.fingerprint)


def _merged(old: PeerCertificate, new: PeerCertificate) -> PeerCertificate:
    late = new if new.last_seen >= old.last_seen else old
    return replace(old, uses=old.uses + new.uses, first_seen=min(old.first_seen, new.first_seen), last_seen=late.last_seen,
                   refused=late.refused)


def _kept(rows: list[PeerCertificate]) -> list[PeerCertificate]:
    """Give the rows to keep: of each domain and direction, those seen last."""
    rows.sort(key=lambda row: (row.last_seen, row.fingerprint), reverse=True)
    counts: dict[tuple[str, str], int] = {}
    kept = []
    for row in rows:
        place = (row.domain, row.direction)
        counts[place] = counts.get(place, 0) + 1
        if counts[place] <= KEPT:
            kept.append(row)
    return kept
