"""Administration: what it changes stands in the journal; what it refuses is typed, with a rule and a remedy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, BOB, NOW, OURS, PASSWORD, SmtpStage, build
from support.storage_values import queued

from mssante.errors import InputFault
from mssante.lang import set_language
from mssante.model.journal import JournalKind
from mssante.model.mailbox import MailboxState, MailboxType
from mssante.protocol.sasl.scram import derive, read_verifier
from mssante.services.admin import Admin, MailboxSpec

NEW = f"nouvelle@{OURS}"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def admin(stage: SmtpStage) -> Admin:
    return Admin(stage.stores, stage.clock, frozenset({OURS}))


async def refused(work: Awaitable[object], rule: str) -> InputFault:
    with pytest.raises(InputFault) as caught:
        await work
    assert caught.value.rule == rule
    return caught.value


def spec(address: str = NEW, **changes: str) -> MailboxSpec:
    return MailboxSpec(address, MailboxType.PER, **changes)


async def test_a_mailbox_with_its_login_is_ready_at_once(stage: SmtpStage, admin: Admin) -> None:
    (made,) = await admin.create_mailboxes([spec(NEW.upper(), login=NEW.upper(), password=PASSWORD, display_name="Nouvelle")])
    assert (made.address, made.state, made.display_name) == (NEW, MailboxState.ACTIVE, "Nouvelle")
    account = await stage.accounts.authenticate(NEW, PASSWORD, "192.0.2.1:1")
    assert account is not None and account.mailbox_ids == (made.id,)
    assert read_verifier(account.scram) is not None, "it can log in by SCRAM too"
    (event,) = await stage.journal(JournalKind.MAILBOX_CHANGED)
    assert (event.subject, event.payload) == (NEW, {"action": "created", "type": "PER"})
    assert PASSWORD not in repr(await stage.journal())


@pytest.mark.parametrize(("address", "rule"), [
    ("", "BAL-ADRESSE"), ("nouvelle", "BAL-ADRESSE"), (f"deux mots@{OURS}", "BAL-ADRESSE"), (f"a@b@{OURS}", "BAL-ADRESSE"),
    (f"été@{OURS}", "BAL-ADRESSE"), (f'"x"@{OURS}', "BAL-ADRESSE"), (f"x\r\n@{OURS}", "BAL-ADRESSE"), (f"x@{OURS}\x00", "BAL-ADRESSE"),
    ("x" * 65 + f"@{OURS}", "BAL-ADRESSE"), (f"a%b@{OURS}", "BAL-ADRESSE"), ("x@a.mssante.fr", "BAL-DOMAINE"),
    (f"x@sub.{OURS}", "BAL-DOMAINE"), (ALICE, "BAL-EXISTE")])
async def test_addresses_that_cannot_be(stage: SmtpStage, admin: Admin, address: str, rule: str) -> None:
    fault = await refused(admin.create_mailboxes([spec(), spec(address)]), rule)
    assert fault.remedy or rule == "BAL-EXISTE"
    assert [box.address for box in await admin.mailboxes()] == [ALICE, BOB], "all or none"
    assert await stage.journal() == []


async def test_doubles_and_empty_passwords_are_refused(admin: Admin) -> None:
    await refused(admin.create_mailboxes([spec(), spec(NEW.upper())]), "BAL-EXISTE")
    await refused(admin.create_mailboxes([spec(login=ALICE, password=PASSWORD)]), "BAL-EXISTE")
    await refused(admin.create_mailboxes([spec(login=NEW, password="")]), "COMPTE-MOT-DE-PASSE")
    assert await admin.create_mailboxes([]) == []


async def test_a_login_may_open_several_mailboxes(stage: SmtpStage, admin: Admin) -> None:
    made = await admin.create_account("Secretariat", PASSWORD, [BOB.upper(), ALICE, BOB])
    assert made.login == "secretariat" and made.mailbox_ids == (stage.mailboxes[BOB].id, stage.mailboxes[ALICE].id)
    assert [one.login for one in await admin.accounts()] == [ALICE, BOB, "secretariat"]


async def test_logins_that_cannot_be(admin: Admin) -> None:
    await refused(admin.create_account("x", PASSWORD, []), "BAL-INCONNUE")
    assert NEW in (await refused(admin.create_account("x", PASSWORD, [ALICE, NEW]), "BAL-INCONNUE")).public
    await refused(admin.create_account(ALICE.upper(), PASSWORD, [ALICE]), "COMPTE-EXISTE")
    for password in ("", "x" * 1025):
        await refused(admin.create_account("x", password, [ALICE]), "COMPTE-MOT-DE-PASSE")
    for work in (admin.change_account("absent", enabled=False), admin.change_account("absent", password="x"),
                 admin.delete_account("absent")):
        await refused(work, "COMPTE-INCONNU")


async def test_password_state_and_end_of_a_login(stage: SmtpStage, admin: Admin) -> None:
    peer = "192.0.2.1:1"
    await admin.change_account(ALICE.upper(), password="autre mot")
    changed = await stage.accounts.authenticate(ALICE, "autre mot", peer)
    assert changed is not None
    kept = read_verifier(changed.scram)
    assert kept is not None and kept == derive("autre mot", kept.salt, kept.iterations)
    await admin.change_account(ALICE, password="sonnerie\u0007")
    rung = {one.login: one for one in await admin.accounts()}[ALICE]
    assert rung.scram == "", "SASLprep refuses it: no SCRAM, and not the verifier of the password before"
    await admin.change_account(ALICE, password="autre mot")
    await refused(admin.change_account(ALICE, password=""), "COMPTE-MOT-DE-PASSE")
    await admin.change_account(ALICE, enabled=False)
    await admin.change_account(ALICE, enabled=True)
    await admin.delete_account(ALICE)
    await refused(admin.delete_account(ALICE), "COMPTE-INCONNU")
    events = [event.payload["action"] for event in await stage.journal(JournalKind.ACCOUNT_CHANGED)]
    assert events == ["password", "password", "password", "enabled=False", "enabled=True", "deleted"]
    assert [box.address for box in await admin.mailboxes()] == [ALICE, BOB], "the mailbox stays"


async def test_mailboxes_come_page_by_page(stage: SmtpStage, admin: Admin) -> None:
    assert [box.address for box in await admin.mailboxes(limit=1)] == [ALICE]
    assert [box.address for box in await admin.mailboxes(after=ALICE)] == [BOB]


async def test_the_queue(stage: SmtpStage, admin: Admin) -> None:
    item = queued("x@a.mssante.fr", "y@a.mssante.fr", "z@b.mssante.fr")
    await stage.stores.database.write(lambda tx: stage.stores.messages.accept(tx, [item]))
    (first, *_) = await admin.queue()
    assert len(await admin.queue(destination="a.mssante.fr")) == 2 and len(await admin.queue(limit=1)) == 1
    assert await admin.change_queue("hold", destination="a.mssante.fr") == 2
    assert await admin.queue_depth() == {"held": 2, "queued": 1}
    assert await admin.change_queue("release", queue_id=first.queue_id) == 2
    stage.clock.set(NOW + timedelta(days=1))
    assert await admin.change_queue("retry", queue_id=first.queue_id) == 3
    assert await admin.change_queue("cancel", queue_id=first.queue_id) == 3 and await admin.queue() == []
    assert await admin.change_queue("retry", queue_id=999) == 0
    events = [event.payload["action"] for event in await stage.journal(JournalKind.QUEUE_CHANGED)]
    assert events[:4] == ["hold", "release", "retry", "cancel"]
    assert "retry" in (await refused(admin.change_queue("explode"), "FILE-ACTION")).remedy


async def test_a_trace_tells_the_story_and_the_place(stage: SmtpStage, admin: Admin) -> None:
    wire = await stage.session(await stage.open())
    await wire.asks("MAIL FROM:<docteur@a.mssante.fr>", f"RCPT TO:<{ALICE}>", f"RCPT TO:<{BOB}>")
    trace_id = (await wire.data(b"From: docteur@a.mssante.fr\r\n\r\nx\r\n")).split()[-1]
    events, places = await admin.trace(trace_id)
    assert [event.kind for event in events] == ["received"]
    assert sorted(places) == sorted((stage.mailboxes[one].id, "INBOX", 1) for one in (ALICE, BOB))
    assert await admin.trace("absent") == ([], [])
    assert [row.trace_id for row in await admin.journal(kind="received", subject="docteur@a.mssante.fr")] == [trace_id]


async def test_refusals_speak_both_languages(admin: Admin) -> None:
    french = await refused(admin.create_mailboxes([spec("x@gmail.com")]), "BAL-DOMAINE")
    set_language("en")
    english = await refused(admin.create_mailboxes([spec("x@gmail.com")]), "BAL-DOMAINE")
    assert "hébergé" in french.public and "hosted" in english.public and french.remedy != english.remedy
