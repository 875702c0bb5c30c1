"""Octets of requests and answers: limits of BER, and our client reads what our server writes."""

from __future__ import annotations

import pytest

from mssante.protocol.ldap import client as wire
from mssante.protocol.ldap import messages
from mssante.protocol.ldap.ber import MAX_REQUEST, LdapFault, Reader, element, message_size, number


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 65_535])
def test_lengths(size: int) -> None:
    assert Reader(element(4, b"x" * size)).take(4) == b"x" * size


@pytest.mark.parametrize("value", [0, 1, 127, 128, -1, -128, -129, 255, 256, 2**31 - 1])
def test_numbers(value: int) -> None:
    assert Reader(number(value)).integer() == value


@pytest.mark.parametrize("octets", [b"", b"\x04", b"\x04\x05abc", b"\x04\x80", b"\x04\x85\0\0\0\0\1a", b"\x04\x82\x01", b"\x02\x01\x01"])
def test_elements_that_cannot_be_read(octets: bytes) -> None:
    with pytest.raises(LdapFault) as caught:
        Reader(octets).take(4)
    assert caught.value.rule == "LDAP-FORME"


def test_numbers_that_cannot_be_read() -> None:
    for octets in (b"\x02\x00", b"\x02\x06\0\0\0\0\0\1"):
        with pytest.raises(LdapFault):
            Reader(octets).integer()


def test_the_size_of_a_message_is_known_before_it_is_read() -> None:
    assert [message_size(head) for head in (b"", b"\x30", b"\x30\x82", b"\x30\x82\x01")] == [None] * 4
    assert message_size(b"\x30\x05") == 7 and message_size(b"\x30\x82\x01\x00") == 260
    assert message_size(b"\x30\x83" + (MAX_REQUEST - 5).to_bytes(3, "big")) == MAX_REQUEST
    for head, rule in ((b"\x30\x83" + (MAX_REQUEST - 4).to_bytes(3, "big"), "LDAP-TAILLE"), (b"\x30\x80", "LDAP-FORME"),
                       (b"\x30\x84\xff\xff\xff\xff", "LDAP-TAILLE"), (b"\x30\x85", "LDAP-FORME"), (b"GE", "LDAP-FORME")):
        with pytest.raises(LdapFault) as caught:
            message_size(head)
        assert caught.value.rule == rule


def test_a_bind() -> None:
    # RFC 4511 §4.2
    found = messages.read_request(wire.bind_request(7, "uid=a", "clé"))
    assert found.id == 7 and found.bind == messages.Bind(3, "uid=a", "clé".encode())
    assert "cl" not in repr(found.bind)
    sasl = element(0x30, number(1), element(0x60, number(3), element(4), element(0xA3, element(4, b"GSSAPI"))))
    assert messages.read_request(sasl).bind == messages.Bind(3, "", None)


def test_a_search_and_its_page() -> None:
    # RFC 4511 §4.5.1, RFC 2696 §2
    asked = wire.Query("o=x", "(cn=a*)", ("CN", "mail"), size_limit=5, time_limit=9, page=10, cookie=b"20")
    found = messages.read_request(wire.search_request(2, asked))
    search = found.search
    assert search is not None and (found.page, found.cookie, found.critical) == (10, b"20", False)
    assert (search.base, search.scope, search.size_limit, search.time_limit, search.names) == ("o=x", 2, 5, 9, ("cn", "mail"))


def request(kind: int, *content: bytes, identifier: int = 1, after: bytes = b"") -> bytes:
    return element(0x30, number(identifier), element(kind, *content), after)


def control(oid: bytes, *more: bytes) -> bytes:
    return element(0x30, element(4, oid), *more)


def test_controls() -> None:
    critical = element(0x01, b"\xff")
    assert messages.read_request(request(0x42, after=element(0xA0, control(b"1.2.3", critical)))).critical is True
    assert messages.read_request(request(0x42, after=element(0xA0, control(b"1.2.3")))).critical is False
    with pytest.raises(LdapFault):
        messages.read_request(request(0x42, after=element(0xA0, *[control(b"1.2.3")] * 21)))


SEARCH = (element(4), number(2, 0x0A), number(0, 0x0A), number(0), number(0), element(1, b"\0"), element(0x87, b"cn"))


@pytest.mark.parametrize("octets", [
    request(0x42, identifier=0), request(0x42, identifier=-1), request(0x42, identifier=1 << 31), request(0x60), request(0x77),
    request(0x63, *SEARCH), request(0x63, SEARCH[0], number(3, 0x0A), *SEARCH[2:], element(0x30)),
    request(0x63, *SEARCH[:3], number(-1), *SEARCH[4:], element(0x30)), request(0x63, *SEARCH, element(0x30, *[element(4, b"a")] * 201)),
    request(0x60, number(3), element(4, b"\xff"), element(0x80)), b"", b"\x30\x00"])
def test_requests_that_cannot_be_read(octets: bytes) -> None:
    with pytest.raises(LdapFault):
        messages.read_request(octets)


def test_answers_are_read_by_our_client() -> None:
    entry = wire.read_message(messages.entry(3, "mail=a", {"cn": ("Hélène",), "l": ("A", "B")})).entry
    assert entry is not None and entry.dn == "mail=a"
    assert dict(entry.attributes)["l"] == (b"A", b"B") and entry.text("cn") == "Hélène"
    bare = wire.read_message(messages.entry(3, "mail=a", {"cn": ("x",)}, types_only=True)).entry
    assert bare is not None and dict(bare.attributes) == {"cn": ()}
    result = wire.read_message(messages.result(4, messages.SEARCH, messages.SIZE_LIMIT, "trop", b"40")).result
    assert result is not None and (result.code, result.text, result.cookie) == (4, "trop", b"40")


def test_a_notice_of_disconnection_has_number_zero() -> None:
    # RFC 4511 §4.4.1
    octets = messages.notice(messages.PROTOCOL_ERROR, "x")
    assert octets[2:5] == b"\x02\x01\x00" and octets.endswith(messages.NOTICE.encode())
