"""The text form: delimiters, charsets, line ends, escapes, limits."""

from __future__ import annotations

import pytest

from mssante.protocol.hl7v2.er7 import Delimiters, Limits, escape, parse, unescape
from mssante.protocol.hl7v2.faults import Hl7Code, Hl7Fault, Place

LIMITS = Limits()
MSH = rb"MSH|^~\&|A|B|C|D|20260301||MDM^T02|1|P|2.6|||||FRA|"


def code_of(raw: bytes, limits: Limits = LIMITS) -> tuple[Hl7Code, str, str]:
    with pytest.raises(Hl7Fault) as caught:
        parse(raw, limits)
    return caught.value.code, caught.value.rule, str(caught.value.place)


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n", b"\r\r\n"])
def test_segments_end_by_cr_and_by_what_the_field_writes(end: bytes) -> None:
    message = parse(end.join([MSH + b"UNICODE UTF-8", b"PID|||1~2", b"OBX|1|ED", b"OBX|2"]) + end, LIMITS)
    assert [one.name for one in message.segments] == ["MSH", "PID", "OBX", "OBX"]
    assert [one.occurrence for one in message.all("OBX")] == [1, 2]
    assert message.header.text(1) == "|"
    assert message.header.raw(2) == "^~\\&"
    assert message.header.text(12) == "2.6"


def test_a_line_feed_inside_a_field_is_text_where_cr_ends_segments() -> None:
    assert parse(MSH + b"\rOBX|1|TX|a\nb\r", LIMITS).segments[1].text(3) == "a\nb"


def test_fields_repetitions_components_subcomponents() -> None:
    segment = parse(MSH + b"\rPID|||1^^^X&1.2&ISO^PI~2^^^^INS||\"\"|a\r", LIMITS).segments[1]
    assert segment.repetitions(3) == ("1^^^X&1.2&ISO^PI", "2^^^^INS")
    assert [segment.text(3), segment.text(3, 4, 2), segment.text(3, 5), segment.text(3, 9), segment.text(99)] == [
        "1", "1.2", "PI", "", ""]
    assert segment.text(5) == "", "HL7 null"
    assert segment.raw(5) == '""'
    assert segment.repetitions(4) == ()


def test_other_marks_than_the_usual_ones() -> None:
    message = parse(b"MSH#*!%@#A#B#C#D\rPID###1*2@3!4\r", LIMITS)
    assert message.marks == Delimiters("#", "*", "!", "%", "@")
    assert (message.segments[1].text(3, 2), message.segments[1].text(3, 2, 2)) == ("2", "3")


@pytest.mark.parametrize("head", [rb"MSH|^~\\|A", rb"MSH|^~\^|A", rb"MSHa^~\&|A", b"MSH|^~|A", rb"MSH| ~\&|A", b"MSH", b"MSH|", b"MSH||||",
                                  rb"MSH|^~\&#$|A"])
def test_marks_that_cannot_be_told_apart_are_refused(head: bytes) -> None:
    assert code_of(head + b"\r") == (Hl7Code.DATA_TYPE, "HL7-DELIMITEURS", "MSH[1]-2")


def test_the_truncation_mark_of_version_2_7_is_read() -> None:
    assert parse(rb"MSH|^~\&#|A|B" + b"\r", LIMITS).header.text(3) == "A"


@pytest.mark.parametrize(("name", "octets"), [
    (b"UNICODE UTF-8", "é’€".encode()), (b"8859/15", "é€".encode("iso-8859-15")), (b"8859/1", "é".encode("latin-1")),
    (b"8859/15~UNICODE UTF-8", "é".encode("iso-8859-15")), (b"", "é".encode()), (b"", "é€".encode("iso-8859-15"))])
def test_charsets(name: bytes, octets: bytes) -> None:
    message = parse(MSH + name + b"\rNTE|1||" + octets + b"\r", LIMITS, default_charset="iso-8859-15")
    assert message.segments[1].text(3)[0] == "é"


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse(b"\xef\xbb\xbf" + MSH + b"\r", LIMITS).header.text(3) == "A"


def test_what_cannot_be_decoded_is_refused() -> None:
    assert code_of(MSH + b"UNICODE UTF-8\rNTE|\xe9\r") == (Hl7Code.DATA_TYPE, "HL7-CHARSET", "MSH[1]-18")
    assert code_of(MSH + b"UNICODE UTF-16\r")[1] == "HL7-CHARSET"
    assert code_of(MSH + b"KLINGON\r") == (Hl7Code.TABLE_VALUE, "HL7-CHARSET", "MSH[1]-18")
    for mark in ("utf-16", "utf-16-be", "utf-16-le"):
        assert code_of(MSH.decode().encode(mark))[1] == "HL7-CHARSET"


@pytest.mark.parametrize("raw", [b"", b"PID|1\r", b"\x00\x01\x02", b"\r\n"])
def test_what_does_not_begin_with_msh_is_refused(raw: bytes) -> None:
    assert code_of(raw)[:2] == (Hl7Code.SEGMENT_SEQUENCE, "HL7-ENTETE")


