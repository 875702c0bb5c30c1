"""Folder names from elsewhere to here."""

from __future__ import annotations

import pytest

from mssante.model.mailbox import Folder
from mssante.services.imap.folders import check_name
from mssante.services.importing_names import map_folders, safe_name
from mssante.services.importing_source import SourceFolder

HERE = [Folder(rank, 1, name, use, 1, 1, 1, 0, 0, 0, 0, True) for rank, (name, use) in enumerate(
    [("INBOX", ""), ("Drafts", "\\Drafts"), ("Sent", "\\Sent"), ("Trash", "\\Trash"), ("Junk", "\\Junk"), ("Archive", "\\Archive")])]


def mapped(*names: str, uses: dict[str, str] | None = None) -> dict[str, str]:
    """Map names given with `/`."""
    sources = [SourceFolder(name, tuple(name.split("/")), (uses or {}).get(name, "")) for name in names]
    return map_folders(sources, HERE)


def test_inbox_and_uses() -> None:
    assert mapped("inbox", "Éléments envoyés", "Corbeille", "Spam", "Brouillons", "Archives", "Autre") == {
        "inbox": "INBOX", "Éléments envoyés": "Sent", "Corbeille": "Trash", "Spam": "Junk", "Brouillons": "Drafts",
        "Archives": "Archive", "Autre": "Autre"}


def test_what_the_source_says_goes_before_names() -> None:
    assert mapped("Sent", "Post", uses={"Post": "\\sent"}) == {"Post": "Sent", "Sent": "Sent-2"}


def test_folders_below_follow() -> None:
    assert mapped("Corbeille", "Corbeille/2024", "INBOX", "INBOX/Vu", "A/B/C") == {
        "Corbeille": "Trash", "Corbeille/2024": "Trash/2024", "INBOX": "INBOX", "INBOX/Vu": "INBOX/Vu", "A/B/C": "A/B/C"}


def test_two_folders_never_become_one() -> None:
    names = ("a*b", "a%b", "A_B", "a_b")
    found = mapped(*names)
    assert len({name.casefold() for name in found.values()}) == 4
    assert found == mapped(*reversed(names))


@pytest.mark.parametrize("levels", [(), ("",), ("..",), (".", "x"), ("a/b",), ("x" * 400,), ("a",) * 30, ("\x00\n",), ("*%",),
                                    ("inbox", "b"), ("\u202e",), (" ",)])
def test_every_name_may_be_created(levels: tuple[str, ...]) -> None:
    check_name(safe_name(levels))
    assert safe_name(levels) == safe_name(levels)
