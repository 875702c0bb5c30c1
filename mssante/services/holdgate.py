"""What the relay and the settler ask of holds; answers come from memory, nothing is read or written per message."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from mssante.model.outcome import Deferred, Refused
from mssante.model.reply import Refuse
from mssante.services.ports import RelayResult


class HoldGate(Protocol):
    """`services.holds.HoldKeeper`, or nothing."""

    def before(self, destination: str) -> Deferred | None:
        """Give why a destination must not be dialled now, or None."""
        ...

    def unlisted(self, destination: str, refusal: Refuse) -> Deferred | Refused:
        """Give the outcome for mail that the white list does not let go (the domain left it, or no usable list)."""
        ...

    def after(self, destination: str, result: RelayResult) -> RelayResult:
        """Learn from an attempt; give the outcomes to record: a refusal that is a cause of hold becomes a deferral."""
        ...

    def deadline(self, destination: str, created_at: datetime, expires_at: datetime) -> datetime:
        """Give the instant until which mail is kept, not before `expires_at`."""
        ...

    def epitaph(self, destination: str) -> str:
        """Give the words for a failure after a hold that reached its limit; empty without one."""
        ...


class NoHolds:
    """Nothing is ever held."""

    def before(self, destination: str) -> Deferred | None:
        """Dial."""
        return None

    def unlisted(self, destination: str, refusal: Refuse) -> Deferred | Refused:
        """Say what the list says (RQ-REV)."""
        reply = refusal.reply
        return (Refused(reply.text, reply.enhanced, rule=refusal.rule) if reply.permanent
                else Deferred(reply.text, rule=refusal.rule))

    def after(self, destination: str, result: RelayResult) -> RelayResult:
        """Leave the outcomes as they are."""
        return result

    def deadline(self, destination: str, created_at: datetime, expires_at: datetime) -> datetime:
        """Give `expires_at`."""
        return expires_at

    def epitaph(self, destination: str) -> str:
        """Nothing."""
        return ""
