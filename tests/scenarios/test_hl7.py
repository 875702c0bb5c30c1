"""A hospital application beside a running operator, by real MLLP: out to a doctor of beta and back, in from him, kill -9 in the middle.

- The application sends a document to a doctor; his operator's receipt and his software's come back as ZAM.
- He sends a document; the application is given an MDM and refuses the patient: he gets the refusal, the repair list shows it.
- Hundreds of messages over four connections while alpha is killed and started again: an application that got no answer sends the
  same octets again, as the volets ask. At the end each message stands once in its mailbox, and each has its ZAM once.
MSSANTE_HL7_MESSAGES (100) and MSSANTE_HL7_KILLS (2) change the last one; its counts go to $MSSANTE_REPORT_DIR/hl7.md.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from support.handing import INS, NAMES, PDF, cda
from support.hl7 import order, pdf_order, read
from support.lab import Reader, RunningLab, report, soon

from mssante.documents.letter import structured_letter
from mssante.documents.metadata import SenderFacts
from mssante.lab.hospital import Hospital, send
from mssante.model.address import parse_envelope_address
from mssante.protocol.hl7v2.cisis import read_answer
from mssante.protocol.hl7v2.er7 import Message
from mssante.protocol.mime.compose import Attachment, Letter, letter
from mssante.protocol.reports.mdn import MdnRequest, build_mdn, parse_mdn
from mssante.transport.mllp import MllpLink, MllpTarget

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

RESULTS = "resultats@alpha.mssante.test"
PAUL = "paul.durand@beta.mssante.test"
MESSAGES = int(os.environ.get("MSSANTE_HL7_MESSAGES", "100"))
KILLS = int(os.environ.get("MSSANTE_HL7_KILLS", "2"))
SEED = int(os.environ.get("MSSANTE_CRASH_SEED", "20261123"))
LINKS = 4


@dataclass
class Ward:
    """The hospital's side: its application in a thread of its own, and the door of alpha."""

    lab: RunningLab
    port: int
    hospital: Hospital = field(default_factory=Hospital)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    refuse: dict[str, str] = field(default_factory=dict)  # kind of message -> what is answered, once

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def decide(self, message: Message) -> str:
        return self.refuse.pop(message.header.text(9), "AA")

    def told(self, kind: str, event: str = "") -> list[Message]:
        found = [read(one) for one in list(self.hospital.taken.values())]
        return [one for one in found if one.header.text(9) == kind and event in ("", one.header.text(9, 2))]

    def link(self) -> MllpLink:
        return MllpLink(MllpTarget("127.0.0.1", self.port, answer_seconds=20))

    def send(self, raw: bytes) -> Any:
        async def one() -> Any:
            link = self.link()
            try:
                return await send(link, raw, attempts=50)
            finally:
                await link.close()

        return self.run(one())


@pytest.fixture(scope="module")
def ward(running_lab: RunningLab) -> Iterator[Ward]:
    lab, made = running_lab, Ward(running_lab, running_lab.address("alpha", "mllp")[1])
    made.hospital.decide = made.decide
    threading.Thread(target=made.loop.run_forever, daemon=True).start()
    port = made.run(made.hospital.listen("127.0.0.1:0"))
    config = lab.folder / "alpha" / "operator_config" / "operator.toml"
    kept = config.read_text(encoding="utf-8")
    config.write_text(kept.partition("\n[hl7]\n")[0] + (  # what the lab's own says, with an application that is given messages
        f'\n[hl7]\nenabled = true\nlisten = "127.0.0.1:{made.port}"\npoll_seconds = 0.1\nretry_seconds = 0.1\n'
        'retry_most_seconds = 1.0\n\n[[hl7.applications]]\nname = "dpi"\n'
        f'mailbox = "{RESULTS}"\nsending_application = "DPI"\nnetworks = ["127.0.0.0/8"]\nconnect = "127.0.0.1:{port}"\n'
        'deliver = true\nstructure_name = "Centre de test"\nstructure_number = "1990000001"\n'), encoding="utf-8")
    lab.kill("alpha")
    lab.start("alpha")
    yield made
    config.write_text(kept, encoding="utf-8")
    lab.kill("alpha")
    lab.start("alpha")
    made.run(made.hospital.close())
    made.loop.call_soon_threadsafe(made.loop.stop)


