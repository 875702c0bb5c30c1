"""What of a mailbox of ours stands in the national directory, and what changes when it changes (spec §4.1-4.2, api-mss-fhir §2).

- `PublishedBox` is one directory entry as we want it, or as the directory last accepted it: the unit of publication.
- `wanted_box` decides from the state and the facts of a mailbox; an unfit one (no national identifier) waits for a human.
- A suspended mailbox has no state in the national model: it is red-listed, withdrawn or left, by local policy.
Pure; `services.publication` keeps the rows, `directory.patch` writes the FHIR form.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.mailbox import Mailbox, MailboxState, MailboxType

PERSON_SYSTEM = "urn:oid:1.2.250.1.71.4.2.1"  # F4.18
STRUCTURE_SYSTEM = "urn:oid:1.2.250.1.71.4.2.2"
FINESS_SYSTEM = "https://finess.esante.gouv.fr"
MAX_TEXT = 255  # characters of description, service, responsible


class Carrier(StrEnum):
    """The FHIR resource that carries an entry (api-mss-fhir §2)."""

    PRACTITIONER = "Practitioner"
    ROLE = "PractitionerRole"
    ORGANIZATION = "Organization"


@dataclass(frozen=True, slots=True)
class PublicationPolicy:
    """Local choices. suspended: `red_list`, `withdraw` or `keep`; structure_key: `national` or `finess`."""

    suspended: str = "red_list"
    structure_key: str = "national"


@dataclass(frozen=True, slots=True)
class BoxFacts:
    """What the directory needs beside the mailbox itself. rank: 1 is the preferred box of its holder, 0 none."""

    service: str = ""
    description: str = ""
    responsible: str = ""
    red_listed: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class PublishedBox:
    """One entry. key_system and key_value: business key of its carrier, by which the write API finds it."""

    address: str
    type: str
    carrier: Carrier
    key_system: str
    key_value: str
    description: str = ""
    service: str = ""
    responsible: str = ""
    red_listed: bool = False
    rank: int = 0

    @property
    def holder(self) -> tuple[str, str, str]:
        """What two entries share when one request can change both: carrier and its key."""
        return self.carrier.value, self.key_system, self.key_value

    def text(self) -> str:
        """Give the stored form, the same text for equal entries."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_box(text: str) -> PublishedBox | None:
    """Give the entry of a stored form, None for an empty one. Raises InputFault (`PUB-LIGNE`) when it is damaged."""
    if not text:
        return None
    try:
        document: dict[str, Any] = json.loads(text)
        document["carrier"] = Carrier(document["carrier"])
        return PublishedBox(**document)
    except (ValueError, TypeError, KeyError) as exc:
        raise InputFault(say("ligne de publication illisible", "publication row cannot be read"), rule="PUB-LIGNE",
                         detail=type(exc).__name__, remedy="mssante directory publication forget") from exc


def wanted_box(mailbox: Mailbox, facts: BoxFacts, policy: PublicationPolicy) -> PublishedBox | None:
    """Give the entry that a mailbox must have, None when it must have none (spec §4.5, §5).

    Raises InputFault (`PUB-TITULAIRE`) when its holder's identifier does not suit its type.
    """
    if mailbox.state in (MailboxState.PROVISIONED, MailboxState.CLOSED, MailboxState.PURGED):
        return None
    hidden = facts.red_listed
    if mailbox.state is MailboxState.SUSPENDED:
        if policy.suspended == "withdraw":
            return None
        hidden = hidden or policy.suspended == "red_list"
    carrier, system, value = _key(mailbox, policy)
    person = mailbox.type is MailboxType.PER
    return PublishedBox(
        mailbox.address, mailbox.type.value, carrier, system, value,
        "" if person else (facts.description or mailbox.display_name)[:MAX_TEXT],
        facts.service[:MAX_TEXT] if mailbox.type in (MailboxType.ORG, MailboxType.APP) else "",
        facts.responsible[:MAX_TEXT] if mailbox.type in (MailboxType.ORG, MailboxType.APP) else "",
        hidden, max(facts.rank, 0))


def _key(mailbox: Mailbox, policy: PublicationPolicy) -> tuple[Carrier, str, str]:
    """Give carrier and business key (api-mss-fhir §2)."""
    holder = mailbox.holder_id
    if mailbox.type in (MailboxType.PER, MailboxType.CAB):
        if (len(holder), holder[:1]) not in ((12, "8"), (10, "0")) or not holder.isdigit():
            raise _unfit(mailbox, "8 + RPPS")
        return Carrier.PRACTITIONER, PERSON_SYSTEM, holder
    if not holder.isalnum() or (len(holder), holder[:1]) not in ((10, "1"), (10, "2"), (15, "3"), (15, "4")):
        raise _unfit(mailbox, "1 + FINESS, 3 + SIRET")
    if policy.structure_key == "finess" and holder[0] == "1":
        return Carrier.ORGANIZATION, FINESS_SYSTEM, holder[1:]
    return Carrier.ORGANIZATION, STRUCTURE_SYSTEM, holder


def _unfit(mailbox: Mailbox, wanted: str) -> InputFault:
    seen = mailbox.holder_id or say("aucun", "none")
    return InputFault(
        say(f"identifiant national de {mailbox.address} : {seen}, attendu pour une boîte {mailbox.type.value} : {wanted}",
            f"national identifier of {mailbox.address}: {seen}, wanted for a mailbox {mailbox.type.value}: {wanted}"),
        rule="PUB-TITULAIRE", remedy=f"mssante mailbox edit {mailbox.address} --holder …")
