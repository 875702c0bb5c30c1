"""The upload side of an IMAP connection: APPEND and REPLACE from the announcement of a literal to its last octet.

- Each literal is checked before it is asked for (`services/imap/append.py`); one that is refused ends the whole command, and
  what the client sends of it anyway is read and dropped by the protocol core, within its limit.
- Octets go to the staged body as they come; the connection waits when the disk is slower than the client.
- A fault in the middle is told once, with the tag of the command: at the next literal, or when the command is complete.
- Nothing is stored before the command is complete: an upload that is dropped leaves nothing behind.
Base of `endpoints/imap_connection.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mssante.endpoints.imap_login import LoginSide
from mssante.protocol.imap.faults import SessionEnd, encode_fault
from mssante.protocol.imap.session import LiteralWanted
from mssante.protocol.imap.values import Append
from mssante.services.imap import append
from mssante.services.imap.session import Answer

if TYPE_CHECKING:
    from mssante.endpoints.imap import ImapEndpoint


class AppendSide(LoginSide):
    """A connection while it receives messages."""

    def __init__(self, endpoint: ImapEndpoint) -> None:
        super().__init__(endpoint)
        self._upload: append.Upload | None = None
        self._upload_fault: BaseException | None = None

    async def _begin_append(self, wanted: LiteralWanted) -> None:
        """Check a step of APPEND or REPLACE; ask for its octets, or refuse the command before they come."""
        upload, self._upload = self._upload, None
        try:
            if self._upload_fault is not None:
                raise self._upload_fault
            self._session.tag = wanted.tag
            if upload is None:
                await self._session.revalidate()
            self._upload = await append.step(self._session, upload, cast(Append, wanted.value))
        except SessionEnd as end:
            self._write(encode_fault(end, None))
            self._close()
            return
        except Exception as fault:  # the border
            self._upload_fault = None
            self._core.refuse_literal()
            self._refuse(wanted.tag, wanted.name, fault)
            return
        if self._closed:
            self._drop_upload()
            return
        self._write(self._core.accept_literal())

    def _chunk(self, data: bytes) -> None:
        """Take octets of the message."""
        if self._upload is None:
            return
        self._upload.add(data)
        if self._upload.wants_flush:
            self._start(self._flush_upload(self._upload))

    async def _flush_upload(self, upload: append.Upload) -> None:
        """Write octets to the blob store; a fault is told when the command is complete."""
        try:
            await upload.flush()
        except Exception as fault:  # the border
            self._drop_upload()
            self._upload_fault = fault

    async def _finish_append(self, tag: bytes, value: Append) -> Answer:
        """Commit the messages."""
        upload, self._upload = self._upload, None
        fault, self._upload_fault = self._upload_fault, None
        if fault is not None:
            raise fault
        self._session.tag = tag
        try:
            await self._session.revalidate()
        except BaseException:
            if upload is not None:
                upload.discard()
            raise
        return await append.finish(self._session, value, upload)

    def _drop_upload(self) -> None:
        """Forget what was received of a command that will not be completed."""
        self._upload_fault = None
        if self._upload is not None:
            self._upload.discard()
            self._upload = None
