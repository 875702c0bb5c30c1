"""Alarms of the sources that trust stands on (CRLs, OCSP responders): one metric each, and the journal told once a cause.

A source that fails the same way a thousand times is one event and one log line; when it is well again, or fails for another
reason, that is told anew. Called by `services.crlkeeper` and `services.revocation`.
"""

from __future__ import annotations

import structlog

from mssante.errors import MssFault, OperatorFault
from mssante.model.journal import JournalKind
from mssante.observability.metrics import TRUST_ALARM
from mssante.services.evidence import Evidence

log = structlog.get_logger("trust")
MAX_SOURCES = 200


class SourceAlarms:
    """What was last told of each source."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._last: dict[str, str] = {}

    def ring(self, source: str, kind: JournalKind, fault: MssFault, *, label: str = "") -> None:
        """Raise the alarm of a source. label: the metric's label when several sources share one."""
        TRUST_ALARM.labels(label or source).set(1)
        if self._last.get(source) == fault.rule:
            return
        if len(self._last) >= MAX_SOURCES:
            self._last.clear()
        self._last[source] = fault.rule
        log.error("trust_source_refused", source=source, rule=fault.rule, text=fault.public, detail=fault.detail)
        self._evidence.write(self._evidence.event(kind, source, {"rule": fault.rule, "text": fault.public}))

    def well(self, source: str, *, label: str = "") -> None:
        """Take the alarm of a source back; a shared metric goes down when none of its sources rings."""
        self._last.pop(source, None)
        if not label or not any(name.startswith(f"{label} ") for name in self._last):
            TRUST_ALARM.labels(label or source).set(0)


def as_fault(fault: MssFault | OSError) -> MssFault:
    """Give a fault of ours for what the disk did."""
    if isinstance(fault, MssFault):
        return fault
    return OperatorFault("could not be written to disk", detail=type(fault).__name__, rule="TRUST-DISQUE",
                         remedy="check room and rights of the folders of the trust section")
