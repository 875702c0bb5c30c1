"""The rules of messages toward the citizens' domain, as values in and a decision out (spec §9, ARCHITECTURE §4c).

- At RCPT (`recipient_decision`): the matricule of the address (syntax and key, `reject | warn | off`), the size declared by MAIL
  (`SIZE=`) against the domain's limit, the types of mailbox that may write.
- At the end of DATA (`content_decision`): real size, nothing that only S/MIME or PGP opens, Reply-To a professional of the trust
  space, and, when documents are attached, one patient, who is the one of every citizen address (F9.6): a minor has an address of
  his own, so no representative's address is admitted in its place.
- `read_end` tells `X-MSS-MES: FIN` and a subject that is exactly `[FIN]` (F9.8).
Never: a matricule, a name or a subject in a decision. Asks no clock, no store. Called by `submission` and `citizen_desk`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mssante.documents.ins import ins_key_ok, ins_syntax_ok, matricule_findings, same_person
from mssante.documents.patients import PatientsOf
from mssante.errors import InputFault
from mssante.model import replies
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.mailbox import MailboxType
from mssante.model.reply import Allow, Decision, Refuse
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import Headers, decode_words
from mssante.protocol.mime.parameters import parameter, parse_media
from mssante.services.citizen_words import refusal

MAX_BYTES = 25_000_000  # F9.7
END_FIELD = b"x-mss-mes"  # ECO.2.2.8
END_VALUE = "FIN"
END_SUBJECT = "[FIN]"
_SEALED = ((b"application", b"pkcs7-mime"), (b"application", b"x-pkcs7-mime"), (b"multipart", b"encrypted"))


@dataclass(frozen=True, slots=True)
class CitizenRules:
    """domain: the citizens', lower-case; check_ins: reject, warn or off; max_bytes: of a whole message; senders: types of mailbox
    that may write there; other_patient: refuse or warn when a document is of somebody else."""

    domain: str = "patient.mssante.fr"
    check_ins: str = "reject"
    max_bytes: int = MAX_BYTES
    senders: frozenset[str] = frozenset({"PER", "ORG", "APP", "CAB"})
    other_patient: str = "refuse"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a rule says. doubt: a word for the log and the journal when it lets pass what it doubts; empty else."""

    decision: Decision
    doubt: str = ""


class End(StrEnum):
    """How a message ends an exchange."""

    NONE = ""
    HEADER = "entete"  # X-MSS-MES: FIN: no answer to this one is wanted
    SUBJECT = "objet"  # [FIN]: answers to all earlier ones are withdrawn


def recipient_decision(rules: CitizenRules, address: MailAddress, *, declared_size: int, sender_type: MailboxType | None,
                       sender_domain: str = "") -> Opinion:
    """Decide on one citizen recipient at RCPT. declared_size: octets of `SIZE=`, 0 when not said; sender_type: None unknown."""
    if sender_domain == rules.domain:
        return Opinion(refusal("CITOYEN-PROFESSIONNELS"))
    if sender_type is not None and sender_type.value not in rules.senders:
        return Opinion(refusal("CITOYEN-EXPEDITEUR"))
    wrong = doubtful_address(address.local) if rules.check_ins != "off" else ""
    if wrong and rules.check_ins == "reject":
        return Opinion(replies.bad_ins(wrong))
    if declared_size > rules.max_bytes:
        return Opinion(Refuse(replies.too_big(rules.max_bytes)), wrong)
    return Opinion(Allow(), wrong)


