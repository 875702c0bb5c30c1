"""The lab's national directory: the text extraction and the FHIR resources, made from the lab's mailboxes.

- Extraction (spec §4.3): ZIP with one UTF-8 file, `|` separated, the 31 columns of the real one; PER and ORG only (F4.11).
- FHIR (spec §4.4): `Practitioner` carries PER, `Organization` carries ORG and APP; `telecom` marked MSSANTE with the
  mailbox metadata (F4.13). Citizens are in no directory. `PractitionerRole` exists and is empty.
- Pure: instants and accounts are arguments. Never serves anything by itself; called by `mssante.lab.infra`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mssante.errors import InputFault
from mssante.lab.accounts import Account
from mssante.lab.plan import CITIZEN_DOMAIN
from mssante.model.mailbox import MailboxType

_STRUCTURE_COLUMNS = (
    "Raison Sociale", "Enseigne commerciale", "L2COMPLEMENTLOCALISATION", "L3COMPLEMENTDISTRIBUTION", "L4NUMEROVOIE",
    "L4COMPLEMENTNUMEROVOIE", "NL4TYPEVOIE", "L4LIBELLEVOIE", "L5LIEUDITMENTION", "L6LIGNEACHEMINEMENT",
    "Code postal", "Département", "Pays")
COLUMNS = (
    "Type de BAL", "Adresse BAL", "Type Identifiant PP", "Identifiant PP", "Identification nationale PP",
    "Type identifiant structure", "Identification Structure", "Service de rattachement", "Civilité d'exercice",
    "Nom d'exercice", "Prénom d'exercice", "Catégorie profession", "Libellé de catégorie profession",
    "Code Profession", "Libellé Profession", "Code savoir-faire", "Libellé savoir-faire", "Dématérialisation",
    *(f"{name} structure BAL" for name in _STRUCTURE_COLUMNS))

PERSON_SYSTEM = "urn:oid:1.2.250.1.71.4.2.1"  # F4.18
STRUCTURE_SYSTEM = "urn:oid:1.2.250.1.71.4.2.2"
_NOS = "https://mos.esante.gouv.fr/NOS"
_MSSANTE = {"system": f"{_NOS}/TRE_R256-TypeMessagerie/FHIR/TRE-R256-TypeMessagerie", "code": "MSSANTE"}
_EMAIL_TYPE = "https://hl7.fr/ig/fhir/core/StructureDefinition/fr-core-contact-point-email-type"
_METADATA = "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/as-ext-mailbox-mss-metadata"
_TYPE_SYSTEM = f"{_NOS}/TRE_R257-TypeBAL/FHIR/TRE-R257-TypeBAL"
RESOURCE_TYPES = ("Practitioner", "PractitionerRole", "Organization")
DEFAULT_PAGE = 50  # F4.12
MAX_PAGE = 1000

Resource = dict[str, Any]


def listed_accounts(accounts: Iterable[Account]) -> list[Account]:
    """Give the mailboxes that the directory knows: all but the citizens'."""
    return [one for one in accounts if not one.address.endswith(f"@{CITIZEN_DOMAIN}")]


def _names(account: Account) -> tuple[str, str]:
    """Family name (upper case) and given name of a person's display name."""
    given, _, family = account.display_name.partition(" ")
    return (family or given).upper(), given.upper() if family else ""


def extraction_row(account: Account) -> str:
    """Give the line of one PER or ORG mailbox."""
    cells = dict.fromkeys(COLUMNS, "")
    cells.update({"Type de BAL": account.type.value, "Adresse BAL": account.address, "Dématérialisation": "N"})
    if account.type is MailboxType.PER:
        family, given = _names(account)
        national = account.holder_id
        cells.update({
            "Type Identifiant PP": national[:1], "Identifiant PP": national[1:], "Identification nationale PP": national,
            "Civilité d'exercice": "DR", "Nom d'exercice": family, "Prénom d'exercice": given,
            "Catégorie profession": "C", "Libellé de catégorie profession": "Civil", "Code Profession": "10",
            "Libellé Profession": "Médecin", "Code savoir-faire": "SM54",
            "Libellé savoir-faire": "Médecine Générale (SM)"})
    else:
        cells.update({
            "Type identifiant structure": account.holder_id[:1], "Identification Structure": account.holder_id,
            "Service de rattachement": account.service, "Raison Sociale structure BAL": account.display_name.upper(),
            "L6LIGNEACHEMINEMENT structure BAL": "99200 VILLE-FICTIVE", "Code postal structure BAL": "99200",
            "Département structure BAL": "99", "Pays structure BAL": "99100"})
    return "|".join(cells[name].replace("|", " ") for name in COLUMNS)


def extraction_stem(now: datetime) -> str:
    """Give the file name without its ending: it carries the stamp that consumers watch (F4.7)."""
    return "Extraction_Correspondance_MSSante_" + now.astimezone(UTC).strftime("%Y%m%d%H%M")


