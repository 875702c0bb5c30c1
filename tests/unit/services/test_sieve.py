"""Filters at filing: folders, flags, faults that lose nothing, absences that answer people only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.sieve_stage import SieveSpace, sieve_space
from support.smtp_stage import ALICE, BOB, CITIZEN, NOW, SmtpStage, Wire, build, message

from mssante.model.journal import JournalKind
from mssante.model.message import Flags
from mssante.services.sieve_desk import Absence, Author, DeskFault
from mssante.storage.interfaces import Stores, Tx

DOCTOR = "docteur@a.mssante.fr"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def space(stage: SmtpStage) -> SieveSpace:
    return sieve_space(stage)


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await stage.session(await stage.open())


async def deliver(wire: Wire, raw: bytes, *to: str, sender: str = DOCTOR) -> str:
    replies = await wire.asks(f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{one}>" for one in to or (ALICE,)))
    assert all(one.startswith("250") for one in replies), replies
    return await wire.data(raw)


def letter(extra: str = "", to: str = ALICE) -> bytes:
    return f"From: <{DOCTOR}>\r\nTo: {to}\r\n{extra}\r\nBonjour.\r\n".encode()


async def make_folder(stage: SmtpStage, name: str, address: str = ALICE) -> int:
    box = stage.mailboxes[address].id
    made = await stage.stores.database.write(lambda tx: stage.stores.folders.create(tx, box, name))
    return made.id


async def test_a_mailbox_without_script_costs_no_statement(stage: SmtpStage, space: SieveSpace, wire: Wire,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    await space.filters.refresh()
    monkeypatch.setattr(stage.stores.filters, "scripts", lambda *_: pytest.fail("a statement was run"))
    assert (await deliver(wire, letter())).startswith("250 ")
    assert await space.names(ALICE) == {"INBOX": 1}


async def test_folder_and_flags_in_the_same_commit(stage: SmtpStage, space: SieveSpace, wire: Wire) -> None:
    await make_folder(stage, "Labo")
    await space.script(ALICE, 'require ["fileinto","imap4flags"]; if address :domain :is "from" "a.mssante.fr" '
                              '{ addflag ["\\\\Seen","$Bio","$bio"]; fileinto "Labo"; }')
    assert (await deliver(wire, letter(), ALICE, BOB)).startswith("250 ")
    folders = await space.folders(ALICE)
    (row,) = folders.pop("Labo")
    assert not folders and row.flags == Flags.SEEN and row.keywords == "$Bio"
    assert await space.names(BOB) == {"INBOX": 1}


@pytest.mark.parametrize(("script", "where"), [
    ('require "fileinto"; fileinto "Absent";', {"INBOX": 1}),
    ('require ["fileinto","mailbox"]; fileinto :create "Un/Deux";', {"Un/Deux": 1}),
    ('require ["fileinto","mailbox"]; fileinto :create "Un//Deux";', {"INBOX": 1}),
    ('require ["fileinto","copy","mailbox"]; fileinto :create :copy "C";', {"INBOX": 1, "C": 1}),
    ('require ["fileinto","mailbox"]; fileinto :create "C"; fileinto :create "C"; keep; keep;', {"INBOX": 1, "C": 1}),
    ("discard;", {"Trash": 1}), ("stop; discard;", {"INBOX": 1}),
    ('require "fileinto"; fileinto "inbox";', {"INBOX": 1}),
    ('require ["mailbox","fileinto"]; if mailboxexists "Archive" { fileinto "Archive"; }', {"Archive": 1}),
])
async def test_where_it_goes(space: SieveSpace, wire: Wire, script: str, where: dict[str, int]) -> None:
    await space.script(ALICE, script)
    assert (await deliver(wire, letter())).startswith("250 ")
    assert await space.names(ALICE) == where


async def test_discard_may_delete(stage: SmtpStage, wire: Wire) -> None:
    space = sieve_space(stage, discard="delete")
    await space.script(ALICE, "discard;")
    assert (await deliver(wire, letter())).startswith("250 ")
    assert await space.names(ALICE) == {}


async def test_a_folder_removed_between_decision_and_commit(stage: SmtpStage, space: SieveSpace, wire: Wire) -> None:
    folder = await make_folder(stage, "Labo")
    await space.script(ALICE, 'require "fileinto"; fileinto "Labo";')
    await deliver(wire, letter())
    await stage.stores.database.write(lambda tx: stage.stores.folders.delete(tx, folder))
    assert (await deliver(wire, letter())).startswith("250 ")
    assert await space.names(ALICE) == {"INBOX": 1}


async def test_a_faulty_script_loses_nothing_and_is_told_once(stage: SmtpStage, space: SieveSpace, wire: Wire) -> None:
    await space.script(ALICE, 'require ["fileinto","variables"];' + "".join(f'set "v{n}" "x";' for n in range(200)) + "discard;")
    for _ in range(3):
        assert (await deliver(wire, letter())).startswith("250 ")
    assert await space.names(ALICE) == {"INBOX": 4}
    assert sum(b"en faute" in body or b"at fault" in body for body in await stage.bodies()) == 1


async def test_a_stored_script_that_does_not_compile(stage: SmtpStage, space: SieveSpace, wire: Wire) -> None:
    await space.script(ALICE, "keep;")

    def spoil(tx: Tx, stores: Stores = stage.stores) -> None:
        (script,) = stores.filters.scripts(tx, stage.mailboxes[ALICE].id)
        stores.filters.put(tx, stage.mailboxes[ALICE].id, type(script)(script.name, b"\xff{", True, NOW + timedelta(seconds=9)))

    await stage.stores.database.write(spoil)
    await space.filters.refresh()
    assert (await deliver(wire, letter())).startswith("250 ")
    assert await space.names(ALICE) == {"INBOX": 2}


async def test_a_script_changed_acts_at_once(space: SieveSpace, wire: Wire) -> None:
    await space.script(ALICE, "keep;")
    await deliver(wire, letter())
    await space.script(ALICE, "discard;")
    await deliver(wire, letter())
    await space.desk.activate(Author(space.stage.mailboxes[ALICE], ALICE, "test"), "")
    await deliver(wire, letter())
    assert await space.names(ALICE) == {"INBOX": 2, "Trash": 1}


async def test_redirect_goes_to_our_mailboxes_only(stage: SmtpStage, wire: Wire) -> None:
    space = sieve_space(stage, redirect=True)
    await space.script(ALICE, f'redirect "{BOB}";')
    await space.script(BOB, f'redirect "{ALICE}";')  # a loop, if filters ran again
    assert (await deliver(wire, letter())).startswith("250 ")
    assert (await space.names(ALICE), await space.names(BOB)) == ({}, {"INBOX": 1})
    for outside in (DOCTOR, f"1@{CITIZEN}", "x@gmail.com", BOB):
        await space.script(BOB, f'redirect "{outside}";')
        await deliver(wire, letter(to=BOB), BOB)
    assert await space.names(BOB) == {"INBOX": 5} and not await stage.queue()


async def test_redirect_is_refused_when_it_is_off(space: SieveSpace) -> None:
    with pytest.raises(Exception, match=r"ligne 1|line 1"):
        await space.script(ALICE, f'redirect "{BOB}";')


@pytest.mark.parametrize("raw", [
    b"From: <" + DOCTOR.encode() + b">\r\nSubject: \xff\xfe caf\xe9 =?utf-8?q?=FF=00?=\r\n\r\nx\r\n",
    b"From: <" + DOCTOR.encode() + b">\r\nSubject: " + b"a" * 900 + b"\r\n" + b"X-A: b\r\n" * 1500 + b"\r\nx\r\n",
])
async def test_hostile_headers(space: SieveSpace, wire: Wire, raw: bytes) -> None:
    await space.script(ALICE, 'if header :matches ["subject","x-a"] "*\\*?*?*?z" { discard; }')
    assert (await deliver(wire, raw)).startswith("250 ")
    assert await space.names(ALICE) == {"INBOX": 1}


# ------------------------------------------------------------------ absence


async def away(space: SieveSpace, address: str = ALICE, text: str = "Je suis absente.") -> None:
    author = Author(space.stage.mailboxes[address], address, "test")
    await space.desk.set_absence(author, Absence(NOW - timedelta(days=1), NOW + timedelta(days=3), text, 1))


async def test_an_absence_is_told_once_threaded_and_neutral(stage: SmtpStage, space: SieveSpace, wire: Wire) -> None:
    await away(space)
    for _ in range(3):
        await deliver(wire, letter("Subject: Mme DUPONT Jeanne\r\nMessage-ID: <1@a>\r\nReferences: <0@a>\r\n"))
    assert await space.names(ALICE) == {"INBOX": 3}
    (queued,) = await stage.queue()
    assert (queued.sender, queued.address) == ("", DOCTOR)
    sent = await stage.stores.database.read(lambda tx: stage.stores.messages.contents(tx, [queued.message_id], with_body=True))
    body = sent[0].inline or b""
    assert b"DUPONT" not in body and b"In-Reply-To: <1@a>" in body and b"References: <0@a> <1@a>" in body
    assert b"Auto-Submitted: auto-replied" in body and f"To: {DOCTOR}".encode() in body
    assert len(await stage.journal(JournalKind.VACATION_SENT)) == 1


@pytest.mark.parametrize("words", [':subject "Re: ${0}" "absente"', '"absente, pour ${0}"', '"absente, ${known}"'])
async def test_an_answer_never_repeats_the_letter(stage: SmtpStage, space: SieveSpace, wire: Wire, words: str) -> None:
    """A subject may name a patient: neither subject nor text of an answer takes words from the message."""
    await space.script(ALICE, 'require ["vacation","variables"]; if header :matches "subject" "*" '
                              f'{{ set "known" "${{1}}"; vacation {words}; }}')
    await deliver(wire, letter("Subject: Mme DUPONT Jeanne\r\n"))
    await space.absences.flush()
    (queued,) = await stage.queue()
    sent = await stage.stores.database.read(lambda tx: stage.stores.messages.contents(tx, [queued.message_id], with_body=True))
    body = (sent[0].inline or b"").upper()
    assert b"DUPONT" not in body and b"AUTO-SUBMITTED" in body and b"ABSEN" in body


async def test_told_again_after_the_delay_and_not_after_the_end(stage: SmtpStage, wire: Wire) -> None:
    space = sieve_space(stage, minimum_seconds=60)
    await space.script(ALICE, 'require ["vacation-seconds","date","relational"]; if currentdate :value "lt" :zone "+0000" "hour" "13" '
                              '{ vacation :seconds 600 "absente"; }')
    for minutes, told in ((0, 1), (5, 1), (11, 2), (59, 2)):
        stage.clock.advance(timedelta(minutes=minutes))
        await deliver(wire, letter())
        await space.absences.flush()
        assert len(await stage.queue()) == told


@pytest.mark.parametrize("extra", [
    "Auto-Submitted: auto-generated\r\n", "Precedence: bulk\r\n", "List-Id: <x>\r\n", "List-Unsubscribe: <x>\r\n",
    "X-Auto-Response-Suppress: OOF\r\n", "Content-Type: multipart/report; report-type=delivery-status\r\n",
])
async def test_a_machine_is_never_answered(stage: SmtpStage, space: SieveSpace, wire: Wire, extra: str) -> None:
    await away(space)
    await deliver(wire, letter(extra))
    assert await space.names(ALICE) == {"INBOX": 1} and not await stage.queue()


@pytest.mark.parametrize("sender", ["", "noreply@a.mssante.fr", "owner-x@a.mssante.fr", "x-request@a.mssante.fr"])
async def test_senders_that_are_nobody(stage: SmtpStage, space: SieveSpace, wire: Wire, sender: str) -> None:
    await away(space)
    await deliver(wire, letter(), sender=sender)
    await space.absences.flush()
    assert not await stage.queue()


async def test_only_when_addressed(stage: SmtpStage, space: SieveSpace, wire: Wire) -> None:
    await away(space)
    await deliver(wire, letter(to="tous@a.mssante.fr"))
    await space.absences.flush()
    assert not await stage.queue()


async def test_a_citizen_is_never_answered(stage: SmtpStage, space: SieveSpace) -> None:
    await away(space)
    wire = await stage.session(await stage.open(), "b")
    citizen = f"278072221201293@{CITIZEN}"
    await deliver(wire, message(citizen, extra=f"To: {ALICE}\r\n"), sender=citizen)
    assert await space.names(ALICE) == {"INBOX": 1} and not await stage.queue()


async def test_two_absent_people_do_not_storm(stage: SmtpStage, space: SieveSpace, wire: Wire) -> None:
    await away(space)
    await away(space, BOB)
    view = message(BOB, extra=f"To: {ALICE}\r\n")
    port = await stage.open("submission")
    client = await stage.connect(port)
    await client.secure("", "poste")
    await client.leave()
    from mssante.model.address import parse_envelope_address
    from mssante.model.envelope import Recipient  # filed as submission does, without its login
    from mssante.model.message import NewMessage, StagedBody
    from mssante.protocol.mime.imapview import facts
    from mssante.services.opening import acceptances
    from mssante.services.reception import place, placed
    from mssante.services.smtp_session import LocalTarget
    for _ in range(3):
        new = NewMessage(StagedBody(len(view), "0" * 64, inline=view), b"", facts(view), "T" * 26, NOW)
        targets = [LocalTarget(Recipient(parse_envelope_address(ALICE)), stage.mailboxes[ALICE])]
        places = await place(stage.context, new, targets, parse_envelope_address(BOB))
        await placed(stage.context, places, await stage.mailroom.accept(acceptances(new, places, None, ())))
    assert await space.names(ALICE) == {"INBOX": 3}
    assert await space.names(BOB) == {"INBOX": 1}  # one answer, itself unanswered


async def test_answers_of_an_hour_are_bounded(stage: SmtpStage, wire: Wire) -> None:
    space = sieve_space(stage, per_hour=2)
    await away(space)
    for rank in range(5):
        await deliver(wire, letter(), sender=f"d{rank}@a.mssante.fr")
    await space.absences.flush()
    assert len(await stage.queue()) == 2


async def test_the_managed_absence_leaves_the_script_alone(stage: SmtpStage, space: SieveSpace, wire: Wire) -> None:
    await space.script(ALICE, 'require ["fileinto","vacation"]; vacation "autre"; fileinto "Archive";')
    await away(space, text="Congé.\n.\n..point")
    await deliver(wire, letter())
    assert await space.names(ALICE) == {"Archive": 1} and len(await stage.queue()) == 1
    author = Author(stage.mailboxes[ALICE], ALICE, "test")
    assert [one.name for one in await space.desk.all(author.mailbox)] == ["filtre"]
    await space.desk.set_absence(author, None)
    assert await space.desk.absence(author.mailbox) is None


async def test_the_desk_refuses(space: SieveSpace) -> None:
    author = Author(space.stage.mailboxes[ALICE], ALICE, "test")
    await space.script(ALICE, "keep;")
    for name in ("", "a\x01b", "x" * 129, "a\u2028"):
        with pytest.raises(DeskFault):
            await space.desk.put(author, name, b"keep;")
    with pytest.raises(DeskFault):
        await space.desk.delete(author, "filtre")
    with pytest.raises(DeskFault):
        await space.desk.rename(author, "filtre", "filtre")
    with pytest.raises(DeskFault):
        await space.desk.activate(author, "absent")
    for rank in range(19):
        await space.desk.put(author, f"s{rank}", b"")
    with pytest.raises(DeskFault):
        await space.desk.put(author, "de trop", b"")
    with pytest.raises(DeskFault):
        await space.desk.put(author, "s1", b" " * 70_000)
    events = await space.stage.journal(JournalKind.FILTER_CHANGED)
    assert len(events) == 21 and all("keep" not in str(one.payload) for one in events)
