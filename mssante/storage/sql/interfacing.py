"""The HL7 gateway's tables: interface_message, interface_outbox, repair_item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, literal, or_, select, update

from mssante.storage.interfacing import CLOSED, GIVEN, OPEN, REFUSED, WAITING, Backlog, OutboxItem, RepairItem, TakenMessage
from mssante.storage.sql.tables import folder, folder_message, message
from mssante.storage.sql.tables_documents import interface_message, interface_outbox, repair_item
from mssante.storage.sql.transaction import InsertRows, Statement, Transaction
from mssante.storage.sql.values import instant, micros, storable

MAX_DETAIL = 1000
SENT, DRAFTS = "\\Sent", "\\Drafts"

_M = interface_message.c
_O = interface_outbox.c
_R = repair_item.c

_TAKEN_NAMES = ["interface", "control_id", "fingerprint", "handed_id", "trace_id", "answer", "received_at"]
_TAKEN = Statement(select(*[_M[name] for name in _TAKEN_NAMES]).where(
    _M.interface == bindparam("p_interface"), _M.control_id == bindparam("p_control")))
_TAKE = InsertRows(interface_message, _TAKEN_NAMES)

_OUT_NAMES = ["sequence", "interface", "kind", "control_id", "reference", "body", "mailbox_id", "message_id", "trace_id",
              "created_at", "next_attempt_at", "attempts", "state", "detail"]
_OUT = [_O[name] for name in _OUT_NAMES]
_LIGHT = [literal(b"").label("body") if name == "body" else _O[name] for name in _OUT_NAMES]
_PUT = InsertRows(interface_outbox, _OUT_NAMES)
_REFERENCE = Statement(select(_O.sequence).where(
    _O.interface == bindparam("p_interface"), _O.reference == bindparam("p_reference")))
_HEAD = Statement(select(*_OUT).where(_O.interface == bindparam("p_interface"), _O.state == WAITING)
                  .order_by(_O.sequence).limit(1))
_THIS = (_O.sequence == bindparam("p_sequence"), _O.state == WAITING)
_ABOUT = (_O.reference >= bindparam("p_from"), _O.reference < bindparam("p_to"))  # by the index: `mdm 12/1`, `mdm 12/2`…
_ATTEMPTED = Statement(update(interface_outbox).where(*_THIS).values(
    attempts=_O.attempts + 1, next_attempt_at=bindparam("p_next"), detail=bindparam("p_detail")))
_SETTLE = Statement(update(interface_outbox).where(*_THIS).values(
    attempts=_O.attempts + 1, state=bindparam("p_state"), detail=bindparam("p_detail"), body=b""))
_OF_MESSAGE = Statement(select(*_LIGHT).where(
    _O.interface == bindparam("p_interface"), *_ABOUT).order_by(_O.sequence))
_LISTS = {(by_interface, by_state): Statement(select(*_LIGHT).where(
    *((_O.interface == bindparam("p_interface"),) if by_interface else ()),
    *((_O.state == bindparam("p_state"),) if by_state else ())).order_by(_O.sequence.desc()).limit(bindparam("p_limit")))
    for by_interface in (True, False) for by_state in (True, False)}
_DROP = Statement(delete(interface_outbox).where(
    _O.interface == bindparam("p_interface"), *_ABOUT, _O.state == REFUSED))
_DEPTH = Statement(select(_O.interface, func.count()).where(_O.state == WAITING).group_by(_O.interface))
_BACKLOG = Statement(select(_O.interface, func.count(), func.min(_O.created_at), func.max(_O.attempts))
                     .where(_O.state == WAITING).group_by(_O.interface))
_OPEN_REPAIRS = Statement(select(_R.interface, func.count(), func.min(_R.created_at)).where(_R.state == OPEN)
                          .group_by(_R.interface))

_REPAIR_NAMES = ["id", "interface", "mailbox_id", "message_id", "trace_id", "code", "detail", "state", "created_at", "updated_at",
                 "by", "note"]
_REPAIR = select(*[_R[name] for name in _REPAIR_NAMES])
_ADD_REPAIR = InsertRows(repair_item, _REPAIR_NAMES)
_STANDING = Statement(select(_R.id).where(
    _R.interface == bindparam("p_interface"), _R.message_id == bindparam("p_message")).order_by(_R.id.desc()).limit(1))
_ONE_REPAIR = Statement(_REPAIR.where(_R.id == bindparam("p_id")))
_REPAIRS = {by_state: Statement(_REPAIR.where(*((_R.state == bindparam("p_state"),) if by_state else ()))
                                .order_by(_R.id).limit(bindparam("p_limit"))) for by_state in (True, False)}
_SET_REPAIR = Statement(update(repair_item).where(_R.id == bindparam("p_id")).values(
    code=bindparam("p_code"), detail=bindparam("p_detail"), state=bindparam("p_state"), updated_at=bindparam("p_at"),
    by=bindparam("p_by"), note=bindparam("p_note")))

_ARRIVED = Statement(select(folder.c.mailbox_id, message.c.id).distinct().select_from(
    message.join(folder_message, folder_message.c.message_id == message.c.id)
    .join(folder, folder.c.id == folder_message.c.folder_id))
    .where(message.c.trace_id.in_(bindparam("p_traces", expanding=True)), folder.c.special_use != SENT,
           folder.c.special_use != DRAFTS).order_by(message.c.id))

_OLD_TAKEN = Statement(delete(interface_message).where(_M.control_id.in_(
    select(_M.control_id).where(_M.received_at < bindparam("p_before")).limit(bindparam("p_limit"))),
    _M.received_at < bindparam("p_before")))
_OLD_OUT = Statement(delete(interface_outbox).where(_O.sequence.in_(
    select(_O.sequence).where(or_(_O.state == GIVEN, _O.state == REFUSED), _O.created_at < bindparam("p_before"))
    .order_by(_O.sequence).limit(bindparam("p_limit")))))
_OLD_REPAIRS = Statement(delete(repair_item).where(_R.id.in_(
    select(_R.id).where(_R.state == CLOSED, _R.updated_at < bindparam("p_before")).order_by(_R.id).limit(bindparam("p_limit")))))


class SqlInterfacingStore:
    """`mssante.storage.interfacing.InterfacingStore`."""

    def taken(self, tx: Transaction, interface: str, control_id: str) -> TakenMessage | None:
        """Give the message taken under a control id."""
        row = tx.one(_TAKEN, p_interface=interface, p_control=control_id)
        if row is None:
            return None
        interface_name, control, fingerprint, handed_id, trace_id, answer, at = row
        return TakenMessage(interface_name, control, fingerprint, handed_id, trace_id, bytes(answer), instant(at))

    def take(self, tx: Transaction, message: TakenMessage) -> bool:
        """Keep a message."""
        if tx.one(_TAKEN, p_interface=message.interface, p_control=message.control_id) is not None:
            return False
        _TAKE.run(tx, [message.interface, message.control_id, message.fingerprint, message.handed_id, message.trace_id,
                       message.answer, micros(message.received_at)])
        return True

    def put(self, tx: Transaction, item: OutboxItem) -> bool:
        """Append to the outbox."""
        if tx.one(_REFERENCE, p_interface=item.interface, p_reference=item.reference) is not None:
            return False
        _PUT.run(tx, [tx.take_ids(1), item.interface, item.kind, item.control_id, item.reference, item.body, item.mailbox_id,
                      item.message_id, item.trace_id, micros(item.created_at), micros(item.next_attempt_at), item.attempts,
                      item.state, storable(item.detail, MAX_DETAIL)])
        return True

    def head(self, tx: Transaction, interface: str) -> OutboxItem | None:
        """Give the oldest waiting message."""
        row = tx.one(_HEAD, p_interface=interface)
        return _item(row) if row is not None else None

    def attempted(self, tx: Transaction, sequence: int, next_attempt_at: datetime, detail: str) -> None:
        """Count an attempt in vain."""
        tx.change(_ATTEMPTED, p_sequence=sequence, p_next=micros(next_attempt_at), p_detail=storable(detail, MAX_DETAIL))

    def settle(self, tx: Transaction, sequence: int, state: str, detail: str) -> bool:
        """End a waiting message."""
        return tx.change(_SETTLE, p_sequence=sequence, p_state=state, p_detail=storable(detail, MAX_DETAIL)) > 0

    def of_message(self, tx: Transaction, interface: str, message_id: int) -> list[OutboxItem]:
        """Give the rows of a message."""
        return [_item(row) for row in tx.rows(_OF_MESSAGE, p_interface=interface, **_about(message_id))]

    def items(self, tx: Transaction, interface: str = "", *, state: str = "", limit: int = 200) -> list[OutboxItem]:
        """Give rows, newest first."""
        given: dict[str, Any] = {"p_limit": limit}
        if interface:
            given["p_interface"] = interface
        if state:
            given["p_state"] = state
        return [_item(row) for row in tx.rows(_LISTS[bool(interface), bool(state)], **given)]

    def drop_refused(self, tx: Transaction, interface: str, message_id: int) -> int:
        """Remove the refused rows of a message."""
        return tx.change(_DROP, p_interface=interface, **_about(message_id))

    def depth(self, tx: Transaction) -> dict[str, int]:
        """Count waiting messages by interface."""
        return dict(tx.rows(_DEPTH))

    def backlog(self, tx: Transaction) -> dict[str, Backlog]:
        """Give what waits."""
        return {name: Backlog(count, instant(oldest), attempts) for name, count, oldest, attempts in tx.rows(_BACKLOG)}

    def repairs_open(self, tx: Transaction) -> dict[str, Backlog]:
        """Give the open entries."""
        return {name: Backlog(count, instant(oldest)) for name, count, oldest in tx.rows(_OPEN_REPAIRS)}

    def add_repair(self, tx: Transaction, item: RepairItem) -> int:
        """Open an entry."""
        row = tx.one(_STANDING, p_interface=item.interface, p_message=item.message_id) if item.message_id else None
        if row is not None:
            self.set_repair(tx, replace(item, state=OPEN, id=int(row[0])))
            return int(row[0])
        repair_id = tx.take_ids(1)
        _ADD_REPAIR.run(tx, [repair_id, item.interface, item.mailbox_id, item.message_id, item.trace_id, item.code,
                             storable(item.detail, MAX_DETAIL), item.state, micros(item.created_at), micros(item.updated_at),
                             storable(item.by, 200), storable(item.note, MAX_DETAIL)])
        return repair_id

    def repair(self, tx: Transaction, repair_id: int) -> RepairItem | None:
        """Give an entry."""
        row = tx.one(_ONE_REPAIR, p_id=repair_id)
        return _repair(row) if row is not None else None

    def repairs(self, tx: Transaction, state: str = "", limit: int = 200) -> list[RepairItem]:
        """Give entries."""
        given: dict[str, Any] = {"p_limit": limit, **({"p_state": state} if state else {})}
        return [_repair(row) for row in tx.rows(_REPAIRS[bool(state)], **given)]

    def stands(self, tx: Transaction, interface: str, message_id: int) -> bool:
        """True when some entry stands for that message."""
        return tx.one(_STANDING, p_interface=interface, p_message=message_id) is not None

    def arrived(self, tx: Transaction, mailbox_ids: Sequence[int], traces: Sequence[str]) -> list[tuple[int, int]]:
        """Give what these traces brought into these mailboxes."""
        wanted = set(mailbox_ids)
        rows = tx.rows_of(_ARRIVED, "p_traces", list(traces)) if traces and wanted else []
        return sorted({(int(mailbox_id), int(message_id)) for mailbox_id, message_id in rows if mailbox_id in wanted},
                      key=lambda one: one[1])

    def set_repair(self, tx: Transaction, item: RepairItem) -> bool:
        """Write an entry."""
        return tx.change(_SET_REPAIR, p_id=item.id, p_code=item.code, p_detail=storable(item.detail, MAX_DETAIL),
                         p_state=item.state, p_at=micros(item.updated_at), p_by=storable(item.by, 200),
                         p_note=storable(item.note, MAX_DETAIL)) > 0

    def forget(self, tx: Transaction, before: datetime, limit: int = 1000) -> int:
        """Remove old rows."""
        return sum(tx.change(one, p_before=micros(before), p_limit=limit) for one in (_OLD_TAKEN, _OLD_OUT, _OLD_REPAIRS))


def _about(message_id: int) -> dict[str, str]:
    """Give the bounds of the references of a message; `0` is the character behind `/`."""
    return {"p_from": f"mdm {message_id}/", "p_to": f"mdm {message_id}0"}


def _item(row: Any) -> OutboxItem:
    (sequence, interface, kind, control_id, reference, body, mailbox_id, message_id, trace_id, created, due, attempts, state,
     detail) = row
    return OutboxItem(interface, kind, control_id, reference, bytes(body), mailbox_id, message_id, trace_id, instant(created),
                      instant(due), attempts, state, detail, sequence)


def _repair(row: Any) -> RepairItem:
    id_, interface, mailbox_id, message_id, trace_id, code, detail, state, created, updated, by, note = row
    return RepairItem(interface, mailbox_id, message_id, trace_id, code, detail, state, instant(created), instant(updated), by,
                      note, id_)
