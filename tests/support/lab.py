"""One lab for all scenario and interop tests of a session, and the raw clients that they speak to it with.

- The lab is a real one (`mssante lab up --detach`), in a temporary folder, at a free base port; it is built at the first
  test that asks for it and stopped, by its own pids, when pytest ends. Tests share it: each uses its own mark in what it
  sends, heals what it broke, and starts again what it killed.
- `SmtpWire` is a client that knows nothing of SMTP's manners: it sends the octets that it is given, which is what a hostile
  peer does. `Reader` is `imaplib`.
- No server of a test ever holds a pipe that a test waits on: outputs go to files.
"""

from __future__ import annotations

import hashlib
import imaplib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from mssante.clock import SystemClock
from mssante.lab.accounts import ExtraAccounts
from mssante.lab.build import BuildOrder
from mssante.lab.manifest import Lab, OperatorEntry
from mssante.lab.plan import HIGHEST_OFFSET, HOST, all_ports
from mssante.lab.processes import Part, accepts, busy_ports, running_pid, start, wait_ready, wait_until
from mssante.lab.supervisor import lab_parts, prepare

ROOT = Path(__file__).resolve().parents[2]
ACCOUNTS = 24
FIRST_BASE, BASES = 24000, 8  # below the ports that the system gives to clients
RULE = re.compile(r"\[([A-Z][A-Z0-9-]+)\](?: [245]\.\d\.\d+ Contact : \S+)?$")  # a refused peer is told whom to ask
_STASH = pytest.StashKey["RunningLab"]()


