"""Groups of a local directory and the ORG mailboxes that they open: who is a member, nested groups included. Pure.

- A group of the configuration is named by its DN, or by its cn when that is not ambiguous. A name that cannot be resolved, a
  group of more than `MAX_GROUP` values or one without any makes a problem, and its mailbox is left as it is: what we do not see
  never takes anything from anybody. (Active Directory cuts `member` at 1 500 values: such an answer is over our bound too.)
- Groups in groups are followed among the groups that were read, each once: a cycle ends.
- A member that is nobody of the directory's people is left out. DNs compare by RFC 4514: case, spaces and escapes do not count.
Called by `services/ldapsync.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mssante.lang import say
from mssante.services.ldapsync_values import Problem, RawEntry, Sighting

MAX_GROUP = 1000  # values of a group
MAX_TEAM = 500  # people of a mailbox
MAX_DN = 2048
_TOKEN = re.compile(r"((?:\\[0-9a-fA-F]{2})+)|\\(.)|([,+=])|([^\\,+=]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Team:
    """Who a mailbox is for. members: external identifiers."""

    address: str
    members: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Group:
    key: tuple[str, ...]
    name: str
    values: tuple[str, ...]


@lru_cache(maxsize=65_536)
def dn_key(text: str) -> tuple[str, ...]:
    """Give the form under which a DN is compared (RFC 4514 §2.4, §3): values and separators in turn; empty for one too long."""
    if len(text) > MAX_DN:
        return ()
    out: list[str] = []
    value = ""
    for found in _TOKEN.finditer(text):
        octets, character, separator, plain = found.groups()
        if separator is None:
            value += bytes.fromhex(octets.replace("\\", "")).decode("utf-8", "replace") if octets else character or plain
            continue
        out += [value.strip().casefold(), separator]
        value = ""
    return (*out, value.strip().casefold())


def teams_of(groups: Iterable[RawEntry], wanted: Mapping[str, str], member_attribute: str,
             people: Mapping[str, Sighting]) -> tuple[list[Team], list[Problem]]:
    """Give the teams of mailboxes, and what could not be told. wanted: DN or cn of a group → address of its mailbox."""
    read = [_group(one, member_attribute) for one in groups]
    by_key = {one.key: one for one in read}
    by_dn = {dn_key(one.dn): one.external_id for one in people.values()}
    by_login = {login: one.external_id for one in people.values() if one.person is not None for login in one.person.logins}
    boxes: dict[str, set[str]] = {}
    problems: list[Problem] = []
    spoilt: set[str] = set()
    for name, address in sorted(wanted.items()):
        box = address.lower()
        found = _named(name, read)
        problem = _wrong(name, found) or _wrong_inside(name, found[0], by_key)
        if problem is not None:
            problems.append(problem)
            spoilt.add(box)
            continue
        values = _members(found[0], by_key)
        boxes.setdefault(box, set()).update(
            known for value in values if (known := by_dn.get(dn_key(value)) or by_login.get(value.lower())))
    for box, members in boxes.items():
        if len(members) > MAX_TEAM:
            text = say(f"{len(members)} membres : trop", f"{len(members)} members: too many")
            problems.append(Problem("SYNC-GROUPE-TAILLE", box, text, say(f"{MAX_TEAM} au plus", f"{MAX_TEAM} at most")))
            spoilt.add(box)
    return [Team(box, frozenset(members)) for box, members in sorted(boxes.items()) if box not in spoilt], problems


def _group(entry: RawEntry, attribute: str) -> _Group:
    name = entry.attributes.get("cn", (b"",))
    values = entry.attributes.get(attribute.lower(), ())
    return _Group(dn_key(entry.dn), name[0].decode("utf-8", "replace").casefold() if name else "",
                  tuple(value.decode("utf-8", "replace") for value in values))


def _named(name: str, groups: Sequence[_Group]) -> list[_Group]:
    by_dn = [one for one in groups if one.key == dn_key(name)]
    return by_dn or [one for one in groups if one.name == name.casefold()]


def _wrong(name: str, found: Sequence[_Group]) -> Problem | None:
    if len(found) == 1:
        return None
    text = say("plusieurs groupes de ce nom : sa boîte est laissée", "several groups of this name: its mailbox is left")
    if not found:
        text = say("groupe absent de l'annuaire : sa boîte est laissée", "group not in the directory: its mailbox is left")
    return Problem("SYNC-GROUPE-ABSENT" if not found else "SYNC-GROUPE-AMBIGU", name, text,
                   say("nommez-le par son DN dans provisioning.ldap_groups", "name it by its DN in provisioning.ldap_groups"))


def _wrong_inside(name: str, group: _Group, by_key: Mapping[tuple[str, ...], _Group]) -> Problem | None:
    """Tell why the members of a group, or of one inside it, are not all there."""
    for one in _nested(group, by_key):
        if len(one.values) > MAX_GROUP:
            return Problem("SYNC-GROUPE-TAILLE", name, say(f"plus de {MAX_GROUP} valeurs : sa boîte est laissée",
                                                           f"more than {MAX_GROUP} values: its mailbox is left"))
    if not group.values:
        return Problem("SYNC-GROUPE-VIDE", name, say("groupe sans membre lisible : sa boîte est laissée",
                                                     "group without a readable member: its mailbox is left"),
                       say("droits de lecture, ou mssante mailbox team remove", "read rights, or mssante mailbox team remove"))
    return None


def _nested(group: _Group, by_key: Mapping[tuple[str, ...], _Group]) -> list[_Group]:
    seen = {group.key: group}
    ahead = [group]
    while ahead:
        for value in ahead.pop().values[:MAX_GROUP + 1]:
            inner = by_key.get(dn_key(value))
            if inner is not None and inner.key not in seen:
                seen[inner.key] = inner
                ahead.append(inner)
    return list(seen.values())


def _members(group: _Group, by_key: Mapping[tuple[str, ...], _Group]) -> set[str]:
    return {value for one in _nested(group, by_key) for value in one.values}
