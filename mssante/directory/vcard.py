"""Entries of the directory as vCards, 3.0 (RFC 2426) and 4.0 (RFC 6350). Pure.

- All rows of one address make one card: one e-mail address, one name, every structure, profession and place that they tell.
- The UID depends on the address alone: a card keeps it whatever the directory tells later. The tag changes when, and only
  when, what is told changes: no clock, no counter.
- Values lose control characters, are bounded (500 characters), escaped and folded at 75 octets, never inside a character.
Called by `mssante.services.cardbooks`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mssante.directory.values import DirectoryEntry
from mssante.protocol.webdav.matching import Value

MAX_VALUE = 500
MAX_OCTETS = 64 * 1024  # of the values of a card: rows are few, yet nothing bounds them elsewhere
MAX_ROWS = 40
FOLD = 75
PRODUCT = "-//mssante//annuaire//FR"
KNOWN = ("VERSION", "PRODID", "UID", "FN", "N", "EMAIL", "ORG", "TITLE", "ROLE", "ADR", "CATEGORIES", "KIND", "X-ABSHOWAS")
SEARCHED = ("FN", "N", "EMAIL", "ORG", "TITLE", "ROLE", "ADR")
_NAMESPACE = uuid.UUID("6f9619ff-8b86-5f11-b42d-00c04fc964ff")
_KINDS = {"ORG": "org", "APP": "application"}


@dataclass(frozen=True, slots=True)
class Line:
    """One property. parts: components, each with its values; parameters: upper-case names; version: the only one that has it,
    empty for both."""

    name: str
    parts: tuple[tuple[str, ...], ...]
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    version: str = ""

    @property
    def text(self) -> str:
        """The value as one compares it."""
        return ";".join(",".join(values) for values in self.parts)


def escaped(value: str) -> str:
    """Give a text value as it stands in a card (RFC 2426 §5, RFC 6350 §3.4)."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace(",", "\\,").replace(";", "\\;")


def clean(value: str) -> str:
    """Give a value without what no card may hold; blanks made one."""
    shown = "".join(char if char.isprintable() else " " for char in value[:MAX_VALUE * 4])
    return " ".join(shown.encode("utf-8", "ignore").decode().split())[:MAX_VALUE]


def folded(line: str) -> str:
    """Give a line in pieces of 75 octets at most, the line end included at the end (RFC 6350 §3.2)."""
    if len(line) <= FOLD and line.isascii():
        return line + "\r\n"
    pieces, octets, room = [], line.encode(), FOLD
    while len(octets) > room:
        end = room
        while octets[end] & 0xC0 == 0x80:  # inside a character
            end -= 1
        pieces.append(octets[:end])
        octets, room = octets[end:], FOLD - 1  # the blank that begins the next one counts
    return b"\r\n ".join((*pieces, octets)).decode() + "\r\n"


def name_of(address: str) -> str:
    """Give the stable UID of the card of an address (RFC 6350 §6.7.6)."""
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, 'annuaire ' + address)}"


@dataclass(frozen=True)
class Card:
    """The card of one address. called: further names by which it is found, of people: without title, family name first."""

    address: str
    lines: tuple[Line, ...]
    called: tuple[str, ...] = ()

    @cached_property
    def tag(self) -> str:
        """What changes with what the card tells; no quotes."""
        return hashlib.sha256(self.vcard().encode()).hexdigest()[:24]

    @cached_property
    def properties(self) -> Mapping[str, Sequence[Value]]:
        """What filters look at."""
        found: dict[str, list[Value]] = {}
        for line in self.lines:
            found.setdefault(line.name, []).append(Value(line.text, dict(line.parameters)))
        found["FN"] += [Value(one, {}) for one in self.called]
        return found

    def vcard(self, version: str = "3.0", names: Sequence[tuple[str, bool]] = ()) -> str:
        """Give the card. version: 3.0 or 4.0; names: upper-case properties, each with whether its value is left out (RFC 6352
        §10.4.2), none for all; VERSION always stands first."""
        wanted = dict(names)
        rows = ["BEGIN:VCARD\r\n", f"VERSION:{version}\r\n"]
        for line in self.lines:
            if line.version not in ("", version) or (wanted and line.name not in wanted):
                continue
            value = "" if wanted.get(line.name) else ";".join(",".join(map(escaped, values)) for values in line.parts)
            parameters = "".join(f";{name}={','.join(values)}" for name, values in line.parameters)
            rows.append(folded(f"{line.name}{parameters}:{value}"))
        return "".join((*rows, "END:VCARD\r\n"))


def _order(entry: DirectoryEntry) -> tuple[object, ...]:
    return (entry.rank or 1 << 30, entry.structure_name, entry.trade_name, entry.service, entry.description, entry.postcode,
            entry.lines, entry.profession, entry.specialty, entry.family_name, entry.given_name, entry.structure_id)


def card_of(rows: Sequence[DirectoryEntry]) -> Card:
    """Give the card of the rows of one address, at least one. The order of the rows does not matter."""
    held = sorted((_cleaned(row) for row in rows), key=_order)[:MAX_ROWS]
    first = next((row for row in held if row.family_name), held[0])
    person = bool(first.family_name or first.given_name)
    lines = [_line("PRODID", PRODUCT), _line("UID", name_of(first.address)), _line("FN", first.name),
             Line("N", tuple((one,) for one in (
                 first.family_name if person else first.name, first.given_name, "", first.title, ""))),
             Line("EMAIL", ((first.address,),), (("TYPE", ("INTERNET",)),), "3.0"),
             Line("EMAIL", ((first.address,),), (("TYPE", ("work",)),), "4.0")]
    for row in held:
        structure = row.trade_name or row.structure_name
        if structure:
            lines.append(Line("ORG", tuple((one,) for one in (structure, row.service) if one)))
        if row.profession:
            lines.append(_line("TITLE", row.profession))
        if row.specialty:
            lines.append(_line("ROLE", row.specialty))
        if row.town or row.postcode:
            lines.append(Line("ADR", (("",), ("",), row.lines or ("",), (row.town,), ("",), (row.postcode,), (row.country,)),
                              (("TYPE", ("WORK",)),)))
    lines.append(Line("CATEGORIES", (("MSSanté", *dict.fromkeys(row.type for row in held if row.type)),)))
    kind = _KINDS.get(first.type) if not person else None
    lines.append(Line("KIND", ((kind or "individual",),), version="4.0"))
    if kind:
        lines.append(Line("X-ABSHOWAS", (("COMPANY",),), version="3.0"))
    return Card(first.address, _bounded(lines), _called(held))


def _line(name: str, value: str) -> Line:
    return Line(name, ((value,),))


def _cleaned(entry: DirectoryEntry) -> DirectoryEntry:
    names = ("address", "type", "title", "family_name", "given_name", "profession", "specialty", "structure_name", "trade_name",
             "service", "description", "postcode", "town", "country")
    return replace(entry, **{name: clean(getattr(entry, name)) for name in names},  # type: ignore[arg-type]
                   lines=tuple(one for one in map(clean, entry.lines[:6]) if one))


def _called(rows: Sequence[DirectoryEntry]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for row in rows if row.family_name and row.given_name
                               for name in (f"{row.given_name} {row.family_name}", f"{row.family_name} {row.given_name}")))


def _bounded(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Leave out what is said twice, and places beyond the size of a card."""
    kept, size = [], 0
    for line in dict.fromkeys(lines):
        size += len(line.text.encode())
        if size <= MAX_OCTETS or line.name not in ("ORG", "TITLE", "ROLE", "ADR"):
            kept.append(line)
    return tuple(kept)
