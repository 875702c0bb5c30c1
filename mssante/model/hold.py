"""A hold: a reason for which queued mail waits instead of being returned (RELIABILITY: a lost result is the real harm)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class HoldCause(StrEnum):
    """Why mail waits; the texts and rules of each are in `mssante.routing.holding`."""

    LIST_TOO_OLD = "list-too-old"
    CRL_EXPIRED = "crl-expired"
    PEER_CERTIFICATE = "peer-certificate-changed"
    DOMAIN_LEFT = "domain-left-list"
    OWN_CERTIFICATE = "own-certificate"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Hold:
    """One cause for one domain, or for all when `domain` is empty. At `until` it stops protecting; the row stays while the
    cause lasts, so that the same trouble does not begin a second hold. note: rule, value seen, or the words of who asked."""

    cause: HoldCause
    domain: str
    since: datetime
    until: datetime
    automatic: bool = True
    note: str = ""
    id: int = 0

    @property
    def key(self) -> tuple[HoldCause, str]:
        """What makes it the only one."""
        return self.cause, self.domain

    def protects(self, now: datetime) -> bool:
        """Whether mail waits because of it at `now`."""
        return now < self.until
