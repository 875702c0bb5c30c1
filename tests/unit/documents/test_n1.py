"""CDA of level 1 made from a PDF and facts: what our readers find in it, the schema, every refusal."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from support.handing import INS, NAMES, PDF, facts

from mssante.documents.cda import InstanceId, header_findings, read_header
from mssante.documents.codes import Code
from mssante.documents.metadata import cda_document, document_entry, document_findings
from mssante.documents.n1 import LOINC_OID, MAX_PDF_BYTES, n1_document
from mssante.documents.n1facts import read_facts
from mssante.documents.readable import readable
from mssante.errors import InputFault

FULL = facts(set_id=InstanceId("2.25.5"), version=3, confidentiality="R", started=datetime(2026, 2, 27, tzinfo=UTC),
             stopped=datetime(2026, 2, 28, tzinfo=UTC), encounter=InstanceId("1.2.3.4", "SEJ1"), replaces=(InstanceId("2.25.4"),),
             act=Code("24727-0", LOINC_OID, "Scanner"), patient=replace(
                 facts().patient, all_given="ALIXTEST MARIETEST", family_used="TESTUSAGE", given_used="ALIX",
                 telecoms=("tel:0100000000", f"mailto:{INS}@patient.mssante.fr")))


def test_what_is_written_is_read_back() -> None:
    raw = n1_document(PDF, FULL)
    header = read_header(raw)
    assert (header.id.unique_id, header.code.code, header.title, header.version) == ("2.25.99001", "11488-4", "CR de consultation", "3")
    assert header.confidentiality.code == "R" and header.set_id == InstanceId("2.25.5") and header.replaces == (InstanceId("2.25.4"),)
    assert header.created_utc == "20260228093000" and header.encounter_id == "SEJ1" and header.language == "fr-FR"
    ins = header.patient.ins
    assert ins is not None and ins.qualified and ins.matricule == INS and header.patient.local_id == InstanceId("1.2.3.4.567", "IPP42")
    assert header.patient.citizen_address == f"{INS}@patient.mssante.fr" and header.patient.display_names == ("TESTUSAGE", "ALIX")
    assert header.body.level == "N1" and header.body.media_type == "application/pdf"
    assert readable(raw, header).content == PDF
    assert raw == n1_document(PDF, FULL), "the same octets each time"


def test_its_metadata_are_whole() -> None:
    document = cda_document(n1_document(PDF, facts()))
    entry = document_entry(document)
    assert document_findings(document) == header_findings(document.header)
    assert entry.class_code is not None and entry.format_code is not None and entry.format_code.code == "urn:ihe:iti:xds-sd:pdf:2008"
    assert entry.facility is not None and entry.practice_setting is not None and entry.legal_authenticator and entry.service_start


@pytest.mark.parametrize("given", [facts(), FULL, facts(signer=facts().author), facts(patient=replace(facts().patient, ins="", sex="U"))])
def test_the_schema_of_the_trade_takes_it(shared_dir: Path, given: Any) -> None:
    schema = etree.XMLSchema(etree.parse(str(shared_dir / "data" / "xsd" / "cda" / "CDA.xsd")))
    assert schema.validate(etree.fromstring(n1_document(PDF, given))), schema.error_log.last_error


def patient(**changes: Any) -> dict[str, Any]:
    return {"patient": replace(facts().patient, **changes)}


@pytest.mark.parametrize(("changes", "field"), [
    (patient(family_birth=""), "patient.family_birth"), (patient(given_birth=" "), "patient.given_birth"),
    (patient(ins="123"), "patient.ins"), (patient(ins_oid="1.2"), "patient.ins_oid"), (patient(sex="X"), "patient.sex"),
    (patient(ins="", local_id=None), "patient.local_id"), (patient(local_id=InstanceId("abc", "1")), "patient.local_id"),
    (patient(family_birth="A\x00B"), "patient.family_birth"), (patient(family_birth="x" * 401), "patient.family_birth"),
    (patient(telecoms=("a\nb",)), "patient.telecoms"), ({"title": ""}, "title"), ({"id": InstanceId("")}, "id"),
    ({"id": InstanceId("1." + "9" * 70)}, "id"), ({"version": 0}, "version"), ({"confidentiality": "X"}, "confidentiality"),
    ({"created": datetime(2026, 1, 1)}, "created"), ({"code": Code("", LOINC_OID)}, "code"), ({"replaces": (InstanceId("x"),)}, "replaces"),
    ({"started": datetime(2026, 1, 2, tzinfo=UTC), "stopped": datetime(2026, 1, 1, tzinfo=UTC)}, "stopped"),
    ({"author": replace(facts().author, number="")}, "author.number"), ({"author": replace(facts().author, family="\ud800")}, "author.family"),
    ({"structure": replace(facts().structure, name="")}, "structure.name")])
def test_what_is_missing_or_malformed_is_named_without_its_value(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputFault) as caught:
        n1_document(PDF, facts(**changes))
    assert caught.value.rule == "N1-FAIT" and field in caught.value.remedy
    assert not any(name in f"{caught.value}" for name in (INS, *NAMES))


@pytest.mark.parametrize("pdf", [b"", b"PK\x03\x04", b" %PDF-1.4", b"%PDF-" + bytes(MAX_PDF_BYTES)], ids=["empty", "zip", "space", "large"])
def test_only_a_pdf_of_bounded_size(pdf: bytes) -> None:
    with pytest.raises(InputFault) as caught:
        n1_document(pdf, facts())
    assert caught.value.rule == "N1-PDF"


def test_markup_in_facts_stays_text() -> None:
    raw = n1_document(PDF, facts(title="<script>&\"']]>", structure=replace(facts().structure, name="<!-- x -->")))
    header = read_header(raw)
    assert header.title == "<script>&\"']]>" and b"<script>" not in raw and base64.b64encode(PDF) in raw


@pytest.mark.parametrize("value", [None, [], {}, "x", {"created": 5}, {"patient": {"birth_date": "hier"}}, {"created": "2026-13-01T00:00:00Z"}])
def test_facts_that_are_none(value: Any) -> None:
    with pytest.raises(InputFault) as caught:
        read_facts(value)
    assert caught.value.rule == "N1-FAIT"
