"""`sieve list|get|put|check|activate|delete|test` and `mailbox vacation`: every command, its faults, its JSON, what stays private."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from support.clispace import Space

BOX = "claire@alpha.mssante.test"
SCRIPT = 'require ["fileinto", "imap4flags"];\nif header :contains "subject" "labo" { addflag "\\\\Flagged"; fileinto "Labo"; }\n'
LETTER = b"From: <a@far.test>\r\nTo: <claire@alpha.mssante.test>\r\nSubject: labo du jour\r\n\r\ncorps\r\n"


@pytest.fixture
def box(space: Space) -> Space:
    """One mailbox, a script and a letter on disk."""
    assert space.run("mailbox", "add", BOX, "--type", "ORG").code == 0
    (space.root / "labo.sieve").write_text(SCRIPT)
    (space.root / "bad.sieve").write_text('require "fileinto";\nif header { fileinto }\n')
    (space.root / "letter.eml").write_bytes(LETTER)
    return space


def scripts(box: Space) -> dict[str, bool]:
    return {one["name"]: one["active"] for one in box.run("sieve", "list", BOX, "--json").json["scripts"]}


def test_a_script_is_put_read_activated_and_removed(box: Space) -> None:
    file = str(box.root / "labo.sieve")
    assert scripts(box) == {}
    assert box.run("sieve", "put", BOX.upper(), "labo", file).code == 0
    assert scripts(box) == {"labo": False}
    assert box.run("sieve", "get", BOX, "labo").out == SCRIPT
    assert box.run("sieve", "activate", BOX, "labo", "--json").json["active"] == "labo"
    assert scripts(box) == {"labo": True} and "oui" in box.run("sieve", "list", BOX).out
    refused = box.run("sieve", "delete", BOX, "labo")
    assert refused.code != 0 and scripts(box) == {"labo": True}, "the active one stays"
    assert box.run("sieve", "put", BOX, "second", file, "--activate", "--json").json["activated"] is True
    assert scripts(box) == {"labo": False, "second": True}
    assert box.run("sieve", "activate", BOX, "-").code == 0 and scripts(box) == {"labo": False, "second": False}
    assert box.run("sieve", "delete", BOX, "labo").code == 0 and scripts(box) == {"second": False}
    told = box.run("journal", "list", "--kind", "filter_changed", "--json")
    assert told.json["events"] and "labo du jour" not in told.out and "addflag" not in told.out


def test_a_wrong_script_is_refused_and_changes_nothing(box: Space) -> None:
    assert box.run("sieve", "put", BOX, "labo", str(box.root / "labo.sieve"), "--activate").code == 0
    refused = box.run("sieve", "put", BOX, "labo", str(box.root / "bad.sieve"))
    assert refused.code != 0 and "SIEVE-" in refused.err and "2" in refused.err, "the line is told"
    assert box.run("sieve", "get", BOX, "labo").out == SCRIPT
    assert box.run("sieve", "check", str(box.root / "bad.sieve")).code != 0
    right = box.run("sieve", "check", str(box.root / "labo.sieve"), "--json")
    assert right.code == 0 and set(right.json["uses"]) >= {"fileinto", "imap4flags"}


def test_what_does_not_exist(box: Space) -> None:
    for words, rule in ((("list", "none@alpha.mssante.test"), "BOITE-INCONNUE"), (("get", BOX, "none"), "SIEVE-"), (("activate", BOX, "none"), "SIEVE-"),
                        (("delete", BOX, "none"), "SIEVE-"), (("put", BOX, "x", str(box.root / "none.sieve")), "none.sieve")):
        outcome = box.run("sieve", *words)
        assert outcome.code != 0 and rule in outcome.err, words


def test_what_would_become_of_a_letter(box: Space) -> None:
    letter, file = str(box.root / "letter.eml"), str(box.root / "labo.sieve")
    assert box.run("sieve", "test", BOX, "-m", letter, "--json").json["actions"] == ["keep INBOX"], "no script yet"
    with_file = box.run("sieve", "test", BOX, "-m", letter, "--script", file, "--json").json
    assert with_file["actions"] == ["fileinto Labo \\Flagged (absent : INBOX)"] and {one["line"] for one in with_file["trace"]} >= {2}
    box.run("sieve", "put", BOX, "labo", file, "--activate")
    shown = box.run("sieve", "test", BOX, "-m", letter)
    assert "-> fileinto Labo" in shown.out and "ligne 2" in shown.out
    (box.root / "letter.eml").write_bytes(LETTER.replace(b"labo du jour", b"autre"))
    assert box.run("sieve", "test", BOX, "-m", letter, "--json").json["actions"] == ["keep INBOX"]
    box.run("sieve", "put", BOX, "away", _written(box, 'require "vacation";\nvacation "Secret de famille";\n'), "--activate")
    told = box.run("sieve", "test", BOX, "-m", letter, "--sender", "a@far.test")
    assert "-> vacation" in told.out and "famille" not in told.out, "never the text of an answer"


def _written(box: Space, text: str) -> str:
    path: Path = box.root / "more.sieve"
    path.write_text(text)
    return str(path)


def test_an_absence_beside_the_scripts(box: Space) -> None:
    box.run("sieve", "put", BOX, "labo", str(box.root / "labo.sieve"), "--activate")
    day = (date.today() + timedelta(days=9)).isoformat()
    told = box.run("mailbox", "vacation", BOX, "--until", day, "--text", "De retour bientot", "--json")
    assert told.code == 0 and told.json["absence"]["until"] > told.json["absence"]["from"]
    listed = box.run("sieve", "list", BOX, "--json").json
    assert listed["absence"] is True and scripts(box) == {"labo": True} and "une absence" in box.run("sieve", "list", BOX).out
    assert "retour" not in box.run("journal", "list", "--json").out
    assert box.run("mailbox", "vacation", BOX, "--off", "--json").json["absence"] is None
    assert box.run("sieve", "list", BOX, "--json").json["absence"] is False
    (box.root / "text").write_bytes("Absente, écrire à l'accueil".encode())
    assert box.run("mailbox", "vacation", BOX, "--until", day, "--file", str(box.root / "text")).code == 0


def test_absences_that_are_refused(box: Space) -> None:
    for words in ((), ("--until", "2090-01-01"), ("--text", "x"), ("--until", "2020-01-01", "--text", "x"), ("--until", "demain", "--text", "x"),
                  ("--until", "9999-12-31", "--text", "x"), ("--from", "2090-02-01", "--until", "2090-01-01", "--text", "x"),
                  ("--until", "2090-01-01", "--text", " "), ("--until", "2090-01-01", "--text", "x" * 100_000),
                  ("--until", "2090-01-01", "--text", "x", "--file", "/dev/null")):
        outcome = box.run("mailbox", "vacation", BOX, *words)
        assert outcome.code != 0 and "ABSENCE-" in outcome.err, words
    assert box.run("sieve", "list", BOX, "--json").json["absence"] is False
