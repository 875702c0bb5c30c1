"""Composition root: configuration -> stores -> trust -> services -> doors; the start and stop order lives here.

Start: schema check, blobs, trust loaded (no usable list: doors open, and answer 451 between operators), listeners last.
Stop: doors close, sessions get a deadline, the relay stops claiming, evidence is flushed, the writer last.
A crash of a service task takes the process down loudly rather than leave a deaf server.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from mssante.certificates_setup import CertificateWatchers
from mssante.clock import SystemClock
from mssante.config.model import Config, split_hostport
from mssante.endpoints.admin_http import AdminHttp
from mssante.endpoints.imap import ImapEndpoint
from mssante.endpoints.listeners import Door, listen_on, sweep_forever
from mssante.endpoints.smtp_base import PASSWORDS_ONLY, SmtpSettings, running_commands
from mssante.endpoints.smtp_verbs import HardenedSmtp
from mssante.endpoints.web import WebDoor
from mssante.errors import OperatorFault
from mssante.holds_setup import hold_keeper
from mssante.imap_setup import login_offer, salt_key, with_login_limits
from mssante.model.journal import JournalKind
from mssante.revocation_setup import revocation_desk
from mssante.search_setup import IndexFeeder, text_index
from mssante.services.accounts import Accounts
from mssante.services.addressbook import AddressBook
from mssante.services.admin import Admin
from mssante.services.client_certificates import ClientCertificates
from mssante.services.doorbell import Doorbell
from mssante.services.evidence import Evidence
from mssante.services.exchangewatch import ExchangeWatch
from mssante.services.holds import HoldKeeper
from mssante.services.housekeeping import Housekeeping
from mssante.services.imap.outside import OutsideWatch
from mssante.services.imap.session import ImapServices
from mssante.services.imap.settings import ImapSettings
from mssante.services.mailroom import Mailroom
from mssante.services.privacy import Pseudonyms, Veil, load_key
from mssante.services.reception import AcceptContext, AcceptSettings, Reception
from mssante.services.relay import Relay, RelaySettings
from mssante.services.reports import Reporter, ReportSettings
from mssante.services.revocation import RevocationDesk
from mssante.services.settlement import SettlementContext, Settler, retry_policy
from mssante.services.smtp_session import SmtpPolicy
from mssante.services.submission import Submission, SubmissionSettings
from mssante.services.trustkeeper import TrustKeeper
from mssante.services.truststate import TrustState
from mssante.signin_setup import client_certificates, token_checker
from mssante.smime_setup import add_smime
from mssante.storage.interfaces import Stores, TextIndex
from mssante.storage.open import StorageOptions, open_stores
from mssante.tls_setup import TlsKeeper
from mssante.topics.all import topics
from mssante.topics.base import Ground, Topic
from mssante.transport.http import HttpFetcher
from mssante.transport.mx import DnsResolver, DnsSettings
from mssante.transport.operators import OperatorPool, PoolSettings
from mssante.transport.smtp_connection import Endpoint
from mssante.trust_setup import keeper_settings, trust_snapshot

log = structlog.get_logger("app")
DRAIN_SECONDS = 10.0
WORKERS = 4  # scans of large bodies, argon2, file writes: two cores, and file writes wait for the disk


def open_storage(config: Config, on_fatal: Callable[[BaseException], None] | None = None) -> Stores:
    """Open database and blobs of a configuration. Raises MssFault when the schema is newer than this program.

    on_fatal: called from the writer's thread when a commit or a sync failed: nothing can be promised any more.
    """
    storage = config.operator.storage
    veil = Veil(config.path(storage.blobs).parent / "pseudonym.key", config.domains.citizen.domain)
    return open_stores(config.storage_url, config.path(storage.blobs),
                       StorageOptions(reserve_bytes=storage.reserve_bytes, on_fatal=on_fatal, veil=veil))


@asynccontextmanager
async def open_admin(config: Config) -> AsyncIterator[Admin]:
    """Give administration over a configuration's stores, beside a running server or without one."""
    stores = open_storage(config)
    try:
        yield Admin(stores, SystemClock(), hosted_domains(config))
    finally:
        stores.close()


def hosted_domains(config: Config) -> frozenset[str]:
    """Give the domains hosted here."""
    return frozenset(domain.name for domain in config.domains.domain)


