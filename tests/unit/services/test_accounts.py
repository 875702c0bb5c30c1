"""Who may log in: one work for all, longer and longer delays, a short memory, and nothing that outlives a change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.scram_client import ScramClient
from support.smtp_stage import ALICE, BOB, PASSWORD, SmtpStage, build

from mssante.errors import InputFault
from mssante.model.journal import JournalKind
from mssante.protocol.sasl.base import Challenge, TokenClaim, TokenRefusal
from mssante.protocol.sasl.mechanisms import ALL, Circumstances, begin
from mssante.services import accounts as module
from mssante.services.accounts import (
    ACCOUNT_SECONDS,
    ADDRESS_FAILURES,
    ITERATIONS,
    LOGIN_FAILURES,
    MAX_DELAY_SECONDS,
    REMEMBER_SECONDS,
    Accounts,
    hash_secret,
    make_secrets,
)
from mssante.services.sasl import Accepted, Caller, Refused, TryLater, follow

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
    stage.clock.advance(timedelta(seconds=ACCOUNT_SECONDS))
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER) is None
    await change(stage, enabled=True)
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER), "at once: a refusal always reads"


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
    assert await stage.accounts.authenticate(ALICE, "nouveau", PEER), "at once"
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER) is None


async def test_the_old_password_ends_within_seconds(stage: SmtpStage) -> None:
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER)
    await change(stage, secret=hash_secret("nouveau"))
    stage.clock.advance(timedelta(seconds=ACCOUNT_SECONDS))
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER) is None


async def test_a_burst_of_logins_is_one_read(stage: SmtpStage, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    read = stage.stores.database.read

    async def counted(unit: Any, **how: Any) -> object:
        reads.append(unit)
        return await read(unit, **how)

    monkeypatch.setattr(stage.stores.database, "read", counted)
    for _ in range(20):
        assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER)
    assert len(reads) == 1


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
    for _ in range(LOGIN_FAILURES * 4):
        assert await stage.accounts.authenticate(ALICE, "wrong", PEER) is None
    for _ in range(3):
        assert await stage.accounts.authenticate(ALICE, "wrong", PEER) is None, "the last ones let through"
    for _ in range(1100):
        with pytest.raises(TryLater):
            await stage.accounts.authenticate(ALICE, "wrong", PEER)
    stage.clock.advance(timedelta(seconds=6))
    assert await stage.accounts.authenticate(ALICE, "wrong", PEER) is None, "one in five seconds"
    assert set(slept[20:]) >= {MAX_DELAY_SECONDS} and slept[-1] == MAX_DELAY_SECONDS


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


# ---------------------------------------------------------------- many failures of one address, or of one login


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are checked in no time: only PASSWORD is right."""
    monkeypatch.setattr(module, "_check", lambda stored, password: password == PASSWORD.encode())


async def fail(stage: SmtpStage, times: int, *, login: str = "", address: str = "192.0.2.1") -> None:
    for number in range(times):
        await stage.accounts.authenticate(login or f"nobody{number}@x", f"wrong{number}", f"{address}:4000")


@pytest.mark.usefixtures("wrong")
async def test_an_address_that_fails_all_the_time_waits_before_the_check(stage: SmtpStage, slept: list[float]) -> None:
    await fail(stage, ADDRESS_FAILURES - 1)
    assert set(slept) == {0.5}
    slept.clear()
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER) and slept == [], "below the ceiling nothing waits"
    await fail(stage, ADDRESS_FAILURES)
    slept.clear()
    assert await stage.accounts.authenticate(ALICE, PASSWORD, PEER) and slept == [], "alice has logged in from here before"
    assert await stage.accounts.authenticate(BOB, PASSWORD, PEER), "late, and not refused"
    assert slept == [MAX_DELAY_SECONDS]
    slept.clear()
    stage.clock.advance(timedelta(minutes=31))
    assert await stage.accounts.authenticate("absent@x", "wrong", PEER) is None
    assert slept == [0.5], "the window slid on"


@pytest.mark.usefixtures("wrong")
async def test_a_login_that_is_guessed_from_everywhere_still_lets_its_owner_in(stage: SmtpStage, slept: list[float]) -> None:
    assert await stage.accounts.authenticate(ALICE, PASSWORD, "198.51.100.7:1")
    for number in range(LOGIN_FAILURES):
        await fail(stage, 1, login=ALICE, address=f"203.0.113.{number}")
    slept.clear()
    stage.clock.advance(timedelta(seconds=REMEMBER_SECONDS))
    assert await stage.accounts.authenticate(ALICE, PASSWORD, "198.51.100.7:2") and slept == []
    assert await stage.accounts.authenticate(BOB, PASSWORD, "198.51.100.8:2") and slept == [], "others feel nothing"
    stage.clock.advance(timedelta(seconds=REMEMBER_SECONDS))
    assert await stage.accounts.authenticate(ALICE, PASSWORD, "192.0.2.9:2"), "from a new place: late"
    assert slept == [0.5]


# ---------------------------------------------------------------- SCRAM, certificates, tokens


