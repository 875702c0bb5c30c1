"""Who may log in: one work for all, longer and longer delays, a short memory, and nothing that outlives a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, BOB, PASSWORD, SmtpStage, build

from mssante.errors import InputFault
from mssante.model.journal import JournalKind
from mssante.services import accounts as module
from mssante.services.accounts import MAX_DELAY_SECONDS, REMEMBER_SECONDS, hash_secret

PEER = "192.0.2.1:4000"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays asked, which pass at once."""
    delays: list[float] = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return delays


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stored forms against which a password was really checked."""
    seen: list[str] = []
    check = module._check

    def counted(secret_hash: str, password: bytes) -> bool:
        seen.append(secret_hash)
        return check(secret_hash, password)

    monkeypatch.setattr(module, "_check", counted)
    return seen


async def change(stage: SmtpStage, *, secret: str | None = None, enabled: bool | None = None) -> None:
    await stage.stores.database.write(
        lambda tx: stage.stores.accounts.update_account(tx, ALICE, secret_hash=secret, enabled=enabled))


def test_the_stored_form_is_argon2id_and_salted() -> None:
    one, two = hash_secret("mot"), hash_secret("mot")
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$") and one != two and "mot" not in one


@pytest.mark.parametrize("password", ["", "x" * 1025, "é" * 513])
def test_a_password_that_could_never_log_in_is_not_stored(password: str) -> None:
    with pytest.raises(InputFault) as caught:
        hash_secret(password)
    assert caught.value.rule == "COMPTE-MOT-DE-PASSE"


async def test_a_login_in_any_case(stage: SmtpStage) -> None:
    for login in (ALICE, ALICE.upper(), f"  {ALICE} "):
        account = await stage.accounts.authenticate(login, PASSWORD, PEER)
        assert account is not None and account.login == ALICE
        assert account.mailbox_ids == (stage.mailboxes[ALICE].id,)


@pytest.mark.parametrize(("login", "password"), [
    (ALICE, "wrong"), (ALICE, ""), (ALICE, PASSWORD.upper()), (ALICE, PASSWORD + " "), ("absent@hopital.mssante.fr", PASSWORD),
    ("", ""), (ALICE, "x" * 100_000), (ALICE, "\ud800"), ("x" * 100_000, "y"), ("\x00", "\x00")])
async def test_all_else_is_none_after_a_delay(stage: SmtpStage, slept: list[float], login: str, password: str) -> None:
    assert await stage.accounts.authenticate(login, password, PEER) is None
    assert slept == [0.5]
    (event,) = await stage.journal(JournalKind.LOGIN_REFUSED)
    assert len(event.subject) <= 254


async def test_a_disabled_account_is_refused_even_when_remembered(stage: SmtpStage) -> None:
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER)
    await change(stage, enabled=False)
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER) is None
    await change(stage, enabled=True)
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER)


async def test_unknown_and_disabled_logins_cost_the_same_work(stage: SmtpStage, checked: list[str]) -> None:
    await change(stage, enabled=False)
    for login in ("absent@hopital.mssante.fr", ALICE, BOB):
        assert await stage.accounts.authenticate(login, "wrong", PEER) is None
    assert len(checked) == 3 and checked[0] == checked[1] != checked[2]
    assert {form.split("$")[3] for form in checked} == {"m=19456,t=2,p=1"}


async def test_a_password_just_verified_is_remembered_a_while(stage: SmtpStage, checked: list[str]) -> None:
    for _ in range(10):
        assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER)
    assert len(checked) == 1
    assert await stage.accounts.authenticate(ALICE, "wrong", PEER) is None, "the memory holds one password only"
    assert len(checked) == 2
    stage.clock.advance(timedelta(seconds=REMEMBER_SECONDS + 1))
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER)
    assert len(checked) == 3


async def test_a_changed_password_ends_the_memory_at_once(stage: SmtpStage, checked: list[str]) -> None:
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER)
    await change(stage, secret=hash_secret("nouveau"))
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER) is None
    assert await stage.accounts.authenticate(ALICE, "nouveau", PEER)


async def test_the_memory_compares_whole_passwords(stage: SmtpStage) -> None:
    long = "é" * 512
    await change(stage, secret=hash_secret(long))
    assert await stage.accounts.authenticate(ALICE, long, PEER)
    assert await stage.accounts.authenticate(ALICE, long + "x", PEER) is None


async def test_the_memory_is_bounded(stage: SmtpStage, checked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 1)
    for login in (ALICE, BOB, ALICE):
        assert await stage.accounts.authenticate(login, PASSWORD, PEER)
    assert len(checked) == 3


async def test_delays_double_for_one_login_from_one_address_only(stage: SmtpStage, slept: list[float]) -> None:
    for _ in range(7):
        await stage.accounts.authenticate(ALICE, "wrong", PEER)
    assert slept == [0.5, 1.0, 2.0, 4.0, 8.0, MAX_DELAY_SECONDS, MAX_DELAY_SECONDS]
    slept.clear()
    await stage.accounts.authenticate(BOB, "wrong", PEER)
    await stage.accounts.authenticate(ALICE, "wrong", "192.0.2.2:4000")
    await stage.accounts.authenticate(ALICE, "wrong", "192.0.2.1:4999")
    assert slept == [0.5, 0.5, MAX_DELAY_SECONDS], "a hospital shares one address; a port is no identity"
    slept.clear()
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER) and slept == []
    await stage.accounts.authenticate(ALICE, "wrong", PEER)
    assert slept == [0.5], "a good login forgives"


async def test_old_failures_are_forgotten(stage: SmtpStage, slept: list[float]) -> None:
    for _ in range(3):
        await stage.accounts.authenticate(ALICE, "wrong", PEER)
    stage.clock.advance(timedelta(minutes=16))
    await stage.accounts.authenticate(ALICE, "wrong", PEER)
    assert slept[-1] == 0.5


async def test_a_guesser_never_wears_the_delay_out(
        stage: SmtpStage, slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_check", lambda *_: False)
    for _ in range(1100):
        assert await stage.accounts.authenticate(ALICE, "wrong", PEER) is None
    assert slept[-1] == MAX_DELAY_SECONDS and len(slept) == 1100


async def test_a_login_is_journalled_without_its_password(stage: SmtpStage) -> None:
    await stage.accounts.authenticate(ALICE, PASSWORD, PEER, "submission")
    await stage.accounts.authenticate(ALICE, "faux-secret", PEER)
    events = await stage.journal()
    assert [(event.kind, event.payload["protocol"]) for event in events] == [("login", "submission"), ("login_refused", "imap")]
    assert PASSWORD not in repr(events) and "faux-secret" not in repr(events)


async def test_a_stored_form_that_is_none_lets_nobody_in(stage: SmtpStage) -> None:
    await change(stage, secret="not a hash")
    assert await stage.accounts.authenticate(ALICE, "not a hash", PEER) is None


async def test_many_logins_at_once(stage: SmtpStage) -> None:
    found = await asyncio.gather(*(stage.accounts.authenticate(one, PASSWORD, PEER) for one in (ALICE, BOB) * 5))
    assert [account.login for account in found if account] == [ALICE, BOB] * 5