def free_base_port() -> int:
    """Give a base at which every port of a lab, and those reserved for its peers, are free now."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])  # two workers of one run never try the same base
    for step in range(0, BASES, 2):
        base = FIRST_BASE + 1000 * ((os.getpid() // 2 * 2 + worker % 2 + step) % BASES)
        reserved = {f"peer{offset}": base + offset for offset in range(900, HIGHEST_OFFSET)}
        if not busy_ports({**all_ports(base), **reserved}, HOST):
            return base
    raise RuntimeError("no free range of ports")


@dataclass(slots=True)
class RunningLab:
    """A lab that is up. folder: its DIR; started: children of this test run, by part, which we must reap."""

    folder: Path
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def lab(self) -> Lab:
        """The manifest as it is now."""
        return Lab.load(self.folder)

    def operator(self, name: str) -> OperatorEntry:
        """Give one operator's entry."""
        return self.lab.operator(name)

    def address(self, operator: str, door: str) -> tuple[str, int]:
        """Give (host, port) of a door."""
        return self.operator(operator).address(door)

    def command(self, *arguments: object, timeout: float = 120, small: bool = False) -> tuple[int, str, str]:
        """Run `mssante --lang en …` as a user does; give code, output and error text.

        small: by way of a shell, as a child of pytest inherits pytest's own peak of memory (getrusage(2), ru_maxrss).
        """
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            command = [sys.executable, "-m", "mssante", "--lang", "en", *(str(one) for one in arguments)]
            if small:
                command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command]
            code = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=timeout,
                                  check=False).returncode
            out.seek(0)
            err.seek(0)
            return code, out.read().decode(), err.read().decode()

    def break_with(self, fault: str) -> None:
        """`lab break`."""
        code, _, error = self.command("lab", "break", self.folder, fault)
        assert code == 0, error

    def heal(self) -> None:
        """`lab heal`."""
        code, _, error = self.command("lab", "heal", self.folder)
        assert code == 0, error

    # ------------------------------------------------------------ processes

    def part(self, name: str) -> Part:
        """Give the process description of a part."""
        return next(part for part in lab_parts(self.lab) if part.name == name)

    def kill(self, name: str) -> None:
        """`kill -9` of one part's own process; returns once it is gone."""
        part = self.part(name)
        pid = running_pid(part)
        assert pid is not None, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
        child = self.started.pop(name, None)
        if child is not None:
            child.wait(10)
        assert wait_until(lambda: running_pid(part) is None, 10)
        # the kernel lets go of the memory (and the command line) before the sockets
        assert wait_until(lambda: not any(accepts(door) for door in part.doors.values()), 10)

    def start(self, name: str, before: str = "") -> float:
        """Start a part again; give the seconds until every door accepts.

        before: shell commands that run first, in mount and user namespaces of that process alone (see `mounts`).
        """
        began = time.monotonic()
        part = self.part(name)
        self.started[name] = self._start_apart(part, before) if before else start(part)
        wait_ready(part, self.started[name], 60)
        lab = self.lab
        lab.set_pid(name, self.started[name].pid)
        lab.save()
        return time.monotonic() - began

    def _start_apart(self, part: Part, before: str) -> subprocess.Popen[bytes]:
        """Start a part after `before`, in its own namespaces; its pid is that of the part itself (all steps `exec`)."""
        script = f'set -e; {before}; exec "$@"'
        command = ["unshare", "--user", "--map-root-user", "--mount", "/bin/sh", "-c", script, "sh", sys.executable, "-m",
                   *part.arguments]
        with part.log_file.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT,
                                       start_new_session=True)
        part.pid_file.write_text(f"{process.pid}\n", encoding="ascii")
        return process

    def log(self, name: str) -> str:
        """Give the log of a part."""
        return self.part(name).log_file.read_text(encoding="utf-8", errors="replace")

    def metric(self, operator: str, name: str, label: str = "") -> float:
        """Give one sample of an operator's metrics, 0 when it is not there. label: text that its labels hold."""
        url = next(one["metrics"] for one in self.lab.document["operators"] if one["name"] == operator)
        with urllib.request.urlopen(url, timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name) and label in line:
                    return float(line.rpartition(" ")[2])
        return 0.0

    # ------------------------------------------------------------ mailboxes

    def reader(self, address: str) -> Reader:
        """Give a reader of a mailbox, by implicit TLS and password."""
        for operator in self.lab.operators:
            account = operator.account(address)
            if account is not None:
                return Reader(operator.address("imaps"), account.login, account.password, self.anchors())
        raise LookupError(address)

    def numbered(self, operator: str) -> list[str]:
        """Give the addresses `user0001@…` of an operator."""
        return [one.address for one in self.operator(operator).accounts if one.address.startswith("user")]

    def anchors(self) -> ssl.SSLContext:
        """Give a client context that trusts the lab's authorities and checks names."""
        return ssl.create_default_context(cafile=str(self.anchors_file))

    @property
    def anchors_file(self) -> Path:
        """The lab's authorities, PEM."""
        return self.lab.path(self.lab.trust("anchors"))

    def peer_files(self, name: str) -> tuple[Path, Path]:
        """Give certificate chain and key of a peer, or of an operator."""
        document = self.lab.document
        entry = document["peers"].get(name) or next(one for one in document["operators"] if one["name"] == name)
        return self.lab.path(entry["certificate"]), self.lab.path(entry["key"])

    def peer_context(self, name: str | None) -> ssl.SSLContext:
        """Give a client context with a peer's certificate and key; None: without certificate."""
        context = self.anchors()
        if name is not None:
            context.load_cert_chain(*self.peer_files(name))
        return context

    def wire(self, operator: str = "alpha", door: str = "smtp") -> SmtpWire:
        """Connect to a door of an operator."""
        return SmtpWire(self.address(operator, door))

    def session_as(self, peer: str | None, operator: str = "alpha") -> SmtpWire:
        """Give a session after EHLO, STARTTLS and EHLO; the last reply is in `wire.last`."""
        wire = self.wire(operator)
        wire.read_reply()
        wire.ask(b"EHLO peer.test")
        wire.ask(b"STARTTLS")
        wire.start_tls(self.peer_context(peer))
        wire.ask(b"EHLO peer.test")
        return wire

    def takes_mail(self, operator: str, address: str) -> bool:
        """Tell if a server takes mail for an address now: it reads a new state of a mailbox a little later. A test that
        shut a mailbox of everybody's waits for it before it leaves."""
        with self.session_as("gamma", operator) as wire:
            wire.ask(b"MAIL FROM:<medecin@gamma.mssante.test>")
            return wire.ask(f"RCPT TO:<{address}>".encode()).code == 250

    def stop(self) -> None:
        """`lab down`, then remove the folder."""
        code, out, error = self.command("lab", "down", self.folder)
        for child in self.started.values():
            child.wait(10)
        if code == 0 and not os.environ.get("MSSANTE_KEEP_LAB"):
            shutil.rmtree(self.folder.parent, ignore_errors=True)
        else:
            print(f"lab left in {self.folder}: {code} {out} {error}")


