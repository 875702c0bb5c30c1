"""What we write is what the published examples have, field by field, and nothing in it can end a segment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.hl7 import order, read

from mssante.protocol.hl7v2.cisis import read_answer
from mssante.protocol.hl7v2.er7 import Limits, Message, parse
from mssante.protocol.hl7v2.faults import Hl7Code, Place
from mssante.protocol.hl7v2.values import (
    Correspondents,
    Delivery,
    Failure,
    Identifier,
    MailFacts,
    Participant,
    PatientFacts,
    Person,
    Receipt,
    ReceiptKind,
    Request,
    Structure,
)
from mssante.protocol.hl7v2.writer import Problem, Sending, acknowledge, mdm, segment, zam

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHO = Correspondents("PFI-X", "Organisation-X", "SIL-Y", "labo")
SENDING = Sending(WHO, "C1", NOW)
PATIENT = PatientFacts((Identifier("279035121518989", "1.2.250.1.213.1.4.10", "INS", "ASIP-SANTE-INS-NIR"),), "TEST|PATIENT",
                       "ALIX", "ALIX", "USAGE", "", "19790328", "F", "63220")
DELIVERY = Delivery(
    Request.SEND, PATIENT, b"<x/>" * 1000, "18748-4", "CR d'imagerie médicale", "LN", ("58132", "1.2.3"), "20260301",
    MailFacts("<m@a.mssante.fr>", "XDM/1.0/DDM+CR\rPID|faux", "Corps du courriel"),
    Participant("a@a.mssante.fr", Person(Identifier("801", "1.2.250.1.71.4.2.1", "IDNPS"), "Eric", "Thomas")),
    Participant("dpi@h.mssante.fr", structure=Structure("Service", Identifier("3435", "", "UF"))), "801", ("58131", "1.2.3"),
    "r@a.mssante.fr", {"INVISIBLE_PATIENT": True})


def shape(message: Message) -> list[tuple[str, ...]]:
    return [(one.name, one.text(3)) if one.name == "OBX" else (one.name, one.text(4)) if one.name == "PRT" else (one.name,)
            for one in message.segments]


def example(shared_dir: Path, name: str) -> Message:
    return parse((shared_dir / "data" / "hl7v2" / name).read_bytes(), Limits())


def test_an_ack_turns_the_header_round() -> None:
    header = read(order(("a@a.mssante.fr",), charset="8859/15")).header
    answer = read(acknowledge(header, "AA", "C9", NOW))
    msh = answer.header
    assert [msh.text(field) for field in (3, 4, 5, 6, 10, 11, 12, 17, 18)] == [
        "MSSANTE", "MSSANTE", "DPI", "HOPITAL", "C9", "P", "2.6", "FRA", "8859/15"]
    assert (msh.raw(9), msh.text(7)) == ("ACK^T02^ACK", "20260301120000+0000")
    assert (read_answer(answer).code, read_answer(answer).control_id) == ("AA", "M0001")
    assert [one.name for one in answer.segments] == ["MSH", "MSA"]


def test_errors_have_place_code_and_words() -> None:
    header = read(order(("a@a.mssante.fr",), charset="8859/15")).header
    answer = parse(acknowledge(header, "AE", "C9", NOW, (
        Problem(Hl7Code.VERSION_ID, Place("MSH", 1, 12), words="dévers|ion"),
        Problem(Hl7Code.INTERNAL, Place("OBX", 2, 5, 5), ("R", "l", "T"), severity="W"), Problem(Hl7Code.OTHER, Place("PRT")))),
        Limits())
    errors = answer.all("ERR")
    assert [one.raw(2) for one in errors] == ["MSH^1^12", "OBX^2^5^1^5", "PRT^1"]
    assert (errors[0].raw(3), errors[0].text(4), errors[0].text(8)) == (
        "203^Unsupported version id^messageErrorCondition", "E", "dévers|ion")
    assert (errors[1].raw(5), errors[1].text(4)) == ("R^l^T", "W")


def test_what_had_no_header_is_answered_all_the_same() -> None:
    answer = read(acknowledge(None, "AE", "C9", NOW, (Problem(Hl7Code.SEGMENT_SEQUENCE),)))
    assert (read_answer(answer).code, read_answer(answer).control_id, answer.header.raw(9)) == ("AE", "", "ACK")


@pytest.mark.parametrize(("name", "receipt"), [
    ("transdoc-v2.1_ZAM_reception_MSS.hl7",
     Receipt(ReceiptKind.RECEPTION, "015", "adam.hoda@test-ci-sis.mssante.fr", "801234567897")),
    ("transdoc-v2.1_ZAM_lecture_MSS.hl7",
     Receipt(ReceiptKind.READING, "015", "adam.hoda@test-ci-sis.mssante.fr", "801234567897")),
    ("transdoc-v2.1_ZAM_reception_DMP.hl7",
     Receipt(ReceiptKind.DMP, "015", failure=Failure("DMPClosed", "DMP fermé", "DMPERRORCODE")))])
def test_receipts_are_those_of_the_guide(shared_dir: Path, name: str, receipt: Receipt) -> None:
    theirs, ours = example(shared_dir, name), read(zam(receipt, SENDING))
    assert shape(ours) == shape(theirs)
    for mine, given in zip(ours.segments, theirs.segments, strict=True):
        if mine.name == "OBX":
            assert mine.fields == given.fields
    assert ours.header.raw(9) == theirs.header.raw(9)
    assert [ours.header.text(one) for one in (3, 4, 5, 6, 12, 17, 18)] == [theirs.header.text(one) for one in (3, 4, 5, 6, 12, 17, 18)]
    assert ours.header.raw(21) == theirs.header.raw(21)
    for mine, given in zip(ours.all("ERR"), theirs.all("ERR"), strict=True):
        assert (mine.raw(3), mine.raw(4), mine.raw(5)) == (given.raw(3), given.raw(4), given.raw(5))


@pytest.mark.parametrize("name", ["segur2_mss_MDM_INIT_N1.er7", "mss-v1.0_MDM_message.hl7",
                                  "mss-v1.0_MDM_message_with_base64_document.hl7"])
def test_a_delivery_has_the_segments_of_the_guide(shared_dir: Path, name: str) -> None:
    theirs, ours = example(shared_dir, name), read(mdm(replace(DELIVERY, code=example(shared_dir, name).first("TXA").text(2)),  # type: ignore[union-attr]
                                                       SENDING))
    wanted = [one if one[0] != "OBX" or one[1] != "1" else ("OBX", "<m@a.mssante.fr>") for one in shape(theirs)]
    assert shape(ours) == [one for one in wanted if one[1:] != ("ACK_LECTURE",)], "which the volet 1.1 no longer has"
    for given in theirs.segments:
        mine = next(one for one in ours.segments if (one.name, one.occurrence) == (given.name, given.occurrence)) \
            if given.text(3) != "ACK_LECTURE" else given
        told = {rank for rank, value in enumerate(mine.fields) if value}
        needed = {"MSH": {3, 4, 5, 6, 7, 9, 10, 11, 12, 17, 18, 21}, "PID": {3, 5, 7, 8}, "PV1": {1, 2}, "ORC": {1}, "OBR": {1, 4},
                  "TXA": {1, 2, 3, 4, 12, 17}, "EVN": {2}}.get(given.name, {rank for rank, value in enumerate(given.fields) if value
                                                                            and given.name == "OBX"})
        assert needed <= told, given.name


def test_a_delivery_says_what_it_is_given() -> None:
    message = read(mdm(DELIVERY, SENDING))
    pid, txa = message.first("PID"), message.first("TXA")
    assert pid is not None
    assert txa is not None
    assert (pid.text(3), pid.text(3, 4), pid.text(3, 4, 2), pid.text(3, 5)) == (
        "279035121518989", "ASIP-SANTE-INS-NIR", "1.2.250.1.213.1.4.10", "INS")
    assert [pid.part(one, 7) for one in pid.repetitions(5)] == ["L", "D"]
    assert pid.text(5) == "TEST|PATIENT"
    assert (txa.raw(12), txa.raw(13)) == ("58132^^1.2.3^ISO", "58131^^1.2.3^ISO")
    obx = message.all("OBX")
    assert len(obx[0].text(5, 5)) == len(DELIVERY.content) // 3 * 4 + 4
    assert obx[1].text(3, 2) == "XDM/1.0/DDM+CR\nPID|faux", "a subject cannot make a segment"
    assert [one.text(5) for one in obx[2:]] == ["N", "Y", "N", "N"]
    assert len(message.all("PID")) == 1
    root_alone = read(mdm(replace(DELIVERY, number=("", "1.2.3.4"), parent=None, reply_to=""), SENDING))
    assert root_alone.first("TXA").raw(12) == "1.2.3.4"  # type: ignore[union-attr]
    assert len(root_alone.all("PRT")) == 2


def test_the_other_charset_and_what_it_lacks() -> None:
    sending = replace(SENDING, correspondents=replace(WHO, charset="8859/15"))
    raw = mdm(replace(DELIVERY, label="é€ 漢"), sending)
    assert "é€ ?".encode("iso-8859-15") in raw
    assert parse(raw, Limits()).first("OBR").text(4, 2) == "é€ ?"  # type: ignore[union-attr]


def test_a_segment_is_escaped_and_cut() -> None:
    assert segment("ZZZ", {2: ("a^b", ("c&d", "e")), 4: [("1",), ("2~", "")]}) == "ZZZ||a\\S\\b^c\\T\\d&e||1~2\\R\\"
    assert len(segment("ZZZ", {1: "x" * 5000})) == 4 + 1000
    assert segment("ZZZ", {}) == "ZZZ"
