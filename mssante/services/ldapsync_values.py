"""What a local directory says of people, read from raw LDAP attributes into checked values. Pure.

- Every value is text without control or invisible characters, bounded; an identifier of a holder has its check digit; addresses
  kept are those of our domains. What is wrong makes a `Problem` for that person, who is then left as it is here: a wrong entry
  never disables anybody, and never blocks the others.
- An entry without its external identifier refuses the whole reading (`SYNC-PARTIEL`): the directory does not show us all, so
  nobody can be called absent. No password attribute is ever asked for.
- The same external identifier twice: nothing is done for it.
Called by `services/ldapsync.py`; fields and attributes come from `field_map`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.identifiers import national_person

DEFAULTS = {"external_id": "entryUUID", "login": "mail", "mail": "mail", "given_name": "givenName", "family_name": "sn",
            "display_name": "displayName", "holder_id": "", "disabled": ""}
BINARY = frozenset({"objectguid", "objectsid"})
FORBIDDEN = frozenset({"userpassword", "unicodepwd", "sambantpassword", "sambalmpassword", "krbprincipalkey", "ntpwdhistory"})
ACCOUNT_CONTROL = "useraccountcontrol"
ACCOUNT_DISABLED = 0x2  # ADS_UF_ACCOUNTDISABLE of Active Directory
MAX_LOGIN = 254
MAX_NAME = 200  # characters
MAX_EXTERNAL = 128
MAX_ADDRESSES = 20
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}\Z")  # RFC 4512 §2.5, without options


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One entry as the directory gave it. attributes: lower-case names, values in octets."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not done, and why. subject: who or what it is about."""

    rule: str
    subject: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A person of the directory. logins: lower-case, ours first; addresses: keys in our domains; holder_id: national."""

    logins: tuple[str, ...]
    addresses: tuple[str, ...]
    given_name: str = ""
    family_name: str = ""
    display_name: str = ""
    holder_id: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One external identifier as it was seen. person: None when its values cannot be used, `problem` says why."""

    external_id: str
    dn: str
    disabled: bool
    person: Person | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How entries are read. fields: of `field_map`; disabled_values: values of its attribute that mean disabled, lower-case."""

    domains: frozenset[str]
    fields: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULTS))
    disabled_values: frozenset[str] = frozenset({"true", "1"})


class _Wrong(Exception):
    """A value that cannot be used."""

    def __init__(self, attribute: str, french: str, english: str) -> None:
        super().__init__(attribute)
        self.text = say(f"{attribute} : {french}", f"{attribute}: {english}")


def field_map(configured: Mapping[str, str]) -> dict[str, str]:
    """Give field → attribute, defaults under what is configured; an empty attribute takes a field away.

    Raises InputFault `CFG-SYNC` for an unknown field, a needed one taken away, or an attribute that is none or holds a secret.
    """
    found = {**DEFAULTS, **configured}
    for name, attribute in found.items():
        needed = name in ("external_id", "login", "mail")
        bad = not _ATTRIBUTE.match(attribute) or attribute.lower() in FORBIDDEN
        if name not in DEFAULTS or (bad and (attribute or needed)):
            raise InputFault(say("provisioning.ldap_attributes : champ ou attribut refusé",
                                 "provisioning.ldap_attributes: field or attribute refused"),
                             detail=f"{name} = {attribute}"[:200], rule="CFG-SYNC", remedy=", ".join(DEFAULTS))
    return found


def people_of(entries: Iterable[RawEntry], reading: Reading) -> dict[str, Sighting]:
    """Give people by external identifier. Raises InputFault `SYNC-PARTIEL` when one has none that can be read."""
    found: dict[str, Sighting] = {}
    for entry in entries:
        one = _sighting(entry, reading)
        other = found.get(one.external_id)
        found[one.external_id] = one if other is None else _twice(one, other)
    return found


def contested(people: Iterable[Sighting]) -> frozenset[str]:
    """Give the logins and addresses that more than one enabled person claims."""
    counts = Counter(name for one in people if one.person is not None and not one.disabled
                     for name in {*one.person.logins, *one.person.addresses})
    return frozenset(name for name, count in counts.items() if count > 1)


def _twice(one: Sighting, other: Sighting) -> Sighting:
    """Two entries with one identifier: it is disabled only when both say so, and nothing else is believed."""
    text = say("identifiant externe porté par deux entrées", "external identifier of two entries")
    return replace(one, person=None, disabled=one.disabled and other.disabled,
                   problem=Problem("SYNC-DOUBLON", one.external_id, text, say("corrigez l'annuaire", "mend the directory")))


def _sighting(entry: RawEntry, reading: Reading) -> Sighting:
    external_id = _external(entry, reading.fields["external_id"])
    disabled = False
    try:
        disabled = _disabled(entry, reading)
        return Sighting(external_id, entry.dn, disabled, _person(entry, reading))
    except _Wrong as wrong:
        return Sighting(external_id, entry.dn, disabled, None, Problem(
            "SYNC-VALEUR", external_id, wrong.text, say("corrigez l'entrée dans l'annuaire", "mend the entry in the directory")))


def _external(entry: RawEntry, attribute: str) -> str:
    values = entry.attributes.get(attribute.lower(), ())
    raw = values[0] if len(values) == 1 else b""
    text = raw.hex() if attribute.lower() in BINARY else raw.decode("ascii", "replace").strip().lower()
    if not 0 < len(text) <= MAX_EXTERNAL or not text.isascii() or not text.isprintable():
        raise InputFault(say("une entrée n'a pas d'identifiant externe lisible : rien n'est changé",
                             "an entry has no readable external identifier: nothing is changed"), detail=f"{attribute}"[:80],
                         rule="SYNC-PARTIEL", remedy=say(
                             "droits de lecture du compte LDAP, provisioning.ldap_filter, ldap_attributes.external_id",
                             "read rights of the LDAP account, provisioning.ldap_filter, ldap_attributes.external_id"))
    return text


def _texts(entry: RawEntry, attribute: str, limit: int) -> list[str]:
    """Give the values of an attribute, in order (LDAP has none), each clean. Raises _Wrong."""
    found = set()
    values = entry.attributes.get(attribute.lower(), ()) if attribute else ()
    if len(values) > MAX_ADDRESSES:
        raise _Wrong(attribute, f"plus de {MAX_ADDRESSES} valeurs", f"more than {MAX_ADDRESSES} values")
    for raw in values:
        if len(raw) > limit * 4:
            raise _Wrong(attribute, "valeur trop longue", "value too long")
        try:
            text = unicodedata.normalize("NFC", raw.decode()).strip(" ")
        except UnicodeDecodeError as exc:
            raise _Wrong(attribute, "pas de l'UTF-8", "not UTF-8") from exc
        if len(text) > limit or not text.isprintable():
            raise _Wrong(attribute, "caractère de contrôle, ou valeur trop longue", "control character, or value too long")
        if text:
            found.add(text)
    return sorted(found)


def _first(entry: RawEntry, attribute: str, limit: int = MAX_NAME) -> str:
    return next(iter(_texts(entry, attribute, limit)), "")


def _disabled(entry: RawEntry, reading: Reading) -> bool:
    attribute = reading.fields["disabled"]
    if attribute.lower() != ACCOUNT_CONTROL:
        return any(value.lower() in reading.disabled_values for value in _texts(entry, attribute, MAX_NAME))
    text = _first(entry, attribute, 20)
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _Wrong(attribute, "absent, ou pas un entier", "missing, or not an integer")
    return bool(int(text) & ACCOUNT_DISABLED)


def _person(entry: RawEntry, reading: Reading) -> Person:
    names = reading.fields
    logins = [value.lower() for value in _texts(entry, names["login"], MAX_LOGIN)]
    if not logins or any(character.isspace() for login in logins for character in login) or max(map(len, logins)) > MAX_LOGIN:
        raise _Wrong(names["login"], "absent, ou avec une espace", "missing, or with white space")
    found = [_address(value, reading.domains) for value in (*_texts(entry, names["mail"], MAX_LOGIN), *logins)]
    addresses = tuple(dict.fromkeys(one for one in found if one))
    held = _first(entry, names["holder_id"])
    holder = national_person(held) if held else ""
    if held and not holder:
        raise _Wrong(names["holder_id"], "n'est pas un RPPS (clé de contrôle)", "is no RPPS (check digit)")
    return Person(tuple(sorted(set(logins), key=lambda one: (one not in addresses, one))), addresses,
                  _first(entry, names["given_name"]), _first(entry, names["family_name"]),
                  _first(entry, names["display_name"]), holder)


def _address(value: str, domains: frozenset[str]) -> str:
    """Give the key of an address of ours, empty for what is none. Raises _Wrong for one that is not for a person."""
    try:
        found = parse_envelope_address(value)
    except InputFault:
        return ""
    if found.domain not in domains:
        return ""
    if found.local.lower() in ("postmaster", "abuse"):
        raise _Wrong("mail", "adresse réservée", "reserved address")
    return found.key
