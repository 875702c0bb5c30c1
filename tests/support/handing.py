"""Values for tests of handed-in documents: facts of a fictitious patient, a small PDF, requests, a desk on the SMTP stage."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from support.smtp_stage import ALICE, BOB, SmtpStage

from mssante.documents.cda import InstanceId
from mssante.documents.codes import Code
from mssante.documents.ins import OID_NIR_TEST, ins_key
from mssante.documents.n1 import LOINC_OID, SPECIALTY_OID, N1Facts, N1Patient, N1Person, N1Structure, n1_document
from mssante.services.handover import HandedCda, HandedDocument, HandedPdf, HandOver, HandOverSettings, source_oid

PDF = b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF\n"
_BODY = "2790375000001"
INS = f"{_BODY}{ins_key(_BODY):02d}"
NAMES = ("TESTPATIENT", "ALIXTEST")
REMOTE = "docteur@a.mssante.fr"


def facts(**changes: Any) -> N1Facts:
    """Give the facts of a letter about the fictitious patient."""
    given: dict[str, Any] = {
        "patient": N1Patient(NAMES[0], NAMES[1], date(1979, 3, 28), "F", INS, OID_NIR_TEST, InstanceId("1.2.3.4.567", "IPP42"),
                             birth_place="75115"),
        "author": N1Person("899700000001", "TESTMEDECIN", "Camille", "M", "DR",
                           Code("G15_10/SM26", SPECIALTY_OID, "Médecin - Qualifié en Médecine Générale (SM)")),
        "structure": N1Structure("1990000001", "Centre de test", Code("ETABLISSEMENT", "1.2.250.1.213.1.1.4.9"),
                                 Code("SA01", "1.2.250.1.71.4.2.4")),
        "code": Code("11488-4", LOINC_OID), "title": "CR de consultation",
        "created": datetime(2026, 2, 28, 9, 30, tzinfo=UTC), "id": InstanceId("2.25.99001")}
    return N1Facts(**{**given, **changes})


def cda(**changes: Any) -> bytes:
    """Give a CDA of the fictitious patient."""
    return n1_document(PDF, facts(**changes))


def request(**changes: Any) -> HandedDocument:
    """Give a request of a PDF from Alice to Bob and a doctor elsewhere."""
    given: dict[str, Any] = {"source": "token 1", "key": "cle-1", "mailbox": ALICE, "to": (BOB, REMOTE),
                             "documents": (HandedPdf(PDF, facts(id=InstanceId(""))),)}
    return HandedDocument(**{**given, **changes})


def cda_request(**changes: Any) -> HandedDocument:
    """Give a request of a CDA."""
    return request(**{"documents": (HandedCda(cda()),), **changes})


def desk(stage: SmtpStage, **changes: Any) -> HandOver:
    """Give the service on a stage."""
    settings = HandOverSettings(**{"message_bytes": 1 << 20, "recipients": 10, "source_oid": source_oid("", "mx.test"), **changes})
    return HandOver(stage.context, stage.stores, stage.submission, settings)
