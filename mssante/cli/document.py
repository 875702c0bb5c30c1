"""`mssante document show|unpack|pack`: look into a CDA, an IHE_XDM archive or a mail, take them apart, make an archive.

Nothing is sent, no base is read, no journal is written. `show` names no patient unless `--identity` asks for it: a terminal is
often recorded. `unpack` writes into a new folder, under the names of the archive made safe. `mssante preflight` judges files.
Exit code 0: done; 3: `show` found remarks that are errors; 1: the file cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import CHECK_FAILED, AsJson, emit
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.documents.cda import CdaHeader
    from mssante.documents.findings import Finding

app = typer.Typer(no_args_is_help=True, help="Documents : montrer, défaire, emballer (documents: show, unpack, pack)")
MAX_BYTES = 120 * 1024 * 1024
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class _Found:
    """A document of a file. place: where it stands in it; header: None when it is no CDA that can be read, rule then says why."""

    place: str
    content: bytes
    header: CdaHeader | None
    rule: str = ""


def _read(path: Path) -> bytes:
    """Give a file. Raises InputFault, OSError."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InputFault(say("fichier trop gros", "file is too large"), rule="DOC-TAILLE", remedy=f"<= {MAX_BYTES}")
    return raw


def _document(place: str, content: bytes) -> _Found:
    from mssante.documents.cda import read_header

    try:
        return _Found(place, content, read_header(content))
    except InputFault as fault:
        return _Found(place, content, None, fault.rule)


def _of_archive(place: str, raw: bytes) -> tuple[list[_Found], list[Finding]]:
    """Give the documents of an archive and what is to be said of it. Raises InputFault."""
    from mssante.documents.validate import entry_findings, name_findings
    from mssante.documents.xdm import check, unpack

    archive = unpack(raw)
    remarks = [*check(archive), *name_findings(archive),
               *(one for document in archive.documents for one in entry_findings(document))]
    found = [_document(f"{place}{document.path or document.entry.uri}", document.content) if document.content is not None
             else _Found(f"{place}{document.entry.uri}", b"", None, "XDM-ABSENT") for document in archive.documents]
    return found, remarks


def _documents(path: Path) -> tuple[list[_Found], list[Finding]]:
    """Give the documents of a file: a CDA, an archive, or a mail that holds some. Raises InputFault, OSError."""
    from mssante.documents.beginnings import ZIP, Kind, names_cda, trimmed
    from mssante.documents.mailfiles import Reading, mail_files

    raw = _read(path)
    start = trimmed(raw)[:64]
    if raw.startswith(ZIP):
        return _of_archive("", raw)
    if start.startswith(b"<"):
        return [_document(path.name, raw)], []
    found: list[_Found] = []
    remarks: list[Finding] = []
    for file in mail_files(raw, Reading(embedded=True, signed=True)).files:
        if file.kind is Kind.ARCHIVE:
            inside, more = _of_archive(f"{file.name}/", file.octets())
            found, remarks = [*found, *inside], [*remarks, *more]
        elif names_cda(file.octets()):
            found.append(_document(file.name, file.octets()))
    if not found:
        raise InputFault(say("aucun document dans ce fichier", "no document in this file"), rule="PREFLIGHT-FICHIER",
                         remedy=say("donnez un CDA, une archive IHE_XDM ou un message .eml", "give a CDA, an archive or an .eml"))
    return found, remarks


# ------------------------------------------------------------ show


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="CDA, IHE_XDM.ZIP, .eml")],
    identity: Annotated[bool, typer.Option("--identity", help="Montre aussi l'identité du patient (the patient too)")] = False,
    as_json: AsJson = False,
) -> None:
    """Dit ce que contient un document, une archive ou un message ; code 3 s'il y a des erreurs (tells what is in it)."""
    found, remarks = _documents(file)
    told = [{"rule": one.rule, "severity": one.severity.value, "file": one.file, "text": one.text} for one in remarks]
    emit(as_json, {"documents": [_facts(one, identity) for one in found], "remarks": told},
         *_shown(found, identity), *(f"{one.severity.value} [{one.rule}] {one.file} {one.text}" for one in remarks))
    if any(one.rule for one in found) or any(one.severity.value == "error" for one in remarks):
        raise typer.Exit(CHECK_FAILED)


