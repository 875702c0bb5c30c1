"""API tokens: long random texts that programs show to the web door, each with its scopes and its end.

- A token is `mss_` and 43 characters of base64url: 256 random bits, so that its SHA-256 is enough to keep and no salt is needed.
  It is shown once, when it is made; what is stored opens nothing.
- A check is one indexed read, remembered for `KEEP_SECONDS`: a token revoked by another process acts within that time. A token
  that does not exist costs the same read, and is not remembered. Nothing tells a wrong token from one without the scope to
  whoever holds it, but the answer's status does: 401 for none, 403 for a good one of other scopes (RFC 6750 §3.1).
- Uses are remembered in memory and written by `flush`, a few a minute.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.storage.apitokens import ApiToken
from mssante.storage.interfaces import Stores, Tx

SCOPES = {
    "directory": ("chercher dans l'annuaire", "search the directory"),
    "documents:send": ("envoyer des documents pour les boîtes nommées, suivre leur sort",
                       "send documents for the named mailboxes, follow what becomes of them"),
    "events": ("lire les évènements des boîtes nommées", "read the events of the named mailboxes"),
    "scim": ("créer et retirer comptes et boîtes (SCIM)", "provision accounts and mailboxes (SCIM)"),
}
OF_MAILBOXES = frozenset({"documents:send", "events"})  # scopes that open nothing but for the mailboxes that the token names
_MAILBOX = "mailbox:"
MAX_MAILBOXES = 200
KEEP_SECONDS = 10.0
MAX_KEPT = 1000
MAX_LABEL = 100
MAX_DAYS = 1100
_FORM = re.compile(r"mss_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. text: shown once, never kept."""

    token: ApiToken
    text: str = field(repr=False)


def mailboxes_of(token: ApiToken) -> frozenset[str]:
    """Give the addresses for which a token opens the scopes of `OF_MAILBOXES`, lower-case."""
    return frozenset(one[len(_MAILBOX):] for one in token.scopes if one.startswith(_MAILBOX))


