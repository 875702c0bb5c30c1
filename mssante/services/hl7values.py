"""What the services of the HL7 gateway share: the applications of the hospital, their settings, words for their faults.

Called by services.hl7gateway (in), services.hl7inbox and services.hl7outbox (out), topics.hl7.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, tzinfo
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from mssante.documents.n1 import N1Structure
from mssante.ids import new_trace_id
from mssante.protocol.hl7v2.er7 import Limits
from mssante.protocol.hl7v2.values import Correspondents
from mssante.trust.names import NameKey


@dataclass(frozen=True, slots=True)
class Application:
    """One application. gives: messages may be given to it; deliver: documents of its mailbox are; structure: of its PDF;
    zone: of its times without offset; certificates, subjects: SHA-256 and names of its client certificates, one is enough."""

    name: str
    mailbox: str
    sending_application: str
    sending_facility: str
    networks: tuple[IPv4Network | IPv6Network, ...]
    certificates: frozenset[str]
    correspondents: Correspondents
    gives: bool = False
    deliver: bool = False
    structure: N1Structure | None = None
    zone: tzinfo = UTC
    subjects: frozenset[NameKey] = frozenset()

    @property
    def source(self) -> str:
        """Give its name as a source of hand-overs."""
        return f"{SOURCE}{self.name}"

    def admits(self, caller: Caller) -> bool:
        """True when a connection may speak for it: by its certificate where some are named, and from its networks."""
        pinned = caller.certificate in self.certificates or (caller.subject != () and caller.subject in self.subjects)
        if (self.certificates or self.subjects) and not pinned:
            return False
        return not self.networks or any(caller.address.version == one.version and caller.address in one for one in self.networks)


SOURCE = "hl7 "


@dataclass(frozen=True, slots=True)
class Caller:
    """Who connected: address, SHA-256 and normalised name of the certificate shown, empty when none was."""

    address: IPv4Address | IPv6Address
    certificate: str = ""
    subject: NameKey = ()

    @classmethod
    def of(cls, host: str, certificate: str = "", subject: NameKey = ()) -> Caller:
        """Read an address as the socket gives it; a mapped IPv4 address counts as IPv4. Raises ValueError."""
        address = ip_address(host.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return cls(mapped or address, certificate, subject)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """processing: MSH-11 taken; charset: Python's name of the one assumed; citizen_domain: of the national citizen mailboxes."""

    processing: tuple[str, ...]
    charset: str
    limits: Limits
    citizen_domain: str


def control_id() -> str:
    """Give a new MSH-10: 20 characters, the least that every version of HL7 v2 admits."""
    return new_trace_id()[6:]
