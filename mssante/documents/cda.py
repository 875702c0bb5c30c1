"""Header facts of a CDA R2 document in the French profile (CI-SIS, structuration minimale).

- `read_header` takes the bytes of any CI-SIS document: plain, or a self-rendering `xsl:stylesheet` that embeds one; N1
  (nonXMLBody) or N3 (structuredBody). The level is decided by the body, not by the templates (ans-data §6).
- Lenient: an element that is missing gives an empty value; only what is not a CDA at all is refused. Values stay as
  they are written (time stamps included); properties give the normalised forms.
- Bytes are parsed only through the hardened helper, never changed, never rendered. Called by `metadata`, `readable`,
  `xdm` and `letter`, and by services that read what came in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from lxml import etree

from mssante.documents.codes import Code
from mssante.documents.findings import Finding
from mssante.documents.hl7 import luhn_ok, utc_digits
from mssante.documents.ins import IDENTITY_ARC, INS_OIDS, InsIdentity
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.xml import parse_xml

MAX_CDA_BYTES = 50 * 1024 * 1024
MAX_ELEMENTS = 500_000  # the largest public example has under 10,000
MAX_TEXT = 4096  # longest text kept of one header element
MAX_ITEMS = 100  # longest list kept (authors, service events, identifiers…)
CITIZEN_DOMAIN = "patient.mssante.fr"  # spec F9.1

_HL7 = "{urn:hl7-org:v3}"
_XSLT = "{http://www.w3.org/1999/XSL/Transform}"


@dataclass(frozen=True, slots=True)
class InstanceId:
    """HL7 II. extension is empty when the root alone identifies."""

    root: str
    extension: str = ""

    @property
    def unique_id(self) -> str:
        """The form of XDS: root, or `root^extension` (ans-data §7)."""
        return f"{self.root}^{self.extension}" if self.extension else self.root


@dataclass(frozen=True, slots=True)
class PersonName:
    """Parts of a name in document order: (`family` | `given` | `prefix` | `suffix`, text)."""

    parts: tuple[tuple[str, str], ...] = ()

    def first(self, kind: str) -> str:
        """Give the first part of that kind, or an empty string."""
        return next((text for name, text in self.parts if name == kind), "")


@dataclass(frozen=True, slots=True)
class Organisation:
    """A structure with its identifiers."""

    ids: tuple[InstanceId, ...]
    name: str


@dataclass(frozen=True, slots=True)
class Device:
    """An authoring device or software."""

    model: str
    software: str


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote the document: a person (name) or a device."""

    ids: tuple[InstanceId, ...]
    name: PersonName | None
    code: Code | None
    function: Code | None
    device: Device | None
    organisation: Organisation | None


@dataclass(frozen=True, slots=True)
class Signer:
    """The legal authenticator. time: HL7 TS as written."""

    time: str
    ids: tuple[InstanceId, ...]
    name: PersonName


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """A documented act. low, high: HL7 TS as written; practice_setting: of its first performer that carries one."""

    code: Code | None
    low: str
    high: str
    practice_setting: Code | None


@dataclass(frozen=True, slots=True)
class Patient:
    """The patient. Names by qualifier: BR birth, CL used, SP used in older documents, none."""

    ids: tuple[InstanceId, ...]
    family_birth: str = ""
    family_used: str = ""
    family_spouse: str = ""
    family_plain: str = ""
    given_birth: str = ""
    given_used: str = ""
    given_plain: str = ""
    birth_time: str = ""
    sex: str = ""
    birth_place: str = ""
    telecom: tuple[str, ...] = ()

    @property
    def ins(self) -> InsIdentity | None:
        """The INS with its traits, or None; qualified or not (spec §7.1)."""
        found = next((item for item in self.ids if item.root in INS_OIDS and item.extension), None)
        if found is None:
            return None
        return InsIdentity(found.extension, found.root, self.family_birth, self.given_birth,
                           self.birth_time[:8], self.sex)

    @property
    def local_id(self) -> InstanceId | None:
        """The number given by an establishment (IPP): the first identifier outside the identity arc."""
        return next((item for item in self.ids if item.extension and not item.root.startswith(IDENTITY_ARC)), None)

    @property
    def display_names(self) -> tuple[str, str]:
        """The (family, given) names to show: used names first, then birth names."""
        family = self.family_used or self.family_spouse or self.family_birth or self.family_plain
        return family, self.given_used or self.given_birth or self.given_plain

    @property
    def citizen_address(self) -> str:
        """The citizen mailbox written in the document (`mailto:<INS>@patient.mssante.fr`), or an empty string."""
        suffix = f"@{CITIZEN_DOMAIN}"
        return next((value[7:] for value in self.telecom
                     if value.lower().startswith("mailto:") and value.lower().endswith(suffix)), "")


