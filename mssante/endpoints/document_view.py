"""Pages of the web account that show the documents of one's mailbox: a list, each document as a page, its PDF.

- Behind the login of the account (`Site.inside`), for its own mailbox; what is shown is made when it is asked for, in the
  workshop, and kept nowhere. The original is only read, no flag changes: looking here is not reading for those who
  share the mailbox.
- A document's page is that of `twin_html`, with its own policy: nothing runs, nothing is fetched. It is never cached.
- An unknown message, one of another mailbox and one that holds no document are all 404.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from dataclasses import dataclass

from aiohttp import web

from mssante.documents.mailtwins import MailTwin, MailTwins, pages_of, twins_of
from mssante.documents.twin_html import policy
from mssante.endpoints.account_html import Piece, notice, table, tag
from mssante.endpoints.account_site import HEADERS, Shown, Site, Stop, told
from mssante.errors import MssFault
from mssante.lang import say
from mssante.model.mailbox_rules import EFFECTS
from mssante.model.message import StoredMessage
from mssante.protocol.mime.addresses import HeaderAddress, parse_addresses
from mssante.protocol.mime.dates import parse_date
from mssante.protocol.mime.headers import decode_words, parse_headers
from mssante.services.websession import Visit
from mssante.services.workshop import Workshop
from mssante.storage.interfaces import Stores, Tx
from mssante.storage.versions import DELETED, REPLACED

LISTED = 50
LARGEST = 100 * 1024 * 1024
_SHOWN = {
    "Content-Security-Policy": "", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff", "Cross-Origin-Opener-Policy": "same-origin",
}


_STATUS = {
    REPLACED: lambda: say("Un document de ce message a été remplacé par une version plus récente.",
                          "A document of this message was replaced by a newer version."),
    DELETED: lambda: say("Un document de ce message a été supprimé par son auteur.",
                         "A document of this message was deleted by its author."),
}


@dataclass(frozen=True, slots=True)
class ViewParts:
    """What the pages stand on. seconds: time to make the twins of one message."""

    stores: Stores
    executor: Executor
    workshop: Workshop
    seconds: float


class DocumentView:
    """The pages."""

    def __init__(self, site: Site, parts: ViewParts) -> None:
        self._site = site
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        site = self._site
        return [
            web.get("/compte/documents", site.wrap(self.listed)),
            web.get(r"/compte/documents/{message:[0-9]{1,18}}", site.wrap(self.message)),
            web.get(r"/compte/documents/{message:[0-9]{1,18}}/{rank:[0-9]{1,2}}", self._bare(self.shown)),
            web.get(r"/compte/documents/{message:[0-9]{1,18}}/{rank:[0-9]{1,2}}.pdf", self._bare(self.pdf)),
        ]

    async def listed(self, request: web.Request) -> web.StreamResponse:
        """The latest messages that hold documents."""
        visit = await self._site.inside(request)
        stores, mailbox_id = self._parts.stores, _mailbox(visit)

        def read(tx: Tx) -> list[StoredMessage]:
            if not _readable(stores, tx, mailbox_id):
                return []
            found = [one.message_id for one in stores.twins.documents(tx, mailbox_id, LISTED)]
            contents = {one.id: one for one in stores.messages.contents(tx, found, with_body=True)}
            return [contents[one] for one in found if one in contents]

        rows: list[list[Piece]] = []
        for message in await stores.database.read(read):
            headers = parse_headers(await self._octets(message, message.header_size))
            people = parse_addresses(headers.get(b"from") or b"")
            words = decode_words(headers.get(b"subject") or b"", 200) or say("(sans objet)", "(no subject)")
            who = _who(people[0]) if people else ""
            link = tag("a", words, href=f"/compte/documents/{message.id}")
            rows.append([told(parse_date(headers.get(b"date") or b"")), who, link])
        body = (table(say("Messages qui portent des documents", "Messages with documents"),
                      [say("Date", "Date"), say("De", "From"), say("Objet", "Subject")], rows) if rows else
                notice(say("Aucun document dans cette boîte.", "No document in this mailbox.")))
        return self._site.page(request, "Documents", tag("section", body), visit=visit)

    async def message(self, request: web.Request) -> web.StreamResponse:
        """The documents of one message."""
        visit = await self._site.inside(request)
        made = await self._twins(request, visit, pdf=False)
        number = request.match_info["message"]
        items = [tag("li", tag("a", one.title, href=f"/compte/documents/{number}/{rank}"), " — ",
                     tag("a", say("PDF", "PDF"), href=f"/compte/documents/{number}/{rank}.pdf"))
                 for rank, one in enumerate(made.twins, 1)]
        words = notice(say(f"{made.unreadable} document(s) illisible(s) : voir le message d'origine.",
                           f"{made.unreadable} unreadable document(s): see the original message."), bad=True)
        stores, mailbox_id = self._parts.stores, _mailbox(visit)
        versions = await stores.database.read(lambda tx: stores.versions.of_messages(tx, mailbox_id, [int(number)]))
        lines = [notice(_STATUS[one]()) for one in sorted({one.status for one in versions}) if one in _STATUS]
        return self._site.page(request, say("Documents du message", "Documents of the message"), *lines,
                               *((words,) if made.unreadable else ()), tag("section", tag("ul", *items)), visit=visit)

    async def shown(self, request: web.Request) -> web.StreamResponse:
        """One document as a page."""
        visit = await self._site.inside(request)
        twin = _one(request, await self._twins(request, visit, pdf=False))
        return web.Response(body=twin.page, content_type="text/html", charset="utf-8")

    async def pdf(self, request: web.Request) -> web.StreamResponse:
        """One document as a PDF, to keep."""
        visit = await self._site.inside(request)
        twin = _one(request, await self._twins(request, visit, pdf=True))
        content = twin.pdf or (twin.files[0] if twin.files else b"")
        if not content:
            raise web.HTTPNotFound
        return web.Response(body=content, content_type="application/pdf",
                            headers={"Content-Disposition": f'attachment; filename="{twin.name}"'})

    def _bare(self, handler: Shown) -> Shown:
        """Give a handler whose answer has the policy of a document's page."""
        async def wrapped(request: web.Request) -> web.StreamResponse:
            try:
                response = await handler(request)
            except Stop as stop:
                response = stop.response
                response.headers.update(HEADERS)
                return response
            response.headers.update(_SHOWN | {"Content-Security-Policy": f"{policy()}; frame-ancestors 'none'"})
            return response

        return wrapped

    async def _twins(self, request: web.Request, visit: Visit, *, pdf: bool) -> MailTwins:
        """Give the twins of the message asked for. Raises HTTPNotFound, Stop."""
        number, stores, mailbox_id = int(request.match_info["message"]), self._parts.stores, _mailbox(visit)

        def read(tx: Tx) -> list[StoredMessage]:
            mine = _readable(stores, tx, mailbox_id) and any(
                one.message_id == number for one in stores.twins.documents(tx, mailbox_id, LISTED))
            return stores.messages.contents(tx, [number], with_body=True) if mine else []

        found = await stores.database.read(read)
        if not found or found[0].body_size > LARGEST:
            raise web.HTTPNotFound
        body = await self._octets(found[0], None)
        try:
            made = await self._parts.workshop.run(twins_of if pdf else pages_of, body, seconds=self._parts.seconds)
        except MssFault as fault:
            raise self._site.refuse(request, 503, say(
                f"Ce document ne peut pas être montré maintenant [{fault.rule}]. Ouvrez l'original.",
                f"This document cannot be shown now [{fault.rule}]. Open the original.")) from fault
        if not made.twins and not made.unreadable:
            raise web.HTTPNotFound
        return made

    async def _octets(self, message: StoredMessage, size: int | None) -> bytes:
        if message.blob is None:
            return (message.inline or b"")[:size]
        key, blobs = message.blob, self._parts.stores.blobs
        return await asyncio.get_running_loop().run_in_executor(self._parts.executor, lambda: blobs.read(key, 0, size))


def _who(sender: HeaderAddress) -> str:
    """Give how a sender is shown: its name, else its address."""
    plain = b"@".join(one for one in (sender.local, sender.domain) if one)
    return decode_words(sender.display, 100) or decode_words(plain, 100)


def _mailbox(visit: Visit) -> int:
    """The account's own mailbox: others are opened by IMAP, where rights are (services/delegations.py)."""
    if not visit.account.mailbox_ids:
        raise web.HTTPNotFound
    return visit.account.mailbox_ids[0]


def _readable(stores: Stores, tx: Tx, mailbox_id: int) -> bool:
    """Tell if the holder may read now: a mailbox that is suspended or closed is read by no door (docs/mailboxes.md)."""
    return any(EFFECTS[box.state].read for box in stores.accounts.mailboxes_by_id(tx, [mailbox_id]))


def _one(request: web.Request, made: MailTwins) -> MailTwin:
    rank = int(request.match_info["rank"])
    if not 1 <= rank <= len(made.twins):
        raise web.HTTPNotFound
    return made.twins[rank - 1]
