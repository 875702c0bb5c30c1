"""Serves the settings of mail clients on the web door; what is told stands in `services.discovery`.

- Nothing is asked of the mail: an answer depends on the domain of the address alone. No login, no cookie.
- A domain that is not hosted here, or the citizens', gets a refusal in the words of the client's own protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiohttp import web

from mssante.clock import Clock
from mssante.errors import InputFault
from mssante.model.address import parse_envelope_address
from mssante.protocol.xml import parse_xml
from mssante.services.discovery import OUTLOOK, Discovery, apple_profile, autoconfig, autodiscover, autodiscover_error

MAX_REQUEST = 16 * 1024
MAX_ADDRESS = 254


class DiscoveryEndpoint:
    """The routes. found: by domain."""

    def __init__(self, found: Mapping[str, Discovery], clock: Clock) -> None:
        self._found = found
        self._clock = clock

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes for the web door; paths are those that clients know."""
        return (
            web.get("/.well-known/autoconfig/mail/config-v1.1.xml", self._mozilla),
            web.get("/mail/config-v1.1.xml", self._mozilla),
            *(web.post(path, self._outlook) for path in ("/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml")),
            *(web.get(path, self._outlook_json) for path in (
                "/autodiscover/autodiscover.json", "/autodiscover/autodiscover.json/v1.0/{address}")),
            web.get("/mail.mobileconfig", self._apple))

    def _of(self, address: str) -> tuple[str, Discovery] | None:
        """Give an address in its usual form and what is told of its domain; an address without `@` is a domain."""
        if not 0 < len(address) <= MAX_ADDRESS:
            return None
        try:
            parsed = parse_envelope_address(address if "@" in address else f"postmaster@{address}")
        except InputFault:
            return None
        found = self._found.get(parsed.domain)
        return (str(parsed) if "@" in address else "", found) if found is not None else None

    async def _mozilla(self, request: web.Request) -> web.Response:
        host = request.host.partition(":")[0].lower()
        asked = request.query.get("emailaddress") or host.removeprefix("autoconfig.")
        found = self._of(asked)
        if found is None:
            return web.json_response({"error": "DECOUVERTE-DOMAINE", "detail": "domaine non heberge ici"}, status=404)
        return web.Response(text=autoconfig(found[1]), content_type="text/xml", charset="utf-8")

    async def _outlook(self, request: web.Request) -> web.Response:
        if (request.content_length or 0) > MAX_REQUEST:
            return self._outlook_error(600, "request is too large")
        try:
            root = parse_xml(await request.read(), max_bytes=MAX_REQUEST, max_depth=10, max_elements=50)
        except InputFault as fault:
            return self._outlook_error(600, fault.public)
        texts = {str(element.tag).rpartition("}")[2]: (element.text or "").strip() for element in root.iter()}
        if texts.get("AcceptableResponseSchema") != OUTLOOK:
            return self._outlook_error(601, "provider is not available")
        found = self._of(texts.get("EMailAddress", ""))
        if found is None or not found[0]:
            return self._outlook_error(500, "domain is not hosted here")
        return web.Response(text=autodiscover(found[1], found[0]), content_type="text/xml", charset="utf-8")

    def _outlook_error(self, code: int, message: str) -> web.Response:
        now = self._clock.now().strftime("%H:%M:%S.%f0")
        return web.Response(text=autodiscover_error(code, message, now), content_type="text/xml", charset="utf-8")

    async def _outlook_json(self, request: web.Request) -> web.Response:
        """Autodiscover v2: tells where v1 is, and that there is nothing of Exchange here."""
        found = self._of(request.match_info.get("address") or request.query.get("Email", ""))
        protocol = request.query.get("Protocol", "")
        if found is None:
            return web.json_response({"ErrorCode": "InvalidDomain", "ErrorMessage": "domain is not hosted here"}, status=404)
        if protocol.lower() != "autodiscoverv1":
            return web.json_response({"ErrorCode": "ProtocolNotSupported", "ErrorMessage": "Autodiscoverv1 only"}, status=400)
        return web.json_response({"Protocol": "Autodiscoverv1", "Url": f"{found[1].web}/autodiscover/autodiscover.xml"})

    async def _apple(self, request: web.Request) -> web.Response:
        found = self._of(request.query.get("address", ""))
        if found is None or not found[0]:
            return web.json_response({"error": "DECOUVERTE-DOMAINE", "detail": "domaine non heberge ici"}, status=404)
        return web.Response(body=apple_profile(found[1], found[0]), content_type="application/x-apple-aspen-config",
                            headers={"Content-Disposition": 'attachment; filename="mssante.mobileconfig"'})
