"""Fuzzing of the walk to what an opaque signature holds: a content, nothing, or a typed refusal; and never another content than
the S/MIME reader finds, for a masking must not stand where only the recipient looks."""

from __future__ import annotations

from itertools import product

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.smime import der

from mssante.documents.signedcontent import signed_content
from mssante.errors import InputFault, MssFault
from mssante.smime.cms import read_signed_data
from mssante.smime.values import SmimeLimits

_FAST = settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.too_slow])
_SIGNED, _DATA = bytes.fromhex("06092a864886f70d010702"), bytes.fromhex("06092a864886f70d010701")
_TEXT = b"Content-Type: text/plain\r\n\r\nBonjour, bonjour.\r\n"


def endless(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x80]) + content + b"\0\0"


def long(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x84]) + len(content).to_bytes(4) + content


def very_long(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x80 | 40]) + len(content).to_bytes(40) + content


FORMS = (der, endless, long, very_long)


def structure(form: int, pieces: int, nest: bool) -> bytes:
    """Signed data without signers. form: of the lengths; pieces: octets of each piece of the content, 0 for one value."""
    wrap = FORMS[form]
    parts = [der(4, _TEXT[at:at + pieces]) for at in range(0, len(_TEXT), pieces)] if pieces else []
    octets = wrap(0x24, b"".join(parts)) if pieces else der(4, _TEXT)
    if pieces and nest:
        octets = wrap(0x24, octets)
    inside = wrap(0x30, _DATA + wrap(0xA0, octets))
    digests = wrap(0x31, wrap(0x30, b"\x06\x01\x2a"))
    return wrap(0x30, _SIGNED + wrap(0xA0, wrap(0x30, b"\x02\x01\x01" + digests + inside + der(0x31, b""))))


STRUCTURES = [structure(form, pieces, nest) for form, pieces, nest in product(range(len(FORMS)), (0, 1, 7), (False, True))]
EDITS = st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 3), st.one_of(
    st.binary(max_size=3), st.sampled_from([b"\0\0", b"\x80", b"\x86\0\0\0\0\0", b"\x24\x80", b"\x04\x00", b"\x30\x00", b"\xa0\x80"]))), max_size=3)


def edited(raw: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for place, cut, added in edits:
        at = int(place * len(raw))
        raw = raw[:at] + added + raw[at + cut:]
    return raw


def walked(raw: bytes) -> bytes | None:
    """What the walk gives; None also for a refusal, which the checks take for what may hide something."""
    try:
        found = signed_content(raw)
    except InputFault as fault:
        assert fault.rule == "MAIL-P7M"
        return None
    assert found is None or len(found) <= len(raw)
    return found


@_FAST
@given(st.one_of(st.binary(max_size=200), st.tuples(st.sampled_from(STRUCTURES), EDITS).map(lambda pair: edited(*pair))))
@example(b"")
@example(b"0\x80")
@example(endless(0x30, _SIGNED) * 3)
@example(endless(0x24, b"") * 400)
def test_a_content_or_a_refusal(raw: bytes) -> None:
    walked(raw)


def test_every_form_is_read() -> None:
    assert {signed_content(one) for one in STRUCTURES} == {_TEXT}


@settings(_FAST, max_examples=600)
@given(st.sampled_from(STRUCTURES), EDITS)
def test_never_another_content_than_the_reader_of_smime(raw: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    changed = edited(raw, edits)
    try:
        data = read_signed_data(changed, SmimeLimits())
    except MssFault:
        return  # the recipient's operator shows nothing of it
    if data.content is None:
        return
    theirs = b"".join(data.content)
    try:
        ours = signed_content(changed)
    except InputFault:
        return  # told as unread: the checks refuse it
    assert ours == theirs
