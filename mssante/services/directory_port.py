"""What the rest of the operator may ask of the directory: one port, implemented by `mssante.services.directory`.

Callers: submission (advice on recipients), the HTTP API, the LDAP and CardDAV faces, S/MIME (certificates), the publication's
reconciliation. Never raises for a source that is down: what is known answers, with its age.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding, Source


class DirectoryDesk(Protocol):
    """Questions about the national directory."""

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        """Tell what is known of an address. ask: may ask the FHIR and LDAP sources when the mirror lacks it."""
        ...

    async def shown(self, address: str) -> Finding:
        """Tell what the directory itself shows of an address, asked anew: what we know of our own mailboxes is left out."""
        ...

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        """Give entries, best first, at most `query.limit` (1 to 200)."""
        ...

    async def published(self, addresses: Sequence[str]) -> Mapping[str, tuple[DirectoryEntry, ...]]:
        """Give the entries shown of lower-case addresses, without those of which nothing is shown; no remote source is asked.

        Raises MssFault when the mirror or our own base cannot be read: what is silent is not taken for what is empty.
        """
        ...


class RemoteAnswer(Protocol):
    """What one remote source says of one address. at: when it said so, None when it never did; fresh: within its lifetime; no
    entries with `at` set: the source does not have the address."""

    @property
    def source(self) -> Source:
        """Which one."""
        ...

    @property
    def entries(self) -> tuple[DirectoryEntry, ...]:
        """Red-listed ones too, marked so."""
        ...

    @property
    def at(self) -> datetime | None:
        """When it answered."""
        ...

    @property
    def fresh(self) -> bool:
        """Young enough to count as absence when empty."""
        ...


class RemoteAsker(Protocol):
    """Remote sources together (`services.directory_sources.RemoteSources`)."""

    async def answers(self, address: str, *, renew: bool = False) -> Sequence[RemoteAnswer]:
        """Give what each says of exactly this address. renew: ask even when a young answer is kept.

        Never raises for one that is silent.
        """
        ...