def from_paul(lab: RunningLab, raw: bytes) -> None:
    paul = lab.operator("beta").account(PAUL)
    assert paul is not None
    with lab.wire("beta", "submission") as wire:
        wire.read_reply()
        wire.ask(b"EHLO logiciel.test")
        wire.ask(b"STARTTLS")
        wire.start_tls(lab.anchors())
        wire.ask(b"EHLO logiciel.test")
        word = base64.b64encode(f"\0{paul.login}\0{paul.password}".encode())
        assert wire.ask(b"AUTH PLAIN " + word).code == 235
        assert wire.deliver(PAUL, [RESULTS], raw).code == 250


def inbox(reader: Reader) -> list[bytes]:
    reader.client.select("INBOX")
    _, answer = reader.client.uid("FETCH", "1:*", "(BODY.PEEK[])")
    return [one[1] for one in answer or () if isinstance(one, tuple)]


def test_a_document_goes_out_and_its_receipts_come_back(ward: Ward) -> None:
    answer = ward.send(pdf_order((PAUL,), control="OUT1", texts={"CORPSMAIL_PS": "marque-OUT1"}))
    assert (answer.code, answer.control_id) == ("AA", "OUT1")
    assert soon(lambda: any(one.all("OBX")[0].text(4) == "OUT1" for one in ward.told("ZAM", "Z02")))
    (z02,) = [one for one in ward.told("ZAM", "Z02") if one.all("OBX")[0].text(4) == "OUT1"]
    assert (z02.all("OBX")[0].text(5), z02.all("OBX")[1].text(5, 4)) == ("Y", PAUL)
    with ward.lab.reader(PAUL) as reader:
        assert soon(lambda: any(b"marque-OUT1" in one for one in inbox(reader)))
        (got,) = [one for one in inbox(reader) if b"marque-OUT1" in one]
    reference = re.search(rb"(?im)^Message-ID: (<[^>]+>)", got)
    assert reference is not None
    assert b"%PDF" in PDF
    who = parse_envelope_address(PAUL)
    from_paul(ward.lab, build_mdn(MdnRequest(who, parse_envelope_address(RESULTS), who, reference[1].decode(), "Lu", "Lu.",
                                             datetime.now(UTC), "m" * 26, "test")))
    assert soon(lambda: any(one.all("OBX")[0].text(4) == "OUT1" for one in ward.told("ZAM", "Z03")))


def structured(control: str) -> bytes:
    """Give the mail of a doctor's software with one document."""
    now = datetime.now(UTC)
    made = structured_letter([cda()], SenderFacts("2.25.1", "Cabinet de test", "1990000001"), now=now)
    return letter(Letter(
        parse_envelope_address(PAUL), (parse_envelope_address(RESULTS),), made.subject, "Bonjour", now,
        f"<{control}@beta.mssante.test>", control, attachments=tuple(Attachment(one.name, one.media_type, one.content)
                                                                     for one in made.attachments),
        headers=(*made.headers.items(), ("Disposition-Notification-To", PAUL))))


