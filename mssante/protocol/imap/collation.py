"""How texts compare in SEARCH, SORT and THREAD (RFC 5255 §4: I18NLEVEL=1).

- `casemap` is i;unicode-casemap (RFC 5051 §2): each character by itself becomes its simple titlecase, then its full
  compatibility decomposition. Two texts are equal, ordered or one within the other as these results are. SORT and THREAD.
- `fold` is casemap without combining diacritical marks, then case-folded: SEARCH. It is computed from casemap letter by
  letter, so whatever matches under i;unicode-casemap matches here; besides, `resultat` finds `résultat`.
- Both map letter by letter: where one text stands within another, so do their results.

Pure. Called by `services/imap/*` and `protocol/imap/threading.py`.
"""

from __future__ import annotations

import re
import unicodedata

_MARKS = re.compile("[\u0300-\u036f]+")  # combining diacritical marks: what NFKD takes apart from Latin letters


class _Titles(dict[int, str]):
    """Code point to its mapped text, computed once each (at most as many as Unicode has)."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        title = letter.title()
        mapped = unicodedata.normalize("NFKD", title if len(title) == 1 else letter)
        self[code] = mapped
        return mapped


_TITLES = _Titles()


def casemap(text: str) -> str:
    """Give the form under which i;unicode-casemap compares a text (RFC 5051 §2)."""
    return text.upper() if text.isascii() else text.translate(_TITLES)


def fold(text: str) -> str:
    """Give a text without case and accents: two texts that read alike compare equal."""
    if text.isascii():
        return text.lower()
    mapped = text.translate(_TITLES)
    if "\u0345" in mapped:  # the iota below a Greek letter, which has a title case of its own
        mapped = mapped.translate(_TITLES)
    return _MARKS.sub("", mapped).casefold()
