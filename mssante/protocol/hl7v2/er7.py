"""The text form of HL7 v2 messages, ER7: octets to segments and fields, with limits (HL7 v2 §2.6-2.7).

- Reads what hospital software really writes: segments ended by CR, CR LF, or LF alone where no CR stands; a byte order mark;
  MSH-18 `8859/1`, `8859/15`, `UNICODE UTF-8`, `ASCII` or empty (UTF-8, then the charset of the configuration).
- Refuses what cannot be read without guessing, by a typed fault with code and place: no MSH, delimiters that are not four
  different marks, octets that are not of the charset, UTF-16, segments or fields beyond the limits.
- A value is kept as it stands until asked for: `Segment.text` undoes the escape sequences (§2.7.1), `\\X..\\` in the charset of
  the message, `\\.br\\` as a line end; sequences of layout and unknown ones leave nothing, a lone escape character stays.
- Pure; never logs. Called by values, cisis, writer, services.hl7gateway, services.hl7outbox.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mssante.protocol.hl7v2.faults import Hl7Code, Hl7Fault, Place

CHARSETS = {"": "", "ASCII": "ascii", "8859/1": "iso-8859-1", "8859/15": "iso-8859-15", "UNICODE UTF-8": "utf-8",
            "UTF-8": "utf-8"}  # the last one is not in table 0211 but in the field
_BOM = codecs.BOM_UTF8
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}\Z")
BATCH = frozenset({"FHS", "BHS", "BTS", "FTS"})  # HL7 2.5 §2.10.3
_MARKS = re.compile(r"[!-/:-@\[-`{-~]{4}#?\Z")  # the truncation mark of v2.7 (§2.5.5.2) is read and has no meaning
MAX_LINES_OF_SP = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """message: octets; segments; fields of one segment; repetitions of one field."""

    message: int = 64 << 20
    segments: int = 5_000
    fields: int = 500
    repetitions: int = 1_000


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The five marks of a message (MSH-1, MSH-2)."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @property
    def encoding(self) -> str:
        """Give MSH-2."""
        return f"{self.component}{self.repetition}{self.escape}{self.subcomponent}"


STANDARD = Delimiters()


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. fields[0] is the name, so that fields[n] is field n (MSH included: fields[1] is its separator)."""

    name: str
    fields: tuple[str, ...]
    occurrence: int
    marks: Delimiters
    charset: str

    def raw(self, field: int) -> str:
        """Give a field as it stands, empty when absent."""
        return self.fields[field] if field < len(self.fields) else ""

    def repetitions(self, field: int) -> tuple[str, ...]:
        """Give the repetitions of a field as they stand; none for an empty field."""
        value = self.raw(field)
        return tuple(value.split(self.marks.repetition)) if value else ()

    def text(self, field: int, component: int = 1, sub: int = 1) -> str:
        """Give the text of a component of the first repetition, unescaped; `""` (HL7 null) counts as empty."""
        value = self.raw(field)
        return self.part(value.partition(self.marks.repetition)[0], component, sub)

    def part(self, repetition: str, component: int = 1, sub: int = 1) -> str:
        """Give the text of a component of a repetition, unescaped."""
        pieces = repetition.split(self.marks.component, component)
        piece = pieces[component - 1] if component <= len(pieces) else ""
        subs = piece.split(self.marks.subcomponent, sub)
        value = subs[sub - 1] if sub <= len(subs) else ""
        if value == '""':
            return ""
        return unescape(value, self.marks, self.charset) if self.marks.escape in value else value

    def place(self, field: int = 0, component: int = 0) -> Place:
        """Give the place of a field for a fault."""
        return Place(self.name, self.occurrence, field, component)


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message. charset: Python's name of what it was read with."""

    segments: tuple[Segment, ...]
    marks: Delimiters
    charset: str

    @property
    def header(self) -> Segment:
        """Give MSH."""
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        """Give the first segment of a name, or None."""
        return next((one for one in self.segments if one.name == name), None)

    def all(self, name: str) -> tuple[Segment, ...]:
        """Give the segments of a name, in order."""
        return tuple([one for one in self.segments if one.name == name])

    def groups(self, leader: str) -> Iterator[tuple[Segment, tuple[Segment, ...]]]:
        """Give each segment of a name with those that follow it up to the next one of that name."""
        start = -1
        for index, one in enumerate(self.segments):
            if one.name != leader:
                continue
            if start >= 0:
                yield self.segments[start], self.segments[start + 1:index]
            start = index
        if start >= 0:
            yield self.segments[start], self.segments[start + 1:]


