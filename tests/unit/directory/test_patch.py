"""FHIR Patch: what is written turns one entry into another when applied; the ANS bodies and our cases apply; the rest is refused."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mssante.directory.patch import METADATA, PatchRefused, apply_patch, changes, contact_point, parameters, quoted
from mssante.directory.publication import Carrier, PublishedBox

BOX = PublishedBox("cardio@x.mssante.fr", "ORG", Carrier.ORGANIZATION, "urn:oid:1.2.250.1.71.4.2.2", "1990000013",
                   "Secrétariat", "CARDIOLOGIE", "", False, 2)
OTHER = {"system": "phone", "value": "0100000002"}


def organization(*boxes: PublishedBox) -> dict[str, Any]:
    return {"resourceType": "Organization", "id": "o1", "name": "H", "telecom": [*map(contact_point, boxes), OTHER]}


VARIANTS = [BOX, replace(BOX, red_listed=True), replace(BOX, description="Autre"), replace(BOX, description="", service=""),
            replace(BOX, rank=0), replace(BOX, rank=1, service="URGENCES", red_listed=True), replace(BOX, responsible="8997"),
            replace(BOX, address="new@x.mssante.fr"), replace(BOX, address="o'hara\\x@x.mssante.fr")]


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations([*VARIANTS, None], 2), (BOX, BOX), (None, None)])
def test_what_is_written_gives_what_is_wanted(before: PublishedBox | None, after: PublishedBox | None) -> None:
    resource = organization(*([before] if before else []))
    kept = copy.deepcopy(resource)
    operations = changes(before, after)
    if before == after:
        assert operations == ()
        return
    result = apply_patch(resource, json.loads(json.dumps(parameters(operations))))
    expected = [contact_point(after)] if after else []
    assert [one for one in result["telecom"] if one != OTHER] == expected
    assert OTHER in result["telecom"] and resource == kept and result["name"] == "H"


def test_one_datum_keeps_what_we_do_not_know() -> None:
    resource = organization(BOX)
    resource["telecom"][0]["extension"][1]["extension"].append({"url": "digitization", "valueBoolean": True})
    result = apply_patch(resource, parameters(changes(BOX, replace(BOX, red_listed=True, service="URGENCES", rank=1))))
    names = {one["url"]: one for one in result["telecom"][0]["extension"][1]["extension"]}
    assert names["digitization"]["valueBoolean"] is True and names["listeRouge"]["valueBoolean"] is True
    assert names["service"]["valueString"] == "URGENCES" and result["telecom"][0]["rank"] == 1


@pytest.mark.parametrize("address", ["a'b@x.fr", "a\\'b@x.fr", "a') or ('1'='1@x.fr", "é@x.fr"])
def test_an_address_never_leaves_its_quotes(address: str) -> None:
    box = replace(BOX, address=address)
    result = apply_patch(organization(box, BOX), parameters(changes(box, None)))
    assert [one["value"] for one in result["telecom"]] == [BOX.address, OTHER["value"]]


def patch(kind: str, path: object, value: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    parts: list[Any] = [{"name": "type", "valueCode": kind}, {"name": "path", "valueString": path}]
    if value is not None:
        parts.append({"name": "value", **value})
    parts += [{"name": name, "valueInteger": number} for name, number in more.items()]
    return {"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}


WHERE = f"Organization.telecom.where(value = {quoted(BOX.address)})"
DATUM = f"{WHERE}.extension({quoted(METADATA)}).extension"
POINT = contact_point(BOX)


@pytest.mark.parametrize(("body", "status"), [
    (None, 400), ([], 400), ({"resourceType": "Patient", "parameter": []}, 400),
    ({"resourceType": "Parameters", "parameter": []}, 400), ({"resourceType": "Parameters", "parameter": [3]}, 400),
    ({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [3]}]}, 400),
    ({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [{"name": "type"}]}]}, 400),
    (patch("delete", "Organization.name"), 400), (patch("delete", "Organization.telecom"), 400),
    (patch("delete", f"Practitioner.telecom.where(value = {quoted(BOX.address)})"), 400),
    (patch("delete", f"{WHERE}.rank"), 400), (patch("delete", WHERE + " | Organization.identifier"), 400),
    (patch("delete", "x" * 5000), 400), (patch("delete", 7), 400),
    (patch("delete", "Organization.telecom.where(value = 'nobody@x.fr')"), 422),
    (patch("move", WHERE), 400), (patch("insert", WHERE, {"valueContactPoint": POINT}), 400),
    (patch("insert", "Organization.telecom", {"valueString": "x"}), 400),
    (patch("insert", "Organization.telecom", {"valueContactPoint": {"system": "email"}}), 400),
    (patch("insert", "Organization.telecom", {"valueContactPoint": POINT}), 422),
    (patch("insert", "Organization.telecom", {"valueContactPoint": {**POINT, "value": "n@x.fr"}}, index=9), 400),
    (patch("replace", WHERE, {"valueContactPoint": {**POINT, "value": "n@x.fr"}}), 400),
    (patch("replace", WHERE, {"valueContactPoint": contact_point(replace(BOX, type="APP"))}), 400),
    (patch("replace", WHERE, {"valueString": "n"}), 400),
    (patch("replace", f"{WHERE}.rank", {"valueInteger": 0}), 400), (patch("replace", f"{WHERE}.rank", {"valueInteger": True}), 400),
    (patch("replace", f"{WHERE}.value", {"valueString": "n@x.fr"}), 400),
    (patch("replace", f"{DATUM}('type').value", {"valueString": "APP"}), 400),
    (patch("replace", f"{DATUM}('listeRouge').value", {"valueString": "true"}), 400),
    (patch("replace", f"{DATUM}('responsible').value", {"valueString": "x"}), 422),
    (patch("replace", f"{WHERE}.extension('urn:x').extension('listeRouge').value", {"valueBoolean": True}), 400),
])
def test_refused_bodies(body: object, status: int) -> None:
    resource = organization(BOX)
    kept = copy.deepcopy(resource)
    with pytest.raises(PatchRefused) as caught:
        apply_patch(resource, body)
    assert caught.value.status == status and resource == kept


def test_all_or_none() -> None:
    good, bad = parameters(changes(BOX, replace(BOX, red_listed=True))), patch("delete", "Organization.name")
    with pytest.raises(PatchRefused):
        apply_patch(organization(BOX), {"resourceType": "Parameters", "parameter": good["parameter"] + bad["parameter"]})


def test_too_many_operations() -> None:
    one = parameters(changes(BOX, replace(BOX, red_listed=True)))["parameter"]
    with pytest.raises(PatchRefused):
        apply_patch(organization(BOX), {"resourceType": "Parameters", "parameter": one * 101})


def test_the_cases_of_the_guide(shared_dir: Path) -> None:
    cases = json.loads((shared_dir / "data/fhir/patch-cases.json").read_text())["cases"]
    applied = 0
    for case in cases:
        if case.get("expect_status") == 200:
            assert apply_patch(case["before"], case["patch"])["telecom"] == case["after_telecom"], case["name"]
            applied += 1
    assert applied >= 4


def test_the_forty_bodies_of_ans(shared_dir: Path) -> None:
    """Each applies to a resource that has what it names."""
    bodies = sorted((shared_dir / "data/fhir/ans-mss/patch-examples").glob("*.json"))
    for body in bodies:
        kind = body.name.split("_")[0]
        document = json.loads(body.read_text())
        address = "structure@domain.mssante.fr" if kind == "Organization" else "prenom.nom@domain.mssante.fr"
        entries = []
        if "insert" not in body.name:
            type_ = next((one for one in ("CAB", "PER") if f"BAL{one}" in body.name or one in body.name), "ORG")
            type_ = {"Organization": "ORG"}.get(kind, type_ if type_ != "ORG" else "PER")
            for operation in document["parameter"]:
                for part in operation["part"]:
                    for extension in part.get("valueContactPoint", {}).get("extension", ()):
                        for child in extension.get("extension", ()):
                            if child["url"] == "type":
                                type_ = child.get("valueCode") or child["valueCodeableConcept"]["coding"][0]["code"]
            entries = [contact_point(replace(BOX, address=address, type=type_, rank=3))]
        result = apply_patch({"resourceType": kind, "telecom": entries}, document)
        assert [one["value"] for one in result["telecom"]] == ([] if "delete" in body.name else [address]), body.name
    assert len(bodies) == 40
