"""The national health identity (INS): syntax, control key, when an identity counts as qualified, the address that it gives.

- Test data of the trade carries wrong keys (ans-data §2): a wrong key is a warning to show, not a refusal, unless asked for.
- The address of a patient is made from the patient's own matricule, a minor's too (F9.6): a matricule whose birth year, month
  or sex are not those of the traits is most often that of the insured parent, and said so.
- Never put a matricule in a log or in an error text: nothing here does, findings included.
Called by `documents.cda`, `services.citizen` and `mssante citizen address`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from mssante.documents.findings import Finding, Severity
from mssante.lang import say

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


# ------------------------------------------------------------------------------------------------ address

MATRICULE, BODY = 15, 13  # characters with and without the key
MAJORITY = 18  # years (code civil, art. 414)
_SPACES = re.compile(r"[\s\u00a0\u202f.-]+")
MAX_TYPED = 64  # characters of a matricule as somebody types it


@dataclass(frozen=True, slots=True)
class InsAddress:
    """What became of an identity. address: empty when none may be used; also: other spellings of the same box (F9.15);
    minor: the patient is under 18, the box is his own."""

    address: str
    also: tuple[str, ...]
    findings: tuple[Finding, ...]
    minor: bool = False

    @property
    def usable(self) -> bool:
        """True when a message may be sent there."""
        return bool(self.address)


def typed_matricule(text: str) -> str:
    """Give a matricule as it was typed, without spaces, dots and hyphens, letters upper-case; at most 64 characters are read."""
    return _SPACES.sub("", text[:MAX_TYPED]).upper()


def matricule_findings(matricule: str, *, check_key: bool = True) -> tuple[Finding, ...]:
    """Give what is wrong with a matricule: 13 digits (F9.1), shape, key (F9.14). check_key: a wrong key is an error."""
    if len(matricule) == BODY and ins_key(matricule) is not None:
        return (_found("MATRICULE-13",
                       say("13 caractères sans la clé : l'adresse en veut 15, clé comprise ; reprenez-la de l'INSi, ne la "
                                     "calculez pas", "13 characters without the key: the address wants 15; take it from INSi")),)
    if not ins_syntax_ok(matricule):
        return (_found("MATRICULE-FORME", say("ce n'est pas un matricule INS : 15 caractères, clé comprise (2A ou 2B en Corse)",
                                        "this is no INS matricule: 15 characters with the key (2A or 2B in Corsica)")),)
    if not ins_key_ok(matricule):
        severity = Severity.ERROR if check_key else Severity.WARNING
        return (_found("MATRICULE-CLE", say("la clé de contrôle ne correspond pas : un chiffre est faux",
                                      "the control key does not match: a digit is wrong"), severity),)
    return ()


def spellings(matricule: str) -> tuple[str, ...]:
    """Give the ways to write one matricule in an address: as it is, then in the other case in Corsica (spec F9.15)."""
    other = matricule.upper() if matricule.upper() != matricule else matricule.lower()
    return (matricule,) if other == matricule else (matricule, other)


def same_person(one: str, other: str) -> bool:
    """True when two matricules are of one person, whatever the case of 2A and 2B."""
    return bool(one) and one.upper() == other.upper()


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """check_key: a wrong key is an error; tests_allowed: identities of test are usable (never in production); traits_needed: an
    identity without its traits is an error, else a warning (whoever asks has them elsewhere)."""

    check_key: bool = True
    tests_allowed: bool = True
    traits_needed: bool = True


def address_of(identity: InsIdentity, domain: str, *, today: date, policy: AddressPolicy | None = None) -> InsAddress:
    """Give the address of a patient from a qualified INS (ECO.2.2.6, F9.6), or why there is none.

    domain: the citizens'; today: tells who is a minor.
    """
    policy = policy or AddressPolicy()
    matricule = typed_matricule(identity.matricule)
    findings = [*matricule_findings(matricule, check_key=policy.check_key),
                *_oid_findings(identity.oid, tests_allowed=policy.tests_allowed)]
    if not identity.qualified:
        findings.append(_found("MATRICULE-NON-QUALIFIE", say(
            "identité non qualifiée : il faut matricule, OID, nom et premier prénom de naissance, date de naissance et sexe, "
            "obtenus de l'INSi",
            "identity not qualified: matricule, OID, birth name and given name, birth date and sex from INSi"),
            Severity.ERROR if policy.traits_needed else Severity.WARNING))
    minor = is_minor(identity.birth_date, today)
    findings += _trait_findings(matricule, identity, minor=minor)
    if any(one.severity is Severity.ERROR for one in findings):
        return InsAddress("", (), tuple(findings), minor)
    first, *others = [f"{one}@{domain}" for one in spellings(matricule)]
    return InsAddress(first, tuple(others), tuple(findings), minor)


def is_minor(birth_date: str, today: date) -> bool:
    """True when somebody born on `AAAAMMJJ` is under 18; a date that cannot be read says nothing."""
    try:
        born = date(int(birth_date[:4]), int(birth_date[4:6]), int(birth_date[6:8]))
    except ValueError:
        return False
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day)) < MAJORITY


def _oid_findings(oid: str, *, tests_allowed: bool) -> list[Finding]:
    """Say what the OID is not (F9.12)."""
    if oid not in INS_OIDS:
        return [_found("MATRICULE-OID", say(
            f"l'OID n'est pas celui d'un INS : {OID_NIR} (NIR) ou {OID_NIA} (NIA)",
            f"the OID is not that of an INS: {OID_NIR} (NIR) or {OID_NIA} (NIA)"))]
    if oid in (OID_NIR_TEST, OID_NIR_DEMO):
        severity = Severity.WARNING if tests_allowed else Severity.ERROR
        return [_found("MATRICULE-TEST", say("identité de test ou de démonstration : personne ne lira ce message en production",
                                       "identity of test or demonstration: nobody reads this in production"), severity)]
    return []


def _trait_findings(matricule: str, identity: InsIdentity, *, minor: bool) -> list[Finding]:
    """Compare what the matricule tells with the traits: a child has his own (F9.6). Only a NIR tells birth and sex."""
    if identity.oid == OID_NIA or not ins_syntax_ok(matricule):
        return []
    month = matricule[3:5]
    known_month = "01" <= month <= "12"  # others stand for an unknown month
    birth = identity.birth_date
    wrong_birth = bool(birth) and (matricule[1:3] != birth[2:4] or (known_month and month != birth[4:6]))
    sex = {"1": "M", "2": "F"}.get(matricule[0])
    wrong_sex = sex is not None and identity.sex in ("M", "F") and sex != identity.sex
    if not wrong_birth and not wrong_sex:
        return []
    if minor:
        return [_found("MATRICULE-MINEUR", say(
            "ce matricule n'est pas celui de l'enfant (naissance ou sexe différents) : l'adresse d'un mineur est la sienne, "
            "jamais celle du parent",
            "this matricule is not the child's (other birth or sex): a minor has an address of his own"))]
    return [_found("MATRICULE-TRAITS", say("naissance ou sexe du matricule ne sont pas ceux des traits : vérifiez l'identité",
                                     "birth or sex of the matricule are not those of the traits: check the identity"),
                   Severity.WARNING)]


def _found(rule: str, text: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(rule, "", text, severity)
