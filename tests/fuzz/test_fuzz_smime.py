"""Signed messages under hostile input: whatever the octets, a verdict; VALID only for the very octets that were signed.

Also the readers below: BER walker, SignedData, shapes of messages; and signing, which gives a message that we believe or a typed
fault.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.smime import (
    ALICE,
    ENTITY,
    NOW,
    HandMade,
    admit,
    alice,
    alice_ec,
    clear_entity,
    letter,
    message_of,
    mixed,
    opaque_entity,
)

from mssante.protocol.mime.author import read_author
from mssante.protocol.mime.headers import read_headers
from mssante.smime.ber import Ber, BerFault, decode_oid, der_oid
from mssante.smime.cms import read_signed_data
from mssante.smime.layer import LayerKind, find_layer
from mssante.smime.sign import sign_message
from mssante.smime.values import SmimeCode, SmimeFault, SmimeLimits, SmimeVerdict
from mssante.smime.verify import signed_content, verify_message

STRUCTURE, ATTACHED = HandMade().build(), HandMade(attach=True).build()
SEEDS = [
    message_of(clear_entity(ENTITY, STRUCTURE)), message_of(opaque_entity(ATTACHED)),
    sign_message(letter(), alice(), now=NOW), sign_message(letter(), alice_ec(), opaque=True, now=NOW),
    message_of(mixed(ENTITY, clear_entity(ENTITY, STRUCTURE))), message_of(clear_entity(ENTITY, ATTACHED)),
]
SNIPPETS = [
    b"--lim\r\n", b"--lim--\r\n", b"\r\n", b"\n", b"\r", b"\0", b" ", b"\r\n\r\n", b"Content-Type: text/html\r\n", b"boundary=lim;",
    b"From: x@y.example\r\n", b"Content-Transfer-Encoding: base64\r\n", b"application/pkcs7-mime", b"multipart/signed", b"message/rfc822",
    b"\x30\x80", b"\x24\x80", b"\0\0", b"\xff\xff\xff\xff\xff", b"\x84\xff\xff\xff\xff", ENTITY, b"--lim\r\n" + ENTITY, b"=", b"====",
]
edits = st.lists(st.tuples(st.integers(0, 1 << 20), st.sampled_from(["set", "drop", "add", "cut", "copy", "swap"]),
                           st.one_of(st.binary(min_size=1, max_size=6), st.sampled_from(SNIPPETS))), min_size=1, max_size=4)


def edited(raw: bytes, changes: list[tuple[int, str, bytes]]) -> bytes:
    """Apply edits, positions taken modulo the length."""
    for position, kind, data in changes:
        at = position % (len(raw) + 1)
        if kind == "set":
            raw = raw[:at] + data + raw[at + len(data):]
        elif kind == "drop":
            raw = raw[:at] + raw[at + len(data):]
        elif kind == "add":
            raw = raw[:at] + data + raw[at:]
        elif kind == "cut":
            raw = raw[:at] if position % 3 == 0 else raw
        elif kind == "copy":
            raw = raw[:at] + raw[at // 2:at] + raw[at:]
        else:
            raw = raw[at:] + raw[:at] if position % 5 == 0 else raw[:at] + raw[at:][::-1][:8] + raw[at + 8:]
    return raw


def judged(raw: bytes) -> SmimeVerdict:
    """The verdict; VALID must cover what was signed, whole."""
    verdict = verify_message(raw, author=ALICE, check=admit, now=NOW)
    if verdict.signature is SmimeCode.VALID:
        assert signed_content(raw) == ENTITY
        assert all(one.key == ALICE for one in read_author(read_headers(raw)).addresses)
    return verdict


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(SEEDS), edits)
def test_edited_messages(raw: bytes, changes: list[tuple[int, str, bytes]]) -> None:
    judged(edited(raw, changes))


@settings(max_examples=250, deadline=None)
@given(st.booleans(), edits)
def test_edited_structures(attached: bool, changes: list[tuple[int, str, bytes]]) -> None:
    structure = edited(ATTACHED if attached else STRUCTURE, changes)
    judged(message_of(opaque_entity(structure) if attached else clear_entity(ENTITY, structure)))


@settings(max_examples=150, deadline=None)
@given(edits)
def test_edited_content_keeps_its_boundaries(changes: list[tuple[int, str, bytes]]) -> None:
    entity = edited(ENTITY, changes)
    verdict = judged(message_of(clear_entity(entity, STRUCTURE)))
    assert (verdict.signature is SmimeCode.VALID) <= (entity == ENTITY)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=20)), max_size=30).map(b"".join))
def test_noise(raw: bytes) -> None:
    layer = find_layer(raw)
    assert layer.kind in LayerKind
    assert judged(raw).signature is not SmimeCode.VALID


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), edits.map(lambda changes: edited(ATTACHED, changes))))
def test_structures_of_noise(data: bytes) -> None:
    try:
        read = read_signed_data(data, SmimeLimits())
    except SmimeFault as fault:
        assert fault.code in (SmimeCode.UNREADABLE, SmimeCode.CONFUSED, SmimeCode.LIMIT)
    else:
        assert len(read.signers) <= 100
    walker = Ber(data)
    try:
        element = walker.element(0, len(data))
        assert 0 < element.after <= len(data)
        assert walker.der(element)
    except BerFault:
        pass


@settings(max_examples=150, deadline=None)
@given(st.tuples(st.integers(0, 2), st.integers(0, 39)).flatmap(
    lambda first: st.lists(st.integers(0, 1 << 40), max_size=6).map(lambda rest: (*first, *rest))))
def test_object_identifiers_come_back(arcs: tuple[int, ...]) -> None:
    dotted = ".".join(str(arc) for arc in arcs)
    encoded = der_oid(dotted)
    if encoded[1] <= 64:
        assert decode_oid(encoded[2:]) == dotted


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.booleans(), edits)
def test_what_we_sign_we_believe(body: bytes, opaque: bool, changes: list[tuple[int, str, bytes]]) -> None:
    for raw, whole in ((letter(body), True), (edited(letter(body), changes), False)):
        try:
            signed = sign_message(raw, alice(), opaque=opaque, now=NOW)
        except SmimeFault as fault:
            assert fault.code is SmimeCode.CONFUSED
            assert not whole or b"\0" in body or not body.count(b"\r") == body.count(b"\n") == body.count(b"\r\n")
            continue
        verdict = verify_message(signed, author=ALICE, check=admit, now=NOW)
        assert verdict.signature in (SmimeCode.VALID, SmimeCode.SENDER, SmimeCode.PARTIAL), verdict
        assert not whole or verdict.signature is SmimeCode.VALID
