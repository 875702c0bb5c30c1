"""Modified UTF-7 of folder names (RFC 3501 §5.1.3), for sessions that did not enable IMAP4rev2.

- Strict: one text has exactly one encoded form. What would hide `/`, NUL or any printable ASCII in base64, superfluous
  shifts, stray bits, lone surrogates: all refused, by encoding the result again and comparing.
- Called by the tokens reader (in) and by the encoder (out). Never used once IMAP4rev2 is enabled.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

_PLAIN = re.compile(rb"[\x20-\x25\x27-\x7e]*\Z")
_RUNS = re.compile(r"([\x20-\x25\x27-\x7e]+)|(&)|([^\x20-\x7e]+)")
_PIECES = re.compile(rb"([\x20-\x25\x27-\x7e]+)|&([A-Za-z0-9+,]*)-")


def encode(text: str) -> bytes:
    """Give the modified UTF-7 form. Raises ValueError for lone surrogates."""
    out: list[bytes] = []
    for plain, ampersand, other in _RUNS.findall(text):
        if plain:
            out.append(plain.encode("ascii"))
        elif ampersand:
            out.append(b"&-")
        else:
            coded = b64encode(other.encode("utf-16-be"), b"+,").rstrip(b"=")
            out.append(b"&" + coded + b"-")
    return b"".join(out)


def decode(raw: bytes) -> str:
    """Give the text. Raises ValueError (text without the input) when `raw` is not the one right form."""
    if _PLAIN.match(raw):
        return raw.decode("ascii")
    out: list[str] = []
    at = 0
    while at < len(raw):
        piece = _PIECES.match(raw, at)
        if piece is None:
            raise ValueError("folder name: not modified UTF-7")
        if piece[1] is not None:
            out.append(piece[1].decode("ascii"))
        else:
            out.append(_decode_shift(piece[2]) if piece[2] else "&")
        at = piece.end()
    text = "".join(out)
    if encode(text) != raw:
        raise ValueError("folder name: modified UTF-7 that is not in its shortest form")
    return text


def _decode_shift(coded: bytes) -> str:
    """Give the text of one base64 run."""
    try:
        return b64decode(coded + b"=" * (-len(coded) % 4), b"+,", validate=True).decode("utf-16-be")
    except (Base64Error, UnicodeDecodeError) as error:
        raise ValueError("folder name: broken modified UTF-7") from error
