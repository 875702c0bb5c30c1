"""Logins by Pro Santé Connect access token (spec §6.2, ECO.1.2.1): a `services.sasl.TokenChecker`.

From a good token to an account, in this order:
1. Who: the account that the subject is linked to (`mssante identity link`), and those whose own box is a PER box held by it.
2. What: the name that the client gives (XOAUTH2 `user=`, OAUTHBEARER `a=`) is that login, the address of its own box, or the
   address of a box delegated to it (ORG): then the person's own account opens that box, with its own rights, and the journal
   tells the person. Without a name the person must have one login only.

- A refusal has one reason (`psc_token.TokenReason`), told to the log, the journal and the metrics; the client is told `401`.
  A refused token is no guessed password: it slows nobody down (ECO.1.2.3), its connection ends after a few.
- Tokens are kept nowhere (ECO.1.2.5). What they opened ends with them or after `session_hours`, as configured.
- With introspection the provider is asked about each token: one logged out before its end opens nothing any more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import structlog

from mssante.clock import Clock
from mssante.errors import MssFault
from mssante.model.delegation import Right, Rights
from mssante.model.journal import JournalKind
from mssante.observability.metrics import LOGINS
from mssante.protocol.sasl.base import TokenClaim, TokenRefusal
from mssante.services.evidence import Evidence
from mssante.services.psc_keys import Provider, ProviderKeys
from mssante.services.psc_token import TokenFacts, TokenFault, TokenPolicy, TokenReason, read_header, verify
from mssante.services.sasl import Caller, NotChecked, TokenGrant
from mssante.storage.identities import PSC
from mssante.storage.interfaces import Account, Stores, Tx

log = structlog.get_logger("psc")
SCOPE = "mail"  # F6.7
MAX_INTROSPECTION = 64 * 1024
_BY_DELEGATION: dict[str, Rights] = {  # a right that opens the box of others to a token; elsewhere (filters) one's own only
    "imap": frozenset((Right.OPEN,)), "submission": frozenset((Right.OPEN, Right.SEND))}


@dataclass(frozen=True, slots=True)
class PscSettings:
    """policy: of tokens; configuration: URL of the discovery document, told to OAUTHBEARER clients; introspection: ask the
    provider too; with_token: sessions end with their token, else after `session_seconds`."""

    policy: TokenPolicy
    configuration: str = ""
    introspection: bool = False
    with_token: bool = False
    session_seconds: float = 43_200.0


class PscChecker:
    """Checks access tokens and finds whose box they open."""

    def __init__(self, settings: PscSettings, keys: ProviderKeys, provider: Provider, stores: Stores, *, clock: Clock,
                 evidence: Evidence) -> None:
        self._settings = settings
        self._keys = keys
        self._provider = provider
        self._stores = stores
        self._clock = clock
        self._evidence = evidence

    async def check(self, claim: TokenClaim, caller: Caller) -> TokenGrant | TokenRefusal:
        """Give the login that a token stands for and the box that it opens, or the refusal to tell the client.

        Raises NotChecked when the provider cannot be asked.
        """
        try:
            facts = await self.facts(claim.token)
            return await self._grant(facts, claim.authzid.strip().lower(), caller.protocol)
        except TokenFault as fault:
            self._tell(fault, claim, caller)
            if fault.reason is TokenReason.PROVIDER:  # the token was not judged: no reason to ask the person again
                raise NotChecked(fault.reason.value, fault.detail) from fault
            return TokenRefusal("insufficient_scope" if fault.reason is TokenReason.SCOPE else "invalid_token", SCOPE,
                                self._settings.configuration)

    async def facts(self, token: str) -> TokenFacts:
        """Give what a good token says. Raises TokenFault."""
        header = read_header(token)  # before anything is asked of anybody
        try:
            keys = await self._keys.having(header.kid)
        except MssFault as fault:
            raise TokenFault(TokenReason.PROVIDER, fault.rule) from fault
        facts = verify(token, keys, self._settings.policy, self._clock.now())
        if self._settings.introspection:
            await self._introspect(token, facts)
        return facts

    async def _introspect(self, token: str, facts: TokenFacts) -> None:
        """Ask the provider (RFC 7662 §2). Raises TokenFault: a provider that does not answer lets nobody in."""
        try:
            url = await self._keys.introspection_url()
            raw = await self._provider.ask(url, {"token": token, "token_type_hint": "access_token"}, max_bytes=MAX_INTROSPECTION)
            answer = json.loads(raw)
        except MssFault as fault:
            raise TokenFault(TokenReason.PROVIDER, fault.rule, subject=facts.subject) from fault
        except (ValueError, RecursionError):
            raise TokenFault(TokenReason.PROVIDER, "not JSON", subject=facts.subject) from None
        if not isinstance(answer, dict) or answer.get("active") is not True:
            raise TokenFault(TokenReason.INACTIVE, subject=facts.subject)

    # ------------------------------------------------------------------------------------------ from the subject to the box

    async def _grant(self, facts: TokenFacts, name: str, protocol: str) -> TokenGrant:
        now = self._clock.now()
        left = (facts.expires_at - now).total_seconds()
        seconds = max(1.0, left) if self._settings.with_token else self._settings.session_seconds
        wanted = _BY_DELEGATION.get(protocol, frozenset())

        def unit(tx: Tx) -> TokenGrant:
            login, mailbox_id = self._choose(tx, facts.subject, name, wanted)
            return TokenGrant(login, mailbox_id, seconds)

        return await self._stores.database.read(unit, quick=True)

    def _choose(self, tx: Tx, subject: str, name: str, wanted: Rights) -> tuple[str, int]:
        """Give the login, and the box to open when it is not its own. Raises TokenFault."""
        people = self._people(tx, subject)
        enabled = [one for one in people if one.enabled]
        if not enabled:
            raise TokenFault(TokenReason.DISABLED if people else TokenReason.HOLDER, name, subject=subject)
        if not name:
            if len(enabled) > 1:
                raise TokenFault(TokenReason.AMBIGUOUS, f"{len(enabled)} logins", subject=subject)
            return enabled[0].login, 0
        for one in enabled:
            if one.login == name:
                return one.login, 0
        box = next(iter(self._stores.accounts.mailboxes_by_address(tx, [name])), None)
        if box is not None:
            for one in enabled:
                if box.id in one.mailbox_ids[:1]:
                    return one.login, 0
            for one in enabled:
                if self._delegated(tx, one, box.id, wanted):
                    return one.login, box.id
        raise TokenFault(TokenReason.HOLDER, name, subject=subject)

    def _people(self, tx: Tx, subject: str) -> list[Account]:
        """Give the accounts of a person: the linked one first."""
        identities, accounts = self._stores.identities, self._stores.accounts
        linked = identities.find(tx, PSC, subject)
        logins = [*([linked.login] if linked is not None else []), *identities.owners(tx, holder_forms(subject))]
        found = (accounts.account_by_login(tx, login) for login in dict.fromkeys(logins))
        return [one for one in found if one is not None]

    def _delegated(self, tx: Tx, account: Account, mailbox_id: int, wanted: Rights) -> bool:
        """Tell whether a running delegation with one of these rights names the box."""
        now = self._clock.now()
        return any(one.mailbox_id == mailbox_id and one.runs(now) and not wanted.isdisjoint(one.rights)
                   for one in self._stores.delegations.of_account(tx, account.id))

    # ------------------------------------------------------------------------------------------ evidence

    def _tell(self, fault: TokenFault, claim: TokenClaim, caller: Caller) -> None:
        """Count, log and journal a refusal: the rule and the values seen, never the token."""
        LOGINS.labels(caller.protocol, "refused").inc()
        plain = _plain(fault.detail)
        detail = self._evidence.address(plain) if "@" in plain else plain
        log.info("token_refused", rule=fault.reason.value, peer=caller.peer, protocol=caller.protocol)
        self._evidence.write(self._evidence.event(
            JournalKind.TOKEN_REFUSED, self._evidence.address(claim.authzid.lower()) or fault.subject,
            {"rule": fault.reason.value, "detail": detail, "identity": fault.subject, "peer": caller.peer,
             "protocol": caller.protocol}))


def holder_forms(subject: str) -> tuple[str, ...]:
    """Give the forms under which a box may name its holder: the national identifier, and the RPPS or ADELI number without its
    type digit (spec §3.4)."""
    bare = subject[1:]
    typed = bare.isascii() and bare.isdigit() and (subject[0], len(bare)) in (("8", 11), ("0", 9))
    return (subject, bare) if typed else (subject,)


def _plain(text: str) -> str:
    """Give values of a token as the journal may hold them: printable ASCII."""
    return "".join(one if " " <= one <= "~" else "?" for one in text)
