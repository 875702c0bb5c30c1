"""Contract of CredentialStore."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.storage_values import NOW

from mssante.storage.credentials import AppPassword, SecondFactor, WebSession
from mssante.storage.interfaces import Account, Stores

DAY = timedelta(days=1)


async def people(stores: Stores) -> list[Account]:
    return await stores.database.write(lambda tx: stores.accounts.create_accounts(tx, [("claire", "h", ()), ("paul", "h", ())]))


async def write(stores: Stores, unit: Any) -> Any:
    return await stores.database.write(unit)


def app(account: Account, handle: str, **changes: Any) -> AppPassword:
    return replace(AppPassword(account.id, handle, f"é\0 {handle}", frozenset({"submission", "imap"}), NOW, "hash", "scram"), **changes)


async def test_app_passwords_of_one_account(stores: Stores) -> None:
    claire, paul = await people(stores)
    one = await write(stores, lambda tx: stores.credentials.add_app_password(tx, app(claire, "a" * 8, expires_at=NOW + DAY), limit=2))
    assert one is not None and one.id and one.label == f"é\ufffd {'a' * 8}"
    assert await write(stores, lambda tx: stores.credentials.add_app_password(tx, app(paul, "a" * 8), limit=2)) is None, "handle taken"
    two = await write(stores, lambda tx: stores.credentials.add_app_password(tx, app(claire, "b" * 8), limit=2))
    assert await write(stores, lambda tx: stores.credentials.add_app_password(tx, app(claire, "c" * 8), limit=2)) is None, "limit"
    assert await stores.database.read(lambda tx: stores.credentials.app_passwords(tx, claire.id), quick=True) == [one, two]
    await write(stores, lambda tx: stores.credentials.touch_app_passwords(tx, {one.id: NOW + DAY, 999_999: NOW}))
    await write(stores, lambda tx: stores.credentials.touch_app_passwords(tx, {one.id: NOW}))
    found = await stores.database.read(lambda tx: stores.credentials.app_passwords(tx, claire.id))
    assert [each.last_used_at for each in found] == [NOW + DAY, None], "never earlier than it was"
    remove = stores.credentials.remove_app_password
    assert not await write(stores, lambda tx: remove(tx, paul.id, "a" * 8)), "not his"
    assert await write(stores, lambda tx: remove(tx, claire.id, "a" * 8))
    assert not await write(stores, lambda tx: remove(tx, claire.id, "a" * 8))
    assert "hash" not in repr(two) and "'scram'" not in repr(two)


async def test_factors_count_up_only(stores: Stores) -> None:
    claire, paul = await people(stores)
    credentials = stores.credentials
    assert not await stores.database.read(lambda tx: credentials.has_factors(tx, claire.id), quick=True)
    totp = await write(stores, lambda tx: credentials.add_factor(tx, SecondFactor(claire.id, "totp", "x", b"\0s", 5, NOW)))
    code = await write(stores, lambda tx: credentials.add_factor(tx, SecondFactor(claire.id, "recovery", "", b"c", 0, NOW)))
    assert await stores.database.read(lambda tx: credentials.factors(tx, claire.id)) == [totp, code]
    assert await stores.database.read(lambda tx: credentials.has_factors(tx, claire.id))
    assert not await stores.database.read(lambda tx: credentials.has_factors(tx, paul.id))
    for counter, good in ((5, False), (4, False), (6, True), (6, False)):
        assert await write(stores, lambda tx, c=counter: credentials.use_factor(tx, totp.id, c, NOW + DAY)) is good
    assert await write(stores, lambda tx: credentials.touch_factor(tx, code.id, NOW + DAY))
    found = await stores.database.read(lambda tx: credentials.factors(tx, claire.id))
    assert [(one.counter, one.last_used_at) for one in found] == [(6, NOW + DAY), (0, NOW + DAY)]
    assert not await write(stores, lambda tx: credentials.remove_factor(tx, paul.id, totp.id))
    assert await write(stores, lambda tx: credentials.remove_factors(tx, claire.id, "recovery")) == 1
    assert await write(stores, lambda tx: credentials.remove_factor(tx, claire.id, totp.id))
    assert await write(stores, lambda tx: credentials.remove_factors(tx, claire.id)) == 0
    assert not await write(stores, lambda tx: credentials.touch_factor(tx, code.id, NOW))


async def test_sessions(stores: Stores) -> None:
    claire, paul = await people(stores)
    credentials = stores.credentials
    names = [f"{number:064x}" for number in range(4)]
    for number, name in enumerate(names):
        at = NOW + number * DAY
        await write(stores, lambda tx, n=name, t=at: credentials.put_session(
            tx, WebSession(n, claire.id, "password:x", t, t, t + DAY), limit=3))
    assert [one.token_hash for one in await stores.database.read(lambda tx: credentials.sessions(tx, claire.id))] == names[1:]
    found = await stores.database.read(lambda tx: credentials.session(tx, names[3]), quick=True)
    assert found is not None and found[1] == "claire" and found[0].strong_at is None
    assert await stores.database.read(lambda tx: credentials.session(tx, names[0])) is None
    assert await stores.database.read(lambda tx: (credentials.login_of(tx, paul.id), credentials.login_of(tx, 0))) == ("paul", "")
    await write(stores, lambda tx: credentials.touch_session(tx, names[3], NOW + 9 * DAY))
    assert not await write(stores, lambda tx: credentials.remove_session(tx, claire.id, names[3][:15])), "too short a name"
    assert not await write(stores, lambda tx: credentials.remove_session(tx, paul.id, names[3])), "not his"
    assert await write(stores, lambda tx: credentials.purge(tx, NOW + 2 * DAY, NOW)) == 1, "the one that ended"
    assert await write(stores, lambda tx: credentials.remove_sessions(tx, claire.id, names[3])) == 1
    assert await write(stores, lambda tx: credentials.purge(tx, NOW, NOW + 9 * DAY)) == 0
    assert await write(stores, lambda tx: credentials.purge(tx, NOW, NOW + 10 * DAY)) == 1, "the unused one"


async def test_all_goes_with_the_account(stores: Stores) -> None:
    claire, _ = await people(stores)
    credentials = stores.credentials

    def unit(tx: Any) -> None:
        credentials.add_app_password(tx, app(claire, "a" * 8), limit=2)
        credentials.add_factor(tx, SecondFactor(claire.id, "totp", "x", b"s", 0, NOW))
        credentials.put_session(tx, WebSession("0" * 64, claire.id, "password", NOW, NOW, NOW + DAY), limit=2)
        stores.accounts.delete_account(tx, "claire")

    await write(stores, unit)
    assert await stores.database.read(lambda tx: (credentials.app_passwords(tx, claire.id), credentials.factors(tx, claire.id),
                                                  credentials.sessions(tx, claire.id))) == ([], [], [])
