"""CardDAV on the web door, over the directory that an earlier topic put on the ground."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from mssante.endpoints.carddav import CardDav, CardParts
from mssante.services.cardbooks import AddressBooks
from mssante.topics.base import Ground, Topic


class CardDavTopic(Topic):
    """Routes; the citizens' domain is no part of any book."""

    def __init__(self, ground: Ground) -> None:
        config, desk = ground.config.domains, ground.directory
        domains = frozenset(one.name for one in config.domain)
        books = None if desk is None else AddressBooks(desk, ground.stores, ground.clock, domains, citizens=config.citizen.domain)
        self._face = CardDav(CardParts(books, ground.accounts, ground.clock))

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes."""
        return self._face.routes()
