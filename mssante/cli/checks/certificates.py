"""What the profile of our certificates, the calendar of dates and a rollover under way have to say, one finding each.

Dates and usages that other checks tell (CERT-02 to CERT-07, CRL-01, LISTE-02) are not told twice. Reads files only.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mssante.certificates_setup import expiries, own_pairs
from mssante.cli.certdesk import explain, use_of, what_words
from mssante.cli.checks.files import load_pair
from mssante.cli.checks.finding import Finding, State, fail, ok, told, warn
from mssante.config.model import Config
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.services.rollover_state import Stage, read_rollover, rollover_file
from mssante.trust.expiry import EFFECTS, Level, What, sort_expiries
from mssante.trust.profile_findings import FIXER_WORDS
from mssante.trust.profile_findings import Level as ProfileLevel

_TOLD = frozenset({"PROFIL-AUTORITE", "PROFIL-EXPIRE", "PROFIL-PAS-ENCORE", "PROFIL-NOM", "PROFIL-EKU", "PROFIL-USAGE"})


def profile_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Check our pairs against the profile of their offer (spec §3.3), the coming one too."""
    try:
        pairs = own_pairs(config)
    except MssFault as fault:
        yield told("CERT-32", say("bascule de certificat", "certificate rollover"), fault)
        return
    for what, certificate, key in pairs:
        title = say(f"gabarit du {what_words(what)}", f"profile of the {what_words(what)}")
        try:
            leaf = load_pair(certificate, key if what is What.NEXT else None)[0]
            one = explain(leaf, certificate.name, use_of(config, what), now, config)
        except InputFault as fault:
            if what is What.NEXT:
                yield told("CERT-30", title, fault)
            continue  # CERT-01 and CERT-20 tell the others
        # nobody else judges the coming pair
        bad = [found for found in one.findings if found.level is not ProfileLevel.INFO
               and (what is What.NEXT or found.rule not in _TOLD)]
        for found in bad:
            seen = f"{say(*found.text)} : {found.seen}"
            remedy = say(f"attendu {found.expected} ; à corriger par ", f"expected {found.expected}; to be fixed by ") \
                + say(*FIXER_WORDS[found.fixer])
            yield Finding("CERT-30", State.FAIL if found.level is ProfileLevel.FAIL else State.WARN, title, seen, remedy,
                          found.rule)
        if not bad:
            yield ok("CERT-30", title, one.profile.offer.value)
    yield _rollover(config.path(config.operator.tls.operator_certificate))


def _rollover(certificate: Path) -> Finding:
    title = say("bascule de certificat", "certificate rollover")
    state = read_rollover(rollover_file(certificate))
    if state.stage in (Stage.NONE, Stage.RETIRED):
        return ok("CERT-32", title, say("aucune en cours", "none under way"))
    return warn("CERT-32", title, state.stage.value, "mssante cert rollover status")


def calendar_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Check the dates of all that we use, but what other checks tell."""
    title = say("calendrier", "calendar")
    found, _ = expiries(config, now)  # what cannot be read is told where it is used
    near = [one for one in sort_expiries(found, now) if not one.renewing and one.what not in (What.OPERATOR, What.CLIENT)
            and one.level(now) is not Level.LATER]
    for one in near:
        seen = f"{what_words(one.what)} {one.name} : {one.at:%Y-%m-%d}"
        if one.level(now) is Level.ENDED and one.what in (What.NEXT, What.SNI, What.SMIME):
            yield fail("CERT-31", title, seen, say(*EFFECTS[one.what]))
        else:
            yield warn("CERT-31", title, seen, say(*EFFECTS[one.what]))
    if not near:
        yield ok("CERT-31", title, say("rien ne finit dans les 90 jours", "nothing ends within 90 days"))
