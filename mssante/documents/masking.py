"""Who may be sent a document, by its masking: the matrix of the CI-SIS volet (spec §8.4), and the guard derived from documents.

- The matrix is a table: what stands in none of its rows is an error (`MASQUAGE-COMBINAISON`), never a guess.
- The guard reads what documents say of themselves: the confidentiality codes of XDM metadata and of the CDA. A document masked to
  professionals leaves toward citizens only; one invisible to the patient leaves toward professionals only.
- A document is found wherever it stands: loose, in an archive, announced or not, in a plain ZIP and in an archive inside that.
- Pure and bounded like the archive reader: seconds of work for the largest archive, called in an executor. What cannot be read
  says nothing, and is told: a masking may stand in it (`Departing.hidden`). What comes out holds the patient's identity: compare
  it, never log it.
- Not looked into: what its author encrypted, files inside a PDF or an office document, what stands compressed in a container
  other than ZIP.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mssante.documents.beginnings import Kind, kind_of, may_hide_cda, trimmed
from mssante.documents.cda import CdaHeader, read_header
from mssante.documents.ins import INS_OIDS
from mssante.documents.mailfiles import ARCHIVE_NAME, DOCUMENTS, Reading, mail_files
from mssante.documents.xdm import XdmDocument, unpack
from mssante.documents.zippeek import holds_document, names_documents
from mssante.errors import InputFault
from mssante.lang import say

MASKED, INVISIBLE, REPRESENTATIVES = "MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"
CODES = frozenset({MASKED, INVISIBLE, REPRESENTATIVES})
READING = Reading(DOCUMENTS | {Kind.CONTAINER, Kind.CLOSED}, embedded=True, signed=True)
MAX_DEPTH = 2  # archives inside archives
MAX_UNPACKED = 200 * 1024 * 1024  # octets of all archives: they may stand inside one another
_MAIL = (".eml", ".p7m")
_SIGNED = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: binary\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Sending:
    """The flags of the volet for one document. secret_connection, to_dmp: CONNEXION_SECRETE, DESTDMP."""

    masked: bool
    invisible: bool
    representatives: bool
    to_professionals: bool
    to_citizens: bool
    secret_connection: bool = False
    to_dmp: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the matrix; None where the flag may be either. only_mss: no secret connection, nothing to the DMP."""

    masked: bool | None
    invisible: bool
    representatives: bool | None
    professionals: bool
    citizens: bool
    only_mss: bool = False


MATRIX = (  # spec §8.4, `regles-gestion-mssante`
    _Row(masked=False, invisible=False, representatives=False, professionals=True, citizens=True),
    _Row(masked=False, invisible=True, representatives=False, professionals=True, citizens=False),
    _Row(masked=None, invisible=False, representatives=None, professionals=False, citizens=True, only_mss=True),
)


def _fits(row: _Row, flags: Sending) -> bool:
    return (row.masked in (None, flags.masked) and row.invisible == flags.invisible
            and row.representatives in (None, flags.representatives)
            and (row.professionals or not flags.to_professionals) and (row.citizens or not flags.to_citizens)
            and (not row.only_mss or not (flags.secret_connection or flags.to_dmp)))


def check_sending(flags: Sending) -> None:
    """Check the flags of one document against the matrix (spec §8.4). Raises InputFault `MASQUAGE-COMBINAISON`."""
    if not (flags.to_professionals or flags.to_citizens) or not any(_fits(row, flags) for row in MATRIX):
        held = ((MASKED, flags.masked), (INVISIBLE, flags.invisible), (REPRESENTATIVES, flags.representatives))
        names = [name for name, on in held if on]
        toward = [name for name, on in (("DESTMSSANTEPS", flags.to_professionals), ("DESTMSSANTEPAT", flags.to_citizens)) if on]
        raise InputFault(say("cette combinaison de masquage et de destinataires n'est pas admise",
                             "this combination of masking and recipients is not allowed"), rule="MASQUAGE-COMBINAISON",
                         detail=" ".join((*names, "->", *toward)), remedy="CI-SIS, regles-gestion-mssante")


@dataclass(frozen=True, slots=True)
class Reach:
    """Toward whom a document may leave."""

    professionals: bool
    citizens: bool


def reach(codes: Iterable[str]) -> Reach:
    """Give toward whom a document with these masking codes may leave by MSSanté. Raises InputFault `MASQUAGE-COMBINAISON` for
    codes that no row of the matrix holds together."""
    held = CODES.intersection(codes)
    flags = {"masked": MASKED in held, "invisible": INVISIBLE in held, "representatives": REPRESENTATIVES in held}
    ways = [any(_fits(row, Sending(**flags, to_professionals=to_ps, to_citizens=not to_ps)) for row in MATRIX)
            for to_ps in (True, False)]
    if not any(ways):
        raise InputFault(say("ces masquages ne vont pas ensemble", "these maskings do not go together"),
                         rule="MASQUAGE-COMBINAISON", detail=" ".join(sorted(held)), remedy="CI-SIS, regles-gestion-mssante")
    return Reach(*ways)


@dataclass(frozen=True, slots=True)
class Departing:
    """What a message carries. masking: codes of each document that has some; matricules: of its patients, upper-case; documents:
    how many were read; unreadable: files that could not be; hidden: those among them that are structured documents by their look,
    so that a masking may stand in them unread."""

    masking: tuple[frozenset[str], ...] = ()
    matricules: frozenset[str] = frozenset()
    documents: int = 0
    unreadable: int = 0
    hidden: int = 0


