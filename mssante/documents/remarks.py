"""What the pre-flight says of a document: where, which rule, in words, what to do.

A `Remark` is a `Finding` with a line and a remedy. Its text may quote the document (a schema names the value that it refuses): it
is shown to the author of the document, never logged; `rule` comes from rule files, not from documents, and may stand in a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from mssante.documents.findings import Severity

MAX_REMARKS = 200  # of one document; beyond, one remark says that there are more
MAX_WORDS = 600


class Source(StrEnum):
    """Which check speaks."""

    SIZE = "size"
    HEADER = "header"
    XDM = "xdm"
    MAIL = "mail"
    SCHEMA = "schema"
    SCHEMATRON = "schematron"


@dataclass(frozen=True, slots=True)
class Remark:
    """One remark. line: of the file, 0 unknown; place: path of the element, or empty; text, remedy: one line each."""

    source: Source
    rule: str
    file: str
    line: int
    text: str
    remedy: str
    severity: Severity = Severity.ERROR
    place: str = ""


def plain_rule(text: str) -> str:
    """Give a rule name that may stand in a mail reply and a log: ASCII letters, digits, `.`, `_`, `-`, at most 64."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text[:200]).strip("-.")[:64] or "SANS-NOM"


def one_line(text: str) -> str:
    """Give a text on one line, at most 600 characters, without control characters."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text[:20 * MAX_WORDS]).split())
    return words if len(words) <= MAX_WORDS else words[:MAX_WORDS - 1] + "…"
