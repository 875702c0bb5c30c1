"""The directory API over HTTP: who may ask, what is answered, what is refused with which rule."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from support.clock import FakeClock

from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding, Presence, Source
from mssante.endpoints import directory_api
from mssante.endpoints.directory_api import ApiParts, DirectoryApi
from mssante.endpoints.web import WebDoor
from mssante.services.apitokens import ApiTokens
from mssante.storage.interfaces import Account
from mssante.storage.open import open_stores

CLAIRE = DirectoryEntry("claire@x.fr", "PER", "899700000013", family_name="MARTIN", given_name="CLAIRE", town="LYON", lines=("1 RUE",))
HIDDEN = DirectoryEntry("secret@x.fr", "PER", red_listed=True)


class Desk:
    def __init__(self) -> None:
        self.asked: list[DirectoryQuery] = []

    async def find(self, address: str, *, ask: bool = False) -> Finding:
        if address == CLAIRE.address:
            return Finding(address, Presence.PUBLISHED, (CLAIRE, HIDDEN), datetime(2026, 1, 1, tzinfo=UTC), (Source.EXTRACTION,))
        if address == HIDDEN.address:
            return Finding(address, Presence.RED_LISTED)
        return Finding(address, Presence.ABSENT, near=("claire@x.fr",))

    async def search(self, query: DirectoryQuery) -> Sequence[DirectoryEntry]:
        self.asked.append(query)
        return (CLAIRE, HIDDEN)


class Accounts:
    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        return Account(1, login, "", True, (7, 8)) if password == "good" and protocol == "directory" else None


class Stage:
    def __init__(self, url: str, desk: Desk, parts: ApiParts, headers: dict[str, str]) -> None:
        self.url, self.desk, self.parts, self.headers = url, desk, parts, headers

    async def get(self, path: str, header: str | None = None) -> tuple[int, dict[str, object], dict[str, str]]:
        shown = self.headers["directory"] if header is None else header
        async with aiohttp.ClientSession() as client, client.get(self.url + path, headers={"Authorization": shown} if shown else {}) as answer:
            return answer.status, await answer.json(content_type=None), dict(answer.headers)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stores, clock, desk = open_stores(f"sqlite:///{tmp_path}/a.db", tmp_path / "blobs"), FakeClock(), Desk()
    tokens = ApiTokens(stores, clock)
    headers = {scope: f"Bearer {(await tokens.create(scope, [scope], days=9)).text}" for scope in ("directory", "scim")}
    parts = ApiParts(desk, tokens, Accounts(), clock)  # type: ignore[arg-type]
    door = WebDoor(None)
    port = await door.open("127.0.0.1:0", DirectoryApi(parts).routes())
    yield Stage(f"http://127.0.0.1:{port}", desk, parts, headers)
    await door.close()
    stores.close()


async def test_search_and_lookup(stage: Stage) -> None:
    status, body, _ = await stage.get("/api/directory/search?q=cla&department=69&near=01&limit=5")
    assert status == 200 and body == {"entries": [{
        "address": "claire@x.fr", "type": "PER", "name": "CLAIRE MARTIN", "family_name": "MARTIN", "given_name": "CLAIRE",
        "holder_id": "899700000013", "town": "LYON", "lines": ["1 RUE"], "source": "extraction"}]}
    assert stage.desk.asked == [DirectoryQuery("cla", department="69", near_department="01", limit=5)]
    status, body, _ = await stage.get("/api/directory/entries/claire@x.fr")
    assert status == 200 and len(body["entries"]) == 1 and body["as_of"] == "2026-01-01T00:00:00+00:00"  # type: ignore[arg-type]
    status, body, _ = await stage.get("/api/directory/entries/clare@x.fr")
    assert (status, body["presence"], body["near"]) == (404, "absent", ["claire@x.fr"])
    status, body, _ = await stage.get("/api/directory/entries/secret@x.fr")
    assert (status, body["presence"], body["entries"]) == (404, "absent", [])


async def test_who_may_ask(stage: Stage) -> None:
    good = "Basic " + base64.b64encode(b"a@x.fr:good").decode()
    assert (await stage.get("/api/directory/search?q=x", good))[0] == 200 and stage.desk.asked[-1].mailbox_id == 7
    for header, status in (("", 401), ("Bearer nothing", 401), (stage.headers["scim"], 403),
                           ("Basic " + base64.b64encode(b"a@x.fr:bad").decode(), 401)):
        answer = await stage.get("/api/directory/search?q=x", header)
        assert answer[0] == status and "Bearer" in answer[2]["WWW-Authenticate"]
    assert len(stage.desk.asked) == 1


@pytest.mark.parametrize("path", ["search?x=1", "search?q=" + "a" * 300, "search?limit=0", "search?limit=201", "search?limit=٣",
                                  "search?limit=99999999999999999999", "entries/abc", "entries/" + "a" * 300 + "@b"])
async def test_bad_questions(stage: Stage, path: str) -> None:
    status, body, headers = await stage.get("/api/directory/" + path)
    assert (status, body["title"]) == (400, "API-PARAMETRE") and headers["Content-Type"].startswith("application/problem+json")


async def test_too_many_questions(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_api, "LIMIT", 3)
    answers = [await stage.get("/api/directory/search?q=x") for _ in range(4)]
    assert [one[0] for one in answers] == [200, 200, 200, 429] and 0 < int(answers[-1][2]["Retry-After"]) <= 61


async def test_the_document_tells_what_there_is(stage: Stage) -> None:
    status, body, _ = await stage.get("/api/openapi.json", "")
    assert status == 200 and set(body["paths"]) == {"/api/directory/search", "/api/directory/entries/{address}"}  # type: ignore[arg-type]
