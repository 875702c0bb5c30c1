"""Subjects and headers of a structured message: `XDM/1.0/DDM+…`, `X-MSS-CODECDA`, `X-MSS-INS`, names of attachments.

- Writers are strict and one-line; readers are lenient: the prefix in any case and place (spec F8.7), the error form of
  `[KO …][902]` loosely (spec F7.2).
- Gives text; encoding it for the wire (RFC 2047) is the composer's work. Called by `letter` and by readers of mail.
- A subject holds an identity: it is never logged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from mssante.documents.cda import CdaHeader
from mssante.documents.hl7 import parse_date
from mssante.errors import InputFault

PREFIX = "XDM/1.0/DDM"  # IHE ITI-32 §3.32.4.1.2.2
MAX_SUBJECT = 400  # characters that we write
MAX_READ = 10_000  # characters that we look at

_PREFIX = re.compile(r"\s*XDM/1\.0/DDM\+?\s?", re.IGNORECASE)
_ERROR = re.compile(r"\s*\[([^\[\]]{1,100})\]\s*\[([0-9]{3})\]\s*")  # spec F7.2
_TYPE_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


@dataclass(frozen=True, slots=True)
class StructuredSubject:
    """A subject taken apart. label: what a reader is shown; error_code: `902`, or empty."""

    structured: bool
    label: str
    error_code: str = ""
    error_text: str = ""


def xdm_subject(title: str, name: str, given: str, birth: date | None = None) -> str:
    """Give `XDM/1.0/DDM+<title> <NAME> <given> <JJ/MM/AAAA>` on one line (ECO.2.1.3, spec F7.1); birth is optional."""
    day = f"{birth:%d/%m}/{birth.year:04d}" if birth else ""
    tail = " ".join(part for part in (_line(name).upper()[:100], _line(given)[:100], day) if part)
    room = MAX_SUBJECT - len(PREFIX) - len(tail) - 2
    return f"{PREFIX}+{' '.join(part for part in (_line(title)[:room], tail) if part)}"


def parse_subject(text: str) -> StructuredSubject:
    """Take a decoded subject apart (at most 10,000 characters are looked at); never raises."""
    text = text[:MAX_READ]
    error = _ERROR.match(text)
    rest = text[error.end():] if error else text
    prefix = _PREFIX.search(rest)
    label = rest
    if prefix:
        before, after = rest[:prefix.start()].strip(), rest[prefix.end():].strip()
        label = f"{before} {after}".strip()
    return StructuredSubject(prefix is not None, label.strip(), error.group(2) if error else "",
                             error.group(1).strip() if error else "")


def strip_prefix(text: str) -> str:
    """Give the subject as a reader should see it, without the technical prefix (ECO.3.1.3); an error mark stays."""
    parts = parse_subject(text)
    mark = f"[{parts.error_text}][{parts.error_code}] " if parts.error_code else ""
    return f"{mark}{parts.label}" if parts.structured else text


def error_subject(original: str, code: str, label: str = "KO Intégration système !") -> str:
    """Give the subject of an error return: `[KO Intégration système !][902] XDM/1.0/DDM+…` (spec F7.2).

    Raises InputFault (`SUB-CODE`) when code is not three digits.
    """
    if not re.fullmatch(r"[0-9]{3}", code):
        raise InputFault("error code is not three digits", rule="SUB-CODE", remedy="use 900 to 906")
    return f"[{_line(label)}][{code}] {_line(original)[:MAX_SUBJECT]}"


def mss_headers(headers: Sequence[CdaHeader]) -> dict[str, str]:
    """Give `X-MSS-CODECDA` and `X-MSS-INS` for the CDA of a message; nothing without a CDA (spec §7.1).

    `X-MSS-INS` is `O` only when every document holds a qualified INS (ECO.2.4.1, ECO.2.4.2).
    Raises InputFault (`CDA-CODE`) when a type could not stand in a header line.
    """
    if not headers:
        return {}
    if not all(_TYPE_CODE.match(header.code.code) for header in headers):
        raise InputFault("CDA type is not a plain code", rule="CDA-CODE", remedy="letters, digits, dot and hyphen only")
    identities = [header.patient.ins for header in headers]
    qualified = all(ins is not None and ins.qualified for ins in identities)
    return {"X-MSS-CODECDA": ",".join(header.code.code for header in headers), "X-MSS-INS": "O" if qualified else "N"}


def companion_name(header: CdaHeader, extension: str, *, record: str = "") -> str:
    """Give `<date of act>_<type>_<NAME>_<given>_<record>.<extension>` in ASCII (ECO.2.1.6, spec F8.5).

    record: number of the stay or of the file, left out when empty.
    """
    event = header.main_event
    day = parse_date(event.low if event and event.low else header.effective_time)
    name, given = header.patient.display_names
    words = (f"{day:%Y%m%d}" if day else "", _ascii(header.code.label or header.title or header.code.code)[:80],
             _ascii(name).upper()[:60], _ascii(given)[:60], _ascii(record)[:40])
    return "_".join(word for word in words if word) + "." + extension


def pdf_name(header: CdaHeader, *, record: str = "") -> str:
    """Give the name of the PDF that stands beside the archive (ECO.2.1.6, spec F8.5)."""
    return companion_name(header, "pdf", record=record)


def _line(text: str) -> str:
    """Give the text on one line without control or direction characters."""
    kept = "".join(" " if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char
                   for char in text[:MAX_READ])
    return " ".join(kept.split())


def _ascii(text: str) -> str:
    """Give the letters and digits of a text in ASCII, everything else as one underscore."""
    plain = unicodedata.normalize("NFKD", text[:MAX_READ].replace("’", "'")).encode("ascii", "ignore")
    return re.sub(r"[^A-Za-z0-9-]+", "_", plain.decode("ascii")).strip("_")
