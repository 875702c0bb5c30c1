"""Documents for programs, on the web door: hand one in, ask what became of it, read events, tell webhooks again.

- For the bearer of an API token of scope `documents:send` (or `events`) that names the mailboxes it is for; another mailbox, or a
  document of another one, is as if it did not exist (404) or is refused (403).
- `POST` asks for an `Idempotency-Key` header: the same key gives the same answer, the message is sent once.
- At most `per_minute` requests a minute for each token (429), `uploads` bodies in memory at a time (503 beyond a short wait).
- Refusals are problem documents (RFC 9457) with rule, words, remedy, and the recipients that are the cause.
Never: a log of what was asked, an identity in an answer but for the addresses that the program gave itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from mssante.clock import Clock
from mssante.endpoints.directory_api import OPENAPI, problem
from mssante.endpoints.documents_body import read_body
from mssante.endpoints.documents_openapi import PATHS, SCHEMAS
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.services.apitokens import ApiTokens, mailboxes_of
from mssante.services.handed import MAX_KEY, HandedIn, HandOverRefused
from mssante.services.handover import HandOver
from mssante.services.handquery import HandQuery
from mssante.services.handrequest import Asker, read_request
from mssante.storage.apitokens import ApiToken

SEND, EVENTS = "documents:send", "events"
BASE = "/api/v1"
MAX_CALLERS = 10_000
UPLOAD_WAIT_SECONDS = 20.0
READ_SECONDS = 120.0  # for the body of one request
RETRY_SECONDS = "30"
Handler = Callable[[web.Request, ApiToken], Awaitable[web.Response]]
_STATUS = {"REMISE-CLE": 409, "REMISE-TAILLE": 413, "API-TAILLE": 413, "API-TYPE": 415, "API-CORPS": 400, "REMISE-JSON": 400}


@dataclass(frozen=True, slots=True)
class DocumentsParts:
    """What the API stands on. request_bytes: of one body; per_minute: requests of one token; uploads: bodies at a time."""

    handover: HandOver
    query: HandQuery
    tokens: ApiTokens
    clock: Clock
    request_bytes: int
    per_minute: int
    uploads: int


class DocumentsApi:
    """The routes."""

    def __init__(self, parts: DocumentsParts) -> None:
        self._parts = parts
        self._asked: dict[int, tuple[int, int]] = {}
        self._uploads = asyncio.Semaphore(parts.uploads)
        OPENAPI["paths"].update(PATHS)
        OPENAPI["components"]["schemas"].update(SCHEMAS)

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes for the web door."""
        return (web.post(f"{BASE}/documents", self._guarded(SEND, self._send)),
                web.get(f"{BASE}/documents/{{id}}", self._guarded(SEND, self._status)),
                web.get(f"{BASE}/events", self._guarded(EVENTS, self._events)),
                web.post(f"{BASE}/webhooks/{{id}}/replay", self._guarded(EVENTS, self._replay)))

    def _guarded(self, scope: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Let in the bearers of a scope, as often as they may; turn faults into problem documents."""
        async def run(request: web.Request) -> web.Response:
            token = await self._parts.tokens.holder(request.headers.get("Authorization", ""))
            if token is None or scope not in token.scopes:
                refusal = problem(401 if token is None else 403, "API-IDENTITE" if token is None else "API-PORTEE",
                                  say(f"jeton de portée {scope}", f"a token of scope {scope}"),
                                  f"mssante token create NOM -s {scope} -m BOITE")
                refusal.headers["WWW-Authenticate"] = 'Bearer realm="mssante"'
                return refusal
            wait = self._wait(token.id)
            if wait:
                refusal = problem(429, "API-RYTHME", say(f"plus de {self._parts.per_minute} demandes dans la minute",
                                                         f"more than {self._parts.per_minute} requests in the minute"))
                refusal.headers["Retry-After"] = str(wait)
                return refusal
            try:
                return await handler(request, token)
            except MssFault as fault:
                return refused(fault)

        return run

    def _wait(self, caller: int) -> int:
        """Count a request; give the seconds to wait when there were too many in this minute."""
        now = self._parts.clock.monotonic()
        minute = int(now // 60)
        since, count = self._asked.get(caller, (minute, 0))
        if len(self._asked) > MAX_CALLERS:
            self._asked = {}
        count = count + 1 if since == minute else 1
        self._asked[caller] = (minute, count)
        return int(60 - now % 60) + 1 if count > self._parts.per_minute else 0

    # --------------------------------------------------------------------------------------------- documents

    async def _send(self, request: web.Request, token: ApiToken) -> web.Response:
        key = request.headers.get("Idempotency-Key", "")
        if not 0 < len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
            return problem(400, "API-CLE", say("en-tête Idempotency-Key absent, trop long ou illisible",
                                               "header Idempotency-Key missing, too long or unreadable"),
                           f"1 – {MAX_KEY}, ASCII")
        try:
            async with asyncio.timeout(UPLOAD_WAIT_SECONDS):
                await self._uploads.acquire()
        except TimeoutError:
            return later(problem(503, "API-CHARGE", say("trop de demandes en même temps", "too many requests at a time")))
        try:
            return await self._accept(request, token, key)
        finally:
            self._uploads.release()

    async def _accept(self, request: web.Request, token: ApiToken, key: str) -> web.Response:
        try:
            async with asyncio.timeout(READ_SECONDS):  # a slow sender holds one of the few places
                body = await read_body(request, self._parts.request_bytes)
        except TimeoutError:
            return problem(408, "API-LENTEUR", say("la demande n'est pas arrivée à temps", "the request did not come in time"),
                           f"{READ_SECONDS:.0f} s")
        allowed = mailboxes_of(token)
        asker = Asker(f"token {token.id}", key, f"token {token.id} {token.label}"[:100],
                      next(iter(allowed)) if len(allowed) == 1 else "")
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(None, read_request, body.value, asker, body.parts.get)
        if asked.mailbox.strip().lower() not in allowed:
            return problem(403, "API-BOITE", say("ce jeton n'ouvre pas cette boîte", "this token does not open this mailbox"),
                           "mssante token create NOM -s documents:send -m BOITE")
        return accepted(await self._parts.handover.accept(asked))

    async def _status(self, request: web.Request, token: ApiToken) -> web.Response:
        found = await self._parts.query.status(request.match_info["id"][:64], mailboxes_of(token))
        if found is None:
            return problem(404, "API-INCONNU", say("aucun document de ce nom pour ce jeton", "no such document for this token"))
        return web.json_response(found)

    # ------------------------------------------------------------------------------------------------ events

    async def _events(self, request: web.Request, token: ApiToken) -> web.Response:
        unknown = sorted(set(request.query) - {"after", "limit"})
        after, limit = request.query.get("after", "0"), request.query.get("limit", "100")
        if unknown or not _number(after, 0, 10**17) or not _number(limit, 1, 500):
            return problem(400, "API-PARAMETRE", say("paramètre inconnu ou hors bornes", "parameter unknown or out of bounds"),
                           "after ≥ 0, limit 1 – 500")
        return web.json_response(await self._parts.query.events(int(after), int(limit), mailboxes_of(token)))

    async def _replay(self, request: web.Request, token: ApiToken) -> web.Response:
        """Tell a webhook again what it was told since an instant."""
        since = request.query.get("since", "")
        count = await self._parts.query.replay(request.match_info["id"][:64], since, mailboxes_of(token))
        if count is None:
            return problem(404, "API-INCONNU", say("aucun webhook de ce nom pour ce jeton", "no such webhook for this token"))
        return web.json_response({"replayed": count}, status=202)


def accepted(got: HandedIn) -> web.Response:
    """Give the answer to an accepted request."""
    answer = web.json_response({"id": got.id, "trace_id": got.trace_id, "message_id": got.message_id,
                                "accepted_at": got.accepted_at.isoformat(timespec="milliseconds"), "repeated": got.repeated},
                               status=202)
    answer.headers["Location"] = f"{BASE}/documents/{got.id}"
    return answer


def refused(fault: MssFault) -> web.Response:
    """Give the problem document of a fault: 4xx for what the program must correct, 503 for what it may try again."""
    if fault.temporary:
        return later(_problem(503, fault))
    default = 422 if isinstance(fault, HandOverRefused | InputFault) else 500
    return _problem(_STATUS.get(fault.rule, default), fault)


def later(answer: web.Response) -> web.Response:
    """Add when to come back."""
    answer.headers["Retry-After"] = RETRY_SECONDS
    return answer


def _problem(status: int, fault: MssFault) -> web.Response:
    document: dict[str, Any] = {"type": "about:blank", "status": status, "title": fault.rule, "detail": fault.public,
                                "remedy": fault.remedy}
    if isinstance(fault, HandOverRefused) and fault.recipients:
        names = ("address", "rule", "detail")
        document["recipients"] = [dict(zip(names, one, strict=True)) for one in fault.recipients]
    return web.json_response(document, status=status, content_type="application/problem+json")


def _number(text: str, least: int, most: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18 and least <= int(text) <= most
