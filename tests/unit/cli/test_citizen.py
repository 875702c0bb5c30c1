"""`citizen address|code|exchanges`."""

from __future__ import annotations

from importlib.resources import files

import pytest
from support.clispace import DOMAIN, Outcome, Space

MATRICULE = "279035121518989"


def address(space: Space, *words: str) -> Outcome:
    return space.run("citizen", "address", *words, config=False)


def test_address_from_what_is_typed(space: Space) -> None:
    made = address(space, "--matricule", "2 79 03 51 215 189 89", "--json")
    assert made.code == 0 and made.json["address"] == f"{MATRICULE}@patient.mssante.fr" and made.json["usable"]
    assert [one["rule"] for one in made.json["findings"]] == ["MATRICULE-NON-QUALIFIE"]
    full = ["--birth-name", "A", "--given", "B", "--birth-date", "19790328", "--sex", "F"]
    assert address(space, "--matricule", MATRICULE, *full, "--json").json["findings"] == []
    child = address(space, "--matricule", MATRICULE, *full[:4], "--birth-date", "20200101", "--sex", "F")
    assert child.code == 3 and "MATRICULE-MINEUR" in child.out and "pas d'adresse" in child.out


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["--matricule", MATRICULE[:13]], 3, "MATRICULE-13"), (["--matricule", "279035121518988"], 3, "MATRICULE-CLE"),
    (["--matricule", MATRICULE, "--oid", "1.2.3"], 3, "MATRICULE-OID"),
    (["--matricule", MATRICULE, "--oid", "1.2.250.1.213.1.4.10", "--production"], 3, "MATRICULE-TEST"),
    (["--matricule", "1 79 03 2A 121 518 03"], 3, "MATRICULE-CLE"), ([], 2, "--matricule")])
def test_what_gives_no_address(space: Space, arguments: list[str], code: int, words: str) -> None:
    done = address(space, *arguments)
    assert done.code == code and words in done.out + done.err


def test_address_from_a_document(space: Space) -> None:
    cda = files("mssante.lab").joinpath("data/compte-rendu-fictif.xml")
    done = address(space, "--cda", str(cda), "--domain", "patient.mssante.test", "--json")
    assert done.code == 0 and done.json["address"].endswith("@patient.mssante.test")
    assert [one["rule"] for one in done.json["findings"]] == ["MATRICULE-TEST"]


def test_a_code_is_for_a_citizen_only(space: Space) -> None:
    assert space.run("mailbox", "add", f"dr@{DOMAIN}").code == 0
    refused = space.run("citizen", "code", f"dr@{DOMAIN}")
    assert refused.code == 1 and "CITOYEN-INCONNU" in refused.err
    assert "CITOYEN-INCONNU" in space.run("citizen", "code", f"{MATRICULE}@patient.mssante.fr").err
    assert MATRICULE not in space.run("citizen", "code", f"{MATRICULE}@patient.mssante.fr").err


def test_exchanges_of_a_mailbox(space: Space) -> None:
    space.run("mailbox", "add", f"dr@{DOMAIN}")
    done = space.run("citizen", "exchanges", f"dr@{DOMAIN}", "--json")
    assert done.code == 0 and done.json == {"exchanges": []}
    assert space.run("citizen", "exchanges", f"absent@{DOMAIN}").code == 1
