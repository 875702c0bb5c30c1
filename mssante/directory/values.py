"""Entries of the national directory and questions about them, whatever source they come from (spec §4).

- One entry is one published mailbox with one holder; an address on several rows gives several entries.
- Text is kept as published; comparisons go through `mssante.directory.words`. Codes are those of the extraction.
- Entries hold what is public about professionals and structures: never a patient, never a responsible person.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Source(StrEnum):
    """Where an entry was read."""

    EXTRACTION = "extraction"
    FHIR = "fhir"
    LDAP = "ldap"
    LOCAL = "local"


class Presence(StrEnum):
    """What the directory says of an address. RED_LISTED: known to exist, not published (ours, or told by a holder's record);
    UNKNOWN: no usable source could be asked; ABSENT: sources that are fresh enough do not have it, which proves nothing of an
    APP, CAB or red-listed mailbox (F4.11)."""

    PUBLISHED = "published"
    RED_LISTED = "red_listed"
    CLOSED = "closed"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """One published mailbox. address: lower-case; type: PER, ORG, APP or CAB; holder_id: national person id (`8`+RPPS, `0`+ADELI)
    or empty; structure_id: national structure id (`1`+FINESS, `3`+SIRET…) or empty; lines: postal lines without the town."""

    address: str
    type: str
    holder_id: str = ""
    structure_id: str = ""
    title: str = ""
    family_name: str = ""
    given_name: str = ""
    category: str = ""
    profession_code: str = ""
    profession: str = ""
    specialty_code: str = ""
    specialty: str = ""
    structure_name: str = ""
    trade_name: str = ""
    service: str = ""
    description: str = ""
    lines: tuple[str, ...] = ()
    postcode: str = ""
    town: str = ""
    department: str = ""
    country: str = ""
    dematerialised: bool | None = None
    red_listed: bool | None = None
    rank: int = 0
    source: Source = Source.EXTRACTION

    @property
    def name(self) -> str:
        """The name to show: of the person, else of the service and structure."""
        person = " ".join(part for part in (self.title, self.given_name, self.family_name) if part)
        return person or " – ".join(part for part in (self.service or self.description, self.trade_name or self.structure_name)
                                    if part) or self.address


@dataclass(frozen=True, slots=True)
class DirectoryQuery:
    """What is searched. text: words of any field, the last one maybe unfinished (type-ahead); the others narrow down, empty for
    any: type; department (`13`) ; postcode (a start will do); profession, specialty (code or words); holder_id, structure_id.
    mailbox_id: the asker's, whose past exchanges come first; near_department: the asker's, which comes before others."""

    text: str = ""
    type: str = ""
    department: str = ""
    postcode: str = ""
    profession: str = ""
    specialty: str = ""
    holder_id: str = ""
    structure_id: str = ""
    mailbox_id: int = 0
    near_department: str = ""
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one address. entries: published ones; as_of: when the sources that answered were read; closed_at and
    closed_by: told by a bounce or by the directory; near: closest published addresses when it is absent, best first."""

    address: str
    presence: Presence
    entries: tuple[DirectoryEntry, ...] = ()
    as_of: datetime | None = None
    sources: tuple[Source, ...] = ()
    closed_at: datetime | None = None
    closed_by: str = ""
    near: tuple[str, ...] = field(default=())
