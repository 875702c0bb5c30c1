"""LDAP octets made at random: a typed fault or a request, within bounds; whatever is read is matched and searched."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.protocol.ldap.ber import MAX_REQUEST, LdapFault, element, message_size, number
from mssante.protocol.ldap.filters import MAX_SEARCHES, MAX_TEXT, folded, matches, searches
from mssante.protocol.ldap.messages import read_request

ENTRY = folded({"cn": ("Hélène LECŒUR-DUVAL", "x"), "mail": ("a@b.fr",), "objectClass": ("top",)})
TAGS = st.sampled_from([0x01, 0x02, 0x04, 0x0A, 0x30, 0x31, 0x42, 0x50, 0x60, 0x63, 0x77, 0x80, 0x81, 0x82, 0x87, 0x8A, 0xA0, 0xA1, 0xA2,
                        0xA3, 0xA4, 0xA5, 0xA8, 0xA9, 0, 0xFF])
NAMES = st.sampled_from([b"cn", b"CN;lang-fr", b"anr", b"mail", b"objectClass", b"fax", b"", b"\xff"])
VALUES = st.one_of(st.binary(max_size=30), st.text(max_size=20).map(str.encode))
ITEM = st.one_of(
    st.builds(lambda tag, name, value: element(tag, element(4, name), element(4, value)),
              st.sampled_from([0xA3, 0xA5, 0xA6, 0xA8]), NAMES, VALUES),
    st.builds(lambda name, parts: element(0xA4, element(4, name), element(0x30, *[element(tag, value) for tag, value in parts])), NAMES,
              st.lists(st.tuples(st.sampled_from([0x80, 0x81, 0x81, 0x82]), VALUES), max_size=4)),
    NAMES.map(lambda name: element(0x87, name)), st.just(element(0xA9, element(0x83, b"x"))))
FILTER = st.recursive(ITEM, lambda inner: st.builds(lambda tag, parts: element(tag, *parts), st.sampled_from([0xA0, 0xA1, 0xA2]),
                                                    st.lists(inner, max_size=5)), max_leaves=30)
ANYTHING = st.recursive(st.builds(element, TAGS, st.binary(max_size=20)),
                        lambda inner: st.builds(lambda tag, parts: element(tag, *parts), TAGS, st.lists(inner, max_size=6)), max_leaves=25)


def check(octets: bytes) -> bool:
    """Read as the door does; tell if it was a request."""
    with contextlib.suppress(LdapFault):
        size = message_size(octets[:6])
        assert size is None or 2 <= size <= MAX_REQUEST
        request = read_request(octets)
        assert 0 < request.id < 1 << 31
        if request.search is not None:
            texts = searches(request.search.filter)
            assert len(texts) <= MAX_SEARCHES + 1 and all(len(text) <= MAX_TEXT for text in texts)
            assert matches(request.search.filter, ENTRY) in (True, False, None)
        return True
    return False


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_octets(octets: bytes) -> None:
    check(octets)
    check(element(0x30, number(1), octets))


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_elements(octets: bytes) -> None:
    check(octets)
    check(element(0x30, number(1), octets, element(0xA0, octets)))


@settings(max_examples=300, deadline=None)
@given(FILTER, st.binary(max_size=10), st.integers(0, 400))
def test_filters(octets: bytes, noise: bytes, at: int) -> None:
    search = element(0x30, number(9), element(0x63, element(4), number(2, 0x0A), number(0, 0x0A), number(0), number(0), element(1, b"\0"),
                                             octets, element(0x30, element(4, b"cn"))))
    check(search)
    check(search[:at] + noise + search[at + len(noise):])


def test_the_longest_filters_stay_cheap() -> None:
    """200 comparisons of long values, and values that hold the same text again and again: read, searched, matched."""
    item = element(0xA4, element(4, b"cn"), element(0x30, *[element(0x81, b"a ")] * 60))
    heads = (element(4), number(2, 0x0A), number(0, 0x0A), number(0), number(0), element(1, b"\0"))
    many = element(0xA1, *[item] * 150)
    assert check(element(0x30, number(1), element(0x63, *heads, many, element(0x30))))
    assert check(element(0x30, number(1), element(0x63, *heads, element(0xA0, *[element(0xA1, item, item)] * 60), element(0x30))))
