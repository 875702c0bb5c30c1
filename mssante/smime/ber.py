"""BER walked by offsets, DER written: the little of ASN.1 that CMS needs (X.690), for octets from outside.

- Reading gives places in the buffer, never copies: a signed message of 30 MiB is walked without being held twice.
- Definite and indefinite lengths, constructed octet strings (what OpenSSL and Bouncy Castle stream); low tag numbers only.
- Bounded: nesting, count of elements read, lengths; every failure is a `BerFault`, or a `BerLimit` when a bound was met.
- Never interprets: `smime.cms` knows what the elements are.

Called by `smime.cms`, `smime.algorithms`, `smime.certificates`, `smime.sign`, and by encryption
(`smime.envelope` and its neighbours).
"""

from __future__ import annotations

from typing import NamedTuple

MAX_NESTING = 24  # levels of indefinite length, or of constructed strings, inside one another
MAX_ELEMENTS = 250_000  # read in one structure, all passes together: 30 MiB streamed by pieces of 1,000 octets takes 190,000
MAX_OID_OCTETS = 64

INTEGER, OCTET_STRING, OID, UTC_TIME, GENERALIZED_TIME = 0x02, 0x04, 0x06, 0x17, 0x18
SEQUENCE, SET = 0x30, 0x31
CONTEXT_0, CONTEXT_1, CONTEXT_2, CONTEXT_3 = 0xA0, 0xA1, 0xA2, 0xA3
PRIMITIVE_0, PRIMITIVE_2 = 0x80, 0x82
_CONSTRUCTED = 0x20
_CONSTRUCTED_OCTETS = OCTET_STRING | _CONSTRUCTED
_END_OF_CONTENTS = b"\x00\x00"


class BerFault(ValueError):
    """The octets are not the structure that was looked for."""


class BerLimit(BerFault):
    """A bound of this module was met."""


class Element(NamedTuple):
    """One element: identifier octet; where its header, its content, the end of its content and its follower stand."""

    tag: int
    start: int
    content: int
    end: int
    after: int


