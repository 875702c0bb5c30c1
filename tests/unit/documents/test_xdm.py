"""Packing, reading and checking of IHE_XDM.ZIP."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.documents.cda import read_header
from mssante.documents.findings import Severity
from mssante.documents.metadata import SenderFacts, cda_document, entry_id
from mssante.documents.subject import mss_headers
from mssante.documents.xdm import check, pack, unpack
from mssante.errors import InputFault

_NOW = datetime(2026, 11, 22, 12, 30, 5, tzinfo=UTC)
_SENDER = SenderFacts("1.2.250.1.999.1", "CABINET FICTIF", "1990000001", "899700000011", "MARTIN", "Claire",
                      postal_address="1 rue des Tilleuls, 99000 VILLE", telephone="0100000000")


def _xml(identifier: str = "1.2.3", matricule: str = "279035121518989", filler: str = "") -> bytes:
    return (f'<ClinicalDocument xmlns="urn:hl7-org:v3"><templateId root="1.2.250.1.213.1.1.1.29"/>'
            f'<id root="{identifier}"/><code code="11490-0" codeSystem="2.16.840.1.113883.6.1"/>'
            f'<title>A &amp; &lt;b&gt;</title><recordTarget><patientRole>'
            f'<id root="1.2.250.1.213.1.4.10" extension="{matricule}"/></patientRole></recordTarget>'
            f'<relatedDocument typeCode="RPLC"><parentDocument><id root="1.2.2"/></parentDocument></relatedDocument>'
            f'{filler}</ClinicalDocument>').encode()


def _repacked(raw: bytes, change: dict[str, bytes | None], rename: dict[str, str] | None = None) -> bytes:
    """Give the archive with some files replaced (None: removed, new names: added) or renamed."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        files: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    files |= change
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            if content is not None:
                archive.writestr((rename or {}).get(name, name), content)
    return buffer.getvalue()


def _errors(raw: bytes) -> list[str]:
    return [finding.rule for finding in check(unpack(raw)) if finding.severity is Severity.ERROR]


