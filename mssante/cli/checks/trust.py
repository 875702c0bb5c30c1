"""Anchors, the kept white list and the kept CRLs: readable, signed, in date, and binding our domains to our certificate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mssante.cli.checks.finding import Finding, fail, ok, told, warn
from mssante.cli.common import read_limited
from mssante.cli.trustdesk import current_path, hosted_bindings, read_list
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.trust.anchors import TrustAnchors, common_name, load_anchors, read_certificates
from mssante.trust.crl import Crl, CrlSet, parse_any_crl

MAX_FILE = 1024 * 1024


def anchor_findings(config: Config, now: datetime) -> tuple[TrustAnchors | None, list[Finding]]:
    """Check the anchors; give them too, or None when they cannot be used."""
    trust = config.operator.trust
    title = say("ancres de confiance", "trust anchors")
    path = config.path(trust.anchors)
    try:
        watched = config.operator.smime.issuers if config.operator.smime.enabled else ()
        anchors = load_anchors([read_limited(path, MAX_FILE, "ANCRE-LECTURE")], trust.issuers, watched)
    except InputFault as fault:
        return None, [told("ANCRE-01", title, fault, say("voyez certs/README.md", "see certs/README.md"))]
    names = ", ".join(common_name(one.subject) for one in (*anchors.roots, *anchors.issuers))
    findings = [ok("ANCRE-01", title, names)]
    ended = [common_name(one.subject) for one in (*anchors.roots, *anchors.issuers) if one.not_valid_after_utc < now]
    if ended:
        findings.append(warn("ANCRE-02", say("dates des ancres", "anchor dates"), ", ".join(ended),
                             say("expirées : ajoutez la génération suivante", "expired: add the next generation")))
    if not anchors.roots:
        findings.append(warn("ANCRE-03", say("racine", "root"), say("aucune", "none"), say(
            "ajoutez la racine : l'autorité émettrice est crue sans elle", "add the root: the issuer is believed without it")))
    findings += _other_anchors(config)
    return anchors, findings


def _other_anchors(config: Config) -> Iterator[Finding]:
    trust = config.operator.trust
    title = say("ancres HTTPS de la liste", "HTTPS anchors of the list")
    if trust.whitelist_anchors is not None:
        try:
            read_certificates([read_limited(config.path(trust.whitelist_anchors), MAX_FILE, "ANCRE-LECTURE")])
            yield ok("ANCRE-04", title, trust.whitelist_anchors.name)
        except InputFault as fault:
            yield told("ANCRE-04", title, fault)
    if not trust.signer_cns and not trust.signer_ous:
        yield fail("ANCRE-05", say("signataire de la liste", "signer of the list"),
                   say("signer_cns et signer_ous vides", "signer_cns and signer_ous are empty"), say(
                       "aucune liste ne sera acceptée : nommez le signataire de l'ANS",
                       "no list will be accepted: name the signer of ANS"))


def list_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Check the list kept on disk and whether it lets us speak for our domains."""
    title = say("liste blanche gardée", "kept white list")
    path = current_path(config)
    if not path.exists():
        yield warn("LISTE-01", title, say("aucune", "none"), say(
            "le serveur la téléchargera à son démarrage ; sans elle il répond 451 aux opérateurs",
            "the server fetches it when it starts; without it operators get 451"))
        return
    try:
        read = read_list(config, path)
    except (InputFault, OSError) as fault:
        if isinstance(fault, OSError):
            fault = InputFault(fault.strerror or "", rule="LB-ANCRES", remedy=say("corrigez d'abord ANCRE-01",
                                                                               "mend ANCRE-01 first"))
        yield told("LISTE-01", title, fault)
        return
    found = read.whitelist
    signer = read.signer.text if read.signer else ""
    yield ok("LISTE-01", title, say(f"signature bonne, {found.domain_count} domaines, par {signer}",
                                    f"signature is good, {found.domain_count} domains, by {signer}"))
    yield _age(config, found.generated_at, now)
    if found.skipped:
        yield warn("LISTE-03", say("entrées écartées", "skipped entries"), str(len(found.skipped)),
                   say("signalez-les à l'ANS : mssante whitelist show", "tell ANS: mssante whitelist show"))
    try:
        bindings = hosted_bindings(config, read)
    except InputFault:
        return  # CERT-01 tells it
    for domain, bound, listed in bindings:
        yield _binding(domain, bound, listed)


