"""The CDA schema: what is wrong is said with its line; files outside of the folder are never opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.handing import cda
from support.ruleset import write_rules

from mssante.documents.cda import clinical_document
from mssante.documents.faults import DocumentFault
from mssante.documents.schema import SchemaFiles, inside, schema_remarks
from mssante.lang import set_language
from mssante.services.rulefiles import read_rules


@pytest.fixture(autouse=True)
def french() -> Iterator[None]:
    set_language("fr")
    yield
    set_language("fr")


@pytest.fixture
def schema(tmp_path: Path) -> SchemaFiles:
    found = read_rules(write_rules(tmp_path)).schema
    assert found is not None
    return found


def remarks(raw: bytes, schema: SchemaFiles) -> list[tuple[str, int, str]]:
    return [(one.rule, one.line, one.text) for one in schema_remarks(clinical_document(raw)[1], schema, "DOC.XML")]


def test_a_good_document(schema: SchemaFiles) -> None:
    assert remarks(cda(), schema) == []


def test_a_bad_one_is_told_with_its_line_in_french(schema: SchemaFiles) -> None:
    raw = b'<ClinicalDocument xmlns="urn:hl7-org:v3">\n<realmCode code="FR"/>\n<langueCode/>\n</ClinicalDocument>'
    ((rule, line, text),) = remarks(raw, schema)
    assert rule == "CDA-XSD-ELEMENT_CONTENT" and line == 3
    assert text == "élément langueCode mal placé ou de trop ; attendu ici : ( typeId )"
    set_language("en")
    assert "This element is not expected" in remarks(raw, schema)[0][2]


def test_self_rendering_is_judged_by_its_inner_document(schema: SchemaFiles) -> None:
    lead = b'<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">\n'
    good = lead + b'<ClinicalDocument xmlns="urn:hl7-org:v3"><typeId/></ClinicalDocument></xsl:stylesheet>'
    assert remarks(good, schema) == []
    assert remarks(good.replace(b"<typeId/>", b"\n<other/>"), schema)[0][1] == 3


@pytest.mark.parametrize("target", ["../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x.xsd", "..\\x.xsd",
                                    "%2e%2e/%2e%2e/etc/passwd", "~/x.xsd"])
def test_a_schema_reads_its_neighbours_only(schema: SchemaFiles, target: str) -> None:
    files = dict(schema.files)
    files["CDA.xsd"] = files["CDA.xsd"].replace(b"general/tete.xsd", target.encode())
    with pytest.raises(DocumentFault) as caught:
        remarks(cda(), SchemaFiles("CDA.xsd", files, f"hostile {target}"))
    assert caught.value.rule == "DOC-REGLES"


def test_a_schema_with_an_entity_is_refused(schema: SchemaFiles) -> None:
    files = dict(schema.files)
    files["CDA.xsd"] = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + files["CDA.xsd"]
    with pytest.raises(DocumentFault) as caught:
        remarks(cda(), SchemaFiles("CDA.xsd", files, "entity"))
    assert caught.value.rule == "DOC-REGLES" and "XML-DTD" in caught.value.detail


def test_paths_stay_inside() -> None:
    assert inside("a/b.sch", "../c/d.xml") == "c/d.xml" and inside("b.sch", "include/x.xml") == "include/x.xml"
    assert inside("a/b.sch", "../../x") is None and inside("b.sch", "..") is None


def test_the_documents_of_ans_are_valid(shared_dir: Path) -> None:
    found = read_rules(shared_dir / "data" / "xsd" / "cda").schema
    assert found is not None
    files = sorted((shared_dir / "data" / "cda").glob("*.xml"))
    assert len(files) == 23
    assert {file.name: remarks(file.read_bytes(), found) for file in files if remarks(file.read_bytes(), found)} == {}
    raw = (shared_dir / "data" / "cda" / "VSM_1.4_2022.01.xml").read_bytes().replace(b"<languageCode", b"<inconnu/><languageCode", 1)
    ((rule, line, _text),) = remarks(raw, found)
    assert rule == "CDA-XSD-ELEMENT_CONTENT" and line == raw[:raw.index(b"<inconnu/>")].count(b"\n") + 1
