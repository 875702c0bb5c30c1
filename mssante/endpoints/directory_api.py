"""The directory for programs, on the web door: search and lookup as JSON, and the OpenAPI document that describes them.

- For the bearer of an API token of scope `directory`, or for an account by HTTP Basic (protocol `directory`); 401 without, 403
  for a good token of other scopes. `LIMIT` questions a minute for each of them, then 429 with `Retry-After`.
- Red-listed mailboxes are not in the answers: what is served is what the directory publishes (F4.3).
- Refusals are problem documents (RFC 9457): rule, detail, remedy.
Never: a write, an enumeration (200 entries at most, no paging beyond), a log of what was asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from mssante.clock import Clock
from mssante.directory.values import DirectoryEntry, DirectoryQuery, Finding, Presence
from mssante.endpoints.web import basic_account
from mssante.services.accounts import Accounts
from mssante.services.apitokens import ApiTokens
from mssante.services.directory_port import DirectoryDesk

SCOPE = "directory"
LIMIT = 1200  # questions a minute
MAX_CALLERS = 10_000
MAX_TEXT = 200
_TEXTS = {"q": "text", "type": "type", "department": "department", "postcode": "postcode", "profession": "profession",
          "specialty": "specialty", "near": "near_department"}
Handler = Callable[[web.Request, int], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API stands on. desk: None while there is no directory."""

    desk: DirectoryDesk | None
    tokens: ApiTokens
    accounts: Accounts
    clock: Clock


def problem(status: int, rule: str, detail: str, remedy: str = "") -> web.Response:
    """Give a problem document (RFC 9457 §3)."""
    return web.json_response({"type": "about:blank", "status": status, "title": rule, "detail": detail, "remedy": remedy},
                             status=status, content_type="application/problem+json")


def document(entry: DirectoryEntry) -> dict[str, Any]:
    """Give an entry as the API shows it: facts that are there, under the names of `DirectoryEntry`."""
    names = ("address", "type", "name", "title", "family_name", "given_name", "profession_code", "profession", "specialty_code",
             "specialty", "holder_id", "structure_id", "structure_name", "trade_name", "service", "description", "postcode",
             "town", "department")
    found: dict[str, Any] = {name: getattr(entry, name) for name in names if getattr(entry, name)}
    return found | ({"lines": list(entry.lines)} if entry.lines else {}) | {"source": entry.source.value}


