"""SCIM 2.0 on the web door, under `/scim/v2` (RFC 7644), for the bearer of an API token of scope `scim`.

- Without a good token: 401, whatever is asked, with the same words. The token is checked before anything is read.
- Bodies of at most `MAX_BODY` octets, JSON objects; answers are `application/scim+json` with an ETag; refusals have the body of
  RFC 7644 §3.12. No text of a request is repeated in an answer, no value reaches a log.
Called by `topics/provisioning.py`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import structlog
from aiohttp import web

from mssante.errors import MssFault
from mssante.protocol.scim.schemas import MAX_RESULTS, RESOURCE_TYPES, SCHEMAS, SERVICE_PROVIDER, listed, selected
from mssante.protocol.scim.values import Document, ScimFault
from mssante.services.scim import Asked, Page, ScimDesk

log = structlog.get_logger("scim")
BASE = "/scim/v2"
MAX_BODY = 256 * 1024
MEDIA = "application/scim+json"
Handler = Callable[[web.Request, str], Awaitable[web.Response]]
Search = Callable[[str, int, int], Awaitable[Page]]


class TokenGate(Protocol):
    """Who may come in."""

    async def admit(self, authorization: str) -> str:
        """Give the name of the bearer for the journal, empty when it may not."""
        ...


def _answer(document: Document | None, status: int = 200, *, location: str = "") -> web.Response:
    if document is None:
        return web.Response(status=204)
    headers = {"Location": location} if location else {}
    version = document.get("meta", {}).get("version", "")
    if version:
        headers["ETag"] = version
    body = json.dumps(document, ensure_ascii=False).encode()
    return web.Response(body=body, status=status, content_type=MEDIA, headers=headers)


class ScimEndpoint:
    """The routes."""

    def __init__(self, desk: ScimDesk, gate: TokenGate) -> None:
        self._desk = desk
        self._gate = gate

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give all routes."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/ServiceProviderConfig", self._config), ("GET", "/ResourceTypes", self._types),
            ("GET", "/ResourceTypes/{id}", self._types), ("GET", "/Schemas", self._schemas),
            ("GET", "/Schemas/{id}", self._schemas),
            ("POST", "/Users/.search", self._search_users), ("POST", "/Groups/.search", self._search_groups),
            ("GET", "/Users", self._users), ("POST", "/Users", self._create), ("GET", "/Users/{id}", self._user),
            ("PUT", "/Users/{id}", self._replace), ("PATCH", "/Users/{id}", self._patch), ("DELETE", "/Users/{id}", self._delete),
            ("GET", "/Groups", self._groups), ("GET", "/Groups/{id}", self._group), ("PUT", "/Groups/{id}", self._put_group),
            ("PATCH", "/Groups/{id}", self._patch_group)]
        known = [web.route(method, BASE + path, self._guarded(handler)) for method, path, handler in table]
        return [*known, web.route("*", BASE + "/{rest:.*}", self._guarded(self._nothing))]

    def _guarded(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def run(request: web.Request) -> web.Response:
            try:
                by = await self._gate.admit(request.headers.get("Authorization", ""))
                if not by:
                    refusal = _answer(ScimFault(401, "a bearer token of scope scim is needed").document(), 401)
                    refusal.headers["WWW-Authenticate"] = 'Bearer realm="scim"'
                    return refusal
                return await handler(request, by)
            except ScimFault as fault:
                return _answer(fault.document(), fault.status)
            except MssFault as fault:
                log.warning("scim_refused", rule=fault.rule)
                status = 503 if fault.temporary else 400
                return _answer(ScimFault(status, f"[{fault.rule}]").document(), status)

        return run

    # ------------------------------------------------------------ about this server

    async def _config(self, request: web.Request, by: str) -> web.Response:
        return _answer(SERVICE_PROVIDER)

    async def _types(self, request: web.Request, by: str) -> web.Response:
        return self._fixed(request, RESOURCE_TYPES)

    async def _schemas(self, request: web.Request, by: str) -> web.Response:
        return self._fixed(request, SCHEMAS)

    def _fixed(self, request: web.Request, known: Sequence[Document]) -> web.Response:
        if request.query.get("filter"):
            raise ScimFault(403, "no filter here")  # RFC 7644 §4
        wanted = request.match_info.get("id")
        if wanted is None:
            return _answer(listed(known, len(known), 1))
        found = [one for one in known if one["id"] == wanted]
        if not found:
            raise ScimFault(404, "not found")
        return _answer(found[0])

    async def _nothing(self, request: web.Request, by: str) -> web.Response:
        rest = request.match_info["rest"]
        known = rest.partition("/")[0] in ("Users", "Groups", "Schemas", "ResourceTypes", "ServiceProviderConfig")
        raise ScimFault(405 if known else 501 if rest in ("Me", "Bulk", ".search") else 404, "not offered")

    # ------------------------------------------------------------ users

    async def _users(self, request: web.Request, by: str) -> web.Response:
        return await self._search(self._desk.users, request.query)

    async def _search_users(self, request: web.Request, by: str) -> web.Response:
        return await self._search(self._desk.users, _search_request(await _body(request)))

    async def _search(self, desk: Search, asked: Mapping[str, str]) -> web.Response:
        start, count = _bounds(asked)
        page = await desk(asked.get("filter", ""), start, count)
        return _answer(listed([_selected(asked, one) for one in page.resources], page.total, start))

    async def _user(self, request: web.Request, by: str) -> web.Response:
        return self._one(request, await self._desk.user(request.match_info["id"]))

    def _one(self, request: web.Request, document: Document, status: int = 200) -> web.Response:
        version = document["meta"]["version"]
        if status == 200 and request.method == "GET" and version in _versions(request, "If-None-Match"):
            return web.Response(status=304, headers={"ETag": version})
        location = f"{request.scheme}://{request.host}{document['meta']['location']}"
        document["meta"]["location"] = location
        answer = _answer(_selected(request.query, document), status, location=location)
        answer.headers["ETag"] = version
        return answer

    async def _create(self, request: web.Request, by: str) -> web.Response:
        return self._one(request, await self._desk.create(await _body(request), Asked(by)), 201)

    async def _replace(self, request: web.Request, by: str) -> web.Response:
        asked = Asked(by, _versions(request, "If-Match"))
        return self._one(request, await self._desk.replace(request.match_info["id"], await _body(request), asked))

    async def _patch(self, request: web.Request, by: str) -> web.Response:
        asked = Asked(by, _versions(request, "If-Match"))
        return self._one(request, await self._desk.patch(request.match_info["id"], await _body(request), asked))

    async def _delete(self, request: web.Request, by: str) -> web.Response:
        await self._desk.delete(request.match_info["id"], Asked(by, _versions(request, "If-Match")))
        return _answer(None)

    # ------------------------------------------------------------ groups

    async def _groups(self, request: web.Request, by: str) -> web.Response:
        return await self._search(self._desk.groups, request.query)

    async def _search_groups(self, request: web.Request, by: str) -> web.Response:
        return await self._search(self._desk.groups, _search_request(await _body(request)))

    async def _group(self, request: web.Request, by: str) -> web.Response:
        return self._one(request, await self._desk.group(request.match_info["id"]))

    async def _put_group(self, request: web.Request, by: str) -> web.Response:
        return await self._change_group(request, by, patch=False)

    async def _patch_group(self, request: web.Request, by: str) -> web.Response:
        return await self._change_group(request, by, patch=True)

    async def _change_group(self, request: web.Request, by: str, *, patch: bool) -> web.Response:
        asked = Asked(by, _versions(request, "If-Match"))
        done = await self._desk.change_group(request.match_info["id"], await _body(request), asked, patch=patch)
        return self._one(request, done)


def _selected(asked: Mapping[str, str], document: Document) -> Document:
    return selected(document, asked.get("attributes", ""), asked.get("excludedAttributes", ""))


def _search_request(body: Document) -> dict[str, str]:
    """Give a search in a body as that of a query (RFC 7644 §3.4.3)."""
    def words(name: str) -> str:
        value = body.get(name, "")
        return ",".join(str(one) for one in value[:100]) if isinstance(value, list) else str(value)

    return {name: words(name) for name in ("filter", "startIndex", "count", "attributes", "excludedAttributes") if name in body}


def _versions(request: web.Request, header: str) -> frozenset[str]:
    return frozenset(one.strip() for one in request.headers.get(header, "")[:4096].split(",") if one.strip())


def _bounds(asked: Mapping[str, str]) -> tuple[int, int]:
    """Give (startIndex, count) of a request (RFC 7644 §3.4.2.4): values below the least mean the least."""
    try:
        start, count = int(asked.get("startIndex", "1")[:12]), int(asked.get("count", str(MAX_RESULTS))[:12])
    except ValueError as exc:
        raise ScimFault(400, "startIndex and count are numbers", "invalidValue") from exc
    return max(start, 1), min(max(count, 0), MAX_RESULTS)


async def _body(request: web.Request) -> Document:
    """Read a JSON object. Raises ScimFault 413, 400 `invalidSyntax`."""
    if request.content_type not in (MEDIA, "application/json"):
        raise ScimFault(415, f"{MEDIA} is expected")
    raw = await request.content.read(MAX_BODY + 1)
    while len(raw) <= MAX_BODY and not request.content.at_eof():
        raw += await request.content.read(MAX_BODY + 1 - len(raw))
    if len(raw) > MAX_BODY:
        raise ScimFault(413, f"at most {MAX_BODY} octets")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise ScimFault(400, "not JSON", "invalidSyntax") from exc
    if not isinstance(found, dict):
        raise ScimFault(400, "a JSON object is expected", "invalidSyntax")
    return found
