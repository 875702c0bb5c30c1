"""What every topic is, and the ground that it stands on.

- A topic brings web routes, long tasks and doors of its own; `app.py` opens, runs and closes them all in the order of
  `mssante.topics.all.topics`, so that a later one may use what an earlier one put on the ground.
- A task that ends by a fault stops the operator, as every service task does; one that ends by itself ends in peace.
"""

from __future__ import annotations

import ssl
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.endpoints.account_site import Site
from mssante.services.accounts import Accounts
from mssante.services.apitokens import ApiTokens
from mssante.services.directory_port import DirectoryDesk
from mssante.services.directory_sources import RemoteSources
from mssante.services.evidence import Evidence
from mssante.services.handover import HandOver
from mssante.services.publication import Publisher
from mssante.services.reception import AcceptContext
from mssante.services.relay import Relay
from mssante.services.workshop import Workshop
from mssante.storage.interfaces import Stores


@dataclass(slots=True)
class Ground:
    """What topics are built from.

    tls_implicit, tls_starttls: of the doors of the users, renewed in place; secret: this operator's own, from which each topic
    derives keys under a label of its own; directory: set by the directory topic, None before.
    """

    config: Config
    stores: Stores
    clock: Clock
    executor: Executor
    evidence: Evidence
    accounts: Accounts
    context: AcceptContext
    relay: Relay
    tls_implicit: ssl.SSLContext
    tls_starttls: ssl.SSLContext
    secret: bytes
    directory: DirectoryDesk | None = None
    remote: RemoteSources | None = None  # FHIR and LDAP, put there by the use of the directory
    workshop: Workshop | None = None  # set by the workshop topic, first of all: worker processes for heavy work on documents
    publisher: Publisher | None = None  # of our entries in the directory, put there by its topic when it has a driver
    site: Site | None = None  # the pages of the web account, put there by its topic
    handover: HandOver | None = None  # set by the handover topic: how programs hand in documents
    tokens: ApiTokens = field(init=False)  # one for all doors: one memory of what was checked, one list of last uses

    def __post_init__(self) -> None:
        self.tokens = ApiTokens(self.stores, self.clock)


class Topic:
    """Base of topics: each overrides what it brings."""

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the routes for the web door."""
        return ()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give the long tasks, called once."""
        return ()

    async def open(self) -> None:
        """Open doors of its own. Raises OSError, MssFault."""

    async def close(self) -> None:
        """Close them; safe when never opened."""