def doubtful_address(local: str) -> str:
    """Give what is wrong with the matricule of an address, in ASCII words that do not hold it, or an empty string (F9.14,
    F9.15)."""
    if any(one.rule == "MATRICULE-13" for one in matricule_findings(local)):
        return "13 chiffres sans la cle"  # F9.1: an error of users that one guide makes
    if not ins_syntax_ok(local):
        return "forme du matricule"
    return "" if ins_key_ok(local) else "cle de controle"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is looked at of a message toward citizens. hosted_open: whether an address of ours is an open mailbox; None when it is
    not ours; trusted: whether a domain elsewhere is in the trust space."""

    citizens: tuple[MailAddress, ...]
    headers: Headers
    size: int
    reply_to: MailAddress | None = None
    reply_to_ok: bool = True


def content_decision(rules: CitizenRules, outgoing: Outgoing, patients: PatientsOf | None) -> Opinion:
    """Decide on a whole message toward citizens. patients: of the documents attached, None when there is none."""
    if outgoing.size > rules.max_bytes:
        return Opinion(Refuse(replies.too_big(rules.max_bytes)))
    if is_sealed(outgoing.headers):
        return Opinion(refusal("CITOYEN-CHIFFRE"))
    if not outgoing.reply_to_ok:
        return Opinion(refusal("CITOYEN-REPLY-TO"))
    rule = _patient_rule(rules, outgoing.citizens, patients) if patients is not None else ""
    if rule and rules.other_patient == "refuse":
        return Opinion(refusal(rule))
    return Opinion(Allow(), rule)


def _patient_rule(rules: CitizenRules, citizens: Sequence[MailAddress], patients: PatientsOf) -> str:
    """Give the rule that the documents break, or an empty string."""
    if len(patients.matricules) > 1:
        return "CITOYEN-DEUX-PATIENTS"
    if not patients.matricules:  # an archive that says no patient: nothing proves whose it is
        return "CITOYEN-INS-NON-QUALIFIE" if patients.anonymous and rules.check_ins != "off" else ""
    matricule = next(iter(patients.matricules))
    if not all(same_person(matricule, one.local) for one in citizens):
        return "CITOYEN-AUTRE-PATIENT"
    traits = any(one.birth_name or one.birth_date for one in patients.identities)
    if patients.anonymous or (traits and not any(one.qualified for one in patients.identities)):
        return "CITOYEN-INS-NON-QUALIFIE" if rules.check_ins != "off" else ""
    return ""


def is_sealed(headers: Headers) -> bool:
    """True when a message as a whole needs S/MIME or PGP to be read: a clear signature does not (RFC 8551 §3.5)."""
    media = parse_media(headers.get(b"content-type"))
    if (media.type, media.subtype) in _SEALED:
        return True
    return media.type == b"application" and parameter(media.parameters, b"name").lower().endswith((".p7m", ".pgp"))


def reply_to_of(headers: Headers) -> tuple[MailAddress | None, bool]:
    """Give the one address of Reply-To (None when there is no such field), and whether the field can be read as that."""
    value = headers.get(b"reply-to")
    if value is None:
        return None, True
    entries = [one for one in parse_addresses(value) if one.local is not None and one.domain is not None]
    if len(entries) != 1 or headers.repeats(b"reply-to"):
        return None, False
    local, domain = entries[0].local or b"", entries[0].domain or b""
    try:
        return parse_envelope_address((local + b"@" + domain).decode("utf-8", "replace")), True
    except InputFault:
        return None, False


def read_end(headers: Headers) -> End:
    """Tell whether a message ends an exchange (F9.8, ECO.2.2.8)."""
    if decode_words(headers.get(b"subject") or b"", 20).strip() == END_SUBJECT:
        return End.SUBJECT
    return End.HEADER if (headers.get(END_FIELD) or b"").strip() == END_VALUE.encode() else End.NONE


_IDENTIFIER = re.compile(r"<[^<>\s]{1,990}>")


def reference_of(found: str, trace_id: str, domain: str) -> str:
    """Give the Message-ID under which a message is noted: its own when it is one, else the one that we would give it."""
    return found if _IDENTIFIER.fullmatch(found) else f"<{trace_id}@{domain}>"


def identifiers(text: str) -> tuple[str, ...]:
    """Give the Message-IDs in a text of References or In-Reply-To, in order, at most 100."""
    return tuple(dict.fromkeys(_IDENTIFIER.findall(text)[:100]))
