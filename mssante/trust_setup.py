"""Turns the configured trust section into the values that trust services run on. Called by `app.py` and `check`."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from functools import partial

from cryptography import x509

from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.model.identity import DistinguishedName
from mssante.services.listhistory import HistoryPolicy
from mssante.services.rollover_state import read_rollover, rollover_file
from mssante.services.trustkeeper import KeeperSettings
from mssante.services.truststate import TrustSnapshot
from mssante.trust.anchors import TrustAnchors, load_anchors
from mssante.trust.crl import CrlSet
from mssante.trust.decisions import ListPolicy
from mssante.trust.listdiff import Interest
from mssante.trust.listshape import ShapePolicy
from mssante.trust.names import DnMode, NameKey, dn_from_x509
from mssante.trust.peer import PeerPolicy
from mssante.trust.signature import SignerPolicy


def read_anchors(config: Config) -> TrustAnchors:
    """Read and check the anchors file. Raises InputFault, OSError."""
    trust, smime = config.operator.trust, config.operator.smime
    return load_anchors([config.path(trust.anchors).read_bytes()], trust.issuers, smime.issuers if smime.enabled else ())


def trust_snapshot(config: Config) -> TrustSnapshot:
    """Give the snapshot at start: anchors and policy, no list and no CRL yet."""
    trust = config.operator.trust
    policy = PeerPolicy(eku=trust.eku, production=config.operator.operator.production,
                        crl_grace=timedelta(seconds=trust.crl_grace_seconds), revocation=trust.revocation)
    return TrustSnapshot(read_anchors(config), CrlSet(), policy, DnMode(trust.dn_mode),
                         timedelta(hours=trust.whitelist_max_age_hours))


def keeper_settings(config: Config) -> KeeperSettings:
    """Give the keeper's settings with absolute paths."""
    trust = config.operator.trust
    anchors = load_anchors([config.path(trust.anchors).read_bytes()], trust.signer_issuers)
    signer = SignerPolicy(anchors=anchors, cns=trust.signer_cns, ous=trust.signer_ous,
                          at_signing_time=trust.signer_validity == "signing_time")
    policy = ListPolicy(shrink_percent=trust.whitelist_shrink_percent,
                        max_age=timedelta(hours=trust.whitelist_max_age_hours))
    return KeeperSettings(
        trust.whitelist_url, config.path(trust.whitelist_folder), trust.whitelist_max_bytes,
        trust.whitelist_refresh_seconds, trust.crl_urls, config.path(trust.crl_folder), trust.crl_max_bytes,
        trust.crl_refresh_seconds, signer, policy,
        shape=ShapePolicy(trust.whitelist_changed_percent, trust.whitelist_joined_percent,
                          timedelta(hours=trust.whitelist_gap_hours), trust.whitelist_own_domain == "hold"),
        history=HistoryPolicy(trust.whitelist_keep_count, trust.whitelist_keep_days), interest=partial(list_interest, config))


def own_names(config: Config) -> tuple[DistinguishedName, ...]:
    """Give the subjects of the certificates that we serve, or are about to, read anew; none when they cannot be read.

    During a rollover the list moves from our present certificate to the next: that is no loss of our domain.
    """
    tls = config.operator.tls
    current = config.path(tls.operator_certificate)
    names: dict[NameKey, DistinguishedName] = {}
    with suppress(InputFault):  # a state that cannot be read: `mssante cert rollover status` tells it
        following = read_rollover(rollover_file(current)).next_certificate
        for path in (current, following or (config.path(tls.next_certificate) if tls.next_certificate else None)):
            with suppress(OSError, ValueError):  # being replaced, or not there yet: `mssante check` tells it
                name = dn_from_x509(x509.load_pem_x509_certificate(path.read_bytes()).subject) if path is not None else None
                if name is not None:
                    names[name.pairs] = name
    return tuple(names.values())


def list_interest(config: Config) -> Interest:
    """Give what of a list concerns us: our domains and certificates, the citizen domain."""
    return Interest(own=frozenset(domain.name for domain in config.domains.domain), own_names=own_names(config),
                    mode=DnMode(config.operator.trust.dn_mode), citizen=config.domains.citizen.domain)
