"""Doorbell: tells whoever watches a folder that something in it changed, and up to which modseq.

- Carries `(folder id, modseq)` only: listeners read the change table themselves (`messages.changes_since`).
- `ring` is called after the commit, on the event loop's thread, by every service that files, flags or removes messages.
- Rings are coalesced: however many happen in one turn of the loop, a listener is called once, with the highest modseq.
- Never blocks, never raises: a listener that fails is logged and the others are still called.
- In one process this class is enough; a node of several feeds `ring` from PostgreSQL notifications.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

Listener = Callable[[int], None]

_log = logging.getLogger("mssante.doorbell")


class Doorbell:
    """Fan-out of folder changes inside the process."""

    __slots__ = ("_listeners", "_ringing", "_scheduled")

    def __init__(self) -> None:
        self._listeners: dict[int, dict[object, Listener]] = {}
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

    def listeners(self, folder_id: int) -> int:
        """Give how many callbacks watch a folder."""
        return len(self._listeners.get(folder_id, {}))

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
