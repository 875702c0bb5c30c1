"""Octets of messages that are here already, for CATENATE (RFC 4469): from a URL to what FETCH BODY would give for it.

- A URL reaches the folders of this session only, with the right to read them; nothing is asked of any other host.
- `\\Seen` is not set, nothing is converted: octets are copied as they are.
- One read for all URLs that stand together; the body of a message in the blob store is read piece by piece, or whole, one at
  a time in the process, when a part must be cut out of it.
- Whatever is wrong with a URL gives NO [BADURL] with that URL (RFC 4469 §4.1).
Called by `services/imap/append.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from mssante.model.mailbox import Folder
from mssante.model.message import StoredMessage
from mssante.protocol.imap.appendvalues import AppendUrl
from mssante.protocol.imap.faults import CommandRefused
from mssante.protocol.imap.url import MessageUrl, bad_url_code, parse_url
from mssante.protocol.imap.values import SectionText
from mssante.services.imap.content import cut
from mssante.services.imap.readings import note, opens, traced
from mssante.services.imap.session import Session
from mssante.storage.interfaces import Tx

PIECE = 256 * 1024
TOGETHER = 50  # URLs read at once: their inline bodies are held meanwhile


async def octets_of(session: Session, urls: Sequence[AppendUrl]) -> AsyncIterator[bytes]:
    """Give the octets of these URLs, in order and in pieces. Raises CommandRefused [BADURL]."""
    for start in range(0, len(urls), TOGETHER):
        together = urls[start:start + TOGETHER]
        targets = [await _target(session, url.url) for url in together]
        for url, (folder, target), content in zip(together, targets, await _read(session, targets), strict=True):
            if content is None:
                raise _bad(url.url)
            if opens([target.section]) and await traced(session, folder.mailbox_id):
                note(session, folder.mailbox_id, [content.id])
            async for piece in _octets(session, url.url, target, content):
                yield piece


async def _target(session: Session, raw: bytes) -> tuple[Folder, MessageUrl]:
    """Read a URL and find its folder: give the folder with it."""
    try:
        url = parse_url(raw, open_folder=session.folder.name if session.folder is not None else None)
        folder = await session.find(url.folder, needs="r")
    except (ValueError, CommandRefused):
        raise _bad(raw) from None
    if url.uidvalidity not in (0, folder.uidvalidity):
        raise _bad(raw)
    return folder, url


async def _read(session: Session, targets: Sequence[tuple[Folder, MessageUrl]]) -> list[StoredMessage | None]:
    """Read the contents in one unit: two statements and one for each folder, whatever the number of URLs."""
    stores = session.services.stores

    def unit(tx: Tx) -> list[StoredMessage | None]:
        ids: dict[tuple[int, int], int] = {}
        for folder_id in {folder.id for folder, _ in targets}:
            uids = sorted({url.uid for other, url in targets if other.id == folder_id})
            ids.update({(folder_id, row.uid): row.message_id for row in stores.messages.rows(tx, folder_id, uids)})
        wanted = sorted(set(ids.values()))
        found = {content.id: content for content in stores.messages.contents(tx, wanted, with_body=True)} if wanted else {}
        return [found.get(ids.get((folder.id, url.uid), 0)) for folder, url in targets]

    return await stores.database.read(unit)


async def _octets(session: Session, raw: bytes, url: MessageUrl, content: StoredMessage) -> AsyncIterator[bytes]:
    """Give the octets of one section."""
    section = url.section
    plain = not section.part and section.partial is None
    if content.blob is None or not plain or section.text not in (SectionText.ALL, SectionText.TEXT):
        data = await _cut(session, url, content)
        if data is None:
            raise _bad(raw)
        yield data
        return
    services = session.services
    first = content.header_size if section.text is SectionText.TEXT else 0
    if section.text is SectionText.ALL:
        yield content.prefix
    for place in range(first, content.body_size, PIECE):
        yield await asyncio.get_running_loop().run_in_executor(
            services.executor, services.stores.blobs.read, content.blob, place, min(PIECE, content.body_size - place))


_one_at_a_time = asyncio.Semaphore(1)  # a whole body is held while a part is cut out of it


async def _cut(session: Session, url: MessageUrl, content: StoredMessage) -> bytes | None:
    """Cut a section out of a body; None when there is no such part. Raises CommandRefused."""
    if content.inline is not None:
        return cut(url.section, content, content.inline)
    services, key = session.services, content.blob or ""

    def work() -> bytes | None:
        return cut(url.section, content, services.stores.blobs.read(key))

    async with _one_at_a_time:
        return await asyncio.get_running_loop().run_in_executor(services.executor, work)


def _bad(raw: bytes) -> CommandRefused:
    return CommandRefused("this URL names no message or part here", code=bad_url_code(raw), rule="RFC 4469 §4.1")
