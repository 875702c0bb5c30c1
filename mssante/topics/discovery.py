"""Discovery: what the configuration offers, domain by domain, on the web door and for the command line."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from mssante.config.base import split_hostport
from mssante.config.model import Config
from mssante.endpoints.discovery import DiscoveryEndpoint
from mssante.services.discovery import Discovery, Login, Offer, Service
from mssante.topics.base import Ground, Topic

_DOORS = (("imaps", Service.IMAP, True), ("imap", Service.IMAP, False), ("submissions", Service.SUBMISSION, True),
          ("submission", Service.SUBMISSION, False), ("ldaps", Service.LDAP, True), ("managesieve", Service.SIEVE, False),
          ("web", Service.WEB, True))


def logins(config: Config) -> tuple[Login, ...]:
    """Give the ways to log in that the configuration has open."""
    login = config.operator.login
    found = [Login.PASSWORD] if {"PLAIN", "LOGIN", "SCRAM-SHA-256"} & set(login.mechanisms) else []
    if config.operator.psc.environment != "off" and {"XOAUTH2", "OAUTHBEARER"} & set(login.mechanisms):
        found.append(Login.PSC)
    if login.client_anchors is not None and "EXTERNAL" in login.mechanisms:
        found.append(Login.CERTIFICATE)
    return tuple(found)


def discoveries(config: Config) -> dict[str, Discovery]:
    """Give what is told of each hosted domain, the citizens' excepted."""
    operator, section = config.operator, config.operator.discovery
    host = section.host or operator.operator.hostname
    ways = logins(config)
    offers = []
    for door, service, implicit in _DOORS:
        address = getattr(operator.listen, door)
        if address:
            port = section.ports.get(door) or split_hostport(address)[1]
            offers.append(Offer(service, host, port, implicit, ways if service in (Service.IMAP, Service.SUBMISSION)
                                else (Login.PASSWORD,)))
    return {one.name: Discovery(one.name, section.name or one.description or f"MSSanté {one.name}", tuple(offers),
                                carddav=bool(operator.listen.web), help_url=section.help_url)
            for one in config.domains.domain if one.name != config.domains.citizen.domain}


class DiscoveryTopic(Topic):
    """Routes on the web door."""

    def __init__(self, ground: Ground) -> None:
        on = ground.config.operator.discovery.enabled
        self._endpoint = DiscoveryEndpoint(discoveries(ground.config), ground.clock) if on else None

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes."""
        return self._endpoint.routes() if self._endpoint is not None else ()
