"""FHIR Patch on directory entries of mailboxes: the seven paths of the draft guide, written and applied (api-mss-fhir §3.2).

- Writing: `changes` gives the operations that turn one entry into another, `parameters` their FHIR form. One datum that changes
  gives one `replace`, so that what we do not know of an entry (`digitization`…) stays; one that appears or goes needs the whole
  entry. An address never stands in a path without its quotes escaped.
- Applying (the lab's directory; tests): `apply_patch` reads only those paths, all operations or none, and never touches anything
  but `telecom`; address and type of an entry do not change.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mssante.directory.publication import PublishedBox
from mssante.errors import InputFault

METADATA = "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/as-ext-mailbox-mss-metadata"
EMAIL_TYPE = "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-contact-point-email-type"
MSSANTE = {"system": "https://mos.esante.gouv.fr/NOS/TRE_R256-TypeMessagerie/FHIR/TRE-R256-TypeMessagerie", "code": "MSSANTE"}
BOX_TYPE = "https://mos.esante.gouv.fr/NOS/TRE_R257-TypeBAL/FHIR/TRE-R257-TypeBAL"
TEXTS = ("description", "service", "responsible")
MAX_OPERATIONS = 100
MAX_PATH = 2048

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. kind: insert, replace or delete; value: (`valueX`, its JSON), None for a delete."""

    kind: str
    path: str
    value: tuple[str, Any] | None = None


class PatchRefused(InputFault):
    """A body that is not applied. status: HTTP; code: of the OperationOutcome (api-mss-fhir §3.2)."""

    def __init__(self, status: int, code: str, public: str) -> None:
        super().__init__(public, rule=f"PATCH-{status}")
        self.status = status
        self.code = code


# ------------------------------------------------------------------------------------------ writing

