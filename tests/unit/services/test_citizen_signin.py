"""Codes, tokens of a portal and sessions of the citizens' page: what opens, once, and what never does."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.citizen_stage import ALICE, CITIZEN, INS, OTHER, USER, house
from support.smtp_stage import SmtpStage, build

from mssante.model.mailbox import MailboxState
from mssante.services.citizen_signin import ALPHABET, CitizenSignin, SigninSettings, new_code, portal_token

KEY = b"k" * 32


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    await house(made)
    yield made
    await made.close()


def desk(stage: SmtpStage, key: bytes = KEY) -> CitizenSignin:
    return CitizenSignin(stage.stores, stage.clock, b"s" * 32, SigninSettings(CITIZEN, key))


async def test_a_code_opens_once_in_time_however_it_is_typed(stage: SmtpStage) -> None:
    signin = desk(stage)
    code = await signin.issue(stage.mailboxes[USER])
    assert len(code) == 11 and set(code) <= set(ALPHABET + "-")
    assert await signin.enter_by_code("") == "" == await signin.enter_by_code("A" * 10) == await signin.enter_by_code("é" * 500)
    token = await signin.enter_by_code(f"  {code.lower().replace('-', ' ')} ")
    visit = await signin.find(token)
    assert visit is not None and visit.mailbox.address == USER
    assert await signin.enter_by_code(code) == "", "once"
    late = await signin.issue(stage.mailboxes[USER])
    stage.clock.advance(timedelta(minutes=15))
    assert await signin.enter_by_code(late) == ""


async def test_a_session_ends_by_time_by_hand_and_with_the_mailbox(stage: SmtpStage) -> None:
    signin = desk(stage)

    async def session() -> str:
        return await signin.enter_by_code(await signin.issue(stage.mailboxes[USER]))

    first, second = await session(), await session()
    await signin.leave(first)
    assert await signin.find(first) is None and await signin.find(second) is not None
    await stage.set_state(USER, MailboxState.CLOSED)
    assert await signin.find(second) is None
    await stage.set_state(USER, MailboxState.ACTIVE)
    stage.clock.advance(timedelta(minutes=30))
    assert await signin.find(second) is None and await signin.find("") is None and await signin.find("x" * 5000) is None


async def test_a_code_for_a_professional_opens_nothing(stage: SmtpStage) -> None:
    signin = desk(stage)
    assert await signin.enter_by_code(await signin.issue(stage.mailboxes[ALICE])) == ""


async def test_forms_carry_the_mark_of_their_cookie(stage: SmtpStage) -> None:
    signin = desk(stage)
    assert signin.form_is_ours("a", signin.form_token("a")) and not signin.form_is_ours("b", signin.form_token("a"))
    assert not signin.form_is_ours("", signin.form_token("")) and not signin.form_is_ours("a", "é\ud800")


async def test_a_token_of_the_portal_opens_once(stage: SmtpStage) -> None:
    signin = desk(stage)
    token = portal_token(KEY, INS, stage.clock.now(), unique="1")
    session = await signin.enter_by_portal(token)
    visit = await signin.find(session)
    assert visit is not None and visit.mailbox.address == USER
    assert await signin.enter_by_portal(token) == "", "once"
    assert not desk(stage, b"short").has_portal and await desk(stage, b"").enter_by_portal(token) == ""


def forged(**claims: Any) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    mark = base64.urlsafe_b64encode(hmac.digest(KEY, f"v1.{payload}".encode(), "sha256")).rstrip(b"=").decode()
    return f"v1.{payload}.{mark}"


async def test_tokens_that_open_nothing(stage: SmtpStage) -> None:
    signin, now = desk(stage), int(stage.clock.now().timestamp())
    sound = {"ins": INS, "iat": now, "exp": now + 60, "jti": "x"}
    good = forged(**sound)
    assert await signin.enter_by_portal(good) != ""
    wrong = [portal_token(b"x" * 32, INS, stage.clock.now(), unique="1"), good[:-2], good.replace("v1.", "v2.", 1), "", "v1..", "a.b.c", "é.é.é",
             "v1." + "A" * 3000 + ".AAAA", forged(**{**sound, "ins": OTHER, "jti": "2"}), forged(**{**sound, "exp": now - 1}),
             forged(**{**sound, "iat": now + 120, "exp": now + 180}), forged(**{**sound, "exp": now + 3600}), forged(**{**sound, "jti": ""}),
             forged(**{**sound, "ins": f"{INS}@{CITIZEN}\r\n"}), forged(ins=INS), forged(**{**sound, "iat": "soon"}),
             forged(**{**sound, "exp": 1e300}), forged(**{**sound, "iat": float("nan")})]
    for token in wrong:
        assert await signin.enter_by_portal(token) == "", token


def test_codes_differ() -> None:
    assert len({new_code() for _ in range(100)}) == 100
