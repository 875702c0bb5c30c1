"""`mssante preflight` on files: verdicts in words and JSON, exit codes, folders, bad arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.handing import cda
from support.ruleset import write_rules
from support.structured_mail import BAD_COUNTRY, archive, broken_hash, structured

from mssante.cli.main import run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANG", "fr_FR.UTF-8")
    files = tmp_path / "lot"
    files.mkdir()
    (files / "bon.xml").write_bytes(cda())
    (files / "courrier.eml").write_bytes(structured("a@a.mssante.fr", "b@a.mssante.fr"))
    (files / "lisez-moi.txt").write_text("rien")
    write_rules(tmp_path / "regles")
    return files


def test_good_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["preflight", str(folder), "--rules", "regles"]) == 0
    out = capsys.readouterr().out
    assert "bon.xml : avertissements (1 document(s), 2 règles jouées)" in out and out.endswith("2 fichier(s), 0 en erreur\n")


def test_bad_files_are_told_and_the_code_is_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mauvais.xml").write_bytes(cda().replace(*BAD_COUNTRY))
    (folder / "archive.zip").write_bytes(broken_hash(archive()))
    assert run(["preflight", str(folder), "--rules", "regles"]) == 3
    out = capsys.readouterr().out
    assert "erreur [SCH-R-PAYS] mauvais.xml l." in out and "erreur [XDM-HASH] IHE_XDM/SUBSET01/DOC0001.XML" in out
    assert run(["--lang", "en", "preflight", str(folder / "mauvais.xml"), "--rules", "regles", "--json"]) == 3
    (told,) = json.loads(capsys.readouterr().out)["files"]
    assert told["verdict"] == "block" and told["remarks"][0]["rule"] == "SCH-R-PAYS" and told["remarks"][0]["line"] > 0


def test_without_rules_it_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["preflight", str(folder / "bon.xml")]) == 0
    assert capsys.readouterr().out.startswith("sans règles")


def test_what_cannot_be_done_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "vide").mkdir()
    for words, rule in (([str(folder.parent / "vide")], "PREFLIGHT-FICHIER"), ([str(folder / "absent.xml")], "SYSTEME"),
                        (["/dev/zero"], "PREFLIGHT-FICHIER"), ([str(folder / "bon.xml"), "--rules", "vide"], "DOC-REGLES")):
        assert run(["preflight", *words]) == 1, words
        said = capsys.readouterr().err
        assert rule in said and said.count("\n") == 1, said
