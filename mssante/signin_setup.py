"""Logins by token and by certificate, from the configuration: `[psc]` and `[login]` as the values that services take (floor 6).

The real addresses of Pro Santé Connect (spec §6.2) stand here and nowhere else. Called by `app.py` and `cli/identity.py`.
"""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509

from mssante.clock import Clock
from mssante.config.model import Config
from mssante.config.signin import PscSection
from mssante.errors import InputFault
from mssante.lang import say
from mssante.services.client_certificates import CertificateSettings, ClientCertificates
from mssante.services.evidence import Evidence
from mssante.services.psc import PscChecker, PscSettings
from mssante.services.psc_keys import KeySettings, ProviderKeys
from mssante.services.psc_token import TokenPolicy
from mssante.services.truststate import TrustState
from mssante.storage.interfaces import Stores
from mssante.transport.jwks import HttpProvider
from mssante.trust.anchors import read_certificates

REALM = "/auth/realms/esante-wallet"
ISSUERS = {"production": f"https://auth.esw.esante.gouv.fr{REALM}", "bas": f"https://auth.bas.psc.esante.gouv.fr{REALM}"}
DISCOVERY = "/.well-known/wallet-openid-configuration"
MAX_SECRET = 4_096


def issuer_of(section: PscSection) -> str:
    """Give the issuer that tokens must name, empty when tokens are off."""
    return section.issuer.rstrip("/") if section.environment == "custom" else ISSUERS.get(section.environment, "")


def discovery_of(section: PscSection) -> str:
    """Give where the provider describes itself."""
    return section.discovery_url or issuer_of(section) + DISCOVERY


def token_policy(section: PscSection) -> TokenPolicy:
    """Give what tokens must be."""
    return TokenPolicy(issuer_of(section), frozenset(section.audiences), frozenset(section.acr), frozenset(section.scopes),
                       section.subject_claim, timedelta(seconds=section.leeway_seconds),
                       timedelta(seconds=section.max_age_seconds))


def _provider(config: Config) -> HttpProvider:
    """Give the way to the provider. Raises InputFault `PSC-SECRET`, OSError."""
    section = config.operator.psc
    secret = ""
    if section.client_secret_file is not None:
        path = config.path(section.client_secret_file)
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET + 1)
        secret = raw.decode("ascii", "replace").strip()
        if not secret or len(raw) > MAX_SECRET or not secret.isprintable() or not secret.isascii():
            raise InputFault(say(f"{path} ne tient pas un secret", f"{path} holds no secret"), rule="PSC-SECRET",
                             remedy=say("une ligne d'ASCII", "one line of ASCII"))
    return HttpProvider(config.path(section.anchors) if section.anchors is not None else None, section.client_id, secret)


def token_checker(config: Config, stores: Stores, evidence: Evidence, clock: Clock) -> PscChecker | None:
    """Give who checks access tokens, None when they are off. Raises InputFault, OSError."""
    section = config.operator.psc
    if section.environment == "off":
        return None
    provider = _provider(config)
    keys = ProviderKeys(provider, KeySettings(issuer_of(section), discovery_of(section), section.keys_seconds,
                                              section.keys_floor_seconds), clock)
    settings = PscSettings(token_policy(section), discovery_of(section), section.introspection, section.session == "token",
                           section.session_hours * 3600)
    return PscChecker(settings, keys, provider, stores, clock=clock, evidence=evidence)


def client_certificates(config: Config, stores: Stores, evidence: Evidence, *, trust: TrustState,
                        clock: Clock) -> ClientCertificates | None:
    """Give who judges the certificates of clients, None when none is asked for."""
    login = config.operator.login
    if login.client_anchors is None:
        return None
    path = config.path(login.client_anchors)

    def anchors() -> list[x509.Certificate]:
        return read_certificates([path.read_bytes()])

    prints = {print_.replace(":", "").lower(): name.lower() for print_, name in login.certificates.items()}
    return ClientCertificates(CertificateSettings(prints, anchors), trust, stores, clock=clock, evidence=evidence)