def _facts(one: _Found, identity: bool) -> dict[str, Any]:
    """Give the facts of a document as JSON."""
    from mssante.documents.metadata import sha1_hex

    common = {"place": one.place, "octets": len(one.content), "sha1": sha1_hex(one.content)}
    header = one.header
    if header is None:
        return {**common, "fault": one.rule}
    told = {
        **common, "title": header.title, "code": header.code.code, "label": header.code.label, "id": header.id.unique_id,
        "set_id": header.set_id.unique_id if header.set_id else "", "version": header.version, "created": header.effective_time,
        "confidentiality": header.confidentiality.code, "language": header.language, "level": header.body.level,
        "media_type": header.body.media_type or "", "replaces": [old.unique_id for old in header.replaces],
        "authors": [_author(author) for author in header.authors],
        "custodian": header.custodian.name if header.custodian else ""}
    if identity:
        patient, ins = header.patient, header.patient.ins
        family, given = patient.display_names
        told["patient"] = {"family": family, "given": given, "birth": patient.birth_time, "sex": patient.sex,
                           "ins": ins.matricule if ins else "", "ins_oid": ins.oid if ins else "",
                           "citizen_address": patient.citizen_address}
    return told


def _author(author: Any) -> str:
    """Give a professional or a device in words."""
    name = " ".join(filter(None, map(author.name.first, ("prefix", "given", "family")))) if author.name else (
        author.device.software or author.device.model if author.device else "")
    return ", ".join(part for part in (name, author.organisation.name if author.organisation else "") if part)


def _shown(found: Sequence[_Found], identity: bool) -> Iterator[str]:
    """Give the lines for a person."""
    words = (("title", say("titre", "title")), ("code", "LOINC"), ("label", say("type", "type")),
             ("created", say("créé", "created")), ("id", "id"), ("version", "version"),
             ("replaces", say("remplace", "replaces")), ("level", say("niveau", "level")),
             ("confidentiality", say("confidentialité", "confidentiality")), ("authors", say("auteurs", "authors")),
             ("custodian", say("conservateur", "custodian")), ("octets", say("octets", "octets")), ("sha1", "SHA-1"),
             ("patient", say("patient", "patient")), ("fault", say("illisible", "unreadable")))
    for one in found:
        facts = _facts(one, identity)
        yield one.place
        for key, word in words:
            value = facts.get(key)
            if isinstance(value, dict):
                value = ", ".join(f"{name}={text}" for name, text in value.items() if text)
            if isinstance(value, list):
                value = " ; ".join(value)
            if value:
                yield f"  {word:16} {value}"


# ------------------------------------------------------------ unpack, pack


@app.command()
def unpack(
    file: Annotated[Path, typer.Argument(help="IHE_XDM.ZIP, .eml")],
    folder: Annotated[Path, typer.Argument(help="Dossier à créer (folder to make)")],
    as_json: AsJson = False,
) -> None:
    """Écrit les documents d'une archive ou d'un message dans un nouveau dossier (writes its documents into a new folder)."""
    found, _ = _documents(file)
    folder.mkdir(mode=0o700)
    written = []
    for rank, one in enumerate(found, 1):
        name = f"{rank:03d}-{_safe(one.place)}"
        with (folder / name).open("xb") as out:
            out.write(one.content)
        written.append(name)
    emit(as_json, {"folder": str(folder), "files": written}, *(str(folder / name) for name in written))


def _safe(place: str) -> str:
    """Give a file name that stays in its folder and is no option of a command."""
    name = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in place.rpartition("/")[2])
    return name.lstrip(".-")[-MAX_NAME:] or "document"


@app.command()
def pack(
    files: Annotated[list[Path], typer.Argument(metavar="CDA…", help="Documents d'un seul patient (of one patient)")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Archive à créer (archive to make)")],
    structure: Annotated[str, typer.Option("--structure", help="Nom de l'expéditeur (name of who sends)")],
    source: Annotated[str, typer.Option("--source-oid", metavar="OID", help="Du logiciel émetteur (of the sending program)")],
    finess: Annotated[str, typer.Option("--finess", help="Numéro FINESS de la structure (its FINESS number)")] = "",
    as_json: AsJson = False,
) -> None:
    """Fait une archive IHE_XDM.ZIP de documents CDA (makes an IHE_XDM archive of CDA documents)."""
    from mssante.clock import SystemClock
    from mssante.documents.metadata import SenderFacts, cda_document
    from mssante.documents.xdm import pack as packed

    documents = [cda_document(_read(path), ()) for path in files]
    raw = packed(documents, SenderFacts(source, structure, f"1{finess}" if finess else ""), SystemClock().now())
    with out.open("xb") as file:  # what stands there already is never written over
        file.write(raw)
    emit(as_json, {"file": str(out), "octets": len(raw), "documents": len(documents)},
         f"{out} : {len(documents)} document(s), {len(raw)} octets")