def build_extraction(accounts: Iterable[Account], now: datetime) -> bytes:
    """Give the ZIP of the extraction made at `now`; the same input gives the same octets."""
    rows = [extraction_row(one) for one in listed_accounts(accounts) if one.type in (MailboxType.PER, MailboxType.ORG)]
    text = "\n".join(("|".join(COLUMNS), *rows)) + "\n"
    stem = extraction_stem(now)
    entry = zipfile.ZipInfo(f"{stem}.txt", now.astimezone(UTC).timetuple()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(entry, text.encode())
    return stream.getvalue()


def _telecom(account: Account) -> Resource:
    metadata: list[Resource] = [
        {"url": "type", "valueCodeableConcept": {"coding": [{"system": _TYPE_SYSTEM, "code": account.type.value}]}}]
    if account.type is not MailboxType.PER:
        metadata.append({"url": "description", "valueString": account.display_name})
        if account.service:
            metadata.append({"url": "service", "valueString": account.service})
    metadata.append({"url": "listeRouge", "valueBoolean": False})
    return {"extension": [{"url": _EMAIL_TYPE, "valueCoding": _MSSANTE}, {"extension": metadata, "url": _METADATA}],
            "system": "email", "value": account.address, "rank": 1}


def _practitioner(rank: int, account: Account) -> Resource:
    family, given = _names(account)
    resource: Resource = {"resourceType": "Practitioner", "id": f"lab-p{rank:05d}", "language": "fr", "active": True,
                          "name": [{"use": "usual", "family": family, "given": [given] if given else []}],
                          "telecom": [_telecom(account)]}
    if account.holder_id:
        resource["identifier"] = [
            {"use": "official", "system": PERSON_SYSTEM, "value": account.holder_id},
            {"use": "official", "system": "https://rpps.esante.gouv.fr", "value": account.holder_id[1:]}]
    return resource


def _organization(rank: int, identifier: str, accounts: Sequence[Account]) -> Resource:
    resource: Resource = {"resourceType": "Organization", "id": f"lab-o{rank:05d}", "language": "fr", "active": True,
                          "name": accounts[0].display_name.upper(), "telecom": [_telecom(one) for one in accounts]}
    if identifier:
        resource["identifier"] = [
            {"use": "official", "system": STRUCTURE_SYSTEM, "value": identifier},
            {"system": "https://finess.esante.gouv.fr", "value": identifier[1:]}]
    return resource


def fhir_resources(accounts: Iterable[Account]) -> dict[str, list[Resource]]:
    """Give the resources by type; the mailboxes of one structure share its Organization."""
    people: list[Resource] = []
    structures: dict[tuple[str, str], list[Account]] = {}
    for account in listed_accounts(accounts):
        if account.type is MailboxType.PER or account.type is MailboxType.CAB:
            people.append(_practitioner(len(people) + 1, account))
        else:
            owner = account.holder_id or account.address
            structures.setdefault((owner, account.holder_id), []).append(account)
    organizations = [_organization(rank, key[1], members)
                     for rank, (key, members) in enumerate(structures.items(), start=1)]
    return {"Practitioner": people, "PractitionerRole": [], "Organization": organizations}


@dataclass(frozen=True, slots=True)
class Search:
    """A parsed search. mailbox and identifier are empty when not asked."""

    mailbox: str = ""
    match: str = "start"
    identifier: str = ""
    count: int = DEFAULT_PAGE
    offset: int = 0


def _positive(text: str, name: str, ceiling: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > ceiling:
        raise InputFault(f"Parameter {name} is not a number up to {ceiling}", rule="FHIR-PARAM")
    return int(text)


def parse_search(query: Mapping[str, str]) -> Search:
    """Read search parameters (F4.15); raises InputFault (`FHIR-PARAM`) for one that the live server does not know (F4.16)."""
    values: dict[str, Any] = {}
    for name, value in query.items():
        if name in ("mailbox-mss", "mailbox-mss:exact", "mailbox-mss:contains"):
            values.update(mailbox=value, match=name.partition(":")[2] or "start")
        elif name == "identifier":
            values["identifier"] = value
        elif name == "_count":
            values["count"] = max(_positive(value, name, MAX_PAGE), 1)
        elif name == "_page_token":
            values["offset"] = _positive(value, name, 100_000_000)
        elif name not in ("_total", "_elements", "_format"):
            raise InputFault(f"Parameter {name[:60]} not found", rule="FHIR-PARAM")
    return Search(**values)


def _matches(resource: Resource, search: Search) -> bool:
    if search.identifier:
        system, bar, value = search.identifier.rpartition("|")
        if not any(one["value"] == value and (not bar or one["system"] == system)
                   for one in resource.get("identifier", ())):
            return False
    wanted = search.mailbox.lower()
    if not wanted:
        return True
    for telecom in resource["telecom"]:
        address = telecom["value"].lower()
        if {"exact": address == wanted, "contains": wanted in address, "start": address.startswith(wanted)}.get(
                search.match, False):
            return True
    return False


def search_bundle(kind: str, resources: Sequence[Resource], search: Search, *, base_url: str) -> Resource:
    """Give the `searchset` Bundle of one page; `link` has `next` when more follows (F4.12)."""
    found = [one for one in resources if _matches(one, search)]
    page = found[search.offset:search.offset + search.count]
    parameters = f"_count={search.count}"
    if search.mailbox:
        modifier = "" if search.match == "start" else f":{search.match}"
        parameters = f"mailbox-mss{modifier}={search.mailbox}&{parameters}"
    if search.identifier:
        parameters = f"identifier={search.identifier}&{parameters}"
    links = [{"relation": "self", "url": f"{base_url}/{kind}?{parameters}"}]
    after = search.offset + search.count
    if after < len(found):
        links.append({"relation": "next", "url": f"{base_url}/{kind}?{parameters}&_page_token={after}"})
    bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "link": links, "total": len(found)}
    if page:
        bundle["entry"] = [{"fullUrl": f"{base_url}/{kind}/{one['id']}", "resource": one, "search": {"mode": "match"}}
                           for one in page]
    return bundle


def operation_outcome(code: str, text: str) -> Resource:
    """Give an OperationOutcome of severity error."""
    return {"resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": code, "diagnostics": text}]}
