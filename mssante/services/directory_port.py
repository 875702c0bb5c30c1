"""What the rest of the operator may ask of the directory: one port, implemented by `mssante.services.directory`.

Callers: submission (advice on recipients), the HTTP API, the LDAP and CardDAV faces, S/MIME (certificates), the publication's
reconciliation. Never raises for a source that is down: what is known answers, with its age.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding


class DirectoryDesk(Protocol):
    """Questions about the national directory."""

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        """Tell what is known of an address. ask: may ask the FHIR and LDAP sources when the mirror lacks it."""
        ...

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        """Give entries, best first, at most `query.limit` (1 to 200)."""
        ...
