"""The check of departures for masking (spec §8.4) and oppositions (F9.11): all that users and programs send goes through it.

- What is looked at: recipients (toward citizens, toward professionals), the documents attached (`documents.masking`), the
  patients' oppositions (`services.opposition`). Of a plain letter only the beginning of each part is looked at.
- A refusal names the rule and what to do; never the patient.
- A reason passes over it: the header `X-MSSANTE-Derogation: <reason>` of the message, or the field `override` of a request. It is
  traced (`departure_override`: who, which rules, why). The author's octets are never altered: the header, when there is one,
  leaves with the message; the field of a request does not.
- Reading is bounded: worker processes with limits (`services.workshop`). A document on which they run out of time or memory is
  refused (`MASQUAGE-ILLISIBLE`), and so is a structured document that cannot be opened (a masking may stand in it), whatever the
  pre-flight is set to; a reason passes over that too. A file that is no document of ours says nothing.
- A message that its author encrypted cannot be looked into: only its recipients count.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from mssante.documents.faults import DocumentFault
from mssante.documents.ins import ins_syntax_ok
from mssante.documents.masking import Departing, Reach, departing, reach
from mssante.errors import InputFault
from mssante.model import replies
from mssante.model.address import MailAddress
from mssante.model.journal import JournalEvent, JournalKind
from mssante.protocol.mime.headers import decode_raw, read_headers
from mssante.services.departure import FREE, Leaving, Ruling
from mssante.services.evidence import Evidence
from mssante.services.handover import Derogations
from mssante.services.opposition import Oppositions, hide_numbers
from mssante.services.workshop import Workshop

HEADER = b"x-mssante-derogation"
MAX_REASON = 300
_OVERRUN = frozenset({"DOC-TEMPS", "DOC-MEMOIRE", "DOC-TAILLE"})


@dataclass(slots=True)
class MaskingParts:
    """What the check stands on. allow_override: a reason passes over a refusal."""

    oppositions: Oppositions
    derogations: Derogations
    executor: Executor
    evidence: Evidence
    citizen_domain: str
    allow_override: bool
    workshop: Workshop | None = None  # None: in the executor (tests)


@dataclass(frozen=True, slots=True)
class _Toward:
    """Where a message goes. matricules: of the citizens among its recipients."""

    citizens: bool
    professionals: bool
    matricules: frozenset[str]


class MaskingCheck:
    """A `DepartureCheck`."""

    def __init__(self, parts: MaskingParts) -> None:
        self._parts = parts

    async def look(self, leaving: Leaving) -> Ruling:
        """Rule on a message. Raises MssFault (storage)."""
        toward, found, rules = self._toward(leaving.recipients), Departing(), []
        known = self._parts.derogations.known.get(leaving.trace_id)
        if known is not None:
            found = known
        elif leaving.may_hold_documents:
            try:
                found = await self._read(leaving)
            except DocumentFault as fault:
                if fault.rule not in _OVERRUN:
                    raise
                rules.append("MASQUAGE-ILLISIBLE")
        if found.hidden:
            rules.append("MASQUAGE-ILLISIBLE")
        rules += [*self._masked(found, toward), *await self._opposed(found, toward)]
        if not rules:
            return FREE
        reason = self._reason(leaving)
        if not reason:
            return Ruling(replies.departure_forbidden(rules[0]))
        return Ruling(events=(JournalEvent(
            JournalKind.DEPARTURE_OVERRIDE, leaving.at, leaving.trace_id, leaving.box.address, {
                "rules": " ".join(rules), "reason": reason, "login": leaving.login,
                "to": " ".join([self._parts.evidence.address(str(one)) for one in leaving.recipients])}),))

    async def _read(self, leaving: Leaving) -> Departing:
        """Read the documents. Raises DocumentFault."""
        loop, workshop = asyncio.get_running_loop(), self._parts.workshop
        if workshop is None:
            return await loop.run_in_executor(self._parts.executor, lambda: departing(leaving.content()))
        return await workshop.run(departing, await loop.run_in_executor(self._parts.executor, leaving.content))

    def _toward(self, recipients: tuple[MailAddress, ...]) -> _Toward:
        citizens = [one for one in recipients if one.domain == self._parts.citizen_domain]
        return _Toward(bool(citizens), len(citizens) < len(recipients),
                       frozenset(one.local.upper() for one in citizens if ins_syntax_ok(one.local.upper())))

    def _masked(self, found: Departing, toward: _Toward) -> list[str]:
        """Give the rules of the matrix that the documents break."""
        rules: list[str] = []
        for codes in found.masking:
            try:
                way = reach(codes)
            except InputFault as fault:
                rules.append(fault.rule)
                way = Reach(professionals=True, citizens=True)
            if toward.professionals and not way.professionals:
                rules.append("MASQUAGE-PS")
            if toward.citizens and not way.citizens:
                rules.append("MASQUAGE-PATIENT")
        return list(dict.fromkeys(rules))

    async def _opposed(self, found: Departing, toward: _Toward) -> list[str]:
        """Tell whether a patient concerned opposed it."""
        for one in await self._parts.oppositions.of(found.matricules | toward.matricules):
            if one.scope == "all" or (one.scope == "citizen" and toward.citizens) or (
                    one.scope == "professionals" and toward.professionals):
                return ["OPPOSITION-PATIENT"]
        return []

    def _reason(self, leaving: Leaving) -> str:
        """Give why the rules are passed over, empty when nobody said."""
        if not self._parts.allow_override:
            return ""
        given = self._parts.derogations.reasons.get(leaving.trace_id, "")
        if not given:
            given = decode_raw((read_headers(leaving.head).get(HEADER) or b"")[:4 * MAX_REASON])
        words = " ".join("".join([char if char.isprintable() else " " for char in given]).split())[:MAX_REASON]
        return hide_numbers(words) if len(words) >= 5 else ""