def _age(config: Config, generated_at: datetime, now: datetime) -> Finding:
    title = say("âge de la liste", "age of the list")
    most = config.operator.trust.whitelist_max_age_hours
    hours = (now - generated_at).total_seconds() / 3600
    seen = say(f"{hours:.0f} h, au plus {most} h", f"{hours:.0f} h, at most {most} h")
    if hours > most:
        return fail("LISTE-02", title, seen, say(
            "plus aucun trafic entre opérateurs : vérifiez whitelist_url et le réseau",
            "no more traffic between operators: check whitelist_url and the network"))
    if hours > most / 2:
        return warn("LISTE-02", title, seen, say("vérifiez que le téléchargement marche", "check that fetching works"))
    return ok("LISTE-02", title, seen)


def _binding(domain: str, bound: bool, listed: str) -> Finding:
    title = say(f"domaine {domain}", f"domain {domain}")
    if bound:
        return ok("LISTE-04", title, say("lié à notre certificat", "bound to our certificate"))
    if listed:
        return fail("LISTE-04", title, say(f"lié à {listed}", f"bound to {listed}"), say(
            "faites inscrire notre certificat par l'ANS : les autres opérateurs nous refusent",
            "have ANS list our certificate: the other operators refuse us"))
    return fail("LISTE-04", title, say("absent de la liste", "not in the list"), say(
        "faites inscrire ce domaine par l'ANS, ou retirez-le de domains.toml",
        "have ANS list this domain, or remove it from domains.toml"))


def crl_findings(config: Config, anchors: TrustAnchors, now: datetime) -> tuple[CrlSet, list[Finding]]:
    """Check the CRLs kept on disk; give those that count."""
    trust = config.operator.trust
    crls, findings = CrlSet(), []
    for rank, url in enumerate(trust.crl_urls):
        title = f"CRL {url.rsplit('/', 1)[-1]}"
        path = config.path(trust.crl_folder) / f"{rank}.crl"
        if not path.exists():
            findings.append(warn("CRL-01", title, say("pas encore téléchargée", "not fetched yet"), say(
                "le serveur la téléchargera à son démarrage ; sans elle aucun opérateur n'est admis",
                "the server fetches it when it starts; without it no operator is admitted")))
            continue
        try:
            crl = parse_any_crl(read_limited(path, trust.crl_max_bytes, "CRL-LECTURE"), anchors, now)
            crls = crls.admit(crl)
        except InputFault as fault:
            findings.append(told("CRL-01", title, fault))
            continue
        findings.append(_crl_age(title, crl, now, trust.crl_grace_seconds))
    if not trust.crl_urls and trust.revocation != "ocsp":
        findings.append(fail("CRL-01", "CRL", "crl_urls = []", say(
            "nommez la CRL de l'autorité émettrice : sans elle aucun opérateur n'est admis (ECO.1.1.6)",
            "name the CRL of the issuing authority: without it no operator is admitted (ECO.1.1.6)")))
    return crls, findings


def _crl_age(title: str, crl: Crl, now: datetime, grace_seconds: int) -> Finding:
    """ECO.1.1.7: a CRL serves until its nextUpdate."""
    seen = say(f"n° {crl.number}, {len(crl.revoked)} révoqués, du {crl.this_update:%Y-%m-%d %H:%M}, "
               f"prochaine le {crl.next_update:%Y-%m-%d %H:%M} UTC",
               f"n° {crl.number}, {len(crl.revoked)} revoked, of {crl.this_update:%Y-%m-%d %H:%M}, "
               f"next on {crl.next_update:%Y-%m-%d %H:%M} UTC")
    late = (now - crl.next_update).total_seconds()
    if late > grace_seconds:
        return fail("CRL-01", title, seen, say("périmée : vérifiez crl_urls et le réseau",
                                               "past its time: check crl_urls and the network"))
    if late > 0:
        return warn("CRL-01", title, seen, say("périmée, en délai de grâce", "past its time, within the grace"))
    return ok("CRL-01", title, seen)
