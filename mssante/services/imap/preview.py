"""PREVIEW (RFC 8970): the first words of messages, worked out when they are first asked and kept beside the open folder.

- What is missing is read by pieces of at most `chunk_messages` messages and `chunk_bytes` octets, one unit each; of a body in the
  blob store only the beginning is read. The words are found in a worker thread.
- They are kept in the byte budget of all caches, by message id; without room they are worked out again each time.
- LAZY gives what is kept and nothing else (§3.1).
- Nothing is ever logged, and `\\Seen` is not set (§3.2).
Called by `fetch.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from mssante.model.message import StoredMessage
from mssante.protocol.imap.encode import NIL, string
from mssante.protocol.mime.preview import preview
from mssante.services.imap.session import Session
from mssante.services.imap.view import FolderView
from mssante.storage.interfaces import BlobStore, Tx

BEGINNING = 256 * 1024  # octets read of a body in the blob store
_COLUMN = "preview"
_OVERHEAD = 150


async def previews(session: Session, view: FolderView, messages: Sequence[tuple[int, int]], *, lazy: bool) -> dict[int, bytes]:
    """Give answers by message id, ready to write; messages that are not there any more, or not at hand if lazy, are absent.

    messages: (message id, size).
    """
    held = view.cache.columns.get(_COLUMN, {})
    found: dict[int, str] = {key: held[key] for key, _ in messages if key in held}
    missing = [] if lazy else [(key, size) for key, size in messages if key not in found]
    if missing:
        made: dict[int, str] = {}
        for piece in _pieces(missing, session.services.settings.chunk_messages, session.services.settings.chunk_bytes):
            made.update(await _read(session, piece))
        view.cache.keep_column(_COLUMN, {**view.cache.columns.get(_COLUMN, {}), **made},
                               sum(_OVERHEAD + 2 * len(text) for text in made.values()))
        found.update(made)
    utf8 = session.wire.utf8
    return {key: string(text.encode("utf-8", "replace"), utf8=utf8) for key, text in found.items()}


def column(answers: dict[int, bytes], message_ids: Sequence[int]) -> list[bytes]:
    """Give the answers of messages in order, NIL where there is none (§3.2)."""
    return [answers.get(key, NIL) for key in message_ids]


def _pieces(messages: Sequence[tuple[int, int]], most: int, octets: int) -> list[list[int]]:
    """Cut into pieces of bounded count and octets, each message once."""
    out: list[list[int]] = []
    held = octets
    for key, size in dict(messages).items():
        size = min(size, BEGINNING)
        if not out or held + size > octets or len(out[-1]) >= most:
            out.append([])
            held = 0
        out[-1].append(key)
        held += size
    return out


async def _read(session: Session, message_ids: Sequence[int]) -> dict[int, str]:
    services = session.services
    stores = services.stores

    def unit(tx: Tx) -> list[StoredMessage]:
        return stores.messages.contents(tx, message_ids, with_body=True)

    contents = await stores.database.read(unit)
    return await asyncio.get_running_loop().run_in_executor(services.executor, _made, contents, stores.blobs)


def _made(contents: Sequence[StoredMessage], blobs: BlobStore) -> dict[int, str]:
    """Work previews out (worker thread)."""
    return {content.id: preview(content.inline if content.inline is not None else blobs.read(
        content.blob or "", 0, min(content.body_size, BEGINNING))) for content in contents}
