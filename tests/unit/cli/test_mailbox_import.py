"""`mailbox import`: Maildir and mbox by the command line, its plan, its report, its faults and exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from support.clispace import Space
from support.mailfiles import make_maildir, mbox, put, small_letter

from mssante.cli.mailbox_import import PASSWORD_VARIABLE, read_url
from mssante.errors import InputFault

BOX = "claire@alpha.mssante.test"


@pytest.fixture
def box(space: Space) -> Space:
    """One mailbox."""
    assert space.run("mailbox", "add", BOX).code == 0
    return space


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """Three letters, one in a folder of its own."""
    root = tmp_path / "Maildir"
    make_maildir(root)
    put(root, "cur/1.a.h:2,S", small_letter("a"))
    put(root, "new/2.b.h", small_letter("b", 200_000))
    make_maildir(root / ".Projets.2024")
    put(root / ".Projets.2024", "cur/3.c.h:2,F", small_letter("c"))
    return root


def test_a_maildir_comes_whole_and_twice_is_once(box: Space, maildir: Path) -> None:
    plan = box.run("mailbox", "import", BOX, "--maildir", str(maildir), "--dry-run", "--json").json
    assert plan["ok"] and [(one["folder"], one["to_import"]) for one in plan["folders"]] == [("INBOX", 2), ("Projets/2024", 1)]
    done = box.run("mailbox", "import", BOX, "--maildir", str(maildir), "--json")
    assert done.code == 0
    assert [(one["imported"], one["stored"], one["equal"]) for one in done.json["folders"]] == [(2, 2, True), (1, 1, True)]
    assert all(one["source_hash"] == one["stored_hash"] for one in done.json["folders"])
    again = box.run("mailbox", "import", BOX, "--maildir", str(maildir), "--lang", "en")
    assert again.code == 0 and "all is there: counts and SHA-256 equal" in again.out
    assert box.run("journal", "list", "--kind", "imported", "--json").json["events"][2:] != []
    assert box.run("journal", "verify").code == 0


def test_something_left_out_is_code_3(box: Space, maildir: Path, tmp_path: Path) -> None:
    put(maildir, "cur/4.empty.h:2,", b"")
    done = box.run("mailbox", "import", BOX, "--maildir", str(maildir))
    assert done.code == 3
    assert "NON" in done.out and "[IMPORT-VIDE]" in done.out and "[IMPORT-INCOMPLET]" in done.out
    (tmp_path / "notes.txt").write_text("no mail\n")
    lost = box.run("mailbox", "import", BOX, "--mbox", str(tmp_path / "notes.txt"), "--json")
    assert lost.code == 3 and lost.json["notes"][0]["rule"] == "IMPORT-MBOX" and not lost.json["ok"]


def test_folders_may_be_chosen(box: Space, maildir: Path) -> None:
    done = box.run("mailbox", "import", BOX, "--maildir", str(maildir), "--folder", "Projets/*", "--json").json
    assert [one["source"] for one in done["folders"]] == ["Projets/2024"]
    assert box.run("mailbox", "import", BOX, "--maildir", str(maildir), "--folder", "inbox", "--json").json["folders"][0]["messages"] == 2


def test_mbox_with_the_older_quoting(box: Space, tmp_path: Path) -> None:
    (tmp_path / "Archives").write_bytes(mbox(small_letter("x") + b">From a\n"))
    done = box.run("mailbox", "import", BOX, "--mbox", str(tmp_path / "Archives"), "--mbox-format", "mboxo", "--json")
    assert done.code == 0 and done.json["folders"][0]["folder"] == "Archive"


@pytest.mark.parametrize(("words", "code", "text"), [
    (("--maildir", "nowhere"), 1, "[IMPORT-MAILDIR]"), (("--mbox", "nowhere"), 1, "[IMPORT-MBOX]"), ((), 2, "--maildir"),
    (("--maildir", "a", "--mbox", "b"), 2, "--maildir"), (("--imap", "http://u@h"), 1, "[IMPORT-URL]"),
    (("--imap", "imaps://h"), 1, "[IMPORT-URL]"), (("--imap", "imaps://u:secret@h"), 1, "[IMPORT-URL]"),
    (("--imap", "imaps://u@h:99999"), 1, "[IMPORT-URL]"), (("--imap", "imaps://u@h"), 1, "[COMPTE-MOT-DE-PASSE]")])
def test_what_cannot_be_is_told(box: Space, words: tuple[str, ...], code: int, text: str, monkeypatch: pytest.MonkeyPatch,
                                typed: Any) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    typed(b"")
    outcome = box.run("mailbox", "import", BOX, *words)
    assert outcome.code == code and text in outcome.err
    assert "secret" not in outcome.err + outcome.out


def test_an_unknown_mailbox_is_told(box: Space, maildir: Path) -> None:
    assert "[BAL-INCONNUE]" in box.run("mailbox", "import", "x@alpha.mssante.test", "--maildir", str(maildir)).err


def test_without_the_extra_a_remedy_is_given(box: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aioimaplib", None)
    monkeypatch.delitem(sys.modules, "mssante.transport.imap_source", raising=False)
    outcome = box.run("mailbox", "import", BOX, "--imap", "imaps://u@h")
    assert outcome.code == 1 and "[IMPORT-EXTRA]" in outcome.err and "mssante[import]" in outcome.err


def test_a_server_that_is_not_there(box: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "x")
    assert "[IMPORT-IMAP]" in box.run("mailbox", "import", BOX, "--imap", "imaps://u@127.0.0.1:1").err
    assert "[IMPORT-TLS]" in box.run("mailbox", "import", BOX, "--imap", "imaps://u@h", "--anchors", "nowhere").err


@pytest.mark.parametrize(("url", "expected"), [
    ("imaps://u@h", ("u", "h", 993, True)), ("imap://u@h", ("u", "h", 143, False)), ("imaps://a%40b@h:1143/", ("a@b", "h", 1143, True)),
    ("imaps://a@b@h", ("a@b", "h", 993, True)), ("imaps://u@[::1]:9", ("u", "::1", 9, True))])
def test_addresses_of_accounts(url: str, expected: tuple[str, str, int, bool]) -> None:
    assert read_url(url) == expected


@pytest.mark.parametrize("url", ["", "imaps://", "imaps://@h", "imaps://u@", "imaps://u@h/x", "imaps://u@h?x", "imaps://u@h:x", "u@h"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InputFault, match="IMPORT-URL"):
        read_url(url)
