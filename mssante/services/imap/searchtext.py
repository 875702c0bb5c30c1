"""Text keys of SEARCH: header fields and decoded bodies, compared without case and accents.

- FROM, TO, CC, BCC, SUBJECT, the Date header and a few HEADER fields come from the stored ENVELOPE: no body is read. What is
  folded once is kept beside the view, within the cache budget.
- Other HEADER keys, BODY and TEXT read contents by pieces of at most `chunk_messages` messages and `chunk_bytes` octets, each
  matched in a worker thread; a body in the blob store is read whole there, one at a time per search.
- Attachments are not text: only text/* parts are decoded, at most `TEXT_LIMIT` octets each.
Called by `search.py` only.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import date

from mssante.model.message import StoredMessage
from mssante.protocol.imap.searchkeys import AllOf, AnyOf, DateKey, DateRelation, HeaderKey, NotKey, SearchKey, TextKey, TextPlace
from mssante.protocol.mime.dates import parse_date
from mssante.protocol.mime.headers import decode_words, parse_headers
from mssante.protocol.mime.parameters import parameter
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part, decode_text
from mssante.services.imap.session import Session
from mssante.services.imap.view import Table
from mssante.storage.interfaces import BlobStore, Tx

TEXT_LIMIT = 2 * 1024 * 1024
_HEADER_LIMIT = 16_384
_IN_ENVELOPE = {"FROM": "from", "TO": "to", "CC": "cc", "BCC": "bcc", "SUBJECT": "subject",
                "MESSAGE-ID": "message-id", "IN-REPLY-TO": "in-reply-to", "DATE": "date"}
_TOKEN = re.compile(rb"\(|\)|\"((?:[^\"\\]|\\.)*)\"|\{([0-9]+)\}\r\n|NIL", re.DOTALL)
_MARKS = re.compile("[\u0300-\u036f]+")  # combining diacritical marks: what NFKD takes apart from Latin letters
_FIELDS = ("date", "subject", "from", "sender", "reply-to", "to", "cc", "bcc", "in-reply-to", "message-id")


def needs_content(key: SearchKey) -> int:
    """Give how costly a key is: 0 from the view, 1 from envelopes, 2 from bodies."""
    match key:
        case AllOf(keys):
            return max(map(needs_content, keys))
        case AnyOf(left, right):
            return max(needs_content(left), needs_content(right))
        case NotKey(one):
            return needs_content(one)
        case TextKey(place):
            return 2 if place in (TextPlace.BODY, TextPlace.TEXT) else 1
        case HeaderKey(field):
            return 1 if field.upper() in _IN_ENVELOPE else 2
        case DateKey(sent=True):
            return 1
    return 0


def fold(text: str) -> str:
    """Give a text without case and accents: two texts that read alike compare equal."""
    if text.isascii():
        return text.lower()
    return _MARKS.sub("", unicodedata.normalize("NFKD", text.casefold()))


class TextSearch:
    """Decides text keys for rows of one table."""

    __slots__ = ("_session", "_table")

    def __init__(self, session: Session, table: Table) -> None:
        self._session = session
        self._table = table

    async def matching(self, key: TextKey | HeaderKey | DateKey, rows: Sequence[int]) -> list[int]:
        """Give the rows among `rows` that match."""
        if isinstance(key, DateKey):
            return await self._by_words(rows, "date", lambda value, row: _sent(key, value, self._table.dates[row]))
        name = key.place.value if isinstance(key, TextKey) else key.field.upper()
        wanted = fold(key.text)
        if name in _IN_ENVELOPE and name not in ("BODY", "TEXT"):
            # An empty text asks that the field be there (RFC 9051 §6.4.4 HEADER).
            return await self._by_words(rows, _IN_ENVELOPE[name], lambda value, _: bool(value) and wanted in value)
        return await self._by_contents(rows, _matcher(key, wanted))

    # ------------------------------------------------------------------------------------------ envelopes

    async def _by_words(self, rows: Sequence[int], field: str, test: Callable[[str, int], bool]) -> list[int]:
        """Test one folded field of each row; fields not held are read and folded by pieces."""
        view, _ = self._session.opened()
        held, ids = view.cache.words, self._table.message_ids
        found = [row for row in rows if ids[row] in held and test(held[ids[row]].get(field, ""), row)]
        absent = [row for row in rows if ids[row] not in held]
        size = self._session.services.settings.chunk_messages
        for start in range(0, len(absent), size):
            part = absent[start:start + size]
            words = await self._words([ids[row] for row in part])
            view.cache.keep_words(words)
            found += [row for row in part if test(words.get(ids[row], {}).get(field, ""), row)]
        return found

    async def _words(self, ids: Sequence[int]) -> dict[int, dict[str, str]]:
        contents = await self._read(ids, with_body=False)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._session.services.executor, _fold_envelopes, contents)

    async def _read(self, ids: Sequence[int], *, with_body: bool) -> list[StoredMessage]:
        stores = self._session.services.stores
        wanted = list(dict.fromkeys(ids))

        def unit(tx: Tx) -> list[StoredMessage]:
            return stores.messages.contents(tx, wanted, with_body=with_body)

        return await stores.database.read(unit)

    # ------------------------------------------------------------------------------------------ contents

    async def _by_contents(self, rows: Sequence[int], test: Callable[[bytes, bytes], bool]) -> list[int]:
        """Test whole messages by pieces."""
        services, ids, sizes = self._session.services, self._table.message_ids, self._table.sizes
        found: list[int] = []
        loop = asyncio.get_running_loop()
        for part in _pieces(rows, sizes, services.settings.chunk_messages, services.settings.chunk_bytes):
            contents = await self._read([ids[row] for row in part], with_body=True)
            good = await loop.run_in_executor(services.executor, _test, contents, services.stores.blobs, test)
            found += [row for row in part if ids[row] in good]
        return found


def _pieces(rows: Sequence[int], sizes: Sequence[int], messages: int, octets: int) -> list[list[int]]:
    """Cut rows into pieces of bounded count and octets."""
    out: list[list[int]] = []
    held = octets
    for row in rows:
        if not out or held + sizes[row] > octets or len(out[-1]) >= messages:
            out.append([])
            held = 0
        out[-1].append(row)
        held += sizes[row]
    return out


def _test(contents: Sequence[StoredMessage], blobs: BlobStore, test: Callable[[bytes, bytes], bool]) -> set[int]:
    """Give the ids of the messages that match (worker thread)."""
    found: set[int] = set()
    for content in contents:
        body = content.inline if content.inline is not None else blobs.read(content.blob or "")
        if test(content.prefix, body):
            found.add(content.id)
    return found


def _matcher(key: TextKey | HeaderKey, wanted: str) -> Callable[[bytes, bytes], bool]:
    """Give the test of a message for a key."""
    if isinstance(key, HeaderKey):
        name = key.field.encode("utf-8", "replace").lower()
        return lambda prefix, body: _in_header(prefix, body, name, wanted)
    if key.place is TextPlace.BODY:
        return lambda prefix, body: _in_body(scan(body), body, wanted)
    return lambda prefix, body: _in_text(prefix, body, wanted)


def _in_header(prefix: bytes, body: bytes, name: bytes, wanted: str) -> bool:
    headers = scan(body).headers.after(parse_headers(prefix))
    return any(wanted in fold(decode_words(value, _HEADER_LIMIT)) for value in headers.all(name))


def _in_text(prefix: bytes, body: bytes, wanted: str) -> bool:
    """TEXT: any header line, or the body."""
    root = scan(body)
    headers = root.headers.after(parse_headers(prefix))
    for name, value in headers.fields:
        line = name + b": " + value.strip()
        if wanted in fold(decode_words(line, _HEADER_LIMIT)):
            return True
    return _in_body(root, body, wanted)


def _in_body(root: Part, body: bytes, wanted: str) -> bool:
    """Look into every text part, decoded; the headers of embedded messages count as body (RFC 9051 §6.4.4)."""
    pending = [root]
    while pending:
        part = pending.pop()
        pending.extend(part.children)
        if part.message is not None:
            header = bytes(body[part.message.header_start:part.message.body_start])
            if wanted in fold(decode_words(header, _HEADER_LIMIT)):
                return True
            pending.append(part.message)
        elif not part.children and part.media.type == b"text" and wanted in _part_text(part, body):
            return True
    return False


def _part_text(part: Part, body: bytes) -> str:
    data = bytes(body[part.body_start:min(part.body_end, part.body_start + 2 * TEXT_LIMIT)])
    decoded = decode_part(data, part.headers.get(b"content-transfer-encoding") or b"", limit=TEXT_LIMIT)
    text = fold(decode_text(data if decoded is None else decoded, parameter(part.media.parameters, b"charset")))
    # A text broken over lines still reads as one (format=flowed, folded paragraphs): line ends count as a space.
    return text.replace("\r\n", " ").replace("\n", " ")


def _sent(key: DateKey, value: str, internal: int) -> bool:
    """Compare the day of the Date header as written (RFC 9051 §6.4.4: without time and zone), else INTERNALDATE."""
    day = date.fromisoformat(value) if value else date.fromordinal(719_163 + internal // 86_400)
    match key.relation:
        case DateRelation.BEFORE:
            return day < key.day
        case DateRelation.SINCE:
            return day >= key.day
    return day == key.day


# ---------------------------------------------------------------------------------------------- ENVELOPE


def _fold_envelopes(contents: Sequence[StoredMessage]) -> dict[int, dict[str, str]]:
    """Give the folded fields of each message (worker thread)."""
    return {content.id: envelope_words(content.envelope) for content in contents}


def envelope_words(envelope: bytes) -> dict[str, str]:
    """Give the folded text of each field that an encoded ENVELOPE holds; absent ones are left out.

    Addresses read `name <local@domain>`; `date` is the day as written, `2026-01-31`, when it can be read.
    """
    fields = _read(envelope)
    out: dict[str, str] = {}
    for name, value in zip(_FIELDS, fields, strict=False):
        if isinstance(value, list):
            text = ", ".join([_address(entry) for entry in value if isinstance(entry, list)])
        elif not isinstance(value, bytes):
            continue
        elif name == "date":
            text = _day(value)
        else:
            text = fold(decode_words(value, _HEADER_LIMIT))
        if text:
            out[name] = text
    return out


def _day(value: bytes) -> str:
    """Give the day of a Date value in its own zone."""
    instant = parse_date(value.rsplit(b" ", 1)[0] + b" +0000" if value[-5:-4] in b"+-" else value)
    return instant.date().isoformat() if instant is not None else ""


def _address(entry: list[object]) -> str:
    texts = [part if isinstance(part, bytes) else b"" for part in entry[:4]] + [b""] * (4 - len(entry))
    name, _, local, domain = texts
    text = fold(decode_words(name, _HEADER_LIMIT))
    return text + " <" + fold((local + b"@" + domain).decode("utf-8", "replace")) + ">"


def _read(encoded: bytes) -> list[object]:
    """Read the nested lists of an ENVELOPE that our own scanner wrote: bytes, None or lists."""
    root: list[object] = []
    stack = [root]
    at = 0
    while (found := _TOKEN.search(encoded, at)) is not None and len(stack) < 10:
        at = found.end()
        token = found[0]
        if token == b"(":
            inner: list[object] = []
            stack[-1].append(inner)
            stack.append(inner)
        elif token == b")":
            if len(stack) > 1:
                stack.pop()
        elif found[2] is not None:
            end = at + int(found[2])
            stack[-1].append(encoded[at:end])
            at = end
        elif found[1] is not None:
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", found[1]) if b"\\" in found[1] else found[1])
        else:
            stack[-1].append(None)
    whole = root[0] if root else []
    return whole if isinstance(whole, list) else []