def unescape(text: str, marks: Delimiters = STANDARD, charset: str = "utf-8") -> str:
    """Undo the escape sequences of HL7 v2 §2.7. Raises Hl7Fault (102) for hexadecimal that is not of the charset."""
    pieces = text.split(marks.escape)
    out = [pieces[0]]
    index = 1
    while index < len(pieces):
        closed = index + 1 < len(pieces)
        value = _sequence(pieces[index], marks, charset) if closed else None
        if value is None:  # a lone escape character: it stands for itself
            out.extend([marks.escape, pieces[index]])
            index += 1
            continue
        out.extend([value, pieces[index + 1]])
        index += 2
    return "".join(out)


def _sequence(body: str, marks: Delimiters, charset: str) -> str | None:
    """Give what `\\body\\` stands for, or None when it is no sequence."""
    simple = {"F": marks.field, "S": marks.component, "T": marks.subcomponent, "R": marks.repetition, "E": marks.escape, "P": "#"}
    if body in simple:
        return simple[body]
    if body[:1] == "X":
        return _hexadecimal(body[1:], charset)
    if body == ".br":
        return "\n"
    if body.startswith(".sp"):
        count = body[3:].strip().lstrip("+")
        return "\n" * min(int(count), MAX_LINES_OF_SP) if count.isascii() and count.isdigit() and len(count) < 4 else "\n"
    if body in ("H", "N") or re.fullmatch(r"\.[a-z]{2}\s*[+-]?\d{0,3}|[CMZ][0-9A-Za-z]{0,32}", body):
        return ""  # highlighting, layout, other charsets, local ones: nothing that a reader needs
    return None


def _hexadecimal(digits: str, charset: str) -> str | None:
    if not re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", digits):
        return None
    try:
        return bytes.fromhex(digits).decode(charset)
    except UnicodeDecodeError as fault:
        raise Hl7Fault(Hl7Code.DATA_TYPE, "octets hexadecimaux hors du jeu de caracteres du message", rule="HL7-ECHAPPEMENT",
                       remedy="encoder dans le jeu de MSH-18") from fault


def escape(text: str, marks: Delimiters = STANDARD) -> str:
    """Escape a text for a component (§2.7.1); a line end becomes `\\.br\\`, other control characters become spaces."""
    mark = marks.escape
    table = {marks.escape: f"{mark}E{mark}", marks.field: f"{mark}F{mark}", marks.component: f"{mark}S{mark}",
             marks.subcomponent: f"{mark}T{mark}", marks.repetition: f"{mark}R{mark}", "\n": f"{mark}.br{mark}"}
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join([table.get(char) or (char if char >= " " and char != "\x7f" else " ") for char in plain])


