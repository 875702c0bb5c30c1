"""The white list as the command line handles it, offline, on the files of a configuration: read, verify, adopt.

- `read_list` believes nothing before the signature is verified, as the server does (`mssante.trust.signature`).
- `adopt` goes through the same keeper as the server (`mssante.services.trustkeeper`): same decision, same files, same journal.
- Never touches the network: the fetcher given to the keeper refuses.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from mssante.cli.checks.files import load_pair
from mssante.cli.common import read_limited
from mssante.clock import SystemClock
from mssante.config.model import Config
from mssante.errors import InputFault, OperatorFault
from mssante.lang import say
from mssante.model.identity import DistinguishedName
from mssante.protocol.xml import parse_xml
from mssante.services.trustkeeper import CURRENT, Fetched, TrustKeeper
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import WhitelistVersion
from mssante.trust.anchors import TrustAnchors
from mssante.trust.crl import CrlSet, parse_any_crl
from mssante.trust.names import DnMode, dn_from_x509
from mssante.trust.signature import verify_list_signature
from mssante.trust.whitelist import Whitelist, parse_whitelist
from mssante.trust_setup import keeper_settings, trust_snapshot

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadList:
    """A list read from a file. signer None: its signature was not looked at."""

    whitelist: Whitelist
    octets: int
    signer: DistinguishedName | None


def current_path(config: Config) -> Path:
    """Give where the list in force is kept."""
    return config.path(config.operator.trust.whitelist_folder) / CURRENT


def read_list(config: Config, path: Path, *, signed: bool = True) -> ReadList:
    """Read a list and verify its signature (unless not `signed`). Raises InputFault (`LB-…`, `XML-…`)."""
    limit = config.operator.trust.whitelist_max_bytes
    raw = read_limited(path, limit, "LB-FICHIER")
    digest = hashlib.sha256(raw).hexdigest()
    if not signed:
        return ReadList(parse_whitelist(parse_xml(raw, max_bytes=limit), digest), len(raw), None)
    settings = keeper_settings(config)
    now = SystemClock().now()
    content = verify_list_signature(raw, replace(settings.signer, crls=kept_crls(config, settings.signer.anchors, now)), now)
    return ReadList(parse_whitelist(content.root, digest), len(raw), content.signer)


def read_current(config: Config) -> ReadList:
    """Read the list in force, verified again. Raises InputFault (`LB-ABSENTE` when there is none yet)."""
    path = current_path(config)
    if not path.exists():
        raise InputFault(say(f"aucune liste en vigueur dans {path.parent.name}/", f"no list in force in {path.parent.name}/"),
                         rule="LB-ABSENTE", remedy=say("lancez le serveur, ou mssante whitelist adopt FICHIER",
                                                       "run the server, or mssante whitelist adopt FILE"))
    return read_list(config, path)


def kept_crls(config: Config, anchors: TrustAnchors, now: datetime) -> CrlSet:
    """Give the CRLs kept on disk that count; those that do not are passed over (`mssante check` tells them)."""
    trust, crls = config.operator.trust, CrlSet()
    for rank in range(len(trust.crl_urls)):
        path = config.path(trust.crl_folder) / f"{rank}.crl"
        with suppress(InputFault):
            crls = crls.admit(parse_any_crl(read_limited(path, trust.crl_max_bytes, "CRL-LECTURE"), anchors, now))
    return crls


class _NoNetwork:
    """A fetcher for a keeper that must not fetch."""

    async def fetch(self, url: str, *, max_bytes: int, etag: str = "") -> Fetched:
        """Refuse."""
        raise OperatorFault("the command line fetches nothing", rule="HTTP-UNREACHABLE")


class _SameContext(ThreadPoolExecutor):
    """Worker threads that speak the language of the caller."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run in a copy of the caller's context."""
        context = contextvars.copy_context()
        return super().submit(lambda: context.run(fn, *args, **kwargs))


def adopt(config: Config, raw: bytes, *, force: bool) -> bool:
    """Put a list in force on disk; False when it is already. Raises InputFault with the rule and the remedy."""
    return _with_keeper(config, lambda keeper: keeper.adopt_list(raw, force=force))


def roll_back(config: Config, version: WhitelistVersion) -> bool:
    """Put a former list in force again and pin it; False when it is in force. Raises InputFault with the rule and the remedy."""
    return _with_keeper(config, lambda keeper: keeper.roll_back(version))


def _with_keeper(config: Config, action: Callable[[TrustKeeper], Awaitable[bool]]) -> bool:
    """Run a change of the list as the server does, on its folders and store."""
    from mssante.app import open_storage
    from mssante.services.evidence import Evidence
    from mssante.services.privacy import Pseudonyms, load_key

    async def work() -> bool:
        clock = SystemClock()
        stores = open_storage(config)
        try:
            key = load_key(config.path(config.operator.storage.blobs).parent / "pseudonym.key")
            evidence = Evidence(stores, clock, Pseudonyms(key, config.domains.citizen.domain))
            with _SameContext(max_workers=1) as executor:
                keeper = TrustKeeper(TrustState(trust_snapshot(config), clock), stores, evidence, clock, executor,
                                     _NoNetwork(), keeper_settings(config))
                keeper.load_kept()
                done = await action(keeper)
            await evidence.flush()
            return done
        finally:
            stores.close()

    return asyncio.run(work())


def facts(read: ReadList) -> dict[str, Any]:
    """Give what a list holds, as JSON holds it."""
    found = read.whitelist
    return {"generated_at": found.generated_at.isoformat(), "sha256": found.sha256, "octets": read.octets,
            "signer": read.signer.text if read.signer else None, "entries": found.entry_count,
            "domains": found.domain_count, "names": found.name_counts,
            "skipped": [{"rank": one.rank, "rule": one.rule} for one in found.skipped]}


def hosted_bindings(config: Config, read: ReadList) -> list[tuple[str, bool, str]]:
    """Give for each domain hosted here: is our certificate bound to it, and what the list says instead."""
    tls = config.operator.tls
    name = dn_from_x509(load_pair(config.path(tls.operator_certificate), None)[0].subject)
    mode = DnMode(config.operator.trust.dn_mode)
    return [(one.name, read.whitelist.binds(one.name, name, mode),
             " | ".join(dn.text for dn in read.whitelist.dns_for(one.name))) for one in config.domains.domain]
