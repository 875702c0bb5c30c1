"""From an order of an application to hand-overs: who gets what, under which masks, from which documents. No storage here.

- `check_documents`: each CDA can be read, of the patient of PID; raises with the place of its OBX. A deletion is refused: sent as
  things stand, it would reach the recipients as one more document.
- `parts_of`: one hand-over for the citizen, one for the professionals, or one of both; the masks and the DESTMSSANTE flags must
  allow them (spec §8.4), or nothing leaves.
- Pure but for the reading of documents. Called by services.hl7gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime, tzinfo

from mssante.documents.cda import InstanceId, read_header
from mssante.documents.codes import Code
from mssante.documents.hl7 import parse_date, parse_stamp
from mssante.documents.ins import INS_OIDS, OID_NIR
from mssante.documents.masking import Sending, check_sending
from mssante.documents.n1 import LOINC_OID, N1Facts, N1Patient, N1Person
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.hl7v2.faults import Hl7Code, Hl7Fault, Place
from mssante.protocol.hl7v2.values import CarriedDocument, Identifier, Order, Participant, Request
from mssante.services.handed import Action, HandedCda, HandedDocument, HandedPdf
from mssante.services.hl7values import Application

PATIENT = "patient"
PROFESSIONALS = "professionnels"
TRE_A05 = "1.2.250.1.213.1.1.4.12"
_SYSTEMS = {"LN": LOINC_OID, "TRE_A05": TRE_A05, LOINC_OID: LOINC_OID, TRE_A05: TRE_A05}
_ACTIONS = {Request.SEND: Action.SEND, Request.REPLACE: Action.REPLACE, Request.DELETE: Action.DELETE}
_MASKS = {"MASQUE_PS": "MASQUE_PS", "INVISIBLE_PATIENT": "INVISIBLE_PATIENT",
          "INVISIBLE_REP_LEGAUX": "INVISIBLE_REPRESENTANTS_LEGAUX"}


@dataclass(frozen=True, slots=True)
class Part:
    """Those of one hand-over."""

    name: str
    recipients: tuple[Participant, ...]


def check_documents(order: Order) -> None:
    """Read each CDA: it must be one, and of the patient of PID-3. Raises Hl7Fault."""
    said = {one.number.replace(" ", "").upper() for one in order.patient.identifiers if one.root in INS_OIDS}
    for one in order.documents:
        if one.pdf:
            continue
        place = Place("OBX", one.occurrence, 5, 5)
        try:
            header = read_header(one.content)
        except InputFault as fault:
            raise Hl7Fault(Hl7Code.DATA_TYPE, fault.public, rule=fault.rule, place=place, remedy=fault.remedy) from fault
        ins = header.patient.ins
        if ins is not None and said and ins.matricule.upper() not in said:
            raise Hl7Fault(Hl7Code.INTERNAL, say("l'INS de PID-3 n'est pas celui du document", "PID-3 and document differ"),
                           rule="HL7-PATIENT", place=Place("PID", 1, 3), remedy="verifier le patient avant tout renvoi")
        if order.request is Request.REPLACE and not header.replaces:
            raise Hl7Fault(Hl7Code.INTERNAL, say("le document ne dit pas ce qu'il remplace", "what it replaces is not said"),
                           rule="HL7-REMPLACE", place=place, remedy="relatedDocument RPLC dans le CDA")


def parts_of(application: Application, order: Order, citizen_domain: str) -> list[tuple[Part, HandedDocument]]:
    """Give the hand-overs of an order, the citizen's first. Raises Hl7Fault."""
    suffix = f"@{citizen_domain}"
    citizens = tuple([one for one in order.recipients if one.address.lower().endswith(suffix)])
    others = tuple([one for one in order.recipients if not one.address.lower().endswith(suffix)])
    _check_destinations(order, citizens, others)
    _check_masks(order, citizens=bool(citizens), others=bool(others))
    documents = tuple([_handed(application, order, one) for one in order.documents])
    common = HandedDocument(
        application.source, "", application.mailbox, (), documents,
        masking=tuple([code for flag, code in _MASKS.items() if order.flag(flag)]), action=_ACTIONS[order.request],
        delivery_receipt=order.flag("ACK_RECEPTION"), read_receipt=order.flag("ACK_LECTURE_MSS"), reply_to=order.reply_to,
        login=application.name)
    out: list[tuple[Part, HandedDocument]] = []
    if citizens:
        out.append((Part(PATIENT, citizens), replace(
            common, key=_key(order.control_id, PATIENT), to=_addresses(citizens), text=order.text_patient, final=order.final)))
    if others:
        out.append((Part(PROFESSIONALS, others), replace(
            common, key=_key(order.control_id, PROFESSIONALS), to=_addresses(others), text=order.text_professionals)))
    return out


def _key(control_id: str, part: str) -> str:
    """Give the key of a hand-over; hl7fold reads the control id back from it."""
    return f"{control_id}/{part}"


