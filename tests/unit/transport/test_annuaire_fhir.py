"""The FHIR read API's client against a server of ours that behaves, and one that does not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.clock import FakeClock

from mssante.directory.fhir import EMAIL_TYPE, MAX_OCTETS
from mssante.transport import annuaire_fhir
from mssante.transport.annuaire_fhir import Circuit, FhirDirectory, FhirTarget, RemoteFault

ADDRESS = "alice.exemple@un.mssante.fr"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def box(address: str = ADDRESS) -> dict[str, Any]:
    marker = {"url": EMAIL_TYPE, "valueCoding": {"system": "R256", "code": "MSSANTE"}}
    return {"resource": {"resourceType": "Practitioner", "id": "p", "telecom": [
        {"system": "email", "value": address, "extension": [marker]}]}}


def bundle(*entries: Any, following: str = "") -> dict[str, Any]:
    links = [{"relation": "next", "url": following}] if following else []
    return {"resourceType": "Bundle", "type": "searchset", "link": links, "entry": list(entries)}


def said(document: object, status: int = 200, **headers: str) -> web.Response:
    return web.Response(body=json.dumps(document).encode(), status=status, headers=headers, content_type="application/fhir+json")


class Site:
    """A server whose answer each test gives; `asked` holds path and query of each request."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.keys: set[str] = set()
        self.answer: Answer | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path_qs)
        self.keys.add(request.headers.get("ESANTE-API-KEY", ""))
        if self.answer is None:
            return said(bundle(box()) if request.path.endswith("/Practitioner") else bundle())
        return await self.answer(request)

    def always(self, document: object, status: int = 200, **headers: str) -> None:
        async def answer(_: web.Request) -> web.StreamResponse:
            return said(document, status, **headers)

        self.answer = answer


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    found = Site()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", found.handle)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/fhir/v2"
    yield found
    await runner.cleanup()


@pytest.fixture
async def client(site: Site, tmp_path: Path) -> AsyncIterator[FhirDirectory]:
    key = tmp_path / "key"
    key.write_text("cle-de-test\n")
    found = FhirDirectory(FhirTarget(site.url, tmp_path / "none.pem", key, timeout_seconds=2.0), FakeClock())
    yield found
    await found.close()


async def refused(client: FhirDirectory) -> RemoteFault:
    with pytest.raises(RemoteFault) as caught:
        await client.find(ADDRESS)
    assert "cle-de-test" not in str(caught.value) and ADDRESS not in str(caught.value)
    return caught.value


async def test_an_address_is_asked_on_the_three_carriers_with_the_key(site: Site, client: FhirDirectory) -> None:
    found = await client.find(ADDRESS.upper())
    assert [one.entry.address for one in found] == [ADDRESS]
    assert sorted(site.asked) == [f"/fhir/v2/{kind}?mailbox-mss:exact=alice.exemple@un.mssante.fr"
                                  for kind in ("Organization", "Practitioner", "PractitionerRole")]
    assert site.keys == {"cle-de-test"}


async def test_boxes_of_other_addresses_are_no_answer(site: Site, client: FhirDirectory) -> None:
    site.always(bundle(box("autre@un.mssante.fr")))
    assert await client.find(ADDRESS) == []


async def test_pages_are_followed_under_the_base_only(site: Site, client: FhirDirectory) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if "_page_token" in request.query:
            return said(bundle(box("deux@un.mssante.fr")))
        return said(bundle(box(), following=f"{site.url}/Practitioner?_lastUpdated=ge2026&_page_token=2"))

    site.answer = answer
    pages = [page async for page in client.changed_since(datetime(2026, 9, 1, tzinfo=UTC), "Practitioner")]
    assert [one.entry.address for page in pages for one in page.mailboxes] == [ADDRESS, "deux@un.mssante.fr"]
    assert "ge2026-09-01T00:00:00+00:00" in site.asked[0].replace("%2B", "+").replace("%3A", ":")


@pytest.mark.parametrize("link", [
    "https://ailleurs.example/fhir/v2/Practitioner?x=1", "//ailleurs.example/fhir/v2/Practitioner", "http://127.0.0.1:1/fhir/v2/Practitioner",
    "file:///etc/passwd", "/admin", "../../admin", "/fhir/v2/Patient?x=1", "http://a@127.0.0.1/fhir/v2/Practitioner", "http://[::1", "#x"])
async def test_a_next_link_that_leads_elsewhere_is_not_followed(site: Site, client: FhirDirectory, link: str) -> None:
    site.always(bundle(box(), following=link))
    fault = await refused(client)
    assert fault.rule in ("ANNUAIRE-RENVOI", "ANNUAIRE-PAGES") and len(site.asked) == 3


async def test_endless_paging_ends(site: Site, client: FhirDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annuaire_fhir, "MAX_PAGES", 5)

    async def answer(request: web.Request) -> web.StreamResponse:
        return said(bundle(following=f"{site.url}{request.path.removeprefix('/fhir/v2')}?_page_token={len(site.asked)}"))

    site.answer = answer
    assert (await refused(client)).rule == "ANNUAIRE-PAGES" and len(site.asked) <= 15


