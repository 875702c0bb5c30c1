"""What an archive asks about its documents: to be kept as new, to replace another, or to be deleted (spec §8.3).

- A replacement names in the CDA the document that it replaces (`relatedDocument` RPLC); one said by the metadata alone
  (Association RPLC) replaces the others of its set (`setId`). A deletion carries the document again, its entry Deprecated.
- Identifiers are given as hashes: they are compared, never shown.
Pure; never raises for what an archive holds. Called by services.versions, in the workshop.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from mssante.documents.cda import CdaHeader, read_header
from mssante.documents.mailtwins import archives_of
from mssante.documents.xdm import XdmArchive, XdmDocument
from mssante.errors import InputFault

MAX_STEPS = 200


class Asked(StrEnum):
    """What is asked of the one who receives."""

    NEW = "new"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class VersionStep:
    """One document. document, set_id, replaces: hashes of identifiers, set_id empty without one; version: as the document
    says."""

    asked: Asked
    document: str
    set_id: str
    version: str
    replaces: tuple[str, ...] = ()


def hashed(identifier: str) -> str:
    """Give the form in which identifiers of documents are kept and compared: SHA-256, 40 hexadecimal digits of it."""
    return hashlib.sha256(identifier.encode("utf-8", "replace")).hexdigest()[:40] if identifier else ""


def steps_of(archive: XdmArchive) -> tuple[VersionStep, ...]:
    """Give the steps that an archive asks for, in its order, at most 200."""
    replacing = {link.source for subset in archive.subsets if subset.submission is not None
                 for link in subset.submission.associations if link.kind == "RPLC"}
    return tuple([_step(one, replacing=one.entry.entry_id in replacing) for one in archive.documents[:MAX_STEPS]])


def message_steps(message: bytes) -> tuple[VersionStep, ...]:
    """Give the steps of all archives of a whole message; those that cannot be read give none."""
    return tuple([step for archive in archives_of(message) if archive is not None for step in steps_of(archive)])[:MAX_STEPS]


def _step(document: XdmDocument, *, replacing: bool) -> VersionStep:
    header = _header(document)
    unique = header.id.unique_id if header is not None else document.entry.unique_id
    older = {hashed(one.unique_id) for one in header.replaces} if header is not None else set()
    asked = Asked.DELETE if document.entry.deleted else Asked.REPLACE if older or replacing else Asked.NEW
    set_id = header.set_id.unique_id if header is not None and header.set_id is not None else ""
    return VersionStep(asked, hashed(unique), hashed(set_id), (header.version if header is not None else "")[:40],
                       tuple(sorted(older)) if asked is Asked.REPLACE else ())


def _header(document: XdmDocument) -> CdaHeader | None:
    try:
        return read_header(document.content) if document.content is not None else None
    except InputFault:
        return None
