"""Metadata held against its document, field by field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.twins import EVERYTHING

from mssante.documents.codes import Code
from mssante.documents.metadata import SenderFacts, cda_document
from mssante.documents.validate import entry_findings, name_findings
from mssante.documents.xdm import XdmArchive, XdmDocument, XdmSubset, pack, unpack

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def packed(*raws: bytes) -> XdmArchive:
    return unpack(pack([cda_document(one) for one in raws], SenderFacts("2.25.1", "Centre de test"), NOW))


def test_what_we_pack_is_clean(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "data/cda").glob("*.xml")):
        archive = packed(path.read_bytes())
        assert [one for document in archive.documents for one in entry_findings(document)] == [], path.name
        assert name_findings(archive) == (), path.name


@pytest.mark.parametrize(("field", "change", "words"), [
    ("creationTime", {"created": "20200101000000"}, "is not that"), ("creationTime", {"created": ""}, "does not give"),
    ("languageCode", {"language": "en-US"}, "is not that"), ("title", {"title": "Autre chose"}, "is not that"),
    ("formatCode", {"format_code": Code("x", "y")}, "is not that"), ("formatCode", {"format_code": None}, "does not give"),
    ("confidentialityCode", {"confidentiality": ()}, "does not give"),
    ("confidentialityCode", {"confidentiality": (Code("R", "z"),)}, "is not that"),
    ("authorPerson", {"authors": ()}, "does not give"),
])
def test_each_field_is_compared(field: str, change: dict[str, object], words: str) -> None:
    (document,) = packed(EVERYTHING).documents
    wrong = replace(document, entry=replace(document.entry, **change))  # type: ignore[arg-type]
    found = [one for one in entry_findings(wrong) if field in one.text]
    assert len(found) == 1 and words in found[0].text and found[0].rule == "XDM-CHAMP" and found[0].file == document.path
    assert "TESTPATIENT" not in repr(entry_findings(wrong)) and "285017800000156" not in repr(entry_findings(wrong))


def test_a_title_is_compared_as_it_is_read() -> None:
    (document,) = packed(EVERYTHING).documents
    loose = replace(document, entry=replace(document.entry, title="  LETTRE   d'essai "))
    assert entry_findings(loose) == ()


def test_names_of_files() -> None:
    (document,) = packed(EVERYTHING).documents
    assert document.path is not None
    subset = XdmSubset("IHE_XDM/SUBSET01", ("x",), None, (document, replace(document, path="IHE_XDM/SUBSET01/document-long.xml")))
    assert [one.file for one in name_findings(XdmArchive((), (subset,)))] == ["IHE_XDM/SUBSET01/document-long.xml"]


@pytest.mark.parametrize("content", [None, b"", b"<x/>", b"%PDF-1.4"])
def test_what_is_no_cda_is_left_to_other_rules(content: bytes | None) -> None:
    (document,) = packed(EVERYTHING).documents
    assert entry_findings(XdmDocument(document.entry, document.path, content)) == ()