def test_a_document_comes_in_and_a_refusal_goes_back(ward: Ward) -> None:
    ward.refuse["MDM"] = "902"
    from_paul(ward.lab, structured("in1"))
    with ward.lab.reader(PAUL) as reader:
        assert soon(lambda: any(parse_mdn(one) for one in inbox(reader)))
        (said,) = [found for one in inbox(reader) if (found := parse_mdn(one))]
    assert (said.error_code, said.original_message_id) == ("902", "<in1@beta.mssante.test>")
    config = ward.lab.folder / "alpha" / "operator_config"
    code, out, error = ward.lab.command("hl7", "repair", "list", "-c", config)
    assert code == 0 and "902" in out, error
    number = out.splitlines()[-1].split()[0]
    assert ward.lab.command("hl7", "repair", "retry", number, "--by", "test", "-c", config)[0] == 0
    assert soon(lambda: bool(ward.told("MDM")))
    (mdm,) = ward.told("MDM")
    assert base64.b64decode(mdm.all("OBX")[0].text(5, 5)) == cda()
    assert soon(lambda: "closed" in ward.lab.command("hl7", "repair", "show", number, "-c", config)[1])
    with ward.lab.reader(PAUL) as reader:
        assert soon(lambda: len([one for one in inbox(reader) if parse_mdn(one)]) == 2), "taken at last: he is told"
    log = ward.lab.log("alpha")
    assert INS not in log and NAMES[0] not in log


def test_kill_nine_in_the_middle(ward: Ward) -> None:
    lab, chance = ward.lab, random.Random(SEED)
    boxes = lab.numbered("alpha")[4:12]
    todo = [(f"K{rank:05d}", boxes[rank % len(boxes)]) for rank in range(MESSAGES)]
    done: list[str] = []
    counts: Counter[str] = Counter()
    document = cda()

    async def worker() -> None:
        link = ward.link()
        while todo:
            control, box = todo.pop()
            raw = order((box,), control=control, content=document, texts={"CORPSMAIL_PS": f"marque-{control}"})
            while True:
                try:
                    answer = read_answer(read(await link.exchange(raw)))
                except Exception:
                    counts["broken"] += 1
                    await asyncio.sleep(0.05)
                    continue
                if answer.code == "AR":
                    counts["later"] += 1
                    continue
                assert (answer.code, answer.control_id) == ("AA", control), answer
                done.append(control)
                break
        await link.close()

    def kills() -> None:
        for rank in range(KILLS):
            while len(done) < MESSAGES * (rank + 1) // (KILLS + 1):
                time.sleep(0.005)
            time.sleep(chance.random() * 0.05)
            lab.kill("alpha")
            lab.start("alpha")

    async def storm() -> None:
        await asyncio.gather(*[worker() for _ in range(LINKS)], asyncio.to_thread(kills))

    began = time.monotonic()
    ward.run(storm())
    took = time.monotonic() - began

    def receipts() -> Counter[str]:
        return Counter(one.all("OBX")[0].text(4) for one in ward.told("ZAM", "Z02") if one.all("OBX")[0].text(4).startswith("K"))

    soon(lambda: len(receipts()) >= MESSAGES, 60)
    found: Counter[str] = Counter()
    for box in boxes:
        with lab.reader(box) as reader:
            found += Counter(word for one in inbox(reader) for word in set(re.findall(r"marque-(K\d{5})", one.decode("latin-1"))))
    lost = [one for one in done if not found[one]]
    doubled = [one for one, count in found.items() if count > 1]
    told, expected = receipts(), {f"K{rank:05d}" for rank in range(MESSAGES)}
    report("hl7.md", f"seed {SEED}, {MESSAGES} messages, {LINKS} connections, {KILLS} kills, {took:.1f} s "
           f"({MESSAGES / took:.0f} messages a second, restarts included)\n"
           f"acknowledged {len(done)}, found {sum(found.values())}, lost {len(lost)}, doubled {len(doubled)}\n"
           f"connections broken {counts['broken']}, AR {counts['later']}; receipts {sum(told.values())}, missing "
           f"{len(expected - set(told))}, doubled {sum(count > 1 for count in told.values())}, "
           f"sent again and known by their MSH-10 {ward.hospital.repeated}")
    assert len(done) == MESSAGES and set(done) == expected
    assert (lost, doubled, set(found) - expected) == ([], [], set())
    assert set(told) == expected and max(told.values()) == 1
