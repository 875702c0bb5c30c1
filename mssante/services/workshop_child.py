"""The worker process of the workshop: reads one job at a time on its standard input, answers on its standard output.

- Started as a program of its own (`python -I workshop_child.py`), never by a fork that goes on: the memory of the server (keys,
  passwords, mails) is not in it; it gets no socket, no file of the server but its two pipes, and an empty environment.
- Before the first job it gives up what no job needs (`services.confinement`): memory, files, network, programs; before each job,
  a limit on processor time.
- What a job prints goes nowhere: it might name a patient.

Started by `mssante.services.workshop` only. Knows nothing of asyncio; imports the program only when the first job names it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pickle
import resource
import signal
import struct
import sys
import time
from typing import BinaryIO

_HEAD = struct.Struct(">cQ")


def _allow_processor(seconds: float) -> None:
    """Let the process use `seconds` more of every processor, and two; beyond, the kernel ends it by SIGXCPU (the server, which
    counts time on the wall, ends it before; this holds when the server is too busy to look)."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds * (os.cpu_count() or 1)) + 2, hard))


def _read(source: BinaryIO) -> tuple[bytes, bytes] | None:
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, size = _HEAD.unpack(head)
    body = source.read(size)
    return (kind, body) if len(body) == size else None


def _write(sink: BinaryIO, kind: bytes, body: bytes) -> None:
    sink.write(_HEAD.pack(kind, len(body)))
    sink.write(body)
    sink.flush()


def _where(fault: BaseException) -> str:
    """Name the kind of a fault and the line that raised it; never its text, which may quote the document."""
    step = fault.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    place = f"{os.path.basename(step.tb_frame.f_code.co_filename)}:{step.tb_lineno}" if step is not None else "?"
    return f"{type(fault).__name__} {place}"


def _told(fault: BaseException) -> tuple[bytes, bytes]:
    """Give the answer for a fault: F for one of ours (typed), E for any other."""
    faults = importlib.import_module("mssante.errors")
    if isinstance(fault, faults.MssFault):
        told = {name: str(getattr(fault, name, "")) for name in ("public", "detail", "rule", "remedy")}
        told.update(module=type(fault).__module__, name=type(fault).__qualname__)
        return b"F", json.dumps(told).encode()
    return b"E", _where(fault).encode()


def _job(body: bytes, result_bytes: int) -> tuple[bytes, bytes]:
    """Do one job and give its answer: R result, F or E fault, M no memory, L result too large."""
    try:
        language, function, arguments = pickle.loads(body)  # noqa: S301 - written by our own server, on a pipe only it holds
        importlib.import_module("mssante.lang").set_language(language)
        answer = importlib.import_module("mssante.services.workvalues").written(function(*arguments))
    except MemoryError:
        return b"M", b""
    except Exception as fault:
        return _told(fault)
    return (b"R", answer) if len(answer) <= result_bytes else (b"L", b"")


def _serve(source: BinaryIO, sink: BinaryIO) -> None:
    first = _read(source)
    if first is None:
        return
    setup = json.loads(first[1])
    sys.path[:] = setup["paths"]
    confinement = importlib.import_module("mssante.services.confinement")
    held = confinement.confine(confinement.Bounds(setup["memory_bytes"], setup["reserved_bytes"], tuple(setup["readable"]),
                                                  tuple(setup["writable"])), setup["parent"])
    _write(sink, b"H", json.dumps([held.landlock, held.seccomp]).encode())
    while (got := _read(source)) is not None:
        seconds = struct.unpack(">d", got[1][:8])[0]
        _allow_processor(seconds)
        began = time.monotonic()
        kind, body = _job(got[1][8:], setup["result_bytes"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        _write(sink, kind, struct.pack(">dQ", time.monotonic() - began, peak) + body)
        gc.collect()


def main() -> None:
    """Serve jobs until the input ends."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _serve(source, sink)


if __name__ == "__main__":
    main()
