"""The one table of SASL mechanisms: what is offered, and how an exchange begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mssante.protocol.sasl.base import Exchange
from mssante.protocol.sasl.login import LoginExchange
from mssante.protocol.sasl.plain import PlainExchange

MECHANISMS: Mapping[str, Callable[[], Exchange]] = {
    "PLAIN": PlainExchange,
    "LOGIN": LoginExchange,
}


def begin(mechanism: str) -> Exchange | None:
    """Give a new exchange for a mechanism name (any case), or None when we do not have it."""
    factory = MECHANISMS.get(mechanism.upper())
    return factory() if factory else None