@dataclass(frozen=True, slots=True)
class Body:
    """How the body is written. level: `N1`, `N3`, or empty without a body; media_type: of an N1 body.

    embedded_media: the distinct media types of base64 parts, sorted; self_rendering: the CDA sits in a stylesheet;
    stylesheet_pi: the file asks for a stylesheet.
    """

    level: str
    media_type: str | None
    embedded_media: tuple[str, ...]
    self_rendering: bool
    stylesheet_pi: bool


@dataclass(frozen=True, slots=True)
class CdaHeader:
    """The facts of one document. Time stamps as written (HL7 TS with offset); see `created_utc`.

    restrictions: every confidentialityCode of the file, that of a section too, upper-case.
    """

    template_ids: tuple[str, ...]
    id: InstanceId
    set_id: InstanceId | None
    version: str
    code: Code
    title: str
    effective_time: str
    confidentiality: Code
    restrictions: frozenset[str]
    language: str
    patient: Patient
    authors: tuple[Author, ...]
    custodian: Organisation | None
    legal_authenticator: Signer | None
    service_events: tuple[ServiceEvent, ...]
    facility: Code | None
    encounter_id: str
    recipients: int
    replaces: tuple[InstanceId, ...]
    body: Body

    @property
    def created_utc(self) -> str:
        """Creation time `AAAAMMJJhhmmss` in UTC."""
        return utc_digits(self.effective_time)

    @property
    def main_event(self) -> ServiceEvent | None:
        """The main act: the one whose performer has a practice setting, else the first dated, else the first."""
        events = self.service_events
        return next((event for event in events if event.practice_setting),
                    next((event for event in events if event.low), events[0] if events else None))


def read_header(raw: bytes) -> CdaHeader:
    """Read the header of a CDA of at most 50 MiB (CI-SIS structuration minimale; ans-data §6).

    Raises InputFault: `XML-…` from the parser, `CDA-ROOT` when there is no ClinicalDocument, `CDA-ID`, `CDA-CODE` when
    the document has no identifier or no type, `CDA-PATIENT` when it has no patient.
    """
    root, document = clinical_document(raw)
    if document.find(f"{_HL7}recordTarget/{_HL7}patientRole") is None:
        raise InputFault("CDA has no patient", rule="CDA-PATIENT", remedy="recordTarget/patientRole is required")
    identifier = _id(document.find(f"{_HL7}id"))
    code = _code(document.find(f"{_HL7}code"))
    if identifier is None:
        raise InputFault("CDA has no identifier", rule="CDA-ID", remedy="id/@root is required")
    if code is None:
        raise InputFault("CDA has no type", rule="CDA-CODE", remedy="code/@code is required")
    return CdaHeader(
        template_ids=tuple(item.get("root", "") for item in _each(document, "templateId")),
        id=identifier,
        set_id=_id(document.find(f"{_HL7}setId")),
        version=_value(document, "versionNumber"),
        code=code,
        title=_text(document.find(f"{_HL7}title")),
        effective_time=_value(document, "effectiveTime"),
        confidentiality=_code(document.find(f"{_HL7}confidentialityCode")) or Code("", ""),
        restrictions=frozenset(_restrictions(root)),
        language=_attribute(document, "languageCode", "code"),
        patient=_patient(document),
        authors=tuple(_author(item) for item in _each(document, "author")),
        custodian=_organisation(document.find(_path("custodian/assignedCustodian/representedCustodianOrganization"))),
        legal_authenticator=_signer(document.find(f"{_HL7}legalAuthenticator")),
        service_events=tuple(_event(item) for item in _each(document, "documentationOf/serviceEvent")),
        facility=_code(document.find(_path("componentOf/encompassingEncounter/location/healthCareFacility/code"))),
        encounter_id=_attribute(document, "componentOf/encompassingEncounter/id", "extension"),
        recipients=sum(1 for _ in _each(document, "informationRecipient")),
        replaces=tuple(found for related in _each(document, "relatedDocument") if related.get("typeCode") == "RPLC"
                       for found in _ids(related, "parentDocument/id")),
        body=_body(root, document))


