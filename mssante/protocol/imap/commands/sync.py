"""Commands that keep a client and a folder in step: EXPUNGE and UID EXPUNGE (RFC 9051 §6.4.3, RFC 4315 §2.1).

IDLE, CHECK, CLOSE and UNSELECT take no argument (see the table). Room here for the VANISHED and NOTIFY families.
"""

from __future__ import annotations

from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import Expunge


def parse_expunge(tokens: Tokens) -> Expunge:
    """Read EXPUNGE. Raises ClientFault."""
    tokens.end()
    return Expunge()


def parse_uid_expunge(tokens: Tokens) -> Expunge:
    """Read UID EXPUNGE and its set. Raises ClientFault."""
    tokens.space()
    uids = tokens.sequence_set()
    tokens.end()
    return Expunge(uids)
