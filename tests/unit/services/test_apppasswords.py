"""App passwords: what they open, what they never open, and that nothing outlives a revocation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.scram_client import ScramClient
from support.smtp_stage import ALICE, BOB, PASSWORD, SmtpStage, build

from mssante.errors import InputFault
from mssante.model.journal import JournalKind
from mssante.protocol.sasl.base import Challenge
from mssante.protocol.sasl.mechanisms import ALL, Circumstances, begin
from mssante.services import accounts as module
from mssante.services.accounts import LoginRules
from mssante.services.apppasswords import MAX_APP_PASSWORDS, AppPasswords
from mssante.services.appshape import canonical, split_login
from mssante.services.sasl import Accepted, Caller, follow
from mssante.services.secondfactor import SecondFactors
from mssante.storage.interfaces import Account

PEER = "192.0.2.1:4000"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return delays


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    check = module._check

    def counted(secret_hash: str, password: bytes) -> bool:
        seen.append(secret_hash)
        return check(secret_hash, password)

    monkeypatch.setattr(module, "_check", counted)
    return seen


def desk(stage: SmtpStage) -> AppPasswords:
    return AppPasswords(stage.stores, stage.clock, stage.accounts)


async def account(stage: SmtpStage, login: str = ALICE) -> Account:
    found = await stage.stores.database.read(lambda tx: stage.stores.accounts.account_by_login(tx, login))
    assert found is not None
    return found


async def opens(stage: SmtpStage, password: str, protocol: str = "imap", login: str = ALICE) -> bool:
    return await stage.accounts.authenticate(login, password, PEER, protocol) is not None


@pytest.mark.parametrize(("login", "found"), [
    ("a@b/abcdefgh", ("a@b", "abcdefgh")), ("a/b@c", ("a/b@c", "")), ("a/b@c/abcdefgh", ("a/b@c", "abcdefgh")),
    ("a@b/abc", ("a@b/abc", "")), ("a@b/abcdefg1", ("a@b/abcdefg1", "")), ("name/abcdefgh", ("name/abcdefgh", "")), ("", ("", ""))])
def test_a_login_that_names_a_password(login: str, found: tuple[str, str]) -> None:
    assert split_login(login) == found


def test_what_is_typed() -> None:
    shown = "abcd-efgh-jkmn-pqrs-tuvw-xyz2"
    for typed in (shown, shown.upper(), shown.replace("-", ""), shown.replace("-", " "), f" {shown} "):
        assert canonical(typed) == ("abcdefgh", shown)
    for typed in ("", shown[:-1], shown + "a", shown.replace("a", "1"), "x" * 100_000, "é" * 24, "\ud800" * 24):
        assert canonical(typed) == ("", "")


async def test_it_opens_its_scopes_and_never_the_web(stage: SmtpStage) -> None:
    made = await desk(stage).create(await account(stage), " Thunderbird\t x ", ["imap", "carddav"])
    assert made.stored.label == "Thunderbird x" and made.password not in repr(made)
    for protocol, good in (("imap", True), ("carddav", True), ("submission", False), ("ldap", False), ("managesieve", False),
                           ("web", False), ("", False)):
        assert await opens(stage, made.password, protocol) is good, protocol
    assert await stage.accounts.first_step(ALICE, made.password, Caller(PEER, "web")) is None
    assert await stage.accounts.first_step(f"{ALICE}/{made.stored.handle}", PASSWORD, Caller(PEER, "web")) is None
    assert await opens(stage, made.password.upper().replace("-", " ")), "as a person types it"
    assert await opens(stage, made.password, login=f"{ALICE}/{made.stored.handle}")
    assert not await opens(stage, made.password, login=BOB), "another account's"
    assert not await opens(stage, PASSWORD, login=f"{ALICE}/{made.stored.handle}"), "the main password is not this one"
    assert await opens(stage, PASSWORD), "and the main one still opens"


async def test_revoked_and_expired_at_once(stage: SmtpStage) -> None:
    apps, alice = desk(stage), await account(stage)
    made = await apps.create(alice, "x", ["imap"])
    assert await opens(stage, made.password) and await opens(stage, made.password)
    assert not await apps.revoke(await account(stage, BOB), made.stored.handle), "not his"
    assert await apps.revoke(alice, made.stored.handle) and not await apps.revoke(alice, made.stored.handle)
    assert not await opens(stage, made.password), "even when it was remembered"
    short = await apps.create(alice, "y", ["imap"], days=1)
    assert await opens(stage, short.password)
    stage.clock.advance(timedelta(days=1))
    assert not await opens(stage, short.password)


async def test_another_process_revokes_within_two_seconds(stage: SmtpStage) -> None:
    made = await desk(stage).create(await account(stage), "x", ["imap"])
    assert await opens(stage, made.password)
    assert await AppPasswords(stage.stores, stage.clock).revoke(await account(stage), made.stored.handle, by="admin")
    stage.clock.advance(timedelta(seconds=module.ACCOUNT_SECONDS))
    assert not await opens(stage, made.password)


async def test_one_hash_whatever_is_tried(stage: SmtpStage, checked: list[str]) -> None:
    apps, alice = desk(stage), await account(stage)
    made = [await apps.create(alice, f"n{number}", ["imap"]) for number in range(3)]
    wrong = made[0].password[:-1] + ("b" if made[0].password[-1] != "b" else "c")
    for login, password in ((ALICE, wrong), (ALICE, "abcd-efgh-jkmn-pqrs-tuvw-xyz2"), (ALICE, "faux"), ("absent@x", wrong),
                            (f"{ALICE}/zzzzzzzz", wrong), (f"absent@x/{made[0].stored.handle}", made[0].password)):
        assert not await opens(stage, password, login=login)
    assert len(checked) == 6 and {form.split("$")[3] for form in checked} == {"m=19456,t=2,p=1"}
    checked.clear()
    assert await opens(stage, made[2].password) and len(checked) == 1
    assert await opens(stage, made[2].password) and len(checked) == 1, "remembered"
    assert await opens(stage, PASSWORD) and await opens(stage, made[2].password) and len(checked) == 2, "each program is"


async def test_with_a_second_factor_the_main_password_opens_what_is_configured(stage: SmtpStage) -> None:
    await SecondFactors(stage.stores, stage.clock, b"k").add(await account(stage), "totp", "x", b"s")
    stage.accounts.forget(ALICE)
    for protocol in ("imap", "submission", "web", "carddav"):
        assert not await opens(stage, PASSWORD, protocol)
    assert await stage.accounts.first_step(ALICE, PASSWORD, Caller(PEER, "web")) is not None
    stage.accounts.rules = LoginRules(None, frozenset({"imap", "web"}))
    assert await opens(stage, PASSWORD) and not await opens(stage, PASSWORD, "submission")
    assert not await opens(stage, PASSWORD, "web"), "Basic on the web door has no second step"
    stage.accounts.rules = LoginRules(frozenset({"web"}))
    assert not await opens(stage, PASSWORD, "imap", BOB) and await opens(stage, PASSWORD, "web", BOB)


async def scram(stage: SmtpStage, login: str, password: str, protocol: str = "imap") -> bool:
    client, caller = ScramClient(login, password), Caller(PEER, protocol)
    exchange = begin("SCRAM-SHA-256", Circumstances(ALL))
    assert exchange is not None
    step: Any = await follow(stage.accounts, exchange, exchange.start(client.first()), caller)
    step = await follow(stage.accounts, exchange, exchange.respond(client.final(step.data)), caller)
    if isinstance(step, Challenge):
        step = await follow(stage.accounts, exchange, exchange.respond(b""), caller)
    return isinstance(step, Accepted) and step.account.login == ALICE


async def test_scram_with_several(stage: SmtpStage) -> None:
    apps, alice = desk(stage), await account(stage)
    one, two = await apps.create(alice, "1", ["imap"]), await apps.create(alice, "2", ["submission"])
    assert await scram(stage, f"{ALICE}/{one.stored.handle}", one.password)
    assert await scram(stage, f"{ALICE.upper()}/{two.stored.handle}", two.password, "submission")
    assert not await scram(stage, f"{ALICE}/{two.stored.handle}", two.password), "scope"
    assert not await scram(stage, f"{ALICE}/{one.stored.handle}", two.password)
    assert not await scram(stage, f"{BOB}/{one.stored.handle}", one.password)
    caller = Caller(PEER, "imap")
    salts = [(await stage.accounts.verifier(name, caller)).salt for name in (f"{ALICE}/zzzzzzzz", f"{ALICE}/zzzzzzzz", f"{BOB}/zzzzzzzz")]
    assert salts[0] == salts[1] != salts[2], "no oracle of handles"
    await apps.revoke(alice, one.stored.handle)
    assert not await scram(stage, f"{ALICE}/{one.stored.handle}", one.password)


async def test_last_uses_are_written_rarely(stage: SmtpStage) -> None:
    apps, alice = desk(stage), await account(stage)
    made = await apps.create(alice, "x", ["imap"])
    assert (await apps.list(alice))[0].last_used_at is None
    assert await opens(stage, made.password) and await opens(stage, made.password)
    assert (await apps.list(alice))[0].last_used_at is None
    await apps.flush()
    assert (await apps.list(alice))[0].last_used_at == stage.clock.now() and stage.accounts.apps_used == {}


@pytest.mark.parametrize(("label", "scopes", "days", "rule"), [
    ("", ["imap"], 0, "COMPTE-LIBELLE"), ("x" * 101, ["imap"], 0, "COMPTE-LIBELLE"), ("a\x00b", ["imap"], 0, "COMPTE-LIBELLE"),
    ("a\u202eb", ["imap"], 0, "COMPTE-LIBELLE"), ("x", [], 0, "COMPTE-PORTEE"), ("x", ["web"], 0, "COMPTE-PORTEE"),
    ("x", ["imap", "*"], 0, "COMPTE-PORTEE"), ("x", ["imap"], -1, "COMPTE-DUREE"), ("x", ["imap"], 10**6, "COMPTE-DUREE")])
async def test_what_is_not_made(stage: SmtpStage, label: str, scopes: list[str], days: int, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        await desk(stage).create(await account(stage), label, scopes, days=days)
    assert caught.value.rule == rule


async def test_a_line_end_in_a_label_becomes_a_space_and_the_number_is_limited(
        stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mssante.services.apppasswords.make_secrets", lambda _: module.Secrets("h", "s"))
    apps, alice = desk(stage), await account(stage)
    assert (await apps.create(alice, "a\r\nSet-Cookie: x=y", ["imap"])).stored.label == "a Set-Cookie: x=y"
    for number in range(MAX_APP_PASSWORDS - 1):
        await apps.create(alice, f"n{number}", ["imap"])
    with pytest.raises(InputFault) as caught:
        await apps.create(alice, "too many", ["imap"])
    assert caught.value.rule == "COMPTE-MOTS"
    events = await stage.journal(JournalKind.ACCOUNT_CHANGED)
    assert len(events) == MAX_APP_PASSWORDS and {event.payload["action"] for event in events} == {"app_password_created"}
