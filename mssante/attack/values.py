"""What an attack is, and what came out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from mssante.lang import say


class Verdict(StrEnum):
    """held: refused as it must be; fell: the server said yes; skipped: not playable with what was given; unclear: no answer."""

    HELD = "held"
    FELL = "fell"
    SKIPPED = "skipped"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate chain (PEM file, leaf first) and its key (PEM file). label: whose it claims to be."""

    chain: Path
    key: Path
    label: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The door under attack. domain: one of its domains; recipient: a mailbox of it that exists, or empty."""

    host: str
    port: int
    domain: str = ""
    recipient: str = ""
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Arms:
    """What the attacker holds. good: a listed peer's pair and its domain, without which half of the attacks cannot be played;
    victim: a listed domain that is neither ours nor the target's; anchors: PEM file of the trust space's authorities;
    issuing: key pair of the issuing authority (a lab gives it); lab: folder of the lab that the target lives in."""

    folder: Path
    good: Identity | None = None
    good_domain: str = ""
    victim: str = ""
    anchors: Path | None = None
    issuing: Identity | None = None
    peers: dict[str, tuple[Identity, str]] = field(default_factory=dict)
    lab: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attack met. evidence: the decisive reply or fault, one line without control characters, 200 characters at most."""

    verdict: Verdict
    evidence: str = ""

    @classmethod
    def held(cls, evidence: object) -> Outcome:
        """The server refused."""
        return cls(Verdict.HELD, one_line(evidence))

    @classmethod
    def fell(cls, evidence: object) -> Outcome:
        """The server said yes."""
        return cls(Verdict.FELL, one_line(evidence))

    @classmethod
    def skipped(cls, french: str, english: str) -> Outcome:
        """It cannot be played with what was given."""
        return cls(Verdict.SKIPPED, say(french, english))

    @classmethod
    def unclear(cls, evidence: object) -> Outcome:
        """No answer that decides."""
        return cls(Verdict.UNCLEAR, one_line(evidence))


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack. number: stable (`A-03`); french, english: what is tried; source: the rule that must stop it."""

    number: str
    french: str
    english: str
    source: str
    play: Callable[[Target, Arms], Outcome]

    @property
    def title(self) -> str:
        """What is tried, in the current language."""
        return say(self.french, self.english)


@dataclass(frozen=True, slots=True)
class Result:
    """An attack and its outcome. seconds: how long it took."""

    attack: Attack
    outcome: Outcome
    seconds: float


def one_line(value: object) -> str:
    """Give a text fit for a table: printable, one line, 200 characters at most."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return "".join(character if character.isprintable() else " " for character in text).strip()[:200]
