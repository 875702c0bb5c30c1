"""Port of what is kept of exchanges with citizens, and of how citizens sign in to their page.

Used through `storage/interfaces.py` (`stores.citizens`); see `storage/sql/citizen.py`. A citizen stands here by a pseudonym only
(`services/privacy.py`); an exchange is a mailbox of ours, a citizen and the Message-ID of the first message; what a letter holds
stays in its blob. Every method is a bounded number of statements.

Who has the mailbox depends on the role: on the bridge it is the professional's, on the operator of the citizens it is the
citizen's; `contact` is then the professional to whom an answer may go (the Reply-To when there is one, F9.9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

CODE = "code"
SESSION = "session"


@dataclass(frozen=True, slots=True)
class CitizenExchange:
    """One exchange. closed_at None: open; closed_by: the word that closed it, empty while open."""

    mailbox_id: int
    citizen: str
    thread: str
    contact: str
    opened_at: datetime
    last_at: datetime
    closed_at: datetime | None = None
    closed_by: str = ""
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class CitizenMessage:
    """One message of an exchange, by its Message-ID. cause: why it came back, empty when it did not."""

    mailbox_id: int
    reference: str
    citizen: str
    thread: str
    trace_id: str
    at: datetime
    cause: str = ""


@dataclass(frozen=True, slots=True)
class CitizenLogin:
    """A one-time code or a session of the page. digest: SHA-256 of what the browser shows."""

    digest: str
    kind: str
    mailbox_id: int
    created_at: datetime
    until: datetime
    used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """Which open exchanges of a mailbox are closed: these threads, and all with a citizen, and all of these contacts."""

    at: datetime
    by: str
    threads: tuple[str, ...] = ()
    citizen: str = ""
    contacts: tuple[str, ...] = ()


class CitizenStore(Protocol):
    """Exchanges, their messages, and logins of the page."""

    def record(self, tx: Any, message: CitizenMessage, *, contact: str, outgoing: bool) -> bool:
        """Note a message and its exchange, opened (or opened again) by it; False, and nothing written, when it is known."""
        ...

    def close(self, tx: Any, mailbox_id: int, closing: Closing) -> int:
        """Close open exchanges of a mailbox. Gives how many."""
        ...

    def messages(self, tx: Any, mailbox_id: int, references: Sequence[str]) -> list[CitizenMessage]:
        """Give those of these Message-IDs that are known for a mailbox, latest first."""
        ...

    def exchanges(self, tx: Any, mailbox_id: int, *, citizen: str = "", contact: str = "", limit: int = 500,
                  ) -> list[CitizenExchange]:
        """Give the exchanges of a mailbox, with one citizen or one contact when named, latest first."""
        ...

    def came_back(self, tx: Any, mailbox_id: int, reference: str, cause: str) -> bool:
        """Note why a message came back; False when it is not known or has a cause already."""
        ...

    def forget(self, tx: Any, before: datetime) -> int:
        """Delete exchanges whose last message is older, with their messages, and logins that ended; give how many exchanges."""
        ...

    def put_login(self, tx: Any, login: CitizenLogin) -> None:
        """Keep a code or a session."""
        ...

    def use_code(self, tx: Any, digest: str, now: datetime) -> CitizenLogin | None:
        """Take a code that is good now: once only. None when it is unknown, used or past its end."""
        ...

    def session(self, tx: Any, digest: str, now: datetime) -> CitizenLogin | None:
        """Give a session that runs now."""
        ...

    def end_session(self, tx: Any, digest: str) -> None:
        """End a session; one that is gone is no fault."""
        ...
