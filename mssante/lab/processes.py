"""Processes and ports of a lab: start one, know whether it lives, stop it by its own pid, tell whether a port is free.

- A pid is believed only while the command line of that process still names the lab's folder: a number that the system
  gave to somebody else is stale, and is never signalled (on systems without /proc the number alone is believed).
- Never signals a group or a name. Blocking by design: the supervisor is a command, not a server.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mssante
from mssante.errors import OperatorFault
from mssante.lab.files import write_atomic
from mssante.lang import say

STOP_SECONDS = 30.0
POLL_SECONDS = 0.03
MAX_LOG_TAIL = 2000


@dataclass(frozen=True, slots=True)
class Part:
    """One process of a lab. marker: text that its command line holds and no other's does; doors: address by name."""

    name: str
    arguments: tuple[str, ...]
    marker: str
    folder: Path
    doors: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def pid_file(self) -> Path:
        """Where its process id is kept."""
        return self.folder / "run" / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        """Where its standard output and error go."""
        return self.folder / "log" / f"{self.name}.log"


def _command_line(pid: int) -> str | None:
    """The command line of a process; empty for a zombie; None when /proc does not say."""
    if not Path("/proc/self/cmdline").exists():
        return None
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return ""


def is_running(pid: int, marker: str) -> bool:
    """Tell whether process `pid` lives and is the one whose command line holds `marker`."""
    if pid <= 1:
        return False
    line = _command_line(pid)
    if line is not None:
        return marker in line
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def running_pid(part: Part) -> int | None:
    """Give the pid of a part that lives, or None; a stale pid file is removed."""
    try:
        pid = int(part.pid_file.read_text(encoding="ascii")[:20])
    except (OSError, ValueError):
        return None
    if is_running(pid, part.marker):
        return pid
    part.pid_file.unlink(missing_ok=True)
    return None


def start(part: Part) -> subprocess.Popen[bytes]:
    """Start a part in a session of its own (a Ctrl-C reaches only the supervisor); its pid file is written."""
    part.log_file.parent.mkdir(exist_ok=True)
    environment = dict(os.environ)
    home = str(Path(mssante.__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH", ""))))
    with part.log_file.open("ab") as log:
        process = subprocess.Popen((sys.executable, "-m", *part.arguments), stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, env=environment, start_new_session=True, cwd=part.folder)
    write_atomic(part.pid_file, f"{process.pid}\n".encode())
    return process


def stop(parts: Sequence[Part], children: Mapping[str, subprocess.Popen[bytes]] | None = None) -> list[str]:
    """Ask every part to stop (SIGTERM), wait for all, kill those that outlast 30 s; give the names stopped.

    children: those that we started ourselves and must reap.
    """
    alive = {part.name: (part, pid) for part in parts if (pid := running_pid(part)) is not None}
    for _, pid in alive.values():
        _signal(pid, signal.SIGTERM)
    names = list(alive)
    deadline = time.monotonic() + STOP_SECONDS
    while alive:
        for name, (part, pid) in list(alive.items()):
            if not is_running(pid, part.marker):
                _reap((children or {}).get(name))
                part.pid_file.unlink(missing_ok=True)
                del alive[name]
            elif time.monotonic() > deadline:
                _signal(pid, signal.SIGKILL)
        if alive:
            time.sleep(POLL_SECONDS)
    return names


def _reap(child: subprocess.Popen[bytes] | None) -> None:
    """Collect a child of ours that ended: its memory is gone already, so this waits for the kernel only."""
    if child is not None:
        try:
            child.wait(1)
        except subprocess.TimeoutExpired:
            pass


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def accepts(address: tuple[str, int]) -> bool:
    """Tell whether something accepts TCP connections there."""
    try:
        with socket.create_connection(address, timeout=1):
            return True
    except OSError:
        return False


def wait_ready(part: Part, process: subprocess.Popen[bytes], timeout: float) -> None:
    """Return once every door of a part accepts; raises OperatorFault (`LAB-START`) with the end of its log."""
    waiting = dict(part.doors)
    deadline = time.monotonic() + timeout
    while waiting:
        code = process.poll()
        if code is not None or time.monotonic() > deadline:
            why = (say(f"arrêt avec le code {code}", f"it ended with code {code}") if code is not None else
                   say("délai dépassé", "time is over"))
            raise OperatorFault(say(f"{part.name} ne démarre pas : {why}", f"{part.name} does not start: {why}"),
                                detail=log_tail(part), rule="LAB-START",
                                remedy=say(f"lisez {part.log_file}", f"read {part.log_file}"))
        waiting = {name: address for name, address in waiting.items() if not accepts(address)}
        if waiting:
            time.sleep(POLL_SECONDS)


def log_tail(part: Part) -> str:
    """Give the end of a part's log, at most 2,000 characters."""
    try:
        return part.log_file.read_bytes()[-MAX_LOG_TAIL:].decode("utf-8", "replace").strip()
    except OSError:
        return ""


def busy_ports(ports: Mapping[str, int], host: str) -> dict[str, int]:
    """Give those of `ports` (by name) on which we could not listen now."""
    return {name: port for name, port in ports.items() if not _free(host, port, udp=name == "infra.dns")}


def _free(host: str, port: int, *, udp: bool) -> bool:
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM) if udp else (socket.SOCK_STREAM,)
    for kind in kinds:
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no owner
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Tell whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
