"""The address of a patient from an identity: what gives one, what does not, and why (F9.1, F9.6, F9.12 to F9.15)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.documents.ins import (
    OID_NIA,
    OID_NIR,
    OID_NIR_DEMO,
    OID_NIR_TEST,
    AddressPolicy,
    InsIdentity,
    address_of,
    ins_key,
    is_minor,
    matricule_findings,
    same_person,
    typed_matricule,
)

TODAY = date(2026, 11, 23)
DOMAIN = "patient.mssante.test"
ADULT = InsIdentity("279035121518989", OID_NIR, "PATTROIS", "DOMINIQUE", "19790328", "F")


def keyed(body: str) -> str:
    key = ins_key(body)
    assert key is not None
    return f"{body}{key:02d}"


CHILD = InsIdentity(keyed("2150399999001"), OID_NIR, "EXEMPLE", "LOU", "20150312", "F")
CORSE = InsIdentity(keyed("179032A121518"), OID_NIR, "EXEMPLE", "JEAN", "19790328", "M")


def rules(identity: InsIdentity, **policy: bool) -> tuple[bool, list[str], bool]:
    found = address_of(identity, DOMAIN, today=TODAY, policy=AddressPolicy(**policy))
    return found.usable, [one.rule for one in found.findings], found.minor


def test_a_qualified_identity_gives_its_address() -> None:
    found = address_of(ADULT, DOMAIN, today=TODAY)
    assert (found.address, found.also, found.findings, found.minor) == (f"279035121518989@{DOMAIN}", (), (), False)


@pytest.mark.parametrize(("identity", "usable", "wanted"), [
    (replace(ADULT, matricule="2 79 03 51 215 189 89"), True, []),
    (replace(ADULT, oid=OID_NIA), True, []),
    (replace(ADULT, oid=OID_NIR_TEST), True, ["MATRICULE-TEST"]),
    (replace(ADULT, oid=OID_NIR_DEMO), True, ["MATRICULE-TEST"]),
    (replace(ADULT, oid="1.2.250.1.213.1.4.2"), False, ["MATRICULE-OID", "MATRICULE-NON-QUALIFIE"]),
    (replace(ADULT, matricule="2790351215189"), False, ["MATRICULE-13"]),
    (replace(ADULT, matricule="279035121518988"), False, ["MATRICULE-CLE"]),
    (replace(ADULT, matricule="27903512151898X"), False, ["MATRICULE-FORME"]),
    (replace(ADULT, matricule=""), False, ["MATRICULE-FORME", "MATRICULE-NON-QUALIFIE"]),
    (replace(ADULT, birth_name=""), False, ["MATRICULE-NON-QUALIFIE"]),
    (replace(ADULT, birth_date="19790428"), True, ["MATRICULE-TRAITS"]),
    (replace(ADULT, sex="M"), True, ["MATRICULE-TRAITS"]),
])
def test_what_an_identity_gives(identity: InsIdentity, usable: bool, wanted: list[str]) -> None:
    assert rules(identity)[:2] == (usable, wanted)


def test_a_child_has_an_address_of_its_own_and_never_the_parents() -> None:
    assert rules(CHILD) == (True, [], True)
    with_parents = replace(CHILD, matricule=ADULT.matricule)
    assert rules(with_parents) == (False, ["MATRICULE-MINEUR"], True)
    assert rules(replace(with_parents, oid=OID_NIA))[0], "a NIA tells neither birth nor sex"


def test_corsica_has_two_spellings_of_one_box() -> None:
    found = address_of(CORSE, DOMAIN, today=TODAY)
    assert found.address == f"{CORSE.matricule}@{DOMAIN}" and found.also == (f"{CORSE.matricule.lower()}@{DOMAIN}",)
    assert same_person(CORSE.matricule, CORSE.matricule.lower()) and not same_person("", "")


def test_policies() -> None:
    assert rules(replace(ADULT, oid=OID_NIR_TEST), tests_allowed=False)[0] is False
    assert rules(replace(ADULT, matricule="279035121518988"), check_key=False) == (True, ["MATRICULE-CLE"], False)
    bare = InsIdentity(ADULT.matricule, OID_NIR)
    assert rules(bare) == (False, ["MATRICULE-NON-QUALIFIE"], False)
    assert rules(bare, traits_needed=False) == (True, ["MATRICULE-NON-QUALIFIE"], False)


@pytest.mark.parametrize(("birth", "minor"), [("20081123", False), ("20081124", True), ("", False), ("2015", False), ("20150231", False)])
def test_minors(birth: str, minor: bool) -> None:
    assert is_minor(birth, TODAY) is minor


def test_an_unknown_month_says_nothing_of_the_birth() -> None:
    pseudo = replace(ADULT, matricule=keyed("2792051215189"))
    assert rules(pseudo) == (True, [], False)


@given(st.text(max_size=40), st.text(max_size=30), st.text(max_size=10))
def test_never_raises_and_never_repeats_a_matricule(matricule: str, oid: str, birth: str) -> None:
    found = address_of(InsIdentity(matricule, oid, "A", "B", birth, "F"), DOMAIN, today=TODAY)
    shown = typed_matricule(matricule)
    assert all(len(shown) < 8 or shown not in one.text for one in found.findings)
    assert found.usable == (not any(one.severity.value == "error" for one in found.findings))


@given(st.text(max_size=20))
def test_findings_of_any_text(text: str) -> None:
    assert all(one.rule.startswith("MATRICULE-") for one in matricule_findings(text))