@pytest.mark.parametrize(("raw", "place"), [
    (b"FHS|^~\\&|A\rBHS|^~\\&|A\r" + MSH, "FHS[1]"), (b"BHS|^~\\&|A\r" + MSH, "BHS[1]"), (MSH + b"\rBTS|1\r", "BTS[1]"),
    (MSH + b"\rFTS|1\r", "FTS[1]"), (b"\xef\xbb\xbfBHS", "BHS[1]")])
def test_batches_are_refused_whole(raw: bytes, place: str) -> None:
    assert code_of(raw) == (Hl7Code.SEGMENT_SEQUENCE, "HL7-LOT", place)


@pytest.mark.parametrize("line", [b"pid|1", b"P|1", b"OBXA|1", b"not a segment", b" PID|1", b"\xc3\xa9ID|1"])
def test_a_line_that_is_no_segment_is_refused(line: bytes) -> None:
    assert code_of(MSH + b"\r" + line + b"\r")[:2] == (Hl7Code.SEGMENT_SEQUENCE, "HL7-SEGMENT")


def test_two_headers_in_a_message_are_refused() -> None:
    assert code_of(MSH + b"\r" + MSH + b"\r") == (Hl7Code.SEGMENT_SEQUENCE, "HL7-SEGMENT", "MSH[2]")


def test_limits() -> None:
    small = Limits(message=200, segments=3, fields=30, repetitions=2)
    assert code_of(MSH + b"|" * 300, small)[1] == "HL7-TAILLE"
    assert code_of(MSH + b"\rA01\rA02\rA03\r", small)[:2] == (Hl7Code.CARDINALITY, "HL7-TAILLE")
    assert code_of(MSH + b"\r" * 100, small)[1] == "HL7-TAILLE"
    assert code_of(MSH + b"\rOBX" + b"|" * 31 + b"\r", small) == (Hl7Code.CARDINALITY, "HL7-TAILLE", "OBX[1]")
    assert code_of(MSH + b"\rOBX|1~2~3\r", small) == (Hl7Code.CARDINALITY, "HL7-TAILLE", "OBX[1]-1")
    assert len(parse(MSH + b"\rOBX|1~2\rOBX\r", small).segments) == 3


@pytest.mark.parametrize(("text", "plain"), [
    (r"a\F\b\S\c\T\d\R\e\E\f", "a|b^c&d~e\\f"), (r"un\.br\deux", "un\ndeux"), (r"\.sp2\x", "\n\nx"), (r"\.sp\x", "\nx"),
    (r"\H\gras\N\ ", "gras "), (r"\X41C3A9\ ", "Aé "), (r"\.in+4\x\.ti2\y\.ce\z", "xyz"), (r"\C1234\\M123456\\Zloc\x", "x"),
    (r"C:\dossier\fichier", "C:\\dossier\\fichier"), ("seul\\", "seul\\"), (r"\X4\ ", "\\X4\\ "), (r"\E\.br\E\ ", "\\.br\\ "),
    (r"\.sp9999\x", "\nx"), ("", ""), ("\\\\", "\\\\")])
def test_escape_sequences(text: str, plain: str) -> None:
    assert unescape(text) == plain


def test_hexadecimal_outside_the_charset_is_refused() -> None:
    with pytest.raises(Hl7Fault) as caught:
        unescape("\\XFF\\", Delimiters(), "utf-8")
    assert caught.value.rule == "HL7-ECHAPPEMENT"
    assert unescape("\\XE9\\", Delimiters(), "iso-8859-15") == "é"


def test_what_is_escaped_cannot_end_a_field_and_comes_back() -> None:
    text = "a|b^c&d~e\\f\ng\r\nh"
    assert not set("|^&~\r\n") & set(escape(text))
    assert unescape(escape(text)) == text.replace("\r\n", "\n")
    assert escape("a\x00\x0b\x1cb\x7f") == "a   b "


def test_groups_follow_their_leader() -> None:
    message = parse(MSH + b"\rOBX|1\rPRT|a\rPRT|b\rOBX|2\rNTE|c\r", LIMITS)
    assert [(one.text(1), [inner.name for inner in rest]) for one, rest in message.groups("OBX")] == [
        ("1", ["PRT", "PRT"]), ("2", ["NTE"])]
    assert list(message.groups("TXA")) == []
    assert str(Place("OBX", 2, 5, 3)) == "OBX[2]-5.3"
    assert str(Place()) == ""


def test_the_header_that_tells_the_charset_ends_where_segments_do() -> None:
    raw = b"MSH|^~\\&|A\nB|B|C|D|20260301||MDM^T02|1|P|2.6|||||FRA|8859/15\rNTE|1||\xe9\r"
    message = parse(raw, LIMITS, default_charset="utf-8")
    assert (message.charset, message.header.text(3), message.segments[1].text(3)) == ("iso-8859-15", "A\nB", "é")
