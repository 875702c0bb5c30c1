"""What an opaque signature holds: the message inside an `application/pkcs7-mime` that is signed and not encrypted.

- Only the way to the content is walked (RFC 5652 §3, §5.1, §5.2); no signature is verified here: `smime` does that.
- Both BER forms that programs write are read: definite lengths, and indefinite ones with a content in several pieces (RFC 5652
  §5.2); depth and number of values are bounded, and the content is never longer than the structure given.
- Encrypted data holds nothing that can be read: None. Any other type (compressed, authenticated) and what cannot be read as CMS
  is a refusal: another program may find a content there.
Pure. Called by `mailfiles`.
"""

from __future__ import annotations

from mssante.errors import InputFault

MAX_VALUES = 20_000  # pieces of one content: a program that writes 4 KiB at a time stays far below for 64 MiB
MAX_DEPTH = 6
_SEQUENCE, _SET, _OID, _OCTETS, _EXPLICIT, _PIECES = 0x30, 0x31, 0x06, 0x04, 0xA0, 0x24
_PKCS7 = bytes.fromhex("2a864886f70d0107")
_SIGNED = _PKCS7 + b"\2"  # id-signedData, RFC 5652 §5.1
_ENCRYPTED = (_PKCS7 + b"\3", _PKCS7 + b"\4", _PKCS7 + b"\6",  # enveloped (§6), signed and enveloped (PKCS #7), encrypted (§8)
              bytes.fromhex("2a864886f70d0109100117"))  # authEnveloped, RFC 5083
_END = b"\x00\x00"


class _Reader:
    """A walk through BER values, forward only."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0
        self._values = 0

    def enter(self, tag: int) -> int | None:
        """Step into a value of this tag; gives its end, None when it is indefinite. Raises InputFault."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise _broken("values")
        if self.place + 2 > len(self.data) or self.data[self.place] != tag:
            raise _broken("tag")
        first = self.data[self.place + 1]
        self.place += 2
        if first == 0x80:
            return None
        length = first
        if first > 0x80:
            width = first & 0x7F  # as many octets as one likes, most of them zero (X.690 §8.1.3.5 note 2)
            if self.place + width > len(self.data):
                raise _broken("length")
            length = int.from_bytes(self.data[self.place:self.place + width])
            self.place += width
        if not tag & 0x20 and self.place + length > len(self.data):  # of a constructed value, what is inside tells
            raise _broken("length")
        return self.place + length

    def peek(self) -> int:
        """Give the tag of the next value. Raises InputFault at the end."""
        if self.place >= len(self.data):
            raise _broken("end")
        return self.data[self.place]

    def primitive(self, tag: int) -> bytes:
        """Give the octets of a primitive value. Raises InputFault."""
        end = self.enter(tag)
        if end is None:
            raise _broken("form")
        found, self.place = self.data[self.place:end], end
        return found

    def ended(self, end: int | None) -> bool:
        """Tell if a constructed value is over, and step behind the end mark of an indefinite one (X.690 §8.1.5)."""
        if end is not None:
            return self.place >= end
        if self.data[self.place:self.place + 2] == _END:
            self.place += 2
            return True
        return False


def signed_content(raw: bytes) -> bytes | None:
    """Give the content of signed data, None when it has none (a detached signature), is encrypted, or there is nothing at all.

    Raises InputFault `MAIL-P7M` for anything else.
    """
    if not raw.strip():
        return None
    reader = _Reader(raw)
    reader.enter(_SEQUENCE)
    kind = reader.primitive(_OID)
    if kind in _ENCRYPTED:
        return None
    if kind != _SIGNED:
        raise _broken("type")
    reader.enter(_EXPLICIT)
    reader.enter(_SEQUENCE)
    reader.primitive(0x02)
    end = reader.enter(_SET)  # digestAlgorithms
    while not reader.ended(end):
        _skip(reader, 0)
    inside = reader.enter(_SEQUENCE)  # encapContentInfo
    reader.primitive(_OID)
    if reader.ended(inside):
        return None
    reader.enter(_EXPLICIT)
    return b"".join(_pieces(reader, 0))


def _pieces(reader: _Reader, depth: int) -> list[bytes]:
    """Give the pieces of an OCTET STRING, of either form (X.690 §8.7)."""
    if depth > MAX_DEPTH:
        raise _broken("depth")
    if reader.peek() == _OCTETS:
        return [reader.primitive(_OCTETS)]
    end = reader.enter(_PIECES)
    found: list[bytes] = []
    while not reader.ended(end):
        found += _pieces(reader, depth + 1)
    return found


def _skip(reader: _Reader, depth: int) -> None:
    """Step behind one value."""
    if depth > MAX_DEPTH:
        raise _broken("depth")
    end = reader.enter(reader.peek())
    if end is not None:
        reader.place = end
        return
    while not reader.ended(end):
        _skip(reader, depth + 1)


def _broken(what: str) -> InputFault:
    return InputFault("signed data cannot be read", detail=what, rule="MAIL-P7M", remedy="RFC 5652 §5.1")