async def scram(stage: SmtpStage, login: str, password: str) -> Accepted | Refused:
    """Log in by SCRAM as a client does."""
    client, caller = ScramClient(login, password), Caller(PEER, "imap")
    exchange = begin("SCRAM-SHA-256", Circumstances(ALL))
    assert exchange is not None
    step = await follow(stage.accounts, exchange, exchange.start(client.first()), caller)
    assert isinstance(step, Challenge)
    step = await follow(stage.accounts, exchange, exchange.respond(client.final(step.data)), caller)
    if isinstance(step, Challenge):
        assert client.trusts(step.data)
        step = await follow(stage.accounts, exchange, exchange.respond(b""), caller)
    assert isinstance(step, Accepted | Refused)
    return step


async def give_scram(stage: SmtpStage, password: str = PASSWORD) -> None:
    made = make_secrets(password)
    await stage.stores.database.write(lambda tx: stage.stores.accounts.update_account(
        tx, ALICE, secret_hash=made.secret_hash, scram=made.scram))


async def test_both_forms_of_a_password() -> None:
    made = make_secrets("mot de passe")
    assert made.secret_hash.startswith("$argon2id$") and made.scram.startswith(f"SCRAM-SHA-256${ITERATIONS}$")
    assert make_secrets("mot de passe").scram != made.scram, "salted"
    assert make_secrets("bad\u0007").scram == "", "a password that SASLprep refuses has no verifier"
    assert "argon2" not in repr(made) and "SCRAM" not in repr(made)


async def test_scram_logs_in(stage: SmtpStage, slept: list[float]) -> None:
    await give_scram(stage)
    step = await scram(stage, ALICE.upper(), PASSWORD)
    assert isinstance(step, Accepted) and step.account.login == ALICE
    assert slept == []
    assert await scram(stage, ALICE, "wrong") == Refused()
    assert slept == [0.5]
    assert [event.kind for event in await stage.journal()] == ["login", "login_refused"]


async def test_scram_says_nothing_of_who_exists(stage: SmtpStage, slept: list[float]) -> None:
    """Unknown, disabled, and without verifier: a salt of its own, always the same, for each operator another one."""
    caller = Caller(PEER, "imap")
    kept = {}
    for login in ("absent@x", ALICE, BOB):
        one, two = await stage.accounts.verifier(login, caller), await stage.accounts.verifier(login.upper(), caller)
        assert one.salt == two.salt and one.iterations == ITERATIONS and len(one.salt) == 16
        kept[login] = one.salt
        assert await scram(stage, login, PASSWORD) == Refused()
    assert len(set(kept.values())) == 3
    other = Accounts(stage.stores, stage.executor, stage.clock, stage.evidence, salt_key=b"another")
    again = Accounts(stage.stores, stage.executor, stage.clock, stage.evidence, salt_key=b"another")
    salts = {(await one.verifier("absent@x", caller)).salt for one in (other, again)}
    assert len(salts) == 1 and salts != {kept["absent@x"]}, "it survives a restart"


async def test_a_proof_is_void_when_the_account_changed_meanwhile(stage: SmtpStage, slept: list[float]) -> None:
    await give_scram(stage)
    account = await stage.stores.database.read(lambda tx: stage.stores.accounts.account_by_login(tx, ALICE))
    assert account is not None
    caller = Caller(PEER, "imap")
    assert await stage.accounts.proved(ALICE, caller, verifier=account.scram)
    await give_scram(stage, "nouveau")
    assert await stage.accounts.proved(ALICE, caller, verifier=account.scram) is None
    assert await stage.accounts.proved(ALICE, caller), "a certificate proves without a verifier"
    await change(stage, enabled=False)
    assert await stage.accounts.proved(ALICE, caller) is None
    assert await stage.accounts.proved("absent@x", caller) is None
    assert len(slept) == 3


class Checker:
    """Knows one token."""

    async def check(self, claim: TokenClaim, caller: Caller) -> str | TokenRefusal:
        return {"good": ALICE, "stranger": "absent@x"}.get(claim.token) or TokenRefusal("expired_token")


async def test_tokens(stage: SmtpStage, slept: list[float]) -> None:
    caller = Caller(PEER, "imap")
    assert not stage.accounts.takes_tokens
    assert await stage.accounts.token(TokenClaim("", "good"), caller) == TokenRefusal()
    accounts = Accounts(stage.stores, stage.executor, stage.clock, stage.evidence, checker=Checker())
    assert accounts.takes_tokens
    found = await accounts.token(TokenClaim("", "good"), caller)
    assert not isinstance(found, TokenRefusal) and found.login == ALICE
    assert await accounts.token(TokenClaim("", "old"), caller) == TokenRefusal("expired_token")
    assert await accounts.token(TokenClaim("", "stranger"), caller) == TokenRefusal()
    assert await accounts.token(TokenClaim("", ""), caller) == TokenRefusal()
    exchange = begin("OAUTHBEARER", Circumstances(ALL, tokens=True))
    assert exchange is not None
    step = await follow(accounts, exchange, exchange.start(b"n,a=bob@x,\x01auth=Bearer good\x01\x01"), caller)
    assert step == Refused("AUTHORIZATIONFAILED"), "the token is alice's"
