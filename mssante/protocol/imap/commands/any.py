"""Commands of every state: CAPABILITY, NOOP, LOGOUT, ID (RFC 9051 §6.1, RFC 2971), and those without argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import Id

T = TypeVar("T")

MAX_FIELDS = 30  # RFC 2971 §3.3
MAX_FIELD_NAME = 30
MAX_FIELD_VALUE = 1_024


def without_arguments(value: T) -> Callable[[Tokens], T]:
    """Make the parser of a command that takes no argument."""
    def parse(tokens: Tokens) -> T:
        tokens.end()
        return value
    return parse


def parse_id(tokens: Tokens) -> Id:
    """Read `ID NIL` or `ID ("name" "value" …)` (RFC 2971 §3.1). Raises ClientFault."""
    tokens.space()
    if _nil(tokens):
        tokens.end()
        return Id()
    tokens.expect(b"(", "NIL or a list of fields")
    fields: list[tuple[str, str | None]] = []
    while not tokens.skip(b")"):
        if fields:
            tokens.space()
        fields.append(_field(tokens))
        if len(fields) > MAX_FIELDS:
            tokens.fault(f"more than {MAX_FIELDS} fields")
    tokens.end()
    return Id(tuple(fields))


def _field(tokens: Tokens) -> tuple[str, str | None]:
    """Read one name and its value."""
    name = tokens.string()
    if len(name) > MAX_FIELD_NAME:
        tokens.fault(f"field name longer than {MAX_FIELD_NAME} octets")
    tokens.space()
    if _nil(tokens):
        return name.decode("utf-8", "replace"), None
    value = tokens.string()
    if len(value) > MAX_FIELD_VALUE:
        tokens.fault(f"field value longer than {MAX_FIELD_VALUE} octets")
    return name.decode("utf-8", "replace"), value.decode("utf-8", "replace")


def _nil(tokens: Tokens) -> bool:
    """Go past NIL, in any case, when it is next."""
    if tokens.text[tokens.at:tokens.at + 3].upper() != b"NIL":
        return False
    tokens.at += 3
    return True