def start_lab(accounts: int = ACCOUNTS) -> RunningLab:
    """Build and start a lab of our own, whose servers see within two seconds what a command changed in a mailbox."""
    running = RunningLab(Path(tempfile.mkdtemp(prefix="mssante-lab-")) / "lab")
    base = free_base_port()
    lab = prepare(BuildOrder(running.folder, base, ExtraAccounts(accounts)), fresh=False, base_port=base, now=SystemClock().now,
                  progress=lambda _: None)
    for one in lab.operators:
        settings = lab.path(one.config) / "operator.toml"
        text = settings.read_text(encoding="utf-8")
        assert text.count("[limits]\n") == 1
        settings.write_text(text.replace("[limits]\n", "[limits]\nmailbox_seconds = 2\n"), encoding="utf-8")
    code, out, error = running.command("lab", "up", running.folder, "--detach")
    if code != 0:
        raise RuntimeError(f"the lab does not start: {out} {error}")
    return running


def shared_lab(config: pytest.Config) -> RunningLab:
    """Give the lab of this pytest run, started at the first call and stopped when pytest ends."""
    running = config.stash.get(_STASH, None)
    if running is None:
        running = config.stash[_STASH] = start_lab()
        config.add_cleanup(running.stop)
    return running


@pytest.fixture(scope="session")
def running_lab(request: pytest.FixtureRequest) -> RunningLab:
    """The one lab of the session."""
    return shared_lab(request.config)


