"""What services need from outside, as interfaces and values; `app.py` connects them to `transport` (or to fakes).

Never: does anything by itself. Outcomes and failures are values here, not exceptions: a batch always gets a result.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mssante.model.address import MailAddress
from mssante.model.envelope import Recipient
from mssante.model.outcome import Deferred, Outcome, Refused

Body = Sequence[bytes] | Callable[[], AsyncIterator[bytes]]
"""A content: its octets in pieces, or a function that opens it anew as pieces (called once per transaction)."""


@dataclass(frozen=True, slots=True)
class RelayBatch:
    """One message for one destination domain. size: octets of the content; body_8bit: it holds octets above 127."""

    destination: str
    sender: MailAddress | None
    recipients: tuple[Recipient, ...]
    body: Body
    size: int
    trace_id: str = ""
    ret: str = ""
    envid: str = ""
    smtputf8: bool = False
    body_8bit: bool = False


@dataclass(frozen=True, slots=True)
class RelayResult:
    """outcomes: one per recipient, in the batch's order. The rest is evidence, empty when no session was reached:
    remote: `host[address]:port`; tls: version and cipher; certificate: SHA-256 of the peer's DER in lower-case hex."""

    outcomes: tuple[Outcome, ...]
    remote: str = ""
    tls: str = ""
    certificate: str = ""


class Mailer(Protocol):
    """Carries messages to other operators (`transport.operators.OperatorPool`)."""

    async def deliver(self, batch: RelayBatch) -> RelayResult:
        """Try once to deliver; give an outcome for every recipient. Raises nothing but cancellation."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A host that takes mail for a domain. addresses: IPv4 and IPv6 literals, in the order to try."""

    host: str
    addresses: tuple[str, ...]
    port: int


class Resolver(Protocol):
    """Finds where mail for a domain goes (`transport.mx.DnsResolver`)."""

    async def mail_targets(self, domain: str) -> tuple[Target, ...] | Deferred | Refused:
        """Give the hosts of a domain (lower-case A-labels) in the order to try, at least one; or why there is none."""
        ...

    async def addresses(self, host: str) -> tuple[str, ...] | Deferred | Refused:
        """Give the address literals of a host name, at least one; or why there is none."""
        ...
