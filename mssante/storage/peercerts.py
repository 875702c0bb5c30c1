"""Values and port of the certificates that peers showed: what was seen, of which domain, in which direction, how often.

Used through `storage/interfaces.py`; the implementation is `storage/sql/peercerts.py`. Recording a batch is a fixed number of
statements. At most KEPT certificates stay of one domain and direction: the ones seen last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

KEPT = 20
INBOUND = "in"
OUTBOUND = "out"


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """One certificate of one domain. fingerprint: lower-case hex SHA-256 of `der`; direction: `in` (it wrote to us) or `out` (we
    wrote to it); uses: sightings; refused: the rule that refused it the last time it was seen, or nothing."""

    domain: str
    fingerprint: str
    direction: str
    der: bytes
    not_after: datetime
    first_seen: datetime
    last_seen: datetime
    uses: int
    refused: str = ""


class PeerCertificateStore(Protocol):
    """Certificates of peers. Domains are in lower case."""

    def record(self, tx: Any, seen: Sequence[PeerCertificate]) -> list[PeerCertificate]:
        """Add sightings to what is known: uses are summed, the first and last instants widened, `refused` is the latest.

        Gives, for each certificate of the batch not known before whose domain and direction had another one, the other one seen
        last, in the order of the batch; those have the fingerprint that was known.
        """
        ...

    def of_domain(self, tx: Any, domain: str) -> list[PeerCertificate]:
        """Give what is known of a domain, last seen first."""
        ...

    def most_used(self, tx: Any, direction: str, limit: int) -> list[PeerCertificate]:
        """Give the certificate seen last, and not refused then, of the domains with the most uses in a direction."""
        ...

    def forget(self, tx: Any, before: datetime) -> int:
        """Remove what was last seen before an instant; give how many."""
        ...
