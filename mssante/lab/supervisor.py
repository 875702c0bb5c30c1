"""Starts a lab, watches it, breaks and heals it, stops it: what `mssante lab up, status, break, heal, down` do.

- The shared services start first, then the operators together; each is its own process with its log in `DIR/log`.
- No daemon of ours stays behind: with `--detach` the parts simply live on, and every command finds them by pid file.
- A part is stopped by its own pid, after a check that this pid is still that part (`mssante.lab.processes`).
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mssante.errors import InputFault
from mssante.lab.build import MARKER, BuildOrder, Progress, build, check_folder, clear
from mssante.lab.desks import fault_file
from mssante.lab.faults import Fault
from mssante.lab.manifest import FILE_NAME, Lab
from mssante.lab.plan import (
    DOORS,
    HIGHEST_OFFSET,
    HOSPITAL_OF,
    HOSPITAL_OFFSET,
    HOST,
    OPERATORS,
    all_ports,
    infra_ports,
    operator_plan,
)
from mssante.lab.processes import Part, accepts, busy_ports, running_pid, start, stop, wait_ready
from mssante.lang import say

START_SECONDS = 60.0
WATCH_SECONDS = 0.3
Children = dict[str, subprocess.Popen[bytes]]


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One line of `lab status`. pid None: no such process; closed: doors that do not accept."""

    name: str
    pid: int | None
    doors: dict[str, str]
    closed: tuple[str, ...]

    @property
    def up(self) -> bool:
        """Whether the process lives and every door accepts."""
        return self.pid is not None and not self.closed


def parts_of(folder: Path, base_port: int, *, mllp: bool = True, hospital: bool = False) -> tuple[Part, ...]:
    """Give the processes of a lab, in the order in which they start. mllp: operators with an application have that door (labs
    built before it had not); hospital: the little hospital runs too."""
    folder = folder.resolve()
    infra_doors = {name: (HOST, port) for name, port in infra_ports(base_port).items()}
    parts = [Part("infra", ("mssante.lab.infra", str(folder)), f"mssante.lab.infra {folder} ", folder, infra_doors)]
    for plan in OPERATORS:
        config = folder / plan.name / "operator_config"
        doors = {door: (HOST, plan.port(base_port, door)) for door in DOORS}
        if mllp and plan.hl7_mailbox:
            doors["mllp"] = (HOST, plan.mllp_port(base_port))
        parts.append(Part(plan.name, ("mssante", "serve", str(config)), f"serve {config} ", folder, doors))
    if hospital:
        files, listen = folder / "hospital", base_port + HOSPITAL_OFFSET
        send = operator_plan(HOSPITAL_OF).mllp_port(base_port)
        words = ("mssante.lab.hospital", str(files), "--listen", f"{HOST}:{listen}", "--send", f"{HOST}:{send}")
        parts.append(Part("hospital", words, f"mssante.lab.hospital {files} ", folder, {"mllp": (HOST, listen)}))
    return tuple(parts)


def lab_parts(lab: Lab) -> tuple[Part, ...]:
    """Give the processes of an existing lab."""
    return parts_of(lab.folder, lab.base_port, mllp=any("mllp" in one.doors for one in lab.operators),
                    hospital="hospital" in lab.document)


def check_ports(base_port: int) -> None:
    """Raise InputFault (`LAB-PORTS`) naming the first port that is out of range or taken, and the option that moves it."""
    if not 1024 <= base_port <= 65535 - HIGHEST_OFFSET:
        raise InputFault(say(f"--base-port {base_port} est hors limites", f"--base-port {base_port} is out of range"),
                         rule="LAB-PORTS", remedy=f"1024 – {65535 - HIGHEST_OFFSET}")
    busy = busy_ports(all_ports(base_port), HOST)
    if busy:
        name, port = next(iter(busy.items()))
        raise InputFault(say(f"le port {port} ({name}) est déjà pris", f"port {port} ({name}) is taken already"),
                         rule="LAB-PORTS", remedy=say("choisissez une autre base : --base-port N",
                                                      "choose another base: --base-port N"))


