"""XDS metadata of a letter: DocumentEntry and SubmissionSet values, derived from CDA headers and the sender's facts.

- Follows the mapping table of ans-data §7 (CI-SIS, IHE ITI-TF 3 §4.2.3); text only, no XML (see `ebrim`).
- Deterministic: the same documents, sender and instant give the same identifiers. The entry identifier is derived from
  the unique identifier of the document, so that a replacement names the entry of the document it replaces (spec §8.3).
- Called by `xdm` and `letter`. Never invents a clinical code: what the header lacks is left out and reported.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mssante.documents.cda import Author, CdaHeader, InstanceId, Patient, header_findings, read_header
from mssante.documents.codes import Code, Nomenclature, default_nomenclature
from mssante.documents.findings import Finding
from mssante.documents.hl7 import MAX_VALUE, PROFESSIONAL_OID, STRUCTURE_OID, cx, escape, utc_digits, xcn, xon
from mssante.documents.ins import INS_OIDS
from mssante.errors import InputFault
from mssante.lang import say

_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+\Z")
_MAX_SOURCE = 36  # leaves room for the instant and a number in a unique identifier of 64 characters


@dataclass(frozen=True, slots=True)
class CdaDocument:
    """A document to send: its bytes, its header, and the masking codes asked by the sender (`MASQUE_PS`…)."""

    raw: bytes
    header: CdaHeader
    masking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SenderFacts:
    """Who sends. professional_id: `8`+RPPS; structure_id: `1`+FINESS…; source_id: OID of the sending software."""

    source_id: str
    structure_name: str
    structure_id: str = ""
    professional_id: str = ""
    family: str = ""
    given: str = ""
    specialty: Code | None = None
    postal_address: str = ""
    telephone: str = ""
    application: str = "mssante"
    application_version: str = ""
    vendor: str = "mssante"


@dataclass(frozen=True, slots=True)
class AuthorEntry:
    """One author, each field as HL7 text (XCN, XON, coded text)."""

    person: str = ""
    institutions: tuple[str, ...] = ()
    specialties: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """One XDS DocumentEntry. Times are UTC digits; sha1 is lower-case hex; size in octets, -1 when not said; deleted: its status
    is Deprecated, the way a document is deleted (spec §8.3)."""

    entry_id: str
    unique_id: str
    mime_type: str
    uri: str
    sha1: str
    size: int
    created: str
    language: str
    title: str
    class_code: Code | None
    type_code: Code | None
    format_code: Code | None
    confidentiality: tuple[Code, ...]
    facility: Code | None
    practice_setting: Code | None
    events: tuple[Code, ...]
    service_start: str
    service_stop: str
    patient_id: str
    source_patient_id: str
    source_patient_info: tuple[str, ...]
    authors: tuple[AuthorEntry, ...]
    legal_authenticator: str
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Association:
    """A link between two objects: `HasMember`, `RPLC`, `signs`… (last word of the type)."""

    kind: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class SubmissionSet:
    """One submission with its entries and links."""

    entry_id: str
    unique_id: str
    source_id: str
    patient_id: str
    submitted: str
    title: str
    content_type: Code | None
    authors: tuple[AuthorEntry, ...]
    documents: tuple[DocumentEntry, ...]
    associations: tuple[Association, ...]


def cda_document(raw: bytes, masking: Sequence[str] = ()) -> CdaDocument:
    """Read a document to send (at most 50 MiB). Raises InputFault (`XML-…`, `CDA-…`)."""
    return CdaDocument(raw, read_header(raw), tuple(masking))


def entry_id(unique_id: str) -> str:
    """Give the `urn:uuid:` of the entry of a document, derived from its unique identifier (RFC 9562 §5.5)."""
    return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, unique_id)}"


def document_entry(document: CdaDocument, uri: str = "", *, tables: Nomenclature | None = None) -> DocumentEntry:
    """Derive the metadata of one document (ans-data §7); `uri` is its file name inside the subset.

    Raises InputFault (`XDS-MASKING`) for a masking code that the nomenclature lacks.
    """
    tables = tables or default_nomenclature()
    header, patient, event = document.header, document.header.patient, document.header.main_event
    ins, local = patient.ins, patient.local_id
    ins_cx = cx(ins.matricule, ins.oid, "NH") if ins else ""
    setting = next((item.practice_setting for item in header.service_events if item.practice_setting), None)
    signer = header.legal_authenticator
    kind = header.code
    return DocumentEntry(
        entry_id=entry_id(header.id.unique_id), unique_id=header.id.unique_id, uri=uri,
        mime_type="application/xslt+xml" if header.body.self_rendering else "text/xml",
        sha1=sha1_hex(document.raw), size=len(document.raw),
        created=header.created_utc, language=header.language, title=header.title[:MAX_VALUE],
        class_code=tables.class_of(kind),
        type_code=Code(kind.code, kind.scheme, kind.label or tables.type_label(kind)),
        format_code=known_format(header, tables) or tables.unknown_format,
        confidentiality=_confidentiality(document, tables),
        facility=tables.labelled(header.facility) if header.facility else None,
        practice_setting=tables.labelled(setting) if setting else None,
        events=tuple(item.code for item in header.service_events if item.code),
        service_start=utc_digits(event.low) if event else "", service_stop=utc_digits(event.high) if event else "",
        patient_id=ins_cx,
        source_patient_id=cx(local.extension, local.root, "PI") if local else ins_cx,
        source_patient_info=_patient_info(patient),
        authors=tuple(_author(author) for author in header.authors),
        legal_authenticator=_person(signer.ids, signer.name.first("family"), signer.name.first("given"))
        if signer else "")


def document_findings(document: CdaDocument, file: str = "", *, tables: Nomenclature | None = None,
                      ) -> tuple[Finding, ...]:
    """Give the remarks on a document: identifiers, and codes that no association table knows (all warnings)."""
    tables = tables or default_nomenclature()
    out = list(header_findings(document.header, file))
    if known_format(document.header, tables) is None:
        out.append(Finding("XDS-FORMAT", file, say("la table d'association ne donne aucun formatCode",
                                                   "no formatCode found in the association table used")))
    if tables.class_of(document.header.code) is None:
        out.append(Finding("XDS-CLASS", file, say("la table d'association ne donne aucun classCode",
                                                  "no classCode found in the association table used")))
    return tuple(out)


def known_format(header: CdaHeader, tables: Nomenclature) -> Code | None:
    """Give the format code of the association tables, or None: the writer then says "outside all profiles" (§8)."""
    return tables.format_of(header.template_ids, header.body.media_type if header.body.level == "N1" else None)


def submission_set(documents: Sequence[CdaDocument], entries: Sequence[DocumentEntry], sender: SenderFacts,
                   now: datetime) -> SubmissionSet:
    """Derive the submission: its author is the sender, not the author of the documents (ans-data §7).

    Raises InputFault (`XDS-SOURCE`) when source_id is not an OID of at most 36 characters.
    """
    if not _OID.match(sender.source_id) or len(sender.source_id) > _MAX_SOURCE:
        raise InputFault("source_id is not an OID", rule="XDS-SOURCE",
                         remedy=f"give the OID of the sending software, at most {_MAX_SOURCE} characters")
    stamp = f"{now.astimezone(UTC):%Y%m%d%H%M%S}"
    digest = hashlib.sha256(b"".join(bytes.fromhex(entry.sha1) for entry in entries)).digest()
    unique_id = f"{sender.source_id}.{stamp}.{int.from_bytes(digest[:4], 'big')}"
    identifier = entry_id(unique_id)
    members = [Association("HasMember", identifier, entry.entry_id) for entry in entries]
    links = [Association("RPLC", entry.entry_id, entry_id(parent.unique_id))  # spec §8.3; what is deleted replaces nothing
             for document, entry in zip(documents, entries, strict=True) if not entry.deleted
             for parent in document.header.replaces]
    return SubmissionSet(
        entry_id=identifier, unique_id=unique_id, source_id=sender.source_id,
        patient_id=next((entry.patient_id for entry in entries if entry.patient_id), ""), submitted=stamp,
        title=(entries[0].title if len(entries) == 1 else f"Lot de {len(entries)} documents"),
        content_type=default_nomenclature().content_type, authors=(_sender(sender),), documents=tuple(entries),
        associations=(*members, *links))


def sha1_hex(raw: bytes) -> str:
    """Give the hash that XDS asks for (ITI-TF 3 §4.2.3.2.10: SHA-1; an integrity check, not a signature)."""
    return hashlib.sha1(raw, usedforsecurity=False).hexdigest()


def _confidentiality(document: CdaDocument, tables: Nomenclature) -> tuple[Code, ...]:
    """CDA value first, then the masking codes asked by the sender (ans-data §7)."""
    unknown = [name for name in document.masking if name not in tables.masking]
    if unknown:
        raise InputFault("masking code is not known", rule="XDS-MASKING",
                         remedy="use one of " + ", ".join(sorted(tables.masking)))
    value = document.header.confidentiality
    own = (tables.labelled(value),) if value.code else ()
    return own + tuple(tables.masking[name] for name in document.masking)


def _patient_info(patient: Patient) -> tuple[str, ...]:
    """sourcePatientInfo: PID fields, one value each (ITI-TF 3 §4.2.3.2.23)."""
    out = []
    if patient.family_birth or patient.given_birth:
        out.append(f"PID-5|{escape(patient.family_birth)}^{escape(patient.given_birth)}^^^^^L")
    elif patient.family_plain:
        out.append(f"PID-5|{escape(patient.family_plain)}^{escape(patient.given_plain)}^^^^^L")
    used = patient.family_used or patient.family_spouse
    if used or patient.given_used:
        out.append(f"PID-5|{escape(used)}^{escape(patient.given_used)}^^^^^D")
    if patient.birth_time:
        out.append(f"PID-7|{escape(patient.birth_time[:8])}")
    if patient.sex:
        out.append(f"PID-8|{escape(patient.sex)}")
    if patient.birth_place:
        out.append(f"PID-11|^^^^^^BDL^^{escape(patient.birth_place)}")
    return tuple(value[:MAX_VALUE] for value in out)


def _person(ids: Sequence[InstanceId], family: str, given: str) -> str:
    """XCN of a person; the identifier type says who numbers him (`IDNPS`, `NH`, `EI`: ans-data §7)."""
    first = ids[0] if ids else InstanceId("", "")
    if first.root in INS_OIDS:
        kind = "NH"
    elif first.root == PROFESSIONAL_OID and "/" not in first.extension:
        kind = "IDNPS"
    else:
        kind = "EI"
    return xcn(first.extension, first.root, family, given, kind)


def _author(author: Author) -> AuthorEntry:
    organisation = author.organisation
    institution = ""
    if organisation is not None:
        first = organisation.ids[0] if organisation.ids else InstanceId("", "")
        institution = xon(organisation.name, first.extension, first.root)
    code = author.code
    specialty = f"{escape(code.code)}^{escape(code.label)}^{code.scheme}" if code else ""
    role = author.function.label if author.function else ""
    name = author.name
    return AuthorEntry(
        person=_person(author.ids, name.first("family"), name.first("given")) if name else "",
        institutions=(institution,) if institution else (), specialties=(specialty[:MAX_VALUE],) if specialty else (),
        roles=(role[:MAX_VALUE],) if role else ())


def _sender(sender: SenderFacts) -> AuthorEntry:
    person = ""
    if sender.professional_id or sender.family:
        ids = (InstanceId(PROFESSIONAL_OID, sender.professional_id),)
        person = _person(ids, sender.family, sender.given)
    code = sender.specialty
    return AuthorEntry(
        person=person, institutions=(xon(sender.structure_name, sender.structure_id, STRUCTURE_OID),),
        specialties=(f"{escape(code.code)}^{escape(code.label)}^{code.scheme}"[:MAX_VALUE],) if code else ())