def lease_owner(config: Config) -> str:
    """Give our name on queue leases: the same after a restart, so that leases of a dead life are released at once."""
    return config.operator.operator.hostname


@dataclass(slots=True)
class _Parts:
    """What the doors stand on."""

    stores: Stores
    executor: ThreadPoolExecutor
    evidence: Evidence
    trust: TrustState
    keeper: TrustKeeper
    relay: Relay
    pool: OperatorPool
    reception: Reception
    submission: Submission
    accounts: Accounts
    doorbell: Doorbell
    mailroom: Mailroom
    housekeeping: Housekeeping
    holds: HoldKeeper
    certificates: CertificateWatchers
    texts: TextIndex | None
    desk: RevocationDesk
    topics: list[Topic]


class Operator:
    """One running operator."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._clock = SystemClock()
        self._parts: _Parts | None = None
        self._doors: list[Door] = []
        self._imap: ImapEndpoint | None = None
        self._imap_servers: list[asyncio.Server] = []
        self._admin: AdminHttp | None = None
        self._web: WebDoor | None = None
        self._failed = False
        self._certificates: ClientCertificates | None = None
        self._tls = TlsKeeper(config, self._clock)

    # ------------------------------------------------------------ building

    def _build(self, stores: Stores) -> _Parts:
        config, clock = self._config, self._clock
        operator = config.operator
        executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="work")
        key = load_key(config.path(operator.storage.blobs).parent / "pseudonym.key")
        citizen = config.domains.citizen.domain
        evidence = Evidence(stores, clock, Pseudonyms(key, citizen))
        trust = TrustState(trust_snapshot(config), clock)
        desk = revocation_desk(config, trust, evidence, clock=clock, executor=executor)
        anchors = config.path(operator.trust.whitelist_anchors or operator.trust.anchors)
        keeper = TrustKeeper(trust, stores, evidence, clock, executor, HttpFetcher(anchors), keeper_settings(config))
        addresses = AddressBook(stores, clock)
        addresses.keep_seconds = operator.limits.mailbox_seconds
        doorbell = Doorbell()
        mailroom = Mailroom(stores, doorbell)
        hosted = hosted_domains(config)
        expiry = timedelta(hours=operator.relay.expiry_hours)
        reporter = Reporter(ReportSettings(operator.operator.hostname, config.domains.domain[0].name, hosted, expiry,
                                           evidence.address), stores.blobs)
        context = AcceptContext(
            AcceptSettings(operator.operator.hostname, hosted, operator.storage.inline_limit_bytes,
                           operator.storage.reserve_bytes, operator.limits.received_hops, citizen,
                           operator.limits.full_mailbox == "permanent"),
            stores.blobs, executor, clock, trust, addresses, mailroom, evidence, reporter,
            exchanges=ExchangeWatch(stores, clock, lambda address: evidence.address(address) != address))
        add_smime(context, config, stores, secret=key)
        accounts = Accounts(stores, executor, clock, evidence, salt_key=salt_key(key),
                            checker=token_checker(config, stores, evidence, clock))
        self._certificates = client_certificates(config, stores, evidence, trust=trust, clock=clock)
        policy = retry_policy(operator.relay.first_retry_seconds, operator.relay.max_retry_seconds,
                              operator.relay.delay_notice_hours, operator.relay.expiry_hours)
        holds = hold_keeper(config, trust, stores, evidence=evidence, clock=clock)
        settler = Settler(SettlementContext(stores, clock, policy, reporter, addresses, mailroom, evidence, hosted, holds,
                                            context.exchanges))
        pool = self._pool(trust)
        relay = Relay(stores, pool, trust, settler, clock, RelaySettings(
            lease_owner(config), timedelta(seconds=operator.relay.lease_seconds),
            operator.relay.concurrency_per_destination, timedelta(seconds=operator.relay.first_retry_seconds)))
        mailroom.hand_to(relay)
        holds.released = relay.kick
        submission = Submission(context, accounts, SubmissionSettings(
            config.domains.citizen.check_ins, dict(operator.relay.size_limits), expiry))
        housekeeping = Housekeeping(stores, evidence, clock, config.path(operator.tls.operator_certificate),
                                    tombstones_kept=operator.imap.tombstones_kept)
        ground = Ground(config, stores, clock, executor, evidence, accounts, context, relay,
                        self._tls.users.implicit, self._tls.users.starttls, key)
        return _Parts(stores, executor, evidence, trust, keeper, relay, pool, Reception(context), submission, accounts,
                      doorbell, mailroom, housekeeping, holds,
                      CertificateWatchers(config, stores, trust, evidence=evidence, clock=clock), text_index(config), desk,
                      topics(ground))

    def _pool(self, trust: TrustState) -> OperatorPool:
        relay = self._config.operator.relay
        settings = PoolSettings(
            ehlo_name=self._config.operator.operator.hostname,
            routes={domain: Endpoint(*split_hostport(address)) for domain, address in relay.routes.items()},
            allow_private=relay.allow_private, max_concurrency=relay.concurrency_per_destination)
        resolver = DnsResolver(DnsSettings(tuple(split_hostport(server) for server in relay.dns_servers),
                                           port=relay.smtp_port, srv=relay.smtp_srv))
        return OperatorPool(settings, tls=self._tls.outbound, resolver=resolver, verify_peer=trust.verify_server)

    # ------------------------------------------------------------ doors

    def _smtp_settings(self, *, operator_port: bool, implicit: bool) -> SmtpSettings:
        operator = self._config.operator
        limits, tls = operator.limits, self._tls.operators if operator_port else self._tls.imap
        context = tls.implicit if implicit else tls.starttls
        tokens = self._parts is not None and self._parts.accounts.takes_tokens
        offer = None if operator_port else login_offer(self._config, tokens=tokens, certificates=self._certificates)
        return SmtpSettings(
            operator.operator.hostname, context, implicit_tls=implicit, offers_auth=not operator_port, offer=offer,
            login=PASSWORDS_ONLY if offer is None else offer.common,
            contact=operator.operator.contact, postmaster=self._config.domains.domain[0].name,
            message_bytes=limits.message_bytes, recipients=limits.recipients, commands=limits.session_commands,
            errors=limits.errors_per_session, handshake_seconds=limits.handshake_seconds,
            command_seconds=limits.command_seconds, data_seconds=limits.data_seconds)

    async def _open_smtp(self, name: str, address: str, policy: SmtpPolicy, settings: SmtpSettings) -> None:
        limits = self._config.operator.limits
        door = Door(name, total=limits.connections, per_address=limits.connections_per_address)
        model = HardenedSmtp(policy, settings, door, asyncio.get_running_loop())
        await door.listen(address, model.accept, settings.tls if settings.implicit_tls else None)
        self._doors.append(door)
        log.info("listening", door=name, address=address)

    async def _open_doors(self, parts: _Parts) -> None:
        listen = self._config.operator.listen
        if self._certificates is not None:
            await self._certificates.refresh()
        if listen.smtp:
            await self._open_smtp("smtp", listen.smtp, parts.reception,
                                  self._smtp_settings(operator_port=True, implicit=False))
        if listen.submission:
            await self._open_smtp("submission", listen.submission, parts.submission,
                                  self._smtp_settings(operator_port=False, implicit=False))
        if listen.submissions:
            await self._open_smtp("submissions", listen.submissions, parts.submission,
                                  self._smtp_settings(operator_port=False, implicit=True))
        await self._open_imap(parts)
        self._admin = AdminHttp(self._config, parts.trust, parts.stores, self._tls.users.implicit)
        await self._admin.open()
        for topic in parts.topics:
            await topic.open()
        if listen.web:
            self._web = WebDoor(self._tls.users.implicit)
            await self._web.open(listen.web, [route for topic in parts.topics for route in topic.routes()])

    async def _open_imap(self, parts: _Parts) -> None:
        listen, limits = self._config.operator.listen, self._config.operator.limits
        context = self._tls.imap
        settings = ImapSettings(
            hostname=self._config.operator.operator.hostname, message_bytes=limits.message_bytes,
            inline_bytes=self._config.operator.storage.inline_limit_bytes, connections=limits.connections,
            connections_per_address=limits.connections_per_address, handshake_seconds=limits.handshake_seconds,
            drain_seconds=DRAIN_SECONDS, other_users_prefix=self._config.operator.imap.other_users_prefix,
            message_limit=self._config.operator.imap.message_limit, literal_minus=self._config.operator.imap.literal_minus,
            refuse_raw_headers=self._config.operator.imap.refuse_raw_headers,
            append_messages=self._config.operator.imap.append_messages,
            notify_folders=self._config.operator.imap.notify_folders,
            metadata_value_bytes=self._config.operator.imap.metadata_value_bytes,
            metadata_entries=self._config.operator.imap.metadata_entries)
        settings = with_login_limits(settings, self._config)
        services = ImapServices.build(parts.stores, parts.mailroom, parts.accounts, doorbell=parts.doorbell,
                                      clock=self._clock, executor=parts.executor, settings=settings, texts=parts.texts)
        self._imap = ImapEndpoint(services, tls=context.starttls,
                                  offer=login_offer(self._config, tokens=parts.accounts.takes_tokens,
                                                    certificates=self._certificates))
        for address, tls in ((listen.imap, None), (listen.imaps, context.implicit)):
            if address:
                self._imap_servers.append(await listen_on(address, self._imap, tls))

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises what a service task died of."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def storage_failed(cause: BaseException) -> None:
            log.critical("storage_failed", cause=type(cause).__name__)
            self._failed = True
            loop.call_soon_threadsafe(stop.set)

        stores = open_storage(self._config, storage_failed)
        parts = self._parts = self._build(stores)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        self._tls.watch(parts.keeper, parts.evidence)
        loop.add_signal_handler(signal.SIGHUP, self._tls.reload)
        try:
            parts.keeper.load_kept()
            await parts.keeper.refresh_crls()
            await parts.keeper.refresh_list()
            await self._open_doors(parts)
            parts.evidence.write(parts.evidence.event(JournalKind.OPERATOR_STARTED, self._config.operator.operator.name,
                                                      {"pid": os.getpid()}))
            gc.collect()
            gc.freeze()  # lists, classes, configuration: what lives as long as the process is not looked at again
            log.info("ready", operator=self._config.operator.operator.name, pid=os.getpid())
            await self._serve(parts, stop)
        finally:
            await self._shut(parts)
        if self._failed:
            raise OperatorFault("storage failed: the process stops", rule="STORE-STOPPED", remedy="check the disk, start again")

    async def _serve(self, parts: _Parts, stop: asyncio.Event) -> None:
        services = [asyncio.ensure_future(work) for work in (
            parts.relay.run(), parts.keeper.run(), parts.housekeeping.run(), parts.holds.run(), parts.certificates.run(),
            self._tls.run(), sweep_forever(self._doors),
            OutsideWatch(parts.stores, parts.doorbell).run(), *self._feeders(parts),
            *([self._certificates.run()] if self._certificates is not None else []))]
        extra = [asyncio.ensure_future(work) for topic in parts.topics for work in topic.tasks()]
        stopping = asyncio.ensure_future(stop.wait())
        waiting: set[asyncio.Future[Any]] = {*services, *extra, stopping}
        over: set[asyncio.Future[Any]] = set()
        while not over & {*services, stopping}:  # a task of a topic may end in peace, not by a fault
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            over |= done
            if any(task.exception() is not None for task in done):
                break
        for task in waiting:
            task.cancel()
        for task in over:
            if task is not stopping:
                task.result()

    def _feeders(self, parts: _Parts) -> list[Coroutine[None, None, None]]:
        return [IndexFeeder(self._config, parts.stores, parts.texts, self._clock).run()] if parts.texts is not None else []

    async def _shut(self, parts: _Parts) -> None:
        log.info("stopping")
        if self._web is not None:
            await self._web.close()
        for topic in parts.topics:
            await topic.close()
        if self._admin is not None:
            await self._admin.close()
        closing = [door.close(DRAIN_SECONDS) for door in self._doors]
        if self._imap is not None:
            for server in self._imap_servers:
                server.close()
            closing.append(self._imap.drain())
        await asyncio.gather(*closing)
        if running_commands():
            await asyncio.wait(set(running_commands()), timeout=DRAIN_SECONDS)
        await parts.relay.stop(DRAIN_SECONDS)
        await parts.pool.close()
        await parts.desk.close()
        parts.evidence.write(parts.evidence.event(JournalKind.OPERATOR_STOPPED, self._config.operator.operator.name, {}))
        await parts.evidence.flush()
        await parts.reception.flush()
        parts.executor.shutdown()
        if parts.texts is not None:
            parts.texts.close()
        parts.stores.close()
        log.info("stopped")
