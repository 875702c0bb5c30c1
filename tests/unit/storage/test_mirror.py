"""The mirror: adopted as a whole, differences by address, guards, search, near addresses, a killed import."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mssante.directory.extraction import COLUMNS
from mssante.directory.values import DirectoryQuery
from mssante.errors import InputFault, OperatorFault
from mssante.storage.mirror import ImportRequest, MirrorPolicy
from mssante.storage.sql import mirrorfile
from mssante.storage.sql.mirror import SqliteMirror

NOW = datetime(2026, 9, 5, 12, tzinfo=UTC)


def row(address: str, family: str = "", given: str = "", **cells: str) -> str:
    values = dict.fromkeys(COLUMNS, "")
    values.update({"Type de BAL": "PER" if family else "ORG", "Adresse BAL": address, "Nom d'exercice": family,
                   "Prénom d'exercice": given})
    for name, value in cells.items():
        column, = [one for one in COLUMNS if one.split()[0].lower().replace("é", "e").startswith(name)] if name != "profession" else [
            "Libellé Profession"]
        values[column] = value
    return "|".join(values[name] for name in COLUMNS)


def write(folder: Path, day: int, rows: list[str], *, end: str = "\n") -> Path:
    path = folder / f"Extraction_Correspondance_MSSante_202609{day:02d}0730.txt"
    path.write_text("\n".join(("|".join(COLUMNS), *rows)) + end, encoding="utf-8")
    return path


ROWS = [
    row("jean.martin@medecin.mssante.fr", "MARTIN", "JEAN", departement="69", profession="Médecin", service="CARDIOLOGIE"),
    row("julie.martin@medecin.mssante.fr", "MARTIN", "JULIE", departement="13", profession="Médecin"),
    row("lea.martinez@infirmier.mssante.fr", "MARTINEZ", "LÉA", departement="69", profession="Infirmier"),
    row("paul.durand@medecin.mssante.fr", "DURAND", "PAUL", departement="75", profession="Médecin"),
    row("secretariat.cardio@chu-lyon.mssante.fr", service="SECRÉTARIAT CARDIOLOGIE", departement="69", l6lignea="69003 LYON"),
]


@pytest.fixture
def mirror(tmp_path: Path) -> SqliteMirror:
    return SqliteMirror(tmp_path / "annuaire")


def adopt(mirror: SqliteMirror, path: Path, *, force: bool = False):
    return mirror.adopt(ImportRequest(path, path.name, NOW, force=force))


def found(mirror: SqliteMirror, text: str, **given) -> list[str]:
    return [one.address.partition("@")[0] for one in mirror.search(DirectoryQuery(text, **given))]


def test_the_two_days_of_the_shared_data(mirror: SqliteMirror, shared_dir: Path) -> None:
    folder = shared_dir / "data" / "directory"
    expected = json.loads((folder / "expected.json").read_text())
    first = adopt(mirror, folder / "Extraction_Correspondance_MSSante_202609010730.zip")
    assert (first.rows, first.added, first.first) == (expected["rows_day1"], expected["distinct_addresses_day1"], True)
    assert adopt(mirror, folder / "Extraction_Correspondance_MSSante_202609010730.zip") is None
    types = [entry.type for text in ("PER", "ORG") for entry in mirror.search(DirectoryQuery(type=text, limit=200))]
    assert {kind: types.count(kind) for kind in set(types)} == expected["types_day1"]
    second = adopt(mirror, folder / "Extraction_Correspondance_MSSante_202609020730.txt")
    assert second.rows == expected["rows_day2"]
    changes = mirror.changes(None)
    for kind in ("added", "removed", "changed"):
        assert {one.address for one in changes if one.kind == kind} == set(expected[kind])
    gone = mirror.find(expected["removed"][0].upper())
    assert not gone.entries and gone.left_at == datetime(2026, 9, 2, 7, 30, tzinfo=UTC)
    assert mirror.find(expected["added"][0]).since == (gone.left_at,)
    with pytest.raises(InputFault) as older:
        adopt(mirror, folder / "Extraction_Correspondance_MSSante_202609010730.zip")
    assert older.value.rule == "MIROIR-RECUL"


def test_search_ranks_by_exchanges_place_and_name(mirror: SqliteMirror, tmp_path: Path) -> None:
    adopt(mirror, write(tmp_path, 1, ROWS))
    assert found(mirror, "mar") == ["jean.martin", "julie.martin", "lea.martinez"]
    assert found(mirror, "Martin", near_department="13")[0] == "julie.martin"
    assert found(mirror, "Dr Martin jul") == ["julie.martin"]
    assert found(mirror, "lea") == ["lea.martinez"] and found(mirror, "LÉA ") == ["lea.martinez"]
    assert found(mirror, "cardiologie lyon") == ["secretariat.cardio"]
    assert set(found(mirror, "cardiologie")) == {"jean.martin", "secretariat.cardio"}
    assert found(mirror, "cardiologie", type="ORG") == ["secretariat.cardio"]
    assert found(mirror, "", profession="medecin", department="75") == ["paul.durand"]
    assert found(mirror, "medecin", department="69") == ["jean.martin"]
    assert found(mirror, "jean.martin@med") == ["jean.martin"]
    assert found(mirror, 'x" OR *') == [] and found(mirror, "µtper") == []
    exchanged = mirror.search(DirectoryQuery("mar"), exchanges={"lea.martinez@infirmier.mssante.fr": 3, "x@y.fr": 9})
    assert exchanged[0].given_name == "LÉA" and len(exchanged) == 3


@pytest.mark.parametrize(("typed", "meant"), [
    ("jean.martn@medecin.mssante.fr", "jean.martin"), ("martin.jean@medecin.mssante.fr", "jean.martin"),
    ("jaen.martin@medecin.mssante.fr", "jean.martin"), ("paul.durand@medecim.mssante.fr", "paul.durand"),
    ("paul.duraaand@medecin.mssante.fr", "paul.durand"), ("secretariat.cardio@chu-lion.mssante.fr", "secretariat.cardio")])
def test_near_addresses(mirror: SqliteMirror, tmp_path: Path, typed: str, meant: str) -> None:
    adopt(mirror, write(tmp_path, 1, ROWS))
    assert mirror.near(typed)[0].partition("@")[0] == meant


def test_nothing_is_near_what_is_like_nothing(mirror: SqliteMirror, tmp_path: Path) -> None:
    assert mirror.near("a@b.fr") == []
    adopt(mirror, write(tmp_path, 1, ROWS))
    assert mirror.near("zzz.qqq@elsewhere.fr") == [] and mirror.near("no-address") == []
    assert mirror.near("jean.martin@medecin.mssante.fr") == []


def test_bad_files_leave_the_last_good_one(mirror: SqliteMirror, tmp_path: Path) -> None:
    adopt(mirror, write(tmp_path, 1, ROWS))
    before = mirror.state()
    bad = {
        "EXTRACTION-TRONQUEE": write(tmp_path, 2, ROWS, end=""),
        "EXTRACTION-COLONNES": write(tmp_path, 3, [*ROWS, "PER|a@b.fr"]),
        "MIROIR-RETRECI": write(tmp_path, 4, ROWS[:4]),
        "EXTRACTION-VIDE": write(tmp_path, 5, []),
    }
    for rule, path in bad.items():
        with pytest.raises(InputFault) as refused:
            adopt(mirror, path)
        assert refused.value.rule == rule and "MARTIN" not in str(refused.value)
        assert mirror.state().latest == before.latest and len(found(mirror, "mar")) == 3
    adoption = adopt(mirror, bad["MIROIR-RETRECI"], force=True)
    assert (adoption.added, adoption.removed, adoption.changed) == (0, 1, 0)
    assert found(mirror, "cardiologie") == ["jean.martin"] and not (tmp_path / "annuaire" / "staging.db").exists()


def test_doubled_addresses_and_repeated_rows(mirror: SqliteMirror, tmp_path: Path) -> None:
    double = row("jean.martin@medecin.mssante.fr", "MARTIN", "JEAN", departement="38")
    adoption = adopt(mirror, write(tmp_path, 1, [*ROWS, double, ROWS[0]]))
    assert (adoption.rows, adoption.added, adoption.repeated) == (7, 5, 1)
    assert {one.department for one in mirror.find("jean.martin@medecin.mssante.fr").entries} == {"69", "38"}
    again = adopt(mirror, write(tmp_path, 2, ROWS), force=True)
    assert (again.changed, again.removed) == (1, 0) and found(mirror, "martin", department="38") == []
    back = adopt(mirror, write(tmp_path, 3, ROWS[1:]), force=True)
    assert back.removed == 1 and mirror.find("jean.martin@medecin.mssante.fr").left_at is not None
    assert adopt(mirror, write(tmp_path, 4, ROWS)).added == 1
    assert mirror.find("jean.martin@medecin.mssante.fr").left_at is None


def test_an_empty_mirror_knows_nothing_and_a_future_stamp_is_refused(mirror: SqliteMirror, tmp_path: Path) -> None:
    assert mirror.find("a@b.fr").as_of is None and mirror.state().latest is None and found(mirror, "mar") == []
    path = write(tmp_path, 9, ROWS)
    with pytest.raises(InputFault) as refused:
        mirror.adopt(ImportRequest(path, path.name, NOW - timedelta(days=30)))
    assert refused.value.rule == "MIROIR-AVENIR"
    with pytest.raises(InputFault) as nameless:
        mirror.adopt(ImportRequest(path, "x.txt", NOW))
    assert nameless.value.rule == "MIROIR-DATE"


def test_history_is_bounded(tmp_path: Path) -> None:
    mirror = SqliteMirror(tmp_path / "annuaire", MirrorPolicy(shrink_percent=100, keep_changes=2))
    for day, rows in enumerate((ROWS, ROWS[:1], ROWS, ROWS[:2]), 1):
        adopt(mirror, write(tmp_path, day, rows))
    assert len(mirror.changes(None)) == 2


def test_a_reader_of_another_thread_of_time_sees_one_state(mirror: SqliteMirror, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrorfile, "BUSY_SECONDS", 0.2)  # what the import waits for a reader before it leaves its log for next time
    adopt(mirror, write(tmp_path, 1, ROWS))
    with mirror._reading() as old:
        assert old is not None and old.execute("SELECT count(*) FROM entry").fetchone() == (5,)
        adopt(mirror, write(tmp_path, 2, [*ROWS, row("new@x.fr", "NOUVEAU")]))
        assert old.execute("SELECT count(*) FROM entry").fetchone() == (5,)
    assert mirror.state().entries == 6


_KILLED = """
import sys, os, signal
from datetime import UTC, datetime
from pathlib import Path
from mssante.storage.mirror import ImportRequest
from mssante.storage.sql import mirrorimport
from mssante.storage.sql.mirror import SqliteMirror
spot = sys.argv[3]
whole = getattr(mirrorimport._Run, spot)
def then_die(self, *given, **named):
    if spot != "read":
        whole(self, *given, **named)
        self._db.execute("PRAGMA cache_spill=1")
    os.kill(os.getpid(), signal.SIGKILL)
