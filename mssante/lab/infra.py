"""The shared services of a lab, in one process of their own: white list, CRL, OCSP, DNS, directory, Pro Santé Connect.

`python -m mssante.lab.infra DIR` is started by the supervisor and stops on SIGTERM. It reads the lab's files once and
the faults at each request. It logs names of services and statuses on standard output, never a query: queries carry
addresses. Everything listens on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from mssante.clock import Clock, SystemClock
from mssante.directory.patch import PatchRefused
from mssante.errors import InputFault
from mssante.lab import annuaire_write
from mssante.lab.annuaire import (
    RESOURCE_TYPES,
    build_extraction,
    extraction_stem,
    fhir_resources,
    operation_outcome,
    parse_search,
    search_bundle,
)
from mssante.lab.desks import Published, RevocationDesk, fault_file, load_authorities, load_list_desk
from mssante.lab.faults import Fault
from mssante.lab.manifest import Lab
from mssante.lab.plan import HOST, LIST_PATH, infra_ports
from mssante.lab.psc import PscSite
from mssante.lab.revocation import MAX_OCSP_REQUEST, Responder, answer_ocsp, delegated_responder
from mssante.lab.zone import MAX_QUERY, Zone, answer_query, lab_zone

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _cut(request: web.Request) -> web.Response:
    """Break the connection as an unreachable server does; the response is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _tagged(request: web.Request, body: bytes, content_type: str) -> web.Response:
    """Answer with an entity tag, or 304 when the client has that content already (RFC 9110 §13.1.2)."""
    tag = '"' + hashlib.sha256(body).hexdigest() + '"'
    asked = [one.strip() for one in request.headers.get("If-None-Match", "").split(",")]
    if tag in asked:
        return web.Response(status=304, headers={"ETag": tag})
    return web.Response(body=body, content_type=content_type, headers={"ETag": tag})


