"""What a citizen does on the page: see exchanges, read, open documents, answer. One mailbox, whose session was proven.

- An exchange is named by a hash of its first Message-ID: no address nor identifier stands in a URL.
- The professional is shown by name, never by address (F9.3). A document is what a person can read: PDF, pictures, plain text, and
  each CDA by its twin, made in the workshop when it is asked for and kept nowhere; anything else is named and not offered.
- Reading marks the message as read and sends the receipt it asks for, once, in one transaction (F9.10).
- An answer goes the way of all submitted mail (`services.submission`), so that every rule of the operator applies to it; its copy
  is filed in Sent. An answer to an exchange that is closed is refused there.
Nothing of a message is logged. Called by `endpoints/citizen_pages.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from mssante.documents.mailtwins import page_of, print_of
from mssante.documents.twin_html import Frame
from mssante.errors import InputFault, MssFault
from mssante.ids import new_trace_id
from mssante.lang import say
from mssante.model.address import parse_envelope_address
from mssante.model.envelope import Recipient
from mssante.model.headers import HeaderBlock
from mssante.model.mailbox import Mailbox, SpecialUse
from mssante.model.message import Flags, FolderRow
from mssante.model.reply import Decision, Refuse
from mssante.protocol.mime.compose import Attachment, Letter, letter
from mssante.services.citizen_house import CitizenHouse
from mssante.services.citizen_reading import FileShown, LetterShown, read_file, read_letter
from mssante.services.reception import AcceptContext
from mssante.services.smtp_session import MailTransaction, SmtpSessionState
from mssante.services.submission import Submission
from mssante.services.workshop import Workshop
from mssante.storage.citizen import CitizenExchange, CitizenMessage
from mssante.storage.interfaces import Acceptance, Accepted, Account, FlagChange, Stores, Tx

log = structlog.get_logger("citizen")
MAX_LETTERS = 300  # latest ones of a mailbox
MAX_HEAD = 256 * 1024  # octets of a header that are read
MAX_TEXT = 20_000  # characters of an answer
MAX_FILES = 5
SENT_WORD = "$MDNSent"  # RFC 3503
_KINDS = ((b"%PDF-", "application/pdf", ".pdf"), (b"\xff\xd8\xff", "image/jpeg", ".jpg"),
          (b"\x89PNG\r\n\x1a\n", "image/png", ".png"))


@dataclass(frozen=True, slots=True)
class SpaceSettings:
    """attachment_bytes: of the files of an answer, in all; twin_seconds: to make the twin of one document."""

    attachment_bytes: int
    twin_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class ExchangeShown:
    """An exchange as the list shows it. name: in URLs; open: an answer is wanted; unread: messages not read yet."""

    name: str
    who: str
    subject: str
    last_at: datetime
    open: bool
    unread: int
    letters: tuple[LetterShown, ...]
    thread: str
    contact: str


class CitizenSpace:
    """Reads and answers for one citizen at a time."""

    def __init__(self, context: AcceptContext, stores: Stores, submission: Submission, house: CitizenHouse,
                 settings: SpaceSettings, workshop: Workshop) -> None:
        self._context = context
        self._workshop = workshop
        self._stores = stores
        self._submission = submission
        self._house = house
        self.settings = settings

    # ------------------------------------------------------------ reading

    async def exchanges(self, box: Mailbox) -> list[ExchangeShown]:
        """Give the exchanges of a citizen, latest first."""
        letters = await self._letters(box)
        known = await self._known(box, [one.reference for one in letters])
        exchanges = {one.thread: one for one in await self._house.exchanges(box.id)}
        groups: dict[str, list[LetterShown]] = {}
        for one in letters:
            thread = known[one.reference].thread if one.reference in known else one.reference
            if thread:
                groups.setdefault(thread, []).append(one)
        found = [_shown(thread, sorted(group, key=lambda one: one.at), exchanges.get(thread)) for thread, group in groups.items()]
        return sorted(found, key=lambda one: one.last_at, reverse=True)

    async def exchange(self, box: Mailbox, name: str) -> ExchangeShown | None:
        """Give one exchange by its name in URLs, with the texts of its messages."""
        found = next((one for one in await self.exchanges(box) if one.name == name), None)
        if found is None:
            return None
        loop = asyncio.get_running_loop()
        letters = []
        for one in found.letters:
            raw = await self._octets(one.message_id)
            letters.append(await loop.run_in_executor(self._context.executor, read_letter, raw, one))
        return replace(found, letters=tuple(letters))

    async def opened(self, box: Mailbox, shown: ExchangeShown) -> None:
        """Mark the messages of an exchange as read, and send the receipts that they ask for."""
        for one in shown.letters:
            if one.seen or one.mine:
                continue
            receipt = None
            if SENT_WORD.lower() not in one.keywords.lower().split():
                receipt = await self._house.receipt(await self._octets(one.message_id), box, self._context.clock.now())
            await self._mark(one, receipt)

    async def document(self, box: Mailbox, name: str, rank: int, file: int) -> FileShown | None:
        """Give one document of one message of an exchange, decoded, or None."""
        found = next((one for one in await self.exchanges(box) if one.name == name), None)
        if found is None or not 0 <= rank < len(found.letters):
            return None
        raw = await self._octets(found.letters[rank].message_id)
        return await asyncio.get_running_loop().run_in_executor(self._context.executor, read_file, raw, file)

    async def page(self, document: FileShown, frame: Frame) -> bytes | None:
        """Give the page of a CDA, None when none can be made."""
        return await self._made(page_of, document.content, frame)

    async def pdf(self, document: FileShown) -> bytes | None:
        """Give the PDF of a CDA, None when none can be made."""
        return await self._made(print_of, document.content)

    async def plain(self, document: FileShown) -> FileShown:
        """Give a CDA as plain text. Raises InputFault."""
        return await asyncio.get_running_loop().run_in_executor(self._context.executor, document.plain)

    async def _made(self, make: Callable[..., bytes], *arguments: object) -> bytes | None:
        try:
            return await self._workshop.run(make, *arguments, seconds=self.settings.twin_seconds)
        except MssFault as fault:
            log.warning("twin_not_made", rule=fault.rule)
            return None

    async def _letters(self, box: Mailbox) -> list[LetterShown]:
        """Give the latest letters of INBOX and of Sent by their headers alone."""
        def unit(tx: Tx) -> tuple[list[tuple[FolderRow, int, bool]], dict[int, HeaderBlock]]:
            rows: list[tuple[FolderRow, int, bool]] = []
            for folder in self._stores.folders.of_mailbox(tx, box.id):
                mine = folder.special_use == SpecialUse.SENT.value
                if folder.id == box.inbox_id or mine:
                    rows += [(row, folder.id, mine) for row in self._stores.messages.snapshot(tx, folder.id)[1][-MAX_LETTERS:]]
            return rows, {one.id: one for one in self._stores.messages.header_blocks(tx, [row.message_id for row, _, _ in rows])}

        rows, blocks = await self._stores.database.read(unit)
        heads = await asyncio.get_running_loop().run_in_executor(self._context.executor, self._heads, blocks)
        letters = [LetterShown.of(row, folder_id, heads[row.message_id], mine=mine)
                   for row, folder_id, mine in rows if row.message_id in heads]
        return [one for one in letters if not one.is_report]

    def _heads(self, blocks: dict[int, HeaderBlock]) -> dict[int, bytes]:
        """Give the header of each message, ours in front (blocking: some are read from files)."""
        return {key: one.prefix + (one.inline if one.inline is not None else self._stores.blobs.read(
            one.blob or "", 0, min(one.size, MAX_HEAD))) for key, one in blocks.items()}

    async def _known(self, box: Mailbox, references: Sequence[str]) -> dict[str, CitizenMessage]:
        rows = await self._stores.database.read(lambda tx: self._stores.citizens.messages(tx, box.id, references))
        return {one.reference: one for one in rows}

    async def _octets(self, message_id: int) -> bytes:
        """Give a message as a reader gets it."""
        rows = await self._stores.database.read(lambda tx: self._stores.messages.contents(tx, [message_id], with_body=True))
        if not rows:
            return b""
        row = rows[0]
        if row.inline is not None:
            return row.prefix + row.inline
        loop = asyncio.get_running_loop()
        return row.prefix + await loop.run_in_executor(self._context.executor, self._stores.blobs.read, row.blob or "")

    async def _mark(self, one: LetterShown, receipt: Acceptance | None) -> None:
        words = (SENT_WORD,) if receipt is not None else ()
        change = FlagChange("add", int(Flags.SEEN), words)

        def mark(tx: Tx, _: Accepted | None = None) -> None:
            row = next(iter(self._stores.messages.rows(tx, one.folder_id, [one.uid])), None)
            if row is None or (words and SENT_WORD.lower() in row.keywords.lower().split()):
                raise InputFault("read meanwhile", rule="CITOYEN-PAGE-LU")
            self._stores.messages.set_flags(tx, one.folder_id, [one.uid], change)

        try:
            if receipt is None:
                await self._stores.database.write(mark)
            else:
                await self._context.mailroom.accept((replace(receipt, also=mark),))
        except InputFault:
            return  # another window of the same person was first: one receipt is enough

    # ------------------------------------------------------------ answering

    def checked_files(self, files: Sequence[tuple[str, bytes]]) -> tuple[Attachment, ...]:
        """Give the files of an answer: at most five, PDF, JPEG, PNG or text, of `attachment_bytes` in all. Raises InputFault."""
        if len(files) > MAX_FILES or sum(len(content) for _, content in files) > self.settings.attachment_bytes:
            most = self.settings.attachment_bytes // 1_000_000
            raise InputFault(
                say(f"Les pièces jointes sont trop nombreuses ou trop grosses : {MAX_FILES} fichiers, {most} Mo en tout",
                    f"Too many or too big attachments: {MAX_FILES} files, {most} MB in all"), rule="CITOYEN-PAGE-PIECES")
        return tuple([_attachment(name, content) for name, content in files])

    async def answer(self, box: Mailbox, shown: ExchangeShown, text: str, files: tuple[Attachment, ...]) -> None:
        """Send an answer to the contact of an exchange. Raises InputFault with words for the citizen when it is refused."""
        clean = text.replace("\r\n", "\n").replace("\0", "").strip()
        if not clean or len(clean) > MAX_TEXT:
            raise InputFault(say(f"Écrivez votre message (au plus {MAX_TEXT} caractères)",
                                 f"Write your message (at most {MAX_TEXT} characters)"), rule="CITOYEN-PAGE-TEXTE")
        trace_id, now = new_trace_id(), self._context.clock.now()
        sender, contact = parse_envelope_address(box.address), parse_envelope_address(shown.contact)
        last = next((one for one in reversed(shown.letters) if not one.mine), shown.letters[-1])
        references = " ".join(dict.fromkeys((shown.thread, last.reference)))
        raw = letter(Letter(sender, (contact,), f"Re: {shown.subject}"[:200], clean + "\n", now, f"<{trace_id}@{sender.domain}>",
                            trace_id, sender_name=box.display_name, attachments=files,
                            headers=(("In-Reply-To", last.reference), ("References", references))))
        state = SmtpSessionState("usager", account=Account(0, box.address, "", True, (box.id,)))
        transaction = MailTransaction(sender, trace_id, declared_size=len(raw), copy_sent=True)
        state.transaction = transaction
        _refuse(await _decided(self._submission.begin(state, transaction)))
        _refuse(await _decided(self._submission.add_recipient(state, Recipient(contact))))
        sink = self._submission.sink()
        try:
            sink.add([raw])
            reply = await self._submission.finish(state, transaction, sink)
        finally:
            sink.discard()
        if reply.code != 250:
            raise InputFault(_words(reply.rule), rule=reply.rule or "CITOYEN-PAGE-REFUS")


def exchange_name(thread: str) -> str:
    """Give the name of an exchange in URLs."""
    return hashlib.sha256(thread.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def _shown(thread: str, letters: Sequence[LetterShown], exchange: CitizenExchange | None) -> ExchangeShown:
    theirs = [one for one in letters if not one.mine]
    who = next((one.who for one in reversed(theirs) if one.who), say("Professionnel de santé", "Health professional"))
    subject = next((one.subject for one in letters if one.subject), say("(sans objet)", "(no subject)"))
    is_open = exchange is not None and exchange.closed_at is None
    return ExchangeShown(exchange_name(thread), who, subject, letters[-1].at, is_open, sum(1 for one in theirs if not one.seen),
                         tuple(letters), thread, exchange.contact if exchange is not None else "")


def _attachment(name: str, content: bytes) -> Attachment:
    """Give a file of an answer, its kind told by its octets and its name made plain. Raises InputFault."""
    media, ending = next(((media, ending) for mark, media, ending in _KINDS if content.startswith(mark)), ("", ""))
    if not media:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            media = ""
        else:
            media, ending = ("text/plain", ".txt") if b"\0" not in content else ("", "")
    if not media:
        raise InputFault(say("Ce fichier n'est pas admis : PDF, photo (JPEG, PNG) ou texte",
                             "This file is not admitted: PDF, picture "
                             "(JPEG, PNG) or text"), rule="CITOYEN-PAGE-PIECE")
    stem = "".join(one for one in name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] if one.isalnum() or one in " -_")
    return Attachment((stem.strip()[:80] or "piece-jointe") + ending, media, content)


async def _decided(decision: Decision | Awaitable[Decision]) -> Decision:
    return await decision if isinstance(decision, Awaitable) else decision


def _refuse(decision: Decision) -> None:
    if isinstance(decision, Refuse):
        raise InputFault(_words(decision.rule), rule=decision.rule)


def _words(rule: str) -> str:
    """Give a refusal as a citizen reads it."""
    if rule in ("CITOYEN-FIN", "CITOYEN-SANS-ECHANGE"):
        return say("Cet échange est clos : votre correspondant n'attend plus de réponse. Prenez contact autrement",
                   "This exchange is closed: no answer is expected. Please make contact in another way")
    return say("Votre réponse n'a pas pu partir. Réessayez plus tard ; si cela dure, prenez contact autrement",
               "Your answer could not be sent. Try again later; if that lasts, make contact in another way")