def quoted(text: str) -> str:
    """Give a FHIRPath string literal (FHIRPath 2.0 §2.1.1.2)."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def contact_point(box: PublishedBox) -> Json:
    """Give the `telecom` entry: marker and metadata always, rank when it has one."""
    metadata: list[Json] = [{"url": "type", "valueCodeableConcept": {"coding": [{"system": BOX_TYPE, "code": box.type}]}}]
    metadata += [{"url": name, "valueString": getattr(box, name)} for name in TEXTS if getattr(box, name)]
    metadata.append({"url": "listeRouge", "valueBoolean": box.red_listed})
    entry: Json = {"extension": [{"url": EMAIL_TYPE, "valueCoding": dict(MSSANTE)}, {"url": METADATA, "extension": metadata}],
                   "system": "email", "value": box.address}
    if box.rank:
        entry["rank"] = box.rank
    return entry


def _entry_path(box: PublishedBox) -> str:
    return f"{box.carrier.value}.telecom.where(value = {quoted(box.address)})"


def rewrite(box: PublishedBox) -> tuple[Operation, ...]:
    """Give what writes a whole entry over one that stands."""
    return (Operation("replace", _entry_path(box), ("valueContactPoint", contact_point(box))),)


def changes(sent: PublishedBox | None, wanted: PublishedBox | None) -> tuple[Operation, ...]:
    """Give what turns `sent` into `wanted`, both of the same holder; none when they are equal."""
    if sent == wanted:
        return ()
    if wanted is None:
        return (Operation("delete", _entry_path(sent)),) if sent is not None else ()
    if sent is None or (sent.address, sent.type) != (wanted.address, wanted.type):
        gone = (Operation("delete", _entry_path(sent)),) if sent is not None else ()
        return (Operation("insert", f"{wanted.carrier.value}.telecom", ("valueContactPoint", contact_point(wanted))), *gone)
    path = _entry_path(wanted)
    differing = [name for name in (*TEXTS, "rank") if getattr(sent, name) != getattr(wanted, name)]
    if any(not getattr(sent, name) or not getattr(wanted, name) for name in differing):  # it appears, or goes
        return rewrite(wanted)
    datum = f"{path}.extension({quoted(METADATA)}).extension({{}}).value"
    found = [Operation("replace", datum.format(quoted(name)), ("valueString", getattr(wanted, name)))
             for name in differing if name != "rank"]
    if sent.red_listed != wanted.red_listed:
        found.append(Operation("replace", datum.format(quoted("listeRouge")), ("valueBoolean", wanted.red_listed)))
    if "rank" in differing:
        found.append(Operation("replace", f"{path}.rank", ("valueInteger", wanted.rank)))
    return tuple(found)


def parameters(operations: Sequence[Operation]) -> Json:
    """Give the body of a PATCH."""
    listed = []
    for one in operations:
        parts: list[Json] = [{"name": "type", "valueCode": one.kind}, {"name": "path", "valueString": one.path}]
        if one.kind == "insert":
            parts.append({"name": "index", "valueInteger": 0})
        if one.value is not None:
            parts.append({"name": "value", one.value[0]: one.value[1]})
        listed.append({"name": "operation", "part": parts})
    return {"resourceType": "Parameters", "parameter": listed}


# ------------------------------------------------------------------------------------------ applying

_LITERAL = r"'((?:[^'\\]|\\.)*)'"
_PATH = re.compile(rf"(Practitioner|PractitionerRole|Organization)\.telecom(?:\.where\(\s*value\s*=\s*{_LITERAL}\s*\)"
                   rf"(\.rank|\.extension\({_LITERAL}\)\.extension\({_LITERAL}\)\.value)?)?")


@dataclass(frozen=True, slots=True)
class _Target:
    """A parsed path. address None: the list itself; datum: empty for the whole entry, `rank`, or a metadata name."""

    address: str | None
    datum: str


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _target(kind: str, path: object) -> _Target:
    found = _PATH.fullmatch(path) if isinstance(path, str) and len(path) <= MAX_PATH else None
    if found is None or found[1] != kind:
        raise PatchRefused(400, "structure", "path is not one of those of this service")
    if found[2] is None:
        return _Target(None, "")
    if found[3] is None:
        return _Target(_unquoted(found[2]), "")
    if found[3] == ".rank":
        return _Target(_unquoted(found[2]), "rank")
    if _unquoted(found[4]) != METADATA or _unquoted(found[5]) not in (*TEXTS, "listeRouge"):
        raise PatchRefused(400, "structure", "this datum cannot be changed")
    return _Target(_unquoted(found[2]), _unquoted(found[5]))


def _parts(operation: object) -> Json:
    """Give the parts by name: `type`, `path`, `index` values, and `value` as (`valueX`, JSON)."""
    if not isinstance(operation, dict) or operation.get("name") != "operation" or not isinstance(operation.get("part"), list):
        raise PatchRefused(400, "structure", "an operation has a name and parts")
    found: Json = {}
    for part in operation["part"]:
        values = [key for key in part if key.startswith("value")] if isinstance(part, dict) else []
        if len(values) != 1 or not isinstance(part.get("name"), str) or part["name"] in found:
            raise PatchRefused(400, "structure", "a part has one name and one value")
        found[part["name"]] = (values[0], part[values[0]])
    return found


def apply_patch(resource: Json, body: object) -> Json:
    """Give a new resource with the operations applied in order, all or none. Raises PatchRefused."""
    listed = body.get("parameter") if isinstance(body, dict) and body.get("resourceType") == "Parameters" else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_OPERATIONS:
        raise PatchRefused(400, "structure", "the body is a Parameters resource with operations")
    patched = copy.deepcopy(resource)
    telecom: list[Json] = patched.setdefault("telecom", [])
    for operation in listed:
        parts = _parts(operation)
        kind = parts.get("type", ("", ""))[1]
        target = _target(str(patched.get("resourceType")), parts.get("path", ("", None))[1])
        if kind == "insert" and target.address is None:
            _insert(telecom, parts)
        elif kind == "delete" and target.address is not None and not target.datum:
            telecom.remove(_entry(telecom, target.address))
        elif kind == "replace" and target.address is not None:
            _replace(telecom, target, parts.get("value", ("", None)))
        else:
            raise PatchRefused(400, "structure", "type and path do not go together")
    return patched


def _entry(telecom: list[Json], address: str) -> Json:
    found = [one for one in telecom if str(one.get("value", "")).lower() == address.lower() and one.get("system") == "email"]
    if len(found) != 1:
        raise PatchRefused(422, "not-found", "no mailbox, or several, have this address here")
    return found[0]


def _insert(telecom: list[Json], parts: Json) -> None:
    name, value = parts.get("value", ("", None))
    index = parts.get("index", ("", 0))[1]
    if name != "valueContactPoint" or not isinstance(value, dict) or not isinstance(value.get("value"), str):
        raise PatchRefused(400, "structure", "an insertion needs a ContactPoint")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index <= len(telecom):
        raise PatchRefused(400, "structure", "index is out of range")
    if any(str(one.get("value", "")).lower() == value["value"].lower() for one in telecom):
        raise PatchRefused(422, "conflict", "this holder has a mailbox of this address")
    telecom.insert(index, copy.deepcopy(value))


def _metadata(entry: Json) -> list[Json]:
    for one in entry.get("extension", ()):
        if one.get("url") == METADATA and isinstance(one.get("extension"), list):
            found: list[Json] = one["extension"]
            return found
    return []


def _type_of(entry: Json) -> str:
    """Give the box type of an entry, however it is written (api-mss-fhir §5)."""
    for one in _metadata(entry):
        if one.get("url") == "type":
            coding = one.get("valueCodeableConcept", {}).get("coding") or [{}]
            return str(one.get("valueCode") or coding[0].get("code", ""))
    return ""


def _replace(telecom: list[Json], target: _Target, given: tuple[str, Any]) -> None:
    entry = _entry(telecom, target.address or "")
    name, value = given
    if not target.datum:
        if name != "valueContactPoint" or not isinstance(value, dict):
            raise PatchRefused(400, "structure", "this path needs a ContactPoint")
        if str(value.get("value", "")).lower() != str(entry["value"]).lower() or _type_of(value) != _type_of(entry):
            raise PatchRefused(400, "business-rule", "address and type of a mailbox do not change")
        telecom[telecom.index(entry)] = copy.deepcopy(value)
    elif target.datum == "rank":
        if name not in ("valueInteger", "valuePositiveInt") or isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PatchRefused(400, "structure", "a rank is a positive integer")
        if "rank" not in entry:
            raise PatchRefused(422, "not-found", "this mailbox has no rank")
        entry["rank"] = value
    else:
        _replace_datum(entry, target.datum, name, value)


def _replace_datum(entry: Json, datum: str, name: str, value: object) -> None:
    wanted: tuple[str, type] = ("valueBoolean", bool) if datum == "listeRouge" else ("valueString", str)
    if name != wanted[0] or not isinstance(value, wanted[1]):
        raise PatchRefused(400, "structure", f"{datum} needs {wanted[0]}")
    for one in _metadata(entry):
        if one.get("url") == datum:
            for key in [key for key in one if key.startswith("value")]:
                del one[key]
            one[name] = value
            return
    raise PatchRefused(422, "not-found", f"this mailbox has no {datum}")