class Ber:
    """A buffer being walked, and what is left of the count of elements."""

    __slots__ = ("_left", "data")

    def __init__(self, data: bytes, *, elements: int = MAX_ELEMENTS) -> None:
        self.data = data
        self._left = elements

    def whole(self, tag: int = SEQUENCE) -> Element:
        """Give the only element of the buffer. Raises BerFault when it is another, or octets follow it."""
        found = self.element(0, len(self.data))
        if found.tag != tag:
            raise BerFault(f"tag {found.tag:#04x} instead of {tag:#04x}")
        if found.after != len(self.data):
            raise BerFault(f"{len(self.data) - found.after} octets after the structure")
        return found

    def element(self, at: int, stop: int, nesting: int = 0) -> Element:
        """Read the element at an offset, within [at, stop). Raises BerFault, BerLimit. X.690 §8.1."""
        self._left -= 1
        if self._left < 0:
            raise BerLimit("too many ASN.1 elements")
        data = self.data
        if stop - at < 2:
            raise BerFault("structure is cut short")
        tag, length, content = data[at], data[at + 1], at + 2
        if tag & 0x1F == 0x1F:
            raise BerFault("tag number above 30")
        if length == 0x80:
            return self._indefinite(at, stop, nesting)
        if length > 0x80:
            size = length & 0x7F
            content += size
            if size > 8 or content > stop:
                raise BerFault("length is malformed")
            length = int.from_bytes(data[at + 2:content], "big")
        end = content + length
        if end > stop:
            raise BerFault("structure is cut short")
        return Element(tag, at, content, end, end)

    def _indefinite(self, at: int, stop: int, nesting: int) -> Element:
        """Read an element up to its end-of-contents octets (X.690 §8.1.3.6, §8.1.5)."""
        tag = self.data[at]
        if not tag & _CONSTRUCTED:
            raise BerFault("primitive element without length")
        if nesting >= MAX_NESTING:
            raise BerLimit("too many levels of ASN.1")
        position = at + 2
        while self.data[position:position + 2] != _END_OF_CONTENTS or position + 2 > stop:
            position = self.element(position, stop, nesting + 1).after
        return Element(tag, at, at + 2, position, position + 2)

    def children(self, element: Element) -> list[Element]:
        """Give the elements directly inside a constructed one."""
        if not element.tag & _CONSTRUCTED:
            raise BerFault("primitive element where others were expected inside")
        found: list[Element] = []
        position = element.content
        while position < element.end:
            one = self.element(position, element.end)
            found.append(one)
            position = one.after
        return found

    def expect(self, element: Element, *tags: int) -> Element:
        """Give the element back. Raises BerFault when its tag is none of these."""
        if element.tag not in tags:
            raise BerFault(f"tag {element.tag:#04x} instead of {' or '.join(f'{tag:#04x}' for tag in tags)}")
        return element

    def value(self, element: Element) -> bytes:
        """Give the octets of the content."""
        return self.data[element.content:element.end]

    def raw(self, element: Element) -> bytes:
        """Give the element whole, header included."""
        return self.data[element.start:element.after]

    def integer(self, element: Element) -> int:
        """Give an INTEGER of at most 64 octets."""
        self.expect(element, INTEGER)
        if not 1 <= element.end - element.content <= 64:
            raise BerFault("integer of strange length")
        return int.from_bytes(self.value(element), "big", signed=True)

    def oid(self, element: Element) -> str:
        """Give an OBJECT IDENTIFIER in dotted form (X.690 §8.19)."""
        return decode_oid(self.value(self.expect(element, OID)))

    def octets(self, element: Element, primitive: int = OCTET_STRING) -> tuple[memoryview, ...]:
        """Give the pieces of an OCTET STRING, primitive or constructed, without copying them (X.690 §8.7).

        primitive: its tag without the constructed bit, for an implicit tag.
        """
        pieces: list[memoryview] = []
        self._pieces(element, primitive, pieces, 0)
        return tuple(pieces)

    def _pieces(self, element: Element, primitive: int, pieces: list[memoryview], nesting: int) -> None:
        if element.tag == primitive:
            pieces.append(memoryview(self.data)[element.content:element.end])
            return
        if element.tag != primitive | _CONSTRUCTED:
            raise BerFault("not an octet string")
        if nesting >= MAX_NESTING:
            raise BerLimit("too many levels of ASN.1")
        for child in self.children(element):
            self._pieces(child, OCTET_STRING, pieces, nesting + 1)

    def der(self, element: Element, tag: int | None = None, nesting: int = 0) -> bytes:
        """Give the DER form of an element: lengths minimal, strings in one piece, members of a SET in order (X.690 §10, §11.6).

        tag: another identifier octet than its own (RFC 5652 §5.4 wants SET OF in the place of an implicit [0]).
        """
        own = element.tag if tag is None else tag
        if own == _CONSTRUCTED_OCTETS:
            return der(OCTET_STRING, *self.octets(element))
        if not own & _CONSTRUCTED:
            return der(own, self.value(element))
        if nesting >= MAX_NESTING:
            raise BerLimit("too many levels of ASN.1")
        parts = [self.der(child, nesting=nesting + 1) for child in self.children(element)]
        return der(own, *(sorted(parts) if own == SET else parts))


def der_header(tag: int, length: int) -> bytes:
    """Give the identifier and length octets of an element in DER (X.690 §10.1)."""
    if length < 0x80:
        return bytes((tag, length))
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big")


def der(tag: int, *parts: bytes | memoryview) -> bytes:
    """Give an element whose content is these parts."""
    return b"".join((der_header(tag, sum(len(part) for part in parts)), *parts))


def der_integer(value: int) -> bytes:
    """Give an INTEGER."""
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return der(INTEGER, value.to_bytes(size, "big", signed=True))


def der_oid(dotted: str) -> bytes:
    """Give an OBJECT IDENTIFIER."""
    arcs = [int(arc) for arc in dotted.split(".")]
    out = bytearray()
    for arc in (arcs[0] * 40 + arcs[1], *arcs[2:]):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        out += bytes(reversed(groups))
    return der(OID, bytes(out))


def decode_oid(value: bytes) -> str:
    """Give the dotted form of the content of an OBJECT IDENTIFIER. Raises BerFault."""
    if not 1 <= len(value) <= MAX_OID_OCTETS or value[-1] & 0x80:
        raise BerFault("object identifier is malformed")
    arcs: list[int] = []
    arc = 0
    for octet in value:
        if arc == 0 and octet == 0x80:
            raise BerFault("object identifier is malformed")
        arc = arc << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(arc)
            arc = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(str(number) for number in (first, arcs[0] - 40 * first, *arcs[1:]))
