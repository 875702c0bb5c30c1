"""What coverage-guided fuzzing found, and its seeds, played again at each run."""

from __future__ import annotations

from pathlib import Path

import pytest
from atheris_imap import SEEDS, one_input

FOUND = sorted(SEEDS.glob("*"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.name)
def test_kept_input(path: Path) -> None:
    one_input(path.read_bytes())


def test_there_are_seeds() -> None:
    assert FOUND
