"""Commands before login: AUTHENTICATE, LOGIN (RFC 9051 §6.2, RFC 4959). STARTTLS takes no argument.

What these values hold is secret: their `repr` shows nothing, and faults never echo the line.
"""

from __future__ import annotations

import re

from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import Authenticate, Login
from mssante.protocol.sasl.base import MAX_NAME, MAX_PASSWORD, Failure, decode_initial, read_text

_MECHANISM = re.compile(rb"[A-Za-z0-9_\-]{1,20}(?![A-Za-z0-9_\-])")  # RFC 4422 §3.1
_INITIAL = re.compile(rb"[A-Za-z0-9+/=]+")


def parse_authenticate(tokens: Tokens) -> Authenticate:
    """Read a mechanism and, with SASL-IR, the initial response (RFC 4959 §3). Raises ClientFault."""
    tokens.space()
    mechanism = tokens.take(_MECHANISM, "a mechanism").decode("ascii").upper()
    if tokens.ended:
        return Authenticate(mechanism)
    tokens.space()
    word = tokens.take(_INITIAL, "an initial response in base64")
    tokens.end()
    initial = decode_initial(word)
    if isinstance(initial, Failure):
        tokens.fault(initial.text)
    return Authenticate(mechanism, initial)


def parse_login(tokens: Tokens) -> Login:
    """Read name and password. Raises ClientFault, also when one is empty, too long, not UTF-8 or has controls."""
    tokens.space()
    user = read_text(tokens.astring(), MAX_NAME)
    tokens.space()
    password = read_text(tokens.astring(), MAX_PASSWORD)
    tokens.end()
    if not user or not password:
        tokens.fault("name or password empty, too long or not UTF-8")
    return Login(user, password)
