"""People and groups of a local directory, read whole over LDAP: `services.ldapsync.PeopleSource`.

- Reads only the attributes it is told, which never hold a secret. Filters and bases are those of the configuration: no value that
  came from the directory goes into a question.
- All or nothing: a limit of the server (`LDAP-NOMBRE`), one of ours (entries, octets, seconds), a fault in the middle, raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mssante.errors import InputFault, OperatorFault
from mssante.lang import say
from mssante.protocol.ldap.client import LdapEntry
from mssante.protocol.ldap.filtertext import compile_filter
from mssante.services.ldapsync_values import RawEntry
from mssante.transport.ldap_client import LdapClient, LdapTarget

MAX_PASSWORD = 1024
MAX_OCTETS = 256 * 1024 * 1024  # values of a whole reading


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked. attributes: empty asks nothing at all."""

    base: str
    filter: str
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PeopleQuestion:
    """Where and what. most: entries of each search."""

    target: LdapTarget
    people: Search
    groups: Search | None = None
    bind_dn: str = ""
    password_file: Path | None = None
    most: int = 50_000
    most_octets: int = MAX_OCTETS

    def check(self) -> None:
        """Refuse what cannot be asked, before any question. Raises MssFault `LDAP-CONFIG`, `LDAP-FILTRE`, `CFG-SYNC`."""
        self.target.place  # noqa: B018 -- an address that cannot be read is told now
        for one in (self.people, self.groups):
            if one is not None:
                compile_filter(one.filter)
        if not self.people.base or (self.groups is not None and not self.groups.base):
            raise InputFault(say("base LDAP vide", "empty LDAP base"), rule="CFG-SYNC",
                             remedy="provisioning.ldap_base, ldap_groups_base")


class LdapPeople:
    """Reads by one connection a run."""

    def __init__(self, question: PeopleQuestion) -> None:
        self._question = question

    async def read(self) -> tuple[Sequence[RawEntry], Sequence[RawEntry]]:
        """Give people and groups. Raises LdapRefused, LdapFault, OperatorFault `SYNC-SECRET`, `SYNC-TAILLE`."""
        question = self._question
        left = question.most_octets
        async with LdapClient(question.target, question.bind_dn, self._password()) as client:
            people, left = await self._asked(client, question.people, left)
            groups, _ = await self._asked(client, question.groups, left) if question.groups is not None else ([], left)
        return people, groups

    async def _asked(self, client: LdapClient, search: Search, left: int) -> tuple[list[RawEntry], int]:
        found = []
        async for entry in client.search(search.base, search.filter, search.attributes, most=self._question.most):
            left -= _size(entry)
            if left < 0:
                raise OperatorFault(say("l'annuaire rend trop d'octets : rien n'est changé",
                                        "the directory gives too many octets: nothing is changed"), rule="SYNC-TAILLE",
                                    detail=f"> {self._question.most_octets}", remedy="provisioning.ldap_filter")
            found.append(RawEntry(entry.dn, entry.attributes))
        return found, left

    def _password(self) -> str:
        path = self._question.password_file
        if path is None:
            return ""
        try:
            with path.open("rb") as stream:
                secret = stream.read(MAX_PASSWORD + 1).rstrip(b"\r\n").decode()
        except (OSError, ValueError) as exc:
            raise OperatorFault(say("mot de passe LDAP illisible", "the LDAP password cannot be read"), detail=type(exc).__name__,
                                rule="SYNC-SECRET", remedy="provisioning.ldap_password_file") from exc
        if not secret or len(secret) > MAX_PASSWORD:
            raise OperatorFault(say("mot de passe LDAP vide ou trop long", "the LDAP password is empty or too long"),
                                rule="SYNC-SECRET", remedy="provisioning.ldap_password_file")
        return secret


def _size(entry: LdapEntry) -> int:
    return len(entry.dn) + sum(len(value) for values in entry.attributes.values() for value in values)