class ApiTokens:
    """Checks and administers tokens."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock
        self._kept: dict[str, tuple[float, ApiToken]] = {}
        self._uses: dict[int, datetime] = {}

    async def check(self, authorization: str, scope: str) -> ApiToken | None:
        """Give the token of an `Authorization: Bearer` header (RFC 6750 §2.1) if it is good and has this scope, else None."""
        token = await self.holder(authorization)
        return token if token is not None and scope in token.scopes else None

    async def holder(self, authorization: str) -> ApiToken | None:
        """Give the token of a header if it is good, whatever its scopes."""
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer" or not _FORM.fullmatch(text.strip()):
            return None
        digest = hashlib.sha256(text.strip().encode("ascii")).hexdigest()
        token = await self._find(digest)
        now = self._clock.now()
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        self._uses[token.id] = now
        return token

    async def _find(self, digest: str) -> ApiToken | None:
        kept = self._kept.get(digest)
        if kept is not None and kept[0] > self._clock.monotonic():
            return kept[1]
        token = await self._stores.database.read(lambda tx: self._stores.api_tokens.find(tx, digest), quick=True)
        self._kept.pop(digest, None)
        if token is not None:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            self._kept[digest] = (self._clock.monotonic() + KEEP_SECONDS, token)
        return token

    async def flush(self) -> None:
        """Write the last uses."""
        uses, self._uses = self._uses, {}
        if uses:
            await self._stores.database.write(lambda tx: self._stores.api_tokens.used(tx, uses))

    # ------------------------------------------------------------------------------------------ administration

    async def create(self, label: str, scopes: Sequence[str], *, days: int, mailboxes: Sequence[str] = ()) -> NewToken:
        """Make a token that lives `days` (1 to 1,100). mailboxes: addresses of ours, for the scopes of `OF_MAILBOXES`.

        Raises InputFault `JETON-PORTEE`, `JETON-NOM`, `JETON-DUREE`, `JETON-BOITE`.
        """
        unknown = sorted(set(scopes) - SCOPES.keys())
        if unknown or not scopes:
            raise InputFault(say(f"portée inconnue : {', '.join(unknown) or '(aucune)'}",
                                 f"unknown scope: {', '.join(unknown) or '(none)'}"), rule="JETON-PORTEE",
                             remedy=", ".join(SCOPES))
        if not 0 < len(label.strip()) <= MAX_LABEL or not label.isprintable():
            raise InputFault(say("nom du jeton vide, trop long ou illisible", "token label empty, too long or unreadable"),
                             rule="JETON-NOM", remedy=say(f"1 à {MAX_LABEL} caractères", f"1 to {MAX_LABEL} characters"))
        if not 1 <= days <= MAX_DAYS:
            raise InputFault(say(f"durée de {days} jours", f"{days} days"), rule="JETON-DUREE", remedy=f"1 – {MAX_DAYS}")
        boxes = await self._boxes(scopes, mailboxes)
        now, text = self._clock.now(), "mss_" + secrets.token_urlsafe(32)
        opened = frozenset({*scopes, *(_MAILBOX + one for one in boxes)})
        token = ApiToken(0, label.strip(), opened, now, None, now + timedelta(days=days))
        digest = hashlib.sha256(text.encode("ascii")).hexdigest()

        def unit(tx: Tx) -> ApiToken:
            kept = self._stores.api_tokens.add(tx, digest, token)
            self._stores.journal.append(tx, [self._event(kept, "created")])
            return kept

        return NewToken(await self._stores.database.write(unit), text)

    async def _boxes(self, scopes: Sequence[str], mailboxes: Sequence[str]) -> list[str]:
        """Check the mailboxes of a token to be; give their addresses. Raises InputFault `JETON-BOITE`."""
        asked = sorted({one.strip().lower() for one in mailboxes})
        if bool(asked) != bool(OF_MAILBOXES.intersection(scopes)) or len(asked) > MAX_MAILBOXES:
            raise InputFault(say("des boîtes vont avec les portées documents:send et events, et avec elles seules",
                                 "mailboxes go with the scopes documents:send and events, and only with them"),
                             rule="JETON-BOITE", remedy=f"--mailbox ; 1 – {MAX_MAILBOXES}")
        if not asked:
            return []
        found = {one.address for one in await self._stores.database.read(
            lambda tx: self._stores.accounts.mailboxes_by_address(tx, asked))}
        missing = [one for one in asked if one not in found]
        if missing:
            raise InputFault(say(f"boîte inconnue : {missing[0][:254]}", f"unknown mailbox: {missing[0][:254]}"),
                             rule="JETON-BOITE", remedy="mssante mailbox list")
        return asked

    async def all(self) -> list[ApiToken]:
        """Give all tokens, oldest first."""
        return await self._stores.database.read(self._stores.api_tokens.all)

    async def revoke(self, token_id: int) -> None:
        """Remove a token. Raises InputFault `JETON-INCONNU`."""
        def unit(tx: Tx) -> bool:
            found = next((one for one in self._stores.api_tokens.all(tx) if one.id == token_id), None)
            if found is None or not self._stores.api_tokens.revoke(tx, token_id):
                return False
            self._stores.journal.append(tx, [self._event(found, "revoked")])
            return True

        if not await self._stores.database.write(unit):
            raise InputFault(say(f"jeton inconnu : {token_id}", f"unknown token: {token_id}"), rule="JETON-INCONNU",
                             remedy="mssante token list")
        self._kept.clear()

    def _event(self, token: ApiToken, action: str) -> JournalEvent:
        return JournalEvent(JournalKind.API_TOKEN, self._clock.now(), "", f"token {token.id}", {
            "action": action, "label": token.label, "scopes": " ".join(sorted(token.scopes))})
