# ruff: noqa: E501
"""Writes an extraction of the national directory of N rows: real columns, realistic frequencies, nobody real; same seed, same octets.

    python bench/directory_generate.py OUT.txt [--rows 535000] [--day 0]

Distributions follow what was observed of the real file (spec §4.3): 85 % PER, 15 % ORG, a few addresses on two rows; names and
towns by a Zipf law over made-up syllables and frequent French words; professions by their weights. `--day N` makes the file of N
days later: some 340 new mailboxes a day, some that leave, some that change.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from mssante.lab.annuaire import COLUMNS

PROFESSIONS = (("10", "Médecin", 0.42, (("SM54", "Médecine Générale (SM)"), ("SM04", "Cardiologie et maladies vasculaires (SM)"),
                                         ("SM26", "Qualifié en Médecine Générale (SM)"), ("SM40", "Pédiatrie (SM)"))),
               ("60", "Infirmier", 0.22, ()), ("21", "Pharmacien", 0.12, ()), ("70", "Masseur-Kinésithérapeute", 0.09, ()),
               ("40", "Chirurgien-Dentiste", 0.08, ()), ("50", "Sage-Femme", 0.03, ()), ("80", "Pédicure-Podologue", 0.02, ()),
               ("91", "Orthophoniste", 0.02, ()))
FAMILIES = ("MARTIN", "BERNARD", "THOMAS", "PETIT", "ROBERT", "RICHARD", "DURAND", "DUBOIS", "MOREAU", "LAURENT", "SIMON", "MICHEL",
            "LEFEBVRE", "LEROY", "ROUX", "DAVID", "BERTRAND", "MOREL", "FOURNIER", "GIRARD")
GIVEN = ("MARIE", "JEAN", "PIERRE", "SOPHIE", "CLAIRE", "PAUL", "ANNE", "NICOLAS", "JULIE", "THOMAS", "CAMILLE", "FRANÇOIS", "ÉLODIE",
         "MATHIEU", "CÉLINE", "LAURENT", "NATHALIE", "ANTOINE", "HÉLÈNE", "DAVID", "MANON", "LUC", "EMMA", "HUGO", "INÈS")
SYLLABLES = ("BA", "CHE", "DO", "FON", "GUE", "LA", "MAR", "NI", "POU", "RI", "SAN", "TRE", "VIL", "LON", "BER", "CAU", "DRE", "MI", "TOU")
TOWNS = ("PARIS", "MARSEILLE", "LYON", "TOULOUSE", "NICE", "NANTES", "STRASBOURG", "MONTPELLIER", "BORDEAUX", "LILLE", "RENNES", "REIMS")
SERVICES = ("CARDIOLOGIE", "URGENCES", "SECRETARIAT MEDICAL", "PEDIATRIE", "LABORATOIRE", "IMAGERIE MEDICALE", "GERIATRIE", "MATERNITE",
            "CHIRURGIE ORTHOPEDIQUE", "BUREAU DES ENTREES", "PHARMACIE", "HOSPITALISATION A DOMICILE")


class Choice:
    """Draws from a list by weights, quickly."""

    def __init__(self, values: list[str], weights: list[float]) -> None:
        self._values, self._sums = values, list(accumulate(weights))

    def draw(self, random_: random.Random) -> str:
        """Give one value."""
        return random_.choices(self._values, cum_weights=self._sums)[0]


def _zipf(head: tuple[str, ...], made: list[str]) -> Choice:
    values = [*head, *made]
    return Choice(values, [1 / (rank + 5) for rank in range(len(values))])


def _words(random_: random.Random, count: int) -> list[str]:
    return ["".join(random_.choice(SYLLABLES) for _ in range(random_.randint(2, 4))) for _ in range(count)]


def _plain(text: str) -> str:
    return text.lower().translate(str.maketrans("éèêçôïà ", "eeecoia-"))


class Generator:
    """Makes rows; the row of a number is always the same."""

    def __init__(self, seed: int = 2026) -> None:
        random_ = random.Random(seed)
        self._families, self._given = _zipf(FAMILIES, _words(random_, 60_000)), _zipf(GIVEN, _words(random_, 2_000))
        self._towns = _zipf(TOWNS, [f"{word}-SUR-{word2}" for word, word2 in zip(_words(random_, 8_000), _words(random_, 8_000), strict=True)])
        self._structures = [(f"1{990_000_000 + rank:09d}", f"{random_.choice(('CENTRE HOSPITALIER', 'CLINIQUE', 'LABORATOIRE', 'CABINET', 'MAISON DE SANTE'))} {word}")
                            for rank, word in enumerate(_words(random_, 30_000))]
        self._professions = Choice([one[0] for one in PROFESSIONS], [one[2] for one in PROFESSIONS])
        self._by_code = {one[0]: one for one in PROFESSIONS}

    def row(self, number: int, version: int = 0) -> str:
        """Give one line. version: changes a fact of it."""
        random_ = random.Random(number * 7919)
        cells = dict.fromkeys(COLUMNS, "")
        town = self._towns.draw(random_)
        department = f"{random_.randint(1, 95):02d}"
        postcode = f"{department}{random_.randint(0, 999):03d}"
        structure, label = random_.choice(self._structures)
        if random_.random() < 0.85:
            family, given, code = self._families.draw(random_), self._given.draw(random_), self._professions.draw(random_)
            specialties = self._by_code[code][3]
            specialty = random_.choice(specialties) if specialties else ("", "")
            domain = f"{_plain(label).split('-')[-1]}.mssante.fr" if random_.random() < 0.4 else f"{_plain(self._by_code[code][1])}.mssante.fr"
            rpps = f"997{number:08d}"
            cells |= {"Type de BAL": "PER", "Adresse BAL": f"{_plain(given)}.{_plain(family)}{number}@{domain}",
                      "Type Identifiant PP": "8", "Identifiant PP": rpps, "Identification nationale PP": "8" + rpps,
                      "Civilité d'exercice": "DR" if code == "10" else "M", "Nom d'exercice": family, "Prénom d'exercice": given,
                      "Catégorie profession": "C", "Libellé de catégorie profession": "Civil", "Code Profession": code,
                      "Libellé Profession": self._by_code[code][1], "Code savoir-faire": specialty[0],
                      "Libellé savoir-faire": specialty[1], "Dématérialisation": "O" if (number + version) % 3 else "N"}
        else:
            service = random_.choice(SERVICES)
            cells |= {"Type de BAL": "ORG", "Adresse BAL": f"{_plain(service)}{number}@{_plain(label).split('-')[-1]}.mssante.fr",
                      "Service de rattachement": service, "Dématérialisation": "O" if version % 2 else "N"}
        if cells["Type de BAL"] == "ORG" or random_.random() < 0.5:
            cells |= {"Type identifiant structure": "1", "Identification Structure": structure,
                      "Raison Sociale structure BAL": label, "L4NUMEROVOIE structure BAL": str(random_.randint(1, 200)),
                      "NL4TYPEVOIE structure BAL": "RUE", "L4LIBELLEVOIE structure BAL": f"DES {self._families.draw(random_)}",
                      "L6LIGNEACHEMINEMENT structure BAL": f"{postcode} {town}", "Code postal structure BAL": postcode,
                      "Département structure BAL": department, "Pays structure BAL": "99100"}
        return "|".join(cells[name] for name in COLUMNS)

    def rows(self, count: int, day: int = 0) -> Iterator[str]:
        """Give the lines of a day: 340 more a day, 60 gone, 500 changed."""
        gone = {(day_ * 7907 + step * 8081) % count for day_ in range(1, day + 1) for step in range(60)}
        other = {(day_ * 6007 + step * 1009) % count for day_ in range(1, day + 1) for step in range(500)}
        doubled = count // 3165  # 169 in 535,000
        for number in range(count + 340 * day):
            if number in gone:
                continue
            line = self.row(number, 1 if number in other else 0)
            yield line
            if doubled and number % 3165 == 7 and line.startswith("PER"):
                yield line.replace("|C|Civil|", "|M|Militaire|", 1)


def main() -> None:
    """Write a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=535_000)
    parser.add_argument("--day", type=int, default=0)
    options = parser.parse_args()
    generator = Generator()
    with options.out.open("w", encoding="utf-8") as stream:
        stream.write("|".join(COLUMNS) + "\n")
        for line in generator.rows(options.rows, options.day):
            stream.write(line + "\n")


if __name__ == "__main__":
    main()
