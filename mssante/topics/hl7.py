"""The HL7v2 gateway (`[hl7]`): the MLLP door, the queues toward the applications, the consumer of what arrives for them.

- Nothing without `hl7.enabled`. Built behind the handover topic, whose service sends what the applications bring.
- TLS on the door serves the certificate of the mail clients' doors; with `hl7.client_authorities` a client certificate is
  required, and those named by the applications (`certificates`, `subjects`) tell who speaks. Without it, networks alone do.
- TLS toward an application checks its chain, its dates and its name, always; it shows a certificate of ours when one is given.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from mssante.config.documents import Hl7Application, Hl7Section
from mssante.config.model import Config, split_hostport
from mssante.documents.codes import Code
from mssante.documents.n1 import N1Structure
from mssante.endpoints.listeners import Door
from mssante.endpoints.mllp import MllpServer, MllpSettings
from mssante.endpoints.tls_context import server_context
from mssante.errors import InputFault
from mssante.lang import say
from mssante.protocol.hl7v2.er7 import CHARSETS, Limits
from mssante.protocol.hl7v2.values import Correspondents
from mssante.services.hl7gateway import Gateway, GatewayParts
from mssante.services.hl7inbox import Inbox, InboxParts, InboxSettings
from mssante.services.hl7outbox import Outbox, OutboxParts, OutboxSettings
from mssante.services.hl7replies import Replies, ReplySettings
from mssante.services.hl7values import Application, GatewaySettings
from mssante.topics.base import Ground, Topic
from mssante.topics.handover import hosted
from mssante.transport.mllp import MllpLink, MllpTarget
from mssante.trust.names import NameKey, parse_dn

log = structlog.get_logger("hl7")
PRACTICE_OID = "1.2.250.1.213.1.1.4.9"
FACILITY_OID = "1.2.250.1.71.4.2.4"
SWEEP_SECONDS = 1.0
CLOSE_SECONDS = 5.0


def application_of(section: Hl7Section, one: Hl7Application) -> Application:
    """Give an application as the services know it."""
    structure = N1Structure(
        one.structure_number, one.structure_name, Code(one.structure_practice, PRACTICE_OID),
        Code(one.structure_facility, FACILITY_OID)) if one.structure_number and one.structure_name else None
    processing = section.processing[0]
    return Application(
        one.name, one.mailbox.strip().lower(), one.sending_application, one.sending_facility,
        tuple([ip_network(value) for value in one.networks]), frozenset(one.certificates),
        Correspondents(section.application, section.facility, one.sending_application, one.sending_facility or section.facility,
                       processing, one.charset),
        bool(one.connect), one.deliver, structure, ZoneInfo(section.timezone),
        frozenset([_subject(one, text) for text in one.subjects]))


def _subject(one: Hl7Application, text: str) -> NameKey:
    """Read a name of the configuration. Raises InputFault (`HL7-DN`)."""
    try:
        name = parse_dn(text)
    except InputFault as fault:
        raise _wrong_subject(one) from fault
    if not name.value("CN"):
        raise _wrong_subject(one)
    return name.pairs


def _wrong_subject(one: Hl7Application) -> InputFault:
    return InputFault(say(f"subjects de l'application {one.name} : un nom ne se lit pas",
                          f"subjects of application {one.name}: a name cannot be read"), rule="HL7-DN",
                      remedy="CN=…,OU=…,O=…,C=… (openssl x509 -noout -subject -nameopt RFC2253)")


def check_mailboxes(applications: Sequence[Application], ours: frozenset[str]) -> None:
    """Refuse an application whose mailbox is not of our domains. Raises InputFault (`HL7-BOITE`)."""
    for one in applications:
        if one.mailbox.rpartition("@")[2] not in ours:
            raise InputFault(say(f"la boîte de l'application {one.name} n'est pas d'un de nos domaines",
                                 f"the mailbox of application {one.name} is not of one of our domains"), rule="HL7-BOITE",
                             remedy="hl7.applications : mailbox ; domains.toml")


def door_tls(config: Config) -> ssl.SSLContext | None:
    """Give the TLS of the door, None for a clear one. Raises InputFault (`HL7-TLS`)."""
    section, tls = config.operator.hl7, config.operator.tls
    if not section.tls:
        return None
    own = tls.client_certificate is not None and tls.client_key is not None
    certificate = tls.client_certificate if own and tls.client_certificate is not None else tls.operator_certificate
    key = tls.client_key if own and tls.client_key is not None else tls.operator_key
    anchors = config.path(section.client_authorities) if section.client_authorities is not None else None
    try:
        context = server_context(config.path(certificate), config.path(key), None)
        if anchors is not None:
            context.load_verify_locations(cafile=str(anchors))
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # the issuing authority alone is enough
    except (OSError, ssl.SSLError) as fault:
        raise InputFault(say("le TLS de la porte MLLP ne peut pas être préparé", "TLS of the MLLP door cannot be set up"),
                         detail=type(fault).__name__, rule="HL7-TLS", remedy="hl7.tls, hl7.client_authorities, tls") from fault
    return context


def link_tls(config: Config, one: Hl7Application) -> ssl.SSLContext | None:
    """Give the TLS toward an application, None for a clear connection. Raises InputFault (`HL7-TLS`)."""
    if not one.connect_tls:
        return None
    try:
        context = ssl.create_default_context(
            cafile=str(config.path(one.connect_authorities)) if one.connect_authorities is not None else None)
        if one.connect_certificate is not None and one.connect_key is not None:
            context.load_cert_chain(config.path(one.connect_certificate), config.path(one.connect_key), _no_password)
    except (OSError, ssl.SSLError) as fault:
        raise InputFault(say("le TLS vers une application ne peut être préparé", "TLS toward an application cannot be set up"),
                         detail=type(fault).__name__, rule="HL7-TLS",
                         remedy="connect_authorities, connect_certificate, connect_key") from fault
    if one.connect_authorities is not None:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # an issuing authority, or the certificate itself
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _no_password() -> str:
    """A key with a password is refused: OpenSSL would ask for it on the terminal."""
    return ""


class Hl7Topic(Topic):
    """The gateway."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._section = section = ground.config.operator.hl7
        self._door: Door | None = None
        self._outboxes: dict[str, Outbox] = {}
        self._links: list[MllpLink] = []
        self._inbox: Inbox | None = None
        self._server: MllpServer | None = None
        if not section.enabled or ground.handover is None:
            return
        applications = tuple([application_of(section, one) for one in section.applications])
        check_mailboxes(applications, hosted(ground.config))
        gateway = Gateway(GatewayParts(ground.stores, ground.clock, ground.handover, applications, GatewaySettings(
            tuple(section.processing), CHARSETS[section.charset], Limits(message=section.message_bytes),
            ground.config.domains.citizen.domain), self._ring))
        self._server_of(gateway)
        self._queues(applications)
        self._inbox = Inbox(InboxParts(
            ground.stores, ground.clock, ground.executor, applications, ground.evidence.address, self._ring,
            InboxSettings(section.failures_always, section.poll_seconds, timedelta(days=section.keep_days)), self._replies()))

    def _server_of(self, gateway: Gateway) -> None:
        section = self._section
        if not section.listen:
            return
        self._door = Door("mllp", total=section.connections, per_address=section.connections)
        self._server = MllpServer(MllpSettings(section.message_bytes, section.memory_bytes, section.idle_seconds,
                                               section.frame_seconds), self._door, gateway)

    def _queues(self, applications: tuple[Application, ...]) -> None:
        """One queue and one connection for each application that is given messages."""
        ground, section, replies = self._ground, self._section, self._replies()
        settings = OutboxSettings(timedelta(seconds=section.retry_seconds), timedelta(seconds=section.retry_most_seconds),
                                  section.poll_seconds)
        for one, application in zip(section.applications, applications, strict=True):
            if one.connect:
                host, port = split_hostport(one.connect)
                link = MllpLink(MllpTarget(host, port, link_tls(ground.config, one), one.connect_name,
                                           answer_seconds=section.answer_seconds))
                self._links.append(link)
                self._outboxes[one.name] = Outbox(application, link, OutboxParts(ground.stores, ground.clock, replies, settings))

    def _replies(self) -> Replies:
        ground = self._ground
        return Replies(ground.context, ground.stores, ground.clock, ground.executor, ReplySettings(
            timedelta(hours=ground.config.operator.relay.expiry_hours), hosted(ground.config)))

    def _ring(self, name: str) -> None:
        outbox = self._outboxes.get(name)
        if outbox is not None:
            outbox.ring()

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """Give and follow; close connections without progress."""
        if self._inbox is None:
            return ()
        return (self._inbox.run(), *[one.run() for one in self._outboxes.values()],
                *((self._sweep(),) if self._door is not None else ()))

    async def _sweep(self) -> None:
        while self._door is not None:
            await asyncio.sleep(SWEEP_SECONDS)
            if self._door is not None:
                self._door.sweep()

    async def open(self) -> None:
        """Open the MLLP door, set the consumer at its place. Raises OSError, MssFault."""
        if self._inbox is None:
            return
        await self._inbox.open()
        if self._door is not None and self._server is not None:
            tls = door_tls(self._ground.config)
            await self._server.open(self._section.listen, tls)
            log.info("listening", door="mllp", address=self._section.listen, tls=tls is not None)

    async def close(self) -> None:
        """Close door and connections."""
        if self._door is not None:
            await self._door.close(CLOSE_SECONDS)
            self._door = None
        for one in self._links:
            await one.close()
