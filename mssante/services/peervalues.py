"""What a probe saw of another operator's door, as values: no judgement here (`peercheck` judges, `transport.peerprobe` sees).

Texts are replies of somebody else: printable, cut, never trusted. Octets are DER certificates, capped by the probe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

VARIANTS = ("tls1.0", "tls1.1", "tls1.2", "tls1.3", "cbc", "rsa")


@dataclass(frozen=True, slots=True)
class Said:
    """One command and what came back. code 0: nothing did, `fault` (a rule) and `text` say why; lines: of the reply."""

    command: str
    code: int = 0
    text: str = ""
    seconds: float = 0.0
    fault: str = ""
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsSeen:
    """One handshake. version empty: it failed, for `reason`; chain: DER certificates as sent, leaf first."""

    version: str = ""
    cipher: str = ""
    chain: tuple[bytes, ...] = ()
    seconds: float = 0.0
    reason: str = ""

    @property
    def done(self) -> bool:
        """Whether the handshake was completed on our side."""
        return bool(self.version)


@dataclass(frozen=True, slots=True)
class Talk:
    """One connection: what was said in clear, the handshake, what was said inside. fault: the rule that ended it early."""

    connect_seconds: float = 0.0
    clear: tuple[Said, ...] = ()
    tls: TlsSeen | None = None
    inside: tuple[Said, ...] = ()
    fault: str = ""
    detail: str = ""

    def find(self, command: str, *, inside: bool = False) -> Said | None:
        """Give the last answer to a command (its first word, or `greeting`), or None."""
        said = self.inside if inside else self.clear
        return next((one for one in reversed(said) if one.command.split(" ")[0] == command or one.command == command), None)


@dataclass(frozen=True, slots=True)
class Door:
    """One address tried. fault empty: it accepts connections."""

    host: str
    address: str
    port: int
    seconds: float = 0.0
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """All of a probe. route: how the doors were found (`mx`, `route`, `given`); talks by name: `plain`, `injection`, `ours`,
    `without`, `foreign`, and those of VARIANTS; one that is missing was not done."""

    domain: str
    route: str
    doors: tuple[Door, ...] = ()
    dns_fault: str = ""
    dns_text: str = ""
    door: Door | None = None
    talks: Mapping[str, Talk] = field(default_factory=lambda: MappingProxyType({}))
    seconds: float = 0.0
    ended: str = ""
