"""The subject of an IGC-Santé certificate, attribute by attribute, and the string under which it is declared (spec §3.3, §3.4).

- The OU holds the legal entity: one type digit (TRE_G07), then the national identifier, whose check digit is computed; a bad one
  is a warning, never a refusal: ANS's own samples hold some.
- `declared_dn` writes the DN as the white list does and proves by reading it back that the list will match the certificate.
- Pure. Called by `profiles`, `cli` and whoever explains a certificate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from mssante.errors import InputFault
from mssante.trust.names import MAX_PAIRS, dn_from_x509, parse_dn

Words = tuple[str, str]
DECLARED_LIMIT = 255  # F1.5: the field of the ANS form

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}")
_LA_POSTE = "356000000"
_MEANINGS: dict[str, Words] = {
    "C": ("pays", "country"), "ST": ("département du siège", "department of the head office"), "L": ("commune", "town"),
    "O": ("raison sociale de l'entité juridique", "name of the legal entity"),
    "OU": ("entité juridique", "legal entity"), "CN": ("porteur du certificat", "holder of the certificate"),
    "E": ("adresse électronique", "mail address"), "SERIALNUMBER": ("numéro du porteur", "number of the holder"),
    "GIVENNAME": ("prénom", "given name"), "SN": ("nom", "surname"), "T": ("profession", "profession"),
}
# TRE_G07: type, length of the identifier, words
_TYPES: dict[str, tuple[int, Words]] = {
    "0": (9, ("cabinet, par ADELI", "practice, by ADELI")), "1": (9, ("FINESS", "FINESS")), "2": (9, ("SIREN", "SIREN")),
    "3": (14, ("SIRET", "SIRET")), "4": (14, ("cabinet, par RPPS et rang", "practice, by RPPS and rank")),
    "5": (9, ("FINESS EJ (ancienne forme)", "FINESS EJ (old form)")),
    "6": (9, ("FINESS EG (ancienne forme)", "FINESS EG (old form)")),
}


@dataclass(frozen=True, slots=True)
class SubjectField:
    """One attribute. meaning: (French, English); warning: the same, empty when there is nothing to say."""

    attribute: str
    value: str
    meaning: Words
    warning: Words = ("", "")


@dataclass(frozen=True, slots=True)
class Structure:
    """What an OU says: type digit, identifier, its name. check: the check digit is right, None when it has none we know."""

    type: str
    identifier: str
    name: Words
    check: bool | None


def luhn(digits: str) -> bool:
    """Tell whether a number ends with its Luhn check digit."""
    total = 0
    for rank, char in enumerate(reversed(digits)):
        value = int(char) * (2 if rank % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def read_structure(ou: str) -> Structure | None:
    """Read an OU as type digit and structure identifier (spec §3.4), or None when it has not that form."""
    kind = _TYPES.get(ou[:1])
    identifier = ou[1:]
    if kind is None or len(identifier) != kind[0] or not re.fullmatch(r"(?:[0-9]{2}|2[AB])[0-9]+", identifier, re.ASCII):
        return None
    if not identifier.isdigit() and ou[0] not in "0156":  # 2A and 2B: Corsica, FINESS and ADELI only
        return None
    return Structure(ou[0], identifier, kind[1], _checked(ou[0], identifier))


def _checked(kind: str, identifier: str) -> bool | None:
    if not identifier.isdigit() or kind == "0":
        return None
    if kind == "4":
        return luhn(identifier[:11])
    if identifier.startswith(_LA_POSTE) and kind == "3":
        return luhn(identifier) or sum(map(int, identifier)) % 5 == 0
    return luhn(identifier)


def subject_fields(name: x509.Name) -> tuple[SubjectField, ...]:
    """Explain a subject, most specific attribute first. Raises InputFault above 20 attributes."""
    fields = []
    for attribute, value in _pairs(name):
        meaning, warning = _MEANINGS.get(attribute, ("attribut non attendu", "attribute not expected")), ("", "")
        if attribute == "OU":
            meaning, warning = _entity(value)
        elif attribute == "CN":
            meaning = _holder(value)
        elif attribute == "ST" and not re.search(r"\((?:[0-9]{2,3}|2[AB])\)\s*$", value):
            warning = ("attendu : Département (NN)", "expected: Department (NN)")
        elif attribute == "C" and value != "FR":
            warning = ("attendu : FR", "expected: FR")
        fields.append(SubjectField(attribute, value, meaning, warning))
    return tuple(fields)


def _entity(value: str) -> tuple[Words, Words]:
    found = read_structure(value)
    if found is None:
        return _MEANINGS["OU"], ("ce n'est pas un type suivi d'un identifiant national (§3.4 : 1+FINESS, 3+SIRET)",
                                 "this is not a type followed by a national identifier (§3.4: 1+FINESS, 3+SIRET)")
    french, english = found.name
    meaning = (f"entité juridique : {french} {found.identifier} (type {found.type})",
               f"legal entity: {english} {found.identifier} (type {found.type})")
    if found.check is False:
        return meaning, ("la clé de contrôle du numéro n'est pas bonne", "the check digit of the number is wrong")
    return meaning, ("", "")


def _holder(value: str) -> Words:
    if "@" in value:
        return ("porteur : une adresse de messagerie", "holder: a mail address")
    if is_host(value):
        return ("porteur : un serveur, par son nom", "holder: a server, by its name")
    return ("porteur : une application ou un service", "holder: an application or a service")


def is_host(text: str) -> bool:
    """Tell whether a CN is a host name with a dot (FQDN)."""
    return len(text) <= 253 and _HOST.fullmatch(text) is not None


def value_of(name: x509.Name, attribute: str) -> str:
    """Give the first value of `CN`, `OU`, `O`, `ST`, `C`, or nothing."""
    return next((value for found, value in _pairs(name) if found == attribute), "")


def _pairs(name: x509.Name) -> list[tuple[str, str]]:
    """Give (attribute, value as written), CN first."""
    attributes = list(name)
    if attributes and attributes[0].oid != NameOID.COMMON_NAME:
        attributes.reverse()
    return [(dn_from_x509(x509.Name([one])).pairs[0][0], one.value if isinstance(one.value, str) else one.value.hex())
            for one in attributes[:MAX_PAIRS]]


def declared_dn(name: x509.Name) -> str:
    """Give the string to declare to ANS: `CN=…,OU=…,O=…,ST=…,C=FR`, as the white list writes it (F1.8).

    Values that would be read otherwise are escaped (RFC 4514 §2.4). Raises InputFault `DN-SYNTAXE` when no writing of this name
    reads back as itself.
    """
    wanted = dn_from_x509(name).pairs
    plain = ",".join(f"{attribute}={value}" for attribute, value in _pairs(name))
    for text in (plain, name.rfc4514_string(), x509.Name(list(reversed(list(name)))).rfc4514_string()):
        try:
            if parse_dn(text).pairs == wanted:
                return text
        except InputFault:
            continue
    raise InputFault("this subject cannot be written as a distinguished name of the white list", rule="DN-SYNTAXE",
                     remedy="ask for a certificate with the subject C, ST, O, OU, CN")
