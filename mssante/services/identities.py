"""Who an account is elsewhere, for administrators: Pro Santé Connect subjects and certificate names, linked and unlinked.

- An identity belongs to one account; linking one that somebody has is refused, never moved in silence.
- A certificate links an applicative mailbox: when it has no login yet, one without password is made, named by its address.
- The certificate given must look like one of the ORG AUTH_CLI offer; whether it is admitted is judged at each login.
- Every change writes its journal event in the same transaction. Called by `cli/identity.py` and the lab.
"""

from __future__ import annotations

import re
from datetime import datetime

from cryptography import x509

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.mailbox import MailboxType
from mssante.storage.identities import DN, PSC, Identity
from mssante.storage.interfaces import Account, Stores, Tx
from mssante.trust.anchors import READ_FAULTS, check_readable, read_certificates
from mssante.trust.clientname import subject_key
from mssante.trust.profiles import Offer, recognise

MAX_LISTED = 100_000
SUBJECT = re.compile(r"[0-9A-Za-z][0-9A-Za-z./:_-]{0,63}\Z")


class IdentityDesk:
    """Links and unlinks."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    async def link_subject(self, login: str, subject: str) -> Identity:
        """Link a Pro Santé Connect identifier to a login. Raises InputFault (`IDENTITE-…`, `COMPTE-INCONNU`)."""
        subject = subject.strip()
        if not SUBJECT.match(subject):
            raise InputFault(say("ce n'est pas un identifiant national", "this is no national identifier"), rule="IDENTITE-FORME",
                             remedy=say("par exemple 8 suivi des 11 chiffres du RPPS", "such as 8 followed by the RPPS number"))
        return await self._link(PSC, subject, login)

    async def link_certificate(self, login: str, raw: bytes) -> Identity:
        """Link the subject of a certificate (PEM or DER, the first of the file) to a login, or to the address of an APP box.

        Raises InputFault (`IDENTITE-…`, `EXTERNE-NOM`, `ANCRE-LECTURE`, `COMPTE-INCONNU`).
        """
        return await self._link(DN, certificate_name(raw), login)

    async def _link(self, kind: str, value: str, login: str) -> Identity:
        now, key = self._clock.now(), login.strip().lower()

        def unit(tx: Tx) -> Identity:
            account = self._stores.accounts.account_by_login(tx, key)
            if account is None and kind == DN:
                account = self._machine(tx, key, now)
            if account is None:
                raise InputFault(say(f"compte inconnu : {login}", f"unknown login: {login}"), rule="COMPTE-INCONNU",
                                 remedy="mssante account list")
            if not self._stores.identities.link(tx, kind, value, account.id, now):
                held = self._stores.identities.find(tx, kind, value)
                raise InputFault(say("cette identité a déjà un compte", "this identity has a login already"),
                                 detail=held.login if held is not None else "", rule="IDENTITE-PRISE",
                                 remedy="mssante identity unlink")
            self._journal(tx, account.login, "linked", kind, value)
            return Identity(kind, value, account.id, account.login, now)

        return await self._stores.database.write(unit)

    def _machine(self, tx: Tx, address: str, now: datetime) -> Account | None:
        """Make the login of an applicative mailbox, without password; None when this is no such box."""
        box = next(iter(self._stores.accounts.mailboxes_by_address(tx, [address])), None)
        if box is None or box.type is not MailboxType.APP:
            return None
        made = self._stores.accounts.create_accounts(tx, [(address, "", (box.id,))])[0]
        self._stores.journal.append(tx, [JournalEvent(JournalKind.ACCOUNT_CHANGED, now, "", address,
                                                      {"action": "created", "password": False})])
        return made

    async def unlink(self, kind: str, value: str) -> None:
        """Take an identity away. Raises InputFault `IDENTITE-INCONNUE`."""
        def unit(tx: Tx) -> bool:
            held = self._stores.identities.find(tx, kind, value)
            done = self._stores.identities.unlink(tx, kind, value)
            if held is not None:
                self._journal(tx, held.login, "unlinked", kind, value)
            return done

        if not await self._stores.database.write(unit):
            raise InputFault(say("personne n'a cette identité", "nobody has this identity"), rule="IDENTITE-INCONNUE",
                             remedy="mssante identity list")

    def _journal(self, tx: Tx, login: str, action: str, kind: str, value: str) -> None:
        self._stores.journal.append(tx, [JournalEvent(
            JournalKind.IDENTITY_CHANGED, self._clock.now(), "", login, {"action": action, "kind": kind, "identity": value})])

    async def list(self, login: str = "") -> list[Identity]:
        """Give identities, of one login or of all (certificates then subjects). Raises InputFault `COMPTE-INCONNU`."""
        def unit(tx: Tx) -> list[Identity]:
            if not login:
                return [one for kind in (DN, PSC) for one in self._stores.identities.of_kind(tx, kind, limit=MAX_LISTED)]
            account = self._stores.accounts.account_by_login(tx, login.lower())
            if account is None:
                raise InputFault(say(f"compte inconnu : {login}", f"unknown login: {login}"), rule="COMPTE-INCONNU",
                                 remedy="mssante account list")
            return self._stores.identities.of_account(tx, account.id)

        return await self._stores.database.read(unit)


def certificate_name(raw: bytes) -> str:
    """Give the subject under which a client's certificate is kept. Raises InputFault (`ANCRE-LECTURE`, `EXTERNE-…`)."""
    leaf = _first(raw)
    profile = recognise(leaf)
    if profile.offer is not Offer.ORG_AUTH_CLI:
        raise InputFault(say(f"certificat de l'offre {profile.offer.value}, et non ORG AUTH_CLI",
                             f"certificate of the {profile.offer.value} offer, not ORG AUTH_CLI"), rule="EXTERNE-OFFRE",
                         remedy=say("demandez un certificat ORG AUTH_CLI à l'IGC-Santé", "order an ORG AUTH_CLI certificate"))
    return subject_key(leaf.subject)


def _first(raw: bytes) -> x509.Certificate:
    leaf = read_certificates([raw])[0]
    try:
        check_readable(leaf)
    except READ_FAULTS as exc:
        raise InputFault("the certificate cannot be read", rule="ANCRE-LECTURE") from exc
    return leaf
