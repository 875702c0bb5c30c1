"""What programs are told: the events of documents handed in and of mail that arrives, read from the journal.

- The journal is the only source: the API reads it behind a sequence, the follower (services/handfollow.py) makes the outbox of
  webhooks from it. The same fact has the same identifier (`evt_<sequence>_<rank>`) everywhere, so a program may drop repeats.
- An event holds envelope facts only: mailbox, pseudonym of a citizen, state, words of the other side as the journal holds them.
  No subject, no content, no identity of a patient.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mssante.model.journal import JournalKind
from mssante.storage.handover import HandedRecord
from mssante.storage.interfaces import JournalRow

KINDS = ("document.accepted", "document.relayed", "document.deferred", "document.delivered", "document.read", "document.failed",
         "message.received")
_STATES = {JournalKind.RELAYED.value: "relayed", JournalKind.BOUNCED.value: "failed", JournalKind.DEFERRED.value: "deferred"}
RANKS = {"queued": 0, "relayed": 1, "delivered": 2, "read": 3, "failed": 4}
_ARRIVALS = frozenset({JournalKind.RECEIVED.value, JournalKind.SUBMITTED.value})
MAX_WORDS = 500


@dataclass(frozen=True, slots=True)
class DocumentEvent:
    """One event. kind: one of KINDS; mailbox_id: whose programs hear of it; document: id of a request, empty for mail that
    arrives; recipient, state, detail: of documents; sender, size: of mail that arrives."""

    id: str
    kind: str
    at: datetime
    mailbox_id: int
    mailbox: str
    trace_id: str
    document: str = ""
    recipient: str = ""
    state: str = ""
    detail: str = ""
    sender: str = ""
    size: int = 0

    def document_json(self) -> dict[str, Any]:
        """Give it as programs get it."""
        found: dict[str, Any] = {"id": self.id, "type": self.kind, "at": self.at.isoformat(timespec="milliseconds"),
                                 "mailbox": self.mailbox, "trace_id": self.trace_id}
        for name in ("document", "recipient", "state", "detail", "sender", "size"):
            if value := getattr(self, name):
                found[name] = value
        return found

    def text(self) -> str:
        """Give it as the body of a webhook: JSON, always the same octets."""
        return json.dumps(self.document_json(), ensure_ascii=True, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Known:
    """What rows are read with. records: requests by trace; boxes: mailbox id and address by lower-case address (aliases too);
    addresses: address by mailbox id."""

    records: Mapping[str, HandedRecord]
    boxes: Mapping[str, tuple[int, str]]
    addresses: Mapping[int, str]


def local_recipients(rows: Sequence[JournalRow]) -> set[str]:
    """Give the addresses, lower-case, that mail may have arrived for."""
    return {one.lower() for row in rows if row.kind in _ARRIVALS for one in str(row.payload.get("to", "")).split()}


def events_of(row: JournalRow, known: Known) -> list[DocumentEvent]:
    """Give the events of one row of the journal, in order, none for most rows."""
    found: list[dict[str, Any]] = []
    record = known.records.get(row.trace_id)
    if record is not None:
        found += _of_document(row, record)
    if row.kind in _ARRIVALS:
        sender, seen = str(row.payload.get("from", "")), set()
        for address in str(row.payload.get("to", "")).split():
            box = known.boxes.get(address.lower())
            if box is not None and box[0] not in seen:
                seen.add(box[0])
                found.append({"kind": "message.received", "mailbox_id": box[0], "mailbox": box[1], "sender": sender,
                              "size": int(row.payload.get("size") or 0)})
    return [DocumentEvent(id=f"evt_{row.sequence}_{rank}", at=row.at, trace_id=row.trace_id,
                          **{"mailbox": known.addresses.get(int(one["mailbox_id"]), ""), **one})
            for rank, one in enumerate(found)]


def _of_document(row: JournalRow, record: HandedRecord) -> list[dict[str, Any]]:
    common: dict[str, Any] = {"document": record.id, "mailbox_id": record.mailbox_id}
    if row.kind == JournalKind.SUBMITTED.value:
        return [{"kind": "document.accepted", **common}]
    state = state_of(row)
    if not state:
        return []
    words = str(row.payload.get("reply", ""))[:MAX_WORDS]
    return [{"kind": f"document.{state}", "recipient": row.subject, "state": state, "detail": words, **common}]


def state_of(row: JournalRow) -> str:
    """Give the state of a recipient that a row tells, or an empty string."""
    if row.kind == JournalKind.RECEIPT.value:
        state = str(row.payload.get("state", ""))
        return state if state in RANKS else ""
    return _STATES.get(row.kind, "")
