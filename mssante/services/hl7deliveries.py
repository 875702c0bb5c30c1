"""From the archive of a mail to the documents given to an application: the facts of each MDM (volet LPS 1.1).

- Refuses, by InputFault, what a program must not use: no archive (`HL7-SANS-DOCUMENT`), an archive with an error of spec §8.6
  (its rule), a document that is no CDA (`HL7-FORMAT`). People read the mail all the same.
- PID-3 repeats the identifiers of the CDA; the masks are those of the metadata; TXA-12 and TXA-13 those of the document and of
  the one it replaces.
Pure. Called by services.hl7inbox.
"""

from __future__ import annotations

from dataclasses import dataclass

from mssante.documents.cda import CdaHeader, InstanceId, read_header
from mssante.documents.codes import Code
from mssante.documents.findings import Severity
from mssante.documents.ins import INS_OIDS, OID_NIA
from mssante.documents.metadata import AuthorEntry
from mssante.documents.n1 import LOINC_OID
from mssante.documents.xdm import XdmDocument, check, unpack
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.mailbox import Mailbox
from mssante.protocol.hl7v2.values import (
    Delivery,
    Identifier,
    MailFacts,
    Participant,
    PatientFacts,
    Person,
    Request,
    Structure,
)
from mssante.services.hl7mail import Mail

_CDA_TYPES = ("text/xml", "application/xml", "application/xslt+xml")
_MASKS = {"MASQUE_PS": "MASQUE_PS", "INVISIBLE_PATIENT": "INVISIBLE_PATIENT",
          "INVISIBLE_REPRESENTANTS_LEGAUX": "INVISIBLE_REP_LEGAUX"}
MAX_DOCUMENTS = 100


def deliveries(mail: Mail, box: Mailbox) -> list[Delivery]:
    """Give what an application is given of a mail, in the order of its archives. Raises InputFault: see the module."""
    out: list[Delivery] = []
    for archive in mail.archives:
        read = unpack(archive.content)
        bad = next((one for one in check(read) if one.severity is Severity.ERROR), None)
        if bad is not None:
            raise InputFault(bad.text, rule=bad.rule, remedy=say("demander un nouvel envoi", "ask for it to be sent again"))
        authors = [one for subset in read.subsets if subset.submission is not None for one in subset.submission.authors]
        author = authors[0] if authors else None
        out += [_delivery(mail, box, _Document(one, author)) for one in read.documents]
    if not out or len(out) > MAX_DOCUMENTS:
        raise InputFault(say("message sans document structuré", "message without structured document"), rule="HL7-SANS-DOCUMENT",
                         remedy=say("le lire dans la boîte", "read it in the mailbox"))
    return out


@dataclass(frozen=True, slots=True)
class _Document:
    """A document of an archive. author: of its submission set."""

    found: XdmDocument
    author: AuthorEntry | None


def _delivery(mail: Mail, box: Mailbox, one: _Document) -> Delivery:
    document, author = one.found, one.author
    if document.content is None or document.entry.mime_type.lower() not in _CDA_TYPES:
        raise InputFault(say("document qui n'est pas un CDA", "document that is no CDA"), rule="HL7-FORMAT",
                         remedy=say("le lire dans la boîte", "read it in the mailbox"))
    header = read_header(document.content)
    codes = {one.code for one in document.entry.confidentiality} | {header.confidentiality.code}
    request = Request.DELETE if document.entry.deleted else Request.REPLACE if header.replaces else Request.SEND
    person = _person(author)
    return Delivery(
        request, _patient(header), document.content, header.code.code, header.code.label or header.title, _system(header.code),
        _number(header.id), header.effective_time, MailFacts(mail.message_id, mail.subject, mail.text),
        Participant(mail.sender, person, _structure(author)),
        Participant(box.address, structure=Structure(box.display_name, Identifier("")) if box.display_name else None),
        person.identifier.number if person is not None else "",
        _number(header.replaces[0]) if header.replaces else None, mail.reply_to,
        {flag: code in codes for code, flag in _MASKS.items()})


def _number(one: InstanceId) -> tuple[str, str]:
    return one.extension, one.root


def _system(code: Code) -> str:
    return "LN" if code.scheme == LOINC_OID else "TRE_A05"


def _patient(header: CdaHeader) -> PatientFacts:
    patient = header.patient
    return PatientFacts(
        tuple([Identifier(one.extension, one.root, *_kind(one.root)) for one in patient.ids if one.extension]),
        patient.family_birth or patient.family_plain or patient.family_used, patient.given_birth or patient.given_plain,
        patient.given_plain, patient.family_used or patient.family_spouse, patient.given_used, patient.birth_time[:8],
        patient.sex, patient.birth_place)


def _kind(root: str) -> tuple[str, str]:
    """Give kind (table 0203) and authority of an identifier of a patient."""
    if root not in INS_OIDS:
        return "PI", ""
    return "INS", "ASIP-SANTE-INS-NIA" if root == OID_NIA else "ASIP-SANTE-INS-NIR"


def _person(author: AuthorEntry | None) -> Person | None:
    """Read the sender of the submission set (XCN)."""
    parts = author.person.split("^") if author is not None and author.person else []
    if len(parts) < 3 or not parts[1]:
        return None
    authority = parts[8].split("&") if len(parts) > 8 else []
    kind = parts[12] if len(parts) > 12 else ""
    return Person(Identifier(parts[0], authority[1] if len(authority) > 1 else "", kind), parts[1], parts[2])


def _structure(author: AuthorEntry | None) -> Structure | None:
    """Read its structure (XON)."""
    parts = author.institutions[0].split("^") if author is not None and author.institutions else []
    if not parts or not parts[0]:
        return None
    authority = parts[5].split("&") if len(parts) > 5 else []
    return Structure(parts[0], Identifier(parts[9] if len(parts) > 9 else "", authority[1] if len(authority) > 1 else "",
                                          parts[6] if len(parts) > 6 else ""))
