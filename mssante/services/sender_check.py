"""Who a message says it is from: the From header, read from the head alone (never a full parse on the hot path)."""

from __future__ import annotations

from mssante.model.address import MailAddress
from mssante.model.message import StagedBody
from mssante.protocol.mime.compose import FromFacts, check_from
from mssante.protocol.mime.headers import read_headers
from mssante.storage.interfaces import BlobStore

MAX_HEAD = 1024 * 1024


def read_head(blobs: BlobStore, body: StagedBody, header_size: int) -> bytes:
    """Give the header octets of a sealed body, at most 1 MiB (a blob is read from the page cache just written)."""
    size = min(header_size, MAX_HEAD)
    if body.inline is not None:
        return body.inline[:size]
    return blobs.read(body.blob or "", 0, size)


def from_facts(head: bytes, sender: MailAddress | None) -> FromFacts:
    """Tell who stands in From, and whether it is exactly the envelope sender."""
    return check_from(read_headers(head), sender)


def from_domains(head: bytes) -> tuple[str, ...]:
    """Give the domains of the one From header; empty when there is none, several, or an unreadable address in it."""
    found = from_facts(head, None)
    if found.fields != 1 or found.unreadable:
        return ()
    return tuple([address.domain for address in found.addresses])