def _restrictions(root: etree._Element) -> Iterator[str]:
    return (item.get("code", "")[:MAX_TEXT].strip().upper() for item in root.iter(f"{_HL7}confidentialityCode"))


def clinical_document(raw: bytes) -> tuple[etree._Element, etree._Element]:
    """Parse and give (root of the file, its ClinicalDocument element).

    Raises InputFault: `XML-…`, or `CDA-ROOT`.
    """
    root = parse_xml(raw, max_bytes=MAX_CDA_BYTES, max_elements=MAX_ELEMENTS)
    if root.tag == f"{_HL7}ClinicalDocument":
        return root, root
    found = next(iter(root.iter(f"{_HL7}ClinicalDocument")), None) if root.tag in (
        f"{_XSLT}stylesheet", f"{_XSLT}transform") else None
    if found is None:
        raise InputFault("not a CDA document", rule="CDA-ROOT",
                         remedy="root must be ClinicalDocument of urn:hl7-org:v3")
    return root, found


def inner_text(node: etree._Element) -> str:
    """Give all the text inside an element, comments left out."""
    return "".join(str(part) for part in node.itertext())


def header_findings(header: CdaHeader, file: str = "") -> tuple[Finding, ...]:
    """Give the remarks on identifiers that fail their own check: INS key, author RPPS, custodian FINESS (ans-data §2).

    They are warnings: a test profile must flag, not refuse. The INS itself is never in the text.
    """
    out: list[Finding] = []
    ins = header.patient.ins
    if ins is not None and not ins.key_ok:
        out.append(Finding("INS-KEY", file, say("la clé du matricule INS est fausse", "INS control key is wrong")))
    for author in header.authors:
        out += [Finding("RPPS-LUHN", file, say(f"le RPPS de l'auteur échoue au contrôle de Luhn : {item.extension}",
                                               f"author RPPS fails Luhn: {item.extension}")) for item in author.ids
                if item.extension[:1] == "8" and len(item.extension) == 12 and not luhn_ok(item.extension[1:])]
    for item in header.custodian.ids if header.custodian else ():
        if item.extension[:1] == "1" and len(item.extension) == 10 and not luhn_ok(item.extension[1:]):
            out.append(Finding("FINESS-LUHN", file,
                               say(f"le FINESS du conservateur échoue au contrôle de Luhn : {item.extension}",
                                   f"custodian FINESS fails Luhn: {item.extension}")))
    return tuple(out)


def _path(names: str) -> str:
    return "/".join(f"{_HL7}{name}" for name in names.split("/"))


def _each(node: etree._Element, names: str) -> Iterator[etree._Element]:
    """Give at most MAX_ITEMS elements under a path."""
    for count, item in enumerate(node.iterfind(_path(names))):
        if count >= MAX_ITEMS:
            return
        yield item


def _attribute(node: etree._Element, names: str, attribute: str) -> str:
    found = node.find(_path(names))
    return found.get(attribute, "")[:MAX_TEXT] if found is not None else ""


def _value(node: etree._Element, names: str) -> str:
    return _attribute(node, names, "value")


def _text(node: etree._Element | None) -> str:
    """Give the text of an element, its white space collapsed, shortened to MAX_TEXT."""
    if node is None:
        return ""
    return " ".join(inner_text(node).split())[:MAX_TEXT]


def _id(node: etree._Element | None) -> InstanceId | None:
    if node is None or not node.get("root"):
        return None
    return InstanceId(node.get("root", "")[:MAX_TEXT], node.get("extension", "")[:MAX_TEXT])


def _ids(node: etree._Element, names: str) -> tuple[InstanceId, ...]:
    return tuple(found for item in _each(node, names) if (found := _id(item)))