async def test_the_same_page_again_is_endless_too(site: Site, client: FhirDirectory) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return said(bundle(following=f"http://{request.host}{request.path_qs}"))

    site.answer = answer
    assert (await refused(client)).rule == "ANNUAIRE-PAGES" and len(site.asked) <= 6


async def _redirect(_: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/x"})


async def _html(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>portail captif</html>", content_type="text/html")


async def _packed(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}, content_type="application/fhir+json")


async def _huge(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/fhir+json"})
    await response.prepare(request)
    for _ in range(MAX_OCTETS // 65536 + 2):
        await response.write(b" " * 65536)
    return response


async def _cut(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _deep(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"a":' + b"[" * 100_000, content_type="application/fhir+json")


async def _double(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"resourceType":"Bundle","entry":[],"entry":[]}', content_type="application/fhir+json")


@pytest.mark.parametrize(("answer", "rule"), [
    (_redirect, "ANNUAIRE-RENVOI"), (_html, "ANNUAIRE-TYPE"), (_packed, "ANNUAIRE-CODAGE"), (_huge, "ANNUAIRE-TAILLE"),
    (_cut, "ANNUAIRE-INJOIGNABLE"), (_deep, "ANNUAIRE-REPONSE"), (_double, "ANNUAIRE-REPONSE")])
async def test_a_hostile_server_gets_a_typed_error(site: Site, client: FhirDirectory, answer: Answer, rule: str) -> None:
    site.answer = answer
    assert (await refused(client)).rule == rule and len(site.asked) <= 6  # a client library may try a cut connection once more


async def test_a_slow_drip_ends_by_the_time_limit(site: Site, tmp_path: Path) -> None:
    client = FhirDirectory(FhirTarget(site.url, tmp_path / "none", timeout_seconds=0.2), FakeClock())

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/fhir+json"})
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.01)

    site.answer = drip
    assert (await refused(client)).rule == "ANNUAIRE-INJOIGNABLE"
    await client.close()


async def test_an_outcome_gives_its_code_and_leaves_the_circuit_closed(site: Site, client: FhirDirectory) -> None:
    site.always({"resourceType": "OperationOutcome", "issue": [{"code": "invalid", "diagnostics": f"no {ADDRESS}"}]}, 400)
    for _ in range(3):
        fault = await refused(client)
        assert fault.rule == "ANNUAIRE-REFUS" and "HTTP 400 invalid" in fault.detail
    assert client.circuit.open_for == 0


async def test_a_429_with_a_short_delay_is_tried_again_and_a_long_one_opens_the_circuit(
        site: Site, client: FhirDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def no_sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(annuaire_fhir.asyncio, "sleep", no_sleep)
    left = {"n": 2}

    async def answer(request: web.Request) -> web.StreamResponse:
        if left["n"]:
            left["n"] -= 1
            return said({}, 429, **{"Retry-After": "7"})
        return said(bundle(box()))

    site.answer = answer
    assert await client.find(ADDRESS)
    assert pauses == [7.0, 7.0]
    site.always({}, 429, **{"Retry-After": "3600"})
    assert (await refused(client)).rule == "ANNUAIRE-TARD"
    asked = len(site.asked)
    assert (await refused(client)).rule == "ANNUAIRE-COUPE" and len(site.asked) == asked and client.circuit.open_for == 3600


async def test_a_key_that_cannot_be_read_is_told_without_it(site: Site, tmp_path: Path) -> None:
    for content in (b"", b"\xff\xfe", b"a\r\nX-Other: b"):
        (tmp_path / "key").write_bytes(content)
        client = FhirDirectory(FhirTarget(site.url, tmp_path / "none", tmp_path / "key"), FakeClock())
        fault = await refused(client)
        assert fault.rule == "ANNUAIRE-CLE" and "X-Other" not in str(fault) and not site.asked
        await client.close()


async def test_a_server_of_another_authority_is_not_asked(tmp_path: Path) -> None:
    client = FhirDirectory(FhirTarget("https://127.0.0.1:1/fhir/v2", tmp_path / "absent.pem"), FakeClock())
    assert (await refused(client)).rule == "ANNUAIRE-INJOIGNABLE"
    await client.close()


def test_the_circuit_opens_lets_one_through_and_closes() -> None:
    clock = FakeClock()
    circuit = Circuit(clock, 2, 60.0)
    circuit.bad()
    circuit.check()
    circuit.bad()
    with pytest.raises(RemoteFault):
        circuit.check()
    clock.advance(timedelta(seconds=61))
    circuit.check()
    with pytest.raises(RemoteFault):
        circuit.check()
    circuit.bad()
    assert circuit.open_for == 120
    circuit.good()
    circuit.check()
