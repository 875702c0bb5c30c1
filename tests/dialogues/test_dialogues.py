"""Plays every transcript of this folder, whole and octet by octet, against real services and a real SQLite store."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.dialogue import play, settings_of
from support.imap_stage import build

from mssante.protocol.imap.capabilities import CAPABILITIES

FOLDER = Path(__file__).parent
TRANSCRIPTS = sorted(FOLDER.glob("*.txt"))


@pytest.mark.parametrize("one_by_one", [False, True], ids=["whole", "octets"])
@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda path: path.stem)
async def test_transcript(transcript: Path, one_by_one: bool, tmp_path: Path) -> None:
    stage = await build(tmp_path, settings_of(transcript))
    try:
        await play(stage, transcript, one_by_one=one_by_one)
    finally:
        await stage.close()


def test_every_capability_has_its_transcript() -> None:
    names = {path.stem.partition("-")[2] for path in TRANSCRIPTS}
    assert {line.dialogue for line in CAPABILITIES} <= names
