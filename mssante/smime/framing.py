"""Base64 in lines and pieces of DER around octets already there: large CMS structures written without copies of the content.

- A structure is a list of pieces: its content is one of them, never copied into a larger value.
- Faults of the writing and reading of encrypted structures, said once.
Called by `encrypt`, `decrypt`, `envelope`, `recipients`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence

from mssante.lang import say
from mssante.smime.ber import SEQUENCE, SET, der, der_header, der_oid
from mssante.smime.values import SmimeCode, SmimeFault, SmimeLimits

NULL = b"\x05\x00"
_COLUMNS = 57  # octets that make a line of 76 letters (RFC 2045 §6.8)
_CHUNK = _COLUMNS * 4096
_LINE = re.compile(rb"[^\n]*\n|[^\n]+\Z")

Octets = bytes | bytearray | memoryview


def around(tag: int, pieces: Sequence[Octets]) -> list[Octets]:
    """Give the pieces of one value whose content is the pieces, without joining them."""
    return [der_header(tag, sum(len(piece) for piece in pieces)), *pieces]


def set_of(values: Iterable[bytes]) -> bytes:
    """Give a SET OF: its values in ascending order (X.690 §11.6)."""
    return der(SET, *sorted(values))


def algorithm(oid: str, parameters: bytes = b"") -> bytes:
    """Give an AlgorithmIdentifier (RFC 5280 §4.1.1.2). parameters: in DER, or nothing."""
    return der(SEQUENCE, der_oid(oid), parameters)


def base64_lines(pieces: Iterable[Octets]) -> bytearray:
    """Give octets that come in pieces as base64, lines of 76 columns ended by CRLF (RFC 2045 §6.8)."""
    out = bytearray()
    rest = b""
    for piece in pieces:
        view = memoryview(piece)
        if rest:
            missing = _COLUMNS - len(rest)
            rest, view = rest + bytes(view[:missing]), view[missing:]
            if len(rest) < _COLUMNS:
                continue
            out += binascii.b2a_base64(rest, newline=False) + b"\r\n"
        whole = len(view) - len(view) % _COLUMNS
        for start in range(0, whole, _CHUNK):
            letters = binascii.b2a_base64(view[start:min(start + _CHUNK, whole)], newline=False)
            out += b"\r\n".join([letters[at:at + 76] for at in range(0, len(letters), 76)])
            out += b"\r\n"
        rest = bytes(view[whole:])
    if rest:
        out += binascii.b2a_base64(rest, newline=False) + b"\r\n"
    return out


def field_lines(block: bytes, *, content: bool) -> list[bytes]:
    """Give the lines of a header block that belong to Content-* fields, or those of all others, without the empty line.

    RFC 8551 §3.1: the first go with the body, the others with the message.
    """
    out: list[bytes] = []
    taking = False
    for line in _LINE.findall(block):
        if not line.strip(b"\r\n"):
            break
        if line[:1] not in (b" ", b"\t"):
            taking = (line[:8].lower() == b"content-") is content
        if taking:
            out.append(line if line.endswith(b"\n") else line + b"\r\n")
    return out


def broken() -> SmimeFault:
    """Give the only fault of a content that does not open: it never tells why (padding, tag, key: RFC 3218, EFAIL)."""
    return SmimeFault("le contenu chiffre ne s'ouvre pas", SmimeCode.BROKEN,
                      detail=say("contenu altéré, ou qui n'est pas ce qu'il dit", "content altered, or not what it says"),
                      remedy=say("demander un nouvel envoi à l'expéditeur", "ask the sender to send it again"))


def unreadable(fr: str, en: str) -> SmimeFault:
    """Give the fault of octets that are not the structure they should be."""
    return SmimeFault("structure CMS illisible", SmimeCode.UNREADABLE, detail=say(fr, en),
                      remedy=say("demander un nouvel envoi à l'expéditeur", "ask the sender to send it again"))


def too_large(fr: str, en: str) -> SmimeFault:
    """Give the fault of a structure beyond a limit."""
    return SmimeFault("message S/MIME au-dela d'une limite", SmimeCode.LIMIT, detail=say(fr, en))


def too_many_octets(size: int, limits: SmimeLimits) -> SmimeFault:
    """Give the fault of a message beyond `limits.message_bytes`."""
    return too_large(f"{size} octets, limite {limits.message_bytes}", f"{size} octets, limit {limits.message_bytes}")


def not_admitted(fr: str, en: str) -> SmimeFault:
    """Give the fault of an algorithm or a kind of key that is not used here."""
    return SmimeFault("algorithme S/MIME refuse", SmimeCode.ALGORITHM, detail=say(fr, en),
                      remedy=say("AES en GCM ou CBC ; RSA de 2048 à 8192 bits ou EC P-256, P-384, P-521",
                                 "AES in GCM or CBC; RSA of 2048 to 8192 bits or EC P-256, P-384, P-521"))
