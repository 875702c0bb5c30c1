"""The synchronisation on a real SQLite database, with a directory that is a list."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.clock import FakeClock

from mssante.errors import InputFault, OperatorFault
from mssante.model.delegation import NewDelegation, Right
from mssante.model.identifiers import luhn_ok
from mssante.model.mailbox import MailboxState, MailboxType
from mssante.services.ldapsync import Outcome, SyncDesk, SyncSettings
from mssante.services.ldapsync_values import DEFAULTS, RawEntry, Reading
from mssante.storage.interfaces import NewMailbox, Stores
from mssante.storage.open import StorageOptions, open_stores

DOMAIN = "hopital.mssante.fr"
TEAM, NIGHT = f"accueil@{DOMAIN}", f"nuit@{DOMAIN}"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RPPS = next(number for number in (f"1000123456{digit}" for digit in range(10)) if luhn_ok(number))
READING = Reading(frozenset({DOMAIN}), {**DEFAULTS, "holder_id": "employeeNumber", "disabled": "nsAccountLock"})
SETTINGS = SyncSettings(READING, True, {"accueil": TEAM}, "member", 20)


def address(who: str) -> str:
    return f"{who}@{DOMAIN}"


class Directory:
    """People and groups as a test wants them; `fault` makes it fail."""

    def __init__(self) -> None:
        self.people: dict[str, dict[str, str]] = {}
        self.groups: dict[str, list[str]] = {"accueil": ["uid=lea,dc=x"]}
        self.fault: Exception | None = None

    def put(self, *names: str, **more: str) -> None:
        for who in names:
            self.people[who] = {"entryuuid": f"id-{who}", "mail": address(who), "givenname": who.title(), "sn": "Essai",
                                "employeenumber": RPPS, **self.people.get(who, {}), **more}

    async def read(self) -> tuple[list[RawEntry], list[RawEntry]]:
        if self.fault is not None:
            raise self.fault
        return ([RawEntry(f"uid={who},dc=x", {name: (value.encode(),) for name, value in values.items()}) for who, values in self.people.items()],
                [RawEntry(f"cn={name},dc=x", {"cn": (name.encode(),), "member": tuple(one.encode() for one in members)})
                 for name, members in self.groups.items()])


class Stage:
    """Stores, a directory, and what a test looks at."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.directory = Directory()
        self.desk = SyncDesk(stores, FakeClock(NOW), self.directory, SETTINGS)

    async def run(self, **how: bool) -> list[str]:
        """Run, and give what was done in words."""
        return words(await self.desk.run(**how))

    async def account(self, who: str) -> Any:
        return await self.stores.database.read(lambda tx: self.stores.accounts.account_by_login(tx, address(who)))

    async def box(self, who: str) -> Any:
        found = await self.stores.database.read(lambda tx: self.stores.accounts.mailboxes_by_address(tx, [address(who)]))
        return found[0] if found else None

    async def team(self, box: str = TEAM) -> list[tuple[str, str]]:
        def unit(tx: Any) -> list[tuple[str, str]]:
            (found,) = self.stores.accounts.mailboxes_by_address(tx, [box])
            return [(one.login.partition("@")[0], one.granted_by) for one in self.stores.delegations.of_mailboxes(tx, [found.id]) if not one.own]

        return await self.stores.database.read(unit)

    async def give(self, who: str, box: str, rights: Right = Right.READ) -> None:
        def unit(tx: Any) -> None:
            account = self.stores.accounts.account_by_login(tx, address(who))
            (found,) = self.stores.accounts.mailboxes_by_address(tx, [box])
            assert account is not None
            self.stores.delegations.give(tx, [NewDelegation(account.id, found.id, frozenset({rights}), None, None, "cli:chef")])

        await self.stores.database.write(unit)

    async def write(self, what: Any) -> None:
        await self.stores.database.write(what)

    async def events(self) -> int:
        return len(await self.stores.database.read(lambda tx: self.stores.journal.recent(tx, limit=10_000)))


def words(done: Outcome) -> list[str]:
    return [*(f"{one.action.value} {one.login.partition('@')[0]}" for one in done.changes),
            *(f"+{login.partition('@')[0]}" for one in done.teams for login in one.add),
            *(f"-{login.partition('@')[0]}" for one in done.teams for login in one.remove), *(one.rule for one in done.problems),
            *([done.held.rule] if done.held and not done.applied else [])]


