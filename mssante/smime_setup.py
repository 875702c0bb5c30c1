"""S/MIME beside the services: the configured section as values, and the parts put together (floor 6).

With `smime.enabled = false` nothing is built: reception and submission test one attribute. Called by `app.py` and `cli/smime.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mssante.config.model import Config
from mssante.model.address import normalise_domain
from mssante.services.opening import Opening, OpeningParts
from mssante.services.reception import AcceptContext
from mssante.services.sealing import Sealing, SealingParts
from mssante.services.smime_certificates import CertificateFinder, DirectoryCertificates, Learner
from mssante.services.smime_header import derive_key
from mssante.services.smime_keys import FileKeyOpener, KeyOpener, KeyRing, MailKey
from mssante.services.smime_policy import Incoming, Outgoing, SmimeSettings, Wishes
from mssante.services.smime_trust import MailTrust
from mssante.services.truststate import TrustSnapshot
from mssante.smime.values import Cipher, SmimeLimits
from mssante.storage.interfaces import Stores


def smime_settings(config: Config) -> SmimeSettings:
    """Give the settings of a configuration. The citizens' domain is `never`, whatever a route says (spec §9)."""
    section = config.operator.smime
    routes = {normalise_domain(domain): Outgoing(wish) for domain, wish in section.routes.items()}
    routes[config.domains.citizen.domain.lower()] = Outgoing.NEVER  # nobody there could open it
    # what base64 makes of a message of full size, twice: signed, then encrypted
    limits = SmimeLimits(message_bytes=2 * config.operator.limits.message_bytes)
    return SmimeSettings(
        Outgoing(section.outgoing), Incoming(section.incoming), routes, section.fallback == "refuse", Cipher(section.cipher),
        section.oaep, section.opaque, section.originals_folder, section.learnt_certificates, limits)


class TokenKeyOpener:
    """Keys in a token: `pkcs11:…` (RFC 7512); the certificate is the token's own object of that name."""

    def __init__(self, folder: Path) -> None:
        """folder: against which the URI's relative paths are resolved."""
        self._folder = folder

    def stamp(self, reference: str) -> object:
        """A key in a token does not change under its name; the session opens again by itself."""
        return reference

    def open(self, reference: str) -> MailKey:
        """Open the key. Raises OperatorFault `JETON-…`."""
        from mssante.transport.pkcs11 import open_token_key  # an extra: only who has a token needs it

        return open_token_key(reference, folder=self._folder)


def key_ring(config: Config) -> KeyRing:
    """Give the keys of mailboxes, by the kinds of reference that this installation knows."""
    openers: dict[str, KeyOpener] = {"file": FileKeyOpener(config.path(config.operator.smime.keys_folder)),
                                     "pkcs11": TokenKeyOpener(config.folder)}
    return KeyRing(openers)


def mail_trust(config: Config, snapshot: Callable[[], TrustSnapshot]) -> MailTrust:
    """Give what decides on certificates of correspondents. snapshot: the trust in force."""
    return MailTrust(snapshot, config.operator.smime.issuers)


def add_smime(context: AcceptContext, config: Config, stores: Stores, *, secret: bytes,
              directory: DirectoryCertificates | None = None) -> None:
    """Give S/MIME to reception and submission, when it is on. secret: the operator's own, from which the key of our field is
    derived; directory: where certificates of correspondents are asked, if anywhere."""
    if not config.operator.smime.enabled:
        return
    settings, keys, clock, executor = smime_settings(config), key_ring(config), context.clock, context.executor
    trust, wishes = mail_trust(config, lambda: context.trust.snapshot), Wishes(stores, clock)
    learner = Learner(stores, clock, settings.learnt, lambda address: context.evidence.address(address) != address)
    inline = context.settings.inline_limit_bytes
    context.opening = Opening(OpeningParts(settings, wishes, keys, trust, learner, stores, executor, clock, inline,
                                           derive_key(secret)))
    finder = CertificateFinder(stores, trust, directory or context.certificates)
    context.sealing = Sealing(SealingParts(settings, wishes, keys, finder, stores.blobs, executor, clock, inline))
