"""Who is at the other end: distinguished names and the identity that a peer's certificate proves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DistinguishedName:
    """A DN as ordered (attribute type, value) pairs, most specific first (CN … C), values already normalised (RQ-DN).

    `text` keeps the spelling read, for display. Two names are compared through `mssante.trust.names`.
    """

    pairs: tuple[tuple[str, str], ...]
    text: str

    def value(self, attribute: str) -> str:
        """Give the first normalised value of an attribute (`CN`, `OU`, `O`, `ST`, `C`), or an empty string."""
        for name, value in self.pairs:
            if name == attribute:
                return value
        return ""


@dataclass(frozen=True, slots=True)
class OperatorIdentity:
    """What a verified certificate proves about a peer (spec §2.2 steps 2-3 passed).

    fingerprint: lower-case hex SHA-256 of the DER; names: CN and SAN dNSNames, lower-case.
    """

    subject: DistinguishedName
    issuer_cn: str
    serial: int
    fingerprint: str
    names: tuple[str, ...]
    not_after: datetime
