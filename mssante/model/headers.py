"""What is kept of a message's header apart from the message, to sort, thread and search without reading it."""

from __future__ import annotations

from typing import NamedTuple


class IndexedHeaders(NamedTuple):
    """One message. A plain tuple underneath: ten thousand of them are made for one SORT.

    id: row id of the message; subject: decoded, its first 512 characters; sent: the Date header in microseconds since 1970,
    None when it cannot be read; message_id: `<…>` or empty; references: ids of its ancestors, oldest first, separated by
    spaces (RFC 5256 §4 step 1); envelope: encoded ENVELOPE (RFC 9051 §7.5.2).
    """

    id: int
    subject: str
    sent: int | None
    message_id: str
    references: str
    envelope: bytes


class HeaderBlock(NamedTuple):
    """The header of one message, without its body. prefix: lines that we put before it; inline: its octets, None when they are
    the first `size` ones of a blob."""

    id: int
    prefix: bytes
    inline: bytes | None
    blob: str | None
    size: int
