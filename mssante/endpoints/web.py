"""The HTTPS door of users and programs: one listener, whose routes the topics of the operator bring.

- Opened by `app.py` when `listen.web` is set, with the TLS of the doors of the users; closed with the others.
- Every answer carries the headers that keep a browser from guessing, framing, caching or calling elsewhere; a part that needs
  more (styles, scripts of its own pages) sets its own and keeps the rest.
- An unexpected fault gives 500 without a word about its cause, and a line in the log; a `MssFault` gives its public text.
- `basic_account` checks HTTP Basic credentials with the same desk as IMAP (delays, scopes, evidence): protocol `web` or the
  one that the caller names (`carddav`, `directory`).
Never: an access log (addresses and identities stand in paths), a body above `MAX_BODY`.
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Awaitable, Callable, Sequence

import structlog
from aiohttp import web

from mssante.config.base import split_hostport
from mssante.errors import MssFault
from mssante.services.accounts import Accounts
from mssante.storage.interfaces import Account

log = structlog.get_logger("web")
MAX_BODY = 8 * 1024 * 1024  # octets of a request
MAX_CREDENTIALS = 4096  # octets of an Authorization header
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
    "Strict-Transport-Security": "max-age=31536000", "Cross-Origin-Resource-Policy": "same-origin",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def peer_of(request: web.Request) -> str:
    """Give `address:port` of the client, as the services want it."""
    name = request.transport.get_extra_info("peername") if request.transport is not None else None
    return f"{name[0]}:{name[1]}" if name else ":0"


async def basic_account(request: web.Request, accounts: Accounts, protocol: str = "web") -> Account | None:
    """Give the account of HTTP Basic credentials (RFC 7617), or None when there are none, or wrong ones (after their delay)."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic" or not 0 < len(encoded) <= MAX_CREDENTIALS:
        return None
    try:
        login, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    return await accounts.authenticate(login, password, peer_of(request), protocol) if colon else None


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every answer its headers, and every fault its words."""
    try:
        response = await handler(request)
    except web.HTTPException as answer:  # a redirection or a refusal that a handler raised
        _protect(answer)
        raise
    except MssFault as fault:
        response = web.json_response({"error": fault.rule, "detail": fault.public, "remedy": fault.remedy},
                                     status=503 if fault.temporary else 400)
    except Exception as fault:  # the border: no traceback leaves, no text that could hold an identity is logged
        log.exception("web_fault", fault=type(fault).__name__)
        response = web.json_response({"error": "internal"}, status=500)
    _protect(response)
    return response


def _protect(response: web.StreamResponse) -> None:
    if response.prepared:
        return
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


class WebDoor:
    """The listener."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        """tls: None only in tests."""
        self._tls = tls
        self._runner: web.AppRunner | None = None

    async def open(self, address: str, routes: Sequence[web.AbstractRouteDef]) -> int:
        """Listen on `host:port` with these routes; give the port (an asked 0 is chosen by the system). Raises OSError."""
        application = web.Application(client_max_size=MAX_BODY, middlewares=[_guard])
        application.add_routes(routes)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=5, max_line_size=16384)
        await self._runner.setup()
        host, port = split_hostport(address)
        await web.TCPSite(self._runner, host, port, ssl_context=self._tls).start()
        log.info("listening", door="web", address=address)
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop; safe when it was never opened."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
