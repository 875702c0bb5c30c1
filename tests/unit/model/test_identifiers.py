"""Identifiers of holders: spellings, check digits, and what is refused with which rule."""

from __future__ import annotations

import pytest

from mssante.errors import InputFault
from mssante.lab.plan import fictitious_finess, fictitious_siret, luhn_digit
from mssante.model.identifiers import HolderKind, luhn_ok, national_person, national_structure, parse_holder

FINESS, SIRET, RPPS = fictitious_finess(1), fictitious_siret(1), "9970000007" + luhn_digit("9970000007")
CORSICAN = "2A000001" + luhn_digit("20000001")


@pytest.mark.parametrize(("text", "kind", "national"), [
    ("8" + RPPS, HolderKind.RPPS, "8" + RPPS), (RPPS, HolderKind.RPPS, "8" + RPPS), (f" 8 {RPPS} ", HolderKind.RPPS, "8" + RPPS),
    ("1" + FINESS, HolderKind.FINESS, "1" + FINESS), (FINESS, HolderKind.FINESS, "1" + FINESS),
    ("1" + CORSICAN.lower(), HolderKind.FINESS, "1" + CORSICAN), ("3" + SIRET, HolderKind.SIRET, "3" + SIRET),
    (SIRET, HolderKind.SIRET, "3" + SIRET), ("2" + SIRET[:9], HolderKind.SIREN, "2" + SIRET[:9]),
    ("0123456789", HolderKind.ADELI, "0123456789"), ("02A3456789", HolderKind.ADELI, "02A3456789"),
    ("4" + RPPS + "002", HolderKind.RPPS_RANK, "4" + RPPS + "002"),
    ("35600000000048", HolderKind.SIRET, "335600000000048"), ("35600000049837", HolderKind.SIRET, "335600000049837")])
def test_read(text: str, kind: HolderKind, national: str) -> None:
    found = parse_holder(text)
    assert (found.kind, found.national, found.national[1:]) == (kind, national, found.value)
    person = kind in (HolderKind.RPPS, HolderKind.ADELI)
    assert (national_person(text), national_structure(text)) == ((national, "") if person else ("", national))


@pytest.mark.parametrize(("text", "rule"), [
    ("", "TITULAIRE-FORME"), ("8", "TITULAIRE-FORME"), ("81234", "TITULAIRE-FORME"), ("9" + RPPS, "TITULAIRE-FORME"),
    ("8" + RPPS + "0", "TITULAIRE-FORME"), ("abcdefghi", "TITULAIRE-FORME"), ("1" * 500, "TITULAIRE-FORME"),
    ("٨" + RPPS, "TITULAIRE-FORME"), ("0١٢٣٤٥٦٧٨٩", "TITULAIRE-FORME"), ("356000000١٢٣٤٥", "TITULAIRE-FORME"), ("8" + RPPS[:-1] + str((int(RPPS[-1]) + 1) % 10), "TITULAIRE-CLE"), ("1" + FINESS[:-1] + str((int(FINESS[-1]) + 1) % 10),
                                                                             "TITULAIRE-CLE"),
    ("3" + SIRET[:-1] + str((int(SIRET[-1]) + 1) % 10), "TITULAIRE-CLE"), ("35600000000049", "TITULAIRE-CLE")])
def test_refused(text: str, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        parse_holder(text)
    assert caught.value.rule == rule and caught.value.remedy and len(caught.value.public) < 200
    assert national_person(text) == "" == national_structure(text)


def test_luhn() -> None:
    assert luhn_ok("79927398713") and not luhn_ok("79927398710") and not luhn_ok("7992739871x") and not luhn_ok("٧")
