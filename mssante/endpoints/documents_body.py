"""Reads the body of `POST /api/v1/documents`: JSON, or a multipart whose part `request` is that JSON, the others documents.

- Never more octets in memory than the limit given, whatever `Content-Length` says; at most `MAX_PARTS` parts.
- Bad bodies raise InputFault: `API-TYPE` (415), `API-TAILLE` (413), `REMISE-JSON`, `API-CORPS` (400).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web

from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.handrequest import parse_json

MAX_PARTS = 101
MAX_JSON = 4 * 1024 * 1024  # octets of the part `request`
PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Body:
    """A request as it was read. parts: octets by name of part."""

    value: object
    parts: dict[str, bytes] = field(default_factory=dict)


def too_large(limit: int) -> InputFault:
    """Give the fault of a body above its limit."""
    return InputFault(say("demande trop grande", "request too large"), rule="API-TAILLE", remedy=f"{limit} octets")


def _broken(remedy: str) -> InputFault:
    return InputFault(say("corps de la demande mal formé", "request body is malformed"), rule="API-CORPS", remedy=remedy)


async def read_body(request: web.Request, limit: int) -> Body:
    """Read a request of at most `limit` octets. Raises InputFault."""
    if request.content_length is not None and request.content_length > limit:
        raise too_large(limit)
    if request.content_type == "application/json":
        return Body(parse_json(await _all(request, limit)))
    if request.content_type == "multipart/form-data":
        return await _multipart(request, limit)
    raise InputFault(say("type de contenu non admis", "content type not accepted"), rule="API-TYPE",
                     remedy="application/json, multipart/form-data")


async def _all(request: web.Request, limit: int) -> bytes:
    kept = bytearray()
    async for piece in request.content.iter_chunked(PIECE):
        kept += piece
        if len(kept) > limit:
            raise too_large(limit)
    return bytes(kept)


async def _multipart(request: web.Request, limit: int) -> Body:
    parts: dict[str, bytes] = {}
    value: object = None
    room = limit
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or not part.name or part.name in parts or len(parts) >= MAX_PARTS:
                raise _broken(say("des parties nommées, une fois chacune", "named parts, once each"))
            content = await _part(part, min(room, MAX_JSON) if part.name == "request" else room, limit)
            room -= len(content)
            parts[part.name] = content
    except (ValueError, RuntimeError, AssertionError) as exc:  # what aiohttp raises for a broken multipart
        raise _broken("RFC 7578") from exc
    if "request" not in parts:
        raise _broken(say("une partie `request`", "a part `request`"))
    value = parse_json(parts.pop("request"))
    return Body(value, parts)


async def _part(part: BodyPartReader, room: int, limit: int) -> bytes:
    kept = bytearray()
    while piece := await part.read_chunk(PIECE):
        kept += piece
        if len(kept) > room:
            raise too_large(limit)
    return bytes(part.decode(bytes(kept)))
