"""COMPRESS (RFC 4978 §3): one argument, the algorithm. An unknown one is well-formed, and refused by the connection."""

from __future__ import annotations

import re

from mssante.protocol.imap.sessionvalues import Compress
from mssante.protocol.imap.tokens import Tokens

_ALGORITHM = re.compile(rb"[A-Za-z0-9\-]{1,40}(?![^\r\n ])")


def parse_compress(tokens: Tokens) -> Compress:
    """Read the algorithm (RFC 4978 §5: `algorithm = "DEFLATE"`, any case). Raises ClientFault."""
    tokens.space()
    algorithm = tokens.take(_ALGORITHM, "an algorithm").decode("ascii").upper()
    tokens.end()
    return Compress(algorithm)
