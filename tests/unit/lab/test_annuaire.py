"""The lab's directory: extraction and FHIR resources."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.errors import InputFault
from mssante.lab.accounts import Account
from mssante.lab.annuaire import (
    COLUMNS,
    Search,
    build_extraction,
    extraction_row,
    fhir_resources,
    parse_search,
    search_bundle,
)
from mssante.lab.manifest import Lab
from mssante.model.mailbox import MailboxType

NOW = datetime(2026, 9, 1, 7, 30, tzinfo=UTC)
BASE = "http://127.0.0.1:20014/fhir/v2"


@pytest.fixture(scope="module")
def accounts(lab: Lab) -> list[Account]:
    return [account for operator in lab.operators for account in operator.accounts]


def test_columns_are_the_real_ones(shared_dir: Path) -> None:
    real = shared_dir / "data" / "directory" / "Extraction_Correspondance_MSSante_202609010730.txt"
    assert real.read_text(encoding="utf-8").splitlines()[0] == "|".join(COLUMNS)


def test_extraction_lists_per_and_org_but_neither_app_nor_citizens(accounts: list[Account]) -> None:
    with zipfile.ZipFile(io.BytesIO(build_extraction(accounts, NOW))) as archive:
        assert archive.namelist() == ["Extraction_Correspondance_MSSante_202609010730.txt"]
        header, *rows = archive.read(archive.namelist()[0]).decode().splitlines()
    assert len(header.split("|")) == 31
    cells = [row.split("|") for row in rows]
    assert all(len(row) == 31 for row in cells)
    addresses = {row[1]: row[0] for row in cells}
    assert addresses["claire.martin@alpha.mssante.test"] == "PER"
    assert addresses["labo.biologie@beta.mssante.test"] == "ORG"
    assert "resultats@alpha.mssante.test" not in addresses
    assert not any(address.endswith("@patient.mssante.test") for address in addresses)


def test_extraction_row_of_a_person() -> None:
    row = extraction_row(Account("a@x.test", MailboxType.PER, holder_id="899700000013", display_name="Anne EXEMPLE | X"))
    cells = dict(zip(COLUMNS, row.split("|"), strict=True))
    assert cells["Identification nationale PP"] == "899700000013" and cells["Identifiant PP"] == "99700000013"
    assert cells["Nom d'exercice"] == "EXEMPLE   X" and cells["Prénom d'exercice"] == "ANNE"


def test_same_input_same_octets(accounts: list[Account]) -> None:
    assert build_extraction(accounts, NOW) == build_extraction(accounts, NOW)


def test_person_is_found_by_exact_address(accounts: list[Account]) -> None:
    resources = fhir_resources(accounts)
    search = parse_search({"mailbox-mss:exact": "Claire.Martin@alpha.mssante.test"})
    bundle = search_bundle("Practitioner", resources["Practitioner"], search, base_url=BASE)
    assert (bundle["type"], bundle["total"]) == ("searchset", 1)
    resource = bundle["entry"][0]["resource"]
    assert resource["identifier"][0] == {"use": "official", "system": "urn:oid:1.2.250.1.71.4.2.1",
                                         "value": "899700000011"}
    telecom = resource["telecom"][0]
    assert telecom["extension"][0]["valueCoding"]["code"] == "MSSANTE"
    kinds = {one["url"]: one for one in telecom["extension"][1]["extension"]}
    assert kinds["type"]["valueCodeableConcept"]["coding"][0]["code"] == "PER"
    assert kinds["listeRouge"]["valueBoolean"] is False


def test_org_and_app_share_the_organization_of_their_structure(accounts: list[Account]) -> None:
    resources = fhir_resources(accounts)
    search = parse_search({"mailbox-mss:exact": "resultats@alpha.mssante.test"})
    found = search_bundle("Organization", resources["Organization"], search, base_url=BASE)["entry"][0]["resource"]
    assert {one["value"] for one in found["telecom"]} == {"secretariat.cardio@alpha.mssante.test",
                                                          "resultats@alpha.mssante.test"}


def test_nobody_found_is_an_empty_bundle(accounts: list[Account]) -> None:
    search = parse_search({"mailbox-mss:exact": "279035121518989@patient.mssante.test"})
    for kind, resources in fhir_resources(accounts).items():
        bundle = search_bundle(kind, resources, search, base_url=BASE)
        assert bundle["total"] == 0 and "entry" not in bundle


def test_modifiers_and_identifier(accounts: list[Account]) -> None:
    people = fhir_resources(accounts)["Practitioner"]

    def total(**fields: str) -> int:
        query = {name.replace("_", "-", 1).replace("__", ":"): value for name, value in fields.items()}
        return int(search_bundle("Practitioner", people, parse_search(query), base_url=BASE)["total"])

    assert total(mailbox_mss="paul.") == 1
    assert total(mailbox_mss__contains="user0001") == 2
    for system, count in (("urn:oid:1.2.250.1.71.4.2.1", 1), ("urn:other", 0)):
        search = parse_search({"identifier": f"{system}|899700000011"})
        assert search_bundle("Practitioner", people, search, base_url=BASE)["total"] == count


def test_pages_follow_each_other(accounts: list[Account]) -> None:
    people = fhir_resources(accounts)["Practitioner"]
    seen: list[str] = []
    offset, pages = 0, 0
    while True:
        bundle = search_bundle("Practitioner", people, Search(count=2, offset=offset), base_url=BASE)
        seen += [one["resource"]["id"] for one in bundle["entry"]]
        pages += 1
        following = [one["url"] for one in bundle["link"] if one["relation"] == "next"]
        if not following:
            break
        offset = int(following[0].rpartition("=")[2])
    assert seen == [one["id"] for one in people] and pages == (len(people) + 1) // 2


@pytest.mark.parametrize("query", [{"mailbox-mss-type": "PER"}, {"_type": "Practitioner"}, {"_count": "many"},
                                   {"_count": "999999"}, {"_page_token": "-1"}])
def test_what_the_live_server_refuses_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(InputFault) as caught:
        parse_search(query)
    assert next(iter(query)) in caught.value.public
