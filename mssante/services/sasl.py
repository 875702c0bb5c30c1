"""From the claims of a SASL exchange to an account: what both IMAP and submission do between two lines of the client.

- `follow` looks up, checks and goes on until the exchange needs the client again, or is over.
- `LoginDesk` is the port of what is looked up and checked; `services.accounts.Accounts` is the product's.
- `TokenChecker` is the port of bearer tokens (RFC 7628); without one those mechanisms are not offered.
- Nobody may act as somebody else: an authorisation identity other than the login is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import structlog

from mssante.errors import MssFault, OperatorFault
from mssante.lang import say
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

log = structlog.get_logger("login")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end. peer: `address:port`; protocol: `imap`, `submission`, `managesieve`, `ldap`, `carddav`, `web`…"""

    peer: str
    protocol: str


class TryLater(MssFault):
    """The login was not checked: too much guessing around it. Says nothing about login or password."""

    kind = "peer"
    temporary = True

    def __init__(self) -> None:
        super().__init__(say("trop d'essais, reessayez plus tard", "too many tries, try again later"), rule="COMPTE-PLUS-TARD",
                         remedy=say("patientez quelques minutes", "wait some minutes"))


class NotChecked(TryLater):
    """The login was not checked: whoever knows (store, keys of the token provider) cannot be asked now. rule: of what lacks."""

    def __init__(self, rule: str, detail: str = "") -> None:
        words = say("connexion impossible a verifier, reessayez", "the login cannot be checked now, try again later")
        MssFault.__init__(self, words, rule=rule, detail=detail)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The login is good. seconds: how long an IMAP session may last, 0 for no end of its own."""

    account: Account
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Refused:
    """The login is not. code: RFC 5530 response code; `UNAVAILABLE`: it was not checked, for too many tries or, when `ours`,
    because what it is checked with cannot be reached: neither login nor secret was judged, the client keeps them."""

    code: str = "AUTHENTICATIONFAILED"
    ours: bool = False


CANNOT_CHECK = Refused("UNAVAILABLE", ours=True)


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """What a good token opens. login: whose account; mailbox_id: the box opened first, 0 for the login's own; seconds: see
    `Accepted`."""

    login: str
    mailbox_id: int = 0
    seconds: float = 0.0


class TokenChecker(Protocol):
    """Checks bearer tokens against whoever issues them."""

    async def check(self, claim: TokenClaim, caller: Caller) -> str | TokenGrant | TokenRefusal:
        """Give the login that the token stands for, or why it is refused. A grant answers for the name claimed, too."""
        ...


class LoginDesk(Protocol):
    """What claims are checked with. Methods that refuse take their time after failures."""

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        """Check a password: give the account, or None when refused. peer: `address:port`. Raises TryLater: not checked."""
        ...

    async def verifier(self, login: str, caller: Caller) -> Verifier:
        """Give the SCRAM verifier of a login; one that fits no password when there is none. Raises TryLater."""
        ...

    async def proved(self, login: str, caller: Caller, *, verifier: str = "") -> Account | None:
        """The identity is proven: give the account if it may log in (and still has this verifier)."""
        ...

    async def disproved(self, login: str, caller: Caller) -> None:
        """A proof was wrong: count it as a failed login."""
        ...

    async def token(self, claim: TokenClaim, caller: Caller) -> Account | Accepted | TokenRefusal:
        """Check a bearer token. Accepted: for the name that it claims, whatever that is."""
        ...


Step = Challenge | Failure | Accepted | Refused


async def follow(desk: LoginDesk, exchange: Exchange, answer: Answer, caller: Caller) -> Step:
    """Go on from an answer of an exchange to what the client is told next.

    A store or a provider that cannot be asked is told as such (RFC 4954 §6, RFC 5530 §3), never as a wrong secret.
    """
    try:
        return await _follow(desk, exchange, answer, caller)
    except (NotChecked, OperatorFault) as fault:
        return cannot_check(fault, caller)
    except TryLater:
        return Refused("UNAVAILABLE")


async def _follow(desk: LoginDesk, exchange: Exchange, answer: Answer, caller: Caller) -> Step:
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
            case Disproved(authcid, guess):
                if guess:
                    await desk.disproved(authcid, caller)
                return Refused()
            case TokenClaim():
                found = await desk.token(answer, caller)
                if isinstance(found, Accepted):
                    return found
                if isinstance(found, Account):
                    return _for(found, answer.authzid)
                answer = cast(TokenExchange, exchange).refuse(found)


def cannot_check(fault: MssFault, caller: Caller) -> Refused:
    """Log why a login could not be checked; give what the client is told."""
    log.warning("login_not_checked", rule=fault.rule, detail=fault.detail[:200], protocol=caller.protocol)
    return CANNOT_CHECK


def _for(account: Account | None, authzid: str) -> Step:
    """Accept an account for itself only."""
    if account is None:
        return Refused()
    return Accepted(account) if authzid.strip().lower() in ("", account.login) else Refused("AUTHORIZATIONFAILED")