setattr(mirrorimport._Run, spot, then_die)
path = Path(sys.argv[2])
SqliteMirror(Path(sys.argv[1])).adopt(ImportRequest(path, path.name, datetime(2026, 9, 5, tzinfo=UTC)))
"""


@pytest.mark.parametrize("spot", ["read", "_take_out", "_put_in", "_tell"])
def test_a_killed_import_leaves_the_last_good_mirror(mirror: SqliteMirror, tmp_path: Path, spot: str) -> None:
    adopt(mirror, write(tmp_path, 1, ROWS))
    second = write(tmp_path, 2, [*ROWS[1:], *(row(f"n{one}@x.fr", f"NOUVEAU{one}") for one in range(3000))])
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "annuaire"), str(second), spot], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert mirror.state().entries == 5 and found(mirror, "nouveau") == [] and found(mirror, "jean mar") == ["jean.martin"]
    adoption = adopt(mirror, second)
    assert (adoption.added, adoption.removed) == (3000, 1) and len(found(mirror, "nouveau", limit=50)) == 50


def test_two_imports_at_once(mirror: SqliteMirror, tmp_path: Path) -> None:
    import fcntl

    path = write(tmp_path, 1, ROWS)
    (tmp_path / "annuaire").mkdir()
    with (tmp_path / "annuaire" / "import.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OperatorFault) as busy:
            adopt(mirror, path)
    assert busy.value.rule == "MIROIR-OCCUPE" and adopt(mirror, path) is not None


def test_a_file_that_is_no_mirror_is_told(tmp_path: Path) -> None:
    (tmp_path / "mirror.db").write_bytes(b"not a database" * 500)
    with pytest.raises(OperatorFault) as refused:
        SqliteMirror(tmp_path).find("a@b.fr")
    assert refused.value.rule == "MIROIR-FICHIER"
