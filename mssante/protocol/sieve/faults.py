"""Faults of scripts with their line, and the limits that scripts live in.

A fault's text names the line, what is wrong and, as far as a script's own words are quoted, at most 60 characters of it.
Called by every module of the package; `services.sieve` and the ManageSieve door show the texts to the script's author.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.errors import InputFault
from mssante.lang import say

QUOTED = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """What one script may be and do. work: octets looked at by the matching of one run; text: characters of one string made at
    run time; variable: of one variable (RFC 5229 §6 asks for 4000)."""

    script_octets: int = 65_536
    nesting: int = 32
    tokens: int = 20_000
    list_items: int = 500
    actions: int = 32
    redirects: int = 4
    work: int = 4_000_000
    text: int = 8_192
    variable: int = 4_096
    variables: int = 128
    pattern: int = 1_024


DEFAULT_LIMITS = Limits()


class SieveFault(InputFault):
    """A script that cannot be run: `line` counts from 1. Rules: `SIEVE-FORME` (grammar), `SIEVE-SENS` (commands and arguments),
    `SIEVE-EXTENSION`, `SIEVE-LIMITE`."""

    kind = "sieve"

    def __init__(self, line: int, french: str, english: str, *, rule: str = "SIEVE-SENS", remedy: str = "") -> None:
        super().__init__(say(f"ligne {line} : {french}", f"line {line}: {english}"), rule=rule, remedy=remedy)
        self.line = line


class SieveRunFault(SieveFault):
    """A script that is right, but whose run went beyond a limit or asked for what cannot be done."""

    kind = "sieve_run"


def shown(text: str) -> str:
    """Give a piece of a script as a fault may quote it."""
    cut = text if len(text) <= QUOTED else text[:QUOTED - 1] + "…"
    return "".join(letter if letter.isprintable() else "?" for letter in cut)
