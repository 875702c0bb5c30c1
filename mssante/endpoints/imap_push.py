"""What the server says unasked: IDLE (RFC 9051 §6.3.13) and NOTIFY (RFC 5465), at the pace of the client.

- IDLE without NOTIFY tells of the open folder from memory, in the turn of the loop in which the change was read.
- NOTIFY may read: it takes the place of a command meanwhile, so that nothing it writes falls into an answer, and a command that
  comes in the middle waits for it.
- Nothing is written while the client does not read: what happens is marked in `services/imap/notices.py` and looked at when it
  does, and a client that never does loses its connection.
Base of `endpoints/imap_connection.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from mssante.endpoints.imap_append import AppendSide
from mssante.protocol.imap import encode
from mssante.protocol.imap.faults import SessionEnd, encode_fault
from mssante.protocol.imap.values import Completion, Condition
from mssante.services.imap.arrivals import arrival_lines
from mssante.services.imap.notices import Notices
from mssante.services.imap.session import Answer, BrokenLine
from mssante.services.imap.sync import idle_updates

if TYPE_CHECKING:
    from mssante.endpoints.imap import ImapEndpoint


class PushSide(AppendSide):
    """A connection while no command runs."""

    def __init__(self, endpoint: ImapEndpoint) -> None:
        super().__init__(endpoint)
        self._busy = False
        self._idle_tag: bytes | None = None
        self._session.wake = self._wake

    @abstractmethod
    def _log_fault(self, name: str, fault: BaseException) -> None:
        """One line about a fault of ours."""

    # ------------------------------------------------------------------------------------------ IDLE

    async def _idle(self, tag: bytes) -> None:
        """IDLE: tell what is new, then wait for the doorbell or DONE.

        Two habits of Thunderbird 153 are minded, as it would not show new mail. Of a compressed stream it takes as many octets as
        it sees compressed, then waits for the socket: what comes with the continuation leaves no shorter than it is (`_roomy`).
        An EXISTS in the answer to a FETCH of its own it reads and forgets: IDLE says it again (`in_passing`).
        """
        try:
            await self._session.revalidate()
        except SessionEnd as end:
            self._write(encode_fault(end, None))
            self._close()
            return
        except Exception as fault:  # the border
            self._refuse(tag, "IDLE", fault)
            return
        self._core.expect_line()
        self._idle_tag = tag
        self._roomy = True
        self._write(encode.continuation(b"idling"))
        if self._session.notices is not None:  # RFC 5465 §4: exactly what NOTIFY asked
            self._session.notices.look_at_selected()
            return
        if self._session.view is not None and self._session.cursor is not None:
            self._session.view.listen(self._session.cursor, self._push)
        self._write(idle_updates(self._session))
        await self._told(self._with_new_messages())

    async def _idle_done(self) -> Answer:
        await self._session.revalidate()
        return Answer(completion=Completion(text="IDLE completed"))

    def _end_idle(self) -> None:
        self._idle_tag = None
        if self._session.view is not None and self._session.cursor is not None:
            self._session.view.unlisten(self._session.cursor)
        if self._session.notices is not None:
            self._session.notices.listen()

    def _push(self) -> None:
        """The folder changed while the client idles: tell it now, unless it does not read."""
        view = self._session.view
        if self._closed or self._idle_tag is None or self._drained is not None or view is None:
            return
        if view.gone or self._session.barred:
            self._write(encode.bye("the folder that was open has been deleted, or is not shared any more"))
            self._close()
            return
        self._write(idle_updates(self._session))
        if self._session.contexts.owes and not self._busy:
            self._start(self._tell_new_messages())
        self._flush()

    # ------------------------------------------------------------------------------------------ NOTIFY

    def _wake(self) -> None:
        """Something that NOTIFY asked for may have happened."""
        self._tell_waiting()
        self._flush()

    def _tell_waiting(self) -> None:
        """Tell what NOTIFY asked for, unless a command runs or the client does not read."""
        notices = self._session.notices
        if notices is None or self._busy or self._closed or self._drained is not None or not notices.waiting():
            return
        self._start(self._tell_news(notices))

    async def _tell_news(self, notices: Notices) -> None:
        """Write lines as they come."""
        if not await self._told(self._write_lines(notices.news(idle=self._idle_tag is not None))):
            notices.give_up()
            if self._session.notices is notices:  # what was missed is not known: the client asks again
                self._session.notices = None
                self._write(encode.untagged(Completion(Condition.OK, "notices stop here", b"NOTIFICATIONOVERFLOW")))

    async def _told(self, telling: Awaitable[None]) -> bool:
        """Run what tells without a command; False when it failed by our fault."""
        self._session.begin_progress(b"")
        try:
            await telling
        except SessionEnd as end:
            self._write(encode_fault(end, None))
            self._close()
        except ConnectionResetError:
            self.abort()
        except BrokenLine as broken:
            self._log_fault("NOTIFY", broken.__cause__ or broken)
            self.abort()
        except Exception as fault:  # the border
            self._log_fault("NOTIFY", fault)
            return False
        return True

    async def _write_lines(self, lines: AsyncIterator[bytes]) -> None:
        """Write what a generator gives, at the pace of the client. Raises ConnectionResetError."""
        async with aclosing(cast(Any, lines)) as given:
            async for data in given:
                self._write(data)
                await self._pace()

    async def _tell_new_messages(self) -> None:
        """The same while the client idles."""
        await self._told(self._with_new_messages())

    async def _with_new_messages(self) -> None:
        """After the updates of a command: items of new messages that NOTIFY or a followed search asked (RFC 5465 §5.2, §7)."""
        if self._session.notices is not None or self._session.contexts.owes:
            await self._write_lines(arrival_lines(self._session))
