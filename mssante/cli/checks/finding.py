"""One finding of a check: a stable number, a state, what was seen, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mssante.errors import MssFault


class State(StrEnum):
    """ok: nothing to do; warn: works, look at it; fail: must be mended before `serve`."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """number: stable (`CERT-04`); rule: what was broken, when a fault told it; seen: the value; remedy: empty when ok."""

    number: str
    state: State
    title: str
    seen: str
    remedy: str = ""
    rule: str = ""


def ok(number: str, title: str, seen: str) -> Finding:
    """Nothing to do."""
    return Finding(number, State.OK, title, seen)


def warn(number: str, title: str, seen: str, remedy: str) -> Finding:
    """It works, but somebody should look at it."""
    return Finding(number, State.WARN, title, seen, remedy)


def fail(number: str, title: str, seen: str, remedy: str) -> Finding:
    """To be mended before the operator runs."""
    return Finding(number, State.FAIL, title, seen, remedy)


def told(number: str, title: str, fault: MssFault, remedy: str = "") -> Finding:
    """A failure that a fault tells, with its rule."""
    seen = fault.public + (f" ({fault.detail})" if fault.detail else "")
    return Finding(number, State.FAIL, title, seen, fault.remedy or remedy, fault.rule)
