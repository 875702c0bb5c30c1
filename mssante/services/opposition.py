"""Oppositions of patients to sending by MSSanté (spec F9.11): recorded, asked, ended; the INS itself is never kept.

- A patient is an HMAC-SHA256 of the INS without its key, under a key of this operator: the same person gives the same hash here,
  in any case of a Corsican letter, and nobody else can tell who it is.
- Each change is an event of the journal: who, when, why, scope, the first octets of the hash.
- Scopes: `all` (nothing is sent), `citizen` (not to the patient's mailbox), `professionals` (not to professionals).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection
from datetime import datetime

from mssante.clock import Clock
from mssante.documents.ins import ins_key_ok, ins_syntax_ok
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.journal import JournalEvent, JournalKind
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.opposition import Opposition

SCOPES = {"all": ("tout envoi", "every sending"), "citizen": ("vers la boîte du patient", "toward the patient's mailbox"),
          "professionals": ("vers les professionnels", "toward professionals")}
MAX_REASON = 300
_NUMBER = re.compile(r"\d(?:[ .]?[0-9AaBb]){11,}")


def hide_numbers(text: str) -> str:
    """Give a reason without what looks like a matricule: words of people may hold one by mistake."""
    return _NUMBER.sub("…", text)


class Oppositions:
    """The desk."""

    def __init__(self, stores: Stores, clock: Clock, secret: bytes) -> None:
        """secret: this operator's own (pseudonym key)."""
        self._stores = stores
        self._clock = clock
        self._key = hmac.new(secret, b"mssante opposition", hashlib.sha256).digest()

    def hash_of(self, matricule: str) -> str:
        """Give the hash of an INS of 13 or 15 characters."""
        return hmac.new(self._key, matricule[:13].upper().encode(), hashlib.sha256).hexdigest()

    async def add(self, matricule: str, scope: str, *, by: str, reason: str, until: datetime | None = None) -> Opposition:
        """Record an opposition. Raises InputFault `OPPOSITION-INS`, `OPPOSITION-PORTEE`, `OPPOSITION-MOTIF`."""
        self._check(matricule, scope)
        if not 0 < len(by.strip()) <= 100 or not 0 < len(reason.strip()) <= MAX_REASON or not (by + reason).isprintable():
            raise InputFault(say("dire qui enregistre et pourquoi", "say who records it and why"), rule="OPPOSITION-MOTIF",
                             remedy=f"--by, --reason, 1 – {MAX_REASON}")
        now = self._clock.now()
        if until is not None and until <= now:
            raise InputFault(say("la fin est passée", "its end is past"), rule="OPPOSITION-MOTIF", remedy="--until")
        one = Opposition(self.hash_of(matricule), scope, now, until, by.strip(), hide_numbers(reason.strip()))

        def unit(tx: Tx) -> None:
            self._stores.oppositions.put(tx, one)
            self._stores.journal.append(tx, [self._event("added", one, by.strip(), one.reason)])

        await self._stores.database.write(unit)
        return one

    async def remove(self, matricule: str, scope: str, *, by: str, reason: str) -> bool:
        """End an opposition; False when there is none. Raises InputFault."""
        self._check(matricule, scope)
        patient = self.hash_of(matricule)

        def unit(tx: Tx) -> bool:
            one = next((item for item in self._stores.oppositions.of(tx, [patient]) if item.scope == scope), None)
            if one is None:
                return False
            self._stores.oppositions.remove(tx, patient, scope)
            self._stores.journal.append(tx, [self._event("removed", one, by, hide_numbers(reason[:MAX_REASON]))])
            return True

        return await self._stores.database.write(unit)

    async def of(self, matricules: Collection[str]) -> list[Opposition]:
        """Give the oppositions in force of these patients."""
        hashes = sorted({self.hash_of(one) for one in matricules})
        if not hashes:
            return []
        now = self._clock.now()
        found = await self._stores.database.read(lambda tx: self._stores.oppositions.of(tx, hashes), quick=True)
        return [one for one in found if one.until is None or one.until > now]

    async def all(self) -> list[Opposition]:
        """Give all that is recorded, oldest first."""
        return await self._stores.database.read(self._stores.oppositions.all)

    def _check(self, matricule: str, scope: str) -> None:
        text = matricule.strip().upper()
        if not (ins_key_ok(text) or (len(text) == 13 and ins_syntax_ok(text + "00"))):
            raise InputFault(say("matricule INS mal formé, ou clé fausse", "INS malformed, or wrong key"), rule="OPPOSITION-INS",
                             remedy=say("13 caractères, ou 15 avec la clé", "13 characters, or 15 with the key"))
        if scope not in SCOPES:
            raise InputFault(say("portée inconnue", "unknown scope"), rule="OPPOSITION-PORTEE", remedy=" | ".join(SCOPES))

    def _event(self, action: str, one: Opposition, by: str, reason: str) -> JournalEvent:
        return JournalEvent(JournalKind.OPPOSITION, self._clock.now(), "", f"patient {one.patient[:16]}", {
            "action": action, "scope": one.scope, "by": by[:100], "reason": reason,
            "until": one.until.isoformat() if one.until is not None else ""})
