"""Reads the messages of the volet "Transmission de documents CDA en HL7v2" 2.0 and 2.1: ORU^R01, MDM^T02/T04/T10 (spec §8.3-8.5).

- `read_order` gives what the application asks; it refuses, with code and place, what the volet makes an error: a missing
  document, recipient or mask, a status that contradicts the event, base64 that is none. It never guesses a mask.
- `read_answer` reads an ACK of the application: MSA-1, MSA-2, and ERR-3, ERR-5 (spec §7.4, codes 900-906).
- Pure; limits come with the parsed message (er7.Limits), texts of mails have their own. Called by services.hl7gateway and
  services.hl7outbox, and by the lab's hospital application.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

from mssante.protocol.hl7v2.er7 import Message, Segment
from mssante.protocol.hl7v2.faults import Hl7Code, Hl7Fault, Place
from mssante.protocol.hl7v2.values import (
    LABELS,
    MASKS,
    PROFILE_OUT,
    CarriedDocument,
    Identifier,
    Order,
    Participant,
    PatientFacts,
    Person,
    Request,
    Structure,
)

VERSIONS = ("2.5", "2.5.1", "2.6")
MAX_TEXT = 100_000  # characters of the body of a mail
MAX_CONTROL_ID = 180  # HL7 v2.6 has 199; ours stand with a suffix in keys of 200
MAX_RECIPIENTS = 100
_PRINTABLE = re.compile(r"[\x21-\x7e][\x20-\x7e]*\Z")
_CODE = re.compile(r"[0-9A-Za-z_.-]{1,20}\Z")
_BODIES = ("CORPSMAIL_PS", "CORPSMAIL_PATIENT")


def read_order(message: Message, processing: tuple[str, ...] = ("P",)) -> Order:
    """Read an order to send. processing: values of MSH-11 that are taken. Raises Hl7Fault."""
    header = message.header
    control_id = check_header(message, processing)
    kind, event = _event(header)
    pid = message.first("PID")
    if pid is None:
        raise _missing("PID")
    if kind == "MDM" and message.first("TXA") is None:
        raise _missing("TXA")
    documents, flags, bodies, final = _observations(message)
    request = _request(message, kind, event, documents)
    people = _participants(message)
    visit, txa = message.first("PV1"), message.first("TXA")
    order = Order(
        control_id, kind, event, request, patient_facts(pid), tuple([one for one, _ in documents]),
        people.sender, people.recipients, people.reply_to, flags, bodies.get("CORPSMAIL_PS", ""),
        bodies.get("CORPSMAIL_PATIENT", ""), final, _created(message),
        txa.raw(12) if txa is not None else "", txa.repetitions(13) if txa is not None else (),
        _identifier(visit, visit.raw(19)) if visit is not None and visit.raw(19) else None)
    _check_flags(order)
    return order


def _created(message: Message) -> str:
    """Give the date of the document: TXA-4, else OBR-22, OBR-7, else that of the message, which moves when it is sent again."""
    txa, obr = message.first("TXA"), message.first("OBR")
    dates = ([txa.text(4)] if txa is not None else []) + ([obr.text(22), obr.text(7)] if obr is not None else [])
    return next((one for one in dates if one), message.header.text(7))


def check_header(message: Message, processing: tuple[str, ...]) -> str:
    """Check MSH and give the control id. Raises Hl7Fault."""
    header = message.header
    control_id = header.text(10)
    if not control_id:
        raise Hl7Fault(Hl7Code.REQUIRED_FIELD, "MSH-10 absent", rule="HL7-MSH10", place=header.place(10),
                       remedy="un identifiant unique par message")
    if len(control_id) > MAX_CONTROL_ID or not _PRINTABLE.match(control_id):
        raise Hl7Fault(Hl7Code.DATA_TYPE, "MSH-10 trop long ou non ASCII", rule="HL7-MSH10", place=header.place(10),
                       remedy=f"{MAX_CONTROL_ID} caracteres au plus")
    if header.text(12) not in VERSIONS:
        raise Hl7Fault(Hl7Code.VERSION_ID, "version HL7 non prise", rule="HL7-VERSION", place=header.place(12),
                       remedy="2.5 pour ORU, 2.6 pour MDM")
    if header.text(11) not in processing:
        raise Hl7Fault(Hl7Code.PROCESSING_ID, "MSH-11 non pris ici", rule="HL7-MSH11", place=header.place(11),
                       remedy=f"attendu : {', '.join(processing)}")
    _check_protocol(message)
    return control_id


def _check_protocol(message: Message) -> None:
    """Refuse what the exchange could not keep: a part of a message, an application that does not want the answer that frees it.

    The volets allow MSA-1 = AA, AE, AR alone, which in enhanced mode are the application acknowledgement (HL7 2.5 §2.9): it is
    given for every message, whatever MSH-15 asks, and CA, CE, CR never.
    """
    header = message.header
    if header.text(14) or message.first("DSC") is not None:
        raise Hl7Fault(Hl7Code.SEGMENT_SEQUENCE, "message en plusieurs morceaux (MSH-14, DSC)", rule="HL7-MORCEAU",
                       place=header.place(14), remedy="un message entier par trame")
    for field, taken in ((15, ("", "AL", "NE", "ER", "SU")), (16, ("", "AL"))):
        if header.text(field) not in taken:
            raise Hl7Fault(Hl7Code.TABLE_VALUE, f"mode d'acquittement non pris en MSH-{field}", rule="HL7-ACCUSE",
                           place=header.place(field), remedy="MSH-16 vide ou AL : AA, AE ou AR repond a chaque message")


def _event(header: Segment) -> tuple[str, str]:
    kind, event = header.text(9), header.text(9, 2)
    if kind not in ("ORU", "MDM"):
        raise Hl7Fault(Hl7Code.MESSAGE_TYPE, "type de message non pris", rule="HL7-TYPE", place=header.place(9, 1),
                       remedy="ORU^R01, MDM^T02, MDM^T04 ou MDM^T10")
    if event not in (("R01",) if kind == "ORU" else ("T02", "T04", "T10")):
        raise Hl7Fault(Hl7Code.EVENT_CODE, "evenement non pris", rule="HL7-EVENEMENT", place=header.place(9, 2),
                       remedy="ORU^R01, MDM^T02, MDM^T04 ou MDM^T10")
    if any(header.part(one, 2) == PROFILE_OUT for one in header.repetitions(21)):
        raise Hl7Fault(Hl7Code.TABLE_VALUE, "ce profil va de la passerelle vers l'application", rule="HL7-PROFIL",
                       place=header.place(21), remedy="CISIS_CDA_HL7_V2 pour un envoi")
    return kind, event


def _missing(segment: str) -> Hl7Fault:
    return Hl7Fault(Hl7Code.SEGMENT_SEQUENCE, f"segment {segment} absent", rule="HL7-SEGMENT", place=Place(segment, 1),
                    remedy="suivre l'ordre des segments du volet")


# ------------------------------------------------------------------------------------------------------------ observations

_Documents = list[tuple[CarriedDocument, str]]


def _observations(message: Message) -> tuple[_Documents, dict[str, bool], dict[str, str], bool]:
    """Give documents with their OBX-11, flags, texts of mails, and whether the patient may not answer (NTE-4 FIN)."""
    documents: _Documents = []
    flags: dict[str, bool] = {}
    bodies: dict[str, str] = {}
    final = False
    for obx, following in message.groups("OBX"):
        code = obx.text(3)
        if code in LABELS:
            _flag(obx, code, flags)
            final = final or (code == "DESTMSSANTEPAT" and any(_says_end(one) for one in following))
        elif code in _BODIES:
            if code in bodies:
                raise _twice(obx)
            bodies[code] = _body(obx)
        elif obx.text(2) == "ED":
            documents.append((_document(obx), obx.text(11)))
        else:
            raise Hl7Fault(Hl7Code.TABLE_VALUE, "OBX-3 inconnu", rule="HL7-OBX", place=obx.place(3),
                           remedy="un document (ED) ou un code de la table MetaDMPMSS")
    if not documents:
        raise Hl7Fault(Hl7Code.SEGMENT_SEQUENCE, "aucun document", rule="HL7-DOCUMENT", place=Place("OBX", 1),
                       remedy="un OBX de type ED avec le document en base64")
    return documents, flags, bodies, final


def _says_end(segment: Segment) -> bool:
    """True for the NTE by which the patient may not answer: NTE-4, or NTE-3 where some write it."""
    return segment.name == "NTE" and "FIN" in (segment.text(4).strip().upper(), segment.text(3).strip().upper())


def _flag(obx: Segment, code: str, flags: dict[str, bool]) -> None:
    value = obx.text(5)
    if value not in ("Y", "N"):
        raise Hl7Fault(Hl7Code.TABLE_VALUE if value else Hl7Code.REQUIRED_FIELD, f"{code} vaut Y ou N", rule="HL7-INDICATEUR",
                       place=obx.place(5), remedy="table HL7 0136")
    if flags.setdefault(code, value == "Y") != (value == "Y"):
        raise _twice(obx)


def _twice(obx: Segment) -> Hl7Fault:
    return Hl7Fault(Hl7Code.CARDINALITY, "donnee donnee deux fois", rule="HL7-INDICATEUR", place=obx.place(3),
                    remedy="une seule fois par message")


def _document(obx: Segment) -> CarriedDocument:
    encoding, subtype = obx.text(5, 4), obx.text(5, 3).upper()
    if encoding.upper() != "BASE64":
        raise Hl7Fault(Hl7Code.DATA_TYPE, "document qui n'est pas en Base64", rule="HL7-BASE64", place=obx.place(5, 4),
                       remedy="OBX-5.4 = Base64")
    content = _decoded(obx)
    pdf = content.startswith(b"%PDF-")
    if pdf != (subtype == "PDF") or subtype not in ("XML", "PDF"):
        raise Hl7Fault(Hl7Code.DATA_TYPE, "le document n'est pas de la forme annoncee", rule="HL7-FORMAT", place=obx.place(5, 3),
                       remedy="XML pour un CDA, PDF pour un PDF")
    if not obx.text(3):
        raise Hl7Fault(Hl7Code.REQUIRED_FIELD, "type du document absent", rule="HL7-OBX", place=obx.place(3, 1),
                       remedy="un code du jeu JDV_J07")
    return CarriedDocument(content, obx.occurrence, obx.text(3), obx.text(3, 2), obx.text(3, 3), pdf)


def _decoded(obx: Segment, *, cut: bool = False) -> bytes:
    """Undo the base64 of OBX-5.5; white space and line ends inside, and lost padding, are forgiven.

    cut: a last character that says nothing is dropped, as the published example of CORPSMAIL_PS has it.
    """
    data = "".join(obx.text(5, 5).split())
    if not data:
        raise Hl7Fault(Hl7Code.REQUIRED_FIELD, "OBX-5.5 vide", rule="HL7-BASE64", place=obx.place(5, 5),
                       remedy="mettre le document en base64")
    data = data.rstrip("=")
    if cut and len(data) % 4 == 1:
        data = data[:-1]
    try:
        return binascii.a2b_base64((data + "=" * (-len(data) % 4)).encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as fault:
        raise Hl7Fault(Hl7Code.DATA_TYPE, "base64 illisible", rule="HL7-BASE64", place=obx.place(5, 5),
                       remedy="RFC 4648, sans coupure hors fins de ligne") from fault


def _body(obx: Segment) -> str:
    """Read the text of a mail: ED in base64 (UTF-8, else the charset of the message), or plain text."""
    if obx.text(2) != "ED" or obx.marks.component not in obx.raw(5):
        text = obx.text(5)
    elif obx.text(5, 4).upper() == "BASE64":
        raw = _decoded(obx, cut=True)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("iso-8859-15")  # the other charset of the volet: every octet is a character
    else:
        text = obx.text(5, 5)
    if len(text) > MAX_TEXT:
        raise Hl7Fault(Hl7Code.CARDINALITY, f"corps de plus de {MAX_TEXT} caracteres", rule="HL7-TAILLE", place=obx.place(5, 5),
                       remedy="un texte court ; le document porte le reste")
    return "".join([char for char in text.replace("\r\n", "\n").replace("\r", "\n") if char >= " " or char in "\n\t"])


def _request(message: Message, kind: str, event: str, documents: _Documents) -> Request:
    """Give what is asked; event, ORC-1 and OBX-11 must agree (volet 2.1: "en cas d'incohérence, le message sera rejeté")."""
    first = message.first("ORC")
    by_order = {one.order: one for one in Request}
    by_status = {one.status: one for one in Request}
    statuses = {status for _, status in documents}
    status = by_status.get(next(iter(statuses))) if len(statuses) == 1 else None
    if status is None:
        raise Hl7Fault(Hl7Code.TABLE_VALUE, "OBX-11 des documents vaut F, C ou D, le meme pour tous", rule="HL7-COHERENCE",
                       place=Place("OBX", documents[0][0].occurrence, 11), remedy="F envoi, C remplacement, D suppression")
    request = Request(event) if kind == "MDM" else status
    order = by_order.get(first.text(1)) if first is not None else request
    if kind == "ORU" and first is None:
        raise _missing("ORC")
    if order is not request or status is not request:
        raise Hl7Fault(Hl7Code.TABLE_VALUE, "MSH-9.2, ORC-1 et OBX-11 ne disent pas la meme chose", rule="HL7-COHERENCE",
                       place=first.place(1) if order is not request and first is not None
                       else Place("OBX", documents[0][0].occurrence, 11),
                       remedy="NW et F, RO et C, CA et D, selon l'evenement")
    return request


# ------------------------------------------------------------------------------------------------------------ participants

@dataclass(frozen=True, slots=True)
class _People:
    sender: Participant
    recipients: tuple[Participant, ...]
    reply_to: str


def _participants(message: Message) -> _People:
    sender = Participant()
    recipients: list[Participant] = []
    reply_to = ""
    for prt in message.all("PRT"):
        role, one = prt.text(4), participant(prt)
        if role == "SB":
            sender = one
        elif role == "REPLY":
            reply_to = one.address
        elif role == "RCT":
            if not one.address:
                raise Hl7Fault(Hl7Code.REQUIRED_FIELD, "destinataire sans adresse MSSante", rule="HL7-DESTINATAIRE",
                               place=prt.place(15, 4), remedy="adresse en PRT-15.4")
            recipients.append(one)
    if len(recipients) > MAX_RECIPIENTS:
        raise Hl7Fault(Hl7Code.CARDINALITY, f"plus de {MAX_RECIPIENTS} destinataires", rule="HL7-TAILLE", place=Place("PRT"))
    return _People(sender, tuple(recipients), reply_to)


def participant(prt: Segment) -> Participant:
    """Read a PRT: person (PRT-5 XCN), organisation (PRT-8 XON), device (PRT-10), address (PRT-15.4)."""
    person = prt.raw(5)
    structure = prt.raw(8)
    return Participant(
        prt.text(15, 4).strip(),
        Person(Identifier(prt.text(5), prt.part(person, 9, 2) or prt.part(person, 9), prt.text(5, 13)), prt.text(5, 2),
               prt.text(5, 3)) if person else None,
        Structure(prt.text(8), Identifier(prt.text(8, 10), prt.part(structure, 6, 2) or prt.part(structure, 6), prt.text(8, 7)))
        if structure else None,
        prt.text(10))


def _identifier(segment: Segment, value: str) -> Identifier:
    """Read a CX: number, OID of the authority (its name when no OID stands), kind."""
    return Identifier(segment.part(value), segment.part(value, 4, 2), segment.part(value, 5), segment.part(value, 4))


def patient_facts(pid: Segment) -> PatientFacts:
    """Read PID-3, 5, 7, 8, 11. Names: type L is the birth name, D the used one (PAM France)."""
    identifiers = tuple([_identifier(pid, one) for one in pid.repetitions(3)])
    names = {pid.part(one, 7): one for one in reversed(pid.repetitions(5))}
    birth = names.get("L") or next(iter(reversed(names.values())), "")
    used = names.get("D", "")
    place = next((pid.part(one, 9) for one in pid.repetitions(11) if pid.part(one, 7) == "BDL"), "")
    return PatientFacts(identifiers, pid.part(birth), pid.part(birth, 2), pid.part(birth, 3), pid.part(used), pid.part(used, 2),
                        pid.text(7)[:8], pid.text(8), place)


def _check_flags(order: Order) -> None:
    for code in MASKS:
        if code not in order.flags:
            raise Hl7Fault(Hl7Code.REQUIRED_FIELD, f"{code} absent", rule="HL7-INDICATEUR", place=Place("OBX"),
                           remedy="donner les trois masquages, Y ou N")


# ------------------------------------------------------------------------------------------------------------ answers

@dataclass(frozen=True, slots=True)
class Answer:
    """An ACK. code: AA, AE or AR (CA, CE, CR are read as them); condition: ERR-3.1; application: ERR-5.1; label: ERR-5.2."""

    code: str
    control_id: str
    condition: str = ""
    application: str = ""
    label: str = ""


def read_answer(message: Message) -> Answer:
    """Read MSA and the first ERR. Raises Hl7Fault when there is no MSA or its code is unknown."""
    msa = message.first("MSA")
    if msa is None:
        raise _missing("MSA")
    code = {"CA": "AA", "CE": "AE", "CR": "AR"}.get(msa.text(1), msa.text(1))
    if code not in ("AA", "AE", "AR"):
        raise Hl7Fault(Hl7Code.TABLE_VALUE, "MSA-1 inconnu", rule="HL7-MSA", place=msa.place(1), remedy="AA, AE ou AR")
    err = message.first("ERR")
    if err is None:
        return Answer(code, msa.text(2))
    return Answer(code, msa.text(2), _plain_code(err.text(3)), _plain_code(err.text(5)), err.text(5, 2).strip()[:200])


def _plain_code(text: str) -> str:
    """Give a code as it is, and nothing for what is no code: it goes into the journal."""
    return text.strip() if _CODE.match(text.strip()) else ""


def unexpected(answer: Answer) -> Hl7Fault:
    """Give the fault of an ACK about another message."""
    return Hl7Fault(Hl7Code.OTHER, f"acquittement {answer.code} d'un autre message", rule="HL7-MSA", place=Place("MSA", 1, 2),
                    remedy="MSA-2 reprend MSH-10")
