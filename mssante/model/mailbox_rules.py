"""The rules of each type of mailbox, and its life: the one place where both are written (spec §4.1, §5, api-mss-fhir §2).

- `RULES` says who may hold a mailbox of each type, what the directory says of it, whether people log in to it.
- `EFFECTS` and `MOVES` are the life cycle `provisioned → published → active ⇄ suspended → closed → purged`: what each state
  means for mail and logins, and from where to where a mailbox may go. What is not in `MOVES` is refused.
- `next_step` says what time alone brings: warnings, suspension, closing, purge (CNIL F5.5-5.7). It never skips a warning: nobody
  is suspended who was not warned the configured time before.
Pure: `now` is an argument. Called by `services.life`, `services.life_keeper`, `services.mailbox_import`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.identifiers import HolderId, HolderKind, parse_holder
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType

MAX_TEXT = 255  # characters of service, description, responsible
_PERSONS = frozenset((HolderKind.RPPS, HolderKind.ADELI))
_STRUCTURES = frozenset((HolderKind.FINESS, HolderKind.SIREN, HolderKind.SIRET, HolderKind.RPPS_RANK))


# ------------------------------------------------------------------------------------------ types


@dataclass(frozen=True, slots=True)
class TypeRules:
    """holders: identifiers that fit; people: human logins may open it; shared: with several; fields: of the directory beside the
    red list and the rank, which all have."""

    holders: frozenset[HolderKind]
    people: bool
    shared: bool
    fields: frozenset[str]


RULES = {  # spec §4.1; fields: api-mss-fhir §2
    MailboxType.PER: TypeRules(_PERSONS, True, True, frozenset()),
    MailboxType.ORG: TypeRules(_STRUCTURES, True, True, frozenset(("description", "service", "responsible"))),
    MailboxType.APP: TypeRules(_STRUCTURES, False, False, frozenset(("description", "service", "responsible"))),
    MailboxType.CAB: TypeRules(_PERSONS, True, True, frozenset(("description",))),
}


def check_holder(type_: MailboxType, text: str) -> HolderId:
    """Give the holder of a mailbox of this type. Raises InputFault `TITULAIRE-FORME`, `TITULAIRE-CLE`, `TITULAIRE-TYPE`."""
    found = parse_holder(text)
    if found.kind not in RULES[type_].holders:
        wanted = ", ".join(sorted(kind.value for kind in RULES[type_].holders))
        raise InputFault(say(f"boîte {type_.value} : titulaire {found.kind.value}, attendu {wanted}",
                             f"mailbox {type_.value}: holder is {found.kind.value}, wanted {wanted}"),
                         rule="TITULAIRE-TYPE", remedy=say("changez le type ou l'identifiant", "change the type or the holder"))
    return found


def check_type(type_: MailboxType, *, cab: bool) -> None:
    """Refuse a CAB mailbox where they are not allowed: the national model is not final. Raises InputFault `BAL-CAB`."""
    if type_ is MailboxType.CAB and not cab:
        raise InputFault(say("les boîtes CAB ne sont pas ouvertes ici", "CAB mailboxes are not allowed here"), rule="BAL-CAB",
                         remedy="operator.toml [life] cab = true")


def check_field(type_: MailboxType, name: str, value: str) -> None:
    """Refuse a directory field that this type has not, or that is too long. Raises InputFault `BAL-CHAMP`."""
    if value and name not in RULES[type_].fields:
        raise InputFault(say(f"une boîte {type_.value} n'a pas de champ {name}", f"a mailbox {type_.value} has no {name}"),
                         rule="BAL-CHAMP", remedy=say("laissez-le vide", "leave it empty"))
    if len(value) > MAX_TEXT or not all(character.isprintable() for character in value):
        raise InputFault(say(f"{name} : {len(value)} caractères, ou caractère de contrôle",
                             f"{name}: {len(value)} characters, or a control character"),
                         rule="BAL-CHAMP", remedy=say(f"{MAX_TEXT} caractères au plus, sur une ligne",
                                                      f"{MAX_TEXT} characters at most, on one line"))


def check_people(type_: MailboxType) -> None:
    """Refuse a human login for an APP mailbox. Raises InputFault `BAL-APP-HUMAIN`."""
    if not RULES[type_].people:
        raise InputFault(say("une boîte APP n'est ouverte par aucune personne", "no person opens an APP mailbox"),
                         rule="BAL-APP-HUMAIN", remedy=say("utilisez le certificat du logiciel : mssante identity link",
                                                           "use the certificate of the program: mssante identity link"))


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def octets_of(text: str) -> int:
    """Give the octets of `2G`, `500M`, `1048576` or `0`. Raises InputFault `QUOTA-TAILLE`."""
    found = re.fullmatch(r"(\d{1,12})([KMGT]?)(?:i?[Bo])?", text.strip(), re.IGNORECASE | re.ASCII)
    if found is None:
        raise InputFault(say(f"taille illisible : {text[:40]}", f"not a size: {text[:40]}"), rule="QUOTA-TAILLE",
                         remedy=say("par exemple 2G, 500M ou 0", "for example 2G, 500M or 0"))
    return int(found[1]) * _UNITS[found[2].upper()]


# ------------------------------------------------------------------------------------------ states


class Inbound(StrEnum):
    """What SMTP answers to mail for a mailbox."""

    TAKEN = "250"
    LATER = "450"
    SUSPENDED = "450 | 550"  # by configuration
    CLOSED = "550 5.2.1"
    UNKNOWN = "550 5.1.1"


@dataclass(frozen=True, slots=True)
class Effects:
    """inbound: see `Inbound`; read: its holder may read it; listed: it stands in the directory (suspended: by local policy)."""

    inbound: Inbound
    read: bool
    listed: bool


EFFECTS = {
    MailboxState.PROVISIONED: Effects(Inbound.LATER, True, False),
    MailboxState.PUBLISHED: Effects(Inbound.TAKEN, True, True),
    MailboxState.ACTIVE: Effects(Inbound.TAKEN, True, True),
    MailboxState.SUSPENDED: Effects(Inbound.SUSPENDED, False, True),
    MailboxState.CLOSED: Effects(Inbound.CLOSED, False, False),
    MailboxState.PURGED: Effects(Inbound.UNKNOWN, False, False),
}
MOVES = {
    MailboxState.PROVISIONED: frozenset((MailboxState.PUBLISHED, MailboxState.ACTIVE, MailboxState.CLOSED)),
    MailboxState.PUBLISHED: frozenset((MailboxState.ACTIVE, MailboxState.SUSPENDED, MailboxState.CLOSED)),
    MailboxState.ACTIVE: frozenset((MailboxState.SUSPENDED, MailboxState.CLOSED)),
    MailboxState.SUSPENDED: frozenset((MailboxState.ACTIVE, MailboxState.CLOSED)),
    MailboxState.CLOSED: frozenset((MailboxState.ACTIVE, MailboxState.PURGED)),
    MailboxState.PURGED: frozenset[MailboxState](),
}


def check_move(mailbox: Mailbox, to: MailboxState) -> None:
    """Refuse a move that the life cycle has not. Raises InputFault `BAL-TRANSITION`."""
    if to not in MOVES[mailbox.state]:
        if to is mailbox.state:
            raise InputFault(say(f"{mailbox.address} est déjà dans cet état : {to.value}",
                                 f"{mailbox.address} is in this state already: {to.value}"),
                             rule="BAL-TRANSITION", remedy="mssante mailbox show")
        allowed = ", ".join(sorted(state.value for state in MOVES[mailbox.state])) or say("aucun état", "no state")
        raise InputFault(say(f"{mailbox.address} : de {mailbox.state.value} à {to.value}, impossible",
                             f"{mailbox.address}: from {mailbox.state.value} to {to.value} is not possible"),
                         rule="BAL-TRANSITION", remedy=say(f"possible d'ici : {allowed}", f"possible from here: {allowed}"))


# ------------------------------------------------------------------------------------------ time

INACTIVITY = "inactivity"  # why a mailbox was suspended or closed by time
PURGING = "purging"  # its content is going: no way back


@dataclass(frozen=True, slots=True)
class Life:
    """Dates of a mailbox. state, reason: of which state `state_since` speaks, and why; last_used_at: by a login that may open it;
    warned_step: how many warnings of inactivity were filed; None in a date: never; quota_warned: per cent last told, 0: none."""

    mailbox_id: int
    state: str
    state_since: datetime
    last_used_at: datetime
    warned_step: int = 0
    warned_at: datetime | None = None
    objected_until: datetime | None = None
    hold_until: datetime | None = None
    reason: str = ""
    successor: str = ""
    quota_warned: int = 0


@dataclass(frozen=True, slots=True)
class LifePolicy:
    """Delays in days. notices: before the suspension, largest first; reuse: ban of a purged address, 0 for ever."""

    inactivity: int = 365
    notices: tuple[int, ...] = (60, 30, 7)
    suspended: int = 90
    closed: int = 30
    reuse: int = 0
    objection: int = 365


class Step(StrEnum):
    """What time brings to a mailbox."""

    RECONCILE = "reconcile"  # its state was changed elsewhere: its dates begin again
    WARN = "warn"
    SUSPEND = "suspend"
    CLOSE = "close"
    PURGE = "purge"
    RELEASE = "release"  # the address may be given again


GRAVE = frozenset((Step.SUSPEND, Step.CLOSE, Step.PURGE, Step.RELEASE))


def idle_since(life: Life, now: datetime) -> datetime:
    """Give from when a mailbox counts as unused; a date of the future (a clock that was wrong) counts as now."""
    return min(max(life.last_used_at, life.objected_until or life.last_used_at), now)


def next_step(mailbox: Mailbox, life: Life, policy: LifePolicy, now: datetime) -> Step | None:
    """Give what is due now, None for nothing."""
    if life.state != mailbox.state.value:
        return Step.RECONCILE
    if mailbox.state in (MailboxState.PUBLISHED, MailboxState.ACTIVE):
        return _idle_step(life, policy, now)
    age = now - life.state_since
    if mailbox.state is MailboxState.SUSPENDED and life.reason == INACTIVITY:
        objecting = life.objected_until is not None and life.objected_until > now
        return Step.CLOSE if not objecting and age >= timedelta(days=policy.suspended) else None
    if mailbox.state is MailboxState.CLOSED:
        held = life.hold_until is not None and life.hold_until > now
        due = life.reason == PURGING or age >= timedelta(days=policy.closed)
        return Step.PURGE if due and not held else None
    if mailbox.state is MailboxState.PURGED and policy.reuse > 0 and age >= timedelta(days=policy.reuse):
        return Step.RELEASE
    return None


def warning_due(life: Life, policy: LifePolicy, now: datetime) -> int:
    """Give how many warnings the idle time asks for."""
    left = timedelta(days=policy.inactivity) - (now - idle_since(life, now))
    return sum(left <= timedelta(days=days) for days in policy.notices)


def _idle_step(life: Life, policy: LifePolicy, now: datetime) -> Step | None:
    if life.objected_until is not None and life.objected_until > now:
        return None
    due = warning_due(life, policy, now)
    if due > life.warned_step:
        return Step.WARN
    if now - idle_since(life, now) < timedelta(days=policy.inactivity):
        return None
    warned = life.warned_at is not None and now - life.warned_at >= timedelta(days=min(policy.notices, default=0))
    return Step.SUSPEND if warned or not policy.notices else None  # a late warning leaves its whole delay


def ends_on(life: Life, policy: LifePolicy, now: datetime) -> datetime:
    """Give when an idle mailbox will be suspended: never sooner than the last delay after its warning."""
    last = timedelta(days=min(policy.notices, default=0))
    return max(idle_since(life, now) + timedelta(days=policy.inactivity), now + last)
