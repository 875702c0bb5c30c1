"""What the twin says of a document above its body: patient, document, authors, act, who keeps it; and the whole reading of a CDA.

- Facts come from `cda.read_header`, as the document gives them; what is missing is left out, but for the patient's identity,
  where what is missing is said.
- The recipients and the links to other documents are read here, because only a reader of the twin wants them.
- Pure; dates in French form, in the time of the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from mssante.documents.cda import Author, CdaHeader, PersonName, clinical_document, inner_text, read_header
from mssante.documents.hl7 import parse_date
from mssante.documents.ins import OID_NIA, OID_NIR_DEMO, OID_NIR_TEST
from mssante.documents.twin import Element, Fact, Group, Kind, Section, TwinDocument
from mssante.documents.twin_narrative import Narrative, decode_medium, media_of, read_sections
from mssante.lang import say

MAX_SHOWN = 20
MAX_VALUE = 500
_HL7 = "{urn:hl7-org:v3}"
_SEX = {"M": "masculin", "F": "féminin", "UN": "indéterminé"}
_CONFIDENTIALITY = {
    "N": "normale", "R": "restreinte", "V": "très restreinte", "MASQUE_PS": "masqué aux professionnels de santé",
    "INVISIBLE_PATIENT": "non visible par le patient",
    "INVISIBLE_REPRESENTANTS_LEGAUX": "non visible par ses représentants légaux"}
_RELATIONS = {
    "RPLC": "remplace un document précédent", "APND": "complète un document précédent", "XFRM": "transforme un document"}
_STAMP = re.compile(r"(\d{4})(\d{2})?(\d{2})?(?:(\d{2})(\d{2})\d{0,2}(?:\.\d+)?)?([+-]\d{1,4})?\Z")


def read_twin(raw: bytes) -> TwinDocument:
    """Read a CDA into its twin. Raises InputFault (`XML-…`, `CDA-ROOT`) for what is no CDA; nothing in a CDA stops it."""
    header = read_header(raw)
    _, document = clinical_document(raw)
    narrative = Narrative(media_of(document))
    body = document.find(f"{_HL7}component/{_HL7}nonXMLBody/{_HL7}text")
    sections = _unstructured(body, narrative) if body is not None else read_sections(document, narrative)
    notices = [say("Vue lisible faite par l'opérateur de messagerie ; le document d'origine, joint au message, fait foi.",
                   "Readable view made by the mail operator; the original document, attached to the message, is the reference.")]
    if narrative.cut:
        notices.append(say("Document trop grand pour être montré en entier : voir l'original.",
                           "Document too large to be shown whole: see the original."))
    if not sections:
        notices.append(say("Ce document n'a pas de corps lisible.", "This document has no readable body."))
    title = _clean(header.title or header.code.label) or say("Document médical", "Medical document")
    return TwinDocument(title, header.created_utc, header.language or "fr-FR", _groups(header, document), sections,
                        tuple(narrative.pictures), tuple(narrative.files), tuple(notices))


def _unstructured(text: etree._Element, narrative: Narrative) -> tuple[Section, ...]:
    """The body of a document of level 1: a PDF or a picture as it is, a text in its lines."""
    media = text.get("mediaType", "text/plain").lower()
    if not media.startswith("text/"):
        return (Section("", 1, (narrative.medium(text),)),)
    encoded = text.get("representation") == "B64"
    content = (decode_medium(text) or b"").decode("utf-8", "replace") if encoded else inner_text(text)
    if media not in ("text/plain", "text/x-hl7-text+xml"):
        return (Section("", 1, (Element(Kind.FILE, words=say(f"Corps de type {media[:60]}, non montré ici : voir l'original",
                                                             f"Body of type {media[:60]}, not shown here: see the original")),)),)
    lines: list[Element | str] = []
    for line in content.splitlines():
        lines += [narrative.text(line), Element(Kind.BREAK)]
    return (Section("", 1, (Element(Kind.PARAGRAPH, tuple(lines)),)),)


# ---------------------------------------------------------------------- header

def _groups(header: CdaHeader, document: etree._Element) -> tuple[Group, ...]:
    made = (
        Group(say("Patient", "Patient"), tuple(_patient(header))),
        Group(say("Document", "Document"), tuple(_document(header, document))),
        Group(say("Auteur", "Author"), tuple(_authors(header))),
        Group(say("Destinataires", "Recipients"), tuple(_recipients(document))),
    )
    filled = [Group(one.title, tuple([fact for fact in one.facts if fact.value])) for one in made]
    return tuple([one for one in filled if one.facts])


def _patient(header: CdaHeader) -> Iterator[Fact]:
    patient, ins = header.patient, header.patient.ins
    family, given = patient.display_names
    yield _fact(say("Nom utilisé", "Name in use"), family)
    yield _fact(say("Prénom utilisé", "Given name in use"), given)
    birth = patient.family_birth
    yield _fact(say("Nom de naissance", "Birth name"), birth if birth != family else "")
    yield _fact(say("Prénoms de naissance", "Birth given names"), patient.given_birth if patient.given_birth != given else "")
    yield _fact(say("Né(e) le", "Born on"), date_words(patient.birth_time))
    yield _fact(say("Sexe", "Sex"), _SEX.get(patient.sex, patient.sex))
    if ins is None:
        yield _fact("INS", say("absente de ce document", "absent from this document"))
    else:
        kind = "NIA" if ins.oid == OID_NIA else "NIR"
        test = say(", identité de test", ", test identity") if ins.oid in (OID_NIR_TEST, OID_NIR_DEMO) else ""
        state = say("qualifiée", "qualified") if ins.qualified else say("non qualifiée", "not qualified")
        yield _fact("INS", f"{ins.matricule} ({kind}, {state}{test})")
    local = patient.local_id
    yield _fact(say("Identifiant local (IPP)", "Local identifier"), local.extension if local is not None else "")


def _document(header: CdaHeader, document: etree._Element) -> Iterator[Fact]:
    yield _fact(say("Type", "Type"), header.code.label or header.code.code)
    yield _fact(say("Date", "Date"), date_words(header.effective_time))
    event = header.main_event
    if event is not None:
        yield _fact(say("Acte", "Act"), event.code.label if event.code is not None else "")
        low, high = date_words(event.low), date_words(event.high)
        yield _fact(say("Date de l'acte", "Date of the act"), low if not high or high == low else f"{low} – {high}")
    code = header.confidentiality.code
    yield _fact(say("Confidentialité", "Confidentiality"), _CONFIDENTIALITY.get(code, header.confidentiality.label or code))
    yield _fact(say("Version", "Version"), header.version)
    for node in list(document.iterfind(f"{_HL7}relatedDocument"))[:3]:
        yield _fact(say("Lien", "Link"), _RELATIONS.get(node.get("typeCode", ""), ""))
    yield _fact(say("Conservé par", "Kept by"), header.custodian.name if header.custodian is not None else "")
    signer = header.legal_authenticator
    if signer is not None:
        yield _fact(say("Responsable", "Legal authenticator"), _joined(_name(signer.name), date_words(signer.time), " – "))


def _authors(header: CdaHeader) -> Iterator[Fact]:
    for author in header.authors[:MAX_SHOWN]:
        who = _author_name(author)
        yield _fact((author.code.label if author.code is not None else "") or say("Auteur", "Author"),
                    _joined(who, author.organisation.name if author.organisation is not None else "", ", "))


def _recipients(document: etree._Element) -> Iterator[Fact]:
    for node in list(document.iterfind(f"{_HL7}informationRecipient/{_HL7}intendedRecipient"))[:MAX_SHOWN]:
        name = node.find(f"{_HL7}informationRecipient/{_HL7}name")
        place = node.find(f"{_HL7}receivedOrganization/{_HL7}name")
        yield _fact(say("Destinataire", "Recipient"), _joined(_written(name), _written(place), ", "))


def _written(name: etree._Element | None) -> str:
    """Give a name as it is read: title, given names, family name; the text itself when it has no parts."""
    if name is None:
        return ""
    order = {f"{_HL7}{kind}": rank for rank, kind in enumerate(("prefix", "given", "family", "suffix"))}
    parts = sorted([one for one in name if one.tag in order], key=lambda one: order[str(one.tag)])
    return " ".join(" ".join(inner_text(one) for one in parts or [name]).split())


def _author_name(author: Author) -> str:
    if author.name is not None:
        return _name(author.name)
    return _joined(author.device.software, author.device.model, " ") if author.device is not None else ""


def _name(name: PersonName) -> str:
    order = ("prefix", "given", "family", "suffix")
    return " ".join(text for kind in order for part, text in name.parts if part == kind)


def date_words(stamp: str) -> str:
    """Give an HL7 TS as `20/05/2022 à 14:30`, with what precision it has; the text itself when it is none."""
    match = _STAMP.match(stamp)
    if match is None:
        return stamp[:40]
    year, month, day, hour, minute, _ = match.groups()
    date = "/".join(part for part in (day, month, year) if part)
    if len(stamp) >= 8 and parse_date(stamp) is None:
        return stamp[:40]
    return f"{date} à {hour}:{minute}" if hour and hour + minute != "0000" else date


def _fact(label: str, value: str) -> Fact:
    return Fact(_clean(label), _clean(value))


def _joined(first: str, second: str, between: str) -> str:
    return between.join(one for one in (first.strip(), second.strip()) if one)


def _clean(value: str) -> str:
    return Narrative({}).text(value).strip()[:MAX_VALUE]
