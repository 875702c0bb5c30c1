"""The documents API over HTTP, on a whole SMTP stage: what is accepted, what became of it, events; who may ask, what is refused."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.handing import INS, NAMES, PDF, REMOTE, cda, desk
from support.smtp_stage import ALICE, BOB, CITIZEN, OURS, SmtpStage, build

from mssante.endpoints import documents_api
from mssante.endpoints.directory_api import OPENAPI, DirectoryApi
from mssante.endpoints.documents_api import DocumentsApi, DocumentsParts
from mssante.endpoints.web import WebDoor
from mssante.errors import StorageFull
from mssante.services.apitokens import ApiTokens
from mssante.services.handquery import HandQuery

FACTS: dict[str, Any] = {
    "patient": {"family_birth": NAMES[0], "given_birth": NAMES[1], "birth_date": "1979-03-28", "sex": "F", "ins": INS,
                "ins_oid": "1.2.250.1.213.1.4.10", "local_id": "1.2.3.4.567^IPP42"},
    "author": {"number": "899700000001", "family": "TESTMEDECIN", "specialty": "G15_10/SM26"},
    "structure": {"number": "1990000001", "name": "Centre de test", "practice": "ETABLISSEMENT", "facility": "SA01"},
    "code": "11488-4", "title": "CR de consultation", "created": "2026-02-28T10:30:00+01:00"}


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def asked(**changes: Any) -> dict[str, Any]:
    return {"to": [BOB, REMOTE], "documents": [{"pdf": text(PDF), "facts": FACTS}], **changes}


class Client:
    """A program."""

    def __init__(self, url: str, stage: SmtpStage, tokens: dict[str, str]) -> None:
        self.url, self.stage, self.tokens = url, stage, tokens

    async def post(self, value: Any, key: str = "k1", who: str = "alice", **more: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
        headers = {"Idempotency-Key": key} if key else {}
        return await self.call("POST", "/api/v1/documents", who, headers=headers, **({"json": value} if value is not None else {}), **more)

    async def get(self, path: str, who: str = "alice") -> tuple[int, dict[str, Any], dict[str, str]]:
        return await self.call("GET", path, who)

    async def call(self, method: str, path: str, who: str, headers: dict[str, str] | None = None, **more: Any,
                   ) -> tuple[int, dict[str, Any], dict[str, str]]:
        shown = {"Authorization": f"Bearer {self.tokens[who]}"} if who else {}
        async with aiohttp.ClientSession() as client, client.request(
                method, self.url + path, headers={**shown, **(headers or {})}, **more) as answer:
            return answer.status, await answer.json(content_type=None), dict(answer.headers)


async def serve(stage: SmtpStage, **limits: int) -> tuple[WebDoor, Client]:
    tokens = ApiTokens(stage.stores, stage.clock)
    made = {"alice": (["documents:send", "events"], [ALICE]), "bob": (["documents:send", "events"], [BOB]),
            "both": (["documents:send"], [ALICE, BOB]), "events": (["events"], [ALICE]), "directory": (["directory"], [])}
    texts = {name: (await tokens.create(name, scopes, days=9, mailboxes=boxes)).text for name, (scopes, boxes) in made.items()}
    query = HandQuery(stage.stores, stage.addresses, stage.clock, frozenset({OURS}))
    api = DocumentsApi(DocumentsParts(desk(stage), query, tokens, stage.clock, **{
        "request_bytes": 600_000, "per_minute": 50, "uploads": 2, **limits}))
    door = WebDoor(None)
    port = await door.open("127.0.0.1:0", api.routes())
    return door, Client(f"http://127.0.0.1:{port}", stage, texts)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    stage = await build(tmp_path)
    door, made = await serve(stage)
    yield made
    await door.close()
    await stage.close()


async def test_a_pdf_in_json_is_accepted_and_followed(client: Client) -> None:
    status, body, headers = await client.post(asked(read_receipt=True))
    assert status == 202 and body["repeated"] is False and headers["Location"] == f"/api/v1/documents/{body['id']}"
    again = await client.post(asked(read_receipt=True))
    assert again[0] == 202 and again[1] == {**body, "repeated": True}
    status, told, _ = await client.get(headers["Location"])
    assert status == 200 and told["state"] == "queued" and told["mailbox"] == ALICE and told["documents"] == 1
    assert {one["address"]: one["state"] for one in told["recipients"]} == {BOB: "delivered", REMOTE: "queued"}
    assert len(await client.stage.bodies(BOB)) == 1 and INS not in json.dumps(told)


async def test_a_cda_in_a_multipart(client: Client) -> None:
    form = aiohttp.FormData()
    form.add_field("request", json.dumps({"to": [BOB], "documents": [{"cda": {"part": "lettre"}}]}), content_type="application/json")
    form.add_field("lettre", cda(), filename="a.xml", content_type="text/xml")
    status, body, _ = await client.post(None, data=form)
    assert status == 202, body
    (raw,) = await client.stage.bodies(BOB)
    assert b"IHE_XDM.ZIP" in raw


@pytest.mark.parametrize(("who", "path", "status", "rule"), [
    ("", "/api/v1/events", 401, "API-IDENTITE"), ("directory", "/api/v1/events", 403, "API-PORTEE"),
    ("events", "/api/v1/documents/remise_x", 403, "API-PORTEE"), ("alice", "/api/v1/documents/remise_x", 404, "API-INCONNU"),
    ("alice", "/api/v1/events?after=-1", 400, "API-PARAMETRE"), ("alice", "/api/v1/events?limit=501", 400, "API-PARAMETRE"),
    ("alice", "/api/v1/events?x=1", 400, "API-PARAMETRE"), ("alice", "/api/v1/events?after=" + "9" * 30, 400, "API-PARAMETRE")])
async def test_who_may_ask(client: Client, who: str, path: str, status: int, rule: str) -> None:
    got, body, headers = await client.get(path, who)
    assert (got, body["title"]) == (status, rule) and headers["Content-Type"].startswith("application/problem+json")
    assert (got == 401) <= ("WWW-Authenticate" in headers)


async def test_a_token_opens_its_mailboxes_only(client: Client) -> None:
    status, _, headers = await client.post(asked())
    assert status == 202
    assert (await client.get(headers["Location"], "bob"))[0] == 404
    assert (await client.post(asked(mailbox=BOB), key="k2"))[:2][1]["title"] == "API-BOITE"
    assert (await client.post(asked(), key="k3", who="both"))[1]["title"] == "API-BOITE", "which of the two?"
    assert (await client.post(asked(mailbox=ALICE), key="k1", who="both"))[1]["repeated"] is False, "keys are the token's own"


@pytest.mark.parametrize(("value", "more", "status", "rule"), [
    ({}, {}, 422, "REMISE-FORME"), ([], {}, 422, "N1-FAIT"), (asked(inconnu=1), {}, 422, "N1-FAIT"),
    (asked(documents=[{"pdf": "***", "facts": FACTS}]), {}, 422, "N1-FAIT"),
    (asked(documents=[{"pdf": text(PDF), "cda": text(PDF)}]), {}, 422, "N1-FAIT"),
    (asked(documents=[{"cda": {"part": "absente"}}]), {}, 422, "N1-FAIT"),
    (asked(documents=[{"pdf": text(PDF), "facts": {**FACTS, "created": "2026-02-28T10:30:00"}}]), {}, 422, "N1-FAIT"),
    (asked(documents=[{"pdf": text(PDF), "facts": {**FACTS, "x": 1}}]), {}, 422, "N1-FAIT"),
    (asked(to=["x@gmail.com", BOB]), {}, 422, "HORS-ESPACE"), (asked(action="x"), {}, 422, "N1-FAIT"),
    (asked(final="oui"), {}, 422, "N1-FAIT"),
    (None, {"data": b"{", "headers_type": "application/json"}, 400, "REMISE-JSON"),
    (None, {"data": b"[" * 100_000, "headers_type": "application/json"}, 400, "REMISE-JSON"),
    (None, {"data": b'{"to": NaN}', "headers_type": "application/json"}, 400, "REMISE-JSON"),
    (None, {"data": b"x", "headers_type": "text/plain"}, 415, "API-TYPE"),
    (None, {"data": b"x" * 700_000, "headers_type": "application/json"}, 413, "API-TAILLE"),
    (None, {"data": b"--x\r\n", "headers_type": "multipart/form-data; boundary=x"}, 400, "API-CORPS"),
    (None, {"data": b"rien", "headers_type": "multipart/form-data"}, 400, "API-CORPS")])
async def test_what_is_refused(client: Client, value: Any, more: dict[str, Any], status: int, rule: str) -> None:
    headers = {"Idempotency-Key": "k", **({"Content-Type": more["headers_type"]} if more else {})}
    content = {"data": more["data"]} if more else {"json": value}
    got, body, answer = await client.call("POST", "/api/v1/documents", "alice", headers=headers, **content)
    assert (got, body["title"]) == (status, rule), body
    assert body["detail"] and answer["Content-Type"].startswith("application/problem+json")
    assert not any(word in json.dumps(body) for word in (INS, *NAMES))
    assert await client.stage.queue() == []
    if rule == "HORS-ESPACE":
        assert [one["address"] for one in body["recipients"]] == ["x@gmail.com"]


@pytest.mark.parametrize("key", ["", "x" * 201, "clé"])
async def test_a_key_is_asked_for(client: Client, key: str) -> None:
    headers = {"Idempotency-Key": key} if key else {}
    status, body, _ = await client.call("POST", "/api/v1/documents", "alice", headers=headers, json=asked())
    assert (status, body["title"]) == (400, "API-CLE")


async def test_the_same_key_for_another_content(client: Client) -> None:
    assert (await client.post(asked()))[0] == 202
    status, body, _ = await client.post(asked(subject="autre"))
    assert (status, body["title"]) == (409, "REMISE-CLE")


async def test_a_body_without_length_is_bounded_too(client: Client) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    status, body, _ = await client.call("POST", "/api/v1/documents", "alice", data=endless(),
                                        headers={"Idempotency-Key": "k", "Content-Type": "application/json"})
    assert (status, body["title"]) == (413, "API-TAILLE")


async def test_a_slow_body_lets_go_of_its_place(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await over.wait()

    monkeypatch.setattr(documents_api, "READ_SECONDS", 0.2)
    more = {"headers": {"Idempotency-Key": "k", "Content-Type": "application/json"}}
    calls = [asyncio.create_task(client.call("POST", "/api/v1/documents", "alice", data=slow(), **more)) for _ in range(3)]
    status, body, _ = await client.post(asked())
    assert status == 202, body
    for call in calls:
        assert (await call)[:2][1]["title"] == "API-LENTEUR"
    over.set()


async def test_a_full_disk_asks_to_come_back(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tx: Any, items: Any) -> Any:
        raise StorageFull("disk full", rule="STORE-FULL")

    monkeypatch.setattr(client.stage.stores.messages, "accept", full)
    status, body, headers = await client.post(asked())
    assert (status, body["title"]) == (503, "STORE-FULL") and headers["Retry-After"]
    monkeypatch.undo()
    assert (await client.post(asked()))[1]["repeated"] is False


async def test_too_many_requests(tmp_path: Path) -> None:
    stage = await build(tmp_path)
    door, client = await serve(stage, per_minute=3)
    got = [(await client.get("/api/v1/events", "alice"))[0] for _ in range(4)]
    assert got == [200, 200, 200, 429] and (await client.get("/api/v1/events", "bob"))[0] == 200
    await door.close()
    await stage.close()


async def test_many_at_once_with_the_same_key_send_one(client: Client) -> None:
    answers = await asyncio.gather(*[client.post(asked()) for _ in range(10)])
    assert {status for status, _, _ in answers} == {202} and len({body["id"] for _, body, _ in answers}) == 1
    assert len(await client.stage.bodies(BOB)) == 1


async def test_events_are_read_behind_a_place_and_only_those_of_the_mailboxes(client: Client) -> None:
    _, body, _ = await client.post(asked(to=[BOB, REMOTE, f"{INS}@{CITIZEN}"]))
    status, page, _ = await client.get("/api/v1/events?limit=1")
    assert status == 200
    assert [(one["type"], one["document"]) for one in page["events"]] == [("document.accepted", body["id"])]
    assert (await client.get(f"/api/v1/events?after={page['next']}"))[1]["events"] == []
    (arrival,) = (await client.get("/api/v1/events", "bob"))[1]["events"]
    assert (arrival["type"], arrival["mailbox"], arrival["sender"]) == ("message.received", BOB, ALICE)
    told = json.dumps([page, arrival])
    assert INS not in told and not any(name in told for name in NAMES) and "XDM" not in told


async def test_the_description_names_every_route_and_its_schemas_are_whole(client: Client) -> None:
    DirectoryApi(None)  # type: ignore[arg-type]
    assert {path for path in OPENAPI["paths"] if "/v1/" in path} == {
        "/api/v1/documents", "/api/v1/documents/{id}", "/api/v1/events", "/api/v1/webhooks/{id}/replay"}
    text_of = json.dumps(OPENAPI)
    named = {part.split('"')[0] for part in text_of.split("#/components/schemas/")[1:]}
    assert named <= set(OPENAPI["components"]["schemas"])
    fields = OPENAPI["components"]["schemas"]["DocumentRequest"]["properties"]
    from mssante.services.handed import HandedDocument
    assert set(fields) == set(HandedDocument.__slots__) - {"source", "key", "login"}  # type: ignore[arg-type]


async def test_a_replay_is_for_the_owner_of_the_mailbox(client: Client) -> None:
    from mssante.storage.webhooks import Webhook
    stores, clock = client.stage.stores, client.stage.clock
    hook = Webhook("wh_1", "", client.stage.mailboxes[ALICE].id, "https://h.test/", "salt", (), True, clock.now())
    await stores.database.write(lambda tx: stores.webhooks.put(tx, hook))
    since = "since=2026-01-01T00:00:00Z"
    assert (await client.call("POST", f"/api/v1/webhooks/wh_1/replay?{since}", "alice"))[:2] == (202, {"replayed": 0})
    assert (await client.call("POST", f"/api/v1/webhooks/wh_1/replay?{since}", "bob"))[0] == 404
    assert (await client.call("POST", "/api/v1/webhooks/wh_1/replay?since=hier", "alice"))[1]["title"] == "API-PARAMETRE"
