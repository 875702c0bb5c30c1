"""Turns the configured OCSP settings into the desk that asks responders, and wires it to the trust state. Called by `app.py`."""

from __future__ import annotations

from concurrent.futures import Executor
from datetime import timedelta

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.services.evidence import Evidence
from mssante.services.revocation import OcspSettings, RevocationDesk
from mssante.services.trustalarms import SourceAlarms
from mssante.services.truststate import TrustState
from mssante.transport.http import HttpFetcher
from mssante.trust.ocsp import OcspPolicy, origin


def ocsp_settings(config: Config) -> OcspSettings:
    """Give the desk's settings; addresses of the allow-list in the one form that they are compared in."""
    trust = config.operator.trust
    policy = OcspPolicy(trust.ocsp_hash, trust.ocsp_nonce == "required", timedelta(seconds=trust.ocsp_max_age_seconds))
    return OcspSettings(policy, dict(trust.ocsp_urls), frozenset(origin(one) for one in trust.ocsp_from_certificate) - {""},
                        timedelta(seconds=trust.ocsp_refresh_seconds), timedelta(seconds=trust.ocsp_grace_seconds),
                        trust.ocsp_timeout_seconds)


def revocation_desk(config: Config, state: TrustState, evidence: Evidence, *, clock: Clock, executor: Executor) -> RevocationDesk:
    """Give the desk, and the trust state that asks it when the policy has OCSP."""
    trust = config.operator.trust
    settings = ocsp_settings(config)
    fetcher = HttpFetcher(config.path(trust.whitelist_anchors or trust.anchors), settings.seconds)
    desk = RevocationDesk(settings, fetcher, clock, executor, crls=lambda: state.snapshot.crls, alarms=SourceAlarms(evidence))
    state.ask_at(desk)
    return desk
