"""S/MIME before it is needed: keys of mailboxes that can be used, authorities that are there with their CRLs. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from mssante.cli.checks.finding import Finding, fail, ok, told, warn
from mssante.config.model import Config
from mssante.errors import MssFault
from mssante.lang import say

_SQLITE = "sqlite:///"
SOON = timedelta(days=30)
MOST = 50  # keys told one by one


def smime_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Tell authorities and keys; silent while S/MIME is off."""
    if not config.operator.smime.enabled:
        return
    try:
        yield from _authorities(config)
        yield from _keys(config, now)
    except (MssFault, OSError):  # anchors that cannot be read: told by their own control
        return


def _authorities(config: Config) -> Iterator[Finding]:
    """Each admitted authority must stand among the anchors; without its CRL every signature is `SMIME-REVOCATION`."""
    from mssante.cli.smime_check import offline_trust
    from mssante.trust.anchors import common_name

    anchors = offline_trust(config).anchors()
    known = {common_name(one.subject) for one in anchors.issuers}
    for name in config.operator.smime.issuers:
        title = say(f"autorité S/MIME {name}", f"S/MIME authority {name}")
        if name in known:
            yield ok("SMIME-01", title, say("parmi les ancres", "among the anchors"))
        else:
            yield fail("SMIME-01", title, say("absente des ancres", "not among the anchors"), say(
                "ajoutez son certificat à trust.anchors et sa CRL à trust.crl_urls, ou retirez-la de smime.issuers",
                "add its certificate to trust.anchors and its CRL to trust.crl_urls, or take it out of smime.issuers"))


def _keys(config: Config, now: datetime) -> Iterator[Finding]:
    from mssante.smime_setup import key_ring

    ring, references = key_ring(config), _references(config)
    good = 0
    for address, reference in references:
        title = say(f"clé S/MIME de {address}", f"S/MIME key of {address}")
        try:
            end = ring.open(reference).certificate.not_valid_after_utc
        except MssFault as fault:
            yield told("SMIME-02", title, fault)
            continue
        if end > now + SOON:
            good += 1
            continue
        seen = say(f"{reference} finit le {end:%Y-%m-%d}", f"{reference} ends on {end:%Y-%m-%d}")
        yield (fail if end <= now else warn)("SMIME-03", title, seen, say(
            "demandez-en un nouveau, puis mssante smime key add", "ask for a new one, then mssante smime key add"))
    yield ok("SMIME-02", say("clés S/MIME", "S/MIME keys"), say(f"{good} en état de servir", f"{good} fit for use"))


def _references(config: Config) -> list[tuple[str, str]]:
    """Give (address, the key in use) of the mailboxes that have one; none while there is no database of ours."""
    from mssante.cli.common import administer_config
    from mssante.storage.open import peek_sqlite

    if config.storage_url.startswith(_SQLITE):
        path = Path(config.storage_url.removeprefix(_SQLITE))
        state = peek_sqlite(path) if path.exists() else None
        if state is None or state.found != state.ours:
            return []
    wishes = administer_config(config, lambda admin: admin.stores.database.read(admin.stores.smime.all_policies))
    return [(address, one.keys[0]) for address, one in wishes if one.keys][:MOST]
