"""How one logs in, from the configuration: what `[login]` says, as the values that IMAP and submission take (floor 6).

- Channel binding data come from the certificate that the doors of the users show at start; a session whose context knows better
  (a certificate replaced, or chosen by name) is given that one's (`tls_context.bound`).
- Client certificates are asked for on the doors of IMAP and submission only when an authority is configured; whose they are is
  judged by `services.client_certificates`. Nobody gets in by a certificate that nobody named.
Called by `app.py`.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from pathlib import Path

from mssante.config.model import Config
from mssante.endpoints.login_offer import LoginOffer
from mssante.endpoints.tls_context import end_point_of
from mssante.protocol.sasl.mechanisms import Circumstances
from mssante.services.client_certificates import ClientCertificates
from mssante.services.imap.settings import ImapSettings


def users_pair(config: Config) -> tuple[Path, Path]:
    """Give certificate and key of the doors of the users."""
    tls = config.operator.tls
    return (config.path(tls.client_certificate or tls.operator_certificate),
            config.path(tls.client_key or tls.operator_key))


def circumstances(config: Config, *, tokens: bool) -> Circumstances:
    """Give what every TLS connection of a user is offered. Raises OSError, ValueError for a certificate that cannot be read."""
    return Circumstances(frozenset(config.operator.login.mechanisms), end_point_of(users_pair(config)[0]), tokens=tokens)


def login_offer(config: Config, *, tokens: bool, certificates: ClientCertificates | None = None) -> LoginOffer:
    """Give how one logs in over IMAP and submission. tokens: they can be checked; certificates: who judges those of clients."""
    return LoginOffer(circumstances(config, tokens=tokens), certificates.login_of if certificates is not None else None)


def with_login_limits(settings: ImapSettings, config: Config) -> ImapSettings:
    """Give IMAP settings with the limits of `[login]`."""
    login = config.operator.login
    return replace(
        settings, connections_per_account=login.connections_per_account, login_seconds=login.login_seconds,
        login_failures=login.failures_per_connection, commands_rate=float(login.commands_per_second),
        commands_burst=float(login.commands_at_once), account_commands_rate=float(login.account_commands_per_second),
        account_commands_burst=float(login.account_commands_at_once))


def salt_key(secret: bytes) -> bytes:
    """Give the key of the salts that unknown logins are shown, from the operator's own secret."""
    return hmac.digest(secret, b"scram salt of unknown logins", "sha256")
