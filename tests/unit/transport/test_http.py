"""Fetching the white list and CRLs: bounded, pinned, conditional; real sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from support.pki import build_igc, certificate_pem, pem_files

from mssante.errors import OperatorFault
from mssante.transport.http import HttpFetcher

BODY = b"<list/>" * 1000


@dataclass(slots=True)
class Source:
    """A web server whose answers depend on the path."""

    port: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    hang: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        match request.path:
            case "/list":
                if request.headers.get("If-None-Match") == '"one"':
                    return web.Response(status=304, headers={"ETag": '"one"'})
                return web.Response(body=BODY, headers={"ETag": '"one"'})
            case "/gzip":
                return web.Response(body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"})
            case "/echo":
                return web.Response(body=await request.read())
            case "/moved":
                return web.Response(status=302, headers={"Location": "/list"})
            case "/local":
                return web.Response(status=301, headers={"Location": "file:///etc/passwd"})
            case "/chunked":
                response = web.StreamResponse()
                response.enable_chunked_encoding()
                await response.prepare(request)
                for _ in range(100):
                    await response.write(BODY)
                return response
            case "/hang":
                response = web.StreamResponse(headers={"Content-Length": "100"})
                await response.prepare(request)
                await response.write(b"x")
                await self.hang.wait()
                return response
            case "/cut":
                response = web.StreamResponse(headers={"Content-Length": "100"})
                await response.prepare(request)
                await response.write(b"x")
                assert request.transport is not None
                request.transport.close()
                return response
        return web.Response(status=404)

    async def start(self, context: ssl.SSLContext | None = None) -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        return runner


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    made = Source()
    runner = await made.start()
    yield made
    made.hang.set()
    await runner.cleanup()


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    path = tmp_path / "anchors.pem"
    path.write_bytes(build_igc().anchors_pem)
    return path


async def refused(fetcher: HttpFetcher, url: str, max_bytes: int = 1 << 20) -> str:
    with pytest.raises(OperatorFault) as caught:
        await fetcher.fetch(url, max_bytes=max_bytes)
    assert caught.value.temporary
    return caught.value.rule


async def test_a_body_then_not_modified(source: Source, anchors: Path) -> None:
    fetcher = HttpFetcher(anchors)
    url = f"http://127.0.0.1:{source.port}/list"
    first = await fetcher.fetch(url, max_bytes=len(BODY))
    assert (first.body, first.etag) == (BODY, '"one"')
    again = await fetcher.fetch(url, max_bytes=len(BODY), etag=first.etag)
    assert (again.body, again.etag) == (None, '"one"')
    assert [headers.get("If-None-Match") for headers in source.headers] == [None, '"one"']
    assert {headers["Accept-Encoding"] for headers in source.headers} == {"identity"}


@pytest.mark.parametrize(("path", "rule"), [
    ("absent", "HTTP-STATUS"), ("moved", "HTTP-REDIRECT"), ("local", "HTTP-REDIRECT"), ("gzip", "HTTP-CODING"),
    ("chunked", "HTTP-SIZE"), ("cut", "HTTP-UNREACHABLE")])
async def test_other_answers_are_refused(source: Source, anchors: Path, path: str, rule: str) -> None:
    assert await refused(HttpFetcher(anchors), f"http://127.0.0.1:{source.port}/{path}", len(BODY)) == rule
    assert len(source.headers) == 1, "a redirect is not followed"


async def test_one_octet_too_many(source: Source, anchors: Path) -> None:
    assert await refused(HttpFetcher(anchors), f"http://127.0.0.1:{source.port}/list", len(BODY) - 1) == "HTTP-SIZE"


async def test_a_source_that_hangs_is_left(source: Source, anchors: Path) -> None:
    fetcher = HttpFetcher(anchors, timeout_seconds=0.2)
    assert await refused(fetcher, f"http://127.0.0.1:{source.port}/hang") == "HTTP-UNREACHABLE"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/list", "", "/list", "HTTP//x", "ldap://127.0.0.1/"])
async def test_other_schemes_are_refused(anchors: Path, url: str) -> None:
    assert await refused(HttpFetcher(anchors), url) == "HTTP-SCHEME"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/list", "http://", "http://127.0.0.1:99999/", "http://[::1/"])
async def test_nothing_there(anchors: Path, url: str) -> None:
    assert await refused(HttpFetcher(anchors), url) == "HTTP-UNREACHABLE"


async def serve_tls(tmp_path: Path, issuer: str, san: str) -> tuple[Source, web.AppRunner]:
    igc = build_igc()
    leaf, key = igc.leaf("liste.mssante.fr", issuer=issuer, san=(san,))
    certificate, secret = pem_files(tmp_path, issuer, [leaf, igc.authority(issuer).certificate], key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    source = Source()
    return source, await source.start(context)


@pytest.mark.parametrize(("issuer", "san", "good"), [
    ("organisations", "localhost", True), ("organisations", "other.mssante.fr", False), ("foreign", "localhost", False)])
async def test_https_trusts_the_given_anchors_only(tmp_path: Path, anchors: Path, issuer: str, san: str, good: bool) -> None:
    source, runner = await serve_tls(tmp_path, issuer, san)
    try:
        fetcher, url = HttpFetcher(anchors), f"https://localhost:{source.port}/list"
        if good:
            assert (await fetcher.fetch(url, max_bytes=1 << 20)).body == BODY
            other = tmp_path / "other.pem"
            other.write_bytes(certificate_pem(build_igc().foreign.certificate))
            assert await refused(HttpFetcher(other), url) == "HTTP-UNREACHABLE"
            assert await refused(HttpFetcher(tmp_path / "absent.pem"), url) == "HTTP-UNREACHABLE"
        else:
            assert await refused(fetcher, url) == "HTTP-UNREACHABLE"
            assert source.headers == []
    finally:
        await runner.cleanup()


async def test_a_question_is_posted_as_it_is_and_its_answer_bounded(source: Source, anchors: Path) -> None:
    fetcher = HttpFetcher(anchors)
    base = f"http://127.0.0.1:{source.port}"
    found = await fetcher.post(f"{base}/echo", b"\x30\x00question", content_type="application/ocsp-request", max_bytes=100)
    assert found == b"\x30\x00question"
    assert source.headers[-1]["Content-Type"] == "application/ocsp-request" and "If-None-Match" not in source.headers[-1]
    for path, rule in (("list", "HTTP-SIZE"), ("absent", "HTTP-STATUS"), ("moved", "HTTP-REDIRECT"), ("local", "HTTP-REDIRECT"),
                       ("gzip", "HTTP-CODING"), ("cut", "HTTP-UNREACHABLE")):
        with pytest.raises(OperatorFault) as caught:
            await fetcher.post(f"{base}/{path}", b"x", content_type="application/ocsp-request", max_bytes=100)
        assert caught.value.rule == rule
    with pytest.raises(OperatorFault) as caught:
        await fetcher.post("file:///etc/passwd", b"x", content_type="application/ocsp-request", max_bytes=100)
    assert caught.value.rule == "HTTP-SCHEME"
