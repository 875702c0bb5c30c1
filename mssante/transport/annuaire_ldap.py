"""The directory over LDAP, as one more remote source: exact questions about an address, attributes mapped by configuration.

- The national schema is not public (spec F4.19): which attribute is which field is a table of the configuration, over defaults of
  `inetOrgPerson` (RFC 2798). The address searched stands escaped in the filter (RFC 4515 §3).
- One connection a question, LDAPS or StartTLS; the password comes from a file, read at each question. Faults open a circuit as
  those of the FHIR source do. Certificates come from `userCertificate;binary` (RFC 4523 §2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mssante.clock import Clock
from mssante.directory.fhir import MAX_CERTIFICATE, TYPES
from mssante.directory.values import DirectoryEntry, Source
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.protocol.ldap.client import LdapEntry
from mssante.protocol.ldap.filtertext import escaped
from mssante.transport.annuaire_fhir import Circuit, RemoteFault, read_key
from mssante.transport.ldap_client import LdapClient, LdapTarget

MOST = 50
MAX_TEXT = 500
DEFAULTS = {
    "address": "mail", "family_name": "sn", "given_name": "givenName", "title": "personalTitle", "structure_name": "o",
    "service": "ou", "description": "description", "postcode": "postalCode", "town": "l", "certificate": "userCertificate"}
_FIELDS = {one.name for one in fields(DirectoryEntry) if one.type == "str"} | {"certificate"}


def attribute_map(configured: Mapping[str, str]) -> dict[str, str]:
    """Give field → attribute, defaults under what is configured; an empty attribute takes a field away. Raises InputFault."""
    for name, attribute in configured.items():
        if name not in _FIELDS or (attribute and not attribute.replace("-", "").replace(".", "").isalnum()):
            raise InputFault(say("directory.ldap_attributes : champ ou attribut inconnu",
                                 "directory.ldap_attributes: unknown field or attribute"), detail=f"{name} = {attribute}"[:200],
                             rule="CFG-ANNUAIRE", remedy=", ".join(sorted(_FIELDS)))
    found = {name: attribute for name, attribute in {**DEFAULTS, **configured}.items() if attribute}
    if "address" not in found:
        raise InputFault(say("directory.ldap_attributes : address manque", "directory.ldap_attributes: address is missing"),
                         rule="CFG-ANNUAIRE")
    return found


@dataclass(frozen=True, slots=True)
class LdapMailbox:
    """One mailbox of an LDAP entry. certificates: DER."""

    entry: DirectoryEntry
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class LdapSource:
    """What is asked. base: where; attributes: of `attribute_map`."""

    target: LdapTarget
    base: str
    attributes: Mapping[str, str]
    bind_dn: str = ""
    password_file: Path | None = None


class LdapDirectory:
    """`services.directory_sources.DirectoryClient` over LDAP."""

    def __init__(self, source: LdapSource, clock: Clock) -> None:
        self._source = source
        self.circuit = Circuit(clock, 5, 60.0)

    async def find(self, address: str) -> list[LdapMailbox]:
        """Give the mailboxes of exactly this address. Raises RemoteFault, LdapRefused, LdapFault."""
        self.circuit.check()
        try:
            found = await self._asked(address.lower())
        except MssFault:
            self.circuit.bad()
            raise
        self.circuit.good()
        return found

    async def _asked(self, address: str) -> list[LdapMailbox]:
        source = self._source
        password = read_key(source.password_file) if source.password_file is not None else ""
        wanted = f"({source.attributes['address']}={escaped(address)})"
        async with LdapClient(source.target, source.bind_dn, password) as client:
            found = [mailbox_of(entry, source.attributes)
                     async for entry in client.search(source.base, wanted, sorted(set(source.attributes.values())), most=MOST)]
        return [one for one in found if one.entry.address == address]

    async def close(self) -> None:
        """Nothing is kept open."""


def mailbox_of(entry: LdapEntry, attributes: Mapping[str, str]) -> LdapMailbox:
    """Read an LDAP entry by a map of `attribute_map`."""
    given: dict[str, Any] = {name: _text(entry.text(attribute)) for name, attribute in attributes.items()
                             if name != "certificate"}
    given["address"] = given["address"].lower()
    given["type"] = given.get("type", "").upper() if given.get("type", "").upper() in TYPES else (
        "PER" if given.get("family_name") or given.get("holder_id") else "ORG")
    ders = entry.attributes.get(attributes.get("certificate", "").lower(), ())
    return LdapMailbox(DirectoryEntry(**given, source=Source.LDAP),
                       tuple(der for der in ders[:20] if der[:1] == b"\x30" and len(der) <= MAX_CERTIFICATE))


def _text(value: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in value[:MAX_TEXT]).split())


__all__ = ["LdapDirectory", "LdapMailbox", "LdapSource", "RemoteFault", "attribute_map", "mailbox_of"]
