"""What orders say, and what is refused with which code and place."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import pytest
from support.handing import INS, NAMES, PDF
from support.hl7 import answer_to, order, pdf_order, read

from mssante.protocol.hl7v2.cisis import MAX_CONTROL_ID, Answer, read_answer, read_order
from mssante.protocol.hl7v2.er7 import Message
from mssante.protocol.hl7v2.faults import Hl7Code, Hl7Fault
from mssante.protocol.hl7v2.values import Request

TO = ("docteur@a.mssante.fr", "279035121518989@patient.mssante.fr")


def edited(raw: bytes, *pairs: tuple[str, str]) -> Message:
    text = raw.decode()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return read(text.encode())


def refusal(message: Message) -> tuple[int, str, str]:
    with pytest.raises(Hl7Fault) as caught:
        read_order(message)
    return int(caught.value.code), caught.value.rule, str(caught.value.place)


def without(raw: bytes, *names: str) -> Message:
    message = read(raw)
    return replace(message, segments=tuple(one for one in message.segments if one.name not in names))


def test_an_order_is_read_whole() -> None:
    found = read_order(read(order(TO, flags={"DESTMSSANTEPAT": "Y"}, final=True, reply="secretariat@a.mssante.fr", texts={
        "CORPSMAIL_PS": "Cher confrère,\r\nvoici.", "CORPSMAIL_PATIENT": "Bonjour"})))
    assert (found.control_id, found.message_type, found.event, found.request) == ("M0001", "MDM", "T02", Request.SEND)
    assert [one.address for one in found.recipients] == list(TO)
    assert (found.reply_to, found.final, found.text_patient) == ("secretariat@a.mssante.fr", True, "Bonjour")
    assert found.text_professionals == "Cher confrère,\nvoici."
    assert found.patient.identifiers[0].number == INS
    assert (found.patient.identifiers[1].number, found.patient.identifiers[1].root) == ("IPP42", "1.2.3.4.567")
    assert (found.patient.family, found.patient.given, found.patient.birth, found.patient.sex, found.patient.birth_place) == (
        *NAMES, "19790328", "F", "75115")
    assert found.sender.person is not None
    assert (found.sender.person.identifier.number, found.sender.person.identifier.root) == ("899700000001", "1.2.250.1.71.4.2.1")
    assert (found.documents[0].code, found.documents[0].system, found.documents[0].pdf) == ("11488-4", "LN", False)
    assert found.documents[0].content.startswith(b"<?xml")
    assert (found.flag("ACK_RECEPTION"), found.flag("MASQUE_PS"), found.flag("UNKNOWN")) == (True, False, False)
    assert (found.document_id, found.created) == ("2.25.99001", "202602280930")
    assert NAMES[0] not in repr(found)
    assert INS not in repr(found)


@pytest.mark.parametrize(("kind", "event", "control", "status", "request_"), [
    ("ORU", "R01", "NW", "F", Request.SEND), ("ORU", "R01", "RO", "C", Request.REPLACE), ("ORU", "R01", "CA", "D", Request.DELETE),
    ("MDM", "T02", "NW", "F", Request.SEND), ("MDM", "T10", "RO", "C", Request.REPLACE), ("MDM", "T04", "CA", "D", Request.DELETE)])
def test_what_is_asked(kind: str, event: str, control: str, status: str, request_: Request) -> None:
    found = read_order(read(order(TO, kind=kind, event=event, order=control, status=status)))
    assert found.request is request_
    assert (request_.order, request_.status) == (control, status)


def test_a_pdf_and_two_documents_of_an_oru() -> None:
    assert read_order(read(pdf_order(TO))).documents[0].content == PDF
    raw = order(TO, kind="ORU", event="R01").decode()
    line = next(one for one in raw.split("\r") if one.startswith("OBX|1|"))
    found = read_order(read(raw.replace(line, f"{line}\r{line}").encode()))
    assert len(found.documents) == 2


@pytest.mark.parametrize(("pairs", "expected"), [
    ([("||MDM^T02", "||ADT^A01")], (200, "HL7-TYPE", "MSH[1]-9.1")),
    ([("||MDM^T02", "||MDM^T08")], (201, "HL7-EVENEMENT", "MSH[1]-9.2")),
    ([("|P|2.6", "|T|2.6")], (202, "HL7-MSH11", "MSH[1]-11")),
    ([("|P|2.6", "|P|2.3")], (203, "HL7-VERSION", "MSH[1]-12")),
    ([("CISIS_CDA_HL7_V2", "CISIS_CDA_HL7_LPS")], (103, "HL7-PROFIL", "MSH[1]-21")),
    ([("|M0001|", "||")], (101, "HL7-MSH10", "MSH[1]-10")),
    ([("|M0001|", f"|{'x' * (MAX_CONTROL_ID + 1)}|")], (102, "HL7-MSH10", "MSH[1]-10")),
    ([("|M0001|", "|é|")], (102, "HL7-MSH10", "MSH[1]-10")),
    ([("|P|2.6|||||", "|P|2.6||suite|||")], (100, "HL7-MORCEAU", "MSH[1]-14")),
    ([("\rPID|", "\rDSC|suite\rPID|")], (100, "HL7-MORCEAU", "MSH[1]-14")),
    ([("|P|2.6|||||", "|P|2.6|||XX||")], (103, "HL7-ACCUSE", "MSH[1]-15")),
    ([("|P|2.6|||||", "|P|2.6|||AL|NE|")], (103, "HL7-ACCUSE", "MSH[1]-16")),
    ([("|P|2.6|||||", "|P|2.6||||ER|")], (103, "HL7-ACCUSE", "MSH[1]-16")),
    ([("ORC|NW", "ORC|CA")], (103, "HL7-COHERENCE", "ORC[1]-1")),
    ([("ORC|NW", "ORC|XX")], (103, "HL7-COHERENCE", "ORC[1]-1")),
    ([("||||||F|\rPRT", "||||||D|\rPRT")], (103, "HL7-COHERENCE", "OBX[1]-11")),
    ([("||||||F|\rPRT", "||||||P|\rPRT")], (103, "HL7-COHERENCE", "OBX[1]-11")),
    ([("^Base64^", "^A^")], (102, "HL7-BASE64", "OBX[1]-5.4")),
    ([("^Base64^", "^Base64^!")], (102, "HL7-BASE64", "OBX[1]-5.5")),
    ([("^XML^", "^PDF^")], (102, "HL7-FORMAT", "OBX[1]-5.3")),
    ([("^XML^", "^RTF^")], (102, "HL7-FORMAT", "OBX[1]-5.3")),
    ([("OBX|1|ED|11488-4^CR de consultation^LN", "OBX|1|ED|")], (101, "HL7-OBX", "OBX[1]-3.1")),
    ([("MASQUE_PS^", "MASQUE_PSY^")], (103, "HL7-OBX", "OBX[2]-3")),
    ([("libelle^MetaDMPMSS||N", "libelle^MetaDMPMSS||O")], (103, "HL7-INDICATEUR", "OBX[2]-5")),
    ([("libelle^MetaDMPMSS||N^^", "libelle^MetaDMPMSS||^^")], (101, "HL7-INDICATEUR", "OBX[2]-5")),
    ([("CONNEXION_SECRETE", "DESTMSSANTEPS")], (198, "HL7-INDICATEUR", "OBX[8]-3")),
    ([("^^X.400^docteur@a.mssante.fr", "^^X.400^")], (101, "HL7-DESTINATAIRE", "PRT[2]-15.4")),
])
def test_refusals_have_code_rule_and_place(pairs: list[tuple[str, str]], expected: tuple[int, str, str]) -> None:
    assert refusal(edited(order(TO), *pairs)) == expected


@pytest.mark.parametrize("asked", ["|||||", "|||AL||", "|||NE|AL|", "|||AL|AL|", "|1||SU||"])
def test_the_application_acknowledgement_serves_both_modes(asked: str) -> None:
    assert read_order(edited(order(TO), ("|P|2.6|||||", f"|P|2.6{asked}"))).control_id == "M0001"


@pytest.mark.parametrize("mask", ["MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REP_LEGAUX"])
def test_a_mask_is_never_guessed(mask: str) -> None:
    assert refusal(read(order(TO, flags={mask: ""})))[:2] == (101, "HL7-INDICATEUR")


@pytest.mark.parametrize(("name", "expected"), [
    ("PID", (100, "HL7-SEGMENT", "PID[1]")), ("TXA", (100, "HL7-SEGMENT", "TXA[1]")), ("OBX", (100, "HL7-DOCUMENT", "OBX[1]"))])
def test_missing_segments(name: str, expected: tuple[int, str, str]) -> None:
    assert refusal(without(order(TO), name)) == expected


def test_an_oru_needs_its_order_and_an_mdm_does_without() -> None:
    assert refusal(without(order(TO, kind="ORU", event="R01"), "ORC")) == (100, "HL7-SEGMENT", "ORC[1]")
    assert read_order(without(order(TO), "ORC", "OBR", "EVN", "PV1")).request is Request.SEND


@pytest.mark.parametrize(("value", "text"), [
    ("^TEXT^^Base64^" + base64.b64encode("Réponse".encode("iso-8859-15")).decode(), "Réponse"),
    ("^TEXT^^Base64^" + base64.b64encode(b"abc").decode() + "d", "abc"),
    (r"^TEXT^^A^deux\.br\lignes", "deux\nlignes"), ("simple", "simple")])
def test_the_forms_of_a_text_in_the_field(value: str, text: str) -> None:
    raw = order(TO, texts={"CORPSMAIL_PS": "x"})
    assert read_order(edited(raw, (f"^TEXT^^Base64^{base64.b64encode(b'x').decode()}", value))).text_professionals == text


def test_a_text_given_twice_or_too_long_is_refused() -> None:
    raw = order(TO, texts={"CORPSMAIL_PS": "x", "CORPSMAIL_PATIENT": "y"})
    assert refusal(edited(raw, ("CORPSMAIL_PATIENT", "CORPSMAIL_PS")))[:2] == (198, "HL7-INDICATEUR")
    assert refusal(read(order(TO, texts={"CORPSMAIL_PS": "x" * 100_001})))[:2] == (198, "HL7-TAILLE")
    assert refusal(read(order(tuple(f"a{rank}@a.mssante.fr" for rank in range(101)))))[:2] == (198, "HL7-TAILLE")


@pytest.mark.parametrize(("given", "error", "expected"), [
    ("AA", "", Answer("AA", "M0001")), ("CA", "", Answer("AA", "M0001")), ("CR", "", Answer("AR", "M0001")),
    ("AE", "ERR||PID^1^3|207^Application error^messageErrorCondition|E|902^Identifiant de patient inconnu^applicationErrorCode",
     Answer("AE", "M0001", "207", "902", "Identifiant de patient inconnu"))])
def test_answers(given: str, error: str, expected: Any) -> None:
    assert read_answer(read(answer_to(order(TO), given, error=error))) == expected


def test_answers_that_are_none() -> None:
    for raw in (order(TO), answer_to(order(TO), "ZZ")):
        with pytest.raises(Hl7Fault):
            read_answer(read(raw))


def test_codes_are_those_of_the_volets() -> None:
    assert sorted(Hl7Code) == [0, 100, 101, 102, 103, 198, 199, 200, 201, 202, 203, 207]
