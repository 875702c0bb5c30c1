"""METADATA.XML: strict writing against the schema, lenient reading."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from mssante.documents.codes import Code
from mssante.documents.ebrim import read_metadata, write_metadata
from mssante.documents.metadata import AuthorEntry, SenderFacts, SubmissionSet, cda_document, document_entry
from mssante.documents.metadata import submission_set as build
from mssante.errors import InputFault

_NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
_SENDER = SenderFacts("1.2.250.1.999.1", "CABINET FICTIF", "1990000001", "899700000011", "MARTIN", "Claire",
                      Code("G15_10/SM54", "1.2.250.1.213.1.1.4.5", "Médecine générale"))


def _submission(*files: Path) -> SubmissionSet:
    documents = [cda_document(file.read_bytes(), ["MASQUE_PS"]) for file in files]
    entries = [document_entry(document, f"DOC{number:04d}.XML") for number, document in enumerate(documents, 1)]
    return build(documents, entries, _SENDER, _NOW)


def test_what_is_written_is_valid_and_reads_back_the_same(shared_dir: Path) -> None:
    schema = etree.XMLSchema(etree.parse(str(shared_dir / "data/xsd/ebrim/ebRS30/lcm.xsd")))
    files = sorted((shared_dir / "data" / "cda").glob("*.xml")) + sorted((shared_dir / "data/cda-altered").glob("*.xml"))
    assert len(files) == 27
    for group in [*([file] for file in files), files[:5]]:
        submission = _submission(*group)
        raw = write_metadata(submission)
        schema.assertValid(etree.fromstring(raw))
        assert read_metadata(raw) == submission, group[0].name


def test_long_and_markup_values_stay_valid(shared_dir: Path) -> None:
    schema = etree.XMLSchema(etree.parse(str(shared_dir / "data/xsd/ebrim/ebRS30/lcm.xsd")))
    submission = _submission(shared_dir / "data/cda/LDL-SES_2022.01.xml")
    long = replace(submission, title="<&\"" * 500, authors=(AuthorEntry("p" * 900, ("i" * 900,)),))
    schema.assertValid(etree.fromstring(write_metadata(long)))


def test_a_control_character_of_the_sender_is_a_typed_fault(shared_dir: Path) -> None:
    submission = _submission(shared_dir / "data/cda/LDL-SES_2022.01.xml")
    with pytest.raises(InputFault) as caught:
        write_metadata(replace(submission, title="a\x00b"))
    assert caught.value.rule == "XDS-TEXT"


def test_submissions_of_other_makers_are_read(shared_dir: Path) -> None:
    first = read_metadata((shared_dir / "data/xdm/ebrim/SubmitObjectsRequest_ebrs30.xml").read_bytes())
    assert first.documents and first.unique_id and first.associations
    second = read_metadata((shared_dir / "data/xdm/ebrim/SubmitObjectsRequest_ebrs30_update.xml").read_bytes())
    assert second.documents
    french = read_metadata((shared_dir / "data/xdm/fr/METADATA.one-document.XML").read_bytes())
    assert french.documents[0].type_code == Code("11490-0", "2.16.840.1.113883.6.1",
                                                 "Lettre de liaison à la sortie d'un établissement de soins")
    assert french.content_type is not None and french.content_type.code == "07"
    assert [link.kind for link in french.associations] == ["HasMember"]


_LOOSE = """<x:SubmitObjectsRequest xmlns="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0" xsi:note="1"><r:RegistryObjectList>
<ExtrinsicObject id="d" mimeType="text/xml">
<Classification classificationScheme="URN:UUID:F0306F51-975F-434E-A61C-C59651D33983" nodeRepresentation="18748-4"/>
<Slot name="uri"><ValueList><Value> SS000001/IMG </Value></ValueList></Slot>
<Slot name="SIZE"><ValueList><Value>12</Value></ValueList></Slot>
<Slot name="hash"><ValueList><Value>ABCDEF</Value></ValueList></Slot></ExtrinsicObject>
<Association associationType="signs" sourceObject="s" targetObject="d"/>
</r:RegistryObjectList></x:SubmitObjectsRequest>"""


def test_order_case_and_unbound_prefixes_are_tolerated() -> None:
    submission = read_metadata(_LOOSE.encode())
    entry = submission.documents[0]
    assert (entry.uri, entry.size, entry.sha1) == ("SS000001/IMG", 12, "abcdef")
    assert entry.type_code is not None and entry.type_code.code == "18748-4"
    assert submission.associations[0].kind == "signs" and submission.unique_id == ""


@pytest.mark.parametrize("size", ["", "-1", "1e9", "٣", "9" * 40])
def test_a_size_that_is_no_number_counts_as_absent(size: str) -> None:
    assert read_metadata(_LOOSE.replace(">12<", f">{size}<").encode()).documents[0].size == -1


@pytest.mark.parametrize(("raw", "rule"), [
    (b"", "XML-SYNTAX"), (b"<a/>", "XDS-ROOT"), (b"<a:b", "XML-SYNTAX"), (b"<x:a></y:a>", "XML-SYNTAX"),
    (b'<!DOCTYPE a><SubmitObjectsRequest/>', "XML-DTD"),
    (b"<SubmitObjectsRequest>" + b"<Association/>" * 1001 + b"</SubmitObjectsRequest>", "XDS-LIMIT"),
    (b"<a>" + b"<b/>" * 200_001 + b"</a>", "XML-LIMIT"),
    (b" " * (10 * 1024 * 1024 + 1), "XML-SIZE"),
])
def test_what_is_no_submission_is_refused(raw: bytes, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        read_metadata(raw)
    assert caught.value.rule == rule
