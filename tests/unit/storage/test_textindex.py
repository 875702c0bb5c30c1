"""The text index finds exactly what a scan of the same texts finds, and forgets what is taken out."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mssante.errors import OperatorFault
from mssante.protocol.imap.searchform import LINE, normal, runs
from mssante.storage.search import IndexedText, TextQuery
from mssante.storage.sql import textfile, textplan
from mssante.storage.sql.textindex import SqliteTextIndex

BOX = 7


@pytest.fixture
def index(tmp_path: Path) -> Iterator[SqliteTextIndex]:
    made = SqliteTextIndex(tmp_path / "search")
    yield made
    made.close()


def text(number: int, body: str, head: str = "") -> IndexedText:
    return IndexedText(number, normal(head), LINE.join(normal(line) for line in body.split("\n")))


def found(index: SqliteTextIndex, wanted: str, *, head: bool = True) -> list[int]:
    return sorted(index.find(TextQuery(BOX, normal(wanted), head), range(1, 1000)).found)


# A small alphabet: words, separators and edges meet often.
_TEXTS = st.text(alphabet="ab1é ,-.\n", max_size=30)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(_TEXTS, _TEXTS), min_size=1, max_size=8), st.lists(st.text(alphabet="abé1 ,-.", max_size=6), min_size=1, max_size=8))
def test_index_finds_what_a_scan_finds(bodies: list[tuple[str, str]], wanted: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        index = SqliteTextIndex(Path(folder))
        texts = [text(number, body, head) for number, (body, head) in enumerate(bodies, 1)]
        index.add(BOX, texts)
        for one in wanted:
            needle = normal(one)
            assert found(index, one, head=False) == [item.id for item in texts if needle in item.body]
            assert found(index, one) == [item.id for item in texts if needle in item.body or needle in item.head]
        index.close()


@given(st.text(max_size=20), st.text(max_size=5), st.text(max_size=5))
def test_normal_forms_keep_substrings(middle: str, before: str, after: str) -> None:
    assert normal(middle) in normal(before + middle + after) or normal(middle).strip() in normal(before + middle + after)
    assert "".join(runs(normal(middle))) == normal(middle)


def test_substrings_of_words_phrases_and_punctuation(index: SqliteTextIndex) -> None:
    index.add(BOX, [text(1, "Téléconsultation du 12/03/2026, rendez-vous à Besançon"), text(2, "consultations d'imagerie"),
                    text(3, "cardiologie\r\nimagerie"), text(4, "Cardiologie, imagerie"), text(5, "x")])
    assert found(index, "consultation") == [1, 2]
    assert found(index, "ONSULT") == [1, 2]
    assert found(index, "cardiologie imagerie") == []  # two lines of the message here: parted by LINE
    index.add(BOX, [text(6, "cardiologie \r imagerie")])
    assert found(index, "cardiologie imagerie") == [6]
    assert found(index, "ogie, imag") == [4]
    assert found(index, "2/03/20") == [1]
    assert found(index, "rendez-v") == [1]
    assert found(index, "a besancon") == [1]
    assert found(index, "vous ") == [1]
    assert found(index, "z") == [1]
    assert found(index, ", ") == [1, 4]
    assert found(index, "d'i") == [2]
    assert found(index, "absent") == []
    assert found(index, "") == [1, 2, 3, 4, 5, 6]


def test_too_many_choices_are_compared(index: SqliteTextIndex) -> None:
    many = textplan.MAX_CHOICES + 5
    index.add(BOX, [text(number, f"abc{number}xyz fin{number}") for number in range(1, many + 1)])
    assert found(index, "abc") == list(range(1, many + 1))
    assert found(index, "z f") == list(range(1, many + 1))
    assert found(index, "z fin7") == [number for number in range(1, many + 1) if str(number).startswith("7")]
    assert found(index, "1xyz fin11") == [11] + [number for number in range(110, many + 1) if str(number)[:2] == "11" and str(number)[-1] == "1"]


def test_a_long_text_is_compared_beyond_its_first_runs(index: SqliteTextIndex) -> None:
    words = " ".join(f"w{number}" for number in range(200))
    index.add(BOX, [text(1, words), text(2, words.replace("w150", "other"))])
    assert found(index, words) == [1]


def test_heads_are_looked_at_for_text_only(index: SqliteTextIndex) -> None:
    index.add(BOX, [text(1, "corps", "Subject: entete")])
    assert found(index, "entete") == [1]
    assert found(index, "entete", head=False) == []


def test_missing_are_told_even_when_another_connection_wrote(index: SqliteTextIndex, tmp_path: Path) -> None:
    query = TextQuery(BOX, "mot", True)
    assert set(index.find(query, (1, 2)).missing) == {1, 2}
    other = SqliteTextIndex(tmp_path / "search")
    other.add(BOX, [text(5, "mot")])
    assert set(index.find(query, (5, 6)).missing) == {6}
    other.add(BOX, [text(6, "mot"), text(2, "mot")])  # 2 is below what was known: copied from another mailbox
    matches = index.find(query, (2, 5, 6))
    assert (set(matches.found), set(matches.missing)) == ({2, 5, 6}, set())
    other.remove(BOX, [5])
    matches = index.find(query, (2, 5, 6))
    assert (set(matches.found), set(matches.missing)) == ({2, 6}, {5})
    other.clear(BOX)
    assert set(index.find(query, (2,)).missing) == {2}
    other.add(BOX, [text(2, "mot")])
    assert set(index.find(query, (2,)).found) == {2}
    other.close()


def test_adding_twice_changes_nothing(index: SqliteTextIndex) -> None:
    assert index.add(BOX, [text(1, "un mot"), text(1, "un mot")]) == 1
    assert index.add(BOX, [text(1, "un mot"), text(2, "deux mots")]) == 1
    assert found(index, "mot") == [1, 2]
    assert index.known(BOX) == {1, 2}


def test_what_is_removed_leaves_the_file(index: SqliteTextIndex, tmp_path: Path) -> None:
    index.add(BOX, [text(number, f"texte commun {number}") for number in range(1, 50)])
    index.add(BOX, [text(99, "Ziguezon texte", "Subject: ziguezon")])
    assert index.remove(BOX, [99, 1000]) == 1
    assert found(index, "ziguezon") == []
    assert found(index, "texte") == list(range(1, 50))
    index.settle(BOX)
    index.close()
    raw = b"".join(path.read_bytes() for path in (tmp_path / "search").iterdir())
    assert b"ziguezon" not in raw and b"uezon" not in raw and b"commun" in raw
    with sqlite3.connect(tmp_path / "search" / f"{BOX}.db") as file:
        assert not file.execute("SELECT 1 FROM word WHERE docs <= 0").fetchall()
        file.execute("INSERT INTO place(place) VALUES ('integrity-check')")


def test_files_are_for_the_operator_only(index: SqliteTextIndex, tmp_path: Path) -> None:
    index.add(BOX, [text(1, "mot")])
    index.set_mark(3)
    folder = tmp_path / "search"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    assert index.octets(BOX) > 0


def test_damaged_and_foreign_files_are_made_again(index: SqliteTextIndex, tmp_path: Path) -> None:
    path = tmp_path / "search" / f"{BOX}.db"
    index.add(BOX, [text(1, "mot")])
    index.set_settled(BOX, "x")
    index.close()
    path.write_bytes(b"this is no database at all" * 500)
    assert set(index.find(TextQuery(BOX, "mot", True), (1,)).missing) == {1}
    assert index.known(BOX) == set()
    assert index.add(BOX, [text(1, "mot")]) == 1
    assert index.settled() == {}
    assert found(index, "mot") == [1]
    index.close()
    with sqlite3.connect(path) as file:
        file.execute("UPDATE head SET version = 99")
    assert set(index.find(TextQuery(BOX, "mot", True), (1,)).missing) == {1}
    assert index.add(BOX, [text(2, "mot")]) == 1
    assert found(index, "mot") == [2]


def test_a_file_replaced_by_another_process_is_opened_again(index: SqliteTextIndex, tmp_path: Path) -> None:
    index.add(BOX, [text(1, "mot")])
    assert found(index, "mot") == [1]
    for path in (tmp_path / "search").glob(f"{BOX}.db*"):
        path.unlink()
    assert set(index.find(TextQuery(BOX, "mot", True), (1,)).missing) == {1}
    other = SqliteTextIndex(tmp_path / "search")
    other.add(BOX, [text(2, "mot")])
    assert found(index, "mot") == [2]
    assert index.add(BOX, [text(3, "mot")]) == 1
    other.close()


def test_marks_and_signatures(index: SqliteTextIndex) -> None:
    assert index.mark() == 0
    index.set_mark(12)
    index.set_mark(5)  # never back
    assert index.mark() == 12
    index.set_settled(BOX, "a")
    assert index.settled() == {}  # no file
    index.add(BOX, [text(1, "x")])
    index.add(8, [text(1, "x")])
    index.set_settled(8, "b")
    assert index.settled() == {BOX: "a", 8: "b"}
    assert index.drop_others([8]) == 1
    assert index.settled() == {8: "b"}
    assert index.known(BOX) == set()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "search").write_bytes(b"a file where the folder should be")
    index = SqliteTextIndex(tmp_path / "search")
    with pytest.raises(OperatorFault) as caught:
        index.add(BOX, [text(1, "secret")])
    assert caught.value.rule == "INDEX-WRITE" and "secret" not in str(caught.value)
    assert index.mark() == 0
    assert set(index.find(TextQuery(BOX, "x", True), (1,)).missing) == {1}
    index.close()


def test_statements_do_not_grow_with_messages(tmp_path: Path) -> None:
    counts = []
    for number, size in enumerate((3, 300)):
        connection = textfile.create(tmp_path / f"{number}.db")
        textfile.add(connection, [text(one, f"cardiologie imagerie {one}", f"subject: {one}") for one in range(1, size + 1)])
        seen: list[str] = []
        connection.set_trace_callback(seen.append)
        assert len(textfile.find(connection, "diologie imag", head=True, among=None)) == size
        assert len(textfile.find(connection, "io", head=True, among=None)) == size
        counts.append(len(seen))
        connection.close()
    assert counts[0] == counts[1]


def _open_files() -> list[str]:
    return [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")]


def test_few_texts_are_compared_one_by_one(index: SqliteTextIndex) -> None:
    index.add(BOX, [text(number, f"z{number}") for number in range(1, 100)])
    matches = index.find(TextQuery(BOX, normal("9"), True), (9, 10, 500))
    assert set(matches.found) & {9, 10} == {9}
    assert set(matches.missing) == {500}


def test_many_readers_are_bounded(index: SqliteTextIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mssante.storage.sql.textindex.KEPT_READERS", 2)
    monkeypatch.setattr("mssante.storage.sql.textindex.KEPT_WRITERS", 2)
    for box in range(1, 7):
        index.add(box, [text(1, "mot")])
        assert set(index.find(TextQuery(box, "mot", True), (1,)).found) == {1}
    own = str(tmp_path)
    assert len([name for name in _open_files() if name.startswith(own) and name.endswith(".db")]) <= 4
    assert set(index.find(TextQuery(1, "mot", True), (1,)).found) == {1}