_template: list[bytes] = []


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr("mssante.services.ldapsync.hash_secret", lambda secret: "unused")  # argon2 is tested elsewhere
    file = tmp_path / "m.db"
    if _template:
        file.write_bytes(_template[0])
    stores = open_stores(f"sqlite:///{file}", tmp_path / "blobs", StorageOptions(readers=1))
    if not _template:
        def unit(tx: Any) -> None:
            boxes = stores.accounts.create_mailboxes(tx, [
                NewMailbox(TEAM, MailboxType.ORG, NOW), NewMailbox(NIGHT, MailboxType.ORG, NOW),
                NewMailbox(address("chef"), MailboxType.PER, NOW), NewMailbox("equipe@ailleurs.mssante.fr", MailboxType.ORG, NOW)])
            stores.accounts.create_accounts(tx, [(address("chef"), "x", (boxes[2].id,))])

        await stores.database.write(unit)
        stores.close()
        _template.append(file.read_bytes())
        stores = open_stores(f"sqlite:///{file}", tmp_path / "blobs", StorageOptions(readers=1))
    try:
        yield Stage(stores)
    finally:
        stores.close()


async def test_a_joiner_gets_all_once(stage: Stage) -> None:
    stage.directory.put("lea", "tom")
    assert await stage.run(dry_run=True) == ["create lea", "create tom", "+lea"]
    assert await stage.account("lea") is None and await stage.team() == []
    assert await stage.run() == ["create lea", "create tom", "+lea"]
    box, account = await stage.box("lea"), await stage.account("lea")
    assert (box.type, box.state, box.holder_id, box.display_name) == (MailboxType.PER, MailboxState.ACTIVE, "8" + RPPS, "Lea Essai")
    assert (account.enabled, account.mailbox_ids[0], account.secret_hash) == (True, box.id, "unused")
    profile = await stage.stores.database.read(lambda tx: stage.stores.identities.profile(tx, account.id))
    assert profile is not None and (profile.given_name, profile.family_name) == ("Lea", "Essai")
    assert await stage.team() == [("lea", "ldap")]
    events = await stage.events()
    assert events == 5, "two logins, two mailboxes, one delegation"
    assert await stage.run() == [] and await stage.events() == events, "a second run does nothing"


async def test_a_leaver_and_a_return(stage: Stage) -> None:
    stage.directory.put("lea", "tom")
    await stage.run()
    await stage.give("lea", NIGHT)
    gone = stage.directory.people.pop("lea")
    assert await stage.run() == ["leave lea"]
    assert not (await stage.account("lea")).enabled and (await stage.box("lea")).state is MailboxState.SUSPENDED
    assert await stage.team() == [] == await stage.team(NIGHT)
    assert (await stage.account("tom")).enabled and await stage.run() == []
    stage.directory.people["lea"] = gone
    assert await stage.run() == ["return lea", "+lea"]
    assert (await stage.account("lea")).enabled and (await stage.box("lea")).state is MailboxState.ACTIVE
    assert await stage.team() == [("lea", "ldap")] and await stage.team(NIGHT) == [], "what was given by hand does not come back"
    stage.directory.put("lea", nsaccountlock="TRUE")
    assert await stage.run() == ["leave lea"] and await stage.run() == []


async def test_what_was_closed_by_hand_stays_closed(stage: Stage) -> None:
    stage.directory.put("lea", "tom")
    await stage.run()
    accounts = stage.stores.accounts
    await stage.write(lambda tx: (accounts.update_account(tx, address("lea"), enabled=False),
                                  accounts.set_mailbox_state(tx, address("lea"), MailboxState.SUSPENDED)))
    assert await stage.run() == [] and not (await stage.account("lea")).enabled
    gone = stage.directory.people.pop("lea")
    await stage.run()
    stage.directory.people["lea"] = gone
    assert "return lea" in await stage.run()
    assert not (await stage.account("lea")).enabled and (await stage.box("lea")).state is MailboxState.SUSPENDED


async def test_names_and_login(stage: Stage) -> None:
    stage.directory.put("lea", "tom")
    await stage.run()
    before = await stage.account("lea")
    stage.directory.put("lea", sn="Autre", mail=address("l.autre"))
    assert await stage.run(dry_run=True) == ["rename l.autre", "update l.autre", "SYNC-ADRESSE"]
    assert await stage.run() == ["rename l.autre", "update l.autre", "SYNC-ADRESSE"]
    after = await stage.account("l.autre")
    assert after.id == before.id and await stage.account("lea") is None and await stage.box("lea") is not None
    profile = await stage.stores.database.read(lambda tx: stage.stores.identities.profile(tx, after.id))
    assert profile is not None and profile.family_name == "Autre"
    assert await stage.team() == [("l.autre", "ldap")]
    assert await stage.run() == ["SYNC-ADRESSE"], "told again, done once"
    stage.directory.people.pop("lea")
    assert await stage.run() == ["leave l.autre"]


async def test_nothing_that_exists_is_taken_over(stage: Stage) -> None:
    stage.directory.put("tom", "zoe")
    stage.directory.put("chef", entryuuid="id-faux")
    stage.directory.put("accueil")
    assert await stage.run() == ["create tom", "create zoe", "SYNC-PRIS", "SYNC-PRIS"]
    chef = await stage.account("chef")
    assert chef.secret_hash == "x" and chef.enabled
    for who in ("chef", "accueil"):
        stage.directory.people.pop(who)
    assert await stage.run() == [] and (await stage.account("chef")).enabled, "it was never linked"
    stage.directory.put("tom", mail=address("chef"))
    assert await stage.run() == ["SYNC-PRIS", "SYNC-ADRESSE"]
    await stage.write(lambda tx: stage.stores.accounts.delete_account(tx, address("zoe")))
    assert "SYNC-COMPTE-DISPARU" in await stage.run() and await stage.account("zoe") is None
    stage.directory.people.pop("zoe")
    assert "forget zoe" in await stage.run() and "forget zoe" not in await stage.run()