class DirectoryApi:
    """The routes."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._asked: dict[str, tuple[int, int]] = {}

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes for the web door."""
        return (web.get("/api/openapi.json", self._openapi), web.get("/api/directory/search", self._guarded(self._search)),
                web.get("/api/directory/entries/{address}", self._guarded(self._entry)))

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Let in whoever may ask, as often as it may; the handler is given the mailbox of the asker, 0 for a program."""
        async def run(request: web.Request) -> web.Response:
            caller, mailbox_id = await self._caller(request)
            if not caller:
                status, rule = (403, "API-PORTEE") if mailbox_id < 0 else (401, "API-IDENTITE")
                refusal = problem(status, rule, "jeton de portée directory, ou mot de passe d'application",
                                  "mssante token create NOM -s directory")
                refusal.headers["WWW-Authenticate"] = 'Bearer realm="mssante", Basic realm="mssante"'
                return refusal
            wait = self._wait(caller)
            if wait:
                refusal = problem(429, "API-RYTHME", f"plus de {LIMIT} questions dans la minute")
                refusal.headers["Retry-After"] = str(wait)
                return refusal
            return await handler(request, mailbox_id)

        return run

    async def _caller(self, request: web.Request) -> tuple[str, int]:
        """Give who asks and its mailbox; an empty name for nobody, with -1 for a token of other scopes."""
        header = request.headers.get("Authorization", "")
        token = await self._parts.tokens.holder(header)
        if token is not None:
            return (f"token {token.id}", 0) if SCOPE in token.scopes else ("", -1)
        account = await basic_account(request, self._parts.accounts, SCOPE)
        return (account.login, next(iter(account.mailbox_ids), 0)) if account is not None else ("", 0)

    def _wait(self, caller: str) -> int:
        """Count a question; give the seconds to wait when there were too many in this minute."""
        now = self._parts.clock.monotonic()
        minute = int(now // 60)
        since, count = self._asked.get(caller, (minute, 0))
        if len(self._asked) > MAX_CALLERS:
            self._asked = {}
        count = count + 1 if since == minute else 1
        self._asked[caller] = (minute, count)
        return int(60 - now % 60) + 1 if count > LIMIT else 0

    async def _search(self, request: web.Request, mailbox_id: int) -> web.Response:
        unknown = sorted(set(request.query) - {*_TEXTS, "limit"})
        limit = request.query.get("limit", "20")
        if unknown or any(len(value) > MAX_TEXT for value in request.query.values()):
            return problem(400, "API-PARAMETRE", f"inconnu ou trop long : {', '.join(unknown)[:100]}",
                           ", ".join((*_TEXTS, "limit")))
        if not (limit.isascii() and limit.isdigit() and 0 < int(limit[:9]) <= 200):
            return problem(400, "API-PARAMETRE", f"limit={limit[:20]}", "1 – 200")
        if self._parts.desk is None:
            return problem(503, "API-ANNUAIRE", "aucun annuaire ici", "[directory] operator.toml")
        query = DirectoryQuery(**{ours: request.query.get(theirs, "") for theirs, ours in _TEXTS.items()}, mailbox_id=mailbox_id,
                               limit=int(limit))
        entries = [one for one in await self._parts.desk.search(query) if not one.red_listed]
        return web.json_response({"entries": [document(one) for one in entries]})

    async def _entry(self, request: web.Request, mailbox_id: int) -> web.Response:
        address = request.match_info["address"]
        if self._parts.desk is None:
            return problem(503, "API-ANNUAIRE", "aucun annuaire ici", "[directory] operator.toml")
        if not 3 <= len(address) <= 254 or "@" not in address:
            return problem(400, "API-PARAMETRE", "adresse mal formée", "nom@domaine")
        found = await self._parts.desk.find(address, ask=True)
        return web.json_response(_finding(found), status=200 if found.entries else 404)

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(OPENAPI)


def _finding(found: Finding) -> dict[str, Any]:
    entries = [document(one) for one in found.entries if not one.red_listed]
    told = Presence.ABSENT if found.presence is Presence.RED_LISTED else found.presence  # F4.3
    return {"address": found.address, "presence": told.value, "entries": entries, "near": list(found.near),
            "as_of": found.as_of.isoformat() if found.as_of else None, "sources": [one.value for one in found.sources],
            "closed_at": found.closed_at.isoformat() if found.closed_at else None}


_TEXT = {"type": "string", "maxLength": MAX_TEXT}
_ENTRY = {"type": "object", "required": ["address", "type", "source"], "properties": {
    **{name: {"type": "string"} for name in (
        "address", "type", "name", "title", "family_name", "given_name", "profession_code", "profession", "specialty_code",
        "specialty", "holder_id", "structure_id", "structure_name", "trade_name", "service", "description", "postcode", "town",
        "department", "source")}, "lines": {"type": "array", "items": {"type": "string"}}}}
_REFUSALS = {str(status): {"description": text, "content": {"application/problem+json": {"schema": {
    "$ref": "#/components/schemas/Problem"}}}} for status, text in (
        (400, "paramètre refusé"), (401, "sans identité"), (403, "jeton d'une autre portée"), (429, "trop de questions"),
        (503, "annuaire absent"))}
_LIST = {"type": "array", "items": {"$ref": "#/components/schemas/Entry"}}


def _answer(schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": schema}}}


_FINDING = {"type": "object", "properties": {
    "address": {"type": "string"}, "presence": {"enum": ["published", "closed", "absent", "unknown"]},
    "entries": _LIST, "near": {"type": "array", "items": {"type": "string"}},
    "sources": {"type": "array", "items": {"type": "string"}},
    "as_of": {"type": ["string", "null"]}, "closed_at": {"type": ["string", "null"]}}}
OPENAPI: dict[str, Any] = {  # later parts add their paths here
    "openapi": "3.1.0", "info": {"title": "mssante", "version": "1", "license": {"name": "EUPL-1.2", "identifier": "EUPL-1.2"}},
    "security": [{"token": []}, {"password": []}],
    "paths": {
        "/api/directory/search": {"get": {
            "summary": "Cherche dans l'annuaire, le dernier mot peut être inachevé", "parameters": [
                *({"name": name, "in": "query", "schema": _TEXT} for name in _TEXTS),
                {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 20}}],
            "responses": {"200": _answer({"type": "object", "properties": {"entries": _LIST}}, "les meilleures d'abord"),
                          **_REFUSALS}}},
        "/api/directory/entries/{address}": {"get": {
            "summary": "Ce que l'on sait d'une adresse", "parameters": [
                {"name": "address", "in": "path", "required": True, "schema": {"type": "string", "maxLength": 254}}],
            "responses": {"200": _answer(_FINDING, "publiée"), "404": _answer(_FINDING, "non publiée, avec les plus proches"),
                          **_REFUSALS}}}},
    "components": {
        "schemas": {"Entry": _ENTRY, "Problem": {"type": "object", "properties": {
            name: {"type": "integer" if name == "status" else "string"}
            for name in ("type", "status", "title", "detail", "remedy")}}},
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}, "password": {"type": "http", "scheme": "basic"}}}}
