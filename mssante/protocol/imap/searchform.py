"""The form under which texts are indexed and searched: folded, on one line, cut into words and what stands between them.

- `normal` folds a text (`collation.fold`: no case, no accents) and makes one space of any white space and controls, line ends
  included: what is broken over lines reads as one. Where one text stands within another, so do their normal forms.
- `runs` cuts a normal text into words (letters, digits, `_`) and the separators between them, nothing left out: a text is a
  substring of another exactly when its runs follow one another there, the first one maybe as an end of a run and the last one
  as a beginning. A text index keeps runs, and finds substrings.
- `LINE` parts texts that must not be read as one (fields of a header, parts of a message): no normal text holds it.

Pure. Called by `documents/messagetext.py`, `storage/sql/text*.py`, `services/imap/searchtext.py` and `textindex.py`.
"""

from __future__ import annotations

import re

from mssante.protocol.imap.collation import fold

LINE = "\n"
# Lone surrogates come out of odd charsets (UTF-7) and no database takes them.
_BLANK = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
_RUN = re.compile(r"\w+|\W+")


def normal(text: str) -> str:
    """Give the form of a text under which it is compared."""
    return _BLANK.sub(" ", fold(text))


def runs(text: str) -> list[str]:
    """Cut a normal text, or several joined by `LINE`, into words and separators in turn."""
    return _RUN.findall(text)


def is_word(run: str) -> bool:
    """True for a word, False for a separator."""
    return run[0].isalnum() or run[0] == "_"
