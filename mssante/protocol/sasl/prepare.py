"""SASLprep (RFC 4013), the form in which SCRAM compares names and passwords (RFC 5802 §2.2).

- Without unassigned code points ("stored string" of RFC 3454 §7), bounded in size before and after.
- Gives None for what may not be used: the caller then keeps no verifier, or refuses the name.
Called by `sasl.scram` (names) and `services.accounts` (passwords).
"""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable

MAX_PREPARED = 4_096  # characters: normalisation may make a text longer

_PROHIBITED: tuple[Callable[[str], bool], ...] = (  # RFC 4013 §2.3
    stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def saslprep(text: str) -> str | None:
    """Give the prepared form of a text; None when it is empty, too long or holds what RFC 4013 §2.3 to §2.5 refuses."""
    if text.isascii():
        return text if text and text.isprintable() else None
    if len(text) > MAX_PREPARED:
        return None
    mapped = "".join(" " if stringprep.in_table_c12(one) else one for one in text if not stringprep.in_table_b1(one))  # §2.1
    normal = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)  # §2.2, in the version of Unicode that RFC 3454 names
    if not normal or len(normal) > MAX_PREPARED or any(test(one) for one in normal for test in _PROHIBITED):
        return None
    if any(stringprep.in_table_d1(one) for one in normal):  # §2.4, RFC 3454 §6
        bad = any(stringprep.in_table_d2(one) for one in normal)
        if bad or not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1])):
            return None
    return normal
