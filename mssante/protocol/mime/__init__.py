"""MIME on bytes: what the operator must know of a message without ever decoding its bodies.

Who calls what (every function is pure: no IO, no clock; `now`/`date` is an argument):

- `mime.headers`: `find_header_end(buffer, start, end) -> int`, `parse_headers(block) -> Headers`,
  `read_headers(message) -> Headers`, `Headers.get(b"subject") -> bytes | None`, `Headers.all(name) -> list[bytes]`,
  `decode_words(value, max_chars=512) -> str`, `message_id(value) -> str`.
- `mime.addresses`: `parse_addresses(value) -> tuple[HeaderAddress, ...]` (display, route, local, domain; groups too).
- `mime.dates`: `parse_date(value) -> datetime | None` (UTC), `format_date(instant) -> bytes`.
- `mime.parameters`: `parse_media(value) -> MediaType`, `parse_disposition(value)`, `parameter(pairs, name) -> str`.
- `mime.scan`: `scan(body, limits=DEFAULT) -> Part` (offsets of every part).
- `mime.imapview`: `facts(body, prefix=b"") -> MessageFacts` (the single call at ingest), `envelope(headers) -> bytes`,
  `bodystructure(part) -> bytes`, `body_of(part) -> bytes`.
- `mime.sections`: `Section(numbers, kind, fields)`, `resolve(message, root, section) -> list[(offset, length)] | bytes
  | None`, `section_bytes(message, root, section) -> bytes | None`, `decode_part(data, encoding) -> bytes | None`,
  `decode_text(data, charset) -> str`.
- `mime.compose`: `add_missing(header, date=, domain=, trace_id=) -> bytes`, `received_line(ReceivedFrom) -> bytes`,
  `return_path_line(sender) -> bytes`, `letter(Letter) -> bytes`.
- author: `read_author(headers) -> Author`.

What never happens here: stdlib `email` on outside input, regular expressions that backtrack, an exception out of a
reader.
"""
