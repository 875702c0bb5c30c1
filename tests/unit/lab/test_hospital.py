"""The lab's hospital application: files in, files out, and what it answers."""

from __future__ import annotations

from pathlib import Path

from support.hl7 import HERE, order, read

from mssante.errors import OperatorFault
from mssante.lab.hospital import Hospital, send, send_folder
from mssante.protocol.hl7v2.cisis import Answer, read_answer
from mssante.transport.mllp import MllpLink, MllpTarget

RAW = order(("a@a.mssante.fr",))


async def test_messages_are_written_once_and_answered_each_time(tmp_path: Path) -> None:
    hospital = Hospital(tmp_path)
    for _ in range(2):
        assert read_answer(read(await hospital.take(RAW, HERE))) == Answer("AA", "M0001")
    (file,) = (tmp_path / "in").iterdir()
    assert (file.name, file.read_bytes(), hospital.repeated) == ("000001-MDM.hl7", RAW, 1)


async def test_a_file_or_a_function_decides(tmp_path: Path) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "902.hl7rule").touch()
    hospital = Hospital(tmp_path, decide=lambda message: "AR")
    first = read_answer(read(await hospital.take(RAW, HERE)))
    assert (first.code, first.condition, first.application) == ("AE", "207", "902")
    assert read_answer(read(await hospital.take(RAW, HERE))).code == "AR"
    assert read_answer(read(await hospital.take(b"rien", HERE))).code == "AE"
    assert hospital.taken == {}


async def test_files_are_sent_in_order_until_they_are_settled(tmp_path: Path) -> None:
    answers = ["AR", "AA", "903"]
    other = Hospital(decide=lambda message: answers.pop(0))
    port = await other.listen("127.0.0.1:0")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.hl7").write_bytes(RAW)
    (tmp_path / "out" / "2.hl7").write_bytes(order(("a@a.mssante.fr",), control="M2"))
    link = MllpLink(MllpTarget("127.0.0.1", port))
    assert await send_folder(tmp_path, link) == 2
    assert (tmp_path / "sent" / "1.hl7.ack").read_text("utf-8").startswith("AA")
    assert "207 903" in (tmp_path / "refused" / "2.hl7.ack").read_text("utf-8")
    assert list((tmp_path / "out").iterdir()) == []
    await link.close()
    await other.close()
    absent = MllpLink(MllpTarget("127.0.0.1", port, connect_seconds=5))
    try:
        await send(absent, RAW, attempts=1)
        raise AssertionError("nobody listens any more")
    except OperatorFault as fault:
        assert fault.rule == "HL7-INJOIGNABLE"
