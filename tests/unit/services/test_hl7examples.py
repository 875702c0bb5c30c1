"""Every published example of `shared/data/hl7v2` through the gateway and back: as it stands, and with a real document in it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.handing import desk
from support.hl7 import HERE, application, read, settings
from support.smtp_stage import ALICE, SmtpStage, build

from mssante.documents.cda import read_header
from mssante.lab.hospital import Hospital
from mssante.protocol.hl7v2.cisis import Answer, read_answer
from mssante.protocol.hl7v2.er7 import Limits, parse
from mssante.services.hl7gateway import Gateway, GatewayParts

NOTHING = Answer("AE", "015", "102")  # their document is the words "Document médical au format CDA niveau 1"
# file -> what the gateway answers to the file as it stands; None: it is an answer itself, and the other side reads it
EXPECTED: dict[str, Answer | None] = {
    "mss-v1.0_MDM_ack.hl7": None, "segur2_mss_MDM_ack.er7": None, "transdoc-v2.1_ORU_ack.hl7": None,
    # these go from the gateway to the application: taken by the application, refused by the gateway
    "mss-v1.0_MDM_message.hl7": Answer("AE", "015", "103"),
    "mss-v1.0_MDM_message_with_base64_document.hl7": Answer("AE", "015", "103"),
    "segur2_mss_MDM_INIT_N1.er7": Answer("AE", "015", "103"),
    "transdoc-v2.1_ZAM_lecture_MSS.hl7": Answer("AE", "019", "200"),
    "transdoc-v2.1_ZAM_reception_DMP.hl7": Answer("AE", "017", "200"),
    "transdoc-v2.1_ZAM_reception_MSS.hl7": Answer("AE", "018", "200"),
    "transdoc-v2.0_MDM_INIT_N1.er7": NOTHING, "transdoc-v2.1_ORU_INIT_N1_N3.hl7": NOTHING,
}
ORDERS = ("transdoc-v2.0_MDM_INIT_N1.er7", "transdoc-v2.1_ORU_INIT_N1_N3.hl7")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def gateway(stage: SmtpStage, raw: bytes) -> Gateway:
    """A gateway that knows the application of an example, which sends from Alice's mailbox."""
    name = parse(raw, Limits()).header.text(3)
    handover: Any = desk(stage)
    return Gateway(GatewayParts(stage.stores, stage.clock, handover, (application(ALICE, sending_application=name),), settings(),
                                lambda _: None))


def test_every_example_is_here(shared_dir: Path) -> None:
    assert set(EXPECTED) == set(json.loads((shared_dir / "data" / "hl7v2" / "origin.json").read_text("utf-8")))


@pytest.mark.parametrize("name", EXPECTED)
async def test_examples_as_they_stand(stage: SmtpStage, shared_dir: Path, name: str) -> None:
    raw = (shared_dir / "data" / "hl7v2" / name).read_bytes()
    for ends in (b"\r", b"\r\n"):  # as MLLP has them, and as Windows software adds to it
        assert parse(raw.replace(b"\n", ends), Limits()) == parse(raw, Limits())
    expected = EXPECTED[name]
    if expected is None:
        assert read_answer(parse(raw, Limits())).code == "AA"
        return
    answer = read_answer(read(await gateway(stage, raw).take(raw, HERE)))
    assert (answer.code, answer.control_id, answer.condition) == (expected.code, expected.control_id, expected.condition)
    assert await stage.queue() == []


@pytest.mark.parametrize("name", [name for name, expected in EXPECTED.items() if expected is not None and name not in ORDERS])
async def test_what_goes_to_the_application_is_taken_by_it(shared_dir: Path, name: str) -> None:
    raw = (shared_dir / "data" / "hl7v2" / name).read_bytes()
    hospital = Hospital()
    for _ in range(2):
        assert read_answer(read(await hospital.take(raw, HERE))).code == "AA"
    assert (list(hospital.taken.values()), hospital.repeated) == ([raw], 1)


@pytest.mark.parametrize("name", ORDERS)
async def test_orders_with_a_real_document_leave(stage: SmtpStage, shared_dir: Path, name: str) -> None:
    """The document of the third example (real, 184 KB) put into the two orders, for the patient of that document."""
    source = (shared_dir / "data" / "hl7v2" / "mss-v1.0_MDM_message_with_base64_document.hl7").read_bytes()
    document = base64.b64decode(parse(source, Limits()).all("OBX")[0].text(5, 5) + "==")
    header = read_header(document)
    text = (shared_dir / "data" / "hl7v2" / name).read_text("utf-8")
    text = re.sub(r"(?m)^(OBX\|\d+\|ED\|1[^|]*\|\|\^\w+\^XML\^Base64\^)[^|]*", lambda found: found[1] + base64.b64encode(
        document).decode(), text)
    ins = header.patient.ins
    assert ins is not None
    text = re.sub(r"(?m)^(PID\|\|\|)\d+", lambda found: found[1] + ins.matricule, text)
    text = text.replace("@test-ci-sis.mssante.fr", "@a.mssante.fr")
    if name.startswith("transdoc-v2.0"):  # as published it masks to the representatives and sends to professionals: not allowed
        answer = read_answer(read(await gateway(stage, text.encode()).take(text.encode(), HERE)))
        assert (answer.code, answer.application) == ("AE", "MASQUAGE-COMBINAISON")
        text = re.sub(r"(?m)^(OBX\|\d+\|CWE\|INVISIBLE_REP_LEGAUX[^|]*\|\|)Y", r"\1N", text)
    raw = text.encode()
    answer = read_answer(read(await gateway(stage, raw).take(raw, HERE)))
    assert answer.code == "AA", answer
    assert "adam.hoda@a.mssante.fr" in {one.address for one in await stage.queue()}
    assert len(await stage.queue()) == (1 if "MDM" in name else 2)