class Supervisor:
    """Starts and stops the parts of one lab; remembers the children that it must reap."""

    def __init__(self, lab: Lab, progress: Progress) -> None:
        self.lab = lab
        self.parts = {part.name: part for part in lab_parts(lab)}
        self._progress = progress
        self._children: Children = {}

    # ------------------------------------------------------------ start and stop

    def start_all(self) -> None:
        """Start every part and return once all accept; raises OperatorFault (`LAB-START`) after stopping what started."""
        fault_file(self.lab).write(frozenset())
        try:
            self._start_together(("infra",))
            self._start_together(tuple(name for name in self.parts if name != "infra"))
        except BaseException:  # a Ctrl-C during the start must not leave half a lab behind
            self.stop_all()
            raise

    def _start_together(self, names: tuple[str, ...]) -> None:
        for name in names:
            process = start(self.parts[name])
            self._children[name] = process
            self.lab.set_pid(name, process.pid)
        for name in names:
            part = self.parts[name]
            wait_ready(part, self._children[name], START_SECONDS)
            doors = " ".join(f"{door}={host}:{port}" for door, (host, port) in part.doors.items())
            self._progress(f"{name:8} {doors}")
        self.lab.save()

    def stop_all(self) -> list[str]:
        """Stop every part, operators first; give the names of those that ran."""
        operators = [part for name, part in self.parts.items() if name != "infra"]
        names = stop(operators, self._children) + stop([self.parts["infra"]], self._children)
        for name in self.parts:
            self.lab.set_pid(name, None)
        self.lab.save()
        return names

    # ------------------------------------------------------------ faults

    def break_with(self, fault: Fault) -> None:
        """Switch a fault on; raises InputFault (`LAB-DOWN`) when the lab does not run."""
        if running_pid(self.parts["infra"]) is None:
            raise InputFault(say("le laboratoire n'est pas démarré", "the lab is not up"), rule="LAB-DOWN",
                             remedy=f"mssante lab up {self.lab.folder}")
        faults = fault_file(self.lab)
        faults.write(faults.read() | {fault})
        if fault is Fault.BETA_DOWN:
            stop([self.parts["beta"]], self._children)
            self.lab.set_pid("beta", None)
            self.lab.save()

    def heal(self) -> frozenset[Fault]:
        """Switch every fault off and start beta again if it is down; give the faults that were on."""
        faults = fault_file(self.lab)
        found = faults.read()
        faults.write(frozenset())
        if running_pid(self.parts["infra"]) is not None and running_pid(self.parts["beta"]) is None:
            self._start_together(("beta",))
        return found

    # ------------------------------------------------------------ watching

    def status(self) -> list[PartStatus]:
        """Give the state of each part now."""
        return [PartStatus(name, running_pid(part), {door: f"{host}:{port}" for door, (host, port) in part.doors.items()},
                           tuple(door for door, address in part.doors.items() if not accepts(address)))
                for name, part in self.parts.items()]

    def watch(self, told: Callable[[str], None]) -> None:
        """Stay until Ctrl-C or SIGTERM, or until another command stopped every part; tell a part that died by itself."""
        asked = threading.Event()
        previous = {number: signal.signal(number, lambda *_: asked.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        dead: set[str] = set()
        try:
            while not asked.wait(WATCH_SECONDS):
                for child in self._children.values():
                    child.poll()
                alive = {name for name, part in self.parts.items() if running_pid(part) is not None}
                if not alive:
                    return
                meant = {"beta"} if Fault.BETA_DOWN in fault_file(self.lab).read() else set()
                for name in sorted(set(self.parts) - alive - dead - meant):
                    log = self.parts[name].log_file
                    told(say(f"{name} s'est arrêté : lisez {log}", f"{name} stopped: read {log}"))
                dead = set(self.parts) - alive
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.lab = Lab.load(self.lab.folder)  # another command may have written process ids meanwhile


def prepare(order: BuildOrder, *, fresh: bool, base_port: int | None, now: Callable[[], datetime],
            progress: Progress) -> Lab:
    """Give the lab to start: the one in the folder as it is, or a new one (missing, unfinished, or `fresh`).

    base_port: the one asked for explicitly, or None. Raises InputFault (`LAB-RUNNING`, `LAB-BASE-PORT`, `LAB-PORTS`,
    `LAB-FOLDER`, `LAB-WORKERS`, `LAB-HOPITAL`).
    """
    folder = order.folder.resolve()
    if order.workers != 1:
        raise InputFault(say("plusieurs processus par opérateur demandent PostgreSQL",
                             "several processes for an operator need PostgreSQL"), rule="LAB-WORKERS",
                         remedy=say("laissez --workers 1", "leave --workers 1"))
    check_folder(folder)
    existing = _existing(folder)
    if existing is not None:
        supervisor = Supervisor(existing, progress)
        running = [part.name for part in supervisor.parts.values() if running_pid(part) is not None]
        if running and not fresh:
            raise InputFault(say(f"ce laboratoire tourne déjà ({', '.join(running)})",
                                 f"this lab runs already ({', '.join(running)})"), rule="LAB-RUNNING",
                             remedy=f"mssante lab status {folder} ; mssante lab down {folder}")
        if running:
            supervisor.stop_all()
        if not fresh:
            if base_port is not None and base_port != existing.base_port:
                raise InputFault(say(f"ce laboratoire est construit sur la base {existing.base_port}",
                                     f"this lab is built on base {existing.base_port}"), rule="LAB-BASE-PORT",
                                 remedy=say("ajoutez --fresh pour le reconstruire", "add --fresh to build it anew"))
            if order.hospital and "hospital" not in existing.document:
                raise InputFault(say("ce laboratoire est construit sans hôpital", "this lab is built without a hospital"),
                                 rule="LAB-HOPITAL", remedy=say("ajoutez --fresh pour le reconstruire",
                                                                      "add --fresh to build it anew"))
            check_ports(existing.base_port)
            return existing
    check_ports(order.base_port)
    try:
        return build(order, now(), progress)
    except BaseException:
        if (folder / MARKER).exists() and not (folder / FILE_NAME).exists():
            clear(folder)  # half a lab is worse than none; an older whole one stays when nothing was begun
        raise


def _existing(folder: Path) -> Lab | None:
    """The finished lab of a folder; None when there is none, or only half of one."""
    return Lab.load(folder) if (folder / FILE_NAME).exists() else None
