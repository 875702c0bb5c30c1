"""The walker of BER and the writer of DER, on structures small enough to be read by eye."""

from __future__ import annotations

import pytest
from asn1crypto.core import Integer, ObjectIdentifier

from mssante.smime.ber import (
    MAX_NESTING,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Ber,
    BerFault,
    BerLimit,
    decode_oid,
    der,
    der_header,
    der_integer,
    der_oid,
)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_lengths_come_back(length: int) -> None:
    data = der(OCTET_STRING, bytes(length))
    element = Ber(data).whole(OCTET_STRING)
    assert element.end - element.content == length and data.startswith(der_header(OCTET_STRING, length))


@pytest.mark.parametrize("value", [0, 1, -1, 127, 128, -128, -129, 255, 256, 2**159, -(2**159)])
def test_integers_are_those_of_asn1crypto(value: int) -> None:
    assert Integer(value).dump() == der_integer(value)
    assert Ber(der_integer(value)).integer(Ber(der_integer(value)).whole(0x02)) == value


@pytest.mark.parametrize("dotted", ["1.2.840.113549.1.7.2", "2.16.840.1.101.3.4.2.1", "0.9.2342", "1.39.5", "2.999.3", "2.5.29.15"])
def test_identifiers_are_those_of_asn1crypto(dotted: str) -> None:
    assert ObjectIdentifier(dotted).dump() == der_oid(dotted)
    assert decode_oid(der_oid(dotted)[2:]) == dotted


@pytest.mark.parametrize("data", [
    b"", b"\x30", b"\x30\x05\x00", b"\x3f\x00", b"\x30\x89" + bytes(9), b"\x30\x82\x01", b"\x04\x80\x00\x00", b"\x30\x80",
    b"\x30\x80\x00", b"\x30\x80\x02\x01", b"\x30\x00\x00", b"\x31\x00", b"\x30\x84\xff\xff\xff\xff",
])
def test_what_is_no_sequence_is_a_fault(data: bytes) -> None:
    with pytest.raises(BerFault):
        Ber(data).whole(SEQUENCE)


@pytest.mark.parametrize("data", [b"", b"\x80\x01", b"\x2a\x80", b"\x01" * 65])
def test_identifiers_that_are_none(data: bytes) -> None:
    with pytest.raises(BerFault):
        decode_oid(data)


def test_indefinite_lengths_and_strings_by_pieces() -> None:
    data = b"\x30\x80\x24\x80\x04\x02ab\x24\x04\x04\x02cd\x04\x00\x00\x00\x02\x01\x05\x00\x00"
    ber = Ber(data)
    string, number = ber.children(ber.whole())
    assert b"".join(ber.octets(string)) == b"abcd" and ber.integer(number) == 5
    assert ber.der(ber.whole()) == der(SEQUENCE, der(OCTET_STRING, b"abcd"), der_integer(5))


def test_der_puts_a_set_in_order_and_changes_the_tag_asked() -> None:
    data = b"\xa0\x81\x06" + der_integer(2) + der_integer(1)
    ber = Ber(data)
    assert ber.der(ber.element(0, len(data)), SET) == der(SET, der_integer(1), der_integer(2))


def test_bounds() -> None:
    deep = b"\x30\x80" * (MAX_NESTING + 2) + bytes(2 * (MAX_NESTING + 2))
    with pytest.raises(BerLimit):
        Ber(deep).whole()
    strings = b"\x04\x00"
    for _ in range(MAX_NESTING + 2):
        strings = der(0x24, strings)
    with pytest.raises(BerLimit):
        Ber(strings).octets(Ber(strings).whole(0x24))
    wide = der(SEQUENCE, b"\x05\x00" * 50)
    with pytest.raises(BerLimit):
        Ber(wide, elements=49).children(Ber(wide).whole())
    assert len(Ber(wide, elements=50).children(Ber(wide).whole())) == 50
    nested = wide
    for _ in range(MAX_NESTING + 2):
        nested = der(SEQUENCE, nested)
    with pytest.raises(BerLimit):
        Ber(nested).der(Ber(nested).whole())


def test_what_is_not_what_it_should_be() -> None:
    data = der(OCTET_STRING, b"x")
    ber = Ber(data)
    element = ber.whole(OCTET_STRING)
    for ask in (ber.children, ber.integer, ber.oid):
        with pytest.raises(BerFault):
            ask(element)
    with pytest.raises(BerFault):
        ber.octets(element, 0x80)
    with pytest.raises(BerFault):
        Ber(b"\x02\x00").integer(Ber(b"\x02\x00").whole(0x02))
