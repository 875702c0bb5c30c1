"""Words of directory entries and of questions: folded, cut, tagged. What the mirror indexes and what it is asked agree here.

- Folding: accents and case go (Unicode NFKD, casefold), what is neither ASCII letter nor digit separates words.
- Marks: a word of a family name stands once more behind `ƒ`, of a given name behind `ɠ`; a filter behind `µ`. No folded word
  holds such a character, so that a question can never be taken for a mark.
- Pure; a change of what it gives needs a new version of the mirror's file (`storage.sql.mirrorfile.VERSION`).
Called by `storage.sql.mirror*`, the search of the desk and the LDAP and CardDAV faces.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from mssante.directory.values import DirectoryEntry

FAMILY, GIVEN, TAG = "ƒ", "ɠ", "µ"
MAX_WORDS = 8
MAX_WORD = 40
MAX_TEXT = 200
TITLES = frozenset({"dr", "docteur", "pr", "professeur", "m", "mr", "mme", "mlle", "monsieur", "madame"})
_WORD = re.compile(r"[a-z0-9]+")
_LIGATURES = str.maketrans({"œ": "oe", "Œ": "oe", "æ": "ae", "Æ": "ae", "ø": "o", "Ø": "o", "ł": "l", "Ł": "l"})
_COMMON = frozenset({"mssante", "fr"})  # stand in nearly every address: they find nothing


@lru_cache(maxsize=50_000)
def cut(text: str) -> tuple[str, ...]:
    """Give the folded words of a text, each at most 40 characters long."""
    plain = text if text.isascii() else unicodedata.normalize("NFKD", text.translate(_LIGATURES))
    if not plain.isascii():
        plain = "".join(char for char in plain if not unicodedata.combining(char))
    return tuple(word[:MAX_WORD] for word in _WORD.findall(plain.casefold()))


def fold(text: str) -> str:
    """Give the folded words of a text with one blank between them."""
    return " ".join(cut(text))


def asked(text: str) -> tuple[tuple[str, ...], bool]:
    """Give the words of a question (at most 8) and whether the last one may be unfinished: nothing stands behind it.

    A title that leads is left out when another word stands: it is nobody's name.
    """
    text = text[:MAX_TEXT]
    words = list(cut(text))[:MAX_WORDS]
    while len(words) > 1 and words[0] in TITLES:
        del words[0]
    return tuple(words), bool(text) and text[-1:].isalnum()


def tag(kind: str, value: str) -> str:
    """Give the mark of a filter. kind: one letter (`t` type, `d` department, `p` profession, `s` specialty, `z` postcode)."""
    return f"{TAG}{kind}{fold(value).replace(' ', '')}"


def domain_tag(domain: str) -> str:
    """Give the mark of a mail domain."""
    return f"{TAG}a" + domain.lower().replace(".", "0x0").replace("-", "1x1")


def entry_words(entry: DirectoryEntry) -> list[str]:
    """Give every word and mark under which an entry is found, each once, in a settled order."""
    family, given = cut(entry.family_name), cut(entry.given_name)
    local, _, domain = entry.address.partition("@")
    found = dict.fromkeys(family)
    for text in (entry.given_name, entry.structure_name, entry.trade_name, entry.service, entry.description, entry.town,
                 entry.postcode, entry.profession, entry.specialty, local):
        found.update(dict.fromkeys(cut(text)))
    found.update(dict.fromkeys(word for word in cut(domain) if word not in _COMMON))
    found.update(dict.fromkeys(FAMILY + word for word in family))
    found.update(dict.fromkeys(GIVEN + word for word in given))
    found[tag("t", entry.type)] = None
    found[domain_tag(domain)] = None
    for kind, value in (("d", entry.department), ("p", entry.profession_code), ("s", entry.specialty_code),
                        ("z", entry.postcode)):
        if value:
            found[tag(kind, value)] = None
    return list(found)


def sort_key(entry: DirectoryEntry) -> str:
    """Give the text by which entries are laid out: name, given name; structures after people, by their names."""
    if entry.family_name:
        return "0" + fold(entry.family_name) + " " + fold(entry.given_name)
    return "1" + fold(entry.trade_name or entry.structure_name) + " " + fold(entry.service)
