"""Base faults: who erred, is it temporary, what may the other side see.

- `MssFault.public` is the only text that may leave the process toward a peer; `detail` is for our log.
- Unknown faults are temporary at every border (451, IMAP NO [SERVERBUG], HTTP 500): good mail is never refused for good
  because we erred.
- No fault text carries a subject, a patient identity or a password.
"""

from __future__ import annotations


class MssFault(Exception):
    """Base of every expected fault.

    public: ASCII text for the other side; detail: text for our log; rule: short stable identifier (`LB-SIGNATURE`);
    remedy: what the reader should do about it.
    """

    kind = "fault"
    temporary = True

    def __init__(self, public: str, *, detail: str = "", rule: str = "", remedy: str = "") -> None:
        super().__init__(public)
        self.public = public
        self.detail = detail
        self.rule = rule
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.public]
        if self.detail:
            parts.append(f"({self.detail})")
        if self.remedy:
            parts.append(f"-> {self.remedy}")
        if self.rule:
            parts.append(f"[{self.rule}]")
        return " ".join(parts)


class PeerFault(MssFault):
    """The other side erred (logged at info level, never with a traceback)."""

    kind = "peer"
    temporary = False


class OperatorFault(MssFault):
    """We erred, or our machine did (logged with its cause)."""

    kind = "operator"
    temporary = True


class InputFault(MssFault):
    """A file, a command line, a list or a document does not have the shape that its rule asks for."""

    kind = "input"
    temporary = False


class StorageFull(OperatorFault):
    """No room left on disk: SMTP 452, IMAP NO [LIMIT]; nothing was committed."""

    kind = "storage_full"
