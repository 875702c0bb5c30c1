"""Mailboxes over their quota, octets in and octets out: refused at RCPT or DATA, never after 250, at no statement a message."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.smtp_stage import ALICE, BOB, PASSWORD, SmtpStage, Wire, build, message

from mssante.model.journal import JournalKind
from mssante.services.addressbook import KEEP_SECONDS

MAIL = "MAIL FROM:<docteur@a.mssante.fr>"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def wire(stage: SmtpStage) -> Wire:
    return await stage.session(await stage.open())


async def limit(stage: SmtpStage, address: str = ALICE, *, octets: int = 0, messages: int = 0) -> None:
    await stage.stores.database.write(
        lambda tx: stage.stores.accounts.set_quota(tx, address, octets=octets, messages=messages))
    stage.addresses.forget()


async def send(wire: Wire, *recipients: str, size: int = 0, content: bytes = b"") -> list[str]:
    """Give the replies to RCPT, and to DATA when one was good."""
    await wire.ask(MAIL + (f" SIZE={size}" if size else ""))
    replies = [await wire.ask(f"RCPT TO:<{one}>") for one in recipients]
    if any(reply.startswith("250") for reply in replies):
        replies.append(await wire.data(content or message()))
    await wire.ask("RSET")
    return replies


async def test_a_full_mailbox_is_refused_at_rcpt_for_now(stage: SmtpStage, wire: Wire) -> None:
    await limit(stage, messages=2)
    for _ in range(2):
        assert [reply[:3] for reply in await send(wire, ALICE)] == ["250", "250"]
    assert await send(wire, ALICE) == ["452 4.2.2 Boite pleine, reessayez plus tard [BOITE-PLEINE]"]
    assert [reply[:3] for reply in await send(wire, ALICE, BOB)] == ["452", "250", "250"]
    assert (len(await stage.inbox(ALICE)), len(await stage.inbox(BOB))) == (2, 1)
    (event, *_) = await stage.journal(JournalKind.RECIPIENT_REFUSED)
    assert event.payload["rule"] == "BOITE-PLEINE"


async def test_it_may_be_refused_for_good(stage: SmtpStage) -> None:
    stage.context.settings = replace(stage.context.settings, full_is_final=True)
    wire = await stage.session(await stage.open())
    await limit(stage, messages=1)
    await send(wire, ALICE)
    assert await send(wire, ALICE) == ["552 5.2.2 Boite pleine : le message n'a pas ete remis [BOITE-PLEINE]"]


async def test_the_declared_size_is_looked_at_before_the_message(stage: SmtpStage, wire: Wire) -> None:
    await limit(stage, octets=5000)
    assert [reply[:9] for reply in await send(wire, ALICE, size=6000)] == ["452 4.2.2"]
    assert [reply[:3] for reply in await send(wire, ALICE, size=1000)] == ["250", "250"]


async def test_a_message_whose_size_was_not_told_is_refused_at_data(stage: SmtpStage, wire: Wire) -> None:
    await limit(stage, octets=5000)
    big = message(text="x" * 900 + "\r\n" + "y" * 900 + "\r\n" + "z" * 3500)
    assert [reply[:9] for reply in await send(wire, ALICE, content=big)] == ["250 2.1.5", "452 4.2.2"]
    assert await stage.inbox() == []
    # Taken for one of them, it is filed for all: nothing that was accepted is lost.
    assert [reply[:3] for reply in await send(wire, ALICE, BOB, content=big)] == ["250", "250", "250"]
    assert (len(await stage.inbox(ALICE)), len(await stage.inbox(BOB))) == (1, 1)
    assert [reply[:3] for reply in await send(wire, ALICE)] == ["452"]


async def test_room_that_is_made_is_seen_within_the_age_of_the_cache(stage: SmtpStage, wire: Wire) -> None:
    await limit(stage, messages=1)
    await send(wire, ALICE)
    inbox = stage.mailboxes[ALICE].inbox_id
    archive = await stage.stores.database.read(lambda tx: stage.stores.folders.of_mailbox(tx, stage.mailboxes[ALICE].id))
    await stage.stores.database.write(lambda tx: stage.stores.folders.delete(tx, next(f.id for f in archive if f.name == "Archive")))
    assert (await send(wire, ALICE))[0].startswith("452")
    await limit(stage, messages=2)  # forgets, as a new entry after 30 s does
    assert [reply[:3] for reply in await send(wire, ALICE)] == ["250", "250"]
    assert (await send(wire, ALICE))[0].startswith("452")
    await stage.stores.database.write(lambda tx: stage.stores.folders.move_all(tx, inbox, inbox + 1, now=stage.clock.now()))
    await stage.stores.database.write(lambda tx: stage.stores.folders.delete(tx, inbox + 1))
    stage.clock.advance(timedelta(seconds=KEEP_SECONDS + 1))
    assert [reply[:3] for reply in await send(wire, ALICE)] == ["250", "250"]


async def test_a_delivery_costs_no_statement_more(stage: SmtpStage, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    units: list[str] = []
    for name in ("read", "write"):
        inner = getattr(stage.stores.database, name)

        async def counted(unit: Callable[..., Any], inner: Any = inner, name: str = name, **options: Any) -> Any:
            units.append(name)
            return await inner(unit, **options)

        monkeypatch.setattr(stage.stores.database, name, counted)
    await limit(stage, messages=100)
    units.clear()
    for _ in range(10):
        assert [reply[:3] for reply in await send(wire, ALICE)] == ["250", "250"]
    assert units == ["read"]  # of the mailbox with what it holds; the commits are group commits


async def test_our_own_users_are_told_the_same(stage: SmtpStage) -> None:
    await limit(stage, messages=1)
    wire = await stage.connect(await stage.open("submission"))
    await wire.reply()
    await wire.ask("EHLO client")
    await wire.secure()
    token = base64.b64encode(f"\0{BOB}\0{PASSWORD}".encode()).decode()
    assert (await wire.ask(f"AUTH PLAIN {token}")).startswith("235")
    for wanted in ("250", "452"):
        await wire.ask(f"MAIL FROM:<{BOB}>")
        assert (await wire.ask(f"RCPT TO:<{ALICE}>")).startswith(wanted)
        if wanted == "250":
            assert (await wire.data(message(BOB))).startswith("250")
        await wire.ask("RSET")
    # With a recipient elsewhere the message goes, whatever its size.
    await limit(stage, octets=5000)
    await wire.ask(f"MAIL FROM:<{BOB}>")
    assert (await wire.asks(f"RCPT TO:<{ALICE}>", "RCPT TO:<x@a.mssante.fr>"))[0].startswith("250")
    assert (await wire.data(message(BOB, text="x" * 900 + "\r\n" + "y" * 900 + "\r\n" + "z" * 900 + "\r\n" + "y" * 4000))).startswith("250")
    await wire.ask("RSET")
    await wire.ask(f"MAIL FROM:<{BOB}>")
    assert (await wire.ask(f"RCPT TO:<{ALICE}>")).startswith("452")
