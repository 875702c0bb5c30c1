"""Another server's IMAP account as a source of an import. The only module that imports aioimaplib (the `import` extra).

- TLS always: from the first octet (`imaps`), or by STARTTLS before anything is said (`imap`); certificate and host name are
  verified against the anchors given. What a server says before TLS is forgotten; what it adds behind its answer to STARTTLS
  ends the connection (RFC 9051 §11.1).
- Folders are opened with EXAMINE and read with BODY.PEEK: nothing changes there.
- Small messages are fetched several at a time, large ones in pieces of 1 MiB; a server that sends more than was asked, or
  nothing for a while, ends the import with a fault (run again, it goes on).
- Never a password in a log or an error text.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from aioimaplib import aioimaplib

from mssante.errors import InputFault, MssFault, PeerFault
from mssante.lang import say
from mssante.protocol.imap.answers import FetchedMessage, ListedFolder, read_fetch, read_list, read_personal_prefix
from mssante.services.importing_source import PAGE, PIECE, ItemFault, Note, SourceFolder, SourceItem

RULE = "IMPORT-IMAP"
GROUP_MESSAGES = 50
GROUP_OCTETS = 1024 * 1024
SLACK = 1024 * 1024  # of an answer, beside the octets asked for
LIST_OCTETS = 64 * 1024 * 1024  # of an answer without messages
LOGOUT_SECONDS = 2.0
SLICE = 16 * 1024  # the library calls itself once for each line of what it is fed
USES = ("\\drafts", "\\sent", "\\trash", "\\junk", "\\archive")


@dataclass(frozen=True, slots=True)
class ImapAccount:
    """Where and as whom. implicit: TLS from the first octet; seconds: longest silence of the server."""

    host: str
    port: int
    login: str
    password: str
    tls: ssl.SSLContext
    implicit: bool = True
    seconds: float = 60.0


def _lost(detail: str = "") -> PeerFault:
    return PeerFault(say("la connexion au serveur d'origine est perdue", "the connection to the source server is lost"),
                     detail=detail, rule=RULE, remedy=say("relancez la commande : l'import continue où il était",
                                           "run the command again: the import goes on where it was"))


class _Protocol(aioimaplib.IMAP4ClientProtocol):  # type: ignore[misc]
    """The library's protocol with what it lacks: an end of the connection that is heard of, a limit on answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop, None)
        self.gone: asyncio.Future[str] = loop.create_future()
        self.allowed = LIST_OCTETS
        self.received = 0
        self.clear_only = False  # one line, the answer to STARTTLS, and not an octet behind it

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self.allowed -= len(data)
        if self.allowed < 0:
            self._end("answer too long")
            return
        if self.clear_only and (not data.endswith(b"\r\n") or data.count(b"\n") > 1):
            self._end("octets behind STARTTLS")
            return
        try:
            for start in range(0, len(data), SLICE):
                super().data_received(data[start:start + SLICE])
        except (aioimaplib.AioImapException, RecursionError, ValueError, IndexError, AttributeError) as exc:
            self._end(f"answer not understood: {type(exc).__name__}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("closed" if exc is None else type(exc).__name__)

    def _end(self, why: str) -> None:
        if not self.gone.done():
            self.gone.set_result(why)
        if self.transport is not None:
            self.transport.abort()


class _Client(aioimaplib.IMAP4):  # type: ignore[misc]
    """The library's client on our protocol."""

    def create_client(self, host: str, port: int, loop: Any, conn_lost_cb: Any = None, ssl_context: Any = None) -> None:
        running = asyncio.get_running_loop()
        self.protocol = _Protocol(running)
        self._client_task = running.create_task(running.create_connection(lambda: self.protocol, host, port, ssl=ssl_context))


def quoted(text: str) -> str:
    """Give a quoted string (RFC 9051 §4.3). Raises InputFault for what none can hold."""
    if "\r" in text or "\n" in text or "\0" in text:
        raise InputFault(say("nom ou mot de passe avec fin de ligne", "name or password with a line end"), rule=RULE)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class ImapSource:
    """One account, over one connection."""

    def __init__(self, account: ImapAccount) -> None:
        self._account = account
        self._client: Any = None
        self._planned: deque[SourceItem] = deque()
        self._fetched: dict[int, bytes | None] = {}
        self._notes: list[Note] = []

    @property
    def identity(self) -> str:
        """Login and host: the same by any port."""
        return f"imap {self._account.login} {self._account.host.lower()}"

    def notes(self) -> list[Note]:
        """Give what was found wrong since the last call."""
        found, self._notes = self._notes, []
        return found

    # ------------------------------------------------------------ connection

    async def open(self) -> None:
        """Connect, take TLS, log in. Raises PeerFault, InputFault `IMPORT-IMAP`."""
        account = self._account
        try:
            self._client = _Client(account.host, account.port, timeout=account.seconds,
                                   ssl_context=account.tls if account.implicit else None)
            await self._heard(self._client.wait_hello_from_server())
            if not account.implicit:
                await self._start_tls()
        except ssl.SSLCertVerificationError as exc:
            raise PeerFault(say("le certificat du serveur d'origine est refusé", "the source server's certificate is refused"),
                            detail=exc.verify_message, rule="IMPORT-TLS",
                            remedy=say("donnez ses autorités avec --anchors", "give its authorities with --anchors")) from exc
        except (OSError, ssl.SSLError) as exc:
            raise PeerFault(say("le serveur d'origine ne répond pas", "the source server does not answer"),
                            detail=type(exc).__name__, rule=RULE, remedy=say("vérifiez hôte, port et TLS",
                                                                             "check host, port and TLS")) from exc
        if "LOGINDISABLED" in self._client.protocol.capabilities:
            raise PeerFault(say("le serveur d'origine refuse LOGIN", "the source server refuses LOGIN"), rule=RULE)
        answer = await self._heard(self._client.login(quoted(account.login), account.password))
        if answer.result != "OK":
            raise InputFault(say("le serveur d'origine refuse ce compte ou ce mot de passe",
                                 "the source server refuses this login or password"), rule="IMPORT-LOGIN",
                             remedy=say("vérifiez l'un et l'autre", "check both"))

    async def _start_tls(self) -> None:
        protocol, account = self._client.protocol, self._account
        protocol.clear_only = True
        command = aioimaplib.Command("STARTTLS", protocol.new_tag(), loop=protocol.loop, timeout=account.seconds)
        answer = await self._heard(protocol.execute(command))
        if answer.result != "OK" or protocol.incomplete_line:
            raise PeerFault(say("le serveur d'origine refuse STARTTLS", "the source server refuses STARTTLS"), rule="IMPORT-TLS",
                            remedy=say("essayez imaps://", "try imaps://"))
        protocol.clear_only = False
        protocol.transport = await asyncio.get_running_loop().start_tls(
            protocol.transport, protocol, account.tls, server_hostname=account.host, ssl_handshake_timeout=account.seconds)
        await self._heard(protocol.capability())  # what was said in clear is forgotten

    async def _heard(self, asked: Coroutine[Any, Any, Any], allowed: int = 0) -> Any:
        """Wait for an answer, or for the end or too long a silence of the connection. Raises PeerFault.

        allowed: octets that the answer may take, 0 for LIST_OCTETS.
        """
        protocol = self._client.protocol
        protocol.allowed = allowed or LIST_OCTETS
        task = asyncio.ensure_future(asked)
        try:
            heard = -1
            while not task.done() and not protocol.gone.done() and heard != protocol.received:
                heard = protocol.received
                await asyncio.wait({task, protocol.gone}, return_when=asyncio.FIRST_COMPLETED, timeout=self._account.seconds)
            if task.done():
                return task.result()
        except aioimaplib.AioImapException as exc:
            raise _lost(type(exc).__name__) from exc
        except TimeoutError as exc:
            raise _lost("timeout") from exc
        finally:
            task.cancel()
        raise _lost(protocol.gone.result() if protocol.gone.done() else "timeout")

    async def close(self) -> None:
        """Log out, without waiting for long; safe to call twice."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            if not client.protocol.gone.done():
                async with asyncio.timeout(LOGOUT_SECONDS):
                    await client.logout()
        except (aioimaplib.AioImapException, MssFault, OSError, TimeoutError):
            pass
        if client.protocol.transport is not None:
            client.protocol.transport.abort()
        client._client_task.cancel()

    # ------------------------------------------------------------ folders

    async def folders(self) -> list[SourceFolder]:
        """Give the folders that hold messages, INBOX first. Raises PeerFault."""
        capabilities = self._client.protocol.capabilities
        prefix = ""
        if "NAMESPACE" in capabilities:
            prefix = read_personal_prefix((await self._heard(self._client.namespace())).lines)
        asked = ['""', '"*"']
        if "LIST-EXTENDED" in capabilities and "SPECIAL-USE" in capabilities:
            asked += ["RETURN", "(SPECIAL-USE)"]  # RFC 6154 §2
        answer = await self._heard(self._client.protocol.simple_command("LIST", *asked))
        if answer.result != "OK":
            raise _lost("LIST")
        found = [self._folder(one, prefix) for one in read_list(answer.lines) if one.selectable]
        return sorted(found, key=lambda one: (one.levels != ("INBOX",), one.levels))

    def _folder(self, one: ListedFolder, prefix: str) -> SourceFolder:
        key = one.raw.decode("utf-8", "surrogateescape")
        levels = one.levels
        if len(levels) > 1 and prefix and prefix.rstrip(one.delimiter).casefold() == levels[0].casefold():
            levels = levels[1:]  # the personal namespace of servers that put all below `INBOX.`
        if len(levels) == 1 and levels[0].upper() == "INBOX":
            levels = ("INBOX",)
        use = next((word for word in USES if word in one.attributes), "")
        return SourceFolder(key, levels, use, "")

    async def _examine(self, folder: SourceFolder) -> str:
        """Open a folder read-only; give its UIDVALIDITY. Raises ItemFault."""
        protocol = self._client.protocol
        answer = await self._heard(protocol.simple_command("EXAMINE", quoted(folder.key)))
        if answer.result != "OK":
            raise ItemFault(RULE, say("dossier refusé par le serveur d'origine", "folder refused by the source server"))
        protocol.state = aioimaplib.SELECTED  # the library knows SELECT only
        for line in answer.lines:
            text = bytes(line)
            if b"UIDVALIDITY " in text:
                return text.partition(b"UIDVALIDITY ")[2].partition(b"]")[0].decode("ascii", "replace")
        return ""

    # ------------------------------------------------------------ messages

    async def pages(self, folder: SourceFolder) -> AsyncIterator[Sequence[SourceItem]]:
        """Give the messages by UID, in pages. Raises PeerFault."""
        try:
            validity = await self._examine(folder)
        except ItemFault as fault:
            self._notes.append(Note(folder.shown, "", fault.rule, fault.text, lost=True))
            return
        answer = await self._heard(self._client.protocol.search("ALL", charset=None, by_uid=True))
        uids = sorted({int(word) for line in answer.lines[:-1] for word in bytes(line).split() if word.isdigit()})
        for start in range(0, len(uids), PAGE):
            part = uids[start:start + PAGE]
            lines = (await self._fetch(part, "(UID FLAGS INTERNALDATE RFC822.SIZE)")).lines
            wanted = set(part)
            found = {one.uid: one for one in read_fetch(lines) if one.uid in wanted}
            yield [self._item(found[uid], validity) for uid in part if uid in found]

    @staticmethod
    def _item(one: FetchedMessage, validity: str) -> SourceItem:
        return SourceItem(f"UID {one.uid}", f"{validity} {one.uid}", one.size, int(one.flags), one.keywords, one.internal_date,
                          "", one.uid)

    async def _fetch(self, uids: Sequence[int], items: str, allowed: int = 0) -> Any:
        said = ",".join(str(uid) for uid in uids)
        answer = await self._heard(self._client.uid("fetch", said, items), allowed)
        if answer.result != "OK":
            raise ItemFault(RULE, say("lecture refusée par le serveur d'origine", "reading refused by the source server"))
        return answer

    def plan(self, items: Sequence[SourceItem]) -> None:
        """Remember what will be read, so that small messages come several at a time."""
        self._planned = deque(items)
        self._fetched.clear()

    async def octets(self, item: SourceItem) -> AsyncIterator[bytes]:
        """Give the octets of a message. Raises ItemFault, PeerFault."""
        uid = int(str(item.handle))
        if item.size > GROUP_OCTETS:
            while self._planned and self._planned[0].handle != item.handle:
                self._planned.popleft()
            async for piece in self._pieces(uid):
                yield piece
            return
        if uid not in self._fetched:
            await self._fetch_group(item)
        octets = self._fetched.pop(uid, None)
        if octets is None:
            raise ItemFault(RULE, say("disparu du serveur d'origine", "gone from the source server"))
        yield octets

    async def _fetch_group(self, item: SourceItem) -> None:
        """Fetch a message and the small ones planned behind it."""
        while self._planned and self._planned[0].handle != item.handle:
            self._planned.popleft()
        group: list[SourceItem] = [item]
        total = item.size
        if self._planned:
            self._planned.popleft()
        while self._planned and len(group) < GROUP_MESSAGES and total + self._planned[0].size <= GROUP_OCTETS:
            group.append(self._planned.popleft())
            total += group[-1].size
        self._fetched = {int(str(one.handle)): None for one in group}
        # RFC822.SIZE is an estimate with some servers: what they send is what counts
        answer = await self._fetch(list(self._fetched), "(UID BODY.PEEK[])", 2 * total + SLACK)
        for one in read_fetch(answer.lines):
            if one.uid in self._fetched:
                self._fetched[one.uid] = one.octets

    async def _pieces(self, uid: int) -> AsyncIterator[bytes]:
        """Fetch one message in pieces (RFC 9051 §6.4.5 partial)."""
        offset = 0
        while True:
            answer = await self._fetch([uid], f"(UID BODY.PEEK[]<{offset}.{PIECE}>)", 2 * PIECE + SLACK)
            piece = next((one.octets for one in read_fetch(answer.lines) if one.uid == uid and one.octets is not None), None)
            if piece is None:
                raise ItemFault(RULE, say("disparu du serveur d'origine", "gone from the source server"))
            if piece:
                yield piece
            if len(piece) < PIECE:
                return
            offset += len(piece)
