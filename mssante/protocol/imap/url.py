"""IMAP URLs that name a message of this session, or a part of one (RFC 5092, as far as RFC 4469 §3 wants it).

- Relative only: `/folder;UIDVALIDITY=1/;UID=20/;SECTION=1.2/;PARTIAL=0.100` and, with a folder open, `;UID=20` or
  `folder/;UID=20`. A URL with a scheme or a server is refused: no octet ever leaves for another host.
- Nothing is looked up here: whether folder, message and section exist is the caller's business.
- A URL is at most `MAX_URL` octets (`commands/append.py`) and printable ASCII; anything else is no URL.
Called by `services/imap/catenate.py`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from mssante.protocol.imap.commands.fetch import parse_attributes
from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.tokens import Tokens
from mssante.protocol.imap.values import FetchItem, Section

_MOST = 4_294_967_295
_ENCODED = rb"(?:[A-Za-z0-9\-._~!$'()*+,&=:@]|%[0-9A-Fa-f]{2})"
_URL = re.compile(
    rb"(?P<folder>(?:" + _ENCODED + rb"|/(?!;))*?)"
    rb"(?:;UIDVALIDITY=(?P<validity>[1-9][0-9]{0,9}))?"
    rb"(?P<slash>/?);UID=(?P<uid>[1-9][0-9]{0,9})"
    rb"(?:/;SECTION=(?P<section>(?:" + _ENCODED + rb"|/(?!;))+))?"
    rb"(?:/;PARTIAL=(?P<first>[0-9]{1,18})(?:\.(?P<count>[1-9][0-9]{0,17}))?)?", re.IGNORECASE)
_SAFE = re.compile(rb"[\x21-\x5c\x5e-\x7e]")
_TO_THE_END = 9_223_372_036_854_775_807


@dataclass(frozen=True, slots=True)
class MessageUrl:
    """What a URL names. uidvalidity: 0 when not given; section: the whole message when none is."""

    folder: str
    uid: int
    uidvalidity: int
    section: Section


def parse_url(raw: bytes, *, open_folder: str | None) -> MessageUrl:
    """Read a URL against the base of this session (RFC 4469 §3). Raises ValueError when it names no message here.

    open_folder: name of the folder that is open, None when none is.
    """
    found = _URL.fullmatch(raw)
    if found is None or raw.startswith(b"//"):  # RFC 5092 §7.2: `//` starts a server name
        raise ValueError("not a URL of a message on this server")
    if bool(found["slash"]) != bool(found["folder"]):
        raise ValueError("the number of a message follows its folder and a slash, or nothing")
    uid, validity = int(found["uid"]), int(found["validity"] or 0)
    if uid > _MOST or validity > _MOST:
        raise ValueError("number above 32 bits")
    return MessageUrl(_folder(found["folder"], open_folder), uid, validity, _section(found))


def _folder(path: bytes, open_folder: str | None) -> str:
    """Give the folder of a path (RFC 5092 §7: relative to the open folder's own URL)."""
    try:
        name = unicodedata.normalize("NFC", unquote_to_bytes(path).decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("folder name is not UTF-8") from None
    if not name:
        if open_folder is None:
            raise ValueError("no folder is open")
        return open_folder
    if name.startswith("/"):
        name = name[1:]
    elif open_folder is not None and "/" in open_folder:
        name = f"{open_folder.rpartition('/')[0]}/{name}"  # RFC 3986 §5.2.3: the last level is replaced
    levels = name.split("/")
    if not all(levels) or "." in levels or ".." in levels or (":" in levels[0] and not path.startswith(b"/")):
        raise ValueError("not a folder name")
    return "INBOX" + name[5:] if levels[0].upper() == "INBOX" else name


def _section(found: re.Match[bytes]) -> Section:
    """Give the section and the partial range, read by the grammar of FETCH (RFC 5092 §11: as in RFC 3501)."""
    text = b"(BODY.PEEK[" + unquote_to_bytes(found["section"] or b"") + b"]"
    if found["first"] is not None:
        text += b"<%d.%d>" % (int(found["first"]), int(found["count"] or _TO_THE_END))
    tokens = Tokens(b"", text + b")")
    try:
        items, sections = parse_attributes(tokens)
        tokens.end()
    except ClientFault as fault:
        raise ValueError("not a section") from fault
    if items is not FetchItem.NONE or len(sections) != 1:
        raise ValueError("not a section")
    return sections[0]


def bad_url_code(raw: bytes) -> str:
    """Give the response code of a URL that was refused (RFC 4469 §4.1), safe on the wire: no `]`, no control."""
    shown = "".join(chr(octet) if _SAFE.match(bytes((octet,))) else f"%{octet:02X}" for octet in raw[:1_000])
    return f"BADURL {shown or '%20'}"
