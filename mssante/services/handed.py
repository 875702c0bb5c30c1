"""What a program hands in to be sent: values shared by the API, the watched folder and the HL7v2 gateway (services/handover.py).

- `HandOver.accept(request: HandedDocument) -> HandedIn` is the one way in. It returns when the message is durable (blob, queue,
  folder row, journal, and the record of (source, key), in one transaction), and it may be called again with the same request as
  often as wished: the first acceptance is given again, `repeated` true, nothing is sent twice.
- The same (source, key) with another content is refused (`REMISE-CLE`). A refusal records nothing: the caller may correct and try
  again under the same key.
- What is refused raises `HandOverRefused` (a MssFault): `rule`, `public`, `remedy`, `temporary` (try again later), and
  `recipients` when some of them are the cause: (address as it was given, rule, words). Never an INS, a name or a subject in them,
  but for the addresses that the caller gave.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime
from enum import Enum, StrEnum

from mssante.documents.n1 import N1Facts
from mssante.errors import MssFault

MAX_SOURCE = 100  # characters
MAX_KEY = 200


class Action(StrEnum):
    """What the documents are sent for (spec §8.3). A replacement says itself what it replaces (`relatedDocument` in the CDA, or
    `N1Facts.replaces`)."""

    SEND = "send"
    REPLACE = "replace"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class HandedCda:
    """A CDA document, at most 50 MiB, sent byte for byte."""

    content: bytes


@dataclass(frozen=True, slots=True)
class HandedPdf:
    """A PDF with the facts from which its CDA of level 1 is made; the PDF is embedded byte for byte."""

    content: bytes
    facts: N1Facts


@dataclass(frozen=True, slots=True)
class HandedDocument:
    """One message to send.

    source: who hands in, stable (`token 3`, `folder accueil@…`, `hl7 DPI`), 1 to 100 characters; key: its own name for this
    request, 1 to 200 characters; mailbox: address of ours that sends; to, cc: addresses; documents: 1 to 100, of one patient.
    subject, text: empty for those made from the documents; masking: codes asked for all documents (`MASQUE_PS`,
    `INVISIBLE_PATIENT`, `INVISIBLE_REPRESENTANTS_LEGAUX`); final: no answer is wanted from the citizen (`X-MSS-MES: FIN`);
    delivery_receipt, read_receipt: asked of the recipients; override: reason for which a masking or an opposition is passed over,
    traced (empty: none); login: who asked within the source, for the journal.
    """

    source: str
    key: str
    mailbox: str
    to: tuple[str, ...]
    documents: tuple[HandedCda | HandedPdf, ...]
    cc: tuple[str, ...] = ()
    subject: str = ""
    text: str = ""
    masking: tuple[str, ...] = ()
    action: Action = Action.SEND
    final: bool = False
    delivery_receipt: bool = False
    read_receipt: bool = False
    reply_to: str = ""
    in_reply_to: str = ""
    sender_name: str = ""
    override: str = ""
    login: str = ""

    def fingerprint(self) -> str:
        """Give the SHA-256 of all that is asked, but for source, key and login."""
        digest = hashlib.sha256()
        for one in fields(self):
            if one.name not in ("source", "key", "login"):
                _feed(digest, getattr(self, one.name))
        return digest.hexdigest()


def _feed(digest: hashlib._Hash, value: object) -> None:
    """Add a value with its kind and its length: two different requests never give the same octets."""
    if isinstance(value, tuple):
        digest.update(b"(%d" % len(value))
        for one in value:
            _feed(digest, one)
        return
    if is_dataclass(value) and not isinstance(value, type):
        digest.update(type(value).__name__.encode())
        for field in fields(value):
            _feed(digest, getattr(value, field.name))
        return
    if isinstance(value, bytes):
        raw = value
    elif isinstance(value, Enum):
        raw = str(value.value).encode()
    elif isinstance(value, date | datetime):
        raw = value.isoformat().encode()
    else:
        raw = f"{type(value).__name__} {value}".encode("utf-8", "surrogatepass")
    digest.update(b"%s%d:" % (type(value).__name__[:1].encode(), len(raw)))
    digest.update(raw)


@dataclass(frozen=True, slots=True)
class HandedIn:
    """An acceptance. id: public identifier of the request (`remise_…`); trace_id: of the message, under which the journal tells
    what becomes of it; message_id: of its header, with brackets; repeated: it had been accepted before."""

    id: str
    trace_id: str
    message_id: str
    accepted_at: datetime
    repeated: bool = False


class HandOverRefused(MssFault):
    """Why a request is not accepted. recipients: (address given, rule, words) of those that are the cause."""

    kind = "handover"
    temporary = False

    def __init__(self, public: str, *, rule: str, remedy: str = "", temporary: bool = False,
                 recipients: Sequence[tuple[str, str, str]] = ()) -> None:
        super().__init__(public, rule=rule, remedy=remedy)
        self.temporary = temporary
        self.recipients = tuple(recipients)
