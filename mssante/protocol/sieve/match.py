"""Comparators and match types: `:is`, `:contains`, `:matches`, `:value`, `:count` (RFC 5228 §2.7, RFC 5231, RFC 4790).

- `:matches` never backtracks: a pattern is cut at its `*`, pieces are looked for from the left, the last one at the end. That is
  the shortest match from the left, as RFC 5229 §3.2 wants for match variables. Pieces without `?` are searched by `str.find`.
- i;ascii-casemap folds ASCII letters only (RFC 4790 §9.2); i;ascii-numeric reads the digits at the start, none: above all
  numbers (RFC 4790 §9.1).
- What a match may cost is told by `Glob.cost`; the caller spends it from the budget of the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

OCTET, CASEMAP, NUMERIC = "i;octet", "i;ascii-casemap", "i;ascii-numeric"
COMPARATORS = (OCTET, CASEMAP, NUMERIC)
_DIGITS = re.compile(r"[0-9]+")
_MAX_DIGITS = 1_000

RELATIONS: dict[str, Callable[[int], bool]] = {
    "gt": lambda order: order > 0, "ge": lambda order: order >= 0, "lt": lambda order: order < 0,
    "le": lambda order: order <= 0, "eq": lambda order: order == 0, "ne": lambda order: order != 0,
}


def fold(text: str) -> str:
    """Give the text with ASCII letters in lower case, as long as it was."""
    if text.isascii():
        return text.lower()
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def numeric(text: str) -> int | None:
    """Give the number at the start of a text, None for positive infinity."""
    found = _DIGITS.match(text)
    if found is None:
        return None
    digits = found.group()[:_MAX_DIGITS]
    return int(digits)


def order(left: str, right: str, comparator: str) -> int:
    """Give -1, 0 or 1 as a comparator orders two texts."""
    if comparator == NUMERIC:
        one, other = numeric(left), numeric(right)
        if one is None or other is None:
            return (one is None) - (other is None)
        return (one > other) - (one < other)
    if comparator == CASEMAP:
        left, right = fold(left), fold(right)
    first, second = left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass")
    return (first > second) - (first < second)


class Glob:
    """A pattern of `:matches`: `*` any characters, `?` one, a backslash makes the next character plain."""

    __slots__ = ("_folded", "_pieces", "length")

    def __init__(self, pattern: str, *, folded: bool) -> None:
        self._folded = folded
        self._pieces = _pieces(fold(pattern) if folded else pattern)
        self.length = len(pattern)

    def cost(self, length: int) -> int:
        """Give the characters looked at, at worst, in a text of this length."""
        total = length
        for piece in self._pieces:
            total += length * (20 * len(piece) if None in piece else 1)  # looked at letter by letter, or by `str.find`
        return total

    def match(self, text: str) -> list[str] | None:
        """Give what each wildcard stands for, the whole text first; None when the text does not match."""
        subject = fold(text) if self._folded else text
        pieces = self._pieces
        if len(pieces) == 1:
            if len(subject) != len(pieces[0]) or not _fits(subject, 0, pieces[0]):
                return None
            return [text, *_holes(text, 0, pieces[0])]
        first, last = pieces[0], pieces[-1]
        stop = len(subject) - len(last)
        if stop < len(first) or not _fits(subject, 0, first) or not _fits(subject, stop, last):
            return None
        values = [text, *_holes(text, 0, first)]
        place = len(first)
        for piece in pieces[1:-1]:
            found = _find(subject, piece, place, stop)
            if found < 0:
                return None
            values += [text[place:found], *_holes(text, found, piece)]
            place = found + len(piece)
        return [*values, text[place:stop], *_holes(text, stop, last)]


_Piece = tuple[str | None, ...]  # characters, None for `?`


def _pieces(pattern: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    piece: list[str | None] = []
    letters = iter(pattern)
    for letter in letters:
        if letter == "*":
            pieces.append(tuple(piece))
            piece = []
        elif letter == "?":
            piece.append(None)
        elif letter == "\\":
            piece.append(next(letters, "\\"))
        else:
            piece.append(letter)
    pieces.append(tuple(piece))
    return pieces


def _fits(text: str, place: int, piece: _Piece) -> bool:
    if None not in piece:
        return text.startswith("".join(piece), place)  # type: ignore[arg-type]
    return all(letter is None or text[place + rank] == letter for rank, letter in enumerate(piece))


def _holes(text: str, place: int, piece: _Piece) -> list[str]:
    return [text[place + rank] for rank, letter in enumerate(piece) if letter is None]


def _find(text: str, piece: _Piece, place: int, stop: int) -> int:
    """Give where a piece stands first between two places, -1 when nowhere."""
    if None not in piece:
        return text.find("".join(piece), place, stop)  # type: ignore[arg-type]
    return next((at for at in range(place, stop - len(piece) + 1) if _fits(text, at, piece)), -1)


@lru_cache(maxsize=4096)
def glob(pattern: str, folded: bool) -> Glob:
    """Give the pattern, made once."""
    return Glob(pattern, folded=folded)
