"""IHE_XDM.ZIP: packing a letter's documents, and reading and checking an archive that came in (ITI-32, spec §8).

- `pack` is strict and deterministic: the same documents, sender and instant give the same octets. Names are upper-case
  8.3 (spec F8.3); the order is INDEX.HTM, README.TXT, then the subset.
- `unpack` is lenient on names, case and the folder on top (ans-data §9), never on the container: see `ziparchive`.
  It works in memory; a METADATA.XML that cannot be read is kept as a problem, so that `check` can say so.
- `check` gives findings and never stops anything by itself: a mail already accepted is delivered to its reader whatever
  they are, only automation stops (spec §8.6). No finding carries an identity.
- INDEX.HTM is never opened nor rendered.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape as html_escape

from mssante.documents.cda import CdaHeader, read_header
from mssante.documents.ebrim import read_metadata, write_metadata
from mssante.documents.findings import Finding, Severity
from mssante.documents.hl7 import read_cx
from mssante.documents.metadata import (
    CdaDocument,
    DocumentEntry,
    SenderFacts,
    SubmissionSet,
    document_entry,
    sha1_hex,
    submission_set,
)
from mssante.documents.ziparchive import SMALL_ENTRY, ZipMember, read_zip
from mssante.errors import InputFault
from mssante.lang import say

ARCHIVE_NAME = "IHE_XDM.ZIP"  # spec F8.1
MAX_DOCUMENTS = 100
MAX_SOURCES = 100 * 1024 * 1024  # what a reader of our own kind would refuse is not sent

_SUBSET = "IHE_XDM/SUBSET01"
_CDA_TYPES = ("text/xml", "application/xml", "application/xslt+xml")


@dataclass(frozen=True, slots=True)
class XdmDocument:
    """A document announced by METADATA.XML. path and content are None when its file is not in the archive."""

    entry: DocumentEntry
    path: str | None
    content: bytes | None


@dataclass(frozen=True, slots=True)
class XdmSubset:
    """One folder under IHE_XDM. metadata_paths: the METADATA.XML found; problem: the rule that its reading broke."""

    folder: str
    metadata_paths: tuple[str, ...]
    submission: SubmissionSet | None
    documents: tuple[XdmDocument, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class XdmArchive:
    """An archive in memory: its files and what its metadata says of them."""

    files: tuple[ZipMember, ...]
    subsets: tuple[XdmSubset, ...]

    @property
    def documents(self) -> tuple[XdmDocument, ...]:
        """All announced documents, subset after subset."""
        return tuple(document for subset in self.subsets for document in subset.documents)


def pack(documents: Sequence[CdaDocument], sender: SenderFacts, now: datetime, *, deleting: bool = False) -> bytes:
    """Give IHE_XDM.ZIP for 1 to 100 documents of at most 100 MiB in all (spec §8.1, ITI-32).

    A document that says `relatedDocument` RPLC replaces the one it names. deleting: the documents are sent to be deleted (§8.3).
    Raises InputFault (`XDM-COUNT`, `XDM-SIZE`, `XDM-PATIENT`, `XDS-…`).
    """
    if not 1 <= len(documents) <= MAX_DOCUMENTS:
        raise InputFault("wrong number of documents", rule="XDM-COUNT", remedy=f"from 1 to {MAX_DOCUMENTS}")
    if sum(len(document.raw) for document in documents) > MAX_SOURCES:
        raise InputFault("documents are too large", rule="XDM-SIZE", remedy=f"at most {MAX_SOURCES} octets in all")
    names = [f"DOC{number:04d}.XML" for number in range(1, len(documents) + 1)]
    entries = [replace(document_entry(document, name), deleted=deleting) for document, name in zip(documents, names, strict=True)]
    if len({entry.patient_id for entry in entries} - {""}) > 1:
        raise InputFault("documents do not concern one patient", rule="XDM-PATIENT",
                         remedy="make one archive per patient")  # ECO.2.1.1
    submission = submission_set(documents, entries, sender, now)
    files = {"INDEX.HTM": _index(entries), "README.TXT": _readme(sender),
             f"{_SUBSET}/METADATA.XML": write_metadata(submission)}
    files |= {f"{_SUBSET}/{name}": document.raw for name, document in zip(names, documents, strict=True)}
    return _zip(files, now)


def _zip(files: dict[str, bytes], now: datetime) -> bytes:
    moment = now.astimezone(UTC)
    stamp = (min(max(moment.year, 1980), 2107), moment.month, moment.day, moment.hour, moment.minute, moment.second)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, stamp)
            info.create_system = 0  # the same octets on every machine
            info.compress_type = zipfile.ZIP_DEFLATED
            if len(content) > SMALL_ENTRY and _too_regular(content):
                info.compress_type = zipfile.ZIP_STORED  # a reader that caps the ratio would refuse it
            archive.writestr(info, content)
    return buffer.getvalue()


def _too_regular(content: bytes) -> bool:
    return len(zlib.compress(content, 1)) * 50 < len(content)


def _index(entries: Sequence[DocumentEntry]) -> bytes:
    """INDEX.HTM: XHTML Basic entry page that links the documents (spec F8.4, ITI-32 §3.32.4.1.2)."""
    links = "\n".join(
        f'<li><a href="{_SUBSET}/{entry.uri}">{html_escape(entry.title or entry.uri)}</a> ({entry.uri})</li>'
        for entry in entries)
    return ('<?xml version="1.0" encoding="UTF-8"?>\n'
            '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML Basic 1.1//EN" '
            '"http://www.w3.org/TR/xhtml-basic/xhtml-basic11.dtd">\n'
            '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="fr">\n<head><title>IHE_XDM</title></head>\n'
            f'<body>\n<h1>Documents</h1>\n<ul>\n{links}\n</ul>\n'
            '<p><a href="README.TXT">README.TXT</a></p>\n</body>\n</html>\n').encode()


def _readme(sender: SenderFacts) -> bytes:
    """README.TXT: sender, application, instructions, tree (spec F8.4)."""
    person = " ".join(part for part in (sender.given, sender.family) if part)
    who = ", ".join(part for part in (person, sender.structure_name, sender.postal_address, sender.telephone) if part)
    software = " ".join(part for part in (sender.application, sender.application_version) if part)
    lines = (f"Emetteur : {who}", f"Application : {software} ({sender.vendor})",
             "Utilisation : ouvrir INDEX.HTM dans un navigateur, ou integrer IHE_XDM dans un logiciel de sante.",
             "Contenu :", "INDEX.HTM", "README.TXT", f"{_SUBSET}/METADATA.XML", f"{_SUBSET}/DOCnnnn.XML", "")
    return "\r\n".join(" ".join(line.split()) for line in lines).encode()


def unpack(raw: bytes) -> XdmArchive:
    """Read an archive of the field (ITI-32; spec §8.6).

    Raises InputFault (`ZIP-…`) when the container is refused. Faults of the metadata are left to `check`.
    """
    files = read_zip(raw)
    folders: dict[str, list[ZipMember]] = {}
    for member in files:
        parts = member.path.split("/")
        upper = [part.upper() for part in parts[:-1]]
        if "IHE_XDM" in upper and upper.index("IHE_XDM") + 1 < len(upper):
            folders.setdefault("/".join(parts[:upper.index("IHE_XDM") + 2]), []).append(member)
    return XdmArchive(files, tuple(_subset(folder, members) for folder, members in folders.items()))


def _subset(folder: str, members: Sequence[ZipMember]) -> XdmSubset:
    found = [member for member in members if _base(member.path).upper() == "METADATA.XML"]
    paths = tuple(member.path for member in found)
    if len(found) != 1:
        return XdmSubset(folder, paths, None, (), "XDM-METADATA")
    try:
        submission = read_metadata(found[0].content)
    except InputFault as fault:
        return XdmSubset(folder, paths, None, (), fault.rule)
    others = [member for member in members if member is not found[0]]
    by_path = {member.path.upper(): member for member in others}
    unnamed = any(entry.sha1 and not entry.uri for entry in submission.documents)
    by_hash = {sha1_hex(member.content): member for member in others} if unnamed else {}
    documents = []
    for entry in submission.documents:
        member = _locate(entry, folder, by_path) if entry.uri else by_hash.get(entry.sha1)
        documents.append(XdmDocument(entry, member.path if member else None, member.content if member else None))
    return XdmSubset(folder, paths, submission, tuple(documents))


def _locate(entry: DocumentEntry, folder: str, by_path: dict[str, ZipMember]) -> ZipMember | None:
    """Find the file that an entry names, without case: `NAME` or `SUBSET01/NAME` (ans-data §9)."""
    above = folder.rpartition("/")[0]
    return by_path.get(f"{folder}/{entry.uri}".upper()) or by_path.get(f"{above}/{entry.uri}".upper())


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def check(archive: XdmArchive) -> list[Finding]:
    """Give what is wrong in an archive, worst first (spec §8.6); an empty list or warnings only: fit for automation.

    Rules: `XDM-SUBSET`, `XDM-METADATA`, `XDM-FILE`, `XDM-HASH`, `XDM-SIZE`, `XDM-PATIENT`, `XDM-RECORD-TARGET`,
    `XDM-TYPE`, `XDM-UNIQUE-ID`, `XDM-DUPLICATE`, and the `CDA-…`, `XML-…`, `XDS-…` rules that reading a part broke.
    """
    out: list[Finding] = []
    if not archive.subsets:
        out.append(_error("XDM-SUBSET", "",
                          say("l'archive n'a aucun lot sous IHE_XDM", "archive has no IHE_XDM subset")))
    for subset in archive.subsets:
        out += _check_subset(subset)
    said = {document.entry.patient_id for document in archive.documents}
    said |= {subset.submission.patient_id for subset in archive.subsets if subset.submission}
    patients = {read_cx(text) for text in said if text}
    if len(patients) > 1:
        out.append(_error("XDM-PATIENT", "",
                          say("l'archive concerne plus d'un patient",
                              "archive concerns more than one patient")))  # ECO.2.1.1
    elif archive.documents and not patients:
        out.append(Finding("XDM-PATIENT", "",
                           say("les métadonnées ne nomment aucun patient par son INS",
                               "metadata names no patient by INS")))
    return sorted(out, key=lambda finding: finding.severity is not Severity.ERROR)


def _error(rule: str, file: str, text: str) -> Finding:
    return Finding(rule, file, text, Severity.ERROR)


def _check_subset(subset: XdmSubset) -> list[Finding]:
    if len(subset.metadata_paths) != 1:
        text = (say("le lot a plusieurs METADATA.XML", "subset has more than one METADATA.XML") if subset.metadata_paths
                else say("le lot n'a pas de METADATA.XML", "subset has no METADATA.XML"))
        return [_error("XDM-METADATA", subset.folder, text)]
    if subset.submission is None:
        return [_error(subset.problem, subset.metadata_paths[0],
                       say("METADATA.XML ne peut pas être lu", "METADATA.XML cannot be read"))]
    out = [] if subset.documents else [_error("XDM-METADATA", subset.metadata_paths[0],
                                              say("aucun document n'est annoncé", "no document is announced"))]
    seen: set[str | None] = set()
    for document in subset.documents:
        if document.path is not None and document.path in seen:  # read once: entries are cheap, documents are not
            out.append(_error("XDM-DUPLICATE", document.path,
                              say("deux entrées annoncent le même fichier", "two entries announce the same file")))
            continue
        seen.add(document.path)
        out += _check_document(document, subset.folder)
    return out


def _check_document(document: XdmDocument, folder: str) -> list[Finding]:
    entry, content = document.entry, document.content
    if document.path is None or content is None:
        return [_error("XDM-FILE", folder,
                       say("un document annoncé n'est pas dans l'archive",
                           "an announced document is not in the archive"))]
    out = []
    if not entry.sha1:
        out.append(Finding("XDM-HASH", document.path,
                           say("les métadonnées ne donnent pas d'empreinte", "metadata gives no hash")))
    elif entry.sha1 != sha1_hex(content):
        out.append(_error("XDM-HASH", document.path,
                          say("l'empreinte annoncée n'est pas celle du fichier", "hash slot does not match the file")))
    if entry.size < 0:
        out.append(Finding("XDM-SIZE", document.path,
                           say("les métadonnées ne donnent pas de taille", "metadata gives no size")))
    elif entry.size != len(content):
        out.append(_error("XDM-SIZE", document.path,
                          say("la taille annoncée n'est pas celle du fichier", "size slot does not match the file")))
    if entry.mime_type.lower() in _CDA_TYPES:
        out += _check_cda(entry, document.path, content)
    return out


def _check_cda(entry: DocumentEntry, path: str, content: bytes) -> list[Finding]:
    """Compare the document with what is said of it; a document in XML that is no CDA is only remarked."""
    try:
        header = read_header(content)
    except InputFault as fault:
        return [Finding(fault.rule, path,
                        say("le document ne se lit pas comme un CDA", "document cannot be read as a CDA"))]
    out = []
    if entry.patient_id and not _names_patient(entry.patient_id, header):
        out.append(_error("XDM-RECORD-TARGET", path,
                          say("le patient du document n'est pas celui des métadonnées",
                              "patient of the document is not the patient of the metadata")))
    if entry.type_code is not None and entry.type_code.code != header.code.code:
        out.append(Finding("XDM-TYPE", path,
                           say("le type du document n'est pas celui des métadonnées",
                               "type of the document is not the type of the metadata")))
    if entry.unique_id != header.id.unique_id:
        out.append(Finding("XDM-UNIQUE-ID", path,
                           say("l'identifiant du document n'est pas celui des métadonnées",
                               "identifier of the document is not that of the metadata")))
    return out


def _names_patient(patient_id: str, header: CdaHeader) -> bool:
    number, root = read_cx(patient_id)
    return any(item.extension == number and item.root == root for item in header.patient.ids)