def departing(message: bytes) -> Departing:
    """Read what the documents attached to a whole message say of their masking and their patients; never raises."""
    tally = _Tally()
    tally.message(message)
    return Departing(tuple(tally.masking), frozenset(tally.matricules), tally.documents, tally.unreadable, tally.hidden)


@dataclass(slots=True)
class _Tally:
    """What a reading gathers; see `Departing`."""

    masking: list[frozenset[str]] = field(default_factory=list)
    matricules: set[str] = field(default_factory=set)
    documents: int = 0
    unreadable: int = 0
    hidden: int = 0
    room: int = field(default_factory=lambda: MAX_UNPACKED)

    def cannot_read(self, *, hidden: bool) -> None:
        """Count a file that cannot be read. hidden: a structured document may stand in it."""
        self.unreadable += 1
        self.hidden += hidden

    def message(self, raw: bytes, depth: int = 0) -> None:
        """Read the files of a message, or of one that stands in an archive at a depth."""
        found = mail_files(raw, READING)
        self.hidden += len(found.remarks)
        for file in found.files:
            content = file.content()
            if content is None or file.kind is Kind.CLOSED:
                self.cannot_read(hidden=True)
            elif content:
                self.file(file.name, file.kind, content, depth)

    def file(self, name: str, kind: Kind, raw: bytes, depth: int = 0) -> None:
        """Read a file of the message, or of an archive at a depth."""
        if kind is Kind.XML:
            try:
                self._add(_of_header(read_header(trimmed(raw))))
            except InputFault:
                self.cannot_read(hidden=may_hide_cda(raw))
        elif kind is Kind.ARCHIVE:
            self._archive(name, raw, depth)
        elif kind is Kind.CONTAINER and names_documents(raw):
            self.cannot_read(hidden=True)

    def _archive(self, name: str, raw: bytes, depth: int) -> None:
        """Read the documents that an archive announces, then what else stands in it. One that cannot be read, or stands too deep,
        is looked into as another program would."""
        try:
            archive = unpack(raw) if depth < MAX_DEPTH else None
        except InputFault:
            archive = None
        if archive is None:
            self.cannot_read(hidden=name.upper() == ARCHIVE_NAME or holds_document(raw))
            return
        self.room -= sum(len(member.content) for member in archive.files)
        if self.room < 0:
            self.cannot_read(hidden=True)
            return
        if any(subset.problem for subset in archive.subsets):
            self.cannot_read(hidden=True)
        announced: set[str | None] = {path for subset in archive.subsets for path in subset.metadata_paths}
        for document in archive.documents:
            announced.add(document.path)
            self._entry(document, depth)
        for member in archive.files:
            if member.path not in announced:
                self._member(member.path, member.content, depth + 1)

    def _member(self, path: str, raw: bytes, depth: int) -> None:
        """Read a file of an archive, whatever it is."""
        name = path.rpartition("/")[2]
        kind = kind_of(raw, zipped=name.lower().endswith(".zip"))
        if kind is Kind.OTHER and name.lower().endswith(_MAIL):
            self.message(_SIGNED + raw if name.lower().endswith(_MAIL[1]) else raw, depth)
        elif raw:
            self.file(name, kind, raw, depth)

    def _entry(self, document: XdmDocument, depth: int) -> None:
        """Read what metadata and CDA say together."""
        codes = CODES.intersection(one.code.strip().upper() for one in document.entry.confidentiality)
        patients = {matricule for value in (document.entry.patient_id, document.entry.source_patient_id)
                    if (matricule := _matricule(value))}
        raw = document.content or b""
        if kind_of(raw) is Kind.XML:
            try:
                more, inside = _of_header(read_header(trimmed(raw)))
            except InputFault:  # its metadata say the masking (spec §8.4)
                self.cannot_read(hidden=may_hide_cda(raw) and not document.entry.confidentiality)
            else:
                codes, patients = codes | more, patients | inside
        elif document.path:
            self._member(document.path, raw, depth + 1)
        self._add((codes, patients))

    def _add(self, said: tuple[frozenset[str], set[str]]) -> None:
        codes, patients = said
        self.documents += 1
        self.matricules |= patients
        if codes:
            self.masking.append(codes)


def departing_documents(raws: Sequence[bytes], masking: Sequence[str]) -> Departing:
    """Give the same for documents that are about to be put into a message with these codes. Raises InputFault (`CDA-…`)."""
    found = [_of_header(read_header(raw)) for raw in raws]
    asked = CODES.intersection(masking)
    return Departing(tuple([codes | asked for codes, _ in found if codes | asked]),
                     frozenset().union(*[patients for _, patients in found]), len(found))


def _of_header(header: CdaHeader) -> tuple[frozenset[str], set[str]]:
    ins = header.patient.ins
    return CODES & header.restrictions, {ins.matricule.upper()} if ins is not None else set()


def _matricule(value: str) -> str:
    """Give the INS of a CX, or an empty string."""
    parts = value.split("^")
    authority = parts[3].split("&") if len(parts) > 3 else []
    return parts[0].upper() if len(authority) > 1 and authority[1] in INS_OIDS else ""
