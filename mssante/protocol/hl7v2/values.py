"""What a message of the volets says, as values: the order that comes in, the facts of what goes out. No octets of HL7 here.

- `Order` is read by `cisis.read_order` from ORU^R01 and MDM^T02/T04/T10; services.hl7gateway turns it into hand-overs.
- `Delivery` is written by `writer.mdm`, `Receipt` by `writer.zam`; services.hl7inbox and services.hl7fold fill them.
- Values that name a patient have no `repr`: they never reach a log by accident.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

# Table MetaDMPMSS, in the order of the volet "Transmission de documents CDA en HL7v2" 2.1.
LABELS = {
    "MASQUE_PS": "Masqué aux professionnels de Santé",
    "INVISIBLE_PATIENT": "Document Non Visible par le patient",
    "INVISIBLE_REP_LEGAUX": "Non visible par les représentants Légaux du patient",
    "CONNEXION_SECRETE": "Connexion Secrete",
    "MODIF_CONF_CODE": "Modification Confidentiality Code",
    "DESTDMP": "Destinataire DMP",
    "DESTMSSANTEPS": "Destinataire (Professionnel de Santé, organisation ou BAL applicative)",
    "DESTMSSANTEPAT": "Destinataire Patient",
    "ACK_RECEPTION": "Accusé de réception",
    "ACK_LECTURE_MSS": "Accusé de lecture",
}
MASKS = ("MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REP_LEGAUX")
PROFILE_IN = "CISIS_CDA_HL7_V2"
PROFILE_OUT = "CISIS_CDA_HL7_LPS"

# Table applicationErrorCode (spec §7.4) in the words of the volet; 906 is the one for all that has no code of its own.
APPLICATION_ERRORS = {
    "900": "Version du document incorrecte lors d'une demande de remplacement/suppression",
    "901": "Auteur non autorisé à remplacer ou supprimer un document",
    "902": "Identifiant patient inconnu",
    "903": "INS non présent dans le document",
    "904": "L'INS transmis ne correspond pas exactement à celui stocké dans la base du consommateur",
    "905": "L'INS transmis n'est pas complet",
    "906": "Autre erreur d'intégration",
}


class Request(StrEnum):
    """What is asked of a document (spec §8.3), with its event, its ORC-1 and its OBX-11."""

    SEND = "T02"
    DELETE = "T04"
    REPLACE = "T10"

    @property
    def order(self) -> str:
        """Give ORC-1."""
        return {"T02": "NW", "T04": "CA", "T10": "RO"}[self.value]

    @property
    def status(self) -> str:
        """Give OBX-11."""
        return {"T02": "F", "T04": "D", "T10": "C"}[self.value]


@dataclass(frozen=True, slots=True)
class Identifier:
    """A number with the OID of who gave it and its kind of table 0203 (INS, PI, AN, RPPS, FINEG…)."""

    number: str
    root: str = ""
    kind: str = ""
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A professional of PRT-5 (XCN)."""

    identifier: Identifier
    family: str = ""
    given: str = ""


@dataclass(frozen=True, slots=True)
class Structure:
    """An organisation of PRT-8 (XON)."""

    name: str
    identifier: Identifier


@dataclass(frozen=True, slots=True)
class Participant:
    """One PRT. address: of MSSanté, empty when none is given; device: PRT-10."""

    address: str = ""
    person: Person | None = None
    structure: Structure | None = None
    device: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class PatientFacts:
    """PID: identifiers in order, names of birth (type L) and used (D), birth `AAAAMMJJ`, sex, place of birth (INSEE)."""

    identifiers: tuple[Identifier, ...] = ()
    family: str = ""
    given: str = ""
    all_given: str = ""
    family_used: str = ""
    given_used: str = ""
    birth: str = ""
    sex: str = ""
    birth_place: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class CarriedDocument:
    """A document of an OBX. occurrence: of its OBX; code, label, system: OBX-3; pdf: it is a PDF, else a CDA."""

    content: bytes
    occurrence: int
    code: str
    label: str
    system: str
    pdf: bool


@dataclass(frozen=True, slots=True, repr=False)
class Order:
    """What an application asks. flags: Y/N codes of MetaDMPMSS that stand in it; created: TS of the document; parents:
    TXA-13."""

    control_id: str
    message_type: str
    event: str
    request: Request
    patient: PatientFacts
    documents: tuple[CarriedDocument, ...]
    sender: Participant
    recipients: tuple[Participant, ...]
    reply_to: str
    flags: dict[str, bool]
    text_professionals: str = ""
    text_patient: str = ""
    final: bool = False
    created: str = ""
    document_id: str = ""
    parents: tuple[str, ...] = ()
    encounter: Identifier | None = None

    def flag(self, code: str) -> bool:
        """Give a flag, false when it is absent."""
        return self.flags.get(code, False)


@dataclass(frozen=True, slots=True)
class Correspondents:
    """MSH-3 to MSH-6 as we write them, MSH-11 and MSH-18."""

    application: str
    facility: str
    to_application: str
    to_facility: str
    processing: str = "P"
    charset: str = "UNICODE UTF-8"


@dataclass(frozen=True, slots=True)
class Failure:
    """ERR-5: code, label and table (`applicationErrorCondition`, `SMTPERRORCODE`, `DMP_ERROR_CODE`)."""

    code: str
    label: str
    table: str


class ReceiptKind(StrEnum):
    """Events of ZAM (spec §8.5)."""

    DMP = "Z01"
    RECEPTION = "Z02"
    READING = "Z03"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A business acknowledgement about one recipient. about: control id of the message that brought the document; failure: None
    for success; holder: his identifier when it is known."""

    kind: ReceiptKind
    about: str
    address: str = ""
    holder: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, repr=False)
class MailFacts:
    """The mail out of which a document comes: Message-ID, subject, its text."""

    message_id: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class Delivery:
    """One document for an application. code, label, system: of its type; number, parent: TXA-12, TXA-13 as (id, root)."""

    request: Request
    patient: PatientFacts
    content: bytes
    code: str
    label: str
    system: str
    number: tuple[str, str]
    created: str
    mail: MailFacts
    sender: Participant
    recipient: Participant
    author: str = ""
    parent: tuple[str, str] | None = None
    reply_to: str = ""
    masks: dict[str, bool] = field(default_factory=dict)
