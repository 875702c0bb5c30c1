"""The copy of sent mail, filed by the server in the right folder: the box's Sent when a login sends in the name of a box.

- Decided before the commit, filed in the transaction that accepts the message: accepted mail has its copy, refused mail has none.
- Which: `sharing.sent_copy` = `shared` (default: mail sent for a box that is not the login's own), `all`, or `off`.
- One copy: when the client stored it itself a short while ago (APPEND, same Message-ID, same folder), none is filed; when it does
  so afterwards, its APPEND is answered by the copy that is there (`services/imap/append.py`).
- A message that S/MIME signs or encrypts on its way is not copied: no clear text of it may stay here (services/sealing.py); its
  copy is the affair of the program of the user, as for other mail.
- A box whose Sent was removed gets no copy; the message leaves all the same.
- Who truly sent is kept: the journal names the login, and a `Sender` field its own address (RFC 5322 §3.6.2) unless it is there.
Called by `submission`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mssante.clock import Clock
from mssante.model import replies
from mssante.model.address import parse_envelope_address
from mssante.model.mailbox import Folder, Mailbox, SpecialUse
from mssante.model.message import Flags, NewMessage
from mssante.model.reply import Refuse
from mssante.protocol.mime.addresses import parse_addresses
from mssante.protocol.mime.compose import address_text, addresses_line
from mssante.protocol.mime.headers import read_headers
from mssante.services.sharedbooks import SharedBooks
from mssante.storage.interfaces import Acceptance, Accepted, Account, Filing, Stores, Tx

_SEEN = int(Flags.SEEN)


@dataclass(frozen=True, slots=True)
class SentCopy:
    """Where a copy goes. own_address: of the login that sends, empty when it has no mailbox of its own."""

    folder_id: int
    own_address: str


@dataclass(frozen=True, slots=True)
class Outbound:
    """A message about to be committed and where its copy goes."""

    copy: SentCopy
    message: NewMessage


class SentCopies:
    """Decides on copies of sent mail."""

    def __init__(self, stores: Stores, clock: Clock, books: SharedBooks) -> None:
        self._stores = stores
        self._clock = clock
        self._books = books

    def wanted(self, *, own: bool) -> bool:
        """Tell if something has to be read before the commit for mail of one's own box, or of another one."""
        return not own or self._books.settings.sent_copy == "all"

    async def plan(self, account: Account, box: Mailbox, *, always: bool = False) -> SentCopy:
        """Say where the copy of a message goes that a login sends from a box: one unit. always: whatever the setting."""
        stores = self._stores

        def unit(tx: Tx) -> tuple[list[Folder], list[Mailbox]]:
            return stores.folders.of_mailbox(tx, box.id), stores.accounts.mailboxes_by_id(tx, account.mailbox_ids[:1])

        folders, own = await stores.database.read(unit, quick=True)
        found = [folder.id for folder in folders if folder.special_use == SpecialUse.SENT.value]
        mode = self._books.settings.sent_copy
        files = always or mode == "all" or (mode == "shared" and account.mailbox_ids[:1] != (box.id,))
        return SentCopy(found[0] if found and files else 0, own[0].address if own else "")

    def added(self, sent: Outbound, group: list[Acceptance]) -> list[Acceptance]:
        """Give a group with the copy in it: in the row of the message that leaves as it came; else, and when the client has just
        stored it itself, the group as it is."""
        message, folder_id = sent.message, sent.copy.folder_id
        known = self._books.sent.find(folder_id, message.facts.message_id, self._clock.monotonic(), server=False)
        place = next((index for index, item in enumerate(group) if item.message is message), -1)
        if not folder_id or known or place < 0:
            return group
        done = replace(group[place], filings=(*group[place].filings, Filing(folder_id, _SEEN)))
        return [*group[:place], done, *group[place + 1:]]

    def filed(self, sent: Outbound, group: Sequence[Acceptance], results: Sequence[Accepted]) -> None:
        """After the commit: remember the copy."""
        until = self._clock.monotonic() + self._books.settings.sent_window_seconds
        for item, result in zip(group, results, strict=False):
            for one in result.filed if item.message is sent.message else ():
                if one.folder_id == sent.copy.folder_id:
                    self._books.sent.note(one.folder_id, item.message.facts.message_id, one.uid, until, server=True)

    def sender_line(self, copy: SentCopy, *, box: Mailbox | None, head: bytes) -> bytes | Refuse:
        """Give the Sender field to add to mail sent in the name of a box, empty when it is there already or not wanted; or why
        the field that is there is refused: it must name the login or the box, once."""
        headers = read_headers(head)
        present = headers.all(b"sender")
        if not present:
            wanted = copy.own_address and self._books.settings.sender_header
            return addresses_line("Sender", (address_text(parse_envelope_address(copy.own_address)),)) if wanted else b""
        allowed = {copy.own_address.encode(), box.address.encode() if box is not None else b""}
        found = parse_addresses(present[0])
        named = b"%b@%b" % (found[0].local or b"", found[0].domain or b"") if len(found) == 1 else b""
        if len(present) == 1 and named.lower() in allowed - {b""}:
            return b""
        return replies.sender_field_not_yours("Sender")