def test_french_archives_give_what_is_expected(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "xdm" / "fr"
    expected = json.loads((folder / "expected.json").read_text("utf-8"))["archives"]
    assert len(expected) == 6
    for name, facts in expected.items():
        archive = unpack((folder / name).read_bytes())
        errors = [finding.rule for finding in check(archive) if finding.severity is Severity.ERROR]
        assert (errors == []) == facts["valid"], name
        if "documents" not in facts:
            assert errors == ["XDM-METADATA"] and archive.documents == (), name
            continue
        assert facts["valid"] or errors == ["XDM-HASH"], name
        for document, wanted in zip(archive.documents, facts["documents"], strict=True):
            entry = document.entry
            assert document.content is not None
            assert (entry.uri, entry.unique_id, entry.title, entry.mime_type, len(document.content)) == (
                wanted["uri"], wanted["uniqueId"], wanted["title"], wanted["mimeType"], wanted["size"]), name
            codes = [code.code if code else None for code in (entry.type_code, entry.class_code, entry.format_code)]
            assert codes == [wanted["typeCode"], wanted["classCode"],
                             wanted["formatCode"] or "urn:asipSante:modelesHorsProfils:2011"], name
            assert entry.patient_id == (facts["patientId"] or ""), name
        headers = mss_headers([read_header(document.content or b"") for document in archive.documents])
        assert headers == {key: facts[key] for key in ("X-MSS-CODECDA", "X-MSS-INS")}, name
        submission = archive.subsets[0].submission
        assert submission is not None
        targets = [link.target for link in submission.associations if link.kind == "RPLC"]
        assert targets == ([facts["rplc_target"]] if "rplc_target" in facts else []), name


def test_american_archives_are_read(shared_dir: Path) -> None:
    files = sorted((shared_dir / "data" / "xdm" / "nist").glob("*.zip"))
    assert len(files) == 7
    for file in files:
        archive = unpack(file.read_bytes())
        assert len(archive.documents) == 1 and archive.documents[0].content is not None, file.name
        errors = [finding.rule for finding in check(archive) if finding.severity is Severity.ERROR]
        # the Direct sample names another patient in its metadata than in its document
        assert errors == (["XDM-RECORD-TARGET"] if file.name == "direct-samplexdm.zip" else []), file.name


def test_every_public_document_packs_into_a_sound_archive(shared_dir: Path) -> None:
    for file in sorted((shared_dir / "data" / "cda").glob("*.xml")):
        raw = file.read_bytes()
        archive = unpack(pack([cda_document(raw)], _SENDER, _NOW))
        assert check(archive) == [], file.name
        assert archive.documents[0].content == raw, file.name


def test_packing_is_deterministic_and_names_are_short_and_upper_case() -> None:
    documents = [cda_document(_xml("1.2.3")), cda_document(_xml("1.2.4"))]
    raw = pack(documents, _SENDER, _NOW)
    assert raw == pack(documents, _SENDER, _NOW)
    names = [member.path for member in unpack(raw).files]
    assert names == ["INDEX.HTM", "README.TXT", "IHE_XDM/SUBSET01/METADATA.XML", "IHE_XDM/SUBSET01/DOC0001.XML",
                     "IHE_XDM/SUBSET01/DOC0002.XML"]
    for name in names:
        assert all(re.fullmatch(r"[A-Z0-9_]{1,8}(\.[A-Z0-9_]{1,3})?", part) for part in name.split("/"))


def test_the_pages_for_people_hold_what_they_must() -> None:
    files = {member.path: member.content.decode() for member in unpack(pack([cda_document(_xml())], _SENDER, _NOW)).files}
    assert 'href="IHE_XDM/SUBSET01/DOC0001.XML">A &amp; &lt;b&gt;</a>' in files["INDEX.HTM"]
    readme = files["README.TXT"]
    assert "Claire MARTIN, CABINET FICTIF, 1 rue des Tilleuls, 99000 VILLE, 0100000000" in readme
    assert "INDEX.HTM" in readme and readme.endswith("\r\n")


def test_a_replacement_names_the_entry_of_the_document_it_replaces() -> None:
    first = unpack(pack([cda_document(_xml("1.2.2"))], _SENDER, _NOW)).documents[0].entry
    submission = unpack(pack([cda_document(_xml("1.2.3"))], _SENDER, _NOW)).subsets[0].submission
    assert submission is not None
    assert [link.target for link in submission.associations if link.kind == "RPLC"] == [first.entry_id]
    assert first.entry_id == entry_id("1.2.2")


def test_very_regular_documents_are_stored_so_that_readers_accept_them() -> None:
    raw = _xml(filler="<!--" + " " * 2_000_000 + "-->")
    assert check(unpack(pack([cda_document(raw)], _SENDER, _NOW))) == []


@pytest.mark.parametrize(("documents", "rule"), [
    ([], "XDM-COUNT"), ([_xml()] * 101, "XDM-COUNT"), ([_xml("1.1"), _xml("1.2", "162018885045327")], "XDM-PATIENT"),
])
def test_what_cannot_be_packed(documents: list[bytes], rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        pack([cda_document(raw) for raw in documents], _SENDER, _NOW)
    assert caught.value.rule == rule


_ONE = pack([cda_document(_xml())], _SENDER, _NOW)
_META = "IHE_XDM/SUBSET01/METADATA.XML"
_DOC = "IHE_XDM/SUBSET01/DOC0001.XML"
_META_RAW = next(member.content for member in unpack(_ONE).files if member.path == _META)


@pytest.mark.parametrize(("change", "rules"), [
    ({_DOC: _xml() + b" "}, ["XDM-HASH", "XDM-SIZE"]),
    ({_DOC: _xml().replace(b'"1.2.2"', b'"1.2.9"')}, ["XDM-HASH"]),
    ({_DOC: None}, ["XDM-FILE"]),
    ({_META: None}, ["XDM-METADATA"]),
    ({_META: b"<a/>"}, ["XDS-ROOT"]),
    ({_META: b"<!DOCTYPE a><a/>"}, ["XML-DTD"]),
    ({_META: b"<SubmitObjectsRequest/>"}, ["XDM-METADATA"]),
    ({"IHE_XDM/SUBSET01/SUB/metadata.xml": _META_RAW}, ["XDM-METADATA"]),
    ({"IHE_XDM/SUBSET02/DOC0001.XML": b"x"}, ["XDM-METADATA"]),
    ({_META: _META_RAW.replace(b"279035121518989", b"162018885045327")}, ["XDM-RECORD-TARGET"]),
    ({_META: _META_RAW.replace(b'value="279035121518989^', b'value="162018885045327^', 1)}, ["XDM-PATIENT"]),
    ({_META: None, _DOC: None}, ["XDM-SUBSET"]),
])
def test_faults_are_found(change: dict[str, bytes | None], rules: list[str]) -> None:
    assert _errors(_repacked(_ONE, change)) == rules


def test_a_document_announced_twice_is_read_once() -> None:
    text = _META_RAW.decode()
    entry = re.search(r"<rim:ExtrinsicObject .*?</rim:ExtrinsicObject>", text, re.DOTALL)
    assert entry is not None
    many = text.replace(entry.group(), entry.group() * 300).encode()
    assert set(_errors(_repacked(_ONE, {_META: many}))) == {"XDM-DUPLICATE"}


def test_type_and_identifier_are_compared_as_warnings() -> None:
    changed = _META_RAW.replace(b"11490-0", b"11488-4").replace(b'value="1.2.3"', b'value="1.2.7"')
    findings = check(unpack(_repacked(_ONE, {_META: changed})))
    assert [(finding.rule, finding.severity) for finding in findings] == [
        ("XDM-TYPE", Severity.WARNING), ("XDM-UNIQUE-ID", Severity.WARNING)]


@pytest.mark.parametrize("names", [
    {_META: "IHE_XDM/SS000001/METADATA.XML", _DOC: "IHE_XDM/SS000001/DOC0001.XML"},
    {_META: "ihe_xdm/subset01/metadata.xml", _DOC: "ihe_xdm/subset01/doc0001.xml"},
    {_META: "top/IHE_XDM/SUBSET01/METADATA.xml", _DOC: "top/IHE_XDM/SUBSET01/Doc0001.xml"},
])
def test_names_of_the_field_are_read(names: dict[str, str]) -> None:
    assert check(unpack(_repacked(_ONE, {}, names))) == []


@pytest.mark.parametrize("slot", [b"SUBSET01/DOC0001.XML", b"doc0001.xml", b""])
def test_a_document_is_found_by_folder_case_or_hash(slot: bytes) -> None:
    changed = _META_RAW.replace(b">DOC0001.XML<", b">" + slot + b"<")
    assert _errors(_repacked(_ONE, {_META: changed})) == []


def test_no_finding_and_no_fault_carries_an_identity() -> None:
    raw = _repacked(_ONE, {_META: _META_RAW.replace(b"279035121518989", b"162018885045327"), _DOC: _xml() + b" "})
    said = repr(check(unpack(raw)))
    assert "162018885045327" not in said and "279035121518989" not in said


def test_a_sender_without_a_person_is_an_institution() -> None:
    sender = replace(_SENDER, professional_id="", family="", given="")
    submission = unpack(pack([cda_document(_xml())], sender, _NOW)).subsets[0].submission
    assert submission is not None and submission.authors[0].person == ""
    assert submission.authors[0].institutions == ("CABINET FICTIF^^^^^&1.2.250.1.71.4.2.2&ISO^IDNST^^^1990000001",)
