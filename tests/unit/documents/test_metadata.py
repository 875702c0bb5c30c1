"""XDS metadata of the public CDA examples."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mssante.documents.codes import Code, Nomenclature, default_nomenclature
from mssante.documents.metadata import (
    CdaDocument,
    SenderFacts,
    cda_document,
    document_entry,
    document_findings,
    entry_id,
    submission_set,
)
from mssante.errors import InputFault

_NOW = datetime(2026, 11, 22, 12, 30, tzinfo=UTC)
_SENDER = SenderFacts("1.2.250.1.999.1", "CABINET FICTIF", "1990000001", "899700000011", "MARTIN", "Claire")
_TABLES = default_nomenclature()
_UNKNOWN = "urn:asipSante:modelesHorsProfils:2011"


def _code(code: Code | None, label: str = "") -> dict[str, Any] | None:
    if code is None:
        return None
    return {"code": code.code, "codingScheme": code.scheme} | ({label: code.label} if label else {})


def _shape(document: CdaDocument) -> dict[str, Any]:
    entry = document_entry(document)
    return {
        "uniqueId": entry.unique_id, "creationTime": entry.created, "languageCode": entry.language,
        "title": entry.title,
        "classCode": _code(entry.class_code, "label"),
        "typeCode": (_code(entry.type_code, "label_in_CDA") or {}) | {
            "label_in_JDV_J07": _TABLES.type_label(entry.type_code) if entry.type_code else ""},
        "formatCode": _code(entry.format_code), "confidentialityCode": [_code(code) for code in entry.confidentiality],
        "healthcareFacilityTypeCode": _code(entry.facility, "label_in_JDV_J02"),
        "practiceSettingCode": _code(entry.practice_setting, "label_in_JDV_J04"),
        "eventCodeList": [_code(code, "label") for code in entry.events],
        "serviceStartTime": entry.service_start or None, "serviceStopTime": entry.service_stop or None,
        "patientId": entry.patient_id or None, "sourcePatientId": entry.source_patient_id or None,
        "sourcePatientInfo": list(entry.source_patient_info), "legalAuthenticator": entry.legal_authenticator or None,
        "author": [{"authorPerson": author.person or None, "authorSpecialty": next(iter(author.specialties), None),
                    "authorInstitution": next(iter(author.institutions), None),
                    "authorRole": next(iter(author.roles), None)} for author in entry.authors],
        "hash_sha1": entry.sha1, "size": entry.size}


def _expected(facts: dict[str, Any]) -> dict[str, Any]:
    """The file says null where no association knows the model; the rule (§8) then asks for "outside all profiles"."""
    xds = dict(facts["xds"])
    xds["formatCode"] = xds["formatCode"] or {"code": _UNKNOWN, "codingScheme": "1.2.250.1.213.1.1.4.2.282"}
    xds["author"] = [{key: value for key, value in author.items() if key.startswith("author")}
                     for author in xds["author"]]
    return xds


@pytest.mark.parametrize(("folder", "file", "count"),
                         [("cda", "expected-xds.json", 23), ("cda-altered", "expected.json", 4)])
def test_metadata_of_every_public_document(shared_dir: Path, folder: str, file: str, count: int) -> None:
    base = shared_dir / "data" / folder
    expected = json.loads((base / file).read_text("utf-8"))["documents"]
    assert len(expected) == count
    for name, facts in expected.items():
        document = cda_document((base / name).read_bytes())
        assert _shape(document) == _expected(facts), name
        said = facts["warnings"] if "warnings" in facts else facts["checks"]["warnings"]
        texts = [text if not text.startswith("INS") else "INS control key is wrong" for text in said]
        assert [finding.text for finding in document_findings(document)] == texts, name
        no_format = any(finding.rule == "XDS-FORMAT" for finding in document_findings(document))
        assert no_format == (facts["xds"]["formatCode"] is None), name


_XML = (b'<ClinicalDocument xmlns="urn:hl7-org:v3"><templateId root="1.2.250.1.213.1.1.1.29"/><id root="1.2.3"/>'
        b'<code code="101881-1" codeSystem="2.16.840.1.113883.6.1"/><title>T</title>'
        b'<confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/>'
        b'<recordTarget><patientRole><id root="1.2.250.1.213.1.4.10" extension="279035121518989"/>'
        b'<id root="9.9" extension="I^1"/></patientRole></recordTarget>'
        b'<relatedDocument typeCode="RPLC"><parentDocument><id root="1.2.2"/></parentDocument></relatedDocument>'
        b"</ClinicalDocument>")


def test_a_type_without_class_is_left_out_and_reported() -> None:
    document = cda_document(_XML)
    assert document_entry(document).class_code is None
    assert "XDS-CLASS" in [finding.rule for finding in document_findings(document)]
    assert document_entry(document).type_code == Code("101881-1", "2.16.840.1.113883.6.1", "Carte d'implant")


def test_masking_codes_follow_the_value_of_the_document() -> None:
    entry = document_entry(cda_document(_XML, ["MASQUE_PS", "INVISIBLE_PATIENT"]))
    assert [code.code for code in entry.confidentiality] == ["N", "MASQUE_PS", "INVISIBLE_PATIENT"]
    assert entry.confidentiality[1].scheme == "1.2.250.1.213.1.1.4.13"
    with pytest.raises(InputFault) as caught:
        document_entry(cda_document(_XML, ["INVISIBLE_REP_LEGAUX"]))
    assert caught.value.rule == "XDS-MASKING"


def test_values_are_escaped() -> None:
    assert document_entry(cda_document(_XML)).source_patient_id == "I\\S\\1^^^&9.9&ISO^PI"


def test_the_submission_is_the_senders_and_deterministic() -> None:
    document = cda_document(_XML)
    entry = document_entry(document, "DOC0001.XML")
    first = submission_set([document], [entry], _SENDER, _NOW)
    assert first == submission_set([document], [entry], _SENDER, _NOW)
    assert first.submitted == "20261122123000" and first.patient_id == entry.patient_id
    assert first.authors[0].person == "899700000011^MARTIN^Claire^^^^^^&1.2.250.1.71.4.2.1&ISO^D^^^IDNPS"
    assert first.unique_id.startswith("1.2.250.1.999.1.20261122123000.") and len(first.unique_id) <= 64
    assert [(link.kind, link.target) for link in first.associations] == [
        ("HasMember", entry.entry_id), ("RPLC", entry_id("1.2.2"))]


def test_two_submissions_of_the_same_second_differ() -> None:
    document = cda_document(_XML)
    other = cda_document(_XML.replace(b"<title>T<", b"<title>U<"))
    ids = {submission_set([item], [document_entry(item)], _SENDER, _NOW).unique_id for item in (document, other)}
    assert len(ids) == 2


@pytest.mark.parametrize("source", ["", "1.02.3", "urn:oid:1.2", "1.2" + ".3" * 20, "1.2\n"])
def test_a_source_that_is_no_oid_is_refused(source: str) -> None:
    document = cda_document(_XML)
    with pytest.raises(InputFault) as caught:
        submission_set([document], [document_entry(document)], replace(_SENDER, source_id=source), _NOW)
    assert caught.value.rule == "XDS-SOURCE"


@pytest.mark.parametrize("text", ["", "x", "schemes = 1", "[schemes]\nloinc = 1"])
def test_a_broken_nomenclature_is_a_typed_fault(text: str) -> None:
    with pytest.raises(InputFault) as caught:
        Nomenclature.from_toml(text)
    assert caught.value.rule == "NOM-SHAPE"


def test_the_shipped_tables_agree_with_the_public_ones(shared_dir: Path) -> None:
    classes = json.loads((shared_dir / "data" / "terminology" / "TRE_A03-ClasseDocument.json").read_text("utf-8"))
    assert {item["code"]: item["label"] for item in classes["concepts"]} == dict(_TABLES.classes)
    assert _TABLES.format_of(["1.2.250.1.213.1.1.1.29"], "APPLICATION/PDF") == Code(
        "urn:ihe:iti:xds-sd:pdf:2008", "1.3.6.1.4.1.19376.1.2.3", "urn:ihe:iti:xds-sd:pdf:2008")
    assert _TABLES.format_of(["1.2.3"], None) is None and _TABLES.format_of([], "video/mp4") is None
