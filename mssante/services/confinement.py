"""What a worker process gives up for good before it sees a document: files, sockets, programs, the processes of others.

- **Files**: by Landlock (Linux 5.13), it may read the interpreter, its libraries and the folders named to it, nothing else: not
  the store, not the keys, not /etc/passwd; it may write nowhere but where it is told.
- **Network**: by a seccomp filter, `socket` fails: no connection, no name resolution. Descriptors that it holds go on working.
- **Programs and processes**: no other program can be started, no other process traced or read.
- **Limits**: writable memory, address space, open files, written size, no core file; it dies with its parent, and is the first
  that the kernel ends when memory lacks.

Each is a promise of the kernel, held whatever the libraries in the process do. Where a kernel lacks one, the others hold, and
`Confinement` says which: the reader of documents has checks of its own besides. Called by `workshop_child` only; needs no right.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

_PDEATHSIG, _DUMPABLE, _SECCOMP, _NO_NEW_PRIVS = 1, 4, 22, 38  # prctl(2)
_OPEN_FILES = 256
_FILE_BYTES = 1 << 30
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # landlock(7): the same numbers on every machine
_ASK_VERSION = 1
_READ_FILE, _READ_FOLDER, _MAP_PROGRAM = 1 << 2, 1 << 3, 1 << 0
_WRITE = (1 << 1) | (1 << 4) | (1 << 5) | (1 << 7) | (1 << 8) | (1 << 14)  # files and folders: write, remove, make, truncate
_ON_FILES = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14) | (1 << 15)  # rights that a rule on a file may name
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}  # by version; 5 adds ioctl
_ALWAYS = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/fonts", "/etc/localtime", "/dev/null", "/dev/zero", "/dev/urandom",
           "/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/sys/devices/system/cpu", "/sys/fs/cgroup")
_DENIED = {  # seccomp(2): socket, execve, execveat, ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, io_uring_setup, bpf
    "x86_64": (0xC000003E, (41, 59, 322, 101, 310, 311, 438, 425, 321)),
    "aarch64": (0xC00000B7, (198, 221, 281, 117, 270, 271, 438, 425, 280)),
}
_X32 = 0x40000000  # the third set of numbers of x86_64
_REFUSED, _ALLOWED = 0x00050000 | 1, 0x7FFF0000  # EPERM; SECCOMP_RET_ALLOW


@dataclass(frozen=True, slots=True)
class Confinement:
    """What the kernel holds. landlock: version, 0 when absent; seccomp: True when `socket` is refused."""

    landlock: int
    seccomp: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """memory_bytes: writable memory; reserved_bytes: address space beyond it, that may be reserved and not written (the engine of
    XSLT reserves 32 GiB); readable, writable: files and folders."""

    memory_bytes: int
    reserved_bytes: int
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


def confine(bounds: Bounds, parent: int) -> Confinement:
    """Give up everything, for good. parent: the process to die with. Raises OSError when a limit cannot be set."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked to follow it
        os._exit(0)
    libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.umask(0o077)
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("1000")
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, _OPEN_FILES), (resource.RLIMIT_FSIZE, _FILE_BYTES),
                         (resource.RLIMIT_DATA, bounds.memory_bytes),  # private writable memory: what a bomb needs
                         (resource.RLIMIT_AS, bounds.memory_bytes + bounds.reserved_bytes)):
        resource.setrlimit(limit, (value, value))
    return Confinement(_landlock(libc, bounds), _seccomp(libc))


def _landlock(libc: ctypes.CDLL, bounds: Bounds) -> int:
    """Forbid every file but those named. Gives the version of Landlock, 0 when there is none."""
    version = int(libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION))
    if version < 1:
        return 0
    handled = _RIGHTS.get(version, (1 << 16) - 1)
    network = 3 if version >= 4 else 0  # TCP: bind, connect
    scoped = 3 if version >= 6 else 0  # abstract sockets, signals to others
    attributes = struct.pack("=QQQ", handled, network, scoped)[:8 if version < 4 else 16 if version < 6 else 24]
    rules = int(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    if rules < 0:
        return 0
    read = _READ_FILE | _READ_FOLDER | _MAP_PROGRAM
    _admit(libc, rules, [*_ALWAYS, *bounds.readable], read)
    _admit(libc, rules, ["/dev/null", *bounds.writable], (read | _WRITE) & handled)
    held = int(libc.syscall(_RESTRICT_SELF, rules, 0)) == 0
    os.close(rules)
    return version if held else 0


def _admit(libc: ctypes.CDLL, rules: int, paths: Iterable[str], access: int) -> None:
    for path in paths:
        if os.path.realpath(path) == "/":
            continue
        with suppress(OSError):  # what is not there needs no right
            beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = access if os.path.isdir(path) else access & _ON_FILES
            libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", allowed, beneath), 0)
            os.close(beneath)


def _seccomp(libc: ctypes.CDLL) -> bool:
    """Refuse sockets, other programs and other processes. True when the kernel took the filter."""
    if platform.machine() not in _DENIED:
        return False
    architecture, denied = _DENIED[platform.machine()]
    lines = [(0x20, 0, 0, 4), (0x15, 1, 0, architecture), (0x06, 0, 0, _REFUSED), (0x20, 0, 0, 0)]  # another set of numbers: none
    tests = [(0x35, _X32), *((0x15, number) for number in denied)]
    lines += [(code, len(tests) - place, 0, value) for place, (code, value) in enumerate(tests)]
    lines += [(0x06, 0, 0, _ALLOWED), (0x06, 0, 0, _REFUSED)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(lines), ctypes.addressof(program)))
    return int(libc.prctl(_SECCOMP, 2, header, 0, 0)) == 0
