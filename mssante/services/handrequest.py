"""A request as JSON, read into a `HandedDocument`: the same fields for the API (`POST /api/v1/documents`) and the watched folder.

- The octets of documents come beside the JSON (a part of a multipart, a file) or in it, in base64: the caller says how to find
  them.
- Strict: what is not known is refused by its path (`N1-FAIT`, `REMISE-FORME`), never by its value.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass

from mssante.documents.n1facts import Fields, read_facts, wrong
from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.handed import Action, HandedCda, HandedDocument, HandedPdf

MAX_DOCUMENTS = 100
MAX_RECIPIENTS = 500
Contents = Callable[[str], bytes | None]
"""Give the octets of a named part or file, None when there is none of that name."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks. mailbox: the one that sends when the request names none, empty for none."""

    source: str
    key: str
    login: str
    mailbox: str = ""


def parse_json(raw: bytes) -> object:
    """Read JSON (UTF-8) that came from outside. Raises InputFault `REMISE-JSON`."""
    try:
        return json.loads(raw.decode("utf-8"), parse_constant=_constant)
    except (ValueError, RecursionError) as exc:
        raise InputFault(say("ce n'est pas du JSON en UTF-8", "this is not JSON in UTF-8"), rule="REMISE-JSON",
                         remedy="RFC 8259") from exc


def read_request(value: object, asker: Asker, contents: Contents, *, documents: tuple[HandedCda | HandedPdf, ...] = (),
                 ) -> HandedDocument:
    """Read a request. documents: given apart, the JSON then names none. Raises InputFault (`N1-FAIT`)."""
    fields = Fields(value, "")
    action = fields.text("action", Action.SEND.value)
    if action not in {one.value for one in Action}:
        raise wrong("action")
    found = HandedDocument(
        source=asker.source, key=asker.key, mailbox=fields.text("mailbox", asker.mailbox), login=asker.login,
        to=fields.texts("to", most=MAX_RECIPIENTS), cc=fields.texts("cc", most=MAX_RECIPIENTS),
        documents=documents or fields.each("documents", lambda one, path: _document(one, path, contents), most=MAX_DOCUMENTS),
        subject=fields.text("subject", most=1000), text=fields.text("text", most=100_000), masking=fields.texts("masking"),
        action=Action(action), final=fields.flag("final"), delivery_receipt=fields.flag("delivery_receipt"),
        read_receipt=fields.flag("read_receipt"), reply_to=fields.text("reply_to"), in_reply_to=fields.text("in_reply_to"),
        sender_name=fields.text("sender_name"), override=fields.text("override", most=500))
    fields.done()
    return found


def _document(value: object, path: str, contents: Contents) -> HandedCda | HandedPdf:
    fields = Fields(value, path)
    cda, pdf = (_content(fields, name, contents) for name in ("cda", "pdf"))
    facts = fields.raw("facts")
    fields.done()
    if (cda is None) == (pdf is None):
        raise wrong(f"{path}.cda, {path}.pdf")
    if cda is not None:
        if facts is not None:
            raise wrong(f"{path}.facts")
        return HandedCda(cda)
    return HandedPdf(pdf or b"", read_facts(facts, f"{path}.facts"))


def _content(fields: Fields, name: str, contents: Contents) -> bytes | None:
    """A document in base64, or `{"part": "name"}`."""
    value = fields.raw(name)
    if value is None:
        return None
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise wrong(f"{fields.path(name)} (base64)") from exc
    part = Fields(value, fields.path(name))
    found = contents(part.text("part"))
    part.done()
    if found is None:
        raise wrong(f"{fields.path(name)}.part")
    return found


def _constant(name: str) -> object:
    raise ValueError(name)
