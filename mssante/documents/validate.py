"""Holds what METADATA.XML says of a CDA against what the CDA says of itself, and the names of files (spec §8.2, F8.3).

- What is expected is what we would have written for the same document (`metadata.document_entry`); an entry that says less is
  remarked only where the field is required. Titles are compared as people read them.
- Remarks are warnings: the mail is delivered whatever they are, and many programs of the field differ in these. Those that stop
  automation (hash, size, patient) are errors of `xdm.check`.
- A remark names the field, never its value: values hold identities.
Pure. Called by `preflight` and the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mssante.documents.codes import Code
from mssante.documents.findings import Finding
from mssante.documents.metadata import DocumentEntry, cda_document, document_entry
from mssante.documents.xdm import XdmArchive, XdmDocument
from mssante.errors import InputFault
from mssante.lang import say

# spec F8.3: 8.3, upper case
_SHORT = re.compile(r"[A-Z0-9_]{1,8}(?:\.[A-Z0-9_]{1,3})?\Z")
_REQUIRED = frozenset({"uniqueId", "typeCode", "classCode", "formatCode", "confidentialityCode", "creationTime", "languageCode"})


def entry_findings(document: XdmDocument) -> tuple[Finding, ...]:
    """Give the remarks on one announced CDA; nothing for what is no readable CDA (other rules say that)."""
    if document.content is None or document.path is None:
        return ()
    try:
        expected = document_entry(cda_document(document.content))
    except InputFault:
        return ()
    return tuple([_remark(document.path, field, missing) for field, missing in _differences(document.entry, expected)])


def name_findings(archive: XdmArchive) -> tuple[Finding, ...]:
    """Give a remark for each document whose name is not 8.3 in upper case (ISO 9660 level 1)."""
    found = dict.fromkeys(one.path for one in archive.documents if one.path is not None)
    return tuple([Finding("XDM-NOM", path, say("le nom du fichier n'est pas de la forme 8.3 en majuscules",
                                               "the file name is not 8.3 in upper case"))
                  for path in found if not _SHORT.match(path.rpartition("/")[2])])


def _remark(path: str, field: str, missing: bool) -> Finding:
    if missing:
        return Finding("XDM-CHAMP", path, say(f"les métadonnées ne donnent pas {field}", f"metadata does not give {field}"))
    return Finding("XDM-CHAMP", path, say(f"{field} des métadonnées n'est pas celui du document",
                                          f"{field} of the metadata is not that of the document"))


def _differences(said: DocumentEntry, expected: DocumentEntry) -> Iterator[tuple[str, bool]]:
    """Give (field, whether it lacks) for each field that differs."""
    pairs: tuple[tuple[str, str, str], ...] = (
        ("creationTime", said.created, expected.created),
        ("languageCode", said.language.lower(), expected.language.lower()),
        ("title", _plain(said.title), _plain(expected.title)),
        ("classCode", _code(said.class_code), _code(expected.class_code)),
        ("formatCode", _code(said.format_code), _code(expected.format_code)),
        ("healthcareFacilityTypeCode", _code(said.facility), _code(expected.facility)),
        ("practiceSettingCode", _code(said.practice_setting), _code(expected.practice_setting)),
        ("serviceStartTime", said.service_start, expected.service_start),
        ("serviceStopTime", said.service_stop, expected.service_stop),
    )
    for field, here, there in pairs:
        if here != there and there and (here or field in _REQUIRED):
            yield field, not here
    if not said.confidentiality:
        yield "confidentialityCode", True
    elif not {one.code for one in expected.confidentiality} <= {one.code for one in said.confidentiality}:
        yield "confidentialityCode", False
    authors = {_number(one.person) for one in expected.authors if one.person}
    named = {_number(one.person) for one in said.authors if one.person}
    if authors and not named:
        yield "authorPerson", True
    elif authors and not authors & named:
        yield "authorPerson", False


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _code(code: Code | None) -> str:
    return code.code if code is not None else ""


def _number(person: str) -> str:
    """The number of an XCN, else the whole."""
    return person.partition("^")[0] or person
