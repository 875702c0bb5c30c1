"""What of a mailbox stands in the directory, by type, state and policy."""

from __future__ import annotations

import pytest

from mssante.directory.publication import (
    FINESS_SYSTEM,
    PERSON_SYSTEM,
    STRUCTURE_SYSTEM,
    BoxFacts,
    Carrier,
    PublicationPolicy,
    read_box,
    wanted_box,
)
from mssante.errors import InputFault
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType

FACTS = BoxFacts("CARDIOLOGIE", "Secrétariat", "899700000011", False, 1)


def box(type_: str = "ORG", state: str = "active", holder: str = "1990000013") -> Mailbox:
    return Mailbox(1, "a@x.mssante.fr", MailboxType(type_), MailboxState(state), 2, 0, holder, "Nom")


@pytest.mark.parametrize(("type_", "holder", "carrier", "system", "description", "service"), [
    ("PER", "899700000011", Carrier.PRACTITIONER, PERSON_SYSTEM, "", ""),
    ("PER", "0123456789", Carrier.PRACTITIONER, PERSON_SYSTEM, "", ""),
    ("CAB", "899700000011", Carrier.PRACTITIONER, PERSON_SYSTEM, "Secrétariat", ""),
    ("ORG", "1990000013", Carrier.ORGANIZATION, STRUCTURE_SYSTEM, "Secrétariat", "CARDIOLOGIE"),
    ("APP", "399000000100014", Carrier.ORGANIZATION, STRUCTURE_SYSTEM, "Secrétariat", "CARDIOLOGIE")])
def test_types(type_: str, holder: str, carrier: Carrier, system: str, description: str, service: str) -> None:
    wanted = wanted_box(box(type_, holder=holder), FACTS, PublicationPolicy())
    assert wanted is not None
    assert (wanted.carrier, wanted.key_system, wanted.key_value) == (carrier, system, holder)
    assert (wanted.description, wanted.service, wanted.rank, wanted.red_listed) == (description, service, 1, False)
    assert read_box(wanted.text()) == wanted


def test_the_finess_key() -> None:
    wanted = wanted_box(box(), FACTS, PublicationPolicy(structure_key="finess"))
    assert wanted is not None and (wanted.key_system, wanted.key_value) == (FINESS_SYSTEM, "990000013")
    siret = wanted_box(box(holder="399000000100014"), FACTS, PublicationPolicy(structure_key="finess"))
    assert siret is not None and siret.key_system == STRUCTURE_SYSTEM


@pytest.mark.parametrize(("state", "policy", "there", "hidden"), [
    ("provisioned", "red_list", False, False), ("published", "red_list", True, False), ("active", "red_list", True, False),
    ("suspended", "red_list", True, True), ("suspended", "withdraw", False, False), ("suspended", "keep", True, False),
    ("closed", "keep", False, False), ("purged", "keep", False, False)])
def test_states(state: str, policy: str, there: bool, hidden: bool) -> None:
    wanted = wanted_box(box(state=state), FACTS, PublicationPolicy(suspended=policy))
    assert (wanted is not None, wanted is not None and wanted.red_listed) == (there, hidden)


@pytest.mark.parametrize(("type_", "holder"), [
    ("PER", ""), ("PER", "1990000013"), ("PER", "99700000011"), ("PER", "8997000000A1"), ("ORG", ""), ("ORG", "899700000011"),
    ("APP", "990000013"), ("ORG", "1 90000013")])
def test_unfit_holders(type_: str, holder: str) -> None:
    with pytest.raises(InputFault) as caught:
        wanted_box(box(type_, holder=holder), FACTS, PublicationPolicy())
    assert caught.value.rule == "PUB-TITULAIRE" and "a@x.mssante.fr" in caught.value.remedy
    assert wanted_box(box(type_, "closed", holder), FACTS, PublicationPolicy()) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"carrier":"Nobody"}', '{"carrier":"Practitioner","x":1}'])
def test_damaged_rows(text: str) -> None:
    with pytest.raises(InputFault) as caught:
        read_box(text)
    assert caught.value.rule == "PUB-LIGNE"
    assert read_box("") is None
