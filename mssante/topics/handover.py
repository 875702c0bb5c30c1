"""Documents that programs hand in: the service and its API, the follower of the journal, webhooks, and the check of masking."""

from __future__ import annotations

import ssl
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

from aiohttp import web

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.endpoints.documents_api import DocumentsApi, DocumentsParts
from mssante.errors import InputFault
from mssante.services.handfollow import FollowParts, FollowSettings, HandFollower
from mssante.services.handgauges import HandGauges
from mssante.services.handover import HandOver, HandOverSettings, source_oid
from mssante.services.handquery import HandQuery
from mssante.services.masking import MaskingCheck, MaskingParts
from mssante.services.opposition import Oppositions
from mssante.services.submission import Submission, SubmissionSettings
from mssante.services.webhooks import Webhooks, WebhookSender
from mssante.storage.interfaces import Stores
from mssante.topics.base import Ground, Topic
from mssante.transport.webhook import WebhookPoster


def hosted(config: Config) -> frozenset[str]:
    """Give our domains."""
    return frozenset(domain.name for domain in config.domains.domain)


def settings_of(config: Config) -> HandOverSettings:
    """Give the limits of what programs hand in."""
    operator = config.operator
    return HandOverSettings(operator.limits.message_bytes, operator.limits.recipients,
                            source_oid(operator.handover.source_oid, operator.operator.hostname), operator.handover.nil)


def webhooks_of(config: Config, stores: Stores, clock: Clock, secret: bytes) -> Webhooks:
    """Give the desk of webhooks, for the operator and for the command line."""
    return Webhooks(stores, clock, secret, config.operator.handover.webhook_hosts)


def poster_of(config: Config) -> WebhookPoster:
    """Give what posts. Raises InputFault (`WEBHOOK-AUTORITES`)."""
    section = config.operator.handover
    authorities = config.path(section.webhook_authorities) if section.webhook_authorities is not None else None
    try:
        return WebhookPoster(allow_private=section.webhook_private, authorities=authorities)
    except (OSError, ssl.SSLError) as fault:
        raise InputFault("webhook authorities cannot be read", detail=type(fault).__name__, rule="WEBHOOK-AUTORITES",
                         remedy="handover.webhook_authorities: PEM") from fault


class HandoverTopic(Topic):
    """The parts, connected. `Ground.handover` is set for the topics that hand in documents themselves."""

    def __init__(self, ground: Ground) -> None:
        config, section = ground.config, ground.config.operator.handover
        relay, context, ours = config.operator.relay, ground.context, hosted(ground.config)
        submission = Submission(context, ground.accounts, SubmissionSettings(
            config.domains.citizen.check_ins, dict(relay.size_limits), timedelta(hours=relay.expiry_hours)))
        self.handover = ground.handover = HandOver(context, ground.stores, submission, settings_of(config))
        self.oppositions = Oppositions(ground.stores, ground.clock, ground.secret)
        if section.masking == "enforce":
            context.departure.checks.append(MaskingCheck(MaskingParts(
                self.oppositions, self.handover.derogations, ground.executor, ground.evidence,
                context.settings.citizen_domain, section.override, ground.workshop)))
        self._follower = HandFollower(FollowParts(
            ground.stores, ground.clock, ground.executor, context.addresses, ground.evidence,
            FollowSettings(section.key_days, section.webhook_days), ours))
        self._gauges = HandGauges(ground.stores, ground.clock, [one.name for one in config.operator.hl7.applications])
        self._sender = WebhookSender(ground.stores, ground.clock,
                                     webhooks_of(config, ground.stores, ground.clock, ground.secret), poster_of(config))
        self._api = DocumentsApi(DocumentsParts(
            self.handover, HandQuery(ground.stores, context.addresses, ground.clock, ours), ground.tokens, ground.clock,
            section.request_bytes, section.requests_per_minute, section.uploads))

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Give the API."""
        return self._api.routes()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Follow the journal, tell webhooks, refresh gauges."""
        return (self._follower.run(), self._sender.run(self._follower.woken), self._gauges.run())

    async def open(self) -> None:
        """Set the follower at its place. Raises MssFault."""
        await self._follower.open()
