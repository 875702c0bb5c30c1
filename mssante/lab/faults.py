"""The faults that `lab break` switches on: their names, and the file where the servers read them at each request.

A fault stays on until `lab heal`; several may be on together. An unreadable or missing file means no fault, so a lab never
breaks by accident.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path

from mssante.errors import InputFault
from mssante.lab.files import write_atomic
from mssante.lang import say

MAX_FILE = 4096


class Fault(StrEnum):
    """The contract's names (LAB.md)."""

    WHITELIST_UNREACHABLE = "whitelist-unreachable"
    WHITELIST_BAD_SIGNATURE = "whitelist-bad-signature"
    WHITELIST_ROLLED_BACK = "whitelist-rolled-back"
    CRL_EXPIRED = "crl-expired"
    BETA_DOWN = "beta-down"
    BETA_CERTIFICATE_REVOKED = "beta-certificate-revoked"
    DIRECTORY_DOWN = "directory-down"


def parse_fault(text: str) -> Fault:
    """Give the fault of that name; raises InputFault (`LAB-FAULT`) naming the known ones."""
    try:
        return Fault(text)
    except ValueError as exc:
        raise InputFault(say(f"panne inconnue : {text!r}", f"unknown fault: {text!r}"), rule="LAB-FAULT",
                         remedy=say("une de : ", "one of: ") + ", ".join(Fault)) from exc


class FaultFile:
    """`DIR/infra/faults.json`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> frozenset[Fault]:
        """Give the faults that are on; names that nobody knows are left out."""
        try:
            raw = self._path.read_bytes()[:MAX_FILE]
            names = json.loads(raw)["faults"]
        except (OSError, ValueError, KeyError, TypeError):
            return frozenset()
        return frozenset(fault for fault in Fault if isinstance(names, list) and fault.value in names)

    def write(self, faults: frozenset[Fault]) -> None:
        """Replace the set of faults, atomically."""
        write_atomic(self._path, json.dumps({"faults": sorted(faults)}).encode())
