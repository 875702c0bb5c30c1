"""Who may be sent a document, by its masking: the matrix of the CI-SIS volet (spec §8.4), and the guard derived from documents.

- The matrix is a table: what stands in none of its rows is an error (`MASQUAGE-COMBINAISON`), never a guess.
- The guard reads what documents say of themselves: the confidentiality codes of XDM metadata and of the CDA. A document masked to
  professionals leaves toward citizens only; one invisible to the patient leaves toward professionals only.
- Pure and bounded like the archive reader: seconds of work for the largest archive, called in an executor. What cannot be read
  says nothing here (the pre-flight judges it); what comes out holds the patient's identity: compare it, never log it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mssante.documents.cda import CdaHeader, read_header
from mssante.documents.ins import INS_OIDS
from mssante.documents.xdm import XdmDocument, unpack
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part

MASKED, INVISIBLE, REPRESENTATIVES = "MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"
CODES = frozenset({MASKED, INVISIBLE, REPRESENTATIVES})
MAX_FILES = 20  # archives and documents of one message that are looked at
MAX_FILE_BYTES = 64 * 1024 * 1024
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_XML_TYPES = frozenset({"text/xml", "application/xml", "application/xslt+xml"})


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
    how many were read; unreadable: files that could not be."""

    masking: tuple[frozenset[str], ...] = ()
    matricules: frozenset[str] = frozenset()
    documents: int = 0
    unreadable: int = 0


def departing(message: bytes) -> Departing:
    """Read what the documents attached to a whole message say of their masking and their patients; never raises."""
    masking: list[frozenset[str]] = []
    matricules: set[str] = set()
    documents = unreadable = 0
    for raw in _files(message):
        try:
            found = [_of_entry(one) for one in unpack(raw).documents] if raw.startswith(_ZIP) else [_of_header(read_header(raw))]
        except InputFault:
            unreadable += 1
            continue
        for codes, patients in found:
            documents += 1
            matricules |= patients
            if codes:
                masking.append(codes)
    return Departing(tuple(masking), frozenset(matricules), documents, unreadable)


def departing_documents(raws: Sequence[bytes], masking: Sequence[str]) -> Departing:
    """Give the same for documents that are about to be put into a message with these codes. Raises InputFault (`CDA-…`)."""
    found = [_of_header(read_header(raw)) for raw in raws]
    asked = CODES.intersection(masking)
    return Departing(tuple([codes | asked for codes, _ in found if codes | asked]),
                     frozenset().union(*[patients for _, patients in found]), len(found))


def _of_header(header: CdaHeader) -> tuple[frozenset[str], set[str]]:
    ins = header.patient.ins
    return CODES.intersection({header.confidentiality.code}), {ins.matricule.upper()} if ins is not None else set()


def _of_entry(document: XdmDocument) -> tuple[frozenset[str], set[str]]:
    """What metadata and CDA say together."""
    codes = CODES.intersection(one.code for one in document.entry.confidentiality)
    patients = {matricule for value in (document.entry.patient_id, document.entry.source_patient_id)
                if (matricule := _matricule(value))}
    if document.content is not None and document.entry.mime_type in _XML_TYPES:
        try:
            more, inside = _of_header(read_header(document.content))
        except InputFault:
            more, inside = frozenset(), set()
        codes, patients = codes | more, patients | inside
    return codes, patients


def _matricule(value: str) -> str:
    """Give the INS of a CX, or an empty string."""
    parts = value.split("^")
    authority = parts[3].split("&") if len(parts) > 3 else []
    return parts[0].upper() if len(authority) > 1 and authority[1] in INS_OIDS else ""


def _files(message: bytes) -> Iterator[bytes]:
    """Give the archives and the XML documents of a message, as they begin, whatever their names (spec F8.1)."""
    left = MAX_FILES
    pending: list[Part] = [scan(message)]
    while pending and left > 0:
        part = pending.pop()
        pending.extend(reversed(part.children))
        if part.message is not None:
            pending.append(part.message)
        if part.children or part.message is not None:
            continue
        body, encoding = message[part.body_start:part.body_end], part.headers.get(b"content-transfer-encoding") or b""
        begin = (decode_part(body[:400], encoding, limit=400) or b"").removeprefix(b"\xef\xbb\xbf").lstrip()
        if not begin.startswith((*_ZIP, b"<?xml", b"<ClinicalDocument")):
            continue
        raw = decode_part(body, encoding, limit=MAX_FILE_BYTES)
        if raw:
            left -= 1
            yield raw
