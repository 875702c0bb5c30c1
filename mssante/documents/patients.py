"""Whose documents a message carries: the patients named by the archives attached to it, from their metadata and their CDA, and by
CDA attached alone.

- Every ZIP and every CDA of the message is looked at, whatever its name (spec F8.1); an archive inside an archive is not opened.
- What cannot be read is told (`unreadable` holds the rule), never raised: another check judges the archive itself (spec §8.6).
- What comes out identifies a patient: compare it, never log it.
Pure and bounded (`ziparchive`, `read_header`); seconds of work for the largest archive: called in an executor by
`services.citizen`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mssante.documents.beginnings import Kind, names_cda, trimmed
from mssante.documents.cda import read_header
from mssante.documents.ins import INS_OIDS, InsIdentity
from mssante.documents.mailfiles import CDA_TYPES, Reading, mail_files
from mssante.documents.xdm import XdmArchive, XdmDocument, unpack
from mssante.errors import InputFault

_READING = Reading(embedded=True)


@dataclass(frozen=True, slots=True)
class PatientsOf:
    """What the documents say. identities: distinct INS, from the CDA where there is one, else from the metadata; anonymous:
    documents that name no INS; unreadable: rules that reading broke; archives: how many were looked at."""

    identities: tuple[InsIdentity, ...] = ()
    anonymous: int = 0
    unreadable: tuple[str, ...] = ()
    archives: int = 0

    @property
    def matricules(self) -> frozenset[str]:
        """The distinct matricules, upper-case."""
        return frozenset(one.matricule.upper() for one in self.identities)


def patients_of(message: bytes) -> PatientsOf:
    """Give the patients of the documents attached to a whole message, at most 20 files."""
    found: dict[str, InsIdentity] = {}
    anonymous, unreadable, archives = 0, [], 0
    for file in mail_files(message, _READING).files:
        raw = file.octets()
        if file.kind is Kind.XML and not names_cda(raw):
            continue
        archives += file.kind is Kind.ARCHIVE
        try:
            said, problems = _of_archive(raw) if file.kind is Kind.ARCHIVE else ([read_header(trimmed(raw)).patient.ins], [])
        except InputFault as fault:
            unreadable.append(fault.rule)
            continue
        unreadable += problems
        for identity in said:
            if identity is None:
                anonymous += 1
            elif identity.matricule.upper() not in found or identity.qualified:
                found[identity.matricule.upper()] = identity
    return PatientsOf(tuple(found.values()), anonymous, tuple(unreadable), archives)


def _of_archive(raw: bytes) -> tuple[list[InsIdentity | None], list[str]]:
    """Give the patients of an archive and the rules that its metadata broke. Raises InputFault."""
    archive = unpack(raw)
    return list(_identities(archive)), [subset.problem for subset in archive.subsets if subset.problem]


def cx_identity(value: str) -> InsIdentity | None:
    """Give the INS of a CX `matricule^^^&OID&ISO^NH` (XDS patientId), without traits, or None when it is none."""
    parts = value.split("^")
    authority = parts[3].split("&") if len(parts) > 3 else []
    oid = authority[1] if len(authority) > 1 else ""
    return InsIdentity(parts[0], oid) if parts[0] and oid in INS_OIDS else None


def _identities(archive: XdmArchive) -> Iterator[InsIdentity | None]:
    """Give the patient of each document: that of the CDA when it has one that can be read, else that of its entry."""
    for document in archive.documents:
        said = cx_identity(document.entry.patient_id) or cx_identity(document.entry.source_patient_id)
        inside = _inside(document)
        yield inside or said
        if inside is not None and said is not None and inside.matricule.upper() != said.matricule.upper():
            yield said  # two patients for one document: both count


def _inside(document: XdmDocument) -> InsIdentity | None:
    if document.content is None or document.entry.mime_type not in CDA_TYPES:
        return None
    try:
        return read_header(document.content).patient.ins
    except InputFault:
        return None
