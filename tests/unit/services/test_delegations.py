"""Members as they are written, plans, and what is in force at an instant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.clock import FakeClock

from mssante.errors import InputFault
from mssante.model.delegation import Right
from mssante.model.mailbox import MailboxType
from mssante.services.delegations import (
    KEEP_SECONDS,
    DelegationBook,
    MemberSpec,
    bound,
    end_delegations,
    parse_member,
    parse_members,
    plan_members,
)
from mssante.services.shareddesk import SharedDesk
from mssante.storage.interfaces import NewMailbox, Stores
from mssante.storage.open import StorageOptions, open_stores

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOX = "cardiologie@hopital.mssante.fr"
OPEN, READ, SEND = Right.OPEN, Right.READ, Right.SEND


@pytest.mark.parametrize(("text", "login", "rights"), [
    ("Lea@h.fr", "lea@h.fr", {OPEN, SEND}), ("lea:read", "lea", {READ}), ("lea@h.fr:read,send", "lea@h.fr", {READ, SEND}),
    ("lea@h.fr:OPEN+send@2026-12-31", "lea@h.fr", {OPEN, SEND}), ("lea@h.fr@2026-12-31T08:00:00Z", "lea@h.fr", {OPEN, SEND})])
def test_a_member_is_read(text: str, login: str, rights: set[Right]) -> None:
    found = parse_member(text)
    assert (found.login, found.rights, found.until is not None) == (login, rights, "2026" in text)


def test_a_day_is_included_to_its_end() -> None:
    assert bound("2026-12-31", end=True) - bound("2026-12-31", end=False) == timedelta(days=1)
    assert bound("2026-12-31T08:00:00Z", end=True) == datetime(2026, 12, 31, 8, tzinfo=UTC)


@pytest.mark.parametrize(("text", "rule"), [
    ("", "DELEGATION-MEMBRE"), (":read", "DELEGATION-MEMBRE"), ("lea:", "DELEGATION-DROITS"), ("lea:admin", "DELEGATION-DROITS"),
    ("lea@2026-13-41", "DELEGATION-DATE"), ("x" * 255, "DELEGATION-MEMBRE"), ("l\tea", "DELEGATION-MEMBRE"),
    ("lea@9999-12-31", "DELEGATION-DATE")])
def test_a_wrong_member_names_its_rule(text: str, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        parse_member(text)
    assert caught.value.rule == rule


def test_members_are_separated_by_semicolons_and_bounded() -> None:
    assert [one.login for one in parse_members("a;b:read ; c\n d;;A:send")] == ["a", "b", "c", "d"]
    assert parse_members("a;A:send")[0].rights == {SEND}, "the last mention counts"
    with pytest.raises(InputFault, match="501"):
        parse_members(";".join(f"l{n}" for n in range(501)))


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    opened = open_stores(f"sqlite:///{tmp_path}/m.db", tmp_path / "blobs", StorageOptions(readers=1))

    def unit(tx: object) -> None:
        names = ["lea", "tom", "ines"]
        boxes = opened.accounts.create_mailboxes(tx, [
            NewMailbox(BOX, MailboxType.ORG, NOW), *[NewMailbox(f"{one}@hopital.mssante.fr", MailboxType.PER, NOW) for one in names]])
        opened.accounts.create_accounts(tx, [(one, "x", (box.id,)) for one, box in zip(names, boxes[1:], strict=True)])

    await opened.database.write(unit)
    yield opened
    opened.close()


def desk(stores: Stores, clock: FakeClock) -> SharedDesk:
    return SharedDesk(stores, clock, frozenset({"hopital.mssante.fr"}))


async def test_a_team_is_given_whole_or_not_at_all(stores: Stores) -> None:
    shared = desk(stores, FakeClock(NOW))
    with pytest.raises(InputFault) as caught:
        await shared.add(BOX, parse_members("lea;absent"), by="cli:x")
    assert caught.value.rule == "COMPTE-INCONNU"
    assert await shared.team(BOX) == []
    plan = await shared.add(BOX, parse_members("lea;tom:read"), by="cli:x")
    assert [(one.login, one.action) for one in plan.changes] == [("lea", "add"), ("tom", "add")]
    again = await shared.add(BOX, parse_members("lea;tom"), by="cli:x")
    assert [(one.login, one.action) for one in again.changes] == [("lea", "keep"), ("tom", "change")]
    events = await stores.database.read(lambda tx: stores.journal.recent(tx, kind="delegation_changed"))
    assert [(one.payload["login"], one.payload["action"], one.payload["rights"], one.payload["by"]) for one in reversed(events)] == [
        ("lea", "add", "open,send", "cli:x"), ("tom", "add", "read", "cli:x"), ("tom", "change", "open,send", "cli:x")]
    with pytest.raises(InputFault, match="ines"):
        await shared.remove(BOX, ["tom", "ines"], by="cli:x")
    assert [one.login for one in await shared.remove(BOX, ["TOM"], by="cli:x")] == ["tom"]


async def test_an_exact_plan_takes_away_who_is_not_named(stores: Stores) -> None:
    shared = desk(stores, FakeClock(NOW))
    await shared.add(BOX, parse_members("lea;tom"), by="x")
    plan = await stores.database.read(lambda tx: plan_members(
        tx, stores, stores.accounts.mailboxes_by_address(tx, [BOX])[0], parse_members("tom;ines"), exact=True))
    assert [(one.action, one.login) for one in plan.changes] == [("keep", "tom"), ("add", "ines"), ("remove", "lea")]


async def test_dates_are_obeyed_to_the_second_though_rows_are_remembered(stores: Stores) -> None:
    clock = FakeClock(NOW)
    shared, book = desk(stores, clock), DelegationBook(stores, clock)
    spec = MemberSpec("lea", frozenset({READ, SEND}), NOW + timedelta(seconds=3), NOW + timedelta(seconds=1))
    await shared.add(BOX, [spec], by="x")
    (held,) = await shared.team(BOX)
    seen = []
    for _ in range(4):
        seen.append((held.state(clock.now()), await book.may_send(held.account_id, held.mailbox_id)))
        clock.advance(timedelta(seconds=1))
    assert seen == [("future", False), ("running", True), ("running", True), ("over", False)]


async def test_what_another_process_takes_away_acts_within_the_bound(stores: Stores) -> None:
    clock = FakeClock(NOW)
    shared, book = desk(stores, clock), DelegationBook(stores, clock)
    await shared.add(BOX, parse_members("lea"), by="x")
    (held,) = await shared.team(BOX)
    assert await book.may_send(held.account_id, held.mailbox_id)
    await shared.remove(BOX, ["lea"], by="x")
    clock.advance(timedelta(seconds=KEEP_SECONDS + 0.1))
    assert not await book.may_send(held.account_id, held.mailbox_id)
    assert KEEP_SECONDS <= 30


async def test_a_leaver_loses_all_but_the_own_mailbox(stores: Stores) -> None:
    shared = desk(stores, FakeClock(NOW))
    await shared.add(BOX, parse_members("lea"), by="x")
    (held,) = await shared.team(BOX)
    assert await stores.database.write(lambda tx: end_delegations(tx, stores, [held.account_id], by="scim", now=NOW)) == 1
    (own,) = await stores.database.read(lambda tx: stores.delegations.of_account(tx, held.account_id))
    assert own.own


async def test_a_delegation_is_told_to_both(stores: Stores) -> None:
    shared = desk(stores, FakeClock(NOW))
    owner = "lea@hopital.mssante.fr"
    spec = MemberSpec("tom", frozenset({READ, SEND}), NOW + timedelta(days=7), NOW)
    await shared.delegate(owner, spec, by="cli:x")
    boxes = await stores.database.read(lambda tx: stores.accounts.mailboxes_by_address(tx, [owner, "tom@hopital.mssante.fr"]))

    def subjects(tx: object) -> list[list[str]]:
        out = []
        for box in boxes:
            _, rows = stores.messages.snapshot(tx, box.inbox_id)
            found = stores.messages.contents(tx, [row.message_id for row in rows], with_body=True)
            out.append([(one.inline or b"").decode() for one in found])
        return out

    (first,), (second,) = await stores.database.read(subjects)
    assert "Auto-Submitted: auto-generated" in first
    assert "tom" in first
    assert owner in second
    for wrong, rule in ((MemberSpec("lea"), "DELEGATION-SOI"), (MemberSpec("absent"), "COMPTE-INCONNU"),
                        (MemberSpec("tom", spec.rights, NOW, NOW + timedelta(days=1)), "DELEGATION-DATE")):
        with pytest.raises(InputFault) as caught:
            await shared.delegate(owner, wrong, by="x")
        assert caught.value.rule == rule


async def test_aliases_of_the_desk(stores: Stores) -> None:
    shared = desk(stores, FakeClock(NOW))
    made = await shared.add_alias(BOX, "Cardio@hopital.mssante.fr", None)
    assert (made.address, made.box) == ("cardio@hopital.mssante.fr", BOX)
    for address, rule in (("cardio@hopital.mssante.fr", "ALIAS-PRIS"), (BOX, "ALIAS-PRIS"), ("x@ailleurs.fr", "ALIAS-ADRESSE"),
                          ("postmaster@hopital.mssante.fr", "ALIAS-ADRESSE"), ("pas une adresse", "ALIAS-ADRESSE")):
        with pytest.raises(InputFault) as caught:
            await shared.add_alias("lea@hopital.mssante.fr", address, None)
        assert caught.value.rule == rule
    with pytest.raises(InputFault) as caught:
        await shared.add_alias(made.address, "autre@hopital.mssante.fr", None)
    assert caught.value.rule == "BAL-INCONNUE", "never an alias of an alias"
    with pytest.raises(InputFault) as caught:
        await shared.add_alias(BOX, "passe@hopital.mssante.fr", NOW)
    assert caught.value.rule == "ALIAS-ADRESSE"
    await shared.remove_alias(made.address)
    assert await shared.aliases() == []
    with pytest.raises(InputFault):
        await shared.remove_alias(made.address)
