"""Headers of the public CDA examples, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mssante.documents.cda import CdaHeader, InstanceId, Organisation, header_findings, read_header
from mssante.documents.codes import Code
from mssante.errors import InputFault


def _none(text: str | None) -> str | None:
    return text or None


def _id(item: InstanceId | None) -> dict[str, Any] | None:
    return None if item is None else {"root": item.root, "extension": _none(item.extension)}


def _code(code: Code | None) -> list[Any] | None:
    return None if code is None else [_none(code.code), _none(code.scheme), _none(code.label)]


def _organisation(organisation: Organisation | None) -> dict[str, Any] | None:
    return None if organisation is None else {"ids": [_id(item) for item in organisation.ids],
                                              "name": _none(organisation.name)}


def _patient(header: CdaHeader) -> dict[str, Any]:
    patient = header.patient
    return {
        "ids": [_id(item) for item in patient.ids], "family_BR": _none(patient.family_birth),
        "family_CL": _none(patient.family_used), "family_SP": _none(patient.family_spouse),
        "family_unqualified": _none(patient.family_plain), "given_BR": _none(patient.given_birth),
        "given_CL": _none(patient.given_used), "given_unqualified": _none(patient.given_plain),
        "birthTime": _none(patient.birth_time), "gender": _none(patient.sex),
        "birthplace_county": _none(patient.birth_place), "telecom": list(patient.telecom),
        "citizen_mailbox": _none(patient.citizen_address)}


def _shape(header: CdaHeader) -> dict[str, Any]:
    signer = header.legal_authenticator
    return {
        "templateId": list(header.template_ids), "id": _id(header.id), "setId": _id(header.set_id),
        "versionNumber": _none(header.version),
        "code": {"code": header.code.code, "codeSystem": header.code.scheme, "displayName": header.code.label},
        "title": _none(header.title), "effectiveTime": _none(header.effective_time),
        "confidentiality": _none(header.confidentiality.code), "languageCode": _none(header.language),
        "patient": _patient(header),
        "authors": [{
            "ids": [_id(item) for item in author.ids],
            "name": None if author.name is None else [list(part) for part in author.name.parts],
            "code": _code(author.code),
            "function": None if author.function is None else [author.function.code, _none(author.function.label)],
            "device": None if author.device is None else [_none(author.device.model), _none(author.device.software)],
            "organization": _organisation(author.organisation)} for author in header.authors],
        "custodian": _organisation(header.custodian),
        "legalAuthenticator": None if signer is None else {
            "time": _none(signer.time), "ids": [_id(item) for item in signer.ids],
            "name": [list(part) for part in signer.name.parts]},
        "serviceEvents": [{"code": _code(event.code), "low": _none(event.low), "high": _none(event.high),
                           "standardIndustryClassCode": _code(event.practice_setting)}
                          for event in header.service_events],
        "healthCareFacility": _code(header.facility), "informationRecipients": header.recipients,
        "replaces": [_id(item) for item in header.replaces]}


def test_every_public_header_is_read_as_expected(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "cda"
    expected = json.loads((folder / "expected-headers.json").read_text("utf-8"))["documents"]
    assert len(expected) == len(list(folder.glob("*.xml"))) == 23
    for name, facts in expected.items():
        header = read_header((folder / name).read_bytes())
        body = header.body
        assert _shape(header) == facts["header"], name
        assert (body.level, body.media_type, list(body.embedded_media), body.self_rendering, body.stylesheet_pi) == (
            facts["body"], facts["body_media"], facts["embedded_base64_media"], facts["self_rendering_xslt_root"],
            facts["stylesheet_pi"]), name
        ins = header.patient.ins
        assert ins is not None and [ins.key_ok] == facts["checks"]["ins_control_key_ok"], name
        said = [text if not text.startswith("INS") else "INS control key is wrong"
                for text in facts["checks"]["warnings"] if "formatCode" not in text]
        assert [finding.text for finding in header_findings(header)] == said, name


def test_altered_headers(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "cda-altered"
    expected = json.loads((folder / "expected.json").read_text("utf-8"))["documents"]
    assert len(expected) == 4
    for name, facts in expected.items():
        header = read_header((folder / name).read_bytes())
        assert _patient(header) == facts["patient"], name
        assert header.created_utc == facts["xds"]["creationTime"], name
        assert header.id.unique_id == facts["xds"]["uniqueId"], name


def _cda(inner: str, body: str = "") -> bytes:
    return (f'<ClinicalDocument xmlns="urn:hl7-org:v3"><id root="1.2.3"/><code code="11490-0" codeSystem="s"/>{inner}'
            f'<component>{body}</component></ClinicalDocument>').encode()


_PATIENT = ('<recordTarget><patientRole><id root="1.2.250.1.213.1.4.10" extension="279035121518989"/>'
            '</patientRole></recordTarget>')


def test_a_bare_header_gives_empty_values() -> None:
    header = read_header(_cda(_PATIENT))
    assert (header.title, header.authors, header.custodian, header.body.level) == ("", (), None, "")
    assert header.main_event is None and header.patient.display_names == ("", "")
    assert header.patient.ins is not None and not header.patient.ins.qualified


def test_the_level_is_decided_by_the_body_not_by_the_template() -> None:
    lab = '<templateId root="1.3.6.1.4.1.19376.1.3.3"/>'
    header = read_header(_cda(lab + _PATIENT, '<nonXMLBody><text mediaType="application/pdf">x</text></nonXMLBody>'))
    assert (header.body.level, header.body.media_type) == ("N1", "application/pdf")


def test_lists_and_texts_are_bounded() -> None:
    events = '<documentationOf><serviceEvent><code code="1"/></serviceEvent></documentationOf>' * 500
    header = read_header(_cda(f"<title>{'t' * 100_000}</title>{_PATIENT}{events}"))
    assert len(header.title) == 4096 and len(header.service_events) == 100


def test_older_documents_write_the_used_name_with_sp() -> None:
    named = _PATIENT.replace("</patientRole>", '<patient><name><family qualifier="BR">A</family>'
                             '<family qualifier="SP">B</family></name></patient></patientRole>')
    assert read_header(_cda(named)).patient.display_names[0] == "B"


@pytest.mark.parametrize(("raw", "rule"), [
    (b"", "XML-SYNTAX"), (b"<a", "XML-SYNTAX"), (b"<html/>", "CDA-ROOT"),
    (b'<ClinicalDocument xmlns="urn:other"/>', "CDA-ROOT"),
    (b'<wrap xmlns="urn:x"><ClinicalDocument xmlns="urn:hl7-org:v3"/></wrap>', "CDA-ROOT"),
    (b'<ClinicalDocument xmlns="urn:hl7-org:v3"/>', "CDA-PATIENT"),
    (_cda(_PATIENT).replace(b'<id root="1.2.3"/>', b""), "CDA-ID"),
    (_cda(_PATIENT).replace(b'code="11490-0"', b""), "CDA-CODE"),
    (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "XML-DTD"),
    ((b"<a>" * 200) + (b"</a>" * 200), "XML-LIMIT"),
    (b"<a>" + b"<b/>" * 600_000 + b"</a>", "XML-LIMIT"),
])
def test_what_is_no_cda_is_refused(raw: bytes, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        read_header(raw)
    assert caught.value.rule == rule
