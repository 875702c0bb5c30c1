"""Values of the synchronisation extensions: QRESYNC (RFC 7162 §3.2), UIDBATCHES (RFC 10022).

Built by `commands/sync.py`, read by `services/imap/qresync.py` and `services/imap/batches.py`; others read them from `values.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.protocol.imap.numset import EMPTY, NumSet


@dataclass(frozen=True, slots=True)
class Resync:
    """What a client remembers of a folder that it opens again (RFC 7162 §3.2.5).

    uids: UIDs it knows, None when it did not say; numbers, number_uids: some message numbers and the UIDs that they had, of
    the same count and in the same order (both empty when not given).
    """

    uidvalidity: int
    modseq: int
    uids: NumSet | None = None
    numbers: NumSet = EMPTY
    number_uids: NumSet = EMPTY


@dataclass(frozen=True, slots=True)
class UidBatches:
    """RFC 10022 §3.1. size: messages a batch; first, last: batches wanted, 1 holds the newest messages; last 0: all."""

    size: int
    first: int = 1
    last: int = 0
