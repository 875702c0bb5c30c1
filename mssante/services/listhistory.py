"""The folder of white lists: files kept, the previous ones, and the pin that a rollback leaves.

- A rollback must last: the refresh would put the newer list back within the hour. The pin names the list that was left; as
  long as it stands, no list generated at or before that one's date is adopted without `--force`. A newer list takes it away.
- The pin is a file beside the lists (`pin.json`), written atomically, read at each adoption: the server and the command line
  see the same one. A pin that cannot be read counts as none, and is told.
- Pruning keeps the newest files by count and age; the list in force, the one before it and the pinned ones always stay.
- Never believes a kept file: whoever reads one verifies its signature again.

Called by `services.trustkeeper`, `cli.listhistory` and `cli.checks.trust`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from mssante.storage.records import WhitelistVersion

log = structlog.get_logger("trust")
CURRENT = "current.xml"
PIN = "pin.json"
MAX_PIN = 4096


@dataclass(frozen=True, slots=True)
class Pin:
    """left: sha256 of the list that was rolled back from; left_at: its generation date; kept: sha256 put back; at: when."""

    left: str
    left_at: datetime
    kept: str
    at: datetime

    def holds_off(self, sha256: str, generated_at: datetime) -> bool:
        """Tell whether a list must not be adopted without a human."""
        return sha256 != self.kept and generated_at <= self.left_at


@dataclass(frozen=True, slots=True)
class HistoryPolicy:
    """Files older than `keep_days`, or beyond the `keep_count` newest, go."""

    keep_count: int = 60
    keep_days: int = 365


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside, sync, rename, sync the folder. Raises OSError; the former file stays on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_pin(folder: Path) -> Pin | None:
    """Give the pin of a folder, or None."""
    try:
        raw = (folder / PIN).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        log.error("pin_unreadable", detail=exc.strerror)
        return None
    try:
        found = json.loads(raw[:MAX_PIN])
        return Pin(str(found["left"]), datetime.fromisoformat(found["left_at"]), str(found["kept"]),
                   datetime.fromisoformat(found["at"]))
    except (ValueError, KeyError, TypeError):
        log.error("pin_unreadable", detail="not a pin")
        return None


def write_pin(folder: Path, pin: Pin) -> None:
    """Pin. Raises OSError."""
    write_atomically(folder / PIN, json.dumps({"left": pin.left, "left_at": pin.left_at.isoformat(), "kept": pin.kept,
                                               "at": pin.at.isoformat()}).encode())


def remove_pin(folder: Path) -> bool:
    """Unpin; False when there was none. Raises OSError."""
    try:
        (folder / PIN).unlink()
    except FileNotFoundError:
        return False
    _sync_folder(folder)
    return True


def prune(folder: Path, versions: Sequence[WhitelistVersion], now: datetime, policy: HistoryPolicy) -> list[str]:
    """Delete kept files past the policy; give their names. versions: newest adoption first, the first being in force.

    Only files that the history names are touched. Raises OSError.
    """
    pin = read_pin(folder)
    pinned = {pin.left, pin.kept} if pin else set()
    names = list(dict.fromkeys(one.file for one in versions))
    safe = {*names[:2], *(one.file for one in versions if one.sha256 in pinned)}
    adopted: dict[str, datetime] = {}
    for one in versions:
        adopted.setdefault(one.file, one.adopted_at)
    oldest = now - timedelta(days=policy.keep_days)
    gone = []
    for rank, name in enumerate(names):
        path = folder / name
        if name in safe or Path(name).name != name or (rank < policy.keep_count and adopted[name] >= oldest):
            continue
        if path.exists():
            path.unlink()
            gone.append(name)
    return gone