def parse(content: bytes, limits: Limits, *, default_charset: str = "utf-8") -> Message:
    """Read a message. Raises Hl7Fault: see the module."""
    if len(content) > limits.message:
        raise Hl7Fault(Hl7Code.OTHER, f"message de plus de {limits.message} octets", rule="HL7-TAILLE",
                       remedy="envoyer moins de documents a la fois")
    content = content.removeprefix(_BOM)
    marks = _marks(content)
    charset = _charset(content, marks, default_charset)
    try:
        text = content.decode(charset)
    except UnicodeDecodeError as fault:
        raise Hl7Fault(Hl7Code.DATA_TYPE, f"octet {fault.start} hors du jeu de caracteres annonce en MSH-18", rule="HL7-CHARSET",
                       place=Place("MSH", 1, 18), remedy="accorder MSH-18 et l'encodage reel") from fault
    reading = _Reading(marks, charset, limits)
    segments = [_segment(line, number, reading) for number, line in enumerate(_lines(text, limits), 1)]
    return Message(tuple(segments), marks, charset)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A message being read. seen: how many segments of each name."""

    marks: Delimiters
    charset: str
    limits: Limits
    seen: dict[str, int] = field(default_factory=dict)


def _lines(text: str, limits: Limits) -> list[str]:
    """Cut at CR (LF after it forgiven), or at LF when no CR stands in the message."""
    mark = "\r" if "\r" in text.rstrip("\r\n") or "\n" not in text else "\n"
    if text.count(mark) > 2 * limits.segments:
        raise _too_many(limits)
    lines = [line for piece in text.split(mark) if (line := piece.strip("\n") if mark == "\r" else piece.strip("\r"))]
    if len(lines) > limits.segments:
        raise _too_many(limits)
    return lines


def _too_many(limits: Limits) -> Hl7Fault:
    return Hl7Fault(Hl7Code.CARDINALITY, f"plus de {limits.segments} segments", rule="HL7-TAILLE", remedy="decouper l'envoi")


def _batch(place: Place) -> Hl7Fault:
    return Hl7Fault(Hl7Code.SEGMENT_SEQUENCE, "lot de messages (FHS, BHS)", rule="HL7-LOT", place=place,
                    remedy="un message par trame, sans FHS, BHS, BTS ni FTS : les volets n'ont pas de lot")


def _marks(content: bytes) -> Delimiters:
    if content[:2] in (codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE) or content[:2] == b"M\0" or content[:2] == b"\0M":
        raise Hl7Fault(Hl7Code.DATA_TYPE, "UTF-16 n'est pas pris", rule="HL7-CHARSET", place=Place("MSH", 1, 18),
                       remedy="UNICODE UTF-8 ou 8859/15")
    if content[:3].decode("latin-1") in BATCH:
        raise _batch(Place(content[:3].decode("latin-1"), 1))
    if content[:3] != b"MSH":
        raise Hl7Fault(Hl7Code.SEGMENT_SEQUENCE, "le message ne commence pas par MSH", rule="HL7-ENTETE",
                       remedy="un message a la fois")
    head = content[3:12].decode("latin-1")
    field = head[:1]
    encoding = head[1:].partition(field)[0] if field else ""
    marks = field + encoding[:4]
    if not _MARKS.match(encoding) or len(set(marks)) != 5 or not re.match(r"[!-/:-@\[-`{-~]", field):
        raise Hl7Fault(Hl7Code.DATA_TYPE, "delimiteurs MSH-1 et MSH-2 illisibles", rule="HL7-DELIMITEURS",
                       place=Place("MSH", 1, 2), remedy="cinq marques differentes, d'ordinaire |^~\\&")
    return Delimiters(field, *encoding[:4])


def _charset(content: bytes, marks: Delimiters, default: str) -> str:
    """Read MSH-18 before decoding: the header itself is ASCII in every charset taken."""
    mark = b"\r" if b"\r" in content.rstrip(b"\r\n") or b"\n" not in content else b"\n"  # as `_lines` cuts
    fields = content.partition(mark)[0].split(marks.field.encode("ascii"), 18)
    value = fields[17] if len(fields) > 17 else b""
    name = value.split(marks.repetition.encode("ascii"))[0].decode("ascii", "replace").strip().upper()
    charset = CHARSETS.get(name)
    if charset is None:
        raise Hl7Fault(Hl7Code.TABLE_VALUE, "jeu de caracteres inconnu", rule="HL7-CHARSET", place=Place("MSH", 1, 18),
                       remedy="UNICODE UTF-8, 8859/15 ou 8859/1")
    if charset:
        return charset
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return default
    return "utf-8"


def _segment(line: str, number: int, reading: _Reading) -> Segment:
    name, marks, limits, seen = line[:3], reading.marks, reading.limits, reading.seen
    if not _NAME.match(name) or (len(line) > 3 and line[3] != marks.field):
        raise Hl7Fault(Hl7Code.SEGMENT_SEQUENCE, f"la ligne {number} n'est pas un segment", rule="HL7-SEGMENT",
                       remedy="finir chaque segment par CR, echapper les fins de ligne par \\.br\\")
    if name in BATCH:
        raise _batch(Place(name, 1))
    seen[name] = occurrence = seen.get(name, 0) + 1
    if line.count(marks.field) > limits.fields:
        raise Hl7Fault(Hl7Code.CARDINALITY, f"plus de {limits.fields} champs", rule="HL7-TAILLE", place=Place(name, occurrence))
    fields = line.split(marks.field)
    if name == "MSH":
        if number > 1:
            raise Hl7Fault(Hl7Code.SEGMENT_SEQUENCE, "plusieurs MSH dans un message", rule="HL7-SEGMENT",
                           place=Place(name, occurrence), remedy="un message par trame")
        fields.insert(1, marks.field)
    for index, value in enumerate(fields):
        if index != 2 and value.count(marks.repetition) >= limits.repetitions:
            raise Hl7Fault(Hl7Code.CARDINALITY, f"plus de {limits.repetitions} repetitions", rule="HL7-TAILLE",
                           place=Place(name, occurrence, index))
    return Segment(name, tuple(fields), occurrence, marks, reading.charset)
