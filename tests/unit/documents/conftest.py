"""Remarks are compared in English, the language of the expected files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mssante.lang import language, set_language


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Read texts in English during a test of this package."""
    before = language()
    set_language("en")
    yield
    set_language(before)
