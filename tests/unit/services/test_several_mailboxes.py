"""An account of several mailboxes (its own, delegated ones, a box of a team that a token names): what each door opens, and only that.

The table: who has what on the box of a team, by which way in; what reads, what sends, in whose name, and what the journal says.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import imap_stage
from support.dialogue import Client
from support.smtp_stage import ALICE, BOB, NOW, PASSWORD, SmtpStage, Wire, build, message

from mssante.model.delegation import NewDelegation, Right
from mssante.model.journal import JournalKind
from mssante.model.mailbox import MailboxType
from mssante.services.imap.session import STANDING_SECONDS
from mssante.storage.interfaces import Account, NewMailbox

OPEN, READ, SEND = Right.OPEN, Right.READ, Right.SEND
DAY = timedelta(days=1)
YES, OTHER, NO_SEND = "250", "EXPEDITEUR-AUTRE", "ENVOI-NON-DELEGUE"


# ------------------------------------------------------------------------------------------ sending: ALICE is the box, BOB the member


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def bob(stage: SmtpStage, *rights: Right, since: Any = None, until: Any = None, token: bool = False) -> Wire:
    """Log in as Bob, who has these rights on the box of Alice. token: he logs in by a token that names that box."""
    def unit(tx: Any) -> None:
        person = stage.stores.delegations.people(tx, [BOB])[BOB]
        stage.stores.delegations.give(tx, [NewDelegation(person.account_id, stage.mailboxes[ALICE].id, frozenset(rights), since, until)])

    if rights:
        await stage.stores.database.write(unit)
    if token:
        accept = stage.accounts._accept
        stage.accounts._accept = lambda account, caller: replace(  # type: ignore[method-assign]
            accept(account, caller), opened=stage.mailboxes[ALICE].id)
    wire = await stage.connect(await stage.open("submissions"), tls=True)
    await wire.reply()
    await wire.ask("EHLO poste")
    word = b64encode(f"\0{BOB}\0{PASSWORD}".encode()).decode()
    assert (await wire.ask(f"AUTH PLAIN {word}")).startswith("235 ")
    return wire


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(("rights", "since", "until", "team"), [
    ((), None, None, OTHER),
    ((READ,), None, None, NO_SEND),
    ((OPEN,), None, None, NO_SEND),
    ((SEND,), None, None, YES),
    ((OPEN, SEND), None, None, YES),
    ((OPEN, SEND), NOW - 2 * DAY, NOW - DAY, OTHER),
    ((OPEN, SEND), NOW + DAY, NOW + 2 * DAY, OTHER),
    ((OPEN, SEND), NOW - DAY, NOW + DAY, YES),
])
async def test_in_whose_name_mail_leaves(stage: SmtpStage, rights: tuple[Right, ...], since: Any, until: Any, team: str, token: bool) -> None:
    wire = await bob(stage, *rights, since=since, until=until, token=token)
    assert (await wire.ask(f"MAIL FROM:<{ALICE}>")).startswith("250") is (team == YES)
    await wire.ask("RSET")
    assert team in await wire.ask(f"MAIL FROM:<{ALICE}>")
    await wire.ask("RSET")
    assert (await wire.ask(f"MAIL FROM:<{BOB}>")).startswith("250"), "one's own, always"


@pytest.mark.parametrize("token", [False, True])
async def test_who_sent_is_told_by_whatever_login(stage: SmtpStage, token: bool) -> None:
    """A token that names the box opens it: its mail still bears who wrote it."""
    wire = await bob(stage, OPEN, SEND, token=token)
    assert [reply[:3] for reply in await wire.asks(f"MAIL FROM:<{ALICE}>", f"RCPT TO:<{BOB}>")] == ["250", "250"]
    assert (await wire.data(message(ALICE))).startswith("250")
    (event,) = await stage.journal(JournalKind.SUBMITTED)
    assert (event.subject, event.payload["login"], event.payload["behalf"]) == (ALICE, BOB, True)
    (arrived,) = await stage.inbox(BOB)
    assert b"\r\nSender: " + BOB.encode() + b"\r\n" in arrived.prefix


# ------------------------------------------------------------------------------------------ reading


TEAM, LEA = "accueil@hopital.mssante.fr", "lea@hopital.mssante.fr"


class MovingClock(imap_stage.FixedClock):
    """A clock that the test moves."""

    seconds = 0.0

    def now(self) -> Any:
        return imap_stage.NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[imap_stage.Stage]:
    """A box of a team with one letter; Lea has her own box."""
    made = await imap_stage.build(tmp_path)
    object.__setattr__(made.services, "clock", MovingClock())
    await made.add_mailbox(LEA)
    (made.mailbox,) = await made.stores.database.write(
        lambda tx: made.stores.accounts.create_mailboxes(tx, [NewMailbox(TEAM, MailboxType.ORG, imap_stage.NOW)]))
    await made.deliver("INBOX", "hello")
    yield made
    await made.close()


async def lea(house: imap_stage.Stage, *rights: Right, since: int = 0, until: int = 0, token: bool = False) -> Client:
    """Log in as Lea. since, until: seconds from now, 0 for no bound; token: she logs in by a token that names the box of the team."""
    def unit(tx: Any) -> None:
        person = house.stores.delegations.people(tx, [LEA])[LEA]
        house.stores.delegations.give(tx, [NewDelegation(
            person.account_id, house.mailbox.id, frozenset(rights), imap_stage.NOW + timedelta(seconds=since) if since else None,
            imap_stage.NOW + timedelta(seconds=until) if until else None)])

    if rights:
        await house.stores.database.write(unit)
    if token:
        desk = house.services.authenticator
        read = desk._read  # type: ignore[attr-defined]

        async def opened(login: str) -> Account:
            return replace(await read(login), opened=house.mailbox.id)

        desk._read = opened  # type: ignore[attr-defined]
    client = Client(house.endpoint, tls=True, one_by_one=False, port=40001)
    await client.line()
    assert (await client.ask(f'l LOGIN {LEA} "{imap_stage.PASSWORD}"'))[-1].startswith("l OK")
    return client


async def count(client: Client, name: str) -> int:
    """Give the letters of a folder, -1 when it does not open."""
    lines = await client.ask(f"s EXAMINE {name}")
    if not lines[-1].startswith("s OK"):
        return -1
    await client.ask("u UNSELECT")
    return next(int(line.split()[1]) for line in lines if line.endswith("EXISTS"))


@pytest.mark.parametrize(("rights", "since", "until", "letters"), [
    ((), 0, 0, -1), ((READ,), 0, 0, 1), ((OPEN,), 0, 0, 1), ((SEND,), 0, 0, -1), ((OPEN, SEND), 0, 0, 1),
    ((OPEN,), -9, -1, -1), ((OPEN,), 1, 9, -1), ((OPEN,), -9, 9, 1)])
async def test_what_a_login_reads_of_a_team(house: imap_stage.Stage, rights: tuple[Right, ...], since: int, until: int, letters: int) -> None:
    client = await lea(house, *rights, since=since, until=until)
    assert await count(client, f"Partages/{TEAM}/INBOX") == letters
    assert await count(client, "INBOX") == 0, "one's own, always"
    told = [line for line in await client.ask('y LIST "" *') if TEAM in line]
    assert bool(told) is (letters >= 0)


async def test_a_token_that_names_the_box_opens_it_in_place_of_ones_own(house: imap_stage.Stage) -> None:
    client = await lea(house, OPEN, until=100, token=True)
    assert await count(client, "INBOX") == 1
    assert not [line for line in await client.ask('y LIST "" *') if "Partages" in line], "once, not twice"
    assert (await client.ask(f"a SETACL INBOX {LEA} lrswipkxtea"))[-1].startswith("a NO [NOPERM]"), "a member is no holder"
    assert [line.split()[-1] for line in await client.ask("m MYRIGHTS INBOX") if line.startswith("* MYRIGHTS")] == ["lrswipkxtecd"]
    assert (await client.ask("w SELECT INBOX"))[-1].startswith("w OK")
    assert (await client.ask("f STORE 1 +FLAGS (\\Seen)"))[-1].startswith("f OK")


async def test_it_ends_with_the_delegation_and_not_only_with_the_token(house: imap_stage.Stage) -> None:
    client = await lea(house, OPEN, until=100, token=True)
    await client.ask("w SELECT INBOX")
    house.services.clock.seconds = 101 + STANDING_SECONDS  # type: ignore[attr-defined]
    client.send(b"g FETCH 1 BODY[]\r\n")
    assert (await client.line()).startswith("* BYE")
