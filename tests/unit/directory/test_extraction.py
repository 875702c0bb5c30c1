"""The extraction read strictly: archives, columns by name, encodings, the row told."""

from __future__ import annotations

import io
import struct
import zipfile
from datetime import UTC, datetime

import pytest

from mssante.directory.closeness import closest_domains, distance, swapped, variants
from mssante.directory.extraction import COLUMNS, Extraction, ExtractionLimits, entry_of, stamp_of
from mssante.directory.words import asked, cut
from mssante.errors import InputFault

HEADER = "|".join(COLUMNS)
CELLS = dict.fromkeys(COLUMNS, "") | {
    "Type de BAL": "PER", "Adresse BAL": "Jean.Test@medecin.mssante.fr", "Type Identifiant PP": "8", "Identifiant PP": "99700000013",
    "Identification nationale PP": "899700000013", "Identification Structure": "1990000010", "Nom d'exercice": "TEST",
    "L4NUMEROVOIE structure BAL": "3", "NL4TYPEVOIE structure BAL": "RUE", "L4LIBELLEVOIE structure BAL": "DES LILAS",
    "L6LIGNEACHEMINEMENT structure BAL": "69003 LYON", "Dématérialisation": "O"}
ROW = "|".join(CELLS.values())


def read(raw: bytes, limits: ExtractionLimits | None = None) -> list[str]:
    return list(Extraction(io.BytesIO(raw), limits).rows())


def text(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in (HEADER, *rows)).encode()


def zipped(*files: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return stream.getvalue()


def test_a_row_becomes_an_entry() -> None:
    entry = entry_of(read(text(ROW))[0])
    assert (entry.address, entry.holder_id, entry.structure_id) == ("jean.test@medecin.mssante.fr", "899700000013", "1990000010")
    assert (entry.town, entry.lines, entry.dematerialised) == ("LYON", ("3 RUE DES LILAS",), True)


def test_columns_are_bound_by_name() -> None:
    names = ["Nouvelle colonne", *reversed(COLUMNS)]
    turned = "|".join(["x", *reversed(CELLS.values())])
    assert read(f"\ufeff{'|'.join(names)}\r\n{turned}\r\n".encode()) == read(text(ROW))
    assert read(zipped(("a.txt", text(ROW)))) == read(text(ROW))
    assert read(zipped(("a.txt", text(ROW)[:-1]))) == read(text(ROW))  # the checksum proves the end


@pytest.mark.parametrize(("raw", "rule", "told"), [
    (b"", "VIDE", ""), (text(ROW)[:-1], "TRONQUEE", "ligne 2"), (text(ROW, ROW)[:-9], "TRONQUEE", "ligne 3"),
    (text(ROW, ROW.replace("TEST", "ZÉRO")).replace("ZÉRO".encode(), b"Z\xe9RO"), "UTF8", "ligne 3"),
    (text(ROW, ROW[:-1]), "COLONNES", "ligne 3"), (text(ROW + "|"), "COLONNES", "ligne 2"),
    (text(ROW).replace(b"Adresse BAL", b"Adresse"), "COLONNES", "Adresse BAL"),
    (text(ROW).replace(b"Service de rattachement", b"Adresse BAL", 1), "COLONNES", ""),
    (text(ROW.replace("@", " ")), "ADRESSE", "ligne 2"), (text(ROW.replace("PER", "per", 1)), "TYPE", "ligne 2"),
    (text(ROW.replace("TEST", "T" * 501)), "LONGUEUR", "Nom d'exercice"), (text("x" * 20000), "LONGUEUR", "ligne 2"),
    (text() + b"x" * 2_000_000, "LONGUEUR", "ligne 2"),
    (zipped(), "ZIP", ""), (zipped(("a", b""), ("b", b"")), "ZIP", ""), (zipped(("../a.txt", text(ROW))), "ZIP", ""),
    (zipped(("Q.txt", text(ROW))).replace(b"Q.txt", b"\0.txt"), "ZIP", "interdit"), (zipped(("sous-dossier/", b"")), "ZIP", "interdit"),
    (zipped(("a.txt", text(*[ROW] * 20000))), "TAILLE", "ratio"), (zipped(("a.txt", text(ROW)))[:-30], "ZIP", ""), (b"PK\x03\x04", "ZIP", "")])
def test_bad_files_are_refused_as_a_whole(raw: bytes, rule: str, told: str) -> None:
    with pytest.raises(InputFault) as refused:
        read(raw)
    assert refused.value.rule == f"EXTRACTION-{rule}" and told in str(refused.value)
    assert "jean.test" not in str(refused.value).lower() and refused.value.remedy


def test_altered_and_encrypted_archives() -> None:
    raw = bytearray(zipped(("a.txt", text(ROW))))
    raw[60] ^= 0xFF
    with pytest.raises(InputFault):
        read(bytes(raw))
    locked = bytearray(zipped(("a.txt", text(ROW))))
    at = locked.index(b"PK\x01\x02") + 8
    locked[at:at + 2] = struct.pack("<H", 1)
    with pytest.raises(InputFault) as refused:
        read(bytes(locked))
    assert refused.value.rule == "EXTRACTION-ZIP"


def test_limits() -> None:
    for limits in (ExtractionLimits(text_bytes=900), ExtractionLimits(rows=1)):
        with pytest.raises(InputFault) as refused:
            read(text(ROW, ROW), limits)
        assert refused.value.rule == "EXTRACTION-TAILLE"


def test_stamps() -> None:
    assert stamp_of('attachment; filename="Extraction_Correspondance_MSSante_202609010730.zip"') == datetime(2026, 9, 1, 7, 30, tzinfo=UTC)
    assert stamp_of("Extraction_Correspondance_MSSante_202613010730.zip") is None and stamp_of("x") is None


def test_words_fold() -> None:
    assert cut("Hélène L'Œuvre-D'Été") == ("helene", "l", "oeuvre", "d", "ete")
    assert asked("Dr MARTIN Pâr") == (("martin", "par"), True)
    assert asked("martin ") == (("martin",), False) and asked("dr") == (("dr",), True) and asked("") == ((), False)


def test_closeness() -> None:
    assert [distance("martin", one, 2) for one in ("martin", "matrin", "martn", "marrtins", "dupond")] == [0, 1, 1, 2, 3]
    assert all(distance("jean", one, 1) <= 1 for one in variants("jean")) and not list(variants("x" * 60))
    assert "martin.jean" in swapped("jean.martin") and swapped("cabinet") == []
    assert closest_domains("medecim.mssante.fr", ["infirmier.mssante.fr", "medecin.mssante.fr"]) == ["medecin.mssante.fr"]
