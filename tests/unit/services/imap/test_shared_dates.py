"""Delegations in IMAP: dates, rights taken away while a session is open or idle, what who only reads cannot do, readings, one copy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.dialogue import Client
from support.imap_stage import NOW, PASSWORD, FixedClock, Stage, build, simple

from mssante.model.delegation import NewDelegation, Right
from mssante.model.mailbox import MailboxState, MailboxType
from mssante.services.imap.rights import RIGHTS_SECONDS
from mssante.services.imap.session import STANDING_SECONDS
from mssante.storage.interfaces import NewMailbox

BOX = "accueil@hopital.mssante.fr"
LEA, TOM = "lea@hopital.mssante.fr", "tom@hopital.mssante.fr"
LEAD = f"Partages/{BOX}/"
OPEN, READ, SEND = Right.OPEN, Right.READ, Right.SEND


class MovingClock(FixedClock):
    """A clock that the test moves."""

    seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """An ORG box of a team, with two messages; Lea and Tom have their own boxes."""
    made = await build(tmp_path)
    object.__setattr__(made.services, "clock", MovingClock())
    for name in (LEA, TOM):
        await made.add_mailbox(name)
    (made.mailbox,) = await made.stores.database.write(
        lambda tx: made.stores.accounts.create_mailboxes(tx, [NewMailbox(BOX, MailboxType.ORG, NOW)]))
    for name in ("hello", "second"):
        await made.deliver("INBOX", name)
    yield made
    await made.close()


async def give(stage: Stage, login: str, *rights: Right, since: int = 0, until: int = 0) -> None:
    """Give rights as the command line does from another process. since, until: seconds from now, 0 for no bound."""
    def unit(tx: Any) -> None:
        person = stage.stores.delegations.people(tx, [login])[login]
        stage.stores.delegations.give(tx, [NewDelegation(
            person.account_id, stage.mailbox.id, frozenset(rights), NOW + timedelta(seconds=since) if since else None,
            NOW + timedelta(seconds=until) if until else None)])

    await stage.stores.database.write(unit)


async def take(stage: Stage, login: str) -> None:
    def unit(tx: Any) -> None:
        person = stage.stores.delegations.people(tx, [login])[login]
        stage.stores.delegations.take(tx, [(person.account_id, stage.mailbox.id)])

    await stage.stores.database.write(unit)


def wait(stage: Stage, seconds: float) -> None:
    stage.services.clock.seconds += seconds  # type: ignore[attr-defined]


async def login(stage: Stage, name: str = LEA, port: int = 40001) -> Client:
    client = Client(stage.endpoint, tls=True, one_by_one=False, port=port)
    await client.line()
    assert (await client.ask(f'l LOGIN {name} "{PASSWORD}"'))[-1].startswith("l OK")
    return client


async def test_a_delegation_begins_and_ends_to_the_second_in_an_open_session(stage: Stage) -> None:
    await give(stage, LEA, OPEN, since=2, until=4)
    client = await login(stage)
    answers = []
    for _ in range(3):
        answers.append((await client.ask(f"x EXAMINE {LEAD}INBOX"))[-1][:4])
        await client.ask("u UNSELECT")
        wait(stage, 2)
    assert answers == ["x NO", "x OK", "x NO"]
    assert not [line for line in await client.ask('y LIST "" *') if BOX in line]


async def test_a_session_in_the_box_ends_with_its_delegation(stage: Stage) -> None:
    await give(stage, LEA, OPEN, until=4)
    client = await login(stage)
    await client.ask(f"x SELECT {LEAD}INBOX")
    wait(stage, 3)
    assert (await client.ask("f FETCH 1 FLAGS"))[-1].startswith("f OK")
    wait(stage, 1)
    client.send(b"g FETCH 1 BODY[]\r\n")
    assert (await client.line()).startswith("* BYE")


async def test_what_is_taken_away_ends_an_open_session_within_the_bound(stage: Stage) -> None:
    await give(stage, LEA, OPEN)
    client = await login(stage)
    await client.ask(f"x SELECT {LEAD}INBOX")
    await take(stage, LEA)
    wait(stage, RIGHTS_SECONDS + 0.1)
    client.send(b"g FETCH 1 BODY[]\r\n")
    assert (await client.line()).startswith("* BYE")
    assert RIGHTS_SECONDS <= 30


async def test_an_idle_session_is_told_of_nothing_more(stage: Stage) -> None:
    await give(stage, LEA, OPEN, until=10)
    client = await login(stage)
    await client.ask(f"x SELECT {LEAD}INBOX")
    client.send(b"i IDLE\r\n")
    assert (await client.line()).startswith("+")
    await stage.deliver("INBOX", "third")
    assert (await client.line()) == "* 3 EXISTS"
    wait(stage, 10)
    await stage.deliver("INBOX", "mixed")
    line = await client.line()
    while "RECENT" in line:
        line = await client.line()
    assert line.startswith("* BYE"), line


READ_ONLY = ["STORE 1 +FLAGS (\\Deleted)", "STORE 1 +FLAGS (\\Seen)", "STORE 1 FLAGS ()", "UID STORE 1 +FLAGS.SILENT (travail)",
             "EXPUNGE", "UID EXPUNGE 1:2", "MOVE 1 INBOX", "UID MOVE 1:2 Trash", f"DELETE {LEAD}Archive", f"CREATE {LEAD}Neuf",
             f"RENAME {LEAD}Archive {LEAD}Vieux", f"SETACL {LEAD}INBOX {LEA} lrswipkxtea", f"COPY 1 {LEAD}Archive",
             f"GETACL {LEAD}INBOX"]


@pytest.mark.parametrize("command", READ_ONLY)
async def test_who_only_reads_changes_nothing(stage: Stage, command: str) -> None:
    await give(stage, LEA, READ, SEND)
    client = await login(stage)
    assert (await client.ask(f"x SELECT {LEAD}INBOX"))[-1].startswith("x OK")
    before = await stage.stores.database.read(lambda tx: stage.stores.messages.snapshot(tx, stage.mailbox.inbox_id)[1])
    answer = await client.ask("y " + command)
    assert answer[-1].startswith("y NO"), answer
    assert "1 FETCH" in "".join(await client.ask("z FETCH 1 BODY[]"))
    await client.ask("c CLOSE")
    after = await stage.stores.database.read(lambda tx: stage.stores.messages.snapshot(tx, stage.mailbox.inbox_id)[1])
    assert list(after) == list(before)


async def test_append_needs_more_than_reading(stage: Stage) -> None:
    await give(stage, LEA, READ)
    client = await login(stage)
    assert (await client.ask(f"a APPEND {LEAD}INBOX {{4+}}\r\na: b"))[-1].startswith("a NO")


async def test_send_alone_shows_nothing(stage: Stage) -> None:
    await give(stage, LEA, SEND)
    client = await login(stage)
    assert (await client.ask(f"x SELECT {LEAD}INBOX"))[-1].startswith("x NO [NONEXISTENT]")


async def test_first_readings_are_kept_for_org_boxes(stage: Stage) -> None:
    for name in (LEA, TOM):
        await give(stage, name, OPEN)
    lea, tom = await login(stage), await login(stage, TOM, 40002)
    for client in (lea, tom):
        await client.ask(f"x SELECT {LEAD}INBOX")
    await lea.ask("a FETCH 1:2 (FLAGS ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER] RFC822.SIZE)")
    log = stage.services.mailroom.books.readings
    assert await log.flush(stage.stores) == 0, "headers open nothing"
    for _ in range(2):
        await lea.ask("b FETCH 1 BODY.PEEK[TEXT]")
    await tom.ask("c STORE 2 +FLAGS (\\Seen)")
    await lea.ask("d COPY 2 INBOX")  # to her own box: readable there from now on
    await lea.ask("e SELECT INBOX")
    await lea.ask("f FETCH 1 BODY[]")  # her own mail: nobody's affair
    assert await log.flush(stage.stores) == 3
    found = await stage.stores.database.read(lambda tx: stage.stores.delegations.readings(tx, stage.mailbox.id))
    assert sorted((one.login, one.message_key) for one in found) == [
        (LEA, "<1.19@example>"), (LEA, "<2.31@example>"), (TOM, "<2.31@example>")]
    log.on = False
    await tom.ask("g FETCH 1 BODY[]")
    assert await log.flush(stage.stores) == 0


async def test_readings_that_could_not_be_written_wait(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    log = stage.services.mailroom.books.readings
    log.note(stage.mailbox.id, 1, [10, 11], NOW)

    async def fail(unit: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(stage.stores.database, "write", fail)
        with pytest.raises(OSError):
            await log.flush(stage.stores)
    assert await log.flush(stage.stores) == 2


async def test_the_append_of_what_the_server_filed_gives_that_copy(stage: Stage) -> None:
    await give(stage, LEA, OPEN, SEND)
    body = simple("Envoi", BOX, "Bonjour.")
    uid = await stage.deliver_octets("Sent", body, "seen")
    sent = await stage.folder("Sent")
    books = stage.services.mailroom.books
    books.sent.note(sent.id, "<1.8@example>", uid, 60.0, server=True)
    client = await login(stage)

    async def append(folder: str) -> str:
        return (await client.ask(f"a APPEND {folder} (\\Seen) {{{len(body)}+}}\r\n{body.decode()}"))[-1]

    assert f"[APPENDUID {sent.uidvalidity} {uid}]" in await append(f"{LEAD}Sent")
    assert (await stage.folder("Sent")).message_count == 1
    assert "OK" in await append("Sent"), "another folder is another affair"
    wait(stage, 60)
    assert f"[APPENDUID {sent.uidvalidity} {uid + 1}]" in await append(f"{LEAD}Sent"), "the window is over"
    assert books.sent.find(sent.id, "<1.8@example>", 61.0, server=False) == uid + 1, "known to the server, the other way round"


async def test_a_copy_that_was_removed_is_no_copy(stage: Stage) -> None:
    await give(stage, LEA, OPEN)
    body = simple("Envoi", BOX, "Bonjour.")
    sent = await stage.folder("Sent")
    stage.services.mailroom.books.sent.note(sent.id, "<1.8@example>", 99, 60.0, server=True)
    client = await login(stage)
    await client.ask(f"a APPEND {LEAD}Sent {{{len(body)}+}}\r\n{body.decode()}")
    assert (await stage.folder("Sent")).message_count == 1


@pytest.mark.parametrize("how", ["login", "mailbox"])
async def test_who_is_disabled_is_out_of_the_open_session_within_the_bound(stage: Stage, how: str) -> None:
    client, idle = await login(stage), await login(stage, LEA, 40002)
    for one in (client, idle):
        await one.ask("x SELECT INBOX")
    idle.send(b"i IDLE\r\n")
    assert (await idle.line()).startswith("+")

    def leave(tx: Any) -> None:
        if how == "login":
            stage.stores.accounts.update_account(tx, LEA, enabled=False)
        else:
            stage.stores.accounts.set_mailbox_state(tx, LEA, MailboxState.SUSPENDED)

    await stage.stores.database.write(leave)
    assert (await client.ask("a NOOP"))[-1].startswith("a OK")
    wait(stage, STANDING_SECONDS)
    client.send(b"b FETCH 1:* FLAGS\r\n")
    assert (await client.line()).startswith("* BYE")
    stage.mailbox = (await stage.stores.database.read(lambda tx: stage.stores.accounts.mailboxes_by_address(tx, [LEA])))[0]
    await stage.deliver("INBOX", "third")
    assert (await idle.line()).startswith("* BYE"), "told of nothing"
    assert STANDING_SECONDS <= 30
