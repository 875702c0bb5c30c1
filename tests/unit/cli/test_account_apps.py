"""`account app-password|factors|sessions`: what is shown once, what is never shown, what is taken away and journalled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.clispace import Space

from mssante.cli.account_apps import _factors
from mssante.cli.common import administer, administer_config
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.services.admin import Admin
from mssante.services.secondfactor import totp_code
from mssante.services.websession import SessionTimes, WebSessions
from mssante.storage.interfaces import Account

BOX = "claire@alpha.mssante.test"
SECRET = b"0123456789abcdefghij"


@pytest.fixture
def claire(space: Space, typed: Any) -> Space:
    typed(b"secret principal\n")
    assert space.run("mailbox", "add", BOX, "--type", "per", "--login", BOX, "--password-stdin", "--holder", "899700000013").code == 0
    return space


def within(space: Space, work: Callable[[Admin, Account], Awaitable[Any]]) -> Any:
    async def run(admin: Admin) -> Any:
        account = await admin.stores.database.read(lambda tx: admin.stores.accounts.account_by_login(tx, BOX))
        assert account is not None
        return await work(admin, account)

    return administer(space.config, run)


def test_an_app_password_is_shown_once_and_opens_its_scopes(claire: Space) -> None:
    assert claire.run("account", "app-password", "list", BOX, "--json").json["app_passwords"] == []
    made = claire.run("account", "app-password", "create", BOX.upper(), "--label", "Thunderbird", "--scope", "imap", "--scope", "carddav", "--json").json
    assert len(made["password"]) >= 16 and made["scram_login"] == f"{BOX}/{made['handle']}"
    shown = claire.run("account", "app-password", "create", BOX, "--label", "Imprimante", "--days", "30")
    assert "une seule fois" in shown.out
    listed = claire.run("account", "app-password", "list", BOX, "--json")
    rows = {one["label"]: one for one in listed.json["app_passwords"]}
    assert rows["Thunderbird"]["scopes"] == ["carddav", "imap"] and rows["Imprimante"]["scopes"] == ["imap", "submission"]
    assert not rows["Thunderbird"]["last_used_at"] and rows["Imprimante"]["expires_at"] > rows["Imprimante"]["created_at"]
    everything = listed.out + claire.run("account", "app-password", "list", BOX).out + claire.run("journal", "list", "--json").out
    assert made["password"] not in everything and made["password"].replace("-", "") not in everything
    assert claire.run("account", "app-password", "revoke", BOX, made["handle"]).code == 0
    assert [one["label"] for one in claire.run("account", "app-password", "list", BOX, "--json").json["app_passwords"]] == ["Imprimante"]
    again = claire.run("account", "app-password", "revoke", BOX, made["handle"])
    assert again.code != 0 and "COMPTE-MOTS" in again.err
    events = [one["payload"] for one in claire.run("journal", "list", "--json").json["events"]]
    assert sum(one.get("by") == "admin" for one in events) >= 3, "made twice, revoked once"


def test_app_passwords_that_are_refused(claire: Space) -> None:
    for words, rule in (
            (("create", "none@alpha.mssante.test", "--label", "x"), "COMPTE-INCONNU"), (("list", "none@alpha.mssante.test"), "COMPTE-INCONNU"),
            (("create", BOX, "--label", "x", "--scope", "web"), "COMPTE-PORTEE"), (("create", BOX, "--label", " "), "COMPTE-LIBELLE"),
            (("create", BOX, "--label", "x", "--days", "-3"), "--days"), (("revoke", BOX, "none"), "COMPTE-MOTS")):
        outcome = claire.run("account", "app-password", *words)
        assert outcome.code != 0 and rule in outcome.err, words
    assert claire.run("account", "app-password", "list", BOX, "--json").json["app_passwords"] == []


def test_second_factors_are_shown_and_taken_away_with_the_sessions(claire: Space) -> None:
    config = load_config(claire.config)
    folder = config.path(config.operator.storage.blobs).parent

    async def enrol(admin: Admin) -> str:
        account = await admin.stores.database.read(lambda tx: admin.stores.accounts.account_by_login(tx, BOX))
        assert account is not None
        code = totp_code(SECRET, int(SystemClock().now().timestamp()) // 30)
        assert await _factors(admin, folder).add_totp(account, "Téléphone", SECRET, code)
        return await WebSessions(admin.stores, SystemClock(), b"k" * 32, SessionTimes()).start(account, "totp", strong=True)

    token = administer_config(config, enrol)
    shown = claire.run("account", "factors", BOX, "--json")
    assert [(one["kind"], one["label"]) for one in shown.json["factors"]] == [("totp", "Téléphone")] and shown.json["codes"] == []
    sessions = claire.run("account", "sessions", BOX, "--json")
    assert len(sessions.json["sessions"]) == 1 and token not in sessions.out and sessions.json["sessions"][0]["strong_at"]
    made = claire.run("account", "factors", BOX, "--codes", "--json").json
    assert len(made["codes"]) >= 8 and len(set(made["codes"])) == len(made["codes"])
    later = claire.run("account", "factors", BOX).out + claire.run("journal", "list", "--json").out
    assert not any(code in later for code in made["codes"])
    gone = claire.run("account", "factors", BOX, "--reset", "--json").json
    assert gone["removed"] >= 1 and gone["factors"] == []
    assert claire.run("account", "sessions", BOX, "--json").json["sessions"] == [], "a reset ends the web sessions"
    assert "COMPTE-INCONNU" in claire.run("account", "factors", "none@alpha.mssante.test").err


def test_sessions_are_shown_and_ended(claire: Space) -> None:
    async def begin(admin: Admin, account: Account) -> list[str]:
        desk = WebSessions(admin.stores, SystemClock(), b"k" * 32, SessionTimes())
        return [await desk.start(account, "password", strong=False) for _ in range(2)]

    tokens = within(claire, begin)
    shown = claire.run("account", "sessions", BOX)
    assert shown.code == 0 and "password" in shown.out and not any(token in shown.out for token in tokens)
    assert len(claire.run("account", "sessions", BOX, "--json").json["sessions"]) == 2
    ended = claire.run("account", "sessions", BOX, "--end", "--json").json
    assert ended["ended"] == 2 and ended["sessions"] == []
    assert claire.run("account", "sessions", BOX, "--end", "--json").json["ended"] == 0
    assert "COMPTE-INCONNU" in claire.run("account", "sessions", "none@alpha.mssante.test").err
