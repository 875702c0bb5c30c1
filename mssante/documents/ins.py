"""The national health identity (INS): syntax, control key, and when an identity counts as qualified.

- Test data of the trade carries wrong keys (ans-data §2): a wrong key is a warning to show, not a refusal.
- Never put a matricule in a log or in an error text: nothing here does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OID_NIR = "1.2.250.1.213.1.4.8"  # CI-SIS; spec F9.12
OID_NIA = "1.2.250.1.213.1.4.9"
OID_NIR_TEST = "1.2.250.1.213.1.4.10"
OID_NIR_DEMO = "1.2.250.1.213.1.4.11"
INS_OIDS = frozenset({OID_NIR, OID_NIA, OID_NIR_TEST, OID_NIR_DEMO})
IDENTITY_ARC = "1.2.250.1.213.1.4."  # also holds the obsolete INS-C (.2) and the plain social number (.13)

# spec F9.14: sex, year, month, department (2A and 2B are letters), commune, order, key of two digits
_SYNTAX = re.compile(r"[1-478][0-9]{4}(?:[0-9]{2}|2[ABab])[0-9]{8}\Z")


def ins_syntax_ok(matricule: str) -> bool:
    """True for 15 characters in the shape of a NIR or NIA with its key (spec F9.14)."""
    return _SYNTAX.match(matricule) is not None


def ins_key(matricule: str) -> int | None:
    """Give the key due for a matricule of 13 or 15 characters: 97 - (n mod 97), 2A as 19 and 2B as 18 (spec F9.14).

    None when the first 13 characters do not have the shape.
    """
    body = matricule[:13].upper()
    if len(matricule) not in (13, 15) or not _SYNTAX.match(f"{body}00"):
        return None
    department = {"2A": "19", "2B": "18"}.get(body[5:7], body[5:7])
    return 97 - int(body[:5] + department + body[7:]) % 97


def ins_key_ok(matricule: str) -> bool:
    """True when a matricule of 15 characters has the right shape and the right key."""
    return ins_syntax_ok(matricule) and ins_key(matricule) == int(matricule[13:])


@dataclass(frozen=True, slots=True)
class InsIdentity:
    """An INS with its strict traits. birth_date: `AAAAMMJJ`; sex: `M`, `F` or `U`; empty strings where absent."""

    matricule: str
    oid: str
    birth_name: str = ""
    birth_given: str = ""
    birth_date: str = ""
    sex: str = ""

    @property
    def key_ok(self) -> bool:
        """True when the control key is right; a wrong one is a warning only."""
        return ins_key_ok(self.matricule)

    @property
    def qualified(self) -> bool:
        """True when matricule, OID and the four traits are there (ECO.2.4.2, spec F9.13)."""
        return bool(self.matricule and self.oid in INS_OIDS and self.birth_name and self.birth_given
                    and self.birth_date and self.sex in ("M", "F", "U"))
