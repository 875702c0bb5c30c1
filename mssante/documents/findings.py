"""What a check found: a value, never an exception, so that a bad document never blocks the delivery of a mail.

Used by every module of this package and shown by the console and the command line. A finding names the rule, the file
inside the archive and what is wrong in words. `text` never carries a name, an INS or a title of a patient; `file` is the
name that the sender chose, which may: show it, never log it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """ERROR: automation must stop (spec §8.6); WARNING: shown, nothing stops."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark. rule: short identifier (`XDM-HASH`); file: path inside the archive, or empty; text: one line."""

    rule: str
    file: str
    text: str
    severity: Severity = Severity.WARNING
