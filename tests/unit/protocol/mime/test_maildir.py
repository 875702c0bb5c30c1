"""Names of Maildir files and folders, and line ends of files."""

from __future__ import annotations

import pytest

from mssante.model.message import Flags
from mssante.protocol.mime.lineends import LineEnds
from mssante.protocol.mime.maildir import decoded, folder_levels, read_keywords, read_name


@pytest.mark.parametrize(("name", "unique", "flags", "forwarded", "letters"), [
    ("1700000000.M1P2.host", "1700000000.M1P2.host", 0, False, ""),
    ("1.a.h:2,", "1.a.h", 0, False, ""),
    ("1.a.h,S=12,W=14:2,FRS", "1.a.h", Flags.FLAGGED | Flags.ANSWERED | Flags.SEEN, False, ""),
    ("1.a.h:2,DPTab", "1.a.h", Flags.DRAFT | Flags.DELETED, True, "ab"),
    ("1.a.h;2,S", "1.a.h", Flags.SEEN, False, ""), ("1.a.h!2,S", "1.a.h", Flags.SEEN, False, ""),
    ("1.a,1.h:2,S", "1.a,1.h", Flags.SEEN, False, ""), ("1.a.h:1,S", "1.a.h:1,S", 0, False, ""), ("", "", 0, False, "")])
def test_names_of_files(name: str, unique: str, flags: int, forwarded: bool, letters: str) -> None:
    read = read_name(name)
    assert (read.unique, read.flags, read.forwarded, read.letters) == (unique, flags, forwarded, letters)


def test_keywords_of_dovecot() -> None:
    assert read_keywords(b"0 $Label1\n1 urgent\n25 z\n26 no\nx y\n2 bad word\n3 (bad\n\xff\n") == {
        "a": "$Label1", "b": "urgent", "z": "z"}


@pytest.mark.parametrize(("name", "levels"), [
    (".Sent", ("Sent",)), (".Sent.2024", ("Sent", "2024")), (".&AMk-l&AOk-ments", ("Éléments",)), (".R&D", ("R&D",)),
    (".Re\udcffu", ("Re?u",)), (".Été", ("Été",))])
def test_names_of_folders(name: str, levels: tuple[str, ...]) -> None:
    assert folder_levels(name) == levels


def test_a_broken_coded_name_stays_as_it_is() -> None:
    assert decoded("&AMk") == "&AMk"


@pytest.mark.parametrize("piece", [1, 2, 3, 100])
def test_line_ends(piece: int) -> None:
    raw = b"a\nb\r\nc\rd\r\r\n\n\r"
    ends = LineEnds()
    read = b"".join(ends.feed(raw[start:start + piece]) for start in range(0, len(raw), piece)) + ends.close()
    assert read == b"a\r\nb\r\nc\rd\r\r\n\r\n\r"
