"""From the claims of a SASL exchange to an account: what both IMAP and submission do between two lines of the client.

- `follow` looks up, checks and goes on until the exchange needs the client again, or is over.
- `LoginDesk` is the port of what is looked up and checked; `services.accounts.Accounts` is the product's.
- `TokenChecker` is the port of bearer tokens (RFC 7628); without one those mechanisms are not offered.
- Nobody may act as somebody else: an authorisation identity other than the login is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

from mssante.protocol.sasl.base import (
    Answer,
    Challenge,
    Credentials,
    Disproved,
    Exchange,
    Failure,
    Proved,
    TokenClaim,
    TokenExchange,
    TokenRefusal,
    Verifier,
    VerifierExchange,
    VerifierWanted,
)
from mssante.storage.interfaces import Account


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end. peer: `address:port`; protocol: `imap` or `submission`."""

    peer: str
    protocol: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The login is good."""

    account: Account


@dataclass(frozen=True, slots=True)
class Refused:
    """The login is not. code: RFC 5530 response code."""

    code: str = "AUTHENTICATIONFAILED"


class TokenChecker(Protocol):
    """Checks bearer tokens against whoever issues them."""

    async def check(self, claim: TokenClaim, caller: Caller) -> str | TokenRefusal:
        """Give the login that the token stands for, or why it is refused."""
        ...


class LoginDesk(Protocol):
    """What claims are checked with. Methods that refuse take their time after failures."""

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        """Check a password: give the account, or None when refused. peer: `address:port`."""
        ...

    async def verifier(self, login: str, caller: Caller) -> Verifier:
        """Give the SCRAM verifier of a login; one that fits no password when there is none."""
        ...

    async def proved(self, login: str, caller: Caller, *, verifier: str = "") -> Account | None:
        """The identity is proven: give the account if it may log in (and still has this verifier)."""
        ...

    async def disproved(self, login: str, caller: Caller) -> None:
        """A proof was wrong: count it as a failed login."""
        ...

    async def token(self, claim: TokenClaim, caller: Caller) -> Account | TokenRefusal:
        """Check a bearer token."""
        ...


Step = Challenge | Failure | Accepted | Refused


async def follow(desk: LoginDesk, exchange: Exchange, answer: Answer, caller: Caller) -> Step:
    """Go on from an answer of an exchange to what the client is told next. Raises what the desk's storage raises."""
    while True:
        match answer:
            case Challenge() | Failure():
                return answer
            case VerifierWanted(login):
                answer = cast(VerifierExchange, exchange).supply(await desk.verifier(login, caller))
            case Credentials(authzid, authcid, password):
                account = await desk.authenticate(authcid, password, caller.peer, caller.protocol)
                return _for(account, authzid)
            case Proved(authzid, authcid, verifier):
                return _for(await desk.proved(authcid, caller, verifier=verifier), authzid)
            case Disproved(authcid):
                await desk.disproved(authcid, caller)
                return Refused()
            case TokenClaim():
                found = await desk.token(answer, caller)
                if isinstance(found, Account):
                    return _for(found, answer.authzid)
                answer = cast(TokenExchange, exchange).refuse(found)


def _for(account: Account | None, authzid: str) -> Step:
    """Accept an account for itself only."""
    if account is None:
        return Refused()
    return Accepted(account) if authzid.strip().lower() in ("", account.login) else Refused("AUTHORIZATIONFAILED")
