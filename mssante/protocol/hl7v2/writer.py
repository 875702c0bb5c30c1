"""Writes HL7 v2 messages strictly: ACK with ERR, the business acknowledgements ZAM^Z01/Z02/Z03^ZAM_Z01, MDM to applications.

- `acknowledge` answers even what could not be read: what is left of MSH is used, the rest is plain.
- `zam` has the segments of the guide's examples: MSH, EVN, OBX, OBX, ERR (spec §8.5).
- `mdm` is the volet "Transmission au LPS d'un document CDA provenant d'un courriel MSSanté" 1.1: MSH, EVN, PID, PV1, ORC, OBR,
  TXA, OBX with the document and its PRT, OBX with the mail, OBX of the masks.
- Every text is escaped (er7.escape); characters outside the charset become `?`; nothing a correspondent wrote can end a segment.
- Pure: instants and control ids are arguments. Called by services.hl7gateway, services.hl7fold, services.hl7inbox.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mssante.protocol.hl7v2.er7 import CHARSETS, STANDARD, Segment, escape
from mssante.protocol.hl7v2.faults import LABELS as CODE_LABELS
from mssante.protocol.hl7v2.faults import NOWHERE, Hl7Code, Place
from mssante.protocol.hl7v2.values import (
    LABELS,
    PROFILE_IN,
    PROFILE_OUT,
    Correspondents,
    Delivery,
    Identifier,
    Participant,
    Receipt,
    ReceiptKind,
)

Components = tuple["str | tuple[str, ...]", ...]
Field = "str | Components | list[Components]"
MAX_VALUE = 1_000  # characters of one component that comes from others
_RECEIPTS = {ReceiptKind.DMP: ("ACK_RECEPTION_DMP", "Accusé de réception DMP"),
             ReceiptKind.RECEPTION: ("ACK_RECEPTION_MSS", "Accusé de réception MSSanté"),
             ReceiptKind.READING: ("ACK_LECTURE_MSS", "Accusé de lecture")}
_HOLDERS = {ReceiptKind.RECEPTION: ("DESTINATAIRE_MSS", "Destinataire MSSanté"),
            ReceiptKind.READING: ("LECTEUR_MSS", "Lecteur du courriel MSSanté")}


@dataclass(frozen=True, slots=True)
class Problem:
    """One ERR. application: code, label and table of ERR-5; words: ERR-8, for a person."""

    code: Hl7Code
    place: Place = NOWHERE
    application: tuple[str, str, str] | None = None
    words: str = ""
    severity: str = "E"


def segment(name: str, fields: Mapping[int, str | Components | list[Components]]) -> str:
    """Give one segment: field number to text, components, or repetitions; texts are escaped here and nowhere else."""
    out = [""] * max(fields, default=0)
    for number, value in fields.items():
        repetitions = value if isinstance(value, list) else [value if isinstance(value, tuple) else (value,)]
        out[number - 1] = "~".join([_components(one) for one in repetitions])
    return "|".join([name, *out])


def _components(parts: Components) -> str:
    pieces = ["&".join([escape(sub[:MAX_VALUE]) for sub in one]) if isinstance(one, tuple) else escape(one[:MAX_VALUE])
              for one in parts]
    return "^".join(pieces).rstrip("^")


def _encode(segments: Sequence[str], charset: str) -> bytes:
    return ("\r".join(segments) + "\r").encode(CHARSETS.get(charset) or "utf-8", "replace")


def stamp(now: datetime) -> str:
    """Give an HL7 TS to the second with its offset."""
    return f"{now:%Y%m%d%H%M%S%z}"


# ------------------------------------------------------------------------------------------------------------ ACK

def acknowledge(header: Segment | None, answer: str, control_id: str, now: datetime, problems: Sequence[Problem] = ()) -> bytes:
    """Give the ACK of a message whose MSH is `header` (None: it could not be read). answer: AA, AE or AR; control_id: our own.

    Applications and facilities change sides, MSH-11, MSH-12, MSH-17 and MSH-18 are those of the message (volet 2.1, ACK).
    """
    def given(field: int, default: str = "") -> str:
        return header.text(field) if header is not None else default

    event = header.text(9, 2) if header is not None else ""
    charset = given(18) if CHARSETS.get(given(18)) else "UNICODE UTF-8"
    kind: Components = ("ACK", event, "ACK") if event else ("ACK",)
    lines = [_msh({3: given(5), 4: given(6), 5: given(3), 6: given(4), 7: stamp(now), 9: kind, 10: control_id,
                   11: given(11, "P") or "P", 12: given(12, "2.6") or "2.6", 17: "FRA", 18: charset}),
             segment("MSA", {1: answer, 2: given(10)})]
    return _encode([*lines, *[_err(one) for one in problems]], charset)


def _msh(fields: dict[int, str | Components]) -> str:
    """MSH-1 and MSH-2 are the standard marks; fields are counted with them."""
    return f"MSH|{STANDARD.encoding}|" + segment("", {number - 2: value for number, value in fields.items()})[1:]


def _err(problem: Problem) -> str:
    where = problem.place
    fields: dict[int, str | Components | list[Components]] = {
        3: (str(int(problem.code)), CODE_LABELS[problem.code], "messageErrorCondition"), 4: problem.severity}
    if where.segment:
        parts = [where.segment, *[str(one) for one in (where.occurrence or 1, where.field)]]
        if where.component:
            parts += ["1", str(where.component)]
        fields[2] = tuple(parts if where.field else parts[:2])
    if problem.application is not None:
        fields[5] = problem.application
    if problem.words:
        fields[8] = problem.words
    return segment("ERR", fields)


# ------------------------------------------------------------------------------------------------------------ ZAM

@dataclass(frozen=True, slots=True)
class Sending:
    """Who writes to whom, under which control id, when."""

    correspondents: Correspondents
    control_id: str
    now: datetime


def _head(sending: Sending, kind: Components, profile: Components) -> list[str]:
    who = sending.correspondents
    return [_msh({3: who.application, 4: who.facility, 5: who.to_application, 6: who.to_facility, 7: stamp(sending.now), 9: kind,
                  10: sending.control_id, 11: who.processing, 12: "2.6", 17: "FRA", 18: who.charset, 21: profile}),
            segment("EVN", {2: stamp(sending.now)})]


def zam(receipt: Receipt, sending: Sending) -> bytes:
    """Give a business acknowledgement, structure ZAM_Z01 (volet 2.1)."""
    code, label = _RECEIPTS[receipt.kind]
    lines = _head(sending, ("ZAM", receipt.kind.value, "ZAM_Z01"), ("2.1", PROFILE_IN))
    lines.append(segment("OBX", {1: "1", 2: "CWE", 3: (code, label, "AckMetierZAM"), 4: receipt.about,
                                 5: ("N" if receipt.failure else "Y", "", "expandedYes-NoIndicator"), 11: "F", 12: ""}))
    if receipt.kind in _HOLDERS:
        code, label = _HOLDERS[receipt.kind]
        lines.append(segment("OBX", {1: "2", 2: "XTN", 3: (code, label, "AckMetierZAM"), 4: receipt.holder,
                                     5: ("", "", "X.400", receipt.address), 11: "F", 12: ""}))
    if receipt.failure is not None:
        failure = receipt.failure
        lines.append(_err(Problem(Hl7Code.INTERNAL, application=(failure.code, failure.label, failure.table))))
    return _encode(lines, sending.correspondents.charset)


# ------------------------------------------------------------------------------------------------------------ MDM

def mdm(delivery: Delivery, sending: Sending) -> bytes:
    """Give the MDM that brings one document to an application (volet LPS 1.1)."""
    lines = _head(sending, ("MDM", delivery.request.value, "MDM_T02"), ("1.1", PROFILE_OUT))
    coded = (delivery.code, delivery.label, delivery.system)
    txa: dict[int, str | Components | list[Components]] = {
        1: "1", 2: delivery.code, 3: "TEXT", 4: delivery.created, 12: _entity(delivery.number), 17: "AU"}
    if delivery.parent is not None:
        txa[13] = _entity(delivery.parent)
    if delivery.author:
        txa[22] = delivery.author
    lines += [_pid(delivery), segment("PV1", {1: "1", 2: "N"}), segment("ORC", {1: delivery.request.order}),
              segment("OBR", {1: "1", 4: coded}), segment("TXA", txa),
              _carried("1", coded, "XML", delivery.content, delivery.request.status),
              _prt("SB", "Send by", delivery.sender), _prt("RCT", "Result Copies To", delivery.recipient)]
    if delivery.reply_to:
        lines.append(_prt("REPLY", "Reply To", Participant(delivery.reply_to)))
    mail = delivery.mail
    lines.append(_carried("2", (mail.message_id, mail.subject), "", mail.text.encode("utf-8"), "F"))
    for number, code in enumerate(("MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REP_LEGAUX", "MODIF_CONF_CODE"), 3):
        lines.append(segment("OBX", {
            1: str(number), 2: "CWE", 3: (code, LABELS[code], "MetaDMPMSS"),
            5: ("Y" if delivery.masks.get(code) else "N", "", "expandedYes-NoIndicator"), 11: "F", 12: ""}))
    return _encode(lines, sending.correspondents.charset)


def _entity(number: tuple[str, str]) -> str | Components:
    """TXA-12, TXA-13 (EI): `extension^^root^ISO`, or the root alone when there is no extension."""
    extension, root = number
    return (extension, "", root, "ISO") if extension else root


def _carried(number: str, code: Components, subtype: str, content: bytes, status: str) -> str:
    """An OBX of type ED. The base64 needs no escape and is not cut to the length of texts."""
    lead = segment("OBX", {1: number, 2: "ED", 3: code, 4: ""})
    return f"{lead}|^text^{subtype}^Base64^{base64.b64encode(content).decode('ascii')}||||||{status}|"


def _pid(delivery: Delivery) -> str:
    patient = delivery.patient
    names: list[Components] = [(patient.family, patient.given, patient.all_given, "", "", "", "L")]
    if patient.family_used or patient.given_used:
        names.append((patient.family_used, patient.given_used, "", "", "", "", "D"))
    fields: dict[int, str | Components | list[Components]] = {
        3: [_cx(one) for one in patient.identifiers], 5: names, 7: patient.birth, 8: patient.sex}
    if patient.birth_place:
        fields[11] = ("", "", "", "", "", "", "BDL", "", patient.birth_place)
    return segment("PID", fields)


def _cx(one: Identifier) -> Components:
    return (one.number, "", "", (one.authority, one.root, "ISO") if one.root else one.authority, one.kind)


def _prt(code: str, label: str, who: Participant) -> str:
    fields: dict[int, str | Components | list[Components]] = {2: "UC", 4: (code, label, "participation")}
    if who.person is not None:
        number = who.person.identifier
        fields[5] = (number.number, who.person.family, who.person.given, "", "", "", "", "",
                     ("", number.root, "ISO") if number.root else "", "D", "", "", number.kind)
    if who.structure is not None:
        number = who.structure.identifier
        fields[8] = (who.structure.name, "", "", "", "", ("", number.root, "ISO") if number.root else "", number.kind, "", "",
                     number.number)
    if who.device:
        fields[10] = who.device
    if who.address:
        fields[15] = ("", "", "X.400", who.address)
    return segment("PRT", fields)
