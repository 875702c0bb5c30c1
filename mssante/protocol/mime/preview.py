"""The first words of a message, for lists of messages (RFC 8970 §3.2): text as a reader sees it, without markup.

- The text is that of the first text/plain or text/html part that is no attachment; of alternatives, the plain one.
- Encrypted messages and signatures that enclose their content give nothing: we do not open them.
- Pure, never raises, and looks at `RAW_LIMIT` octets of a part at most, whatever the message.
Called by `services/imap/preview.py`. What comes out is content of a message: it is never logged.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from mssante.protocol.mime.parameters import parameter
from mssante.protocol.mime.scan import Part, scan
from mssante.protocol.mime.sections import decode_part, decode_text

LENGTH = 200  # characters (RFC 8970 §3.2: at most 256, better 200)
RAW_LIMIT = 64 * 1024

# Each alternative ends at the end of the text at the latest, so no place is looked at twice.
_UNSEEN = re.compile(r"<!--.*?(?:-->|\Z)|<(script|style|title|template)\b.*?(?:</\1\b[^>]*(?:>|\Z)|\Z)",
                     re.IGNORECASE | re.DOTALL)
_INLINE = re.compile(r"</?(?:a|abbr|b|big|code|em|font|i|ins|mark|o:p|s|small|span|strong|sub|sup|tt|u|wbr)\b[^>]*(?:>|\Z)",
                     re.IGNORECASE)
_TAG = re.compile(r"<[a-zA-Z/!?][^>]*(?:>|\Z)")


def preview(message: bytes) -> str:
    """Give the first words of a message, at most `LENGTH` characters; empty if it shows none. message: all, or its beginning."""
    part = next(_texts(scan(message)), None)
    if part is None:
        return ""
    raw = bytes(message[part.body_start:min(part.body_end, part.body_start + RAW_LIMIT)])
    decoded = decode_part(raw, part.headers.get(b"content-transfer-encoding") or b"", limit=RAW_LIMIT)
    if decoded is None:
        return ""
    text = decode_text(decoded, parameter(part.media.parameters, b"charset"))
    if part.media.subtype == b"html":
        text = html.unescape(_TAG.sub(" ", _INLINE.sub("", _UNSEEN.sub(" ", text))))
    words = "".join([letter if letter.isprintable() else " " if letter.isspace() else "" for letter in text])
    return " ".join(words.split())[:LENGTH].rstrip()


def _texts(part: Part) -> Iterator[Part]:
    """Give the parts that may be shown, in the order of preference."""
    kind, subtype = part.media.type, part.media.subtype
    if kind == b"text" and not part.children:
        attached = (part.headers.get(b"content-disposition") or b"").strip().lower().startswith(b"attachment")
        if subtype in (b"plain", b"html") and not attached:
            yield part
    elif kind == b"multipart" and subtype != b"encrypted":
        found = (text for child in part.children for text in _texts(child))
        # Stable: those of the same kind stay in their order.
        yield from sorted(found, key=lambda text: text.media.subtype != b"plain") if subtype == b"alternative" else found
