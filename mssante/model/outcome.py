"""What became of one recipient in one attempt. Values, not exceptions; unknown faults are Deferred."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """The next operator took responsibility. reply: its last lines; dsn_relayed: it announced DSN (RFC 3461)."""

    reply: str
    remote: str = ""
    dsn_relayed: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not yet: to be tried again. reply: remote text or our reason; rule: ours when we decided."""

    reply: str
    remote: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Never: a failure DSN is due. status: enhanced code `5.x.y`."""

    reply: str
    status: str = "5.0.0"
    remote: str = ""
    rule: str = ""


Outcome = Delivered | Deferred | Refused
