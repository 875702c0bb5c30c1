"""A certificate as the command line explains it: lines for a reader and one object for programs. Called by `cli.cert`, `check`.

Reads files and, for the domain of a correspondent, what the server remembered of it. Changes nothing, fetches nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mssante.certificates_setup import own_pairs
from mssante.cli.common import administer_config, read_limited
from mssante.config.model import Config
from mssante.errors import InputFault, MssFault
from mssante.lang import say
from mssante.trust.anchors import read_certificates
from mssante.trust.expiry import WHAT_WORDS, What
from mssante.trust.profile_findings import FIXER_WORDS, Level, ProfileFinding, Use, findings_of
from mssante.trust.profiles import OFFER_WORDS, CertificateProfile, Offer, category_words, recognise
from mssante.trust_setup import read_anchors

MAX_FILE = 1024 * 1024
_MARKS = {Level.FAIL: ("ÉCHEC    ", "FAIL     "), Level.WARN: ("attention", "warn     "), Level.INFO: ("note     ", "note     ")}


@dataclass(frozen=True, slots=True)
class Explained:
    """One certificate with its findings for its use. place: where it was read."""

    place: str
    profile: CertificateProfile
    findings: tuple[ProfileFinding, ...]

    @property
    def failed(self) -> bool:
        """True when something in it is refused."""
        return any(one.level is Level.FAIL for one in self.findings)


def admitted(config: Config | None) -> Sequence[x509.Certificate] | None:
    """Give the admitted authorities, or None when no configuration, or no usable anchors, are at hand."""
    if config is None:
        return None
    try:
        found = read_anchors(config)
    except (MssFault, OSError):
        return None
    return (*found.issuers, *found.roots)


def explain(certificate: x509.Certificate, place: str, use: Use, now: datetime, config: Config | None) -> Explained:
    """Explain one certificate. Raises InputFault `PROFIL-LECTURE`."""
    profile = recognise(certificate, admitted(config))
    return Explained(place, profile, findings_of(profile, use, now))


def use_of(config: Config | None, what: What | None = None) -> Use:
    """Give what a certificate is held to: the operator's pairs to everything, others to what they say they are."""
    if config is None:
        return Use()
    operator = config.operator
    if what in (What.OPERATOR, What.NEXT):
        return Use(Offer.SERV_SSL, operator.operator.production, operator.trust.eku, operator.operator.hostname)
    return Use(production=operator.operator.production, eku=operator.trust.eku)


def certificates_of(config: Config | None, word: str) -> list[tuple[x509.Certificate, str, What | None]]:
    """Give the certificates that a word names: a file, `operator`, `next`, `client`, a domain of ours or of a correspondent.

    Raises InputFault (`CERT-…`).
    """
    path = Path(word)
    if path.is_file():
        return [(one, path.name, None) for one in read_certificates([read_limited(path, MAX_FILE, "CERT-LECTURE")])]
    if config is None:
        raise InputFault(say(f"{word} n'est pas un fichier", f"{word} is not a file"), rule="CERT-LECTURE",
                         remedy=say("donnez un fichier PEM, DER ou p7b, ou --config", "give a PEM, DER or p7b file, or --config"))
    domain = word.lower().rstrip(".")
    wanted = "operator" if domain in {one.name for one in config.domains.domain} else domain
    for what, file, _ in own_pairs(config):
        if what.value == wanted:
            read = read_certificates([read_limited(file, MAX_FILE, "CERT-LECTURE")])
            return [(one, file.name, None if rank else what) for rank, one in enumerate(read)]
    return _remembered(config, domain)


def _remembered(config: Config, domain: str) -> list[tuple[x509.Certificate, str, What | None]]:
    rows = administer_config(config, lambda admin: admin.stores.database.read(
        lambda tx: admin.stores.peer_certificates.of_domain(tx, domain)))
    if not rows:
        raise InputFault(
            say(f"{domain} : ni un fichier, ni un de nos certificats, ni un domaine déjà rencontré",
                f"{domain}: neither a file, nor one of our certificates, nor a domain met before"), rule="CERT-INCONNU",
            remedy=say("donnez un fichier, operator, next, client, ou un domaine avec qui du courrier a circulé",
                       "give a file, operator, next, client, or a domain with which mail was exchanged"))
    return [(x509.load_der_x509_certificate(row.der), say(
        f"{row.domain}, vu le {row.last_seen:%Y-%m-%d %H:%M} ({row.direction})",
        f"{row.domain}, seen on {row.last_seen:%Y-%m-%d %H:%M} ({row.direction})"), None) for row in rows]


