"""The one table of SASL mechanisms: what is offered where, and how an exchange begins.

`Circumstances` tells what a connection has: channel binding data, a mapped client certificate, a token checker, and which
names the configuration allows. `offered` gives what to announce, strongest first; `begin` begins nothing else.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mssante.protocol.sasl.base import Exchange
from mssante.protocol.sasl.bearer import BearerExchange
from mssante.protocol.sasl.external import ExternalExchange
from mssante.protocol.sasl.login import LoginExchange
from mssante.protocol.sasl.plain import PlainExchange
from mssante.protocol.sasl.scram import ScramExchange


def new_nonce() -> str:
    """Give 144 random bits in printable characters (RFC 5802 §5.1 `r=`)."""
    return secrets.token_urlsafe(18)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What one connection has for login.

    allowed: names that the configuration lets be offered; end_point: `tls-server-end-point` data of our certificate, empty
    without; certificate_login: to whom the client's certificate is mapped, empty when none is; tokens: a token checker is there.
    """

    allowed: frozenset[str] = frozenset()
    end_point: bytes = b""
    certificate_login: str = ""
    tokens: bool = False
    nonce: Callable[[], str] = new_nonce


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism: when it can be offered, and how it begins."""

    fits: Callable[[Circumstances], bool]
    begin: Callable[[Circumstances], Exchange]


def _always(circumstances: Circumstances) -> bool:
    return True


MECHANISMS: Mapping[str, Mechanism] = {
    "SCRAM-SHA-256-PLUS": Mechanism(
        lambda have: bool(have.end_point), lambda have: ScramExchange(have.nonce(), plus=True, end_point=have.end_point)),
    "SCRAM-SHA-256": Mechanism(_always, lambda have: ScramExchange(
        have.nonce(), plus=False, end_point=have.end_point if "SCRAM-SHA-256-PLUS" in have.allowed else b"")),
    "EXTERNAL": Mechanism(
        lambda have: bool(have.certificate_login), lambda have: ExternalExchange(have.certificate_login)),
    "OAUTHBEARER": Mechanism(lambda have: have.tokens, lambda have: BearerExchange(xoauth2=False)),
    "XOAUTH2": Mechanism(lambda have: have.tokens, lambda have: BearerExchange(xoauth2=True)),
    "PLAIN": Mechanism(_always, lambda have: PlainExchange()),
    "LOGIN": Mechanism(_always, lambda have: LoginExchange()),
}
ALL = frozenset(MECHANISMS)


def offered(circumstances: Circumstances) -> tuple[str, ...]:
    """Give the names to announce, in the order of the table."""
    return tuple(name for name, mechanism in MECHANISMS.items()
                 if name in circumstances.allowed and mechanism.fits(circumstances))


def begin(mechanism: str, circumstances: Circumstances) -> Exchange | None:
    """Give a new exchange for a mechanism name (any case), or None when it is not offered."""
    name = mechanism.upper()
    return MECHANISMS[name].begin(circumstances) if name in offered(circumstances) else None
