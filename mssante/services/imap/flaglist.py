"""FLAGS and PERMANENTFLAGS: what a client is told of the flags of its open folder (RFC 9051 §7.3.5, RFC 3501 §7.2.6).

- Told at SELECT, and again as soon as a keyword appears that the client was not told of, before the line that shows it, whoever
  set it. The view knows how many keywords it has met; the session how many it told: one comparison when nothing is new.
- PERMANENTFLAGS holds the same keywords, and what the rights of the user leave (RFC 4314 §5.1.1); nothing after EXAMINE.
- Bounded: at most `MAX_WORDS` keywords are told.
Called by `select.py`, `session.py`, `fetch.py`, `store.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mssante.protocol.imap import encode
from mssante.protocol.imap.aclencode import code_permanent_flags
from mssante.services.imap.view import MAX_WORDS

if TYPE_CHECKING:
    from mssante.services.imap.session import Session


def flag_lists(session: Session) -> list[bytes]:
    """Give both lines for the open folder as it is now."""
    view, _ = session.opened()
    words = sorted(view.words)[:MAX_WORDS]
    session.words_told = len(view.words)
    return [encode.flags_line(words), encode.ok("flags that stay", permanent(session, words))]


def permanent(session: Session, words: list[str]) -> bytes:
    """Give PERMANENTFLAGS, by the rights of the user."""
    if session.read_only or session.rights is None:
        return encode.code_permanent_flags(words, read_only=session.read_only)
    return code_permanent_flags(session.rights, words)


def new_words(session: Session) -> bytes:
    """Give both lines when the client was not told of all keywords, else nothing."""
    view = session.view
    if view is None or len(view.words) == session.words_told:
        return b""
    return b"".join(flag_lists(session))
