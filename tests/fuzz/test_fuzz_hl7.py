"""HL7: frames, text form, orders and answers from any octets: a typed fault or a value, bounded, and what is written is read."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.hl7 import order

from mssante.protocol.hl7v2.cisis import read_answer, read_order
from mssante.protocol.hl7v2.er7 import Limits, Message, escape, parse, unescape
from mssante.protocol.hl7v2.faults import Hl7Fault
from mssante.protocol.hl7v2.mllp import Frame, Framer, Oversized, Truncated, frame
from mssante.protocol.hl7v2.values import Correspondents, Failure, Receipt, ReceiptKind
from mssante.protocol.hl7v2.writer import Sending, acknowledge, zam
from mssante.services.hl7gateway import peek

LIMITS = Limits(message=20_000, segments=50, fields=60, repetitions=20)
NOW = datetime(2026, 3, 1, tzinfo=UTC)
GOOD = order(("a@a.mssante.fr", "279035121518989@patient.mssante.fr"), content=b"<a/>")
MARKS = st.sampled_from([b"|", b"^", b"~", b"\\", b"&", b"\r", b"\n", b"\x0b", b"\x1c", b"\\X41\\", b"\\.br\\", b"MSH", b"OBX|", b"\xe9",
                         b"\x00", "é".encode(), b'""', b"\\XFF\\", b"Base64", b"\\"])
OCTETS = st.lists(st.one_of(MARKS, st.binary(max_size=12)), max_size=40).map(b"".join)
EDITS = st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 30), OCTETS), min_size=1, max_size=6)


def touch(message: Message) -> None:
    """Look at everything."""
    for segment in message.segments:
        for field in range(len(segment.fields) + 1):
            for one in segment.repetitions(field):
                try:
                    segment.part(one, 1, 1)
                    segment.part(one, 9, 2)
                except Hl7Fault:
                    continue


def judged(raw: bytes) -> None:
    """A message gives values or a typed fault, and can always be answered."""
    header = None
    try:
        message = parse(raw, LIMITS, default_charset="iso-8859-15")
        header = message.header
        touch(message)
        read_order(message)
        read_answer(message)
    except Hl7Fault as fault:
        assert fault.rule.startswith("HL7-")
        assert len(str(fault)) < 600
    try:
        answer = acknowledge(header or peek(raw), "AE", "C1", NOW)
    except Hl7Fault:
        answer = acknowledge(None, "AE", "C1", NOW)
    assert read_answer(parse(answer, Limits())).code == "AE"
    assert b"\x0b" not in answer and b"\x1c" not in answer


@given(OCTETS)
@settings(max_examples=200, deadline=None)
def test_any_octets(raw: bytes) -> None:
    judged(raw)
    judged(b"MSH|^~\\&|" + raw)


@given(EDITS)
@example([(8, 0, b"\r")])
@settings(max_examples=200, deadline=None)
def test_good_messages_with_wounds(edits: list[tuple[int, int, bytes]]) -> None:
    raw = GOOD
    for start, length, octets in edits:
        raw = raw[:start] + octets + raw[start + length:]
    judged(raw)


@given(OCTETS, st.lists(st.integers(1, 50), min_size=1, max_size=20))
@settings(max_examples=200, deadline=None)
def test_frames_are_the_same_however_they_are_cut(raw: bytes, cuts: list[int]) -> None:
    wire = raw + frame(b"MSH|end") + raw
    whole, pieces, found = Framer(200), Framer(200), []
    expected = whole.feed(wire)
    start = index = 0
    while start < len(wire):
        size = cuts[index % len(cuts)]
        found += pieces.feed(wire[start:start + size])
        assert pieces.pending <= 200
        start, index = start + size, index + 1
    assert [type(one) for one in found] == [type(one) for one in expected]
    assert [one for one in found if isinstance(one, Frame)] == [one for one in expected if isinstance(one, Frame)]
    assert pieces.noise == whole.noise
    assert all(isinstance(one, Frame | Truncated | Oversized) for one in found)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_what_is_escaped_comes_back(text: str) -> None:
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    expected = "".join(char if (char >= " " and char != "\x7f") or char == "\n" else " " for char in plain)
    assert unescape(escape(text)) == expected
    unescape(text.replace("\\X", "\\"))


@given(st.text(max_size=80), st.text(max_size=80), st.sampled_from(["UNICODE UTF-8", "8859/15"]))
@settings(max_examples=200, deadline=None)
def test_a_receipt_is_one_whatever_it_quotes(address: str, label: str, charset: str) -> None:
    sending = Sending(Correspondents("A", "B", "C", "D", charset=charset), "C1", NOW)
    raw = zam(Receipt(ReceiptKind.RECEPTION, "015", address, "", Failure("554", label, "SMTPERRORCODE")), sending)
    message = parse(raw, Limits())
    assert [one.name for one in message.segments] == ["MSH", "EVN", "OBX", "OBX", "ERR"]
    assert frame(raw)
