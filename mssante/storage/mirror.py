"""Port of the local mirror of the national directory: adopted as a whole, asked for exact addresses, words and near addresses.

Used by `services.directory` and `services.directory_keeper`; see `storage/sql/mirror.py`. Calls block: services make them in the
executor. A reader sees one adopted state whole, never half of one, whatever process imports meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from mssante.directory.extraction import ExtractionLimits
from mssante.directory.values import DirectoryEntry, DirectoryQuery

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """shrink_percent: a file that has this much fewer rows is refused; keep_days, keep_changes: history of changes."""

    shrink_percent: float = 10
    keep_days: int = 400
    keep_changes: int = 1_000_000
    limits: ExtractionLimits = field(default_factory=ExtractionLimits)


@dataclass(frozen=True, slots=True)
class Adoption:
    """One file taken in. stamp: of the extraction; at: when it was taken in; rows: of the file; added, removed, changed: in
    addresses; repeated: rows said twice word for word; first: nothing was there before."""

    id: int
    stamp: datetime
    at: datetime
    name: str
    sha256: str
    rows: int
    added: int
    removed: int
    changed: int
    repeated: int = 0
    first: bool = False


@dataclass(frozen=True, slots=True)
class MirrorState:
    """What is in force. latest None: no file was ever adopted. octets: of the mirror on disk."""

    latest: Adoption | None
    entries: int
    addresses: int
    departed: int
    octets: int


@dataclass(frozen=True, slots=True)
class DirectoryChange:
    """One address that came (`added`), left (`removed`) or is told otherwise (`changed`). stamp: of the file that says so."""

    stamp: datetime
    kind: str
    address: str


@dataclass(frozen=True, slots=True)
class Located:
    """An exact lookup. since: stamp of the file that brought each entry, in their order; left_at: when it was published before
    and is not any more; as_of: of the mirror, None when it is empty."""

    entries: tuple[DirectoryEntry, ...]
    since: tuple[datetime, ...]
    left_at: datetime | None
    as_of: datetime | None


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """path: the file; name: what tells its stamp (file name or Content-Disposition); now: of the import; force: shrink and age
    guards are lifted; progress: called now and then with octets done and in all (0 when not known)."""

    path: Path
    name: str
    now: datetime
    force: bool = False
    progress: Progress | None = None


class Mirror(Protocol):
    """The mirror."""

    def adopt(self, request: ImportRequest) -> Adoption | None:
        """Take a file in as a whole; None when it is the one in force. Raises InputFault (`EXTRACTION-…`, `MIROIR-…`) and
        OperatorFault; the state in force stays then."""
        ...

    def state(self) -> MirrorState:
        """Tell what is in force."""
        ...

    def find(self, address: str) -> Located:
        """Look one address up."""
        ...

    def search(self, query: DirectoryQuery, *, exchanges: Mapping[str, float] | None = None) -> list[DirectoryEntry]:
        """Give entries, best first. exchanges: addresses the asker exchanges with, by weight: they come first."""
        ...

    def near(self, address: str, *, most: int = 5) -> list[str]:
        """Give published addresses that a mistyped one may mean, best first."""
        ...

    def changes(self, since: datetime | None, *, limit: int = 1000) -> Sequence[DirectoryChange]:
        """Give changes of files stamped after an instant, the latest first."""
        ...

    def close(self) -> None:
        """Let files go."""
        ...
