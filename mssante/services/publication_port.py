"""What publication needs from outside: a driver that carries changes to the national directory, and the answers it may give.

Drivers: `transport.annuaire_patch` (FHIR Patch), `transport.annuaire_file` (files for another program). Without one nothing is
sent, and the rows say what would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mssante.directory.patch import Operation
from mssante.directory.publication import PublishedBox


class SendResult(StrEnum):
    """accepted: done; taken: handed over, the answer comes later; exists: an insertion met its own address; gone: what was to
    be changed or deleted is not there; refused: for good, a human must look; later: to be tried again."""

    ACCEPTED = "accepted"
    TAKEN = "taken"
    EXISTS = "exists"
    GONE = "gone"
    REFUSED = "refused"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class Change:
    """One request: operations on the entries of one holder, all or none. boxes: the entries that they leave, for drivers that do
    not speak FHIR; addresses: all that are touched."""

    carrier: str
    key_system: str
    key_value: str
    operations: tuple[Operation, ...]
    boxes: tuple[PublishedBox, ...]
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a change. rule, detail: why it was not accepted; after_seconds: how long the directory asks to wait."""

    result: SendResult
    rule: str = ""
    detail: str = ""
    version: str = ""
    after_seconds: float = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """The late answer to a change that was taken, known by the version that its answer had."""

    address: str
    version: str
    accepted: bool
    detail: str = ""


class PublicationDriver(Protocol):
    """Carries changes. Never raises but on cancellation."""

    async def send(self, change: Change) -> Answer:
        """Send one change and give the answer."""
        ...

    async def receipts(self) -> list[Receipt]:
        """Give late answers that came since the last call."""
        ...

    async def close(self) -> None:
        """Let connections go."""
        ...
