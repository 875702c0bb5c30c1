"""The report of the pre-flight to the author: a letter in French, with English beside, filed into the mailbox it was sent from.

File, line, rule, words and remedy of each remark, errors first, at most `SHOWN`. It holds what the remarks hold, which may
quote the document: it goes to nobody but the author's own mailbox, and its subject says only numbers. `Auto-Submitted` (RFC
3834), in the thread of the message. Called by `services.preflight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mssante.documents.findings import Severity
from mssante.documents.preflight import Preflight
from mssante.documents.remarks import Remark
from mssante.model.address import MailAddress
from mssante.protocol.mime.compose import Letter, letter

SHOWN = 60


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """sender: who reports (postmaster); to: the author; about: Message-ID of the message, or empty; accepted_as: its trace id."""

    sender: MailAddress
    to: MailAddress
    about: str
    accepted_as: str
    trace_id: str
    at: datetime


def compose_report(result: Preflight, facts: ReportFacts) -> bytes:
    """Give the whole message. Raises InputFault when an address cannot stand in a header."""
    errors = len(result.errors)
    warnings = len(result.remarks) - errors
    headers = [("Auto-Submitted", "auto-generated"), ("X-Auto-Response-Suppress", "All")]
    if facts.about.startswith("<") and facts.about.endswith(">") and facts.about.isascii():
        headers += [("In-Reply-To", facts.about), ("References", facts.about)]
    return letter(Letter(
        facts.sender, (facts.to,), f"Documents envoyés : {_count(errors, 'erreur')}, {_count(warnings, 'avertissement')}",
        "\r\n".join(_lines(result, facts)) + "\r\n", facts.at, f"<{facts.trace_id}@{facts.sender.domain}>", facts.trace_id,
        sender_name="Contrôle des documents", headers=tuple(headers)))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' if number > 1 else ''}"


def _lines(result: Preflight, facts: ReportFacts) -> list[str]:
    errors = len(result.errors)
    out = ["Bonjour,", "",
           f"Votre message est parti (référence {facts.accepted_as}). Le contrôle de ses documents a trouvé :",
           f"{_count(errors, 'erreur')}, {_count(len(result.remarks) - errors, 'avertissement')}, "
           f"dans {_count(result.documents, 'document')}.",
           "Une erreur peut empêcher le logiciel du destinataire de ranger le document ; le message se lit quand même.", "",
           f"Your message has left (reference {facts.accepted_as}). The check of its documents found {errors} error(s) and "
           f"{len(result.remarks) - errors} warning(s) in {result.documents} document(s).", ""]
    for number, remark in enumerate(result.remarks[:SHOWN], 1):
        out += _remark(number, remark)
    if len(result.remarks) > SHOWN:
        out += [f"… et {len(result.remarks) - SHOWN} autres (and more).", ""]
    if result.computed:
        names = ", ".join(name for name, _value in result.computed)
        out += [f"En-têtes ajoutés par l'opérateur (headers added): {names}.", ""]
    return [*out, "Qui corrige : l'éditeur du logiciel qui a produit le document (who must fix it: the maker of that software).",
            "Ce rapport peut citer le document : ne le transmettez pas hors de la messagerie sécurisée.",
            "(This report may quote the document: keep it inside the secure mail.)"]


def _remark(number: int, remark: Remark) -> list[str]:
    kind = "ERREUR (error)" if remark.severity is Severity.ERROR else "avertissement (warning)"
    where = ", ".join(part for part in (
        f"fichier (file) {remark.file}" if remark.file else "", f"ligne (line) {remark.line}" if remark.line else "",
        remark.place) if part)
    return [f"{number}. {kind} - règle (rule) {remark.rule}", *([f"   {where}"] if where else []), f"   {remark.text}",
            f"   Remède (remedy) : {remark.remedy}", ""]
