"""A value that comes from files and is read again when they change; a bad change leaves the last good value.

- A change is tried at once. A fault is *told* only when the next look finds the same files: a certificate and its key are two
  files, and somebody who copies both is in between for a moment.
- Files that move while they are read are read again at the next look.
- A fault is tried again at every look: what is not valid yet becomes so.

Called by `tls_setup`. Runs in a worker thread; the owner puts the values in force.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from mssante.errors import MssFault, OperatorFault
from mssante.services.tlskeys import Mark, mark_of

Value = TypeVar("Value")


class Watched(Generic[Value]):
    """One value. name: of the alarm; value: the last good one; fault: why the files as they are now are not used, or None."""

    def __init__(self, name: str, paths: Callable[[], tuple[Path, ...]], read: Callable[[], Value], value: Value) -> None:
        """paths: the files that `read` reads now; value: until the first look."""
        self.name = name
        self.value = value
        self.fault: MssFault | None = None
        self._paths = paths
        self._read = read
        self._mark: Mark | None = None
        self._bad: Mark | None = None

    def look(self, *, force: bool = False) -> bool:
        """Read again when the files changed (or `force`); True when the value was read anew. Raises nothing of theirs."""
        mark = mark_of(self._paths())
        if mark == self._mark and self._bad is None and not force:
            return False
        try:
            value = self._read()
        except Exception as fault:  # the border: whatever a file holds, the last good value stays and the service goes on
            if mark == self._bad:
                self.fault = fault if isinstance(fault, MssFault) else _unread(fault)
            self._bad = mark
            return False
        if mark_of(self._paths()) != mark:
            return False
        self.value, self._mark, self._bad, self.fault = value, mark, None, None
        return True


def _unread(fault: Exception) -> MssFault:
    detail = getattr(fault, "strerror", None) or type(fault).__name__
    return OperatorFault("file cannot be read", detail=detail, rule="TLS-LECTURE",
                         remedy="check the file and the rights of the service's account")
