"""From reports that arrive (DSN, MDN, error returns) to business acknowledgements ZAM for the application that sent (spec §8.5).

- DSN -> ZAM^Z02, ACK_RECEPTION_MSS: `delivered` and `relayed` say Y when ACK_RECEPTION was asked; `failed` says N with the SMTP
  code (table SMTPERRORCODE), asked or not, as `hl7.failures_always` says. A delay says nothing: it ends one way or the other.
- MDN -> ZAM^Z03, ACK_LECTURE_MSS: `displayed`, `processed`, `dispatched` say Y; an error says N with its code of table
  applicationErrorCode (900-906); so does an ordinary mail `[KO …][902]` (spec §7.4); `deleted` unread says N, 906.
- Believed for a recipient of that document only, and a notification only when its author's domain is his (as handfollow).
Pure; called by services.hl7inbox.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mssante.protocol.hl7v2.values import APPLICATION_ERRORS, Failure, Receipt, ReceiptKind
from mssante.protocol.reports.dsn import DsnFacts, parse_dsn
from mssante.protocol.reports.mdn import MdnFacts, parse_mdn
from mssante.services.hl7mail import Mail
from mssante.storage.handover import HandedRecord

_REPLY = re.compile(r"\s*([245][0-9]{2})\b")
# Codes of table SMTPERRORCODE of the volet, in our words, and the enhanced status (RFC 3463) that comes nearest to each.
_SMTP = {"421": "Service indisponible", "422": "Boîte du destinataire pleine", "441": "Le serveur du destinataire ne répond pas",
         "442": "Connexion interrompue pendant la transmission", "450": "Boîte non disponible", "451": "Erreur de traitement",
         "452": "Ressources insuffisantes", "500": "Commande non reconnue", "501": "Paramètre mal formé",
         "503": "Mauvaise séquence de commandes", "510": "Mauvaise adresse", "512": "Domaine du destinataire introuvable",
         "523": "Message trop volumineux pour le destinataire", "530": "Authentification requise",
         "541": "Message rejeté par le destinataire", "550": "Boîte du destinataire non trouvée ou fermée",
         "551": "Destinataire non hébergé par ce serveur", "552": "Boîte du destinataire pleine", "553": "Nom de boîte invalide",
         "554": "Échec définitif de l'envoi"}
_STATUS = {"5.1": "550", "5.2.2": "552", "5.2.3": "523", "5.2": "550", "5.3.4": "523", "5.4.4": "512", "5.4": "441", "5.5": "500",
           "5.7": "541"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a report says of one recipient. address: as the report writes it; ok and failure: of the receipt."""

    kind: ReceiptKind
    address: str
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A report taken apart. reference: Message-ID of what it is about; traces: where to look for it."""

    reference: str
    traces: tuple[str, ...]
    told: tuple[Told, ...]


def read_report(mail: Mail) -> Report | None:
    """Read a report; None when the message is none. Never raises."""
    mdn = parse_mdn(mail.raw)
    if mdn is not None:
        return _report(mdn.original_message_id, (), _of_mdn(mdn, mail))
    dsn = parse_dsn(mail.raw)
    if dsn is not None:
        return _report(dsn.original_message_id, (dsn.envelope_id,), _of_dsn(dsn))
    if mail.error_code and mail.references:
        told = (Told(ReceiptKind.READING, mail.sender, _application_error(mail.error_code)),)
        return _report(mail.references[-1], tuple([trace_of(one) for one in mail.references]), told)
    return None


def _report(reference: str, traces: tuple[str, ...], told: Sequence[Told]) -> Report:
    return Report(reference, tuple([one for one in (trace_of(reference), *traces) if one]), tuple(told))


def trace_of(reference: str) -> str:
    """Give the trace id that our Message-ID begins with."""
    return reference.strip("<>").partition("@")[0][:64]


def _of_mdn(facts: MdnFacts, mail: Mail) -> list[Told]:
    domain = mail.sender.rpartition("@")[2].lower()
    out = []
    for address in dict.fromkeys((facts.original_recipient, facts.final_recipient)):
        if address and domain and address.rpartition("@")[2].lower() == domain:
            failure = None
            if facts.error:
                failure = _application_error(facts.error_code)
            elif facts.disposition == "deleted":
                failure = _application_error("906")
            elif facts.disposition not in ("displayed", "processed", "dispatched"):
                continue
            out.append(Told(ReceiptKind.READING, address, failure))
    return out


def _application_error(code: str) -> Failure:
    """Give ERR-5 of an error of the other side: its label is ours, since theirs may quote an identity."""
    known = code if code in APPLICATION_ERRORS else "906"
    return Failure(known, APPLICATION_ERRORS[known], "applicationErrorCondition")


def _of_dsn(facts: DsnFacts) -> list[Told]:
    out = []
    for one in facts.recipients[:100]:
        action = one.action.lower()
        if action not in ("delivered", "relayed", "expanded", "failed"):
            continue
        failure = _smtp_failure(one.status, one.diagnostic) if action == "failed" else None
        for address in dict.fromkeys((one.original_recipient, one.final_recipient)):
            if address:
                out.append(Told(ReceiptKind.RECEPTION, address, failure))
    return out


def _smtp_failure(status: str, diagnostic: str) -> Failure:
    """Give ERR-5: the reply code of the other server when the table has it, else the one nearest to the status."""
    found = _REPLY.match(diagnostic)
    code = found.group(1) if found is not None and found.group(1) in _SMTP else ""
    if not code:
        pieces = status.split(".")
        code = next((_STATUS[key] for key in (status, ".".join(pieces[:2])) if key in _STATUS), "554")
    return Failure(code, _SMTP[code], "SMTPERRORCODE")


def receipts(report: Report, record: HandedRecord, known: Sequence[str], public: Callable[[str], str], *,
             failures_always: bool) -> list[tuple[Receipt, str]]:
    """Give the receipts that a report is worth, each with its reference in the outbox.

    known: pseudonymised recipients of the document; public: gives an address as they are written. Nothing is given for a report
    about another message, or about somebody who was no recipient.
    """
    if report.reference and report.reference != record.reference:
        return []
    recipients = {one.lower() for one in known}
    about = record.key.rpartition("/")[0]
    out: dict[str, Receipt] = {}
    for one in report.told:
        hidden = public(one.address).lower()
        asked = record.facts.get("delivery_receipt" if one.kind is ReceiptKind.RECEPTION else "read_receipt")
        if hidden not in recipients or not (asked or (one.failure is not None and failures_always)):
            continue
        mark = one.failure.code if one.failure is not None else "Y"
        out[f"zam {about}/{one.kind.value}/{hidden}/{mark}"] = Receipt(one.kind, about, one.address, "", one.failure)
    return [(receipt, reference) for reference, receipt in out.items()]
