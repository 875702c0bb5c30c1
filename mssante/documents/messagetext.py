"""All the text of a message that SEARCH looks at: what the index keeps, and what is scanned when a message is not in it yet.

- Head: each field of the header, decoded, on its line (`TEXT` of RFC 9051 §6.4.4 looks there too).
- Body, in the order of the message: text parts (decoded, HTML without its markup), headers of embedded messages, names of
  attached files (RFC 2231), and the text of those that `filetext` reads: PDF, CDA, IHE_XDM.ZIP.
- In normal form (`protocol.imap.searchform`), pieces parted by `LINE`. Never raises, bounded by `filetext.Budget`.
- What comes out is content of a message: it is never logged.
Called by `services/imap/searchtext.py` and `services/indexing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from mssante.documents.filetext import Budget, file_texts, is_read
from mssante.protocol.imap.searchform import LINE, normal
from mssante.protocol.mime.headers import Headers, decode_words, parse_headers
from mssante.protocol.mime.htmltext import html_text
from mssante.protocol.mime.parameters import parameter, parse_disposition
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part, decode_text

PART_LIMIT = 2 * 1024 * 1024  # octets of a text part
FILE_LIMIT = 40 * 1024 * 1024  # octets of an attached file, decoded
FIELD_LIMIT = 16_384  # characters of a field
_BEGINNING = 1024  # octets that tell what a file is


class MessageText(NamedTuple):
    """Normal texts, lines parted by `LINE`."""

    head: str
    body: str


def never() -> bool:
    """Time is never over."""
    return False


def message_text(prefix: bytes, body: bytes, *, spent: Callable[[], bool] = never, pdf: bool = True) -> MessageText:
    """Give the text of a message. prefix: our lines before it; spent: asked now and then, True ends the reading of files."""
    root = scan(body)
    budget = Budget(spent, pdf)
    lines: list[str] = []
    for text in _parts(root, body, budget):
        line = normal(text)
        if line not in ("", " "):
            lines.append(line)
    return MessageText(head_text(root.headers.after(parse_headers(prefix))), LINE.join(lines))


def head_text(headers: Headers) -> str:
    """Give the text of a header: `name: value` on each line."""
    return LINE.join([normal(line) for line in _fields(headers)])


def _fields(headers: Headers) -> Iterator[str]:
    return (decode_words(name + b": " + value.strip(), FIELD_LIMIT) for name, value in headers.fields)


def _parts(root: Part, body: bytes, budget: Budget) -> Iterator[str]:
    """Give the texts of all parts, in order; headers of embedded messages count as body (RFC 9051 §6.4.4)."""
    pending = [root]
    while pending:
        part = pending.pop()
        if part.message is not None:
            yield from _fields(part.message.headers)
            pending.append(part.message)
        elif part.children:
            pending.extend(reversed(part.children))
        else:
            yield from _leaf(part, body, budget)


def _leaf(part: Part, body: bytes, budget: Budget) -> Iterator[str]:
    name = file_name(part)
    if name:
        yield name
    if budget.characters <= 0:
        return
    subtype = part.media.subtype.decode("ascii", "replace").lower()
    if part.media.type == b"text":
        data = _decoded(part, body, PART_LIMIT)
        if subtype == "xml" and (found := list(file_texts(name, subtype, _decoded(part, body, FILE_LIMIT), budget))):
            yield from found
            return
        text = decode_text(data, parameter(part.media.parameters, b"charset"))
        yield budget.take(html_text(text) if subtype == "html" else text)
    elif part.media.type in (b"application", b"multipart") and is_read(name, subtype, _decoded(part, body, _BEGINNING)):
        yield from file_texts(name, subtype, _decoded(part, body, FILE_LIMIT), budget)


def file_name(part: Part) -> str:
    """Give the name of the file that a part is, or an empty text (RFC 2183 §2.3, else the older parameter of Content-Type)."""
    found = ""
    disposition = part.headers.get(b"content-disposition")
    if disposition is not None:
        found = parameter(parse_disposition(disposition)[1], b"filename")
    return found or parameter(part.media.parameters, b"name")


def _decoded(part: Part, body: bytes, limit: int) -> bytes:
    data = bytes(body[part.body_start:min(part.body_end, part.body_start + 2 * limit)])
    decoded = decode_part(data, part.headers.get(b"content-transfer-encoding") or b"", limit=limit)
    return data[:limit] if decoded is None else decoded
