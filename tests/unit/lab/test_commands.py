"""The command line of the lab: exit codes, sentences, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mssante.lab.commands import app
from mssante.lab.manifest import Lab
from mssante.lang import set_language


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.mark.parametrize("command", ["status", "send", "heal", "down"])
def test_no_lab_is_exit_1_with_the_remedy(command: str, tmp_path: Path) -> None:
    result = run(command, tmp_path / "none")
    assert result.exit_code == 1
    assert "LAB-MISSING" in result.output and "mssante lab up" in result.output
    assert "Traceback" not in result.output


def test_fault_as_json(tmp_path: Path) -> None:
    result = run("status", tmp_path, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False and document["rule"] == "LAB-MISSING"


def test_status_of_a_lab_that_is_down(lab: Lab) -> None:
    result = run("status", lab.folder, "--json")
    assert result.exit_code == 1
    parts = json.loads(result.stdout)["parts"]
    assert [one["part"] for one in parts] == ["infra", "alpha", "beta", "citizen"]
    assert all(one["up"] is False and one["closed"] for one in parts)
    text = run("status", lab.folder)
    assert text.exit_code == 1 and f"imaps=127.0.0.1:{lab.base_port + 104}" in text.stdout


def test_unknown_fault(lab: Lab) -> None:
    result = run("break", lab.folder, "moon-phase")
    assert result.exit_code == 1 and "LAB-FAULT" in result.output and "crl-expired" in result.output


def test_down_twice_is_fine(lab: Lab) -> None:
    assert run("down", lab.folder).exit_code == 0
    assert json.loads(run("down", lab.folder, "--json").stdout) == {"ok": True, "stopped": []}


def test_wrong_usage_is_exit_2() -> None:
    assert run("status").exit_code == 2
    assert run("up", "x", "--accounts", "-1").exit_code == 2
    assert run("nonsense").exit_code == 2


def test_up_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    result = run("up", tmp_path, "--detach")
    assert result.exit_code == 1 and "LAB-FOLDER" in result.output
    assert sorted(one.name for one in tmp_path.iterdir()) == ["thesis.txt"]


@pytest.mark.parametrize(("code", "words"), [("fr", "erreur : pas de laboratoire"), ("en", "error: no lab")])
def test_both_languages(code: str, words: str, tmp_path: Path) -> None:
    set_language(code)
    assert words in run("down", tmp_path).output
