"""Cards of directory entries: what they tell, that nothing in an entry breaks out of its line, that identity is stable."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from mssante.directory.values import DirectoryEntry
from mssante.directory.vcard import FOLD, KNOWN, MAX_OCTETS, Card, card_of, clean, escaped, folded, name_of

CLAIRE = DirectoryEntry("claire@x.fr", "PER", title="DR", family_name="MARTIN", given_name="CLAIRE", structure_name="CLINIQUE DES LILAS",
                        service="Cardiologie; étage 2", profession="Médecin", specialty="Cardiologie", lines=("1 RUE A, B", "BAT 2"),
                        postcode="69003", town="LYON")
DESK = DirectoryEntry("desk@x.fr", "ORG", structure_name="CLINIQUE", service="ACCUEIL", description="Accueil")


def unfolded(card: str) -> list[str]:
    return re.sub("\r\n ", "", card).split("\r\n")


def test_a_person() -> None:
    assert unfolded(card_of([CLAIRE]).vcard()) == [
        "BEGIN:VCARD", "VERSION:3.0", "PRODID:-//mssante//annuaire//FR", f"UID:{name_of('claire@x.fr')}", "FN:DR CLAIRE MARTIN",
        "N:MARTIN;CLAIRE;;DR;", "EMAIL;TYPE=INTERNET:claire@x.fr", r"ORG:CLINIQUE DES LILAS;Cardiologie\; étage 2", "TITLE:Médecin",
        "ROLE:Cardiologie", r"ADR;TYPE=WORK:;;1 RUE A\, B,BAT 2;LYON;;69003;", "CATEGORIES:MSSanté,PER", "END:VCARD", ""]
    later = unfolded(card_of([CLAIRE]).vcard("4.0"))
    assert later[1] == "VERSION:4.0" and "EMAIL;TYPE=work:claire@x.fr" in later and "KIND:individual" in later


def test_a_service() -> None:
    card = card_of([DESK])
    assert "FN:ACCUEIL – CLINIQUE" in card.vcard() and "N:ACCUEIL – CLINIQUE;;;;" in card.vcard() and "X-ABSHOWAS:COMPANY" in card.vcard()
    assert "KIND:org" in card.vcard("4.0") and "X-ABSHOWAS" not in card.vcard("4.0")
    assert "FN:seul@x.fr" in card_of([DirectoryEntry("seul@x.fr", "APP")]).vcard()


def test_several_rows_make_one_card_in_any_order() -> None:
    other = replace(CLAIRE, structure_name="HOPITAL", service="", town="PARIS", postcode="75001", lines=())
    card = card_of([CLAIRE, other, CLAIRE])
    assert card.vcard().count("EMAIL") == 1 and card.vcard().count("ORG:") == 2 and card.vcard().count("TITLE:") == 1
    assert card.tag == card_of([other, CLAIRE]).tag and card.tag != card_of([CLAIRE]).tag


def test_identity_stays_and_the_tag_follows_what_is_told() -> None:
    moved = replace(CLAIRE, town="PARIS")
    assert name_of(CLAIRE.address) in card_of([moved]).vcard() and name_of("claire@x.fr") != name_of("claire@y.fr")
    assert card_of([moved]).tag != card_of([CLAIRE]).tag
    assert card_of([replace(CLAIRE, holder_id="8997")]).tag == card_of([CLAIRE]).tag, "a number that is not told"


def test_what_is_asked_for_alone() -> None:
    assert unfolded(card_of([CLAIRE]).vcard("3.0", (("FN", False), ("EMAIL", True), ("TEL", False)))) == [
        "BEGIN:VCARD", "VERSION:3.0", "FN:DR CLAIRE MARTIN", "EMAIL;TYPE=INTERNET:", "END:VCARD", ""]


@pytest.mark.parametrize("value", ["A\r\nEMAIL:evil@x.fr", "A\nEND:VCARD\nBEGIN:VCARD", "A\x00\x0bB", "A\u2028EMAIL:e", "\ud800", "a;b,c\\n"])
def test_no_value_breaks_out(value: str) -> None:
    rows = [replace(CLAIRE, **{name: value}) for name in ("family_name", "structure_name", "service", "town", "profession")]
    for row in (*rows, replace(CLAIRE, lines=(value, value)), replace(CLAIRE, address=value + "@x.fr")):
        for version in ("3.0", "4.0"):
            card = card_of([row]).vcard(version)
            card.encode()
            lines = unfolded(card)
            assert sum(line.startswith("EMAIL") for line in lines) == 1 and lines.count("END:VCARD") == 1 and lines[-2:] == ["END:VCARD", ""]
            assert "\n" not in card.replace("\r\n", "") and "\r" not in card.replace("\r\n", "")
            assert {re.split("[;:]", line)[0] for line in lines[:-1]} <= {*KNOWN, "BEGIN", "END"}


def test_lines_are_folded_between_characters() -> None:
    for size in range(60, 90):
        text = "é" * size + "€" * size + "x" * size
        pieces = folded(text).split("\r\n")
        assert pieces[-1] == "" and all(len(one.encode()) <= FOLD for one in pieces)
        assert folded(text).replace("\r\n ", "").strip() == text
    assert folded("x" * FOLD) == "x" * FOLD + "\r\n" and folded("x" * (FOLD + 1)) == "x" * FOLD + "\r\n x\r\n"


def test_values_are_bounded() -> None:
    assert len(clean("x" * 10_000)) == 500 and clean(" a \t b ") == "a b" and escaped("a\\;,\nb") == r"a\\\;\,\nb"
    many = [replace(CLAIRE, structure_name=f"{n} " + "s" * 499, service="t" * 499 + str(n), profession=f"p{n}") for n in range(300)]
    card: Card = card_of(many)
    assert len(card.vcard().encode()) < MAX_OCTETS * 2 and "CATEGORIES:" in card.vcard()


def test_what_filters_see() -> None:
    held = card_of([CLAIRE]).properties
    assert [one.text for one in held["FN"]] == ["DR CLAIRE MARTIN", "CLAIRE MARTIN", "MARTIN CLAIRE"]
    assert held["ORG"][0].text == "CLINIQUE DES LILAS;Cardiologie; étage 2"
    assert {"INTERNET", "work"} == {text for one in held["EMAIL"] for text in one.parameters["TYPE"]}
