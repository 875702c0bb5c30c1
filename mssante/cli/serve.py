"""`mssante serve CONFIG`: run the operator in the foreground, JSON log on standard output, until SIGTERM.

Reads the configuration before anything heavy is loaded, so that a bad one is told at once. An end by SIGTERM or Ctrl-C is an
orderly stop with exit code 0; what a service task died of is a fault, exit code 1.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from mssante.cli.common import DEFAULT_CONFIG
from mssante.config.load import load_config

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
LARGE_BLOCK = 2 * 1024 * 1024
HEAP_SLACK = 8 * 1024 * 1024
COLLECTIONS = (20_000, 20, 20)  # what a message makes is freed by its references: cycles are few, and a full look costs 0.2 s
SWITCH_INTERVAL = 0.0005  # the writer thread takes the GIL back at each SQLite step: 5 ms by default is far too long


def give_memory_back() -> None:
    """Have the C library return large blocks to the system as soon as they are freed.

    By itself it learns from the first 19 MiB of argon2 to keep such blocks, one for each worker thread: 80 MB for ever. Where the
    library has no `mallopt` nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(M_TRIM_THRESHOLD, HEAP_SLACK)


def serve(config: Annotated[Path, typer.Argument(
        metavar="[DIR]", help="Dossier de configuration (configuration folder)")] = DEFAULT_CONFIG,
        named: Annotated[Path | None, typer.Option(
            "--config", "-c", metavar="DIR", help="Le même dossier, nommé comme ailleurs (the same folder)")] = None) -> None:
    """Sert jusqu'à SIGTERM (serves until SIGTERM)."""
    loaded = load_config(named or config)
    import structlog
    import uvloop

    from mssante.app import Operator
    from mssante.observability.logging import configure

    configure(loaded.operator.log.level)
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(*COLLECTIONS)
    give_memory_back()
    try:
        uvloop.run(Operator(loaded).run())
    except Exception:
        structlog.get_logger("serve").critical("died", exc_info=True)  # whole in the log; the command line tells one line
        raise
