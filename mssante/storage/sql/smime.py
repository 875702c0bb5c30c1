"""Certificates of correspondents and wishes of mailboxes (tables smime_certificate, smime_policy).

- The key of a certificate begins with its address, so looking up a message's recipients walks their rows alone.
- Learning is a read and an insert, one update for each certificate seen again, one delete for each beyond the bound (a message
  brings two certificates at most).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from mssante.storage.smime import CertificateSource, KnownCertificate, MailboxSmime
from mssante.storage.sql.tables import mailbox, smime_certificate, smime_policy
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_REFERENCE = 500
_C = smime_certificate.c
_P = smime_policy.c
_NAMES = ["address", "fingerprint", "source", "der", "not_after", "first_seen", "last_seen", "refused"]
_COLUMNS = [_C[name] for name in _NAMES]
_SOURCES = {source.value: rank for rank, source in enumerate(CertificateSource)}
_OF = Statement(select(*_COLUMNS).where(_C.address.in_(bindparam("p_addresses", expanding=True))))
_ALL = Statement(select(*_COLUMNS).where(_C.address > bindparam("p_after")).order_by(_C.address, _C.fingerprint)
                 .limit(bindparam("p_limit")))
_THIS = (_C.address == bindparam("p_address"), _C.fingerprint == bindparam("p_fingerprint"))
_INSERT = InsertRows(smime_certificate, _NAMES)
_FIRST = Statement(select(_C.first_seen).where(*_THIS))
_REMOVE = Statement(delete(smime_certificate).where(*_THIS))
_SEEN = Statement(update(smime_certificate).where(*_THIS).values(last_seen=bindparam("p_seen")))
_REFUSE = Statement(update(smime_certificate).where(*_THIS).values(refused=bindparam("p_refused")))
_FORGET = Statement(delete(smime_certificate).where(
    _C.address == bindparam("p_address"), _C.source == CertificateSource.LEARNT.value, _C.refused == ""))
_POLICY_COLUMNS = (_P.mailbox_id, _P.outgoing, _P.incoming, _P.key_reference)
_POLICIES = Statement(select(*_POLICY_COLUMNS).where(_P.mailbox_id.in_(bindparam("p_ids", expanding=True))))
_ALL_POLICIES = Statement(select(mailbox.c.address, *_POLICY_COLUMNS).select_from(
    smime_policy.join(mailbox, mailbox.c.id == _P.mailbox_id)).order_by(mailbox.c.address))
_INSERT_POLICY = InsertRows(smime_policy, ["mailbox_id", "outgoing", "incoming", "key_reference"])
_REMOVE_POLICY = Statement(delete(smime_policy).where(_P.mailbox_id == bindparam("p_mailbox")))
_MAILBOX = Statement(select(mailbox.c.id).where(mailbox.c.id == bindparam("p_mailbox")))


def _certificate(row: Sequence[Any]) -> KnownCertificate:
    address, fingerprint, source, der, not_after, first, last, refused = row
    return KnownCertificate(address, fingerprint, CertificateSource(source), bytes(der), instant(not_after), instant(first),
                            instant(last), refused)


def _values(one: KnownCertificate) -> list[object]:
    return [one.address, one.fingerprint, one.source.value, one.der, micros(one.not_after), micros(one.first_seen),
            micros(one.last_seen), storable(one.refused, MAX_REFERENCE)]


def _policy(row: Sequence[Any]) -> MailboxSmime:
    mailbox_id, outgoing, incoming, keys = row
    return MailboxSmime(mailbox_id, outgoing, incoming, tuple(keys.split()))


class SqlSmimeStore:
    """`mssante.storage.smime.SmimeStore`."""

    def certificates(self, tx: Transaction, addresses: Sequence[str]) -> list[KnownCertificate]:
        """Give all that is known of these addresses: by address, source, then the last to end first."""
        if not addresses:
            return []
        found = [_certificate(row) for row in tx.rows_of(_OF, "p_addresses", addresses)]
        return sorted(found, key=lambda one: (one.address, _SOURCES[one.source.value], -micros(one.not_after), one.fingerprint))

    def all_certificates(self, tx: Transaction, *, limit: int = 1000, after: str = "") -> list[KnownCertificate]:
        """Give certificates ordered by address."""
        return [_certificate(row) for row in tx.rows(_ALL, p_after=after, p_limit=limit)]

    def put_certificate(self, tx: Transaction, certificate: KnownCertificate) -> None:
        """Add or replace one certificate of an address, its first date kept."""
        this = {"p_address": certificate.address, "p_fingerprint": certificate.fingerprint}
        first = tx.one(_FIRST, **this)
        if first is not None:
            certificate = replace(certificate, first_seen=instant(first[0]))
            tx.change(_REMOVE, **this)
        _INSERT.run(tx, _values(certificate))

    def learn(self, tx: Transaction, seen: Sequence[KnownCertificate], *, most: int) -> int:
        """Take certificates seen in signed mail; give how many were new."""
        held = {(one.address, one.fingerprint): one for one in self.certificates(tx, sorted({one.address for one in seen}))}
        new: dict[tuple[str, str], KnownCertificate] = {}
        for one in seen:
            key = (one.address, one.fingerprint)
            if key not in held:
                new[key] = one
            elif one.last_seen > held[key].last_seen:
                held[key] = replace(held[key], last_seen=one.last_seen)
                tx.change(_SEEN, p_address=one.address, p_fingerprint=one.fingerprint, p_seen=micros(one.last_seen))
        _INSERT.run(tx, [value for one in new.values() for value in _values(replace(one, source=CertificateSource.LEARNT))])
        self._keep_newest(tx, [*held.values(), *new.values()], most)
        return len(new)

    def _keep_newest(self, tx: Transaction, known: Sequence[KnownCertificate], most: int) -> None:
        """Remove the learnt certificates of each address beyond `most`, those seen longest ago."""
        by_address: dict[str, list[KnownCertificate]] = {}
        for one in known:
            if one.source is CertificateSource.LEARNT and not one.refused:
                by_address.setdefault(one.address, []).append(one)
        for address, ours in by_address.items():
            ours.sort(key=lambda one: (one.last_seen, one.not_after, one.fingerprint), reverse=True)
            for old in ours[most:]:
                tx.change(_REMOVE, p_address=address, p_fingerprint=old.fingerprint)

    def remove_certificate(self, tx: Transaction, address: str, fingerprint: str) -> bool:
        """Remove one certificate; False when it is not there."""
        return tx.change(_REMOVE, p_address=address, p_fingerprint=fingerprint) > 0

    def refuse_certificate(self, tx: Transaction, address: str, fingerprint: str, reason: str) -> bool:
        """Mark one certificate as not to be used; False when it is not there."""
        return tx.change(_REFUSE, p_address=address, p_fingerprint=fingerprint, p_refused=storable(reason, MAX_REFERENCE)) > 0

    def forget(self, tx: Transaction, address: str) -> int:
        """Remove what was learnt of an address, but for refused certificates; give how many."""
        return tx.change(_FORGET, p_address=address)

    def policies(self, tx: Transaction, mailbox_ids: Sequence[int]) -> dict[int, MailboxSmime]:
        """Give what these mailboxes want."""
        if not mailbox_ids:
            return {}
        return {row[0]: _policy(row) for row in tx.rows_of(_POLICIES, "p_ids", mailbox_ids)}

    def all_policies(self, tx: Transaction) -> list[tuple[str, MailboxSmime]]:
        """Give (address, policy) of all mailboxes that have one, by address."""
        return [(row[0], _policy(row[1:])) for row in tx.rows(_ALL_POLICIES)]

    def put_policy(self, tx: Transaction, policy: MailboxSmime) -> None:
        """Set what a mailbox wants; a default one removes the row. Raises LookupError when the mailbox is gone."""
        if tx.one(_MAILBOX, p_mailbox=policy.mailbox_id) is None:
            raise LookupError("mailbox is gone")
        tx.change(_REMOVE_POLICY, p_mailbox=policy.mailbox_id)
        if not policy.is_default:
            _INSERT_POLICY.run(tx, [policy.mailbox_id, policy.outgoing, policy.incoming, " ".join(policy.keys)])
