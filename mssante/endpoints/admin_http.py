"""The administrator's listeners: `/metrics` in clear on a local address, and a status page over HTTPS.

The status page is read-only and shows states and counts, never a message, an address or an identity.
"""

from __future__ import annotations

import html
import ssl

from aiohttp import web

from mssante.config.model import Config, split_hostport
from mssante.observability.metrics import exposition
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Stores

HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Referrer-Policy": "no-referrer",
           "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Strict-Transport-Security": "max-age=31536000"}


class AdminHttp:
    """Opens both listeners."""

    def __init__(self, config: Config, trust: TrustState, stores: Stores, tls: ssl.SSLContext) -> None:
        """tls: of the console."""
        self._config = config
        self._trust = trust
        self._stores = stores
        self._tls = tls
        self._runners: list[web.AppRunner] = []

    async def open(self) -> None:
        """Listen where configured. Raises OSError."""
        listen = self._config.operator.listen
        if listen.metrics:
            await self._start(listen.metrics, [web.get("/metrics", self._metrics), web.get("/healthz", self._health)])
        if listen.console:
            await self._start(listen.console, [web.get("/", self._status)], self._tls)

    async def _start(self, address: str, routes: list[web.RouteDef], tls: object = None) -> None:
        application = web.Application(client_max_size=64 * 1024)
        application.add_routes(routes)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        host, port = split_hostport(address)
        await web.TCPSite(runner, host, port, ssl_context=tls).start()  # type: ignore[arg-type]
        self._runners.append(runner)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=exposition(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _health(self, request: web.Request) -> web.Response:
        usable = self._trust.usable_list() is not None
        return web.json_response({"trust_list_usable": usable}, status=200 if usable else 503)

    async def _status(self, request: web.Request) -> web.Response:
        depth = await self._stores.database.read(lambda tx: self._stores.queue.depth(tx))
        current = self._trust.snapshot.whitelist
        rows = [("Opérateur", self._config.operator.operator.name),
                ("Liste blanche du", self._trust.list_date()),
                ("Domaines de la liste", str(current.domain_count if current else 0)),
                ("Liste utilisable", "oui" if self._trust.usable_list() else "non"),
                *[(f"File, état {state}", str(count)) for state, count in sorted(depth.items())]]
        cells = "".join(f"<tr><th scope='row'>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in rows)
        page = ("<!doctype html><html lang='fr'><head><meta charset='utf-8'><title>mssante</title><style>body{font-family:"
                "sans-serif;margin:2rem}th{text-align:left;padding-right:2rem}</style></head><body>"
                f"<h1>État de l'opérateur</h1><table>{cells}</table></body></html>")
        return web.Response(text=page, content_type="text/html", headers=HEADERS)

    async def close(self) -> None:
        """Stop both."""
        for runner in self._runners:
            await runner.cleanup()
