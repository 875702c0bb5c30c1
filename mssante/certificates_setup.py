"""Gathers from a configuration's files what ends when, and wires the two watchers of certificates into the running server.

- `expiries`: our pairs (operator, next, users' ports), their chains, the anchors, the kept CRLs and white list, the list's
  signer, the S/MIME keys, the peers given. Reads files only; one that cannot be read is told beside, the others still count.
- `CertificateWatchers`: the collector of peers' certificates (`services.peerwatch`), fed by the trust in force, and the daily
  calendar (`services.expirywatch`). Called by `app.py`; `expiries` by `mssante cert` and `check` too.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.errors import InputFault, MssFault
from mssante.services.evidence import Evidence
from mssante.services.expirywatch import ExpiryWatch
from mssante.services.peerwatch import PeerWatch
from mssante.services.rollover_state import read_rollover, rollover_file
from mssante.services.trustkeeper import CURRENT
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import PeerCertificate, Stores
from mssante.storage.peercerts import OUTBOUND
from mssante.trust.anchors import READ_FAULTS, common_name, is_authority, load_anchors, read_certificates
from mssante.trust.crl import parse_any_crl
from mssante.trust.expiry import Expiry, What
from mssante.trust.profile_subject import value_of

MAX_FILE = 1024 * 1024
MAX_KEYS = 500
PEERS = 20
_TAIL = 256 * 1024  # the signature stands last in the list (F1.10)
_CERTIFICATE = re.compile(rb"<(?:\w+:)?X509Certificate>([A-Za-z0-9+/=\s]{100,20000})</")
_GENERATED = re.compile(rb"<DateDeGeneration>\s*([0-9TZ:\-]{20})\s*<")


def expiries(config: Config, now: datetime, peers: Sequence[PeerCertificate] = ()) -> tuple[list[Expiry], list[str]]:
    """Give the calendar of a configuration, in no order, and the names of what could not be read."""
    found: list[Expiry] = []
    unread: list[str] = []
    readers: tuple[tuple[str, Callable[[], Iterator[Expiry]]], ...] = (
        ("tls", lambda: _ours(config, unread)), ("trust.anchors", lambda: _anchors(config, unread)),
        ("trust.crl_folder", lambda: _crls(config, now, unread)), ("trust.whitelist_folder", lambda: _list(config)),
        ("smime.keys_folder", lambda: _mail_keys(config)))
    for name, reader in readers:
        try:
            found += reader()
        except (MssFault, OSError, *READ_FAULTS):
            unread.append(name)
    found += [Expiry(What.PEER, one.domain, one.not_after, one.fingerprint[:16]) for one in peers]
    return _distinct(found), unread


def _distinct(found: list[Expiry]) -> list[Expiry]:
    return list({(one.what, one.name, one.at): one for one in reversed(found)}.values())[::-1]


def _read(path: Path, limit: int = MAX_FILE) -> bytes:
    with path.open("rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise InputFault(f"{path.name} is too large", rule="CERT-LECTURE", remedy=f"at most {limit} octets")
    return raw


def own_pairs(config: Config) -> list[tuple[What, Path, Path]]:
    """Give our pairs: (kind, certificate, key), the next one too when one is named. Raises InputFault `ROLL-FILE`."""
    tls = config.operator.tls
    pairs = [(What.OPERATOR, config.path(tls.operator_certificate), config.path(tls.operator_key))]
    if tls.client_certificate is not None and tls.client_key is not None:
        pairs.append((What.CLIENT, config.path(tls.client_certificate), config.path(tls.client_key)))
    if tls.second_certificate is not None and tls.second_key is not None:
        pairs.append((What.OPERATOR, config.path(tls.second_certificate), config.path(tls.second_key)))
    rollover = read_rollover(rollover_file(pairs[0][1]))
    if rollover.next_certificate is not None and rollover.next_key is not None:
        pairs.append((What.NEXT, rollover.next_certificate, rollover.next_key))
    elif tls.next_certificate is not None and tls.next_key is not None:
        pairs.append((What.NEXT, config.path(tls.next_certificate), config.path(tls.next_key)))
    return [*pairs, *((What.SNI, config.path(one.certificate), config.path(one.key)) for one in tls.sni)]


def _ours(config: Config, unread: list[str]) -> Iterator[Expiry]:
    for what, path, _ in own_pairs(config):
        try:
            chain = read_certificates([_read(path)])
        except (MssFault, OSError):
            unread.append(path.name)
            continue
        for rank, one in enumerate(chain):
            yield Expiry(What.CHAIN if rank else what, common_name(one.subject), one.not_valid_after_utc, path.name)


def _anchors(config: Config, unread: list[str]) -> Iterator[Expiry]:
    trust, login = config.operator.trust, config.operator.login
    for path in (trust.anchors, trust.whitelist_anchors, login.client_anchors):
        if path is None:
            continue
        try:
            for one in read_certificates([_read(config.path(path))]):
                yield Expiry(What.ANCHOR, common_name(one.subject), one.not_valid_after_utc, path.name)
        except (MssFault, OSError):
            unread.append(path.name)


def _crls(config: Config, now: datetime, unread: list[str]) -> Iterator[Expiry]:
    trust = config.operator.trust
    anchors = load_anchors([_read(config.path(trust.anchors))], trust.issuers)
    for rank, url in enumerate(trust.crl_urls):
        path = config.path(trust.crl_folder) / f"{rank}.crl"
        try:
            crl = parse_any_crl(_read(path, trust.crl_max_bytes), anchors, now)
        except (MssFault, OSError):
            unread.append(url)
            continue
        yield Expiry(What.CRL, url, crl.next_update, path.name, crl.this_update, renewing=True)


def _list(config: Config) -> Iterator[Expiry]:
    """The kept list was verified when it was adopted; only its date and its signer's certificate are read here."""
    trust = config.operator.trust
    path = config.path(trust.whitelist_folder) / CURRENT
    with path.open("rb") as file:
        head = file.read(4096)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _TAIL, 0))
        tail = file.read()
    generated = _GENERATED.search(head)
    if generated is not None:
        start = datetime.fromisoformat(generated[1].decode("ascii").replace("Z", "+00:00"))
        yield Expiry(What.LIST, trust.whitelist_url, start + timedelta(hours=trust.whitelist_max_age_hours), path.name, start,
                     renewing=True)
    for one in _carried(tail):
        if not is_authority(one) and _signs(config, one):
            yield Expiry(What.SIGNER, common_name(one.subject), one.not_valid_after_utc, path.name)


