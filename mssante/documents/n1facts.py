"""The facts of a PDF as JSON: what programs write beside it, read into `N1Facts` (API, watched folder).

- Strict: a key that is not known, a value of another kind, a date without time zone are refused with the path of the field
  (`N1-FAIT`), never with its value. What the rules ask for is checked by `n1_document`.
- A code is a text (its usual code system is meant) or `{code, scheme, label}`; an identifier a text (`root` or `root^extension`)
  or `{root, extension}`. Pure; called by `services.handrequest`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, TypeVar

from mssante.documents.cda import InstanceId
from mssante.documents.codes import Code
from mssante.documents.hl7 import PROFESSIONAL_OID, STRUCTURE_OID
from mssante.documents.ins import OID_NIR
from mssante.documents.n1 import LOINC_OID, MAX_FIELD, MAX_NAMES, SPECIALTY_OID, N1Facts, N1Patient, N1Person, N1Structure
from mssante.errors import InputFault
from mssante.lang import say

PRACTICE_OID = "1.2.250.1.213.1.1.4.9"
FACILITY_OID = "1.2.250.1.71.4.2.4"
T = TypeVar("T")


class Fields:
    """Typed reading of one JSON object; `done` refuses what was not asked for."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong(path or "facts")
        self._value: Mapping[str, Any] = value
        self._path = path
        self._asked: set[str] = set()

    def path(self, name: str) -> str:
        """Give the full name of a field."""
        return f"{self._path}.{name}" if self._path else name

    def raw(self, name: str) -> object:
        """Give a value as it is, None when it is absent."""
        self._asked.add(name)
        return self._value.get(name)

    def text(self, name: str, default: str = "", *, most: int = MAX_FIELD) -> str:
        """Give a text."""
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > most:
            raise wrong(self.path(name))
        return value

    def whole(self, name: str, default: int) -> int:
        """Give an integer."""
        value = self.raw(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(self.path(name))
        return value

    def flag(self, name: str) -> bool:
        """Give a boolean, false when it is absent."""
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise wrong(self.path(name))
        return bool(value)

    def texts(self, name: str, *, most: int = MAX_NAMES) -> tuple[str, ...]:
        """Give a list of texts; one text is a list of one."""
        value = self.raw(name)
        if isinstance(value, str):
            value = [value]
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > most or not all(isinstance(one, str) and len(one) <= MAX_FIELD
                                                                       for one in value):
            raise wrong(self.path(name))
        return tuple(value)

    def each(self, name: str, read: Callable[[object, str], T], *, most: int = MAX_NAMES) -> tuple[T, ...]:
        """Give a list, each item read by `read` with its path."""
        value = self.raw(name)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > most:
            raise wrong(self.path(name))
        return tuple([read(one, f"{self.path(name)}[{rank}]") for rank, one in enumerate(value)])

    def stamp(self, name: str) -> datetime | None:
        """Give an instant with its time zone (RFC 3339)."""
        value = self.text(name, most=40)
        if not value:
            return None
        try:
            found = datetime.fromisoformat(value)
        except ValueError as exc:
            raise wrong(self.path(name)) from exc
        if found.utcoffset() is None:
            raise wrong(f"{self.path(name)} (fuseau horaire)")
        return found

    def done(self) -> None:
        """Refuse the keys that nobody asked for."""
        unknown = sorted(set(self._value) - self._asked)
        if unknown:
            raise wrong(f"{self.path(unknown[0][:60])} (inconnu)")


def wrong(path: str) -> InputFault:
    """Give the fault of a field."""
    return InputFault(say("un champ manque ou est mal formé", "a field is missing or malformed"), rule="N1-FAIT",
                      remedy=path if path.isprintable() else "?")


def read_facts(value: object, path: str = "facts") -> N1Facts:
    """Read the facts of one PDF. Raises InputFault `N1-FAIT`."""
    fields = Fields(value, path)
    created = fields.stamp("created")
    code = _code(fields.raw("code"), fields.path("code"), LOINC_OID)
    if created is None or code is None:
        raise wrong(fields.path("created" if created is None else "code"))
    signer = fields.raw("signer")
    facts = N1Facts(
        patient=_patient(fields.raw("patient"), fields.path("patient")),
        author=_person(fields.raw("author"), fields.path("author")),
        structure=_structure(fields.raw("structure"), fields.path("structure")), code=code, title=fields.text("title"),
        created=created, id=_identifier(fields.raw("id"), fields.path("id")) or InstanceId(""),
        set_id=_identifier(fields.raw("set_id"), fields.path("set_id")), version=fields.whole("version", 1),
        confidentiality=fields.text("confidentiality", "N"),
        signer=None if signer is None else _person(signer, fields.path("signer")),
        act=_code(fields.raw("act"), fields.path("act"), LOINC_OID), started=fields.stamp("started"),
        stopped=fields.stamp("stopped"), encounter=_identifier(fields.raw("encounter"), fields.path("encounter")),
        replaces=fields.each("replaces", _required_identifier))
    fields.done()
    return facts


def _patient(value: object, path: str) -> N1Patient:
    fields = Fields(value, path)
    try:
        birth = date.fromisoformat(fields.text("birth_date", most=10))
    except ValueError as exc:
        raise wrong(fields.path("birth_date")) from exc
    found = N1Patient(
        fields.text("family_birth"), fields.text("given_birth"), birth, fields.text("sex"), fields.text("ins"),
        fields.text("ins_oid", OID_NIR), _identifier(fields.raw("local_id"), fields.path("local_id")), fields.text("all_given"),
        fields.text("family_used"), fields.text("given_used"), fields.text("birth_place"), fields.texts("telecoms"))
    fields.done()
    return found


def _person(value: object, path: str) -> N1Person:
    fields = Fields(value, path)
    found = N1Person(fields.text("number"), fields.text("family"), fields.text("given"), fields.text("prefix"),
                     fields.text("suffix"), _code(fields.raw("specialty"), fields.path("specialty"), SPECIALTY_OID),
                     fields.text("root", PROFESSIONAL_OID))
    fields.done()
    return found


def _structure(value: object, path: str) -> N1Structure:
    fields = Fields(value, path)
    practice = _code(fields.raw("practice"), fields.path("practice"), PRACTICE_OID)
    facility = _code(fields.raw("facility"), fields.path("facility"), FACILITY_OID)
    if practice is None or facility is None:
        raise wrong(fields.path("practice" if practice is None else "facility"))
    found = N1Structure(fields.text("number"), fields.text("name"), practice, facility, fields.text("root", STRUCTURE_OID))
    fields.done()
    return found


def _code(value: object, path: str, scheme: str) -> Code | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= MAX_FIELD:
        return Code(value, scheme)
    fields = Fields(value, path)
    found = Code(fields.text("code"), fields.text("scheme", scheme), fields.text("label"))
    fields.done()
    if not found.code:
        raise wrong(fields.path("code"))
    return found


def _identifier(value: object, path: str) -> InstanceId | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= MAX_FIELD:
        root, _, extension = value.partition("^")
        return InstanceId(root, extension)
    fields = Fields(value, path)
    found = InstanceId(fields.text("root"), fields.text("extension"))
    fields.done()
    return found


def _required_identifier(value: object, path: str) -> InstanceId:
    found = _identifier(value, path)
    if found is None:
        raise wrong(path)
    return found
