"""National identifiers of the holders of mailboxes: professionals and structures, with their check digits (spec §3.4, §4.1).

- Two spellings are read: the national one, a type digit before the number (`8` + RPPS, `0` + ADELI, `1` + FINESS, `2` + SIREN,
  `3` + SIRET, `4` + RPPS + rank), and the bare number where its length leaves no doubt. One is kept: the national one.
- RPPS, FINESS, SIREN and SIRET end in a Luhn digit. The SIRET of La Poste (SIREN 356000000) may instead have a digit sum that is
  a multiple of 5. ADELI has no check digit. Corsican FINESS (2A, 2B) count as 20 in the sum.
- Real directories hold identifiers that fail these rules (spec/ans-data): readers of the directory do not refuse for that; we do
  for mailboxes that we make.
Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from mssante.errors import InputFault
from mssante.lang import say

LA_POSTE = "356000000"


class HolderKind(StrEnum):
    """What a number names."""

    ADELI = "ADELI"
    RPPS = "RPPS"
    FINESS = "FINESS"
    SIREN = "SIREN"
    SIRET = "SIRET"
    RPPS_RANK = "RPPS_RANK"  # a practice, by the RPPS of its professional and a rank


@dataclass(frozen=True, slots=True)
class HolderId:
    """One identifier. value: the bare number; national: with its type digit."""

    kind: HolderKind
    value: str
    national: str

    @property
    def is_person(self) -> bool:
        """It names a professional, not a structure."""
        return self.kind in (HolderKind.ADELI, HolderKind.RPPS)


# kind: (type digit, form of the number)
_FORMS = {
    HolderKind.ADELI: ("0", re.compile(r"\d[0-9AB]\d{7}", re.ASCII)),
    HolderKind.RPPS: ("8", re.compile(r"\d{11}", re.ASCII)),
    HolderKind.FINESS: ("1", re.compile(r"\d[0-9AB]\d{7}", re.ASCII)),
    HolderKind.SIREN: ("2", re.compile(r"\d{9}", re.ASCII)),
    HolderKind.SIRET: ("3", re.compile(r"\d{14}", re.ASCII)),
    HolderKind.RPPS_RANK: ("4", re.compile(r"\d{14}", re.ASCII)),
}
_BARE = {11: HolderKind.RPPS, 9: HolderKind.FINESS, 14: HolderKind.SIRET}


def luhn_ok(digits: str) -> bool:
    """Tell if a text of digits ends in its Luhn digit (ISO/IEC 7812-1 annex B)."""
    return digits.isascii() and digits.isdigit() and _luhn_sum(digits) % 10 == 0


def _luhn_sum(digits: str) -> int:
    total = 0
    for rank, character in enumerate(reversed(digits)):
        value = int(character) * (2 if rank % 2 else 1)
        total += value - 9 if value > 9 else value
    return total


def _checked(kind: HolderKind, value: str) -> bool:
    """Tell if the check digit of a well-formed number is right."""
    if kind is HolderKind.ADELI:
        return True
    if kind is HolderKind.SIRET:
        if value.startswith(LA_POSTE) and value != LA_POSTE + "00048":
            return sum(map(int, value)) % 5 == 0
        return luhn_ok(value) and luhn_ok(value[:9])
    if kind is HolderKind.RPPS_RANK:
        return luhn_ok(value[:11])
    return luhn_ok(value.replace("A", "0").replace("B", "0"))


def parse_holder(text: str) -> HolderId:
    """Read an identifier, national or bare; spaces are left out. Bare numbers: 9 digits FINESS, 11 RPPS, 14 SIRET.

    Raises InputFault `TITULAIRE-FORME` or `TITULAIRE-CLE`.
    """
    value = re.sub(r"[\s\u00a0]", "", text).upper()
    for kind, (digit, form) in _FORMS.items():
        if value[:1] == digit and form.fullmatch(value[1:]):
            return _holder(kind, value[1:], text)
    bare = _BARE.get(len(value))
    if bare is not None and _FORMS[bare][1].fullmatch(value):
        return _holder(bare, value, text)
    raise InputFault(
        say(f"identifiant de titulaire non reconnu : {text[:40]!r}", f"holder identifier not recognised: {text[:40]!r}"),
        rule="TITULAIRE-FORME", remedy="8 + RPPS (11), 0 + ADELI (9), 1 + FINESS (9), 2 + SIREN (9), 3 + SIRET (14)")


def _holder(kind: HolderKind, value: str, text: str) -> HolderId:
    if not _checked(kind, value):
        raise InputFault(
            say(f"clé de contrôle fausse : {text[:40]!r} lu comme {kind.value}",
                f"wrong check digit: {text[:40]!r} read as {kind.value}"),
            rule="TITULAIRE-CLE", remedy=say("recopiez le numéro depuis sa source officielle", "copy it again from its source"))
    return HolderId(kind, value, _FORMS[kind][0] + value)


def national_person(text: str) -> str:
    """Give the national identifier of a professional, empty when the text is not one."""
    return _national(text, person=True)


def national_structure(text: str) -> str:
    """Give the national identifier of a structure, empty when the text is not one."""
    return _national(text, person=False)


def _national(text: str, *, person: bool) -> str:
    try:
        found = parse_holder(text)
    except InputFault:
        return ""
    return found.national if found.is_person is person else ""
