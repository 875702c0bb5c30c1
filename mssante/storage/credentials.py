"""Port of what an account proves itself with beside its main password: app passwords, second factors, web sessions.

Used through `storage/interfaces.py` (`stores.credentials`); the implementation is `storage/sql/credentials.py`. Nothing here is a
secret in clear: app passwords are argon2id and SCRAM verifiers, factors are sealed by their service, sessions are hashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

MAX_LABEL = 100  # characters of a label


@dataclass(frozen=True, slots=True)
class AppPassword:
    """A password of one program. handle: its public part; scopes: protocols that it opens; None in a time: never; id 0: not yet
    stored."""

    account_id: int
    handle: str
    label: str
    scopes: frozenset[str]
    created_at: datetime
    secret_hash: str = field(repr=False)
    scram: str = field(default="", repr=False)
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """One second factor. kind: `totp`, `passkey`, `recovery`; secret: sealed; counter: last step or signature count seen."""

    account_id: int
    kind: str
    label: str
    secret: bytes = field(repr=False)
    counter: int
    created_at: datetime
    last_used_at: datetime | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class WebSession:
    """One session of the web account. token_hash: SHA-256 (hex) of the cookie; strong_at: last proof of a second factor."""

    token_hash: str
    account_id: int
    method: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    strong_at: datetime | None = None


class CredentialStore(Protocol):
    """App passwords, second factors and web sessions."""

    def add_app_password(self, tx: Any, password: AppPassword, *, limit: int) -> AppPassword | None:
        """Store an app password and give it with its id; None, and nothing written, when the account has `limit` of them or its
        handle is taken."""
        ...

    def app_passwords(self, tx: Any, account_id: int) -> list[AppPassword]:
        """Give the app passwords of an account, oldest first, expired ones too (few rows: quickly)."""
        ...

    def remove_app_password(self, tx: Any, account_id: int, handle: str) -> bool:
        """Take an app password away; False when this account has none of that handle."""
        ...

    def touch_app_passwords(self, tx: Any, used: Mapping[int, datetime]) -> None:
        """Write when app passwords were last used, by id; gone ones are no fault."""
        ...

    def add_factor(self, tx: Any, factor: SecondFactor) -> SecondFactor:
        """Store a factor and give it with its id."""
        ...

    def factors(self, tx: Any, account_id: int) -> list[SecondFactor]:
        """Give the factors of an account, oldest first (few rows: quickly)."""
        ...

    def has_factors(self, tx: Any, account_id: int) -> bool:
        """Whether an account has any second factor (one row: quickly)."""
        ...

    def use_factor(self, tx: Any, factor_id: int, counter: int, now: datetime) -> bool:
        """Write a use whose counter is above the one kept; False, and nothing written, when it is not (a replay) or gone."""
        ...

    def touch_factor(self, tx: Any, factor_id: int, now: datetime) -> bool:
        """Write a use of a factor that counts nothing; False when it is gone."""
        ...

    def remove_factor(self, tx: Any, account_id: int, factor_id: int) -> bool:
        """Take a factor away; False when this account has none of that id."""
        ...

    def remove_factors(self, tx: Any, account_id: int, kind: str = "") -> int:
        """Take the factors of an account away, of one kind or all; give how many they were."""
        ...

    def login_of(self, tx: Any, account_id: int) -> str:
        """Give the login of an account, empty when there is none (one row: quickly)."""
        ...

    def put_session(self, tx: Any, session: WebSession, *, limit: int) -> None:
        """Store a session; the oldest of its account beyond `limit` are ended."""
        ...

    def session(self, tx: Any, token_hash: str) -> tuple[WebSession, str] | None:
        """Give a session and the login of its account, None when there is none (one row: quickly)."""
        ...

    def sessions(self, tx: Any, account_id: int) -> list[WebSession]:
        """Give the sessions of an account, oldest first."""
        ...

    def touch_session(self, tx: Any, token_hash: str, now: datetime) -> None:
        """Write that a session was used."""
        ...

    def remove_session(self, tx: Any, account_id: int, token_hash: str) -> bool:
        """End a session whose hash is this or begins so (16 characters at least); False when this account has none."""
        ...

    def remove_sessions(self, tx: Any, account_id: int, keep: str = "") -> int:
        """End the sessions of an account but the one whose hash is `keep`; give how many they were."""
        ...

    def purge(self, tx: Any, now: datetime, idle_before: datetime) -> int:
        """Forget sessions past their end or not used since `idle_before`; give how many they were."""
        ...
