"""Values and port of S/MIME: the certificates known of correspondents, and what each mailbox wants. Used through `interfaces`.

- A certificate belongs to an address (lower-case). `local`: put there by an administrator or for a key of ours; `directory`: read
  from the national directory; `learnt`: seen in signed mail that was VALID. Nothing here says that it may be used: chain, dates
  and revocation are checked at each use.
- Learning is bounded: of one address the certificates seen last are kept. One that was refused by hand is neither used nor learnt
  again, and counts for nothing in that bound.
Implementation: `storage/sql/smime.py`. Every method is a bounded number of statements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol


class CertificateSource(StrEnum):
    """Where a certificate comes from, most trusted first."""

    LOCAL = "local"
    DIRECTORY = "directory"
    LEARNT = "learnt"


@dataclass(frozen=True, slots=True)
class KnownCertificate:
    """A certificate of a correspondent. address: lower-case; fingerprint: lower-case hex SHA-256 of der; refused: why it must not
    be used, empty when it may."""

    address: str
    fingerprint: str
    source: CertificateSource
    der: bytes
    not_after: datetime
    first_seen: datetime
    last_seen: datetime
    refused: str = ""


@dataclass(frozen=True, slots=True)
class MailboxSmime:
    """What one mailbox wants. outgoing, incoming: empty for the operator's own setting; keys: references, the one in use first,
    then older ones that still open what was encrypted for them."""

    mailbox_id: int
    outgoing: str = ""
    incoming: str = ""
    keys: tuple[str, ...] = ()

    @property
    def is_default(self) -> bool:
        """True when nothing is set."""
        return not (self.outgoing or self.incoming or self.keys)


class SmimeStore(Protocol):
    """Certificates and policies."""

    def certificates(self, tx: Any, addresses: Sequence[str]) -> list[KnownCertificate]:
        """Give all that is known of these addresses, refused ones included: by address, source, then the last to end first."""
        ...

    def all_certificates(self, tx: Any, *, limit: int = 1000, after: str = "") -> list[KnownCertificate]:
        """Give certificates ordered by address."""
        ...

    def put_certificate(self, tx: Any, certificate: KnownCertificate) -> None:
        """Add or replace one certificate of an address, its first date kept."""
        ...

    def learn(self, tx: Any, seen: Sequence[KnownCertificate], *, most: int) -> int:
        """Take certificates seen in signed mail: new ones are added, known ones get their last date, refused ones stay refused.

        most: learnt certificates kept of one address, those seen last. Gives how many were new.
        """
        ...

    def remove_certificate(self, tx: Any, address: str, fingerprint: str) -> bool:
        """Remove one certificate; False when it is not there."""
        ...

    def refuse_certificate(self, tx: Any, address: str, fingerprint: str, reason: str) -> bool:
        """Mark one certificate as not to be used (empty reason: admitted again); False when it is not there."""
        ...

    def forget(self, tx: Any, address: str) -> int:
        """Remove what was learnt of an address, but for refused certificates; give how many."""
        ...

    def policies(self, tx: Any, mailbox_ids: Sequence[int]) -> dict[int, MailboxSmime]:
        """Give what these mailboxes want; those that want nothing of their own are absent."""
        ...

    def all_policies(self, tx: Any) -> list[tuple[str, MailboxSmime]]:
        """Give (address, policy) of all mailboxes that have one, by address."""
        ...

    def put_policy(self, tx: Any, policy: MailboxSmime) -> None:
        """Set what a mailbox wants; a default one removes the row. Raises LookupError when the mailbox is gone."""
        ...
