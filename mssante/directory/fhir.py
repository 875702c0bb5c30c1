"""Reads FHIR R4 answers of the national directory into entries: resources, Bundles, contained ones (spec §4.4, api-mss-fhir).

- A mailbox is a `telecom` of system `email` with the MSSANTE marker or the mailbox metadata; other e-mails are contacts and are
  left out (F4.14). Where the guide contradicts itself every form is read: `type` as code, coding or concept, of R256 or R257,
  no marker, no metadata; children of the metadata that nobody describes are kept aside.
- Bounded: octets, nesting, entries, boxes of a resource, length of every text; a key given twice in one object is refused (two
  readers would see two documents). One entry of the wrong shape is left out and counted; a document of the wrong shape raises.
- Pure. Never fetches a link of the answer; never keeps the responsible person in an entry. Called by `transport.annuaire_fhir`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mssante.directory.patch import EMAIL_TYPE, METADATA
from mssante.directory.values import DirectoryEntry, Source
from mssante.errors import InputFault
from mssante.lang import say

MAX_OCTETS = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_ENTRIES = 1000
MAX_BOXES = 200
MAX_TEXT = 500
MAX_LINK = 4096
MAX_CERTIFICATE = 16 * 1024
CARRIERS = ("Practitioner", "PractitionerRole", "Organization")
CERTIFICATE = "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/as-ext-digital-certificate"
TYPES = frozenset({"PER", "ORG", "APP", "CAB"})

_PERSON = ("urn:oid:1.2.250.1.71.4.2.1", "https://rpps.esante.gouv.fr")  # F4.18
_STRUCTURE = ("urn:oid:1.2.250.1.71.4.2.2", "https://finess.esante.gouv.fr", "https://sirene.fr")
_ADDRESS = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_KNOWN_METADATA = frozenset({"type", "listeRouge", "description", "service", "responsible"})

Json = dict[str, Any]


class FhirFault(InputFault):
    """An answer that cannot be read. rule: `FHIR-…`."""


@dataclass(frozen=True, slots=True)
class FhirMailbox:
    """One mailbox and what its resource says around it. type: as told, empty when not told; responsible: restricted (§4.1),
    never shown; extras: metadata children that no page describes; resource: `Practitioner/id`; certificates: DER."""

    entry: DirectoryEntry
    type: str = ""
    responsible: str = ""
    extras: tuple[tuple[str, str | bool | int | float], ...] = ()
    resource: str = ""
    active: bool = True
    updated: datetime | None = None
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class FhirPage:
    """One answer. next: the link to the page that follows, as told (its origin is the caller's to check); left_out: entries of
    the wrong shape; contacts: ordinary e-mails met."""

    mailboxes: tuple[FhirMailbox, ...] = ()
    next: str = ""
    total: int | None = None
    left_out: int = 0
    contacts: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The first issue of an OperationOutcome. code: `invalid`, `not-found`…; text: bounded, printable."""

    code: str
    text: str


# ------------------------------------------------------------------------------------------ JSON, bounded

def _pairs(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FhirFault(say("une clé JSON figure deux fois dans un objet", "a JSON key stands twice in one object"),
                        rule="FHIR-CLE-DOUBLE")
    return found


def _constant(name: str) -> float:
    raise ValueError(name)


def parse_json(body: bytes) -> Json:
    """Give the object of a body. Raises FhirFault: `FHIR-TAILLE`, `FHIR-PROFONDEUR`, `FHIR-CLE-DOUBLE`, `FHIR-JSON`."""
    if len(body) > MAX_OCTETS:
        raise FhirFault(say("réponse FHIR trop grosse", "FHIR answer is too large"), detail=f"{len(body)} > {MAX_OCTETS} octets",
                        rule="FHIR-TAILLE")
    depth = 0
    for token in _TOKEN.finditer(body):
        mark = token[0]
        depth += 1 if mark in b"[{" else -1 if mark in b"]}" else 0
        if depth > MAX_DEPTH:
            raise FhirFault(say("réponse FHIR trop imbriquée", "FHIR answer is nested too deep"), detail=f"> {MAX_DEPTH}",
                            rule="FHIR-PROFONDEUR")
    try:
        found = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_pairs, parse_constant=_constant)
    except (ValueError, RecursionError) as exc:
        raise FhirFault(say("la réponse n'est pas du JSON en UTF-8", "the answer is not JSON in UTF-8"),
                        detail=type(exc).__name__, rule="FHIR-JSON") from exc
    if not isinstance(found, dict):
        raise FhirFault(say("la réponse n'est pas un objet JSON", "the answer is not a JSON object"), rule="FHIR-JSON")
    return found


def _objects(value: object, most: int = MAX_BOXES) -> Iterator[Json]:
    """Give the objects of what should be a list (one object alone counts as a list of one)."""
    listed = value if isinstance(value, list) else [value]
    for one in listed[:most]:
        if isinstance(one, dict):
            yield one


def _text(value: object) -> str:
    """Give a printable text in one line, bounded; empty for another type."""
    if not isinstance(value, str):
        return ""
    return " ".join("".join(char if char.isprintable() else " " for char in value[:MAX_TEXT]).split())


def _texts(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(text for one in listed[:20] if (text := _text(one)))


def _instant(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) and len(value) < 40 else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


# ------------------------------------------------------------------------------------------ documents

def read_page(body: bytes) -> FhirPage:
    """Give the mailboxes of a Bundle or of one resource. Raises FhirFault: those of `parse_json`; `FHIR-RESSOURCE` for a resource
    of another kind; `FHIR-NOMBRE` for more than 1,000 entries; `FHIR-REFUS` for an OperationOutcome."""
    document = parse_json(body)
    kind = document.get("resourceType")
    if kind == "OperationOutcome":
        issue = read_outcome(document)
        raise FhirFault(say("l'annuaire a répondu par un refus", "the directory answered a refusal"),
                        detail=f"{issue.code}: {issue.text}"[:300], rule="FHIR-REFUS")
    if kind in CARRIERS:
        return _collect([document])
    if kind != "Bundle":
        raise FhirFault(say("ressource FHIR inattendue", "unexpected FHIR resource"), detail=_text(kind)[:60],
                        rule="FHIR-RESSOURCE")
    entries = document.get("entry", [])
    if not isinstance(entries, list):
        raise FhirFault(say("Bundle mal formé", "malformed Bundle"), detail="entry", rule="FHIR-RESSOURCE")
    if len(entries) > MAX_ENTRIES:
        raise FhirFault(say("trop d'entrées dans une page", "too many entries in one page"),
                        detail=f"{len(entries)} > {MAX_ENTRIES}", rule="FHIR-NOMBRE")
    resources = [one.get("resource") if isinstance(one, dict) else None for one in entries]
    page = _collect(resources)
    total = document.get("total")
    return replace(page, next=_next(document), total=total if isinstance(total, int) and not isinstance(total, bool) else None)


def read_outcome(document: Mapping[str, Any]) -> Outcome:
    """Give the first issue of an OperationOutcome (FHIR R4 OperationOutcome.issue), empty for another document."""
    for issue in _objects(document.get("issue"), 1):
        details = issue.get("details")
        told = _text(issue.get("diagnostics")) or _text(details.get("text") if isinstance(details, dict) else "")
        return Outcome(_text(issue.get("code"))[:60], told[:200])
    return Outcome("", "")


def _next(document: Json) -> str:
    for link in _objects(document.get("link"), 20):
        url = link.get("url")
        if link.get("relation") == "next" and isinstance(url, str) and 0 < len(url) <= MAX_LINK:
            return url
    return ""


def _collect(resources: Sequence[object]) -> FhirPage:
    boxes: list[FhirMailbox] = []
    left_out = contacts = 0
    known = _Known.of(resources)
    for resource in resources:
        if not isinstance(resource, dict) or resource.get("resourceType") not in (*CARRIERS, "OperationOutcome"):
            left_out += 1  # an OperationOutcome beside matches is a hint (search.mode `outcome`), not an entry of the wrong shape
            continue
        for carrier in (resource, *_objects(resource.get("contained"), 50)):
            if carrier.get("resourceType") in CARRIERS:
                found, plain, wrong = _boxes(carrier, known.within(resource))
                boxes += found
                contacts += plain
                left_out += wrong
    return FhirPage(tuple(boxes), left_out=left_out, contacts=contacts)


@dataclass(frozen=True, slots=True)
class _Known:
    """Resources by reference, so that a PractitionerRole finds its person and its structure in the same answer."""

    resources: dict[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, resources: Sequence[object]) -> _Known:
        found = {}
        for one in resources:
            if isinstance(one, dict) and isinstance(one.get("id"), str) and one.get("resourceType") in CARRIERS:
                found[f"{one['resourceType']}/{one['id']}"] = one
        return cls(found)

    def within(self, resource: Json) -> _Known:
        """Add what a resource contains, under `#id`."""
        inner = {f"#{one['id']}": one for one in _objects(resource.get("contained"), 50) if isinstance(one.get("id"), str)}
        return _Known({**self.resources, **inner}) if inner else self

    def referred(self, reference: object, kind: str) -> Json:
        """Give the resource that a Reference names, else what the Reference itself tells of it (identifier, display)."""
        if not isinstance(reference, dict):
            return {}
        name = reference.get("reference")
        found = self.resources.get(name) or self.resources.get("/".join(name.split("/")[-2:])) if isinstance(name, str) else None
        if found is not None and found.get("resourceType") == kind:
            return found
        inline: Json = {"identifier": [reference["identifier"]]} if isinstance(reference.get("identifier"), dict) else {}
        return {**inline, "name": _text(reference.get("display"))} if kind == "Organization" else inline


# ------------------------------------------------------------------------------------------ one carrier

def _boxes(carrier: Json, known: _Known) -> tuple[list[FhirMailbox], int, int]:
    """Give mailboxes, how many ordinary e-mails, how many entries of the wrong shape."""
    holder = _holder(carrier, known)
    meta = carrier.get("meta")
    around = FhirMailbox(holder, resource=f"{carrier['resourceType']}/{_text(carrier.get('id'))}"[:100],
                         active=carrier.get("active") is not False, certificates=_certificates(carrier),
                         updated=_instant(meta.get("lastUpdated") if isinstance(meta, dict) else None))
    found: list[FhirMailbox] = []
    contacts = wrong = 0
    for telecom in _objects(carrier.get("telecom", [])):
        if telecom.get("system") != "email":
            continue
        marked, metadata = _marks(telecom)
        if not marked and metadata is None:
            contacts += 1
            continue
        address = telecom.get("value")
        address = address.strip().lower() if isinstance(address, str) and len(address) <= 320 else ""
        if not _ADDRESS.fullmatch(address):
            wrong += 1
            continue
        told = metadata or {}
        box_type = _type(told)
        entry = replace(
            holder, address=address, type=box_type or ("ORG" if carrier["resourceType"] == "Organization" else "PER"),
            service=_text(_value(told.get("service"))) or holder.service, description=_text(_value(told.get("description"))),
            red_listed=_flag(_value(told.get("listeRouge"))), rank=_rank(telecom.get("rank")),
            dematerialised=_flag(_value(told.get("digitization"))))
        found.append(replace(around, entry=entry, type=box_type, responsible=_text(_value(told.get("responsible"))),
                             extras=_extras(told)))
    return found, contacts, wrong


def _marks(telecom: Json) -> tuple[bool, dict[str, Json] | None]:
    """Tell if the MSSANTE marker is there, and give the metadata children by name (None: no metadata)."""
    marked, metadata = False, None
    for one in _objects(telecom.get("extension", []), 50):
        url = str(one.get("url", "")).partition("|")[0]
        if url == EMAIL_TYPE:
            codes = [coding.get("code") for coding in _codings(one)]
            marked = marked or "MSSANTE" in codes
        elif url == METADATA and metadata is None:
            children = _objects(one.get("extension", []), 50)
            metadata = {child["url"]: child for child in children if isinstance(child.get("url"), str)}
    return marked, metadata


def _value(element: Json | None) -> object:
    """Give the only `value[x]` of an element, None when it has none or several."""
    if element is None:
        return None
    values = [value for name, value in element.items() if name.startswith("value")]
    return values[0] if len(values) == 1 else None


def _codings(element: Json) -> list[Json]:
    """Give the codings of a valueCoding, valueCode, valueString or valueCodeableConcept (api-mss-fhir §5)."""
    value = _value(element)
    if isinstance(value, str):
        return [{"code": value}]
    if not isinstance(value, dict):
        return []
    return list(_objects(value["coding"], 20)) if "coding" in value else [value]


def _type(metadata: Mapping[str, Json]) -> str:
    for coding in _codings(metadata.get("type", {})):
        code = coding.get("code")
        if isinstance(code, str) and code.strip().upper() in TYPES:
            return code.strip().upper()
    return ""


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _rank(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000 else 0


def _extras(metadata: Mapping[str, Json]) -> tuple[tuple[str, str | bool | int | float], ...]:
    found: list[tuple[str, str | bool | int | float]] = []
    for name, element in metadata.items():
        value = _value(element)
        if name not in _KNOWN_METADATA and isinstance(value, str | bool | int | float):
            found.append((_text(name)[:60], _text(value) if isinstance(value, str) else value))
    return tuple(found)


def _identifier(resource: Json, systems: Sequence[str]) -> tuple[str, str]:
    """Give (system, value) of the first identifier of these systems, in their order."""
    listed = [(one.get("system"), _text(one.get("value"))) for one in _objects(resource.get("identifier", []), 50)]
    for system in systems:
        for found, value in listed:
            if found == system and value and value.isascii() and value.isalnum() and len(value) <= 64:
                return system, value
    return "", ""


def _person_id(resource: Json) -> str:
    system, value = _identifier(resource, _PERSON)
    return f"8{value}" if system == _PERSON[1] and len(value) == 11 else value if system == _PERSON[0] else ""


def _structure_id(resource: Json) -> str:
    system, value = _identifier(resource, _STRUCTURE)
    return {_STRUCTURE[1]: "1", _STRUCTURE[2]: "3"}.get(system, "") + value


def _holder(carrier: Json, known: _Known) -> DirectoryEntry:
    """Give an entry with everything but the mailbox."""
    kind = carrier["resourceType"]
    blank = DirectoryEntry("", "", source=Source.FHIR)
    if kind == "Organization":
        return _structure(blank, carrier)
    if kind == "Practitioner":
        return _person(blank, carrier)
    person = known.referred(carrier.get("practitioner"), "Practitioner")
    entry = _structure(_person(blank, person), known.referred(carrier.get("organization"), "Organization"))
    told = [one.get("valueHumanName") for one in _objects(carrier.get("extension", []), 50)]
    names = [one for one in told if isinstance(one, dict)]
    if names and not entry.family_name:
        entry = _named(entry, names)
    return _coded(entry, [one for name in ("code", "specialty") for one in _objects(carrier.get(name, []), 50)])


def _person(entry: DirectoryEntry, resource: Json) -> DirectoryEntry:
    qualified = [one["code"] for one in _objects(resource.get("qualification", []), 50) if isinstance(one.get("code"), dict)]
    entry = _named(entry, list(_objects(resource.get("name", []), 10)))
    return _coded(replace(entry, holder_id=_person_id(resource)), qualified)


def _named(entry: DirectoryEntry, names: Sequence[Json]) -> DirectoryEntry:
    for name in names:
        family, given = _text(name.get("family")), " ".join(_texts(name.get("given", [])))
        if family or given:
            return replace(entry, family_name=family, given_name=given, title=" ".join(_texts(name.get("prefix", []))))
    return entry


def _coded(entry: DirectoryEntry, concepts: Sequence[Json]) -> DirectoryEntry:
    """Read profession, category and specialty codes by the nomenclature they come from."""
    for coding in [coding for concept in concepts for coding in _objects(concept.get("coding", []), 20)]:
        system, code, words = str(coding.get("system", "")), _text(coding.get("code"))[:60], _text(coding.get("display"))
        if "TRE_G15-" in system or "TRE_R94-" in system:
            entry = replace(entry, profession_code=code, profession=words)
        elif "TRE_R09-" in system:
            entry = replace(entry, category=code)
        elif any(mark in system for mark in ("TRE_R38-", "TRE_R01-", "TRE_R42-")) and not entry.specialty_code:
            entry = replace(entry, specialty_code=code, specialty=words)
    return entry


def _structure(entry: DirectoryEntry, resource: Json) -> DirectoryEntry:
    entry = replace(entry, structure_id=_structure_id(resource), structure_name=_text(resource.get("name")),
                    trade_name=next(iter(_texts(resource.get("alias", []))), ""))
    for place in _objects(resource.get("address", []), 5):
        postcode = _text(place.get("postalCode"))[:10]
        return replace(entry, lines=_texts(place.get("line", []))[:7], town=_text(place.get("city")), postcode=postcode,
                       department=_department(postcode), country=_text(place.get("country"))[:60])
    return entry


def _department(postcode: str) -> str:
    if len(postcode) != 5 or not postcode.isascii() or not postcode.isdigit():
        return ""
    if postcode.startswith("20"):
        return "2A" if postcode < "20200" else "2B"
    return postcode[:3] if postcode[:2] in ("97", "98") else postcode[:2]


# ------------------------------------------------------------------------------------------ certificates

def _certificates(carrier: Json) -> tuple[bytes, ...]:
    """Give the certificates of `as-ext-digital-certificate`: an Attachment of DER, PEM or, as its page says, hexadecimal."""
    found = []
    for one in _objects(carrier.get("extension", []), 50):
        if str(one.get("url", "")).partition("|")[0] != CERTIFICATE:
            continue
        for child in _objects(one.get("extension", []), 20):
            value = _value(child) if child.get("url") == "value" else None
            data = value.get("data") if isinstance(value, dict) else value
            octets = _octets(data) if isinstance(data, str) and len(data) <= 3 * MAX_CERTIFICATE else b""
            if octets:
                found.append(octets)
    return tuple(found[:20])


def _octets(text: str) -> bytes:
    """Give the octets of a certificate in hexadecimal, or base64 of DER, PEM or hexadecimal; empty when it is none of these."""
    packed = "".join(text.split())
    try:
        octets = bytes.fromhex(packed)
    except ValueError:
        try:
            octets = base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError):
            return b""
    if octets.lstrip()[:2].lower() in (b"30",):
        try:
            octets = bytes.fromhex(octets.decode("ascii"))
        except ValueError:
            return b""
    if octets.startswith(b"-----BEGIN CERTIFICATE-----"):
        body = octets.partition(b"-----BEGIN CERTIFICATE-----")[2].partition(b"-----END")[0]
        try:
            octets = base64.b64decode(b"".join(body.split()), validate=True)
        except (binascii.Error, ValueError):
            return b""
    return octets if octets[:1] == b"\x30" and len(octets) <= MAX_CERTIFICATE else b""
