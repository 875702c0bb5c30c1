"""A CDA of level 1 made from a PDF and its facts (CI-SIS "structuration minimale", IHE XDS-SD).

- Gives the smallest document that the French header rules accept: patient, author, custodian, legal authenticator, one act with
  its performer, the encounter, and the PDF in base64, byte for byte.
- What is missing or malformed is refused with the name of the field (`N1-…`), never with its value; nothing is invented but what
  the rules leave open: the author signs when no signer is given, the act has the dates of the document.
- Deterministic: the same facts and PDF give the same octets. Never reads the clock. Called by `services.handover`.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from datetime import date, datetime

from lxml import etree

from mssante.documents.cda import InstanceId, read_header
from mssante.documents.codes import Code, default_nomenclature
from mssante.documents.hl7 import PROFESSIONAL_OID, STRUCTURE_OID
from mssante.documents.ins import INS_OIDS, OID_NIR, ins_syntax_ok
from mssante.errors import InputFault
from mssante.lang import say

MAX_PDF_BYTES = 30 * 1024 * 1024
MAX_FIELD = 400  # characters of one fact
MAX_NAMES = 20
NS = "urn:hl7-org:v3"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
CONFIDENTIALITY_OID = "2.16.840.1.113883.5.25"
SPECIALTY_OID = "1.2.250.1.213.1.1.4.5"
LOINC_OID = "2.16.840.1.113883.6.1"
_TEMPLATES = ("2.16.840.1.113883.2.8.2.1", "1.2.250.1.213.1.1.1.1", "1.3.6.1.4.1.19376.1.2.20")  # France, CI-SIS, XDS-SD
_SEXES = {"M": "Masculin", "F": "Féminin", "U": "Inconnu"}  # the third is `UN` in HL7, `U` in the INS
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+\Z")
_TEXT = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]*\Z")


@dataclass(frozen=True, slots=True)
class N1Patient:
    """The patient. ins: 15 characters with its key, or empty; local_id: number given by the structure (IPP); names of birth are
    required; birth_place: INSEE code; telecoms: `tel:…`, `mailto:…`."""

    family_birth: str
    given_birth: str
    birth_date: date
    sex: str  # M, F or U
    ins: str = ""
    ins_oid: str = OID_NIR
    local_id: InstanceId | None = None
    all_given: str = ""
    family_used: str = ""
    given_used: str = ""
    birth_place: str = ""
    telecoms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class N1Person:
    """A professional. number: `8`+RPPS, `0`+ADELI, or that of his structure; specialty: code of JDV_J01, such as G15_10/SM26."""

    number: str
    family: str
    given: str = ""
    prefix: str = ""
    suffix: str = ""
    specialty: Code | None = None
    root: str = PROFESSIONAL_OID


@dataclass(frozen=True, slots=True)
class N1Structure:
    """Who keeps the document. number: `1`+FINESS, `3`+SIRET…; practice: where care is given (JDV_J04: ETABLISSEMENT,
    AMBULATOIRE…); facility: kind of place (JDV_J02: SA01, SA07…)."""

    number: str
    name: str
    practice: Code
    facility: Code
    root: str = STRUCTURE_OID


@dataclass(frozen=True, slots=True)
class N1Facts:
    """What a PDF does not say. id: unique identifier (root, or root and extension); an empty root asks the caller to make one.

    code: type of document (JDV_J07); created, started, stopped: with a time zone; act: what was done (LOINC, CCAM…), the type
    of document when it is not said; replaces: documents that this one replaces; set_id and version: of the chain of versions.
    """

    patient: N1Patient
    author: N1Person
    structure: N1Structure
    code: Code
    title: str
    created: datetime
    id: InstanceId = field(default_factory=lambda: InstanceId(""))
    set_id: InstanceId | None = None
    version: int = 1
    confidentiality: str = "N"
    signer: N1Person | None = None
    act: Code | None = None
    started: datetime | None = None
    stopped: datetime | None = None
    encounter: InstanceId | None = None
    replaces: tuple[InstanceId, ...] = ()


def n1_document(pdf: bytes, facts: N1Facts) -> bytes:
    """Give the CDA for a PDF of at most 30 MiB (CI-SIS structuration minimale; IHE XDS-SD).

    Raises InputFault: `N1-PDF` (not a PDF, too large), `N1-FAIT` (a fact is missing, malformed or too long; the remedy names it).
    """
    if not pdf.startswith(b"%PDF-") or len(pdf) > MAX_PDF_BYTES:
        raise InputFault(say("le fichier n'est pas un PDF, ou dépasse la taille", "the file is not a PDF, or is too large"),
                         rule="N1-PDF", remedy=say(f"un PDF de {MAX_PDF_BYTES // 2**20} Mio au plus",
                                                   f"a PDF of {MAX_PDF_BYTES // 2**20} MiB at most"))
    _check(facts)
    root = etree.Element(f"{{{NS}}}ClinicalDocument", nsmap={None: NS, "xsi": XSI})  # type: ignore[dict-item]
    _head(root, facts)
    _patient(root, facts.patient)
    _people(root, facts)
    _act(root, facts)
    for one in facts.replaces:
        _identifier(_add(_add(root, "relatedDocument", typeCode="RPLC"), "parentDocument"), "id", one)
    _encounter(root, facts)
    text = _add(_add(_add(root, "component"), "nonXMLBody"), "text", mediaType="application/pdf", representation="B64")
    text.text = base64.b64encode(pdf).decode("ascii")
    raw = etree.tostring(root, xml_declaration=True, encoding="UTF-8")
    read_header(raw)  # what we write, we can read
    return raw


# ---------------------------------------------------------------------------------------------------------------- checks

def _wrong(name: str) -> InputFault:
    return InputFault(say("un fait du document manque ou est mal formé", "a fact of the document is missing or malformed"),
                      rule="N1-FAIT", remedy=name)


def _check(facts: N1Facts) -> None:
    patient, structure = facts.patient, facts.structure
    for name, value in _required(facts):
        if not value.strip():
            raise _wrong(name)
    for name, value in (*_required(facts), *_optional(facts)):
        if len(value) > MAX_FIELD or not _TEXT.match(value):
            raise _wrong(name)
    if not ins_syntax_ok(patient.ins.upper()) and patient.ins:
        raise _wrong("patient.ins")
    if patient.ins and patient.ins_oid not in INS_OIDS:
        raise _wrong("patient.ins_oid")
    if not patient.ins and patient.local_id is None:
        raise _wrong("patient.ins, patient.local_id")
    if patient.sex not in _SEXES:
        raise _wrong("patient.sex")
    if facts.confidentiality not in ("N", "R", "V"):
        raise _wrong("confidentiality")
    if not 1 <= facts.version <= 100_000:
        raise _wrong("version")
    _check_stamps(facts)
    oids = {"id": facts.id.root, "author.root": facts.author.root, "structure.root": structure.root,
            "code.scheme": facts.code.scheme}
    oids |= {name: one.root for name, one in (("patient.local_id", patient.local_id), ("set_id", facts.set_id),
                                              ("encounter", facts.encounter)) if one is not None}
    for name, value in (*oids.items(), *(("replaces", one.root) for one in facts.replaces)):
        if not _OID.match(value) or len(value) > 64:
            raise _wrong(name)


def _check_stamps(facts: N1Facts) -> None:
    stamps = (("started", facts.started), ("created", facts.created), ("stopped", facts.stopped))
    for name, stamp in stamps:
        if stamp is not None and stamp.utcoffset() is None:
            raise _wrong(f"{name} (fuseau horaire)")
    if facts.started is not None and facts.stopped is not None and facts.stopped < facts.started:
        raise _wrong("stopped")


def _required(facts: N1Facts) -> list[tuple[str, str]]:
    return [("patient.family_birth", facts.patient.family_birth), ("patient.given_birth", facts.patient.given_birth),
            ("author.number", facts.author.number), ("author.family", facts.author.family),
            ("structure.number", facts.structure.number), ("structure.name", facts.structure.name),
            ("structure.practice", facts.structure.practice.code), ("structure.facility", facts.structure.facility.code),
            ("code", facts.code.code), ("title", facts.title), ("id", facts.id.root)]


def _optional(facts: N1Facts) -> list[tuple[str, str]]:
    patient = facts.patient
    people = [("author", facts.author), *([("signer", facts.signer)] if facts.signer is not None else [])]
    return [("patient.all_given", patient.all_given), ("patient.family_used", patient.family_used),
            ("patient.given_used", patient.given_used), ("patient.birth_place", patient.birth_place),
            *(("patient.telecoms", one) for one in patient.telecoms[:MAX_NAMES]), ("code.label", facts.code.label),
            *((f"{who}.{name}", getattr(person, name)) for who, person in people
              for name in ("number", "family", "given", "prefix", "suffix")),
            *((name, one.extension) for name, one in (("id", facts.id), ("patient.local_id", patient.local_id),
                                                      ("set_id", facts.set_id), ("encounter", facts.encounter))
              if one is not None), *(("replaces", one.extension) for one in facts.replaces)]


# --------------------------------------------------------------------------------------------------------------- writing

def _add(parent: etree._Element, name: str, text: str = "", **attributes: str) -> etree._Element:
    node = etree.SubElement(parent, f"{{{NS}}}{name}")
    for key, value in attributes.items():
        node.set(key, value)
    if text:
        node.text = text
    return node


def _identifier(parent: etree._Element, name: str, one: InstanceId) -> None:
    node = _add(parent, name, root=one.root)
    if one.extension:
        node.set("extension", one.extension)


def _coded(parent: etree._Element, name: str, code: Code) -> etree._Element:
    label = code.label or default_nomenclature().labelled(code).label or default_nomenclature().type_label(code)
    node = _add(parent, name, code=code.code, codeSystem=code.scheme)
    if label:
        node.set("displayName", label)
    if code.scheme == LOINC_OID:
        node.set("codeSystemName", "LOINC")
    return node


def _stamp(moment: datetime) -> str:
    """Give an HL7 TS with its offset."""
    return f"{moment.year:04d}{moment:%m%d%H%M%S%z}"[:19]


def _unknown(parent: etree._Element, *names: str) -> None:
    """Elements that the header rules ask for and nobody told us: not asked (HL7 NullFlavor NASK)."""
    for name in names:
        _add(parent, name, nullFlavor="NASK")


def _head(root: etree._Element, facts: N1Facts) -> None:
    _add(root, "realmCode", code="FR")
    _add(root, "typeId", root="2.16.840.1.113883.1.3", extension="POCD_HD000040")
    for template in _TEMPLATES:
        _add(root, "templateId", root=template)
    _identifier(root, "id", facts.id)
    _coded(root, "code", facts.code)
    _add(root, "title", facts.title)
    _add(root, "effectiveTime", value=_stamp(facts.created))
    _coded(root, "confidentialityCode", Code(facts.confidentiality, CONFIDENTIALITY_OID))
    _add(root, "languageCode", code="fr-FR")
    _identifier(root, "setId", facts.set_id or facts.id)
    _add(root, "versionNumber", value=str(facts.version))


def _patient(root: etree._Element, patient: N1Patient) -> None:
    role = _add(_add(root, "recordTarget"), "patientRole")
    if patient.ins:
        _identifier(role, "id", InstanceId(patient.ins_oid, patient.ins.upper()))
    if patient.local_id is not None:
        _identifier(role, "id", patient.local_id)
    _unknown(role, "addr")
    for value in patient.telecoms[:MAX_NAMES]:
        _add(role, "telecom", value=value)
    if not patient.telecoms:
        _unknown(role, "telecom")
    person = _add(role, "patient", classCode="PSN")
    name = _add(person, "name")
    _add(name, "family", patient.family_birth, qualifier="BR")
    _add(name, "given", patient.all_given or patient.given_birth)
    _add(name, "given", patient.given_birth, qualifier="BR")
    if patient.family_used:
        _add(name, "family", patient.family_used, qualifier="CL")
    if patient.given_used:
        _add(name, "given", patient.given_used, qualifier="CL")
    _add(person, "administrativeGenderCode", code="UN" if patient.sex == "U" else patient.sex, displayName=_SEXES[patient.sex],
         codeSystem="2.16.840.1.113883.5.1")
    _add(person, "birthTime", value=f"{patient.birth_date.year:04d}{patient.birth_date:%m%d}")
    if patient.birth_place:
        place = _add(_add(_add(person, "birthplace"), "place"), "addr")
        _add(place, "county", patient.birth_place)


def _person(parent: etree._Element, person: N1Person) -> None:
    _identifier(parent, "id", InstanceId(person.root, person.number))
    if person.specialty is not None:
        _coded(parent, "code", person.specialty)
    _unknown(parent, "addr", "telecom")
    name = _add(_add(parent, "assignedPerson"), "name")
    for part in ("prefix", "given", "family", "suffix"):
        if value := getattr(person, part):
            _add(name, part, value)


def _structure(parent: etree._Element, name: str, structure: N1Structure, *, practice: bool = False) -> None:
    node = _add(parent, name)
    _identifier(node, "id", InstanceId(structure.root, structure.number))
    _add(node, "name", structure.name)
    _unknown(node, "telecom", "addr")
    if practice:
        _coded(node, "standardIndustryClassCode", structure.practice)


def _people(root: etree._Element, facts: N1Facts) -> None:
    author = _add(root, "author")
    _add(author, "time", value=_stamp(facts.created))
    assigned = _add(author, "assignedAuthor")
    _person(assigned, facts.author)
    _structure(assigned, "representedOrganization", facts.structure)
    _structure(_add(_add(root, "custodian"), "assignedCustodian"), "representedCustodianOrganization", facts.structure)
    signer = _add(root, "legalAuthenticator")
    _add(signer, "time", value=_stamp(facts.created))
    _add(signer, "signatureCode", code="S")
    entity = _add(signer, "assignedEntity")
    _person(entity, facts.signer or facts.author)
    _structure(entity, "representedOrganization", facts.structure)


def _dates(parent: etree._Element, facts: N1Facts) -> None:
    started = min([one for one in (facts.started, facts.stopped, facts.created) if one is not None]
                  ) if facts.started is None else facts.started
    times = _add(parent, "effectiveTime")
    _add(times, "low", value=_stamp(started))
    if facts.stopped is not None:
        _add(times, "high", value=_stamp(facts.stopped))


def _act(root: etree._Element, facts: N1Facts) -> None:
    event = _add(_add(root, "documentationOf"), "serviceEvent")
    _coded(event, "code", facts.act or facts.code)
    _dates(event, facts)
    entity = _add(_add(event, "performer", typeCode="PRF"), "assignedEntity")
    _person(entity, facts.author)
    _structure(entity, "representedOrganization", facts.structure, practice=True)


def _encounter(root: etree._Element, facts: N1Facts) -> None:
    encounter = _add(_add(root, "componentOf"), "encompassingEncounter")
    if facts.encounter is not None:
        _identifier(encounter, "id", facts.encounter)
    _dates(encounter, facts)
    facility = _add(_add(encounter, "location"), "healthCareFacility")
    _identifier(facility, "id", InstanceId(facts.structure.root, facts.structure.number))
    _coded(facility, "code", facts.structure.facility)
    place = _add(facility, "location")
    _add(place, "name", facts.structure.name)
    _unknown(place, "addr")
