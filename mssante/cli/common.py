"""What commands share: options, output (table or JSON), progress, access to the stores. Called by every module of `cli`.

Heavy floors (`mssante.app` and what it pulls in) are imported inside functions, so that `--help` and usage errors are quick.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin

T = TypeVar("T")
DONE, FAULT, USAGE, CHECK_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
QUIET_SECONDS = 1.0  # what takes less shows no progress
MAX_CELL = 80

ConfigFolder = Annotated[Path, typer.Option("--config", "-c", metavar="DIR", show_default=True,
                                            help="Dossier de configuration (configuration folder)")]
AsJson = Annotated[bool, typer.Option("--json", help="Un objet JSON sur la sortie (one JSON object)")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="Nombre de lignes (number of rows)")]
DEFAULT_CONFIG = Path("operator_config")


def administer(folder: Path, action: Callable[[Admin], Awaitable[T]]) -> T:
    """Run `action` on the stores of a configuration folder. Raises MssFault, OSError."""
    return administer_config(load_config(folder), action)


def administer_config(config: Config, action: Callable[[Admin], Awaitable[T]]) -> T:
    """Run `action` on the stores of a configuration that is read already. Raises MssFault, OSError."""
    from mssante.app import open_admin

    async def work() -> T:
        async with open_admin(config) as admin:
            return await action(admin)

    return asyncio.run(work())


def emit(as_json: bool, document: dict[str, Any], *lines: str) -> None:
    """Print the facts: `document` with --json, else the lines for a reader."""
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    for text in lines:
        typer.echo(text)


def instant(value: datetime | None) -> str | None:
    """Give an instant as JSON holds it (ISO 8601, UTC)."""
    return value.isoformat(timespec="seconds") if value else None


def moment(value: datetime) -> str:
    """Give an instant for a reader: local time of the machine, to the second."""
    return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"


def last_moment(value: datetime | None) -> str:
    """Give an excluded end as who wrote it means it: the last day when it falls on a midnight of this machine, else its instant;
    empty for none."""
    if value is None:
        return ""
    local = value.astimezone()
    midnight = (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)
    return f"{local - timedelta(hours=12):%Y-%m-%d}" if midnight else moment(value)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Give the lines of a table with aligned columns; a long cell is cut, never wrapped. Control characters are shown as `?`."""
    cells = [[_cell(value) for value in row] for row in (headers, *rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(headers))]
    return ["  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _cell(value: object) -> str:
    text = "".join(character if character.isprintable() else "?" for character in str(value))
    return text if len(text) <= MAX_CELL else text[:MAX_CELL - 1] + "…"


@contextmanager
def progress(text: str, as_json: bool = False) -> Iterator[None]:
    """Tell on standard error that something goes on, once it lasts a second; only on a terminal, never with --json."""
    if as_json or not sys.stderr.isatty():
        yield
        return
    stop = threading.Event()
    worker = threading.Thread(target=_tick, args=(text, stop), daemon=True)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join()


def _tick(text: str, stop: threading.Event) -> None:
    began = time.monotonic()
    shown = False
    while not stop.wait(QUIET_SECONDS):
        shown = True
        sys.stderr.write(f"\r{text}… {time.monotonic() - began:.0f} s ")
        sys.stderr.flush()
    if shown:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def read_limited(path: Path, limit: int, rule: str) -> bytes:
    """Read a file given on the command line, at most `limit` octets. Raises InputFault."""
    try:
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except OSError as exc:
        raise InputFault(say(f"{path} ne se lit pas", f"{path} cannot be read"), detail=exc.strerror or "", rule=rule,
                         remedy=say("vérifiez le chemin et les droits", "check the path and its mode")) from exc
    if len(raw) > limit:
        raise InputFault(say(f"{path} dépasse {limit} octets", f"{path} is over {limit} octets"), rule=rule)
    return raw