def _code(node: etree._Element | None) -> Code | None:
    if node is None or not node.get("code"):
        return None
    return Code(*(node.get(name, "")[:MAX_TEXT] for name in ("code", "codeSystem", "displayName")))


def _name(node: etree._Element | None) -> PersonName | None:
    if node is None:
        return None
    kinds = {f"{_HL7}{kind}": kind for kind in ("family", "given", "prefix", "suffix")}
    parts = tuple((kinds[str(item.tag)], _text(item)) for item in islice(node, MAX_ITEMS) if item.tag in kinds)
    return PersonName(tuple(part for part in parts if part[1]))


def _patient(document: etree._Element) -> Patient:
    role = document.find(_path("recordTarget/patientRole"))
    holder = role if role is not None else document
    person = holder.find(f"{_HL7}patient")
    if person is None:
        return Patient(ids=_ids(holder, "id"))

    def names(kind: str, qualifier: str | None) -> str:
        found = [_text(item) for item in _each(person, f"name/{kind}") if item.get("qualifier") == qualifier]
        return " ".join(found) if kind == "given" and qualifier is None else (found[0] if found else "")

    return Patient(
        ids=_ids(holder, "id"),
        family_birth=names("family", "BR"), family_used=names("family", "CL"), family_spouse=names("family", "SP"),
        family_plain=names("family", None), given_birth=names("given", "BR"), given_used=names("given", "CL"),
        given_plain=names("given", None), birth_time=_value(person, "birthTime"),
        sex=_attribute(person, "administrativeGenderCode", "code"),
        birth_place=_text(person.find(_path("birthplace/place/addr/county"))),
        telecom=tuple(value[:MAX_TEXT] for item in _each(holder, "telecom") if (value := item.get("value"))))


def _organisation(node: etree._Element | None) -> Organisation | None:
    return None if node is None else Organisation(_ids(node, "id"), _text(node.find(f"{_HL7}name")))


def _author(node: etree._Element) -> Author:
    function = _code(node.find(f"{_HL7}functionCode"))
    assigned = node.find(f"{_HL7}assignedAuthor")
    if assigned is None:
        return Author((), None, None, function, None, None)
    device = assigned.find(f"{_HL7}assignedAuthoringDevice")
    return Author(
        ids=_ids(assigned, "id"), name=_name(assigned.find(_path("assignedPerson/name"))),
        code=_code(assigned.find(f"{_HL7}code")), function=function,
        device=None if device is None else Device(_text(device.find(f"{_HL7}manufacturerModelName")),
                                                  _text(device.find(f"{_HL7}softwareName"))),
        organisation=_organisation(assigned.find(f"{_HL7}representedOrganization")))


def _signer(node: etree._Element | None) -> Signer | None:
    if node is None:
        return None
    return Signer(_value(node, "time"), _ids(node, "assignedEntity/id"),
                  _name(node.find(_path("assignedEntity/assignedPerson/name"))) or PersonName())


def _event(node: etree._Element) -> ServiceEvent:
    settings = _each(node, "performer/assignedEntity/representedOrganization/standardIndustryClassCode")
    return ServiceEvent(
        code=_code(node.find(f"{_HL7}code")),
        low=_value(node, "effectiveTime/low") or _value(node, "effectiveTime"), high=_value(node, "effectiveTime/high"),
        practice_setting=next((found for item in settings if (found := _code(item))), None))


def _body(root: etree._Element, document: etree._Element) -> Body:
    unstructured = document.find(_path("component/nonXMLBody"))
    structured = document.find(_path("component/structuredBody"))
    text = unstructured.find(f"{_HL7}text") if unstructured is not None else None
    media = sorted({item.get("mediaType", "")[:MAX_TEXT] for item in document.iter(f"{_HL7}*")
                    if item.get("representation") == "B64"})
    before = root.itersiblings(preceding=True)  # outside the root: comments and processing instructions only
    return Body(
        level="N1" if unstructured is not None else "N3" if structured is not None else "",
        media_type=text.get("mediaType", "text/plain") if text is not None else None,
        embedded_media=tuple(media[:MAX_ITEMS]), self_rendering=root is not document,
        stylesheet_pi=any(isinstance(item, etree._ProcessingInstruction) and item.target == "xml-stylesheet"
                          for item in before))
