"""Turns the configured trust section into the values that trust services run on. Called by `app.py` and `check`."""

from __future__ import annotations

from datetime import timedelta

from mssante.config.model import Config
from mssante.services.trustkeeper import KeeperSettings
from mssante.services.truststate import TrustSnapshot
from mssante.trust.anchors import TrustAnchors, load_anchors
from mssante.trust.crl import CrlSet
from mssante.trust.decisions import ListPolicy
from mssante.trust.names import DnMode
from mssante.trust.peer import PeerPolicy
from mssante.trust.signature import SignerPolicy


def read_anchors(config: Config) -> TrustAnchors:
    """Read and check the anchors file. Raises InputFault, OSError."""
    trust = config.operator.trust
    return load_anchors([config.path(trust.anchors).read_bytes()], trust.issuers)


def trust_snapshot(config: Config) -> TrustSnapshot:
    """Give the snapshot at start: anchors and policy, no list and no CRL yet."""
    trust = config.operator.trust
    policy = PeerPolicy(eku=trust.eku, production=config.operator.operator.production,
                        crl_grace=timedelta(seconds=trust.crl_grace_seconds))
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
        trust.crl_refresh_seconds, signer, policy)