def _addresses(recipients: tuple[Participant, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([one.address for one in recipients]))


def _check_destinations(order: Order, citizens: tuple[Participant, ...], others: tuple[Participant, ...]) -> None:
    """DESTMSSANTEPS and DESTMSSANTEPAT, where they stand, say the same as the recipients."""
    for flag, found in (("DESTMSSANTEPS", others), ("DESTMSSANTEPAT", citizens)):
        wanted = order.flags.get(flag, bool(found))
        if wanted and not found:
            raise Hl7Fault(Hl7Code.REQUIRED_FIELD, f"{flag} vaut Y et aucun PRT RCT n'a cette adresse", rule="HL7-DESTINATAIRE",
                           place=Place("PRT", 1, 15, 4), remedy="donner l'adresse MSSante")
        if found and not wanted:
            raise Hl7Fault(Hl7Code.INTERNAL, f"{flag} vaut N et un PRT RCT porte une telle adresse", rule="HL7-DESTINATAIRE",
                           place=Place("PRT", 1, 15, 4), remedy="accorder l'indicateur et les destinataires")
    if not citizens and not others:
        raise Hl7Fault(Hl7Code.INTERNAL, "aucun destinataire MSSante : cette passerelle n'alimente pas le DMP",
                       rule="HL7-DESTINATAIRE", place=Place("PRT", 1, 15, 4), remedy="au moins un PRT RCT avec son adresse")


def _check_masks(order: Order, *, citizens: bool, others: bool) -> None:
    """The sending matrix (spec §8.4): any other combination is an error, and nothing leaves."""
    try:
        check_sending(Sending(order.flag("MASQUE_PS"), order.flag("INVISIBLE_PATIENT"), order.flag("INVISIBLE_REP_LEGAUX"),
                              others, citizens, order.flag("CONNEXION_SECRETE"), order.flag("DESTDMP")))
    except InputFault as fault:
        raise Hl7Fault(Hl7Code.INTERNAL, fault.public, rule=fault.rule, place=Place("OBX"), remedy=fault.remedy) from fault


# ------------------------------------------------------------------------------------------------------------ documents

def _handed(application: Application, order: Order, document: CarriedDocument) -> HandedCda | HandedPdf:
    if not document.pdf:
        return HandedCda(document.content)
    return HandedPdf(document.content, _facts(application, order, document))


def _facts(application: Application, order: Order, document: CarriedDocument) -> N1Facts:
    """Give what a PDF does not say, from PID, PV1, TXA, PRT and OBX-3. Raises Hl7Fault for what is missing."""
    if application.structure is None:
        raise Hl7Fault(Hl7Code.INTERNAL, "PDF non pris : la structure de l'application n'est pas connue", rule="HL7-PDF",
                       place=Place("OBX", document.occurrence, 5), remedy="hl7.applications : structure_name, structure_number")
    if order.request is Request.REPLACE and not order.parents:
        raise Hl7Fault(Hl7Code.REQUIRED_FIELD, "TXA-13 absent", rule="HL7-REMPLACE", place=Place("TXA", 1, 13),
                       remedy="l'identifiant du document remplace")
    person = order.sender.person
    if person is None or not person.identifier.number or not person.family:
        raise Hl7Fault(Hl7Code.REQUIRED_FIELD, "auteur absent : PRT-5 du PRT SB", rule="HL7-PDF", place=Place("PRT", 1, 5),
                       remedy="identifiant et nom du professionnel")
    created = _moment(order.created, application.zone)
    scheme = _SYSTEMS.get(document.system)
    if scheme is None:
        raise Hl7Fault(Hl7Code.TABLE_VALUE, "systeme du type de document inconnu", rule="HL7-OBX",
                       place=Place("OBX", document.occurrence, 3, 3), remedy="LN ou TRE_A05")
    if created is None:
        raise Hl7Fault(Hl7Code.DATA_TYPE, "date du message illisible", rule="HL7-DATE", place=Place("MSH", 1, 7),
                       remedy="AAAAMMJJhhmm[ss][+hhmm]")
    first = order.documents[0] is document
    return N1Facts(
        _patient(order), N1Person(person.identifier.number, person.family, person.given), application.structure,
        Code(document.code, scheme, document.label), document.label or document.code, created,
        _instance(order.document_id) if order.document_id and first else InstanceId(""),
        encounter=_local(order.encounter) if order.encounter is not None else None,
        replaces=tuple([_instance(one) for one in order.parents]))


def _patient(order: Order) -> N1Patient:
    facts = order.patient
    ins = next((one for one in facts.identifiers if one.root in INS_OIDS), None)
    local = next((one for one in facts.identifiers if one.root not in INS_OIDS and one.number), None)
    birth = parse_date(facts.birth)
    if birth is None:
        raise Hl7Fault(Hl7Code.DATA_TYPE if facts.birth else Hl7Code.REQUIRED_FIELD, "date de naissance absente ou illisible",
                       rule="HL7-PDF", place=Place("PID", 1, 7), remedy="AAAAMMJJ")
    number, root = (ins.number, ins.root) if ins is not None else ("", OID_NIR)
    return N1Patient(facts.family, facts.given, date(birth.year, birth.month, birth.day), facts.sex or "U", number, root,
                     _local(local) if local is not None else None, facts.all_given, facts.family_used, facts.given_used,
                     facts.birth_place)


def _local(one: Identifier) -> InstanceId | None:
    """Give a number with its OID; an authority without OID names nobody outside its hospital."""
    return InstanceId(one.root, one.number) if "." in one.root else None


def _instance(text: str) -> InstanceId:
    """Read TXA-12 or TXA-13: `extension^^root^ISO`, or a root alone (a name behind it is left)."""
    parts = text.split("^")
    if len(parts) > 2 and parts[2]:
        return InstanceId(parts[2], parts[0])
    return InstanceId(parts[0])


def _moment(text: str, zone: tzinfo) -> datetime | None:
    """Read a TS; without offset it is of the hospital's zone."""
    moment = parse_stamp(text)
    if moment is not None:
        return moment
    found = parse_stamp(f"{text}+0000")
    return found.replace(tzinfo=zone) if found is not None else None
