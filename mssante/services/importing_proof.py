"""The proof at the end of an import: what is stored is read again and compared with what the source gave.

- For each message: the SHA-256 of the octets that a reader gets, against that of the octets that came from the source
  (computed while they came, kept in the ledger). For each folder: counts, octets, and a hash over all hashes in source order.
- A message that its owner deleted here since it was imported is told as removed: it proves nothing and breaks nothing.
- Blobs are read in pieces, bodies a few at a time.
Called by services/importing.py.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mssante.model.message import StoredMessage
from mssante.storage.interfaces import BlobStore, ImportedCopy, Stores, Tx

_TRACE, _DIGEST = 26, 32
GROUP = 64  # bodies in memory at once, each at most the inline limit
PIECE = 1024 * 1024


class Entries:
    """Trace ids and digests in source order, 58 octets each."""

    __slots__ = ("_flat",)

    def __init__(self) -> None:
        self._flat = bytearray()

    def __len__(self) -> int:
        return len(self._flat) // (_TRACE + _DIGEST)

    def add(self, trace_id: str, digest: bytes) -> None:
        """Take one message. digest: 32 octets."""
        self._flat += trace_id.encode("ascii") + digest

    def groups(self) -> Iterator[list[tuple[str, bytes]]]:
        """Give them again, GROUP at once."""
        width = _TRACE + _DIGEST
        for start in range(0, len(self._flat), width * GROUP):
            part = bytes(self._flat[start:start + width * GROUP])
            yield [(part[at:at + _TRACE].decode("ascii"), part[at + _TRACE:at + width]) for at in range(0, len(part), width)]


@dataclass(frozen=True, slots=True)
class Proof:
    """messages, octets: stored and read again; removed: deleted here since; different: whose octets are not the source's.

    source_hash, stored_hash: SHA-256 over the SHA-256 of each message, in source order, hex.
    """

    messages: int
    octets: int
    removed: int
    different: int
    source_hash: str
    stored_hash: str
    equal: bool


async def prove(stores: Stores, mailbox_id: int, entries: Entries, *, lost: int) -> Proof:
    """Read again what was stored. lost: messages of the folder that were not brought in: it is not equal then."""
    source, stored = hashlib.sha256(), hashlib.sha256()
    messages = octets = removed = different = 0
    for group in entries.groups():
        found = await _digests(stores, mailbox_id, [trace for trace, _ in group])
        for trace, digest in group:
            if trace not in found:
                removed += 1
                continue
            read, size = found[trace]
            messages += 1
            octets += size
            different += read != digest
            source.update(digest)
            stored.update(read)
    equal = not lost and not different and source.digest() == stored.digest()
    return Proof(messages, octets, removed, different, source.hexdigest(), stored.hexdigest(), equal)


async def _digests(stores: Stores, mailbox_id: int, traces: Sequence[str]) -> dict[str, tuple[bytes, int]]:
    """Give trace id -> (SHA-256, octets) of what a reader gets, for those that are still in the mailbox."""
    def unit(tx: Tx) -> tuple[dict[str, ImportedCopy], list[StoredMessage]]:
        copies = stores.imports.copies(tx, mailbox_id, traces)
        return copies, stores.messages.contents(tx, [one.message_id for one in copies.values()], with_body=True)

    copies, contents = await stores.database.read(unit)
    by_id = {one.id: one for one in contents}
    wanted = {trace: by_id[copy.message_id] for trace, copy in copies.items() if copy.message_id in by_id}
    return await asyncio.to_thread(lambda: {trace: _read(stores.blobs, one) for trace, one in wanted.items()})


def _read(blobs: BlobStore, one: StoredMessage) -> tuple[bytes, int]:
    digest = hashlib.sha256(one.prefix)
    size = len(one.prefix)
    if one.blob is None:
        digest.update(one.inline or b"")
        return digest.digest(), size + len(one.inline or b"")
    offset = 0
    while piece := blobs.read(one.blob, offset, PIECE):
        digest.update(piece)
        offset += len(piece)
    return digest.digest(), size + offset
