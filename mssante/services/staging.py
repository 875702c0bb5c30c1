"""Staging of one body while DATA is being read: memory up to the inline limit, a blob file beyond.

- Nothing is visible or durable before `seal`; `discard` is safe at any moment.
- A write that fails is told by `seal` alone, whatever is written behind it: a reply in the middle of a content, or a body
  with a piece missing, would each lose mail.
- A small body never leaves the event loop's thread; a large one is written by worker threads in pieces of 1 MiB, and the
  caller waits when more than two pieces are under way (back-pressure).
- The octets are those that the peer sent: nothing is added or changed (ARCHITECTURE §9).
- `hold` gives a body that is not to be kept as it is (it will leave encrypted): nothing of it stays on disk.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import Executor

from mssante.model.message import MessageFacts, StagedBody
from mssante.protocol.mime.imapview import facts
from mssante.storage.interfaces import BlobStore, BlobWriter

PIECE = 1024 * 1024
SCAN_INLINE = 64 * 1024  # a scan above this goes to a worker thread: below, the hop costs more than the scan


class BodySink:
    """Collects one body."""

    __slots__ = ("_blobs", "_executor", "_fault", "_held", "_inline_limit", "_kept", "_pending", "_writer", "size")

    def __init__(self, blobs: BlobStore, executor: Executor, inline_limit: int) -> None:
        """inline_limit: octets kept in the database row; executor runs file writes and scans."""
        self._blobs = blobs
        self._executor = executor
        self._inline_limit = inline_limit
        self._kept: list[bytes] = []
        self._held = 0
        self._writer: BlobWriter | None = None
        self._pending: asyncio.Future[None] | None = None
        self._fault: Exception | None = None
        self.size = 0

    def add(self, chunks: Sequence[bytes]) -> None:
        """Take octets in order; never blocks."""
        for chunk in chunks:
            self.size += len(chunk)
            self._held += len(chunk)
            self._kept.append(chunk)

    @property
    def wants_flush(self) -> bool:
        """True when `flush` should be awaited before more is read."""
        return self._held >= PIECE and self.size > self._inline_limit

    async def flush(self) -> None:
        """Hand what is held to the blob file, waiting for the piece before it; what fails is raised by `seal`."""
        await self._written()
        kept, self._kept, self._held = self._kept, [], 0
        if self._fault is not None:
            return
        loop = asyncio.get_running_loop()
        self._pending = loop.run_in_executor(self._executor, self._write, kept)

    async def _written(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            try:
                await pending
            except Exception as fault:
                self._fault = fault

    def _write(self, chunks: list[bytes]) -> None:
        if self._writer is None:
            self._writer = self._blobs.stage()
        self._writer.write(b"".join(chunks))

    async def seal(self) -> tuple[StagedBody, MessageFacts]:
        """Give the body, durable when it is a blob, with its facts. Raises StorageFull."""
        if self.size <= self._inline_limit and self._writer is None and self._pending is None:
            data = b"".join(self._kept)
            staged = StagedBody(len(data), hashlib.sha256(data).hexdigest(), inline=data)
            if len(data) <= SCAN_INLINE:
                return staged, facts(data)
            return staged, await asyncio.get_running_loop().run_in_executor(self._executor, facts, data)
        await self._written()
        try:
            if self._fault is not None:
                raise self._fault
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._seal_blob)
        except Exception:
            self.discard()
            raise

    def _seal_blob(self) -> tuple[StagedBody, MessageFacts]:
        if self._writer is None:  # the whole body is still here: no need to read it back for the scan
            data = b"".join(self._kept)
            self._write([data])
        else:
            self._write(self._kept)
            data = b""
        self._kept = []
        assert self._writer is not None  # noqa: S101 - set by _write
        key = self._writer.commit()
        return StagedBody(self.size, key, blob=key), facts(data or self._blobs.read(key))

    async def hold(self) -> tuple[StagedBody, MessageFacts]:
        """Give the body in memory whatever its size, with its facts; what was staged of it is gone. Raises StorageFull."""
        await self._written()
        try:
            if self._fault is not None:
                raise self._fault
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._hold)
        finally:
            self.discard()

    def _hold(self) -> tuple[StagedBody, MessageFacts]:
        head, self._writer = (self._writer.take() if self._writer is not None else b""), None
        data = b"".join([head, *self._kept])
        return StagedBody(len(data), hashlib.sha256(data).hexdigest(), inline=data), facts(data)

    def discard(self) -> None:
        """Forget everything; a write under way is waited for by its thread."""
        self._kept = []
        if self._pending is not None:
            self._pending.add_done_callback(self._drop)
            self._pending = None
        else:
            self._drop()

    def _drop(self, pending: asyncio.Future[None] | None = None) -> None:
        if pending is not None and not pending.cancelled():
            pending.exception()  # nobody waits for it any more
        if self._writer is not None:
            self._executor.submit(self._writer.discard)
            self._writer = None


def stage_body(blobs: BlobStore, data: bytes, inline_limit: int) -> StagedBody:
    """Give a body of ours (sealed, opened) staged as one received would be, durable when it is a blob. Blocking.

    Raises StorageFull.
    """
    if len(data) <= inline_limit:
        return StagedBody(len(data), hashlib.sha256(data).hexdigest(), inline=data)
    writer = blobs.stage()
    try:
        view = memoryview(data)
        for start in range(0, len(data), PIECE):
            writer.write(bytes(view[start:start + PIECE]))
        key = writer.commit()
    finally:
        writer.discard()  # no effect once committed
    return StagedBody(len(data), key, blob=key)
