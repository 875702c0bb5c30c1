"""Reads the text extraction of the national directory: a ZIP or its text, in one pass, in bounded memory (F4.6 to F4.11).

- Columns are bound by the names of the header; unknown ones are tolerated, a missing one refuses the file.
- Strict: UTF-8, the number of columns, an address and a type in each row, lengths; the last row must be whole. The first fault
  refuses the file as a whole and tells its row and what kind of value it met, never the row itself.
- A row is handed on packed: the kept cells with `|` between them, the address in lower case. `entry_of` opens one.
- Pure: streams and limits are arguments. Nothing of an archive is written or opened by name. Called by the mirror's import.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import BinaryIO

from mssante.directory.values import DirectoryEntry
from mssante.errors import InputFault
from mssante.lang import say

_STRUCTURE = tuple(f"{name} structure BAL" for name in (
    "Raison Sociale", "Enseigne commerciale", "L2COMPLEMENTLOCALISATION", "L3COMPLEMENTDISTRIBUTION", "L4NUMEROVOIE",
    "L4COMPLEMENTNUMEROVOIE", "NL4TYPEVOIE", "L4LIBELLEVOIE", "L5LIEUDITMENTION", "L6LIGNEACHEMINEMENT", "Code postal",
    "Département", "Pays"))
COLUMNS = (
    "Type de BAL", "Adresse BAL", "Type Identifiant PP", "Identifiant PP", "Identification nationale PP",
    "Type identifiant structure", "Identification Structure", "Service de rattachement", "Civilité d'exercice",
    "Nom d'exercice", "Prénom d'exercice", "Catégorie profession", "Libellé de catégorie profession", "Code Profession",
    "Libellé Profession", "Code savoir-faire", "Libellé savoir-faire", "Dématérialisation", *_STRUCTURE)
MAX_LINE = 16 * 1024
MAX_CELL = 500
MAX_COLUMNS = 200
_CHUNK = 1024 * 1024
_ADDRESS = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{}~-]+)*@"
                      r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{1,62}")
_TYPE = re.compile(r"[A-Z]{2,5}")
_STAMP = re.compile(r"Extraction_Correspondance_MSSante_(\d{12})")
_TOWN = re.compile(r"\d[0-9AB]\d{3}\s+")
_ENCRYPTED = 0x2041  # APPNOTE 6.3.10 §4.4.4, bits 0, 6 and 13


@dataclass(frozen=True, slots=True)
class ExtractionLimits:
    """Octets of the text, what it may be of the compressed octets, rows."""

    text_bytes: int = 1024 * 1024 * 1024
    ratio: int = 100
    rows: int = 5_000_000


def _fault(rule: str, french: str, english: str, *, row: int = 0, detail: str = "") -> InputFault:
    if row:
        french, english = f"{french}, ligne {row}", f"{english}, row {row}"
    return InputFault(say(f"extraction refusée : {french}", f"extraction refused: {english}"), detail=detail,
                      rule=f"EXTRACTION-{rule}", remedy=say(
        "la dernière copie bonne reste en service ; téléchargez le fichier à nouveau, et s'il est publié ainsi, prévenez l'ANS",
        "the last good copy stays in force; download the file again, and if it is published so, tell ANS"))


def stamp_of(name: str) -> datetime | None:
    """Give the stamp that a file name or a Content-Disposition carries (F4.7), read as UTC; None without one."""
    found = _STAMP.search(name[:1000])
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], "%Y%m%d%H%M").replace(tzinfo=UTC)
    except ValueError:
        return None


class Extraction:
    """One file being read. name: of the text inside the archive, empty for a text; done: octets of text read so far."""

    def __init__(self, stream: BinaryIO, limits: ExtractionLimits | None = None) -> None:
        """stream: seekable, at its start. Raises InputFault (`EXTRACTION-ZIP`, `EXTRACTION-TAILLE`)."""
        self._limits = limits or ExtractionLimits()
        self._archive: zipfile.ZipFile | None = None
        self._stream = stream
        self.name = ""
        self.total = 0
        self.done = 0
        self.count = 0
        head = stream.read(4)
        stream.seek(0)
        if head[:2] == b"PK":
            self._open_archive(stream)

    def _open_archive(self, stream: BinaryIO) -> None:
        try:
            self._archive = zipfile.ZipFile(stream)
            listed = self._archive.infolist()
        except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, UnicodeDecodeError, OSError) as exc:
            raise _fault("ZIP", "l'archive ne se lit pas", "the archive cannot be read", detail=type(exc).__name__) from exc
        if len(listed) != 1:
            raise _fault("ZIP", "l'archive doit tenir un seul fichier", "the archive must hold one file", detail=f"{len(listed)}")
        one = listed[0]
        name = one.filename  # empty when it begins with a NUL: zipfile cuts there, and `is_dir` would raise
        if not 0 < len(name) <= 255 or any(word in name for word in ("/", "\\", "..")):
            raise _fault("ZIP", "nom de fichier interdit dans l'archive", "forbidden file name in the archive")
        if one.flag_bits & _ENCRYPTED or one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _fault("ZIP", "archive chiffrée ou d'une autre compression", "archive encrypted or compressed otherwise")
        ratio = one.file_size / max(one.compress_size, 1)
        if one.file_size > self._limits.text_bytes or (one.file_size > 65536 and ratio > self._limits.ratio):
            raise _fault("TAILLE", "texte trop gros pour l'archive", "text too large for the archive",
                         detail=f"{one.file_size} octets, ratio {ratio:.0f}")
        self.name, self.total = one.filename, one.file_size

    def rows(self) -> Iterator[str]:
        """Give each row, packed. Raises InputFault (`EXTRACTION-…`), at the first fault."""
        if self._archive is None:
            yield from self._rows(self._stream, whole=False)
            return
        try:
            with self._archive.open(self._archive.infolist()[0]) as inner:
                yield from self._rows(inner, whole=True)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, OSError) as exc:
            raise _fault("ZIP", "archive tronquée ou altérée", "archive cut or altered", row=self.count + 1,
                         detail=type(exc).__name__) from exc

    def _rows(self, stream: object, *, whole: bool) -> Iterator[str]:
        """whole: a checksum proves the end, so that the last row needs no end of line."""
        lines = self._lines(stream, whole=whole)
        header = next(lines, None)
        if header is None:
            raise _fault("VIDE", "fichier vide", "empty file")
        binding = _Binding.of(self._text(header, 1).removeprefix("\ufeff"))
        for number, line in enumerate(lines, 2):
            yield binding.pack(self._text(line, number), number)
            self.count = number - 1
            if self.count > self._limits.rows:
                raise _fault("TAILLE", "trop de lignes", "too many rows", row=number, detail=f"> {self._limits.rows}")

    def _lines(self, stream: object, *, whole: bool) -> Iterator[bytes]:
        rest, number = b"", 0
        while chunk := stream.read(_CHUNK):  # type: ignore[attr-defined]
            self.done += len(chunk)
            if self.done > self._limits.text_bytes:
                raise _fault("TAILLE", "texte trop gros", "text too large", detail=f"> {self._limits.text_bytes} octets")
            *full, rest = (rest + chunk).split(b"\n")
            number += len(full)
            yield from full
            if len(rest) > MAX_LINE:
                raise _fault("LONGUEUR", "ligne trop longue", "row too long", row=number + 1, detail=f"> {MAX_LINE} octets")
        if rest and not whole:
            raise _fault("TRONQUEE", "la dernière ligne n'est pas finie", "the last row is not finished", row=number + 1)
        if rest:
            yield rest

    @staticmethod
    def _text(line: bytes, number: int) -> str:
        if len(line) > MAX_LINE:
            raise _fault("LONGUEUR", "ligne trop longue", "row too long", row=number, detail=f"> {MAX_LINE} octets")
        try:
            text = line.decode()
        except UnicodeDecodeError as exc:
            raise _fault("UTF8", "le texte n'est pas de l'UTF-8", "the text is not UTF-8", row=number,
                         detail=f"octet {exc.start + 1}") from exc
        text = text.removesuffix("\r")
        return text if text.isprintable() else "".join(char if char.isprintable() or char == "\ufeff" else " " for char in text)


@dataclass(frozen=True, slots=True)
class _Binding:
    """Where the kept columns stand in the rows of one file."""

    width: int
    pick: Callable[[list[str]], tuple[str, ...]]

    @classmethod
    def of(cls, header: str) -> _Binding:
        names = [name.strip() for name in header.split("|")]
        if len(names) > MAX_COLUMNS:
            raise _fault("COLONNES", "trop de colonnes", "too many columns", row=1, detail=f"> {MAX_COLUMNS}")
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise _fault("COLONNES", f"colonne absente : {missing[0]}", f"missing column: {missing[0]}", row=1,
                         detail=f"{len(missing)} / {len(COLUMNS)}")
        twice = [name for name in COLUMNS if names.count(name) > 1]
        if twice:
            raise _fault("COLONNES", f"colonne en double : {twice[0]}", f"column given twice: {twice[0]}", row=1)
        first, *others = (names.index(name) for name in COLUMNS)
        return cls(len(names), itemgetter(first, *others))

    def pack(self, text: str, number: int) -> str:
        cells = text.split("|")
        if len(cells) != self.width:
            raise _fault("COLONNES", "nombre de colonnes faux", "wrong number of columns", row=number,
                         detail=f"{len(cells)} / {self.width}")
        kept = list(self.pick(cells))
        kept[1] = address = kept[1].strip().lower()
        if len(address) > 254 or not _ADDRESS.fullmatch(address):
            raise _fault("ADRESSE", "adresse mal formée", "malformed address", row=number, detail=f"{len(address)} caractères")
        if not _TYPE.fullmatch(kept[0]):
            raise _fault("TYPE", "type de BAL mal formé", "malformed mailbox type", row=number)
        if len(text) > MAX_CELL:
            for name, cell in zip(COLUMNS, kept, strict=True):
                if len(cell) > MAX_CELL:
                    raise _fault("LONGUEUR", f"valeur trop longue ({name})", f"value too long ({name})", row=number,
                                 detail=f"{len(cell)} > {MAX_CELL}")
        return "|".join(kept)


def entry_of(packed: str) -> DirectoryEntry:
    """Open a packed row."""
    (kind, address, person_type, person, national, _, structure, service, title, family, given, category, _, profession_code,
     profession, specialty_code, specialty, paperless, legal, trade, line2, line3, number, more, street_type, street, line5,
     line6, postcode, department, country) = (cell.strip() for cell in packed.split("|"))
    street = " ".join(part for part in (number, more, street_type, street) if part)
    return DirectoryEntry(
        address=address, type=kind, holder_id=national or (person_type + person if person else ""), structure_id=structure,
        title=title, family_name=family, given_name=given, category=category, profession_code=profession_code,
        profession=profession, specialty_code=specialty_code, specialty=specialty, structure_name=legal, trade_name=trade,
        service=service, lines=tuple(line for line in (line2, line3, street, line5) if line), postcode=postcode,
        town=_TOWN.sub("", line6, count=1), department=department, country=country,
        dematerialised={"O": True, "N": False}.get(paperless))