def _carried(tail: bytes) -> Iterator[x509.Certificate]:
    for match in list(_CERTIFICATE.finditer(tail))[:10]:
        with suppress(*READ_FAULTS):
            yield x509.load_der_x509_certificate(base64.b64decode(match[1]))


def _signs(config: Config, certificate: x509.Certificate) -> bool:
    trust = config.operator.trust
    return (not trust.signer_cns or common_name(certificate.subject) in trust.signer_cns) and (
        not trust.signer_ous or value_of(certificate.subject, "OU") in trust.signer_ous)


def _mail_keys(config: Config) -> Iterator[Expiry]:
    folder = config.path(config.operator.smime.keys_folder)
    if not config.operator.smime.enabled or not folder.is_dir():
        return
    for path in sorted(folder.iterdir())[:MAX_KEYS]:
        if path.suffix not in (".pem", ".crt", ".cer"):
            continue
        with suppress(MssFault, OSError):
            leaves = [one for one in read_certificates([_read(path)]) if not is_authority(one)]
            yield from (Expiry(What.SMIME, common_name(one.subject), one.not_valid_after_utc, path.name) for one in leaves)


async def most_written_to(stores: Stores) -> list[PeerCertificate]:
    """Give the certificates of the twenty domains that we write to most."""
    return await stores.database.read(lambda tx: stores.peer_certificates.most_used(tx, OUTBOUND, PEERS))


class CertificateWatchers:
    """The two watchers of one server. `peers` counts from the moment it is built, and tells changes to `peers.on_change`."""

    def __init__(self, config: Config, stores: Stores, trust: TrustState, *, evidence: Evidence, clock: Clock) -> None:
        self._config = config
        self._stores = stores
        self.peers = PeerWatch(stores, evidence, clock)
        self.calendar = ExpiryWatch(self._gather, evidence, clock)
        trust.seen = self.peers.seen

    async def run(self) -> None:
        """Watch for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.peers.run())
            group.create_task(self.calendar.run())

    async def _gather(self, now: datetime) -> list[Expiry]:
        peers = await most_written_to(self._stores)
        found, _ = await asyncio.to_thread(expiries, self._config, now, peers)
        return found
