"""The HTTPS door: its headers on every answer, no cause in a fault's words, Basic credentials as IMAP checks them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from mssante.endpoints.web import HEADERS, WebDoor, basic_account
from mssante.errors import InputFault, OperatorFault
from mssante.storage.interfaces import Account

BOOM = "patient DUPONT"


class Desk:
    """Knows one password; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str]] = []

    async def authenticate(self, login: str, password: str, peer: str, protocol: str = "imap") -> Account | None:
        self.asked.append((login, password, peer.rpartition(":")[0], protocol))
        return Account(1, login, "", True) if password == "good:secret" else None


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def url(desk: Desk) -> AsyncIterator[str]:
    async def good(request: web.Request) -> web.Response:
        return web.Response(text="good", headers={"Cache-Control": "max-age=5"})

    async def input_fault(request: web.Request) -> web.Response:
        raise InputFault("bad value", rule="RULE-X", detail=BOOM, remedy="mend it")

    async def busy(request: web.Request) -> web.Response:
        raise OperatorFault("later", rule="RULE-Y")

    async def crash(request: web.Request) -> web.Response:
        raise RuntimeError(BOOM)

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/good")

    async def who(request: web.Request) -> web.Response:
        account = await basic_account(request, desk, "carddav")  # type: ignore[arg-type]
        return web.Response(text=account.login if account else "", status=200 if account else 401)

    door = WebDoor(None)
    port = await door.open("127.0.0.1:0", [
        web.get("/good", good), web.get("/input", input_fault), web.get("/busy", busy), web.get("/crash", crash),
        web.get("/moved", moved), web.get("/who", who), web.post("/good", good)])
    yield f"http://127.0.0.1:{port}"
    await door.close()
    await door.close()


@pytest.mark.parametrize(("path", "status", "words"), [
    ("/good", 200, "good"), ("/input", 400, "RULE-X"), ("/busy", 503, "RULE-Y"), ("/crash", 500, "internal"),
    ("/nothing", 404, ""), ("/moved", 302, "")])
async def test_every_answer_is_protected_and_tells_no_cause(url: str, path: str, status: int, words: str) -> None:
    async with aiohttp.ClientSession() as client, client.get(url + path, allow_redirects=False) as answer:
        text = await answer.text()
        assert answer.status == status and words in text and BOOM not in text
        expected = HEADERS | ({"Cache-Control": "max-age=5"} if path == "/good" else {})
        assert {name: answer.headers.get(name) for name in HEADERS} == expected


@pytest.mark.parametrize(("header", "login"), [
    ("Basic " + base64.b64encode(b"claire@x:good:secret").decode(), "claire@x"),
    ("basic " + base64.b64encode(b"claire@x:good:secret").decode(), "claire@x"),
    ("Basic " + base64.b64encode(b"claire@x:bad").decode(), None),
    ("Basic " + base64.b64encode(b"nocolon").decode(), ""),
    ("Basic !!!", ""), ("Basic " + base64.b64encode(b"\xff:x").decode(), ""),
    ("Bearer abc", ""), ("Basic " + "A" * 5000, ""), ("", "")])
async def test_basic_credentials(url: str, desk: Desk, header: str, login: str | None) -> None:
    async with aiohttp.ClientSession() as client, client.get(url + "/who", headers={"Authorization": header}) as answer:
        assert (answer.status, await answer.text()) == ((200, login) if login else (401, ""))
    assert desk.asked == ([("claire@x", "good:secret" if login else "bad", "127.0.0.1", "carddav")] if login != "" else [])