async def test_groups_touch_only_what_a_run_gave(stage: Stage) -> None:
    stage.directory.put("lea", "tom", "zoe")
    await stage.run()
    await stage.give("tom", TEAM)
    stage.directory.groups["accueil"] = ["uid=zoe,dc=x", "uid=tom,dc=x"]
    assert await stage.run(dry_run=True) == ["+zoe", "-lea"]
    assert await stage.run() == ["+zoe", "-lea"]
    assert await stage.team() == [("tom", "cli:chef"), ("zoe", "ldap")]
    stage.directory.groups["accueil"] = ["uid=zoe,dc=x"]
    assert await stage.run() == [] and ("tom", "cli:chef") in await stage.team()
    stage.directory.groups["accueil"] = []
    assert await stage.run() == ["SYNC-GROUPE-VIDE"] and len(await stage.team()) == 2
    stage.directory.groups = {"autre": []}
    assert await stage.run() == ["SYNC-GROUPE-ABSENT"] and len(await stage.team()) == 2


@pytest.mark.parametrize("box", [address("chef"), "equipe@ailleurs.mssante.fr", address("nulle")])
async def test_groups_open_only_org_boxes_of_ours(stage: Stage, box: str) -> None:
    desk = SyncDesk(stage.stores, FakeClock(NOW), stage.directory, SyncSettings(READING, True, {"accueil": box}))
    stage.directory.put("lea")
    assert words(await desk.run()) == ["create lea", "SYNC-BOITE"]
    assert "SYNC-BOITE" in words(await desk.run())


async def test_mass_disappearance_is_held(stage: Stage) -> None:
    names = [f"u{rank}" for rank in range(20)]
    stage.directory.put("lea", *names)
    stage.directory.groups["accueil"] = [f"uid={who},dc=x" for who in names]
    assert len(await stage.run()) == 41
    for who in names[:5]:
        del stage.directory.people[who]
    events = await stage.events()
    assert (await stage.run())[-1] == "SYNC-GARDE" and await stage.events() == events
    assert all([(await stage.account(who)).enabled for who in names])
    stage.directory.put("u0")
    assert len(await stage.run()) == 4, "four of twenty-one"
    stage.directory.groups["accueil"] = ["uid=lea,dc=x"]
    assert (await stage.run())[-1] == "SYNC-GARDE" and len(await stage.team()) == 16
    assert len(await stage.run(force=True)) == 17 and await stage.team() == [("lea", "ldap")]


@pytest.mark.parametrize("force", [False, True])
async def test_a_directory_that_fails_changes_nothing(stage: Stage, force: bool) -> None:
    stage.directory.put("lea", "tom")
    await stage.run()
    events = await stage.events()
    whole = dict(stage.directory.people)

    async def refused() -> str:
        with pytest.raises((InputFault, OperatorFault)) as caught:
            await stage.desk.run(force=force)
        return caught.value.rule

    stage.directory.fault = OperatorFault("cut", rule="LDAP-NOMBRE")
    assert await refused() == "LDAP-NOMBRE"
    stage.directory.fault, stage.directory.people = None, {}
    assert await refused() == "SYNC-VIDE"
    stage.directory.people = {"lea": {"mail": address("lea")}}
    assert await refused() == "SYNC-PARTIEL"
    stage.directory.people, stage.directory.groups = whole, {}
    assert await refused() == "SYNC-VIDE"
    assert await stage.events() == events and (await stage.account("tom")).enabled


async def test_what_changed_by_hand_meanwhile_is_not_done(stage: Stage) -> None:
    """The plan was made; before it is applied somebody makes the login by hand."""
    stage.directory.put("lea", "tom")
    read = stage.stores.database.read

    async def then_by_hand(unit: Any, **more: Any) -> Any:
        found = await read(unit, **more)
        if isinstance(found, Outcome):
            await stage.write(lambda tx: stage.stores.accounts.create_accounts(tx, [(address("lea"), "hand", ())]))
        return found

    stage.stores.database.read = then_by_hand  # type: ignore[method-assign]
    assert await stage.run() == ["create tom"]
    stage.stores.database.read = read  # type: ignore[method-assign]
    assert (await stage.account("lea")).secret_hash == "hand" and await stage.team() == []


async def test_many_people_are_several_transactions(stage: Stage) -> None:
    stage.directory.put("lea", *[f"u{rank}" for rank in range(150)])
    assert len(await stage.run()) == 152
    assert await stage.run() == []
