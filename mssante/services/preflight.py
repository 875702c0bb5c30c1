"""The pre-flight at departure: structured documents of a submitted message are checked before it is accepted (spec §8.6, §7.1).

- Only a message that may hold documents is read (`Leaving.may_hold_documents`: an archive, an XML file, also in an opaque
  signature), or one with the subject of a structured message; a plain letter is never delayed.
  The checks themselves run in a worker (`services.workshop`), within `seconds`.
- Policy `warn`: the message leaves; errors make a report into the author's mailbox, committed with the message. Policy `block`:
  errors refuse the message (554, first rule and number); warnings are reported as under `warn`.
- When the check itself cannot be done (a worker that died, rules that cannot be read, too long): `warn` lets the message go and
  journals it; `block` refuses for now (451): nothing unchecked leaves.
- `X-MSS-CODECDA` and `X-MSS-INS`, when missing, are computed from the CDA and put in front with `X-MSSANTE-Calcule: <names>`,
  which says that the operator wrote them; the author's octets, and so signatures, are as they were. `X-MSS-NIL` is only counted.
- The journal and the log hold rule names and numbers, never a word of a document nor a file name.

A `DepartureCheck` (services/departure.py), added by `topics.preflight`.
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import structlog

from mssante.documents.faults import DocumentFault
from mssante.documents.preflight import Outcome, Preflight
from mssante.ids import new_trace_id
from mssante.model import replies
from mssante.model.address import MailAddress
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.message import NewMessage, StagedBody
from mssante.observability.metrics import PREFLIGHT, PREFLIGHT_NIL
from mssante.protocol.mime.compose import header_line
from mssante.protocol.mime.imapview import facts as facts_of
from mssante.services.departure import FREE, Leaving, Ruling
from mssante.services.evidence import Evidence
from mssante.services.preflight_report import ReportFacts, compose_report
from mssante.services.preflight_work import look_at_message
from mssante.services.rulebook import RuleBook
from mssante.services.workshop import Workshop
from mssante.storage.acceptance import Acceptance, Filing

log = structlog.get_logger("preflight")
COMPUTED = "X-MSSANTE-Calcule"
_RULES_TOLD = 10


@dataclass(slots=True)
class PreflightParts:
    """What the check stands on. postmaster: the local part and domain that reports; seconds: of one check; report_all: warnings
    alone make a report too."""

    policy: Literal["warn", "block"]
    workshop: Workshop
    rules: RuleBook
    executor: Executor
    evidence: Evidence
    postmaster: MailAddress
    seconds: float
    report_all: bool = False


class PreflightCheck:
    """A `DepartureCheck`."""

    def __init__(self, parts: PreflightParts) -> None:
        self._parts = parts

    async def look(self, leaving: Leaving) -> Ruling:
        """Rule on a message. Raises DocumentFault under `block` when the check cannot be done."""
        if not (leaving.may_hold_documents or leaving.announced):
            return FREE
        try:
            result = await self._judge(leaving)
        except DocumentFault as fault:
            log.warning("preflight_not_done", rule=fault.rule, trace_id=leaving.trace_id)
            PREFLIGHT.labels("unchecked").inc()
            if self._parts.policy == "block":
                raise
            return Ruling(events=(self._event(leaving, {"verdict": "unchecked", "rule": fault.rule}),))
        if not result.archives and not result.documents and not result.remarks:
            return FREE  # an archive of another kind: nobody's business
        PREFLIGHT.labels(result.outcome.value).inc()
        PREFLIGHT_NIL.labels("present" if result.nil else "absent").inc()
        return self._rule(leaving, result)

    async def _judge(self, leaving: Leaving) -> Preflight:
        parts = self._parts
        raw = await asyncio.get_running_loop().run_in_executor(parts.executor, leaving.content)
        return await parts.workshop.run(look_at_message, raw, await parts.rules.current(), seconds=parts.seconds)

    def _rule(self, leaving: Leaving, result: Preflight) -> Ruling:
        errors = result.errors
        if errors and self._parts.policy == "block":
            return Ruling(replies.preflight_failed(errors[0].rule, len(errors)))
        payload: dict[str, str | int | float | bool | None] = {
            "verdict": result.outcome.value, "policy": self._parts.policy, "documents": result.documents, "errors": len(errors),
            "warnings": len(result.remarks) - len(errors), "computed": " ".join(name for name, _value in result.computed),
            "rules": " ".join(list(dict.fromkeys(one.rule for one in result.remarks))[:_RULES_TOLD])}
        told = bool(errors) or (self._parts.report_all and result.outcome is not Outcome.OK)
        messages = (self._report(leaving, result),) if told else ()
        return Ruling(None, _lines(result), (self._event(leaving, payload),), messages)

    def _event(self, leaving: Leaving, payload: dict[str, str | int | float | bool | None]) -> JournalEvent:
        subject = self._parts.evidence.address(leaving.box.address)
        return JournalEvent(JournalKind.PREFLIGHT, leaving.at, leaving.trace_id, subject, payload)

    def _report(self, leaving: Leaving, result: Preflight) -> Acceptance:
        """Give the report, filed into the inbox of the mailbox that sent."""
        parts, trace_id = self._parts, new_trace_id()
        raw = compose_report(result, ReportFacts(parts.postmaster, leaving.sender, leaving.facts.message_id, leaving.trace_id,
                                                 trace_id, leaving.at))
        body = StagedBody(len(raw), hashlib.sha256(raw).hexdigest(), inline=raw)
        message = NewMessage(body, b"Return-Path: <>\r\n", facts_of(raw), trace_id, leaving.at)
        event = JournalEvent(JournalKind.REPORT_SENT, leaving.at, trace_id, parts.evidence.address(leaving.box.address),
                             {"about": leaving.trace_id, "action": "preflight"})
        return Acceptance(message, (Filing(leaving.box.inbox_id),), None, (event,))


def _lines(result: Preflight) -> bytes:
    """Give the computed lines and the mark that says so."""
    if not result.computed:
        return b""
    mark = (COMPUTED, ", ".join(name for name, _value in result.computed))
    return b"".join(header_line(name, value) for name, value in (*result.computed, mark))
