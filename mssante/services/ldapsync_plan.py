"""What a reading of the local directory changes here: joiners, changed names, leavers, returners. Pure functions on values.

- Only people that the directory brought (links of source `ldap`) are changed. A login or an address that exists is never taken
  over: a conflict is told (same rule as SCIM), and so is an account that was removed here, which is not made again.
- A leaver is somebody linked who is absent or disabled. One whose entry is wrong is left as it is.
- The address of a mailbox and its holder never change: a new one in the directory is told.
- The guard refuses a whole run that would disable, or put out of teams, more than `guard_percent` of those there are, beyond
  `GUARD_MINIMUM`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mssante.lang import say
from mssante.model.mailbox import Mailbox
from mssante.services.ldapsync_values import Person, Problem, Sighting
from mssante.storage.delegations import Link
from mssante.storage.delegations import Person as Login

GUARD_MINIMUM = 3


class Action(StrEnum):
    """What becomes of one person."""

    CREATE = "create"
    RENAME = "rename"
    UPDATE = "update"
    RETURN = "return"
    LEAVE = "leave"
    FORGET = "forget"  # removed here, gone there: only the link goes


@dataclass(frozen=True, slots=True)
class Held:
    """What a link remembers. left_account, left_mailbox: what leaving really changed, so that coming back undoes no more."""

    login: str
    given_name: str = ""
    family_name: str = ""
    display_name: str = ""
    left_account: bool = False
    left_mailbox: bool = False

    def document(self) -> str:
        """Give it as a link keeps it."""
        return json.dumps({"login": self.login, "givenName": self.given_name, "familyName": self.family_name,
                           "displayName": self.display_name, "leftAccount": self.left_account, "leftMailbox": self.left_mailbox})

    @staticmethod
    def of(link: Link) -> Held:
        """Read the document of a link; what it does not say is empty."""
        try:
            found = json.loads(link.document)
        except ValueError:
            found = None
        kept = found if isinstance(found, dict) else {}
        return Held(str(kept.get("login", "")), str(kept.get("givenName", "")), str(kept.get("familyName", "")),
                    str(kept.get("displayName", "")), kept.get("leftAccount") is True, kept.get("leftMailbox") is True)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do. login: as it will be; address: of a mailbox to make; before: the login that changes."""

    action: Action
    external_id: str
    login: str
    address: str = ""
    before: str = ""
    person: Person | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is here. logins: those asked for that exist; taken: address of ours → mailbox id, aliases included; boxes: by id."""

    links: Mapping[str, Link]
    logins: Mapping[str, Login]
    taken: Mapping[str, int]
    boxes: Mapping[int, Mailbox]


@dataclass(frozen=True, slots=True)
class Rules:
    """How to decide. contested: logins and addresses that several people of the directory claim."""

    require_holder: bool = True
    contested: frozenset[str] = frozenset()


Decision = tuple[list[Change], list[Problem]]


def plan_people(people: Mapping[str, Sighting], external_ids: Iterable[str], standing: Standing, rules: Rules) -> Decision:
    """Give what these people become, in order, and what is told. external_ids: those seen and those linked."""
    changes: list[Change] = []
    problems: list[Problem] = []
    for one in sorted(set(external_ids)):
        done, told = _decide(one, people.get(one), standing, rules)
        changes += done
        problems += told
    return changes, problems


def _decide(external_id: str, seen: Sighting | None, standing: Standing, rules: Rules) -> Decision:
    told = [seen.problem] if seen is not None and seen.problem is not None else []
    link = standing.links.get(external_id)
    if link is None:
        if seen is None or seen.person is None or seen.disabled:
            return [], told
        return _joiner(external_id, seen.person, standing, rules)
    held = Held.of(link)
    account = standing.logins.get(held.login)
    if account is None or account.account_id != link.account_id:
        if seen is None:
            return [Change(Action.FORGET, external_id, held.login)], told
        return [], [*told, Problem("SYNC-COMPTE-DISPARU", held.login, say(
            "compte supprimé ici, toujours dans l'annuaire : rien n'est fait",
            "login removed here, still in the directory: nothing is done"))]
    if seen is None or seen.disabled:
        return [Change(Action.LEAVE, external_id, held.login)] if link.active else [], told
    if seen.person is None:
        return [], told
    return _standing(link, held, seen.person, (standing, rules))


def _joiner(external_id: str, person: Person, standing: Standing, rules: Rules) -> Decision:
    login = person.logins[0]
    if not person.addresses:
        return [], [Problem("SYNC-DOMAINE", login, say("aucune adresse dans un domaine d'ici", "no address in a domain of ours"),
                            say("attribut mail, provisioning.domains", "mail attribute, provisioning.domains"))]
    address = login if login in person.addresses else person.addresses[0]
    if {login, address} & rules.contested:
        return [], [Problem("SYNC-DOUBLON", login, say("deux entrées ont ce login ou cette adresse",
                                                       "two entries have this login or address"),
                            say("corrigez l'annuaire", "mend the directory"))]
    if login in standing.logins or login in standing.taken or address in standing.taken:
        return [], [_taken(login)]
    if rules.require_holder and not person.holder_id:
        return [], [Problem("SYNC-TITULAIRE", login, say("une boîte PER demande le RPPS de son titulaire",
                                                         "a PER mailbox needs the RPPS number of its holder"),
                            "provisioning.ldap_attributes.holder_id")]
    return [Change(Action.CREATE, external_id, login, address, person=person)], []


def _taken(login: str) -> Problem:
    return Problem("SYNC-PRIS", login, say("ce compte ou cette adresse existe déjà, et n'est pas repris",
                                           "this login or address exists already, and is not taken over"),
                   "mssante account list, mssante mailbox list")


def _standing(link: Link, held: Held, person: Person, ground: tuple[Standing, Rules]) -> Decision:
    standing, rules = ground
    changes: list[Change] = []
    problems: list[Problem] = []
    login = held.login if held.login in person.logins else person.logins[0]
    if login != held.login:
        if login in rules.contested or login in standing.logins or standing.taken.get(login, link.mailbox_id) != link.mailbox_id:
            problems.append(_taken(login))
            login = held.login
        else:
            changes.append(Change(Action.RENAME, link.external_id, login, before=held.login))
    if (person.given_name, person.family_name, person.display_name) != (held.given_name, held.family_name, held.display_name):
        changes.append(Change(Action.UPDATE, link.external_id, login, person=person))
    if not link.active:
        changes.append(Change(Action.RETURN, link.external_id, login))
    return changes, [*problems, *_unchanging(login, link, person, standing)]


def _unchanging(login: str, link: Link, person: Person, standing: Standing) -> list[Problem]:
    """Tell what the directory says anew of a mailbox, which does not follow."""
    box = standing.boxes.get(link.mailbox_id)
    if box is None:
        return []
    told = []
    if not any(one == box.address or standing.taken.get(one) == box.id for one in person.addresses):
        told.append(Problem("SYNC-ADRESSE", login, say(f"l'annuaire ne donne plus {box.address}, qui ne change pas",
                                                       f"the directory gives {box.address} no more, which does not change"),
                            f"mssante mailbox alias add {box.address} …"))
    if person.holder_id and box.holder_id and person.holder_id != box.holder_id:
        text = say(f"l'annuaire donne un autre titulaire à {box.address}, qui ne change pas",
                   f"the directory gives {box.address} another holder, which does not change")
        told.append(Problem("SYNC-TITULAIRE", login, text, say(
            "une boîte PER garde son titulaire : corrigez l'annuaire ou faites-en une autre",
            "a PER mailbox keeps its holder: mend the directory or make another one")))
    return told


def guard(leaving: int, of: int, percent: float, what: str) -> Problem | None:
    """Refuse a run in which too many go at once. of: how many there are; what: for the text."""
    allowed = max(GUARD_MINIMUM, int(of * percent / 100))
    if leaving <= allowed:
        return None
    return Problem("SYNC-GARDE", what, say(f"{leaving} sur {of} partiraient d'un coup (au plus {allowed}) : rien n'est changé",
                                           f"{leaving} of {of} would go at once (at most {allowed}): nothing is changed"),
                   say("vérifiez l'annuaire, puis `mssante account sync --force`",
                       "check the directory, then `mssante account sync --force`"))


def leavers(changes: Sequence[Change]) -> frozenset[str]:
    """Give the external identifiers of those who leave."""
    return frozenset(one.external_id for one in changes if one.action is Action.LEAVE)
