"""Versions of documents: replaced, deleted, late, said twice; by real archives, as they arrive."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, NOW, SmtpStage, build
from support.twins import EVERYTHING

from mssante.documents.cda import read_header
from mssante.documents.letter import structured_letter
from mssante.documents.metadata import SenderFacts
from mssante.documents.versions import Asked, hashed, message_steps, steps_of
from mssante.documents.xdm import unpack
from mssante.ids import new_trace_id
from mssante.model.address import parse_envelope_address
from mssante.model.journal import JournalEvent, JournalKind
from mssante.model.message import NewMessage, StagedBody
from mssante.protocol.mime.compose import Attachment, Letter, letter
from mssante.protocol.mime.imapview import facts
from mssante.services.versions import CONSUMER, VersionKeeper, VersionParts
from mssante.storage.interfaces import Acceptance, Filing
from mssante.storage.versions import CURRENT, DELETED, REPLACED, DocumentVersion

SENDER = parse_envelope_address("docteur@a.mssante.fr")
SET = b'<setId root="1.2.9"/>'


def document(identifier: str, replaces: str = "", *, version: int = 1) -> bytes:
    link = (f'<relatedDocument typeCode="RPLC"><parentDocument><id root="{replaces}"/></parentDocument></relatedDocument>'.encode()
            if replaces else b"")
    start, end = EVERYTHING.index(b"<relatedDocument"), EVERYTHING.index(b"<component>")
    raw = EVERYTHING[:start] + link + EVERYTHING[end:]
    return raw.replace(b'<id root="1.2.3.4"/>', f'<id root="{identifier}"/>'.encode(), 1).replace(
        b'<versionNumber value="2"/>', SET + f'<versionNumber value="{version}"/>'.encode(), 1)


def mail(*documents: bytes, deleting: bool = False) -> bytes:
    made = structured_letter(documents, SenderFacts("2.25.1", "Centre de test"), now=NOW, deleting=deleting)
    return letter(Letter(SENDER, (parse_envelope_address(ALICE),), "XDM/1.0/DDM+Lettre", "Bonjour.", NOW, "<m1@a.mssante.fr>", "mark",
                         attachments=(Attachment("IHE_XDM.ZIP", "application/zip", made.attachments[0].content),)))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


class Inline:
    """A workshop that works at once."""

    async def run(self, function, *arguments, seconds=None, alone=False):  # type: ignore[no-untyped-def]
        return function(*arguments)


async def follow(stage: SmtpStage, *mails: bytes, again: bool = False) -> VersionKeeper:
    keeper = VersionKeeper(VersionParts(stage.stores, stage.clock, stage.executor, Inline()))  # type: ignore[arg-type]
    await keeper.open()
    inbox = next(one for one in await stage.stores.database.read(
        lambda tx: stage.stores.folders.of_mailbox(tx, stage.mailboxes[ALICE].id)) if one.name == "INBOX")
    for raw in mails:
        trace_id = new_trace_id()
        message = NewMessage(StagedBody(len(raw), sha256(raw).hexdigest(), inline=raw), b"", facts(raw), trace_id, NOW)
        await stage.mailroom.accept((Acceptance(message, (Filing(inbox.id),), None, (
            JournalEvent(JournalKind.RECEIVED, NOW, trace_id, ALICE, {}),)),))
        stage.clock.advance(timedelta(seconds=1))
    while await keeper.step():
        pass
    if again:
        await stage.stores.database.write(lambda tx: stage.stores.cursors.move(tx, CONSUMER, 0, NOW))
        while await keeper.step():
            pass
    return keeper


async def states(stage: SmtpStage, *identifiers: str) -> list[tuple[str, bool]]:
    names = [hashed(one) for one in identifiers]
    found = await stage.stores.database.read(lambda tx: stage.stores.versions.of(tx, stage.mailboxes[ALICE].id, names))
    return [(found[one].status, bool(found[one].replaced_by)) if one in found else ("absent", False) for one in names]


@pytest.mark.parametrize("again", [False, True])
async def test_a_chain_of_three(stage: SmtpStage, again: bool) -> None:
    keeper = await follow(stage, mail(document("1.1")), mail(document("1.2", "1.1", version=2)),
                          mail(document("1.3", "1.2", version=3)), again=again)
    assert await states(stage, "1.1", "1.2", "1.3") == [(REPLACED, True), (REPLACED, True), (CURRENT, False)]
    last = await keeper.latest(stage.mailboxes[ALICE].id, hashed("1.1"))
    assert last is not None and last.document == hashed("1.3") and last.version == "3"
    assert await keeper.latest(stage.mailboxes[ALICE].id, hashed("9.9")) is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_any_order_of_arrival_gives_the_same_chain(stage: SmtpStage, order: Sequence[int]) -> None:
    mails = [mail(document("1.1")), mail(document("1.2", "1.1", version=2)), mail(document("1.3", "1.2", version=3))]
    await follow(stage, *[mails[one] for one in order])
    assert await states(stage, "1.1", "1.2", "1.3") == [(REPLACED, True), (REPLACED, True), (CURRENT, False)]


async def test_a_deleted_document_stays_deleted(stage: SmtpStage) -> None:
    await follow(stage, mail(document("1.1")), mail(document("1.1"), deleting=True), mail(document("1.1")))
    assert await states(stage, "1.1") == [(DELETED, False)]
    assert len(await stage.inbox(ALICE)) == 3, "the carrier is neutral: every message is there"


async def test_two_in_a_circle_end(stage: SmtpStage) -> None:
    keeper = await follow(stage, mail(document("1.1", "1.2")), mail(document("1.2", "1.1")))
    assert await keeper.latest(stage.mailboxes[ALICE].id, hashed("1.1")) is not None


async def test_nothing_of_an_archive_that_cannot_be_read(stage: SmtpStage) -> None:
    await follow(stage, mail(document("1.1")).replace(b"\r\n", b"\r\nAAAA", 40))
    assert await states(stage, "1.1") in ([("absent", False)], [(CURRENT, False)])


def test_what_an_archive_asks() -> None:
    assert [one.asked for one in message_steps(mail(document("1.1")))] == [Asked.NEW]
    (step,) = message_steps(mail(document("1.2", "1.1", version=2)))
    assert (step.asked, step.version, step.replaces, step.set_id) == (Asked.REPLACE, "2", (hashed("1.1"),), hashed("1.2.9"))
    (gone,) = message_steps(mail(document("1.1", "1.0"), deleting=True))
    assert gone.asked is Asked.DELETE and gone.replaces == ()
    assert message_steps(b"") == ()


def test_the_public_replacement(shared_dir: Path) -> None:
    raws = [(shared_dir / "data/cda" / f"SEGUR-RIS_{name}_cr_imagerie.xml").read_bytes() for name in ("transmission_initiale", "remplacement")]
    archives = [unpack(structured_letter([raw], SenderFacts("2.25.1", "C"), now=NOW).attachments[0].content) for raw in raws]
    (first,), (second,) = steps_of(archives[0]), steps_of(archives[1])
    assert first.asked is Asked.NEW and second.asked is Asked.REPLACE
    assert second.replaces == tuple(sorted(hashed(one.unique_id) for one in read_header(raws[1]).replaces))


async def test_the_store(stage: SmtpStage) -> None:
    store, box = stage.stores.versions, stage.mailboxes[ALICE].id
    one = DocumentVersion(box, "d1", "s1", "1", CURRENT, "", 7, "t1", NOW)
    await stage.stores.database.write(lambda tx: (store.put(tx, one), store.put(tx, one)))
    assert await stage.stores.database.read(lambda tx: store.of_set(tx, box, "s1")) == [one]
    assert await stage.stores.database.read(lambda tx: store.of_messages(tx, box, [7, 8])) == [one]
    assert await stage.stores.database.write(lambda tx: store.mark(tx, box, ["d1", "d2"], REPLACED, by="d2")) == 1
    assert await stage.stores.database.write(lambda tx: store.mark(tx, box, ["d1"], DELETED)) == 0, "only what is current"
    assert await stage.stores.database.read(lambda tx: store.of_set(tx, box + 1, "s1")) == []
