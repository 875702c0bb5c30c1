"""Doorbell: tells whoever watches a folder that something in it changed, and up to which modseq.

- Carries `(folder id, modseq)` only: listeners read the change table themselves (`messages.changes_since`).
- `ring` is called after the commit, on the event loop's thread, by every service that files, flags or removes messages.
- Rings are coalesced: however many happen in one turn of the loop, a listener is called once, with the highest modseq.
- Beside it, one bell for each mailbox: its list of folders or their annotations changed (`ring_mailbox`).
- Never blocks, never raises: a listener that fails is logged and the others are still called.
- In one process this class is enough; a node of several feeds `ring` from PostgreSQL notifications.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

Listener = Callable[[int], None]

_log = logging.getLogger("mssante.doorbell")


EVERYONE = 0  # the mailbox id that stands for all: who may see what has changed


@dataclass(frozen=True, slots=True)
class MailboxNews:
    """Something changed in a mailbox beside messages: its folders (their names, subscriptions, rights), or annotations.

    entries: names of annotations that changed, of folder_id (0: of the mailbox), seen by account_id alone (0: by all); none when
    it is the list of folders. origin: who did it, to whom it is no news.
    """

    mailbox_id: int
    entries: tuple[str, ...] = ()
    folder_id: int = 0
    account_id: int = 0
    origin: object | None = None


class Doorbell:
    """Fan-out of folder changes inside the process."""

    __slots__ = ("_listeners", "_mailboxes", "_ringing", "_scheduled")

    def __init__(self) -> None:
        self._listeners: dict[int, dict[object, Listener]] = {}
        self._mailboxes: dict[int, dict[object, Callable[[MailboxNews], None]]] = {}
        self._ringing: dict[int, int] = {}
        self._scheduled = False

    def ring(self, folder_id: int, modseq: int) -> None:
        """Say that `folder_id` changed and is now at `modseq`. Event loop thread only; cheap when nobody listens."""
        if folder_id not in self._listeners:
            return
        if modseq > self._ringing.get(folder_id, 0):
            self._ringing[folder_id] = modseq
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def subscribe(self, folder_id: int, callback: Listener) -> Callable[[], None]:
        """Call `callback(modseq)` after each change of the folder; give the function that ends it (safe to call twice)."""
        key = object()
        self._listeners.setdefault(folder_id, {})[key] = callback

        def unsubscribe() -> None:
            listeners = self._listeners.get(folder_id)
            if listeners is not None:
                listeners.pop(key, None)
                if not listeners:
                    del self._listeners[folder_id]

        return unsubscribe

    def watched(self) -> list[int]:
        """Give the folders that somebody watches."""
        return list(self._listeners)

    def listeners(self, folder_id: int) -> int:
        """Give how many callbacks watch a folder."""
        return len(self._listeners.get(folder_id, {}))

    def ring_mailbox(self, news: MailboxNews) -> None:
        """Say that folders were made, removed, renamed or subscribed, or annotated; after the commit. Event loop thread only."""
        for listener in list(self._mailboxes.get(news.mailbox_id, {}).values()):
            try:
                listener(news)
            except Exception:  # as below
                _log.exception("doorbell listener failed", extra={"mailbox_id": news.mailbox_id})

    def watch_mailbox(self, mailbox_id: int, callback: Callable[[MailboxNews], None]) -> Callable[[], None]:
        """Call `callback(news)` at once for each `ring_mailbox`; give the function that ends it (safe to call twice)."""
        key = object()
        self._mailboxes.setdefault(mailbox_id, {})[key] = callback

        def end() -> None:
            listeners = self._mailboxes.get(mailbox_id)
            if listeners is not None:
                listeners.pop(key, None)
                if not listeners:
                    del self._mailboxes[mailbox_id]

        return end

    def _deliver(self) -> None:
        """Call the listeners of every folder that rang since the last turn."""
        self._scheduled = False
        ringing, self._ringing = self._ringing, {}
        for folder_id, modseq in ringing.items():
            for listener in list(self._listeners.get(folder_id, {}).values()):
                try:
                    listener(modseq)
                except Exception:  # one broken listener must not silence the others
                    _log.exception("doorbell listener failed", extra={"folder_id": folder_id})
