"""Jobs for the tests of the workshop: each does one bad thing, in a process of its own."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mssante.documents.findings import Finding, Severity
from mssante.errors import InputFault


def add(left: int, right: int) -> int:
    return left + right


def endless() -> None:
    while True:
        pass


def asleep() -> None:
    time.sleep(3600)


def eat(octets: int) -> int:
    return len(bytearray(octets))


def crash() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(7)


def killed() -> None:
    os.kill(os.getpid(), 9)


def large(octets: int) -> bytes:
    return b"x" * octets


def finding() -> tuple[Finding, ...]:
    return (Finding("R-1", "a.xml", "un texte", Severity.ERROR),)


def refuse() -> None:
    raise InputFault("not that", detail="line 3", rule="TEST-1", remedy="do otherwise")


def leak() -> None:
    raise ValueError("TESTPATIENT 277076322082910")


class Evil:
    """A result that names a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


def evil() -> Evil:
    return Evil()


def surroundings() -> dict[str, object]:
    """Everything that the process was given: descriptors, variables, limits."""
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    status = Path("/proc/self/status").read_text()
    return {"pid": os.getpid(), "fds": links, "environment": dict(os.environ), "core": resource.getrlimit(resource.RLIMIT_CORE),
            "memory": resource.getrlimit(resource.RLIMIT_DATA), "privileges": "NoNewPrivs:\t1" in status,
            "modules": "sqlalchemy" in sys.modules}


def noisy() -> str:
    print("TESTPATIENT")
    os.write(1, b"TESTPATIENT")
    return "ok"


def pid() -> int:
    return os.getpid()


def read(path: str) -> str:
    """What became of reading a file: ok or the kind of the fault."""
    try:
        Path(path).read_bytes()
    except OSError as fault:
        return type(fault).__name__
    return "ok"


def write(path: str) -> str:
    try:
        Path(path).write_bytes(b"x")
    except OSError as fault:
        return type(fault).__name__
    return "ok"


def connect(port: int) -> str:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError as fault:
        return type(fault).__name__
    return "ok"


def start_program() -> str:
    try:
        subprocess.run(["/bin/true"], check=True)
    except OSError as fault:
        return type(fault).__name__
    return "ok"


def signal_parent() -> str:
    try:
        os.kill(os.getppid(), 0)
    except OSError as fault:
        return type(fault).__name__
    return "ok"


def run_stylesheet(expression: str) -> str:
    """Run a stylesheet that no check has seen, as if the checks of the compiler had been passed; gives what it said, or why not."""
    from lxml import etree

    from mssante.documents.faults import DocumentFault
    from mssante.documents.schematron import Schematron

    sheet = ('<xsl:stylesheet version="3.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" '
             'xmlns:svrl="http://purl.oclc.org/dsdl/svrl"><xsl:template match="/"><svrl:schematron-output><svrl:failed-assert '
             f'location="/"><svrl:text><xsl:value-of select="{expression}"/></svrl:text></svrl:failed-assert>'
             "</svrl:schematron-output></xsl:template></xsl:stylesheet>")
    try:
        return " ".join(one.text for one in Schematron("essai.sch", sheet.encode()).run(etree.fromstring(b"<a/>"), "f").remarks)
    except DocumentFault as fault:
        return f"{fault.rule} {fault.__cause__}"
