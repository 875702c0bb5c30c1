"""FHIR answers of the directory: every ANS example, the contradictions of the guide, hostile documents."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mssante.directory.fhir import (
    CERTIFICATE,
    EMAIL_TYPE,
    MAX_BOXES,
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_OCTETS,
    METADATA,
    FhirFault,
    FhirMailbox,
    parse_json,
    read_outcome,
    read_page,
)
from mssante.directory.values import Source

R256 = "https://mos.esante.gouv.fr/NOS/TRE_R256-TypeMessagerie/FHIR/TRE-R256-TypeMessagerie"
R257 = "https://mos.esante.gouv.fr/NOS/TRE_R257-TypeBAL/FHIR/TRE-R257-TypeBAL"
MARKER = {"url": EMAIL_TYPE, "valueCoding": {"system": R256, "code": "MSSANTE"}}


def telecom(address: object = "a.b@c.mssante.fr", *extensions: Any, **more: Any) -> dict[str, Any]:
    return {"system": "email", "value": address, "extension": list(extensions) or [MARKER], **more}


def metadata(**children: Any) -> dict[str, Any]:
    return {"url": METADATA, "extension": [{"url": name, **child} for name, child in children.items()]}


def practitioner(*boxes: Any, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Practitioner", "id": "p1", "telecom": list(boxes), **more}


def read(document: object) -> list[FhirMailbox]:
    return list(read_page(json.dumps(document).encode()).mailboxes)


def _row(one: FhirMailbox) -> dict[str, Any]:
    entry, extras = one.entry, dict(one.extras)
    return {"address": entry.address, "type": one.type or None, "rank": entry.rank or None, "listeRouge": entry.red_listed,
            "description": entry.description or None, "responsible": one.responsible or None,
            "digitization": extras.get("digitization")}


def test_the_mailboxes_of_every_example_are_those_expected(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "fhir"
    expected = json.loads((folder / "expected-mailboxes.json").read_bytes())["resources"]
    read_ones = 0
    for name, wanted in expected.items():
        found = read_page((folder / name).read_bytes()).mailboxes
        by_resource: dict[str, list[Any]] = {}
        for one in found:
            by_resource.setdefault(one.resource, []).append({**_row(one), "service": one.entry.service or None})
        rows = [row for listed in by_resource.values() for row in listed]
        assert (by_resource if isinstance(wanted, dict) else rows) == wanted, name
        read_ones += 1
    assert read_ones == len(expected) > 10


def test_every_resource_of_the_shared_folder_is_read_or_refused_by_name(shared_dir: Path) -> None:
    for path in sorted((shared_dir / "data" / "fhir").rglob("*.json")):
        try:
            read_page(path.read_bytes())
        except FhirFault as fault:
            assert fault.rule in ("FHIR-RESSOURCE", "FHIR-REFUS"), path.name


@pytest.mark.parametrize(("child", "told"), [
    ({"valueCode": "APP"}, "APP"), ({"valueString": "org"}, "ORG"), ({"valueCoding": {"system": R256, "code": "CAB"}}, "CAB"),
    ({"valueCodeableConcept": {"coding": [{"system": R257, "code": "PER"}]}}, "PER"),
    ({"valueCodeableConcept": {"coding": [{"system": "urn:x", "code": "?"}, {"system": R256, "code": "ORG"}]}}, "ORG"),
    ({"valueCodeableConcept": {"coding": {"system": R257, "code": "PER"}}}, "PER"),
    ({"valueCode": "XYZ"}, ""), ({"valueCode": "PER", "valueString": "ORG"}, ""), ({"valueCode": 3}, ""), ({}, ""),
])
def test_the_type_is_read_in_all_its_forms(child: dict[str, Any], told: str) -> None:
    (box,) = read(practitioner(telecom("a@b.mssante.fr", metadata(type=child))))
    assert box.type == told and box.entry.type == (told or "PER")


def test_marker_or_metadata_make_a_mailbox_and_nothing_else_does() -> None:
    other = {"url": EMAIL_TYPE, "valueCoding": {"system": R256, "code": "APICRYPT"}}
    document = practitioner(
        telecom("marker@x.mssante.fr", MARKER), telecom("Meta@X.mssante.fr", metadata()), telecom("other@x.mssante.fr", other),
        {"system": "email", "value": "contact@x.mssante.fr"}, {"system": "phone", "value": "0102030405", "extension": [MARKER]})
    page = read_page(json.dumps(document).encode())
    assert [one.entry.address for one in page.mailboxes] == ["marker@x.mssante.fr", "meta@x.mssante.fr"]
    assert page.contacts == 2


def test_what_nobody_describes_is_kept_aside_and_a_red_list_is_told() -> None:
    box = telecom("a@b.mssante.fr", metadata(listeRouge={"valueBoolean": True}, digitization={"valueBoolean": True},
                                             novel={"valueString": "x\r\ny"}, responsible={"valueString": "R"}), rank=2)
    (found,) = read(practitioner(box))
    assert found.entry.red_listed is True and found.entry.rank == 2 and found.entry.dematerialised is True
    assert found.extras == (("digitization", True), ("novel", "x y")) and found.responsible == "R"


def test_a_role_takes_its_person_and_structure_from_the_same_answer() -> None:
    person = {"resourceType": "Practitioner", "id": "p", "name": [{"family": "EXEMPLE", "given": ["Alice"], "prefix": ["DR"]}],
              "identifier": [{"system": "https://rpps.esante.gouv.fr", "value": "99900000001"}],
              "qualification": [{"code": {"coding": [{"system": "x/TRE_G15-ProfessionSante/y", "code": "10", "display": "Médecin"}]}}]}
    house = {"resourceType": "Organization", "id": "o", "name": "HOPITAL FICTIF",
             "identifier": [{"system": "https://finess.esante.gouv.fr", "value": "990000010"}],
             "address": [{"line": ["1 RUE"], "city": "VILLE", "postalCode": "97110"}]}
    role = {"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "Practitioner/p"},
            "organization": {"reference": "https://h/fhir/v2/Organization/o"}, "telecom": [telecom()]}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": one} for one in (role, person, house)]}
    (box,) = read(bundle)
    entry = box.entry
    assert (entry.holder_id, entry.family_name, entry.title, entry.profession_code) == ("899900000001", "EXEMPLE", "DR", "10")
    assert (entry.structure_id, entry.structure_name, entry.department) == ("1990000010", "HOPITAL FICTIF", "971")
    assert entry.source is Source.FHIR and box.resource == "PractitionerRole/r"
    contained = {**role, "practitioner": {"reference": "#p"}, "organization": {"identifier": {
        "system": "urn:oid:1.2.250.1.71.4.2.2", "value": "1990000010"}, "display": "AILLEURS"}, "contained": [person]}
    (box,) = read(contained)
    assert (box.entry.family_name, box.entry.structure_id, box.entry.structure_name) == ("EXEMPLE", "1990000010", "AILLEURS")


@pytest.mark.parametrize("form", ["der", "hex-in-base64", "hex", "pem"])
def test_certificates_are_read_in_the_forms_of_their_page(form: str) -> None:
    der = b"\x30\x82\x01\x00" + bytes(range(256))
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"
    data = {"der": base64.b64encode(der), "hex-in-base64": base64.b64encode(der.hex().encode()), "hex": der.hex().encode(),
            "pem": base64.b64encode(pem)}[form].decode()
    extension = {"url": CERTIFICATE, "extension": [{"url": "value", "valueAttachment": {"data": data}}]}
    (box,) = read({"resourceType": "Organization", "extension": [extension], "telecom": [telecom()]})
    assert box.certificates == (der,)


@pytest.mark.parametrize("data", ["", "zz", 7, None, "QUJD", "A" * 100_000])
def test_what_is_no_certificate_is_left_out(data: object) -> None:
    extension = {"url": CERTIFICATE, "extension": [{"url": "value", "valueAttachment": {"data": data}}]}
    (box,) = read(practitioner(telecom(), extension=[extension]))
    assert box.certificates == ()


HOSTILE = {
    "empty": (b"", "FHIR-JSON"), "html": (b"<html>", "FHIR-JSON"), "list": (b"[]", "FHIR-JSON"), "latin1": (b'{"a":"\xe9"}', "FHIR-JSON"),
    "nan": (b'{"a":NaN}', "FHIR-JSON"), "digits": (b'{"a":' + b"9" * 9000 + b"}", "FHIR-JSON"),
    "double": (b'{"resourceType":"Practitioner","resourceType":"Bundle"}', "FHIR-CLE-DOUBLE"),
    "double-deep": (b'{"resourceType":"Practitioner","telecom":[{"value":"a","value":"b"}]}', "FHIR-CLE-DOUBLE"),
    "huge": (b'{"a":"' + b"x" * MAX_OCTETS + b'"}', "FHIR-TAILLE"), "deep": (b'{"a":' + b"[" * 100_000, "FHIR-PROFONDEUR"),
    "deep-objects": (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "FHIR-PROFONDEUR"),
    "backslashes": (b'{"a":' + b'\\"' * 500_000, "FHIR-JSON"), "unclosed": (b'{"a":"' + b'\\"' * 500_000, "FHIR-JSON"),
    "kind": (b'{"resourceType":"Patient"}', "FHIR-RESSOURCE"), "kind-object": (b'{"resourceType":{}}', "FHIR-RESSOURCE"),
    "no-kind": (b"{}", "FHIR-RESSOURCE"), "entry-object": (b'{"resourceType":"Bundle","entry":{}}', "FHIR-RESSOURCE"),
    "entries": (b'{"resourceType":"Bundle","entry":[' + b",".join([b"{}"] * (MAX_ENTRIES + 1)) + b"]}", "FHIR-NOMBRE"),
    "outcome": (b'{"resourceType":"OperationOutcome","issue":[{"code":"invalid"}]}', "FHIR-REFUS"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_gets_a_typed_error(name: str) -> None:
    body, rule = HOSTILE[name]
    with pytest.raises(FhirFault) as caught:
        read_page(body)
    assert caught.value.rule == rule and len(str(caught.value)) < 700


@pytest.mark.parametrize("value", [None, 3, 1.5, True, "x", [], [[]], [None], {}, {"x": {"y": []}}, "x" * 100_000])
@pytest.mark.parametrize("where", [
    "identifier", "name", "telecom", "extension", "contained", "meta", "qualification", "active", "id", "practitioner", "organization",
    "address", "code", "specialty", "alias"])
def test_a_wrong_type_anywhere_in_a_resource_breaks_nothing(where: str, value: object) -> None:
    for kind in ("Practitioner", "PractitionerRole", "Organization"):
        good = {"resourceType": kind, "telecom": [telecom()]}
        found = read({"resourceType": "Bundle", "entry": [{"resource": {**good, where: value}}, {"resource": good}]})
        assert found[-1].entry.address == "a.b@c.mssante.fr"
        assert len(repr(found[0])) < 3000


@pytest.mark.parametrize("value", [None, 3, True, "x", [], [None], {}, {"coding": 3}, {"coding": [3]}, "x" * 100_000])
@pytest.mark.parametrize("where", ["value", "extension", "rank", "marker", "metadata", "type", "listeRouge", "description"])
def test_a_wrong_type_anywhere_in_a_mailbox_leaves_its_neighbour(where: str, value: object) -> None:
    box: dict[str, Any] = telecom("w@x.mssante.fr", MARKER, metadata(type={"valueCode": "PER"}))
    if where == "marker":
        box["extension"][0] = {"url": EMAIL_TYPE, "valueCoding": value}
    elif where == "metadata":
        box["extension"][1] = {"url": METADATA, "extension": value}
    elif where in ("type", "listeRouge", "description"):
        box["extension"][1] = metadata(**{where: {"valueX": value}})
    else:
        box[where] = value
    found = read(practitioner(box, telecom()))
    assert found[-1].entry.address == "a.b@c.mssante.fr"
    assert all(isinstance(one.entry.red_listed, bool | None) and isinstance(one.entry.rank, int) for one in found)


@pytest.mark.parametrize("address", ["", "a", "a@b", "a@b.fr\r\nX: y", "a b@c.fr", "a@" + "x" * 300 + ".fr", "<a@b.fr>", "é@b.fr", 3, None])
def test_an_address_of_no_use_is_left_out_and_counted(address: object) -> None:
    page = read_page(json.dumps(practitioner(telecom(address))).encode())
    assert page.mailboxes == () and page.left_out == 1


def test_a_resource_gives_so_many_boxes_and_no_more() -> None:
    page = read_page(json.dumps(practitioner(*[telecom(f"a{i}@b.mssante.fr") for i in range(MAX_BOXES + 50)])).encode())
    assert len(page.mailboxes) == MAX_BOXES


@pytest.mark.parametrize(("link", "wanted"), [
    ([{"relation": "self", "url": "s"}, {"relation": "next", "url": "https://h/x"}], "https://h/x"), ([], ""), (3, ""),
    ([{"relation": "next", "url": 3}], ""), ([{"relation": "next", "url": "h" * 5000}], ""), ([{"relation": "next"}], "")])
def test_the_next_link_is_given_as_told(link: object, wanted: str) -> None:
    page = read_page(json.dumps({"resourceType": "Bundle", "link": link, "total": 3, "entry": []}).encode())
    assert page.next == wanted and page.total == 3


def test_an_outcome_is_decoded_and_bounded() -> None:
    told = read_outcome(parse_json(json.dumps({"issue": [{"code": "invalid", "details": {"text": "a\nb" + "x" * 900}}]}).encode()))
    assert told.code == "invalid" and told.text.startswith("a b") and len(told.text) == 200
    assert read_outcome({"issue": "x"}).code == ""
