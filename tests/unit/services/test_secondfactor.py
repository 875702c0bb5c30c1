"""Time codes and recovery codes: good once, sealed, limited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.smtp_stage import ALICE, BOB, SmtpStage, build

from mssante.errors import InputFault
from mssante.services.sasl import TryLater
from mssante.services.secondfactor import (
    RECOVERY_CODES,
    STEP_SECONDS,
    WRONG_CODES,
    Proof,
    SecondFactors,
    totp_code,
    totp_key,
    totp_step,
    totp_uri,
)
from mssante.storage.credentials import SecondFactor
from mssante.storage.interfaces import Account

SECRET = b"12345678901234567890"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


async def account(stage: SmtpStage, login: str = ALICE) -> Account:
    found = await stage.stores.database.read(lambda tx: stage.stores.accounts.account_by_login(tx, login))
    assert found is not None
    return found


def step_of(stage: SmtpStage) -> int:
    return int(stage.clock.now().timestamp()) // STEP_SECONDS


@pytest.mark.parametrize(("seconds", "code"), [
    (59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037"),
    (20000000000, "353130")])
def test_the_vectors_of_rfc_6238(seconds: int, code: str) -> None:
    assert totp_code(SECRET, seconds // 30) == code
    now = datetime.fromtimestamp(seconds, UTC)
    assert totp_step(SECRET, code, now) == seconds // 30
    assert totp_step(SECRET, code, now + timedelta(seconds=30)) == totp_step(SECRET, code, now - timedelta(seconds=30))
    assert totp_step(SECRET, code, now + timedelta(seconds=90)) == 0
    for wrong in ("", "000000", code[:-1], "é" * 6, "\ud800"):
        assert totp_step(SECRET, wrong, now) == 0


def test_how_a_secret_is_shown() -> None:
    assert totp_key(SECRET) == "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"
    uri = totp_uri(SECRET, "a&b@x", "Hôpital:1")
    assert uri == "otpauth://totp/H%C3%B4pital%3A1%3Aa%26b%40x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=H%C3%B4pital%3A1"


async def test_a_code_serves_once(stage: SmtpStage) -> None:
    desk, alice = SecondFactors(stage.stores, stage.clock, b"key"), await account(stage)
    step = step_of(stage)
    assert not await desk.add_totp(alice, "x", SECRET, "000000")
    assert await desk.of(alice.id) == []
    assert await desk.add_totp(alice, "x", SECRET, totp_code(SECRET, step))
    (kept,) = await desk.of(alice.id)
    assert SECRET not in kept.secret and desk.open(kept) == SECRET
    assert await desk.check_code(alice.id, totp_code(SECRET, step)) is None, "the one of the enrolment"
    assert await desk.check_code(alice.id, totp_code(SECRET, step + 1)) == Proof("totp")
    assert await desk.check_code(alice.id, totp_code(SECRET, step + 1)) is None
    assert await desk.check_code(alice.id, totp_code(SECRET, step)) is None, "an older one, too"
    assert await desk.check_code((await account(stage, BOB)).id, totp_code(SECRET, step + 2)) is None


async def test_wrong_codes_are_limited_for_all_who_try(stage: SmtpStage) -> None:
    desk, alice = SecondFactors(stage.stores, stage.clock, b"key"), await account(stage)
    await desk.add_totp(alice, "x", SECRET, totp_code(SECRET, step_of(stage)))
    for _ in range(WRONG_CODES):
        assert await desk.check_code(alice.id, "000000") is None
    with pytest.raises(TryLater):
        await desk.check_code(alice.id, totp_code(SECRET, step_of(stage) + 1))
    assert await desk.check_code((await account(stage, BOB)).id, "000000") is None
    stage.clock.advance(timedelta(hours=2))
    assert await desk.check_code(alice.id, totp_code(SECRET, step_of(stage)))


async def test_recovery_codes(stage: SmtpStage) -> None:
    desk, alice = SecondFactors(stage.stores, stage.clock, b"key"), await account(stage)
    codes = await desk.make_codes(alice)
    assert len(set(codes)) == RECOVERY_CODES
    assert await desk.check_code((await account(stage, BOB)).id, codes[0]) is None
    assert await desk.check_code(alice.id, codes[0].upper().replace("-", " ")) == Proof("recovery", RECOVERY_CODES - 1)
    assert await desk.check_code(alice.id, codes[0]) is None
    again = await desk.make_codes(alice)
    assert await desk.check_code(alice.id, codes[1]) is None and await desk.check_code(alice.id, again[1])
    rows = await desk.of(alice.id)
    assert not any(code.replace("-", "").encode() in one.secret for one in rows for code in again)


async def test_a_row_of_another_account_or_operator_opens_nothing(stage: SmtpStage) -> None:
    desk, alice, bob = SecondFactors(stage.stores, stage.clock, b"key"), await account(stage), await account(stage, BOB)
    kept = await desk.add(alice, "totp", "x", SECRET)
    for stolen in (SecondFactor(bob.id, "totp", "x", kept.secret, 0, stage.clock.now()),
                   SecondFactor(alice.id, "passkey", "x", kept.secret, 0, stage.clock.now()),
                   SecondFactor(alice.id, "totp", "x", b"short", 0, stage.clock.now())):
        with pytest.raises(InputFault) as caught:
            desk.open(stolen)
        assert caught.value.rule == "COMPTE-FACTEUR"
    with pytest.raises(InputFault):
        SecondFactors(stage.stores, stage.clock, b"other").open(kept)


async def test_removal_reset_and_limit(stage: SmtpStage) -> None:
    desk, alice, bob = SecondFactors(stage.stores, stage.clock, b"key"), await account(stage), await account(stage, BOB)
    one = await desk.add(alice, "totp", "x", SECRET)
    two = await desk.add(alice, "passkey", "y", b"{}")
    await desk.make_codes(alice)
    recovery = (await desk.of(alice.id))[-1]
    assert not await desk.remove(bob, one.id) and not await desk.remove(alice, recovery.id)
    assert await desk.remove(alice, one.id) and len(await desk.of(alice.id)) == 1 + RECOVERY_CODES
    assert await desk.remove(alice, two.id) and await desk.of(alice.id) == [], "recovery codes go with the last factor"
    for number in range(10):
        await desk.add(alice, "totp", f"n{number}", SECRET)
    with pytest.raises(InputFault):
        await desk.add(alice, "totp", "eleven", SECRET)
    assert await desk.reset(alice, by="admin") == 10 and await desk.of(alice.id) == []
    actions = [event.payload["action"] for event in await stage.journal()]
    assert actions[-1] == "factors_reset" and actions[:2] == ["factor_added", "factor_added"]
