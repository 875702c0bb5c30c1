"""Content-Type and Content-Disposition: type and parameters, RFC 2231 continuations joined.

- Guarantees: linear, never raises, at most `MAX_PARAMETERS` parameters of `MAX_VALUE_BYTES` octets.
- Continuations (`filename*0*=…; filename*1=…`) become one parameter, under the name `filename*` when it is extended, so
  that nothing is lost and IMAP gets what RFC 2231 §6 asks; `parameter()` decodes for people.
- Called by mime.scan (types, boundaries) and mime.imapview.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from mssante.protocol.mime.headers import decode_bytes, decode_words
from mssante.protocol.mime.wire import parameter_list

MAX_PARAMETERS = 128
MAX_VALUE_BYTES = 16_384
_CACHED_BYTES = 256

Parameters = tuple[tuple[bytes, bytes], ...]

_TYPE = re.compile(rb"[ \t]*([A-Za-z0-9!#$&^_.+\-]{1,100})[ \t]*/[ \t]*([A-Za-z0-9!#$&^_.+\-]{1,100})")
_WORD = re.compile(rb"[ \t]*([A-Za-z0-9!#$&^_.+\-]{1,100})")
# name = "quoted" | anything up to ";" ; the quoted form may be unclosed. Possessive: no backtracking.
_PARAMETER = re.compile(rb';[ \t]*+([^\s=;"()<>@,:\\/\[\]?]{1,100}+)[ \t]*+=[ \t]*+'
                        rb'(?:"((?:[^"\\]++|\\[\s\S])*+)"?|([^;"]*+))')
_ESCAPED = re.compile(rb"\\([\s\S])")
_SEGMENT = re.compile(rb"([^*]+)\*([0-9]{1,4})(\*)?\Z")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`{|}~0-9A-Za-z\-]+")


class MediaType(NamedTuple):
    """type and subtype in lower case; parameters in order, names in lower case, values as they stand, unquoted.

    wire: the same as IMAP writes it: `"TEXT" "PLAIN" (…)`, and for a multipart `"MIXED"`; kept here because the same
    few types come back in every message.
    """

    type: bytes
    subtype: bytes
    parameters: Parameters
    wire: bytes


def media_type(kind: bytes, subtype: bytes, parameters: Parameters) -> MediaType:
    """Give the value for a type; upper case on the wire as in the examples of RFC 9051 (the match has no case)."""
    if kind == b"multipart":
        wire = b'"%b"' % subtype.upper()
    else:
        wire = b'"%b" "%b" %b' % (kind.upper(), subtype.upper(), parameter_list(parameters))
    return MediaType(kind, subtype, parameters, wire)


TEXT_PLAIN = media_type(b"text", b"plain", ((b"charset", b"us-ascii"),))  # RFC 2045 §5.2
OCTETS = media_type(b"application", b"octet-stream", ())
MESSAGE = media_type(b"message", b"rfc822", ())  # RFC 2046 §5.1.5: default inside multipart/digest


def parse_media(value: bytes | None) -> MediaType:
    """Give the type of a Content-Type value; text/plain when absent or unreadable (RFC 2045 §5.2)."""
    if value is None:
        return TEXT_PLAIN
    if len(value) <= _CACHED_BYTES:
        return _parse_short(value)
    return _parse(value[:MAX_VALUE_BYTES])


def parse_disposition(value: bytes) -> tuple[bytes, Parameters]:
    """Give the lower-case disposition (RFC 2183 §2) and its parameters; empty when unreadable."""
    if len(value) <= _CACHED_BYTES:
        return _disposition_short(value)
    return _disposition(value[:MAX_VALUE_BYTES])


def _parse(value: bytes) -> MediaType:
    found = _TYPE.match(value)
    if found is None:
        return TEXT_PLAIN
    return media_type(found.group(1).lower(), found.group(2).lower(), parse_parameters(value, found.end()))


def _disposition(value: bytes) -> tuple[bytes, Parameters]:
    found = _WORD.match(value)
    if found is None:
        return b"", ()
    return found.group(1).lower(), parse_parameters(value, found.end())


_parse_short = lru_cache(maxsize=2048)(_parse)
_disposition_short = lru_cache(maxsize=2048)(_disposition)


def parse_parameters(value: bytes, start: int) -> Parameters:
    """Read `; name=value` pairs from `start` on; what does not look like one is skipped up to the next `;`."""
    pairs: list[tuple[bytes, bytes]] = []
    position = value.find(b";", start)
    while position >= 0 and len(pairs) < MAX_PARAMETERS:
        found = _PARAMETER.match(value, position)
        if found is None:
            position = value.find(b";", position + 1)
            continue
        name, quoted, plain = found.groups()
        if quoted is None:
            quoted = plain.rstrip()
            if b"(" in quoted:
                quoted = quoted[:quoted.index(b"(")].rstrip()  # a comment (RFC 822) after the value
        elif b"\\" in quoted:
            quoted = _ESCAPED.sub(rb"\1", quoted)
        pairs.append((name.lower(), quoted))
        position = value.find(b";", found.end())
    if value.find(b"*", start) >= 0:
        return _joined(pairs)
    return tuple(pairs)


def _joined(pairs: list[tuple[bytes, bytes]]) -> Parameters:
    """Join RFC 2231 §3 continuations in the order of their numbers; a missing number ends the value."""
    segments: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    order: list[tuple[bytes, bytes | None]] = []
    for name, value in pairs:
        found = _SEGMENT.match(name)
        if found is None:
            order.append((name, value))
            continue
        base = found.group(1)
        if base not in segments:
            segments[base] = {}
            order.append((base, None))
        segments[base].setdefault(int(found.group(2)), (value, found.group(3) is not None))
    out: list[tuple[bytes, bytes]] = []
    for name, whole in order:
        if whole is not None:
            out.append((name, whole))
        else:
            out.append(_one_value(name, segments[name]))
    return tuple(out)


def _one_value(name: bytes, segments: dict[int, tuple[bytes, bool]]) -> tuple[bytes, bytes]:
    extended = segments.get(0, (b"", False))[1]
    pieces: list[bytes] = []
    number = 0
    while number in segments:
        piece, encoded = segments[number]
        pieces.append(piece if encoded or not extended else quote_from_bytes(piece, safe="").encode("ascii"))
        number += 1
    return (name + b"*" if extended else name), b"".join(pieces)[:MAX_VALUE_BYTES]


def parameter(pairs: Parameters, name: bytes) -> str:
    """Give the decoded value of a parameter (`b"filename"`, `b"charset"`), or an empty string.

    The extended form wins (RFC 2231 §4); RFC 2047 words inside values are read too, as many senders write them. At
    most 512 characters; controls become spaces.
    """
    plain = b""
    for key, value in pairs:
        if key == name + b"*":
            charset, mark, rest = value.partition(b"'")
            _, mark, text = rest.partition(b"'")
            octets = unquote_to_bytes(text if mark else value)
            decoded = decode_bytes(octets, charset.decode("ascii", "replace") if mark else "utf-8")
            return decode_words(decoded.encode("utf-8", "replace").replace(b"=?", b"= ?"))
        if key == name and not plain:
            plain = value
    return decode_words(plain)


def raw_parameter(pairs: Parameters, name: bytes) -> bytes:
    """Give the first value of a parameter as octets, or nothing."""
    for key, value in pairs:
        if key == name:
            return value
    return b""


def is_token(value: bytes) -> bool:
    """True when the value may stand without quotes (RFC 2045 §5.1)."""
    return _TOKEN.fullmatch(value) is not None
