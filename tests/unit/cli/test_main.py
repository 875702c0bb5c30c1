"""The border of the command line: exit codes, languages, faults told in one text, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.clispace import Space

from mssante.cli import main
from mssante.errors import InputFault

SUBJECTS = ["serve", "check", "trace", "account", "mailbox", "queue", "whitelist", "journal", "lab"]


def test_help_names_every_subject_and_the_exit_codes(space: Space) -> None:
    outcome = space.run("--help", config=False)
    assert outcome.code == 0
    assert all(subject in outcome.out for subject in SUBJECTS)
    assert "130" in outcome.out


@pytest.mark.parametrize("words", [("nope",), ("account", "nope"), ("account", "add"), ("queue", "hold", "--id", "x"),
                                   ("--lang", "de", "check"), ("mailbox", "state", "a@b.c", "nope")])
def test_wrong_usage_is_2(space: Space, words: tuple[str, ...]) -> None:
    outcome = space.run(*words, config=False)
    assert outcome.code == 2
    assert outcome.err and not outcome.out


@pytest.mark.parametrize("place", ["before", "after", "joined"])
def test_lang_may_stand_anywhere(space: Space, place: str) -> None:
    words = {"before": ("--lang", "en", "queue", "list"), "after": ("queue", "list", "--lang", "en"),
             "joined": ("queue", "list", "--lang=en")}[place]
    assert "the queue is empty" in space.run(*words).out


def test_language_follows_the_locale(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "file vide" in space.run("queue", "list").out
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    assert "the queue is empty" in space.run("queue", "list").out


def test_a_broken_configuration_is_told_line_by_line(space: Space) -> None:
    space.change('name = "alpha"', 'nam = "alpha"')
    outcome = space.run("queue", "list", "--json")
    assert outcome.code == 1
    assert "operator.toml : operator.nam" in outcome.err and "vouliez-vous écrire name" in outcome.err
    assert outcome.json["ok"] is False
    assert len(outcome.json["problems"]) == 2


@pytest.mark.parametrize(("raised", "code", "text"), [
    (InputFault("non", rule="R-1", remedy="faites ceci"), 1, "erreur : non -> faites ceci [R-1]"),
    (PermissionError(13, "Permission denied", "cle.pem"), 1, "cle.pem Permission denied"),
    (ZeroDivisionError("secret"), 1, "erreur interne : ZeroDivisionError"),
    (KeyboardInterrupt(), 130, ""),
])
def test_whatever_is_raised_ends_in_one_text(space: Space, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int,
                                             text: str) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr("mssante.cli.queue.administer", fail)
    outcome = space.run("queue", "depth")
    assert outcome.code == code
    assert text in outcome.err
    assert "secret" not in outcome.err


def test_a_fault_in_json_is_one_object(space: Space) -> None:
    outcome = space.run("trace", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--json")
    assert outcome.code == 1
    assert outcome.json["rule"] == "TRACE-INCONNUE"
    assert outcome.json["remedy"]
    assert "[TRACE-INCONNUE]" in outcome.err


def test_the_program_itself(space: Space) -> None:
    done = subprocess.run([sys.executable, "-m", "mssante", "queue", "depth", "--json", "-c", str(space.config)],
                          capture_output=True, text=True, timeout=60, check=False, cwd=Path(main.__file__).parents[2])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["depth"] == {"queued": 0, "held": 0, "failed": 0}


@pytest.mark.parametrize("subject", main.SUBJECTS, ids=lambda one: one.word)
def test_a_subject_alone_is_what_it_is_among_all(space: Space, monkeypatch: pytest.MonkeyPatch, subject: main.Subject) -> None:
    mounted = []
    mount = main.Subject.mount
    monkeypatch.setattr(main.Subject, "mount", lambda one, root: (mounted.append(one.word), mount(one, root)))
    alone = space.run("--lang", "en", subject.word, "--help", config=False)
    assert alone.code == 0 and mounted == [subject.word]
    monkeypatch.setattr(main, "_subject_word", lambda _: "")
    among = space.run("--lang", "en", subject.word, "--help", config=False)
    assert among == alone and len(mounted) == 1 + len(main.SUBJECTS)


@pytest.mark.parametrize("words", [["queue"], ["--lang", "en", "mailbox", "list"], ["--lang=fr", "lab", "status"], ["directory"]])
def test_nobody_waits_for_the_import_of_what_a_command_does_not_use(words: list[str]) -> None:
    script = ("import sys; from mssante.cli.main import application; application(sys.argv[1:])\n"
              "print(sorted({one.partition('.')[0] for one in sys.modules} & {'sqlalchemy', 'aiohttp', 'aiosmtpd', 'saxonche'}))")
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, timeout=60, check=False,
                          cwd=Path(main.__file__).parents[2])
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_serve_refuses_a_broken_configuration_before_anything_else(space: Space) -> None:
    space.change("127.0.0.1:0", "ici")
    outcome = space.run("serve", str(space.config), config=False)
    assert outcome.code == 1
    assert "listen.smtp = 'ici'" in outcome.err
