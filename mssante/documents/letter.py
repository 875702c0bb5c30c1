"""A structured letter, ready to be composed: the archive, its readable companions, the subject and the MSSanté headers.

- One letter concerns one patient (ECO.2.1.1); the archive comes first, then one readable file per document.
- Builds no MIME: `mssante.protocol.mime` does that from these values. Called by the lab and by the sending services.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mssante.documents.findings import Finding
from mssante.documents.hl7 import parse_date
from mssante.documents.metadata import CdaDocument, SenderFacts, cda_document, document_findings
from mssante.documents.pdf_twin import pdf_twin
from mssante.documents.readable import Companion, readable
from mssante.documents.subject import companion_name, mss_headers, xdm_subject
from mssante.documents.twin_header import read_twin
from mssante.documents.xdm import ARCHIVE_NAME, MAX_DOCUMENTS, pack
from mssante.errors import InputFault


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to attach. media_type without parameters; text is UTF-8."""

    name: str
    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StructuredLetter:
    """What to compose. headers: `X-MSS-…` names and values; citizen_address: mailbox of the patient, or empty;
    findings: remarks to show to the sender, none of which stops the letter."""

    subject: str
    headers: Mapping[str, str]
    attachments: tuple[Attachment, ...]
    citizen_address: str
    findings: tuple[Finding, ...]


def structured_letter(cda_raws: Sequence[bytes], sender: SenderFacts, *, now: datetime, masking: Sequence[str] = (),
                      deleting: bool = False) -> StructuredLetter:
    """Give the parts of a letter for 1 to 100 CDA documents of one patient (spec §7.1, §7.2, §8.1).

    masking: masking codes asked for all documents (`MASQUE_PS`, `INVISIBLE_PATIENT`…); deleting: they are sent to be deleted
    (spec §8.3).
    Raises InputFault (`XDM-COUNT`, `LTR-PATIENT` when two patients are meant, `XML-…`, `CDA-…`, `XDS-…`).
    """
    if not 1 <= len(cda_raws) <= MAX_DOCUMENTS:
        raise InputFault("wrong number of documents", rule="XDM-COUNT", remedy=f"from 1 to {MAX_DOCUMENTS}")
    documents = [cda_document(raw, masking) for raw in cda_raws]
    _one_patient(documents)
    headers = [document.header for document in documents]
    patient = headers[0].patient
    family, given = patient.display_names
    title = headers[0].title or headers[0].code.label or headers[0].code.code
    findings = [finding for number, document in enumerate(documents, 1)
                for finding in document_findings(document, f"DOC{number:04d}.XML")]
    return StructuredLetter(
        subject=xdm_subject(title, family, given, parse_date(patient.birth_time)),
        headers=mss_headers(headers),
        attachments=(Attachment(ARCHIVE_NAME, "application/zip", pack(documents, sender, now, deleting=deleting)),
                     *_companions(documents)),
        citizen_address=next((item.patient.citizen_address for item in headers if item.patient.citizen_address), ""),
        findings=tuple(findings))


def _one_patient(documents: Sequence[CdaDocument]) -> None:
    """Refuse a letter about two patients: all must share the INS, or an identifier when there is none (ECO.2.1.1)."""
    patients = [document.header.patient for document in documents]
    matricules = {(ins.matricule, ins.oid) for patient in patients if (ins := patient.ins)}
    shared = set(patients[0].ids).intersection(*(patient.ids for patient in patients))
    if len(matricules) > 1 or (len(documents) > 1 and not shared):
        raise InputFault("documents do not concern one patient", rule="LTR-PATIENT",
                         remedy="send one letter per patient")


def _pdf_copy(document: CdaDocument) -> Companion:
    """Give the PDF of a document: the one it embeds, octet for octet, else a PDF/A-1 made from it (ECO.2.1.5); text when none
    can be."""
    companion = readable(document.raw, document.header)
    if companion.extension == "pdf":
        return companion
    try:
        return Companion("application/pdf", "pdf", pdf_twin(read_twin(document.raw)).content)
    except InputFault:
        return companion


def _companions(documents: Sequence[CdaDocument]) -> list[Attachment]:
    """One readable file per document (ECO.2.1.5); a name already used gets a number."""
    out: list[Attachment] = []
    used: set[str] = set()
    for document in documents:
        companion = _pdf_copy(document)
        name = companion_name(document.header, companion.extension, record=document.header.encounter_id)
        stem, number = name.rpartition(".")[0], 2
        while name.lower() in used:
            name, number = f"{stem}_{number}.{companion.extension}", number + 1
        used.add(name.lower())
        out.append(Attachment(name, companion.media_type, companion.content))
    return out
