"""Port of API tokens: what programs show to the web door; only digests are kept. Used through `storage/interfaces.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ApiToken:
    """One token. scopes: what it opens; expires_at, last_used_at: None for never."""

    id: int
    label: str
    scopes: frozenset[str]
    created_at: datetime
    last_used_at: datetime | None = None
    expires_at: datetime | None = None


class ApiTokenStore(Protocol):
    """Tokens by the SHA-256 of their text, lower-case hex."""

    def add(self, tx: Any, digest: str, token: ApiToken) -> ApiToken:
        """Keep a token; give it with its id."""
        ...

    def find(self, tx: Any, digest: str) -> ApiToken | None:
        """Give the token of a digest (one row: may be read quickly)."""
        ...

    def all(self, tx: Any) -> list[ApiToken]:
        """Give all, oldest first."""
        ...

    def revoke(self, tx: Any, token_id: int) -> bool:
        """Remove a token; False when it is gone."""
        ...

    def used(self, tx: Any, uses: Mapping[int, datetime]) -> None:
        """Write when tokens were last used."""
        ...
