"""Any octets as an extraction: rows or one typed refusal, never another error; any question of the words."""

from __future__ import annotations

import io
import zipfile

from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.directory.extraction import COLUMNS, Extraction, entry_of
from mssante.directory.words import asked, entry_words
from mssante.errors import InputFault

CELL = st.text(max_size=20) | st.sampled_from(["PER", "ORG", "a.b@c.fr", "69003 LYON", "|", "\n", "\x00", "é"])


def check(raw: bytes) -> None:
    try:
        for packed in Extraction(io.BytesIO(raw)).rows():
            entry = entry_of(packed)
            words = entry_words(entry)
            assert entry.address == entry.address.lower() and len(set(words)) == len(words)
            assert not any(" " in word or '"' in word for word in words)
    except InputFault as fault:
        assert fault.rule.startswith("EXTRACTION-") and fault.remedy


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets(raw: bytes) -> None:
    check(raw)
    check(b"PK" + raw)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(CELL, min_size=29, max_size=29), max_size=4), st.booleans(), st.integers(0, 2000), st.integers(0, 255))
def test_rows_of_any_cells(rows: list[list[str]], archive: bool, at: int, octet: int) -> None:
    lines = ["|".join(COLUMNS), *("|".join(["PER", "a.b@c.fr", *row]) for row in rows)]
    raw = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    if archive:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.txt", raw)
        raw = stream.getvalue()
    check(raw)
    if at < len(raw):
        check(raw[:at] + bytes([octet]) + raw[at + 1:])
        check(raw[:at])


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_any_question(text: str) -> None:
    words, _ = asked(text)
    assert len(words) <= 8 and all(word.isascii() and word.isalnum() and len(word) <= 40 for word in words)