def lines_of(one: Explained, now: datetime) -> list[str]:
    """Give an explanation for a reader."""
    profile, certificate = one.profile, one.profile.certificate
    category = category_words(profile.category)
    shown = f"{profile.category:02x} : {say(*category)}" if profile.category >= 0 else say(*category)
    left = profile.days_left(now)
    lines = [f"== {profile.cn or '?'}  ({one.place})"]
    lines += [_row(field.attribute, f"{field.value}  ({say(*field.meaning)})") for field in profile.subject]
    lines += [
        *([] if profile.authority else [_row(say("DN à déclarer", "DN to declare"), profile.declared or "?")]),
        _row(say("offre", "offer"), f"{profile.offer.value} : {say(*OFFER_WORDS[profile.offer])}"),
        _row(say("autorité", "authority"), _issuer(profile)),
        _row(say("catégorie", "category"), shown),
        _row(say("usages", "usages"), ", ".join(profile.usages) or "-"),
        _row(say("usages étendus", "extended usages"), "-" if profile.extended is None else ", ".join(profile.extended) or "-"),
        _row(say("autres noms", "other names"), ", ".join((*profile.dns_names, *profile.mail_names,
                                                           *profile.other_names)) or "-"),
        _row(say("clé, signature", "key, signature"), f"{profile.key}, {profile.signature}"),
        _row(say("validité", "validity"),
             f"{certificate.not_valid_before_utc:%Y-%m-%d} → {certificate.not_valid_after_utc:%Y-%m-%d}"
             + say(f", reste {left} jours", f", {left} days left")),
        _row(say("politique", "policy"), ", ".join(profile.policies) or "-"),
        _row("CRL", ", ".join(profile.crl_urls) or "-"), _row("OCSP", ", ".join(profile.ocsp_urls) or "-"),
        _row(say("numéro de série", "serial number"), f"{certificate.serial_number:x}"),
        _row("SHA-256", certificate.fingerprint(hashes.SHA256()).hex())]
    for found in one.findings:
        lines.append(f"{say(*_MARKS[found.level])} {say(*found.text)} [{found.rule}]")
        who = say(*FIXER_WORDS[found.fixer])
        lines.append(say(f"          vu : {found.seen} ; attendu : {found.expected} ; à corriger par {who}",
                         f"          seen: {found.seen}; expected: {found.expected}; to be fixed by {who}"))
    return [_safe(line) for line in lines]


def _row(label: str, value: str) -> str:
    return f"{label:16} {value}"


def _safe(text: str) -> str:
    """Nothing of a hostile certificate may drive a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _issuer(profile: CertificateProfile) -> str:
    issuer = profile.issuer
    words = [issuer.name or "?"]
    if issuer.range:
        words.append(say(f"gamme {issuer.range}, domaine {issuer.domain or '-'}, hiérarchie {issuer.hierarchy}",
                         f"range {issuer.range}, domain {issuer.domain or '-'}, hierarchy {issuer.hierarchy}"))
    verified = {True: say("signature vérifiée par nos ancres", "signature verified by our anchors"),
                False: say("AUCUNE de nos ancres ne l'a signé", "signed by NONE of our anchors"),
                None: say("signature non vérifiée", "signature not verified")}
    return " ; ".join([*words, verified[profile.issuer_verified]])


def document_of(one: Explained, now: datetime) -> dict[str, Any]:
    """Give an explanation as JSON holds it."""
    profile, certificate = one.profile, one.profile.certificate
    return {
        "place": one.place, "cn": profile.cn, "declared_dn": profile.declared, "offer": profile.offer.value,
        "subject": [{"attribute": field.attribute, "value": field.value, "meaning": say(*field.meaning),
                     "warning": say(*field.warning)} for field in profile.subject],
        "issuer": {"name": profile.issuer.name, "range": profile.issuer.range, "domain": profile.issuer.domain,
                   "hierarchy": profile.issuer.hierarchy, "verified": profile.issuer_verified},
        "category": f"{profile.category:02x}" if profile.category >= 0 else None, "test": profile.is_test,
        "usages": list(profile.usages), "extended_usages": None if profile.extended is None else list(profile.extended),
        "dns_names": list(profile.dns_names), "mail_names": list(profile.mail_names), "key": profile.key,
        "signature": profile.signature, "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(), "days_left": profile.days_left(now),
        "policies": list(profile.policies), "crl_urls": list(profile.crl_urls), "ocsp_urls": list(profile.ocsp_urls),
        "serial": f"{certificate.serial_number:x}", "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "findings": [{"rule": found.rule, "level": found.level.value, "text": say(*found.text), "seen": found.seen,
                      "expected": found.expected, "who": say(*FIXER_WORDS[found.fixer])} for found in one.findings]}


def what_words(what: What) -> str:
    """Give the words of a kind in the current language."""
    return say(*WHAT_WORDS[what])
