"""The cache of remote directory answers: kept, bounded, rebuilt when it is not ours."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from support.storage_values import NOW

from mssante.errors import OperatorFault
from mssante.storage.remotecache import KeptAnswer
from mssante.storage.sql.remotecache import MAX_DOCUMENT, SqliteAnswerCache

ANSWER = KeptAnswer(True, '{"entries": ["é"]}', NOW)


def test_answers_are_kept_by_source_and_address_over_a_restart(tmp_path: Path) -> None:
    cache = SqliteAnswerCache(tmp_path / "new" / "cache.db", 100)
    cache.put("fhir", "a@x.fr", KeptAnswer(False, "", NOW - timedelta(hours=1)))
    cache.put("fhir", "a@x.fr", ANSWER)
    cache.put("fhir", "huge@x.fr", KeptAnswer(True, "x" * (MAX_DOCUMENT + 1), NOW))
    cache.close()
    again = SqliteAnswerCache(tmp_path / "new" / "cache.db", 100)
    assert again.get("fhir", "a@x.fr") == ANSWER and again.get("ldap", "a@x.fr") is None and again.get("fhir", "huge@x.fr") is None
    again.close()


def test_the_number_is_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    cache = SqliteAnswerCache(tmp_path / "cache.db", 100)
    for rank in range(1000):
        cache.put("fhir", f"{rank}@x.fr", KeptAnswer(False, "", NOW + timedelta(seconds=rank)))
    kept = [rank for rank in range(1000) if cache.get("fhir", f"{rank}@x.fr") is not None]
    assert len(kept) <= 200 and kept[-1] == 999 and kept == list(range(kept[0], 1000))
    cache.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_damaged_file_is_made_anew(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache.db").write_bytes(content)
    cache = SqliteAnswerCache(tmp_path / "cache.db", 100)
    cache.put("fhir", "a@x.fr", ANSWER)
    assert cache.get("fhir", "a@x.fr") == ANSWER
    cache.close()


def test_another_shape_is_emptied(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "cache.db") as other:
        other.execute("CREATE TABLE answer (x)")
    cache = SqliteAnswerCache(tmp_path / "cache.db", 100)
    cache.put("fhir", "a@x.fr", ANSWER)
    assert cache.get("fhir", "a@x.fr") == ANSWER
    cache.close()


def test_what_cannot_be_opened_or_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OperatorFault) as caught:
        SqliteAnswerCache(tmp_path / "file" / "cache.db", 100)
    assert caught.value.rule == "ANNUAIRE-CACHE"
    cache = SqliteAnswerCache(tmp_path / "cache.db", 100)
    cache.close()
    for action in (lambda: cache.get("fhir", "a"), lambda: cache.put("fhir", "a", ANSWER)):
        with pytest.raises(OperatorFault):
            action()
