"""The maker of readable twins: beside the original, once, whatever is killed; hostile messages, full mailboxes, loops."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from support.handing import cda
from support.smtp_stage import ALICE, NOW, OURS, SmtpStage, build
from support.twins import EVERYTHING

from mssante.documents.faults import DocumentFault
from mssante.documents.letter import structured_letter
from mssante.documents.mailtwins import pages_of, twins_of
from mssante.documents.metadata import SenderFacts
from mssante.errors import MssFault
from mssante.ids import new_trace_id
from mssante.model.address import parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.message import NewMessage, StagedBody
from mssante.protocol.mime.compose import Attachment, Letter, letter
from mssante.protocol.mime.imapview import facts
from mssante.services.twin import CONSUMER, TwinMaker, TwinParts, TwinSettings
from mssante.storage.interfaces import Acceptance, Filing, Tx
from mssante.storage.twins import FAILED, MADE, TwinRecord

SENDER = parse_envelope_address("docteur@a.mssante.fr")


class Inline:
    """A workshop that works at once, or fails as told. What a real one does: tests/unit/services/test_workshop.py."""

    def __init__(self) -> None:
        self.faults: list[MssFault] = []
        self.jobs = 0

    async def run(self, function: Callable[..., Any], *arguments: Any, seconds: float | None = None, alone: bool = False) -> Any:
        self.jobs += 1
        if self.faults:
            raise self.faults.pop(0)
        return function(*arguments)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


def maker(stage: SmtpStage, shop: Inline, **changes: Any) -> TwinMaker:
    settings = TwinSettings("companion", "Documents lisibles", parse_envelope_address(f"postmaster@{OURS}"), 64 * 1024)
    return TwinMaker(TwinParts(stage.stores, stage.clock, stage.executor, shop, stage.mailroom, stage.addresses,  # type: ignore[arg-type]
                               replace(settings, **changes)))


def mail(*documents: bytes, extra: tuple[tuple[str, str], ...] = (), loose: bool = False) -> bytes:
    if loose:
        files = [Attachment(f"doc{rank}.xml", "text/xml", one) for rank, one in enumerate(documents)]
    else:
        made = structured_letter(documents, SenderFacts("2.25.1", "Centre de test"), now=NOW)
        files = [Attachment(made.attachments[0].name, "application/zip", made.attachments[0].content)]
    return letter(Letter(SENDER, (parse_envelope_address(ALICE),), "XDM/1.0/DDM+Lettre d'essai", "Bonjour.", NOW, "<m1@a.mssante.fr>",
                         "mark", attachments=tuple(files), headers=extra))


async def deliver(stage: SmtpStage, raw: bytes, *, folder: str = "INBOX") -> int:
    trace_id, boxes = new_trace_id(), stage.stores.folders
    body = StagedBody(len(raw), sha256(raw).hexdigest(), inline=raw)
    message = NewMessage(body, b"Return-Path: <docteur@a.mssante.fr>\r\n", facts(raw), trace_id, NOW)
    found = await stage.stores.database.read(lambda tx: boxes.of_mailbox(tx, stage.mailboxes[ALICE].id))
    folder_id = next(one.id for one in found if one.name == folder)
    (accepted,) = await stage.mailroom.accept((Acceptance(
        message, (Filing(folder_id),), None, (JournalEvent(JournalKind.RECEIVED, NOW, trace_id, ALICE, {}),)),))
    return accepted.message_id


async def parsed(stage: SmtpStage) -> list[EmailMessage]:
    return [message_from_bytes(one, policy=policy.default) for one in await stage.bodies(ALICE)]  # type: ignore[misc]


async def drain(made: TwinMaker) -> None:
    while await made.step():
        pass


async def test_the_companion_stands_beside_the_original(stage: SmtpStage) -> None:
    made, raw = maker(stage, Inline()), mail(EVERYTHING)
    await made.open()
    await deliver(stage, raw)
    await drain(made)
    stored = await stage.inbox(ALICE)
    assert len(stored) == 2 and stored[0].inline == raw, "the original, octet for octet"
    twin = (await parsed(stage))[1]
    assert twin["From"].addresses[0].addr_spec == f"postmaster@{OURS}", "in our own name"
    assert twin["Subject"].startswith("Lecture : Lettre") and "XDM" not in twin["Subject"]
    assert twin["In-Reply-To"] == "<m1@a.mssante.fr>" and "<m1@a.mssante.fr>" in twin["References"]
    assert twin["Auto-Submitted"] == "auto-generated" and twin["X-MSSANTE-Lecture"] == stored[0].trace_id
    page = twin.get_body(("html",))
    assert page is not None and "Un paragraphe" in page.get_content() and "<script" not in page.get_content()
    files = [(one.get_content_type(), one.get_content()[:5]) for one in twin.iter_attachments()]
    assert files == [("application/pdf", b"%PDF-"), ("application/pdf", b"%PDF-")], "the PDF/A, and the PDF that it embeds"
    (event,) = await stage.journal(JournalKind.TWIN_FILED)
    assert event.payload == {"about": stored[0].trace_id, "documents": 1, "unreadable": 0}


async def test_each_message_once_and_never_a_twin_of_a_twin(stage: SmtpStage) -> None:
    made = maker(stage, Inline())
    await made.open()
    await deliver(stage, mail(EVERYTHING))
    await drain(made)
    await drain(made)
    assert len(await stage.inbox(ALICE)) == 2

    def back(tx: Tx) -> None:
        stage.stores.cursors.move(tx, CONSUMER, 0, NOW)  # as if killed before the cursor moved

    await stage.stores.database.write(back)
    await drain(maker(stage, Inline()))
    assert len(await stage.inbox(ALICE)) == 2


async def test_two_makers_at_once_file_one(stage: SmtpStage) -> None:
    made = maker(stage, Inline())
    await made.open()
    message_id = await deliver(stage, mail(EVERYTHING))
    record = TwinRecord(stage.mailboxes[ALICE].id, message_id, 77, MADE, "", NOW)

    class Slow(Inline):
        async def run(self, function: Callable[..., Any], *arguments: Any, seconds: float | None = None, alone: bool = False) -> Any:
            await stage.stores.database.write(lambda tx: stage.stores.twins.record(tx, record))  # another was quicker
            return function(*arguments)

    with pytest.raises(MssFault) as caught:
        await maker(stage, Slow()).step()
    assert caught.value.rule == "TWIN-DEJA" and len(await stage.inbox(ALICE)) == 1
    await drain(made)
    assert len(await stage.inbox(ALICE)) == 1


async def test_only_what_arrives_from_now_on(stage: SmtpStage) -> None:
    await deliver(stage, mail(EVERYTHING))
    made = maker(stage, Inline())
    await made.open()
    await drain(made)
    assert len(await stage.inbox(ALICE)) == 1


async def test_a_folder_of_their_own(stage: SmtpStage) -> None:
    made = maker(stage, Inline(), mode="folder", folder="Lisibles")
    await made.open()
    for _ in range(2):
        await deliver(stage, mail(EVERYTHING))
    await drain(made)
    assert len(await stage.inbox(ALICE)) == 2
    names = await stage.stores.database.read(lambda tx: stage.stores.folders.of_mailbox(tx, stage.mailboxes[ALICE].id))
    (folder,) = [one for one in names if one.name == "Lisibles"]
    _, rows = await stage.stores.database.read(lambda tx: stage.stores.messages.snapshot(tx, folder.id))
    assert len(rows) == 2


@pytest.mark.parametrize("folder", ["Sent", "Drafts", "Trash", "Junk"])
async def test_nothing_of_these_folders(stage: SmtpStage, folder: str) -> None:
    made, shop = maker(stage, Inline()), Inline()
    await made.open()
    await deliver(stage, mail(EVERYTHING), folder=folder)
    await drain(maker(stage, shop))
    assert shop.jobs == 0


@pytest.mark.parametrize("raw", [
    letter(Letter(SENDER, (parse_envelope_address(ALICE),), "Bonjour", "Rien.", NOW, "<m2@a>", "mark")),
    mail(EVERYTHING, extra=(("X-MSSANTE-Lecture", "1"),)), mail(EVERYTHING, extra=(("Auto-Submitted", "auto-replied"),)),
])
async def test_no_twin_of_a_plain_letter_nor_of_an_automatic_one(stage: SmtpStage, raw: bytes) -> None:
    shop = Inline()
    made = maker(stage, shop)
    await made.open()
    await deliver(stage, raw)
    await drain(made)
    assert shop.jobs == 0 and len(await stage.inbox(ALICE)) == 1


async def test_a_document_that_kills_its_worker_costs_its_twin_alone(stage: SmtpStage) -> None:
    shop = Inline()
    made = maker(stage, shop)
    await made.open()
    first = await deliver(stage, mail(EVERYTHING))
    await deliver(stage, mail(EVERYTHING))
    shop.faults = [DocumentFault("too long", rule="DOC-TEMPS")]
    await drain(made)
    assert len(await stage.inbox(ALICE)) == 3
    box = stage.mailboxes[ALICE].id
    known = await stage.stores.database.read(lambda tx: stage.stores.twins.known(tx, box, [first]))
    assert (known[first].state, known[first].detail) == (FAILED, "DOC-TEMPS")


async def test_a_full_workshop_is_tried_again(stage: SmtpStage) -> None:
    shop = Inline()
    made = maker(stage, shop)
    await made.open()
    await deliver(stage, mail(EVERYTHING))
    shop.faults = [DocumentFault("full", rule="DOC-FILE")]
    with pytest.raises(MssFault):
        await made.step()
    await drain(made)
    assert len(await stage.inbox(ALICE)) == 2


async def test_a_mailbox_without_room_gets_none(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    made = maker(stage, Inline())
    await made.open()
    message_id = await deliver(stage, mail(EVERYTHING))
    monkeypatch.setattr(stage.addresses, "has_room", lambda box, octets: False)
    await drain(made)
    known = await stage.stores.database.read(lambda tx: stage.stores.twins.known(tx, stage.mailboxes[ALICE].id, [message_id]))
    assert known[message_id].detail == "BOITE-PLEINE" and len(await stage.inbox(ALICE)) == 1


async def test_what_cannot_be_read_is_recorded(stage: SmtpStage) -> None:
    made = maker(stage, Inline())
    await made.open()
    raw = mail(EVERYTHING).replace(b"UEsDBB", b"UEsDBA", 1)
    message_id = await deliver(stage, raw)
    await drain(made)
    box = stage.mailboxes[ALICE].id
    known = await stage.stores.database.read(lambda tx: stage.stores.twins.known(tx, box, [message_id]))
    if twins_of(raw).twins:
        assert known[message_id].state == MADE
    else:
        assert message_id not in known or known[message_id].detail == "XDM-ILLISIBLE"


async def test_old_records_of_messages_that_are_gone_are_forgotten(stage: SmtpStage) -> None:
    box, store = stage.mailboxes[ALICE].id, stage.stores.twins
    here = await deliver(stage, mail(EVERYTHING))
    old = NOW - timedelta(days=500)
    await stage.stores.database.write(lambda tx: (store.record(tx, TwinRecord(box, here, 0, FAILED, "X", old)),
                                                  store.record(tx, TwinRecord(box, 999_999, 0, FAILED, "X", old))))
    assert await stage.stores.database.write(lambda tx: store.forget(tx, NOW)) == 1
    known = await stage.stores.database.read(lambda tx: store.known(tx, box, [here, 999_999]))
    assert set(known) == {here}


def test_the_twins_of_a_message() -> None:
    several = twins_of(mail(cda(), EVERYTHING, loose=True))
    assert [one.pdf[:5] for one in several.twins] == [b"", b"%PDF-"], "level 1: the PDF that it embeds is the document"
    assert several.twins[0].files[0].startswith(b"%PDF-")
    assert [one.pdf for one in pages_of(mail(EVERYTHING)).twins] == [b""]
    assert twins_of(mail(*[EVERYTHING] * 12, loose=True)).unreadable == 2
    assert twins_of(mail(b"<?xml version='1.0'?><other/>", loose=True)) == twins_of(b"")
    broken = twins_of(mail(b"<?xml version='1.0'?><ClinicalDocument", loose=True))
    assert broken.unreadable == 1 and not broken.twins