class ListSite:
    """`GET /listeblanchemssante.xml` over HTTPS (F1.1)."""

    def __init__(self, lab: Lab, clock: Clock) -> None:
        self._desk = load_list_desk(lab)
        self._faults = fault_file(lab)
        self._published = Published(lab.path("infra/published"))
        self._clock = clock

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Give the list of the moment."""
        faults = self._faults.read()
        if Fault.WHITELIST_UNREACHABLE in faults:
            return _cut(request)
        body = self._published.read(LIST_PATH.strip("/"))
        if body is None:
            body = self._desk.current(faults, self._clock.now())
        return _tagged(request, body, "application/xml")

    def application(self) -> web.Application:
        """Give the web application of this service."""
        application = web.Application()
        application.router.add_get(LIST_PATH, self.serve)
        return application


class RevocationSite:
    """CRLs and CA certificates over HTTP, and OCSP by POST and GET (F3.3, F3.5)."""

    def __init__(self, lab: Lab, clock: Clock) -> None:
        self._authorities = load_authorities(lab)
        self._desk = RevocationDesk(lab, self._authorities, now=clock.now())
        self._faults = fault_file(lab)
        self._published = Published(lab.path("infra/published"))
        self._clock = clock
        self._responder = delegated_responder(self._authorities[0], clock.now().replace(microsecond=0))

    async def crl(self, request: web.Request) -> web.StreamResponse:
        """Give `<stem>.crl` in DER."""
        stem = request.match_info["stem"]
        body = self._desk.current(stem, self._faults.read(), self._clock.now())
        if body is None:
            raise web.HTTPNotFound
        return _tagged(request, self._published.read(f"{stem}.crl") or body, "application/pkix-crl")

    async def authority(self, request: web.Request) -> web.StreamResponse:
        """Give `AC/<stem>.cer` in DER, which the AIA extension points at."""
        for authority in self._authorities:
            if authority.file == request.match_info["stem"]:
                return _tagged(request, authority.certificate.public_bytes(Encoding.DER), "application/pkix-cert")
        raise web.HTTPNotFound

    async def ocsp(self, request: web.Request) -> web.StreamResponse:
        """Answer an OCSP request sent by POST (RFC 6960 §A.1), signed by the authority itself."""
        return await self._answer(request, None)

    async def delegated(self, request: web.Request) -> web.Response:
        """Answer the same, signed by a responder that ORGANISATIONS named."""
        return await self._answer(request, self._responder)

    async def _answer(self, request: web.Request, responder: Responder | None) -> web.Response:
        raw = await request.read()
        revoked = self._desk.revoked(self._faults.read(), "ocsp")
        body = self._published.read("ocsp.der") or answer_ocsp(raw, self._authorities, revoked, responder=responder,
                                                               now=self._clock.now().replace(microsecond=0))
        return web.Response(body=body, content_type="application/ocsp-response")

    def crl_application(self) -> web.Application:
        """Give the web application of the CRL port."""
        application = web.Application()
        application.router.add_get("/{stem}.crl", self.crl)
        application.router.add_get("/AC/{stem}.cer", self.authority)
        return application

    def ocsp_application(self) -> web.Application:
        """Give the web application of the OCSP port."""
        application = web.Application(client_max_size=MAX_OCSP_REQUEST)
        application.router.add_post("/", self.ocsp)
        application.router.add_post("/delegated", self.delegated)
        return application


class DirectorySite:
    """The extraction and the FHIR read API (F4.6, F4.12); any `ESANTE-API-KEY` is accepted."""

    def __init__(self, lab: Lab, clock: Clock) -> None:
        accounts = [account for operator in lab.operators for account in operator.accounts]
        now = clock.now()
        self._archive = build_extraction(accounts, now)
        self._stem = extraction_stem(now)
        self._folder = lab.folder
        self._resources = annuaire_write.load(lab.folder, fhir_resources(accounts))
        self._base = lab.trust("directory_fhir")
        self._faults = fault_file(lab)

    async def extraction(self, request: web.Request) -> web.StreamResponse:
        """Give the ZIP, or its headers only for HEAD: the stamp stands in Content-Disposition (F4.7)."""
        response = _tagged(request, self._archive, "application/zip")
        response.headers["Content-Disposition"] = f'attachment; filename="{self._stem}.zip"'
        return response

    async def search(self, request: web.Request) -> web.StreamResponse:
        """Answer a search by GET or by POST `_search`."""
        kind = request.match_info["kind"]
        if kind not in RESOURCE_TYPES:
            return self._json(operation_outcome("not-found", "Unknown resource type"), 404)
        fields = dict(request.query)
        if request.method == "POST":
            fields.update({name: value for name, value in (await request.post()).items() if isinstance(value, str)})
        try:
            search = parse_search(fields)
        except InputFault as fault:
            return self._json(operation_outcome("invalid", fault.public), 400)
        listed = [annuaire_write.public_view(one) for one in self._resources[kind]]
        return self._json(search_bundle(kind, listed, search, base_url=self._base))

    async def read(self, request: web.Request) -> web.StreamResponse:
        """Give one resource by id."""
        for resource in self._resources.get(request.match_info["kind"], ()):
            if resource["id"] == request.match_info["id"]:
                return self._json(annuaire_write.public_view(resource))
        return self._json(operation_outcome("not-found", "Resource not found"), 404)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """Change entries of mailboxes (FHIR Patch, by id or by key)."""
        asked = annuaire_write.PatchRequest(request.match_info["kind"], request.headers.get("ESANTE-API-KEY", ""),
                                            request.match_info.get("id", ""), request.query.get("identifier", ""))
        try:
            changed = annuaire_write.patch(self._resources, asked, await request.json())
        except PatchRefused as fault:
            return self._json(operation_outcome(fault.code, fault.public), fault.status)
        except ValueError:
            return self._json(operation_outcome("structure", "The body is not JSON"), 400)
        annuaire_write.save(self._folder, self._resources)
        return self._json(changed)

    @staticmethod
    def _json(document: object, status: int = 200) -> web.Response:
        return web.json_response(document, status=status, content_type="application/fhir+json")

    def application(self) -> web.Application:
        """Give the web application of this service."""
        @web.middleware
        async def when_up(request: web.Request, handler: Handler) -> web.StreamResponse:
            return _cut(request) if Fault.DIRECTORY_DOWN in self._faults.read() else await handler(request)

        application = web.Application(middlewares=[when_up])
        application.router.add_get("/extraction", self.extraction)
        application.router.add_get("/fhir/v2/{kind}", self.search)
        application.router.add_post("/fhir/v2/{kind}/_search", self.search)
        application.router.add_get("/fhir/v2/{kind}/{id}", self.read)
        application.router.add_patch("/fhir/v2/{kind}", self.patch)
        application.router.add_patch("/fhir/v2/{kind}/{id}", self.patch)
        return application


class DnsDatagrams(asyncio.DatagramProtocol):
    """DNS over UDP."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket to answer on."""
        self._transport = cast(asyncio.DatagramTransport, transport)  # 3.11: its own class does not derive from it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one query, or drop it."""
        answer = answer_query(data, self._zone, datagram=True)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


