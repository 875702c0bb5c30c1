"""Who a message says it is from: its From fields, read once at ingest (RELIABILITY §2 "sender identity").

Two fields, two addresses, a group, a route or an entry that is no plain address can never be "only this address". Values
that come back all day (the same correspondents) are remembered. Never raises. Called by `imapview.facts`.
"""

from __future__ import annotations

from functools import lru_cache

from mssante.errors import InputFault
from mssante.model.address import MailAddress, parse_envelope_address
from mssante.model.message import Author
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.headers import Headers

MAX_FROM_ADDRESSES = 100
MAX_FROM_OCTETS = 16 * 1024  # a longer field is nobody's: not read at all
_CACHED_BYTES = 256


def _read(value: bytes) -> tuple[tuple[MailAddress, ...], int]:
    if len(value) > MAX_FROM_OCTETS:
        return (), 1
    addresses: list[MailAddress] = []
    unreadable = 0
    for entry in parse_addresses(value)[:MAX_FROM_ADDRESSES]:
        if entry.domain is None or entry.local is None or entry.route:
            unreadable += 1
            continue
        try:
            addresses.append(parse_envelope_address((entry.local + b"@" + entry.domain).decode("utf-8"), utf8=True))
        except (InputFault, UnicodeError):
            unreadable += 1
    return tuple(addresses), unreadable


_read_short = lru_cache(maxsize=4096)(_read)


def read_author(headers: Headers) -> Author:
    """Give who stands in From (RFC 5322 §3.6.2)."""
    value = headers.get(b"from")
    if value is None:
        return Author(0, (), 0)
    if not headers.repeats(b"from") and not headers.truncated:
        addresses, unreadable = _read_short(value) if len(value) <= _CACHED_BYTES else _read(value)
        return Author(1, addresses, unreadable)
    found = [_read(one) for one in headers.all(b"from")[:MAX_FROM_ADDRESSES]]
    return Author(headers.count(b"from"), tuple(address for addresses, _ in found for address in addresses),
                  sum(count for _, count in found) + headers.truncated)
