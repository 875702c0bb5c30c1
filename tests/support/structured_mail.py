"""Mails with an IHE_XDM archive of the fictitious patient, good and bad, for the tests of the pre-flight."""

from __future__ import annotations

import io
import zipfile
from base64 import encodebytes
from datetime import UTC, datetime

from support.handing import NAMES, PDF, cda

from mssante.documents.letter import structured_letter
from mssante.documents.metadata import SenderFacts

BAD_COUNTRY = (b'realmCode code="FR"', b'realmCode code="DE"')
SUBJECT = f"XDM/1.0/DDM+CR de consultation {NAMES[0]} {NAMES[1]}"


def archive(raw: bytes | None = None) -> bytes:
    """Give IHE_XDM.ZIP of one CDA."""
    made = structured_letter([cda() if raw is None else raw], SenderFacts("2.25.1", "Centre de test"), now=datetime(2026, 3, 1, tzinfo=UTC))
    return made.attachments[0].content


def broken_hash(raw: bytes) -> bytes:
    """Give an archive whose document was changed behind the metadata's back, its size the same."""
    return altered(raw, b"Centre de test", b"Centre de tess")


def altered(raw: bytes, old: bytes, new: bytes) -> bytes:
    """Give an archive with octets of its document replaced."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, content.replace(old, new) if "DOC0001" in name else content)
    return out.getvalue()


def plain_zip() -> bytes:
    """Give an archive that is no XDM."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("photo.txt", b"vacances")
    return out.getvalue()


def mail(sender: str, to: str, *files: tuple[str, bytes], subject: str = SUBJECT, extra: str = "", text: str = "Bonjour.") -> bytes:
    """Give a multipart mail with attached files."""
    out = (f"{extra}Date: Sun, 01 Mar 2026 10:00:00 +0100\r\nFrom: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n"
           f"Message-ID: <structure@a.mssante.fr>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
           f"--x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n").encode()
    for name, content in files:
        media = "application/pdf" if name.endswith(".pdf") else "application/zip"
        out += (f'--x\r\nContent-Type: {media}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n'
                f'Content-Disposition: attachment; filename="{name}"\r\n\r\n').encode() + encodebytes(content).replace(b"\n", b"\r\n")
    return out + b"--x--\r\n"


def structured(sender: str, to: str, packed: bytes | None = None, **changes: str) -> bytes:
    """Give a mail as the rules want it: the archive and the PDF beside it."""
    return mail(sender, to, ("IHE_XDM.ZIP", archive() if packed is None else packed), ("CR.pdf", PDF), **changes)
