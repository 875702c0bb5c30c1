"""SMTP replies as values. The table of every reply that we send is `mssante.model.replies`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """code: three digits (RFC 5321 §4.2); enhanced: `5.7.1` or empty (RFC 3463); text: ASCII, may hold newlines.

    rule: stable identifier of what decided, also the last word of the text in brackets.
    """

    code: int
    enhanced: str
    text: str
    rule: str = ""

    def encode(self) -> bytes:
        """Give the reply as bytes on the wire, CRLF included (RFC 5321 §4.2.1, RFC 2034 §4)."""
        lines = self.text.split("\n")
        lead = f"{self.enhanced} " if self.enhanced else ""
        last = len(lines) - 1
        out = [f"{self.code}{' ' if i == last else '-'}{lead}{line}" for i, line in enumerate(lines)]
        return ("\r\n".join(out) + "\r\n").encode("ascii", "replace")

    @property
    def permanent(self) -> bool:
        """True for 5xx."""
        return self.code >= 500


@dataclass(frozen=True, slots=True)
class Allow:
    """A decision that lets go on. reply: what to say instead of the usual words (a recipient, with advice)."""

    reply: SmtpReply | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """A decision that stops: the reply to give, and for our log and journal the values that were compared."""

    reply: SmtpReply
    detail: str = ""

    @property
    def rule(self) -> str:
        """The rule that refused."""
        return self.reply.rule


Decision = Allow | Refuse
