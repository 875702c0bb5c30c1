"""Strings of a script: encoded characters, and variables put in at run time (RFC 5228 §2.4.2.4, RFC 5229 §3).

- A string without variables is a plain `str`, at no cost; the others are a `Template`.
- Bounded: a string made at run time is cut at `Limits.text` characters, a variable at `Limits.variable` (RFC 5229 §6): whatever a
  script sets from what, nothing grows beyond.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ENCODED = re.compile(r"\$\{(hex|unicode):([0-9A-Fa-f \t\r\n]*)\}", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]{0,63}|[0-9]{1,3})\}")
_MAX_CODED = 4_096


def decode_encoded(text: str) -> str:
    """Replace `${hex:…}` and `${unicode:…}`; what is not well formed stays. Raises ValueError for an impossible character."""
    return _ENCODED.sub(_decoded, text) if "${" in text else text


def _decoded(found: re.Match[str]) -> str:
    words = found.group(2).split()
    if not words or len(words) > _MAX_CODED:
        return found.group()
    if found.group(1).lower() == "hex":
        if any(len(word) > 2 for word in words):
            return found.group()
        return bytes(int(word, 16) for word in words).decode("utf-8", "replace")
    points = [int(word[-7:], 16) if not word[:-7].strip("0") else 0x110000 for word in words]
    if any(point > 0x10FFFF or 0xD800 <= point <= 0xDFFF for point in points):
        raise ValueError("not a character")
    return "".join(map(chr, points))


class Template:
    """A string with references to variables. parts: plain text at even ranks, names (lower case) at odd ones."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = tuple(parts)

    def expand(self, variables: Mapping[str, str], matched: Sequence[str], limit: int) -> str:
        """Give the text; unknown variables are empty (RFC 5229 §3)."""
        out: list[str] = []
        room = limit
        for rank, part in enumerate(self._parts):
            piece = part
            if rank % 2:
                piece = (matched[int(part)] if int(part) < len(matched) else "") if part.isdigit() else variables.get(part, "")
            piece = piece[:room]
            out.append(piece)
            room -= len(piece)
        return "".join(out)


def template(text: str) -> str | Template:
    """Give a template, or the text itself when it holds no reference."""
    if "${" not in text:
        return text
    parts = _REFERENCE.split(text)
    return Template([part.lower() if rank % 2 else part for rank, part in enumerate(parts)]) if len(parts) > 1 else text


Text = str | Template
