"""Turns the configured `[holds]` section into the keeper of holds, and ties it to the trust in force. Called by `app.py`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography import x509

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.model.hold import HoldCause
from mssante.services.evidence import Evidence
from mssante.services.holds import HoldKeeper, HoldSettings
from mssante.services.rollover_state import Serve, read_rollover, rollover_file
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Stores


def hold_limits(config: Config) -> dict[HoldCause, timedelta]:
    """Give the age limit of each cause."""
    holds = config.operator.holds
    hours = {HoldCause.LIST_TOO_OLD: holds.list_too_old_hours, HoldCause.CRL_EXPIRED: holds.crl_expired_hours,
             HoldCause.PEER_CERTIFICATE: holds.peer_certificate_hours, HoldCause.DOMAIN_LEFT: holds.domain_left_hours,
             HoldCause.OWN_CERTIFICATE: holds.own_certificate_hours, HoldCause.MANUAL: holds.manual_hours}
    return {cause: timedelta(hours=value) for cause, value in hours.items()}


def _own_end(config: Config, clock: Clock) -> Callable[[], datetime]:
    """Give a function that reads the end of the certificate that we serve now (a rollover may have switched)."""
    tls = config.operator.tls
    current = config.path(tls.operator_certificate)

    def end() -> datetime:
        state = read_rollover(rollover_file(current))
        timed = tls.next_certificate is not None and tls.next_from is not None and clock.now() >= tls.next_from
        path = current
        if state.serve is Serve.NEXT and state.next_certificate is not None:
            path = state.next_certificate
        elif timed and state.next_certificate is None and tls.next_certificate is not None:
            path = config.path(tls.next_certificate)
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc

    return end


def hold_settings(config: Config, clock: Clock) -> HoldSettings:
    """Give the keeper's settings."""
    holds = config.operator.holds
    return HoldSettings(hold_limits(config), timedelta(hours=holds.tail_hours), timedelta(seconds=holds.probe_seconds),
                        timedelta(hours=config.operator.relay.expiry_hours), _own_end(config, clock))


def hold_keeper(config: Config, trust: TrustState, stores: Stores, *, evidence: Evidence, clock: Clock) -> HoldKeeper:
    """Give the keeper; from then on the trust in force asks it whether new mail may wait for a fresh list."""
    keeper = HoldKeeper(stores, trust, evidence, clock, hold_settings(config, clock))
    trust.keeps_new_mail = keeper.keeps_new_mail
    return keeper
