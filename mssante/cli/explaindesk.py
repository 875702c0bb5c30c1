"""Builds what `mssante explain` asks: the kept list, the CRLs, the history, the journal of a configuration; offline.

- What cannot be read or believed is left out, and the explanation says what it lacks: it must work while things are broken.
- Creates nothing: no database, no key; without a database only files are explained.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mssante.app import hosted_domains, open_storage
from mssante.cli.common import read_limited
from mssante.cli.trustdesk import hosted_bindings, kept_crls, read_current
from mssante.clock import SystemClock
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.services.explain import ReplayContext
from mssante.services.explainhistory import MAX_VERSIONS, CrlShelf, ListHistory
from mssante.services.explainsubject import Answer, Explainer, Local
from mssante.services.privacy import KEY_OCTETS, Pseudonyms
from mssante.storage.interfaces import Stores, WhitelistVersion
from mssante.trust_setup import keeper_settings, trust_snapshot

_SQLITE = "sqlite:///"


def answer(config: Config, kind: str, subject: str, leaf_der: bytes = b"") -> Answer:
    """Give the answer about a `trace`, an `event`, an `address`, a `domain`, or a `certificate` (subject: its domain).

    Raises MssFault, OSError.
    """
    async def work() -> Answer:
        stores = _stores(config)
        try:
            versions: list[WhitelistVersion] = []
            if stores is not None:
                versions = await stores.database.read(lambda tx: stores.trust.whitelists(tx, MAX_VERSIONS))
            explainer = _explainer(config, stores, versions)
            if kind == "trace":
                return await explainer.trace(subject)
            if kind == "event":
                return await explainer.event(int(subject))
            if kind == "address":
                return await explainer.address(subject)
            if kind == "domain":
                return await explainer.domain(subject)
            return await explainer.certificate(leaf_der, subject)
        finally:
            if stores is not None:
                stores.close()

    return asyncio.run(work())


def _stores(config: Config) -> Stores | None:
    """Open storage, unless it is a SQLite file that is not there."""
    url = config.storage_url
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists():
        return None
    return open_storage(config)


def _explainer(config: Config, stores: Stores | None, versions: list[WhitelistVersion]) -> Explainer:
    clock, trust = SystemClock(), config.operator.trust
    snapshot = trust_snapshot(config)
    now = clock.now()
    bound: frozenset[str] = frozenset()
    crls = kept_crls(config, snapshot.anchors, now)
    snapshot = replace(snapshot, crls=crls)
    with suppress(InputFault, OSError):  # an explanation without list is told as such
        read = read_current(config)
        snapshot = replace(snapshot, whitelist=read.whitelist)
        bound = frozenset(domain for domain, admitted, _ in hosted_bindings(config, read) if admitted)
    files = []
    for rank in range(len(trust.crl_urls)):
        with suppress(InputFault):
            files.append(read_limited(config.path(trust.crl_folder) / f"{rank}.crl", trust.crl_max_bytes, "CRL-LECTURE"))
    settings = keeper_settings(config)
    history = ListHistory(settings.whitelist_folder, versions, settings.signer, trust.whitelist_max_bytes)
    context = ReplayContext(snapshot, history, CrlShelf(files, snapshot.anchors, now), clock, hosted_domains(config))
    local = Local(hosted_domains(config), bound, config.domains.citizen.domain, dict(config.operator.relay.routes))
    return Explainer(stores, context, Pseudonyms(_key(config), config.domains.citizen.domain), local)


def _key(config: Config) -> bytes:
    """Give the key of pseudonyms, or a passing one where there is none yet: nothing is created, nothing is shown in clear."""
    path = config.path(config.operator.storage.blobs).parent / "pseudonym.key"
    try:
        return path.read_bytes()
    except OSError:
        return os.urandom(KEY_OCTETS)