@pytest.fixture
def healed(running_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab for a test that breaks it: every fault is off before and after."""
    yield running_lab
    running_lab.heal()
    assert soon(lambda: all(running_lab.metric(name, "mssante_trust_alarm{", source) == 0
                            for name in ("alpha", "beta") for source in ("whitelist", "crl0", "crl1")))


def soon(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Tell whether a condition came true in time."""
    return wait_until(condition, seconds)


def need_small_disk() -> None:
    """Skip where a process may not mount a file system of its own in its own namespaces (no root needed, but a kernel's yes)."""
    need_programs("unshare")
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", folder],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        pytest.skip("this kernel lets nobody mount a small file system in namespaces of its own")


def need_programs(*names: str) -> None:
    """Skip the test, saying which program of Debian is missing."""
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    missing = [name for name in names if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"not installed on this machine: {', '.join(missing)}")


def letter(sender: str, recipient: str, mark: str, size: int = 1000) -> bytes:
    """Give a plain message with CRLF lines; `mark` is its X-Id and its Message-ID."""
    head = (f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: essai\r\nDate: Mon, 23 Nov 2026 01:00:00 +0000\r\n"
            f"Message-ID: <{mark}@essai.test>\r\nX-Id: {mark}\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain; charset=us-ascii\r\n\r\n").encode("ascii")
    line = hashlib.sha256(mark.encode()).hexdigest().encode() + b"\r\n"
    return head + line * (max(size - len(head), len(line)) // len(line))


def dotted(message: bytes) -> bytes:
    """Give a message as it goes after DATA (RFC 5321 §4.5.2)."""
    return re.sub(rb"(?m)^\.", b"..", message) + b".\r\n"


@dataclass(frozen=True, slots=True)
class Reply:
    """One SMTP reply; code 0: the connection ended, `text` says how."""

    code: int
    text: str

    @property
    def rule(self) -> str:
        """The rule in brackets at its end (before the contact, when there is one), or empty."""
        found = RULE.search(self.text)
        return found.group(1) if found else ""


class SmtpWire:
    """Octets to a door and replies from it, with a time limit. A context manager."""

    def __init__(self, address: tuple[str, int], *, seconds: float = 20) -> None:
        self.socket: socket.socket = socket.create_connection(address, timeout=seconds)
        self._buffer = b""
        self.last = Reply(0, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go, without manners."""
        self.socket.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Take TLS on this connection; raises ssl.SSLError or OSError. Octets read before it stay in the buffer."""
        self.socket = context.wrap_socket(self.socket, server_hostname=HOST)

    def send(self, octets: bytes) -> None:
        """Send as it is; a connection that the server closed meanwhile is no fault here."""
        try:
            self.socket.sendall(octets)
        except (ConnectionError, ssl.SSLError):
            pass

    def read_reply(self) -> Reply:
        """Read one whole reply."""
        lines: list[str] = []
        while True:
            while b"\r\n" not in self._buffer:
                try:
                    more = self.socket.recv(65536)
                except (OSError, ssl.SSLError) as exc:
                    self.last = Reply(0, str(getattr(exc, "reason", None) or exc))
                    return self.last
                if not more:
                    self.last = Reply(0, "connection closed")
                    return self.last
                self._buffer += more
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            text = line.decode("utf-8", "replace")
            lines.append(text[4:])
            if text[3:4] != "-":
                self.last = Reply(int(text[:3]), " ".join(lines))
                return self.last

    def ask(self, line: bytes) -> Reply:
        """Send one command line, give its reply."""
        self.send(line + b"\r\n")
        return self.read_reply()

    def silent(self, seconds: float = 0.3) -> bool:
        """Tell whether nothing more comes for a moment: no unread octet, or the end of the connection."""
        if self._buffer:
            return False
        self.socket.settimeout(seconds)
        try:
            self._buffer = self.socket.recv(65536)
        except (OSError, ssl.SSLError):
            return True
        return not self._buffer

    def deliver(self, sender: str, recipients: Iterable[str], message: bytes) -> Reply:
        """MAIL, RCPT, DATA one by one; give the first refusal, or the reply to the final dot."""
        for command in (f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA"):
            reply = self.ask(command.encode())
            if reply.code >= 400 or not reply.code:
                return reply
        self.send(dotted(message))
        return self.read_reply()


class Reader:
    """A mailbox by `imaplib`. A context manager."""

    def __init__(self, address: tuple[str, int], login: str, password: str, context: ssl.SSLContext) -> None:
        self.client = imaplib.IMAP4_SSL(*address, ssl_context=context, timeout=60)
        self.client.login(login, password)
        self.client.select("INBOX")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.client.logout()
        except (imaplib.IMAP4.error, OSError):
            pass

    def count(self) -> int:
        """Messages in INBOX now."""
        _, answer = self.client.select("INBOX")
        return int(answer[0] or 0)

    def marks(self) -> list[str]:
        """Give the X-Id of every message of INBOX that has one, in UID order."""
        self.client.select("INBOX")
        _, answer = self.client.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (X-Id)])")
        found = [re.search(rb"(?i)x-id: *(\S+)", one[1]) for one in answer if isinstance(one, tuple)]
        return [match.group(1).decode("ascii") for match in found if match]

    def whole(self, mark: str) -> list[bytes]:
        """Give every message of INBOX with that X-Id, octet for octet."""
        self.client.noop()
        _, found = self.client.uid("SEARCH", "HEADER", "X-Id", mark)
        return [self.fetch(uid.decode("ascii")) for uid in (found[0] or b"").split()]

    def fetch(self, uid: str) -> bytes:
        """Give one message."""
        _, answer = self.client.uid("FETCH", uid, "(BODY.PEEK[])")
        return next(bytes(one[1]) for one in answer if isinstance(one, tuple))

    def wait_for(self, mark: str, seconds: float = 30) -> bytes:
        """Give the message with that X-Id once it is there; fails the test when it does not come."""
        found: list[bytes] = []

        def look() -> bool:
            found[:] = self.whole(mark)
            return bool(found)

        assert soon(look, seconds), f"{mark} is not in the mailbox after {seconds} s"
        return found[0]

    def uids(self) -> list[str]:
        """Give the UIDs of INBOX."""
        self.client.noop()
        _, found = self.client.uid("SEARCH", "ALL")
        return [uid.decode("ascii") for uid in (found[0] or b"").split()]


def report(name: str, text: str) -> None:
    """Print a result, and write it to `$MSSANTE_REPORT_DIR/name` when that folder is given."""
    print(text)
    folder = os.environ.get("MSSANTE_REPORT_DIR")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / name).write_text(text + "\n", encoding="utf-8")


def as_json(text: str) -> dict[str, Any]:
    """Read the object that a command printed."""
    import json

    document: dict[str, Any] = json.loads(text)
    return document
