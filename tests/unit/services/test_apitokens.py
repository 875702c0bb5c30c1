"""API tokens: what opens, what does not, what is kept, and the command line that makes them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.clock import FakeClock

from mssante.errors import InputFault
from mssante.services.apitokens import KEEP_SECONDS, ApiTokens
from mssante.storage.interfaces import Stores
from mssante.storage.open import open_stores


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(f"sqlite:///{tmp_path}/a.db", tmp_path / "blobs")
    yield opened
    opened.close()


async def test_a_life(stores: Stores, tmp_path: Path) -> None:
    clock = FakeClock()
    desk = ApiTokens(stores, clock)
    made = await desk.create(" Labo ", ["directory"], days=2)
    assert made.text not in repr(made) and made.token.label == "Labo"
    header = f"Bearer {made.text}"
    assert (await desk.check(header, "directory")) == made.token and await desk.check(header, "scim") is None
    assert await desk.check(header.replace("Bearer", "bearer"), "directory") is not None
    for wrong in ("", made.text, f"Basic {made.text}", "Bearer", "Bearer mss_x", f"Bearer {made.text}x", f"Bearer {made.text[:-1]}_",
                  "Bearer mss_" + "é" * 43, "Bearer " + "a" * 10_000):
        assert await desk.check(wrong, "directory") is None
    clock.advance(timedelta(hours=1))
    await desk.check(header, "directory")
    await desk.flush()
    await desk.flush()
    assert (await desk.all())[0].last_used_at == clock.now()
    clock.advance(timedelta(days=2))
    assert await desk.check(header, "directory") is None
    stores.close()
    assert all(made.text[4:].encode() not in file.read_bytes() for file in tmp_path.glob("a.db*"))


async def test_revoked_here_at_once_elsewhere_soon(stores: Stores) -> None:
    clock = FakeClock()
    here, there = ApiTokens(stores, clock), ApiTokens(stores, clock)
    made = await here.create("x", ["scim"], days=1)
    header = f"Bearer {made.text}"
    assert await here.check(header, "scim") and await there.check(header, "scim")
    await here.revoke(made.token.id)
    assert await here.check(header, "scim") is None
    clock.advance(timedelta(seconds=KEEP_SECONDS))
    assert await there.check(header, "scim") is None
    with pytest.raises(InputFault):
        await here.revoke(made.token.id)
    events = await stores.database.read(lambda tx: stores.journal.recent(tx, kind="api_token", limit=9))
    assert sorted(str(one.payload["action"]) for one in events) == ["created", "revoked"]
    assert made.text not in repr(events)


@pytest.mark.parametrize(("label", "scopes", "days", "rule"), [
    ("x", [], 1, "JETON-PORTEE"), ("x", ["root"], 1, "JETON-PORTEE"), (" ", ["scim"], 1, "JETON-NOM"),
    ("a\nb", ["scim"], 1, "JETON-NOM"), ("x" * 101, ["scim"], 1, "JETON-NOM"), ("x", ["scim"], 0, "JETON-DUREE"),
    ("x", ["scim"], 5000, "JETON-DUREE")])
async def test_refused(stores: Stores, label: str, scopes: list[str], days: int, rule: str) -> None:
    with pytest.raises(InputFault) as caught:
        await ApiTokens(stores, FakeClock()).create(label, scopes, days=days)
    assert caught.value.rule == rule and await ApiTokens(stores, FakeClock()).all() == []