async def _serve_dns_stream(zone: Zone, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """DNS over TCP: queries with a two-octet length, until the client closes or stays idle (RFC 7766 §8)."""
    try:
        while True:
            size = int.from_bytes(await asyncio.wait_for(reader.readexactly(2), 10), "big")
            if size > MAX_QUERY:
                break
            answer = answer_query(await asyncio.wait_for(reader.readexactly(size), 10), zone, datagram=False)
            if answer is None:
                break
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
    except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()


def _list_tls(lab: Lab) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(lab.path("igc/whitelist-server.pem"), lab.path("igc/whitelist-server.key"))
    return context


class Infra:
    """All shared services of one lab; `start` binds them, `stop` closes them."""

    def __init__(self, lab: Lab, clock: Clock) -> None:
        self._lab = lab
        self._clock = clock
        self._runners: list[web.AppRunner] = []
        self._datagrams: asyncio.BaseTransport | None = None
        self._streams: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind every port; raises OSError when one is taken."""
        ports = infra_ports(self._lab.base_port)
        revocation = RevocationSite(self._lab, self._clock)
        await self._site(ListSite(self._lab, self._clock).application(), ports["whitelist"], _list_tls(self._lab))
        await self._site(revocation.crl_application(), ports["crl"])
        await self._site(revocation.ocsp_application(), ports["ocsp"])
        await self._site(DirectorySite(self._lab, self._clock).application(), ports["directory"])
        await self._site(PscSite(self._lab, self._clock).application(), ports["psc"], _list_tls(self._lab))
        zone = lab_zone(self._lab.base_port)
        loop = asyncio.get_running_loop()
        self._datagrams, _ = await loop.create_datagram_endpoint(
            lambda: DnsDatagrams(zone), local_addr=(HOST, ports["dns"]))
        self._streams = await asyncio.start_server(
            lambda reader, writer: _serve_dns_stream(zone, reader, writer), HOST, ports["dns"])

    async def _site(self, application: web.Application, port: int, tls: ssl.SSLContext | None = None) -> None:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, HOST, port, ssl_context=tls).start()

    async def stop(self) -> None:
        """Close every port."""
        if self._datagrams is not None:
            self._datagrams.close()
        if self._streams is not None:
            self._streams.close()
        for runner in self._runners:
            await runner.cleanup()


async def _run(folder: Path) -> None:
    infra = Infra(Lab.load(folder), SystemClock())
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await infra.start()
        sys.stdout.write('{"event": "infra_started"}\n')
        sys.stdout.flush()
        await stopped.wait()
    finally:
        await infra.stop()


def main() -> None:
    """Run the shared services of the lab named on the command line until SIGTERM."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m mssante.lab.infra DIR\n")
        raise SystemExit(2)
    asyncio.run(_run(Path(sys.argv[1])))


if __name__ == "__main__":
    main()
