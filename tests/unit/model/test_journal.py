"""Kinds of event: each is written somewhere, and nothing else writes a kind of its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.model.journal import JournalEvent, JournalKind

ROOT = Path(__file__).resolve().parents[3] / "mssante"
SOURCES = {file: file.read_text(encoding="utf-8") for file in ROOT.rglob("*.py") if file.name != "journal.py" or "model" not in file.parts}


@pytest.mark.parametrize("kind", list(JournalKind))
def test_each_kind_is_written_somewhere(kind: JournalKind) -> None:
    assert [file for file, text in SOURCES.items() if re.search(rf"\bJournalKind\.{kind.name}\b", text)], "no service writes it"


def test_no_service_names_a_kind_that_is_not_there() -> None:
    used = {name for text in SOURCES.values() for name in re.findall(r"\bJournalKind\.([A-Z_]+)\b", text)}
    assert used == {kind.name for kind in JournalKind}


def test_an_event_is_a_value() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    event = JournalEvent(JournalKind.LOGIN, at)
    assert event == JournalEvent(JournalKind.LOGIN, at, "", "", {}) and event.kind == "login"
    with pytest.raises(AttributeError):
        event.subject = "x"  # type: ignore[misc]
