"""What is wrong, or worth knowing, in a certificate, for the use that it is meant for: one finding a rule (spec §3.3, §3.5).

- A finding has its rule, what was seen, what was expected, who must fix it, in French and in English, and a level: `fail` (peers
  refuse it, or it cannot work), `warn` (works today), `info`.
- The judgement of a peer stays `peer.identify`'s; this explains, before anybody is refused.
- Pure. Called by `mssante cert`, `check`, `explain`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from mssante.trust.profile_subject import DECLARED_LIMIT, Words, value_of
from mssante.trust.profiles import OFFER_WORDS, CertificateProfile, Offer, category_words

RENEWAL = timedelta(days=60)  # F3.13: renewal notice; renewable only while still valid
LIFE = timedelta(days=3 * 366)


class Level(StrEnum):
    """How bad."""

    FAIL = "fail"
    WARN = "warn"
    INFO = "info"


class Fixer(StrEnum):
    """Who must fix it."""

    HOLDER = "holder"
    AUTHORITY = "authority"
    NOBODY = "nobody"


FIXER_WORDS: dict[Fixer, Words] = {
    Fixer.HOLDER: ("le porteur du certificat", "the holder of the certificate"),
    Fixer.AUTHORITY: ("l'IGC-Santé (ANS)", "IGC-Santé (ANS)"), Fixer.NOBODY: ("personne", "nobody")}


@dataclass(frozen=True, slots=True)
class ProfileFinding:
    """One finding; text: (French, English)."""

    rule: str
    level: Level
    text: Words
    seen: str
    expected: str
    fixer: Fixer = Fixer.HOLDER


@dataclass(frozen=True, slots=True)
class Use:
    """What the certificate is for. offer None: whatever it is; production: TEST refused; eku: as `trust.eku`."""

    offer: Offer | None = None
    production: bool = False
    eku: str = "any"
    host: str = ""


def findings_of(profile: CertificateProfile, use: Use, now: datetime) -> tuple[ProfileFinding, ...]:
    """Give the findings, worst first."""
    found = [*_authority(profile, use), *_offer(profile, use), *_usages(profile, use), *_names(profile, use), *_subject(profile),
             *_dates(profile, now), *_strength(profile), *_revocation(profile)]
    return tuple(sorted(found, key=lambda one: list(Level).index(one.level)))


def _authority(profile: CertificateProfile, use: Use) -> Iterator[ProfileFinding]:
    issuer = profile.issuer
    if profile.issuer_verified is False:
        yield ProfileFinding("PROFIL-AUTORITE", Level.FAIL, (
            "aucune des autorités admises n'a signé ce certificat (la clé décide, pas le nom)",
            "none of the admitted authorities signed this certificate (the key decides, not the name)"),
            issuer.name or "?", "AC IGC-SANTE ELEMENTAIRE ORGANISATIONS")
    elif use.offer is not None and (issuer.range, issuer.domain) != ("ELEMENTAIRE", "ORGANISATIONS"):
        yield ProfileFinding("PROFIL-GAMME", Level.FAIL, (
            "la gamme ou le domaine de l'autorité n'est pas celui des opérateurs (ECO.1.1.10)",
            "the authority's range or domain is not that of operators (ECO.1.1.10)"),
            issuer.name or "?", "IGC-SANTE ELEMENTAIRE ORGANISATIONS")
    if profile.is_test:
        level = Level.FAIL if use.production else Level.INFO
        seen = f"{profile.category:02x}" if profile.category >= 0 else issuer.hierarchy
        yield ProfileFinding("PROFIL-TEST", level, (
            "certificat de TEST : refusé en production", "TEST certificate: refused in production"), seen,
            "00, 02, 03", Fixer.HOLDER if use.production else Fixer.NOBODY)
    if profile.category == -2 or (profile.category < 0x80 and profile.category not in (-1, 0x00, 0x02, 0x03)):
        yield ProfileFinding("PROFIL-CATEGORIE", Level.FAIL if use.production else Level.WARN, (
            "catégorie de produit non répertoriée ou illisible", "product category not listed or unreadable"),
            category_words(profile.category)[1], "00, 02, 03", Fixer.AUTHORITY)


def _offer(profile: CertificateProfile, use: Use) -> Iterator[ProfileFinding]:
    if use.offer is not None and profile.offer is not use.offer:
        fatal = profile.offer in (Offer.AUTHORITY, Offer.PERSON) or not profile.usages
        yield ProfileFinding("PROFIL-OFFRE", Level.FAIL if fatal else Level.WARN, (
            f"cette offre n'est pas celle de cet usage : {OFFER_WORDS[use.offer][0]}",
            f"this offer is not the one for this use: {OFFER_WORDS[use.offer][1]}"), profile.offer.value, use.offer.value)
    elif profile.offer is Offer.UNKNOWN:
        yield ProfileFinding("PROFIL-OFFRE", Level.WARN, ("offre non reconnue", "offer not recognised"),
                             ", ".join(profile.usages) or "?", "SERV SSL, ORG SIGN…", Fixer.NOBODY)


def _usages(profile: CertificateProfile, use: Use) -> Iterator[ProfileFinding]:
    if use.offer not in (Offer.SERV_SSL, Offer.ORG_AUTH_CLI):
        return
    if profile.usages and "digitalSignature" not in profile.usages:
        yield ProfileFinding("PROFIL-USAGE", Level.FAIL, ("la clé ne peut pas servir à TLS", "the key cannot serve for TLS"),
                             ", ".join(profile.usages), "digitalSignature", Fixer.AUTHORITY)
    if profile.extended is None:
        if use.offer is Offer.SERV_SSL:
            yield ProfileFinding("PROFIL-EKU", Level.INFO, (
                "pas d'usages étendus : admis partout", "no extended usages: admitted everywhere"), "-", "serverAuth, clientAuth",
                Fixer.NOBODY)
        return
    missing = [one for one in ("serverAuth", "clientAuth") if one not in profile.extended]
    wanted = {"server": ["serverAuth"], "client": ["clientAuth"]}.get(use.eku, [])
    if len(missing) == 2 or any(one in missing for one in wanted):
        yield ProfileFinding("PROFIL-EKU", Level.FAIL, ("usages étendus refusés par le réglage `trust.eku`",
                                                        "extended usages refused by the setting `trust.eku`"),
                             ", ".join(profile.extended) or "-", ", ".join(wanted) or "serverAuth | clientAuth", Fixer.AUTHORITY)
    elif missing and use.offer is Offer.SERV_SSL:
        yield ProfileFinding("PROFIL-EKU", Level.WARN, (
            f"sans {missing[0]} : un opérateur strict peut le refuser dans ce rôle (F2.5)",
            f"without {missing[0]}: a strict operator may refuse it in this role (F2.5)"),
            ", ".join(profile.extended), "serverAuth, clientAuth", Fixer.AUTHORITY)


def _names(profile: CertificateProfile, use: Use) -> Iterator[ProfileFinding]:
    cn = profile.cn.lower()
    names = {one.lower() for one in profile.dns_names}
    if use.host and use.host.lower() not in {cn, *names}:
        yield ProfileFinding("PROFIL-NOM", Level.FAIL, ("ce n'est pas le nom annoncé (operator.hostname)",
                                                        "this is not the name announced (operator.hostname)"),
                             profile.cn or "?", use.host)
    if profile.offer is not Offer.SERV_SSL:
        return
    if not names:
        yield ProfileFinding("PROFIL-SAN", Level.INFO, (
            "pas de nom DNS alternatif : les logiciels récents ne lisent plus le CN (F3.12)",
            "no alternative DNS name: recent programs no longer read the CN (F3.12)"), "-", cn, Fixer.AUTHORITY)
    elif cn not in names:
        yield ProfileFinding("PROFIL-SAN", Level.WARN, ("le CN n'est pas parmi les noms DNS alternatifs",
                                                        "the CN is not among the alternative DNS names"),
                             ", ".join(sorted(names))[:200], cn, Fixer.AUTHORITY)
    if any("*" in one for one in names):
        yield ProfileFinding("PROFIL-JOKER", Level.WARN, ("nom générique : il ne désigne personne ici (§1.3)",
                                                          "wildcard: it names nobody here (§1.3)"),
                             ", ".join(sorted(names))[:200], cn)


def _subject(profile: CertificateProfile) -> Iterator[ProfileFinding]:
    name = profile.certificate.subject
    missing = [one for one in ("CN", "OU", "O", "ST", "C") if not value_of(name, one)]
    if missing and not profile.authority and profile.offer is not Offer.PERSON:
        yield ProfileFinding("PROFIL-SUJET", Level.WARN, (
            "attributs absents du sujet", "attributes missing from the subject"), ", ".join(missing), "C, ST, O, OU, CN",
            Fixer.AUTHORITY)
    if not profile.declared:
        yield ProfileFinding("PROFIL-DN", Level.FAIL, (
            "ce sujet ne peut pas s'écrire dans la liste blanche", "this subject cannot be written in the white list"),
            profile.cn or "?", "CN=…,OU=…")
    elif len(profile.declared) > DECLARED_LIMIT:
        yield ProfileFinding("PROFIL-DN", Level.WARN, ("ce sujet dépasse le champ du portail (F1.5)",
                                                       "this subject is over the portal's field (F1.5)"),
                             str(len(profile.declared)), str(DECLARED_LIMIT))
    if profile.authority:
        return
    for one in profile.subject:
        if one.warning[0]:
            yield ProfileFinding("PROFIL-OU" if one.attribute == "OU" else "PROFIL-SUJET", Level.WARN, one.warning,
                                 f"{one.attribute}={one.value}"[:200], "spec §3.4" if one.attribute == "OU" else "spec F3.12")


def _dates(profile: CertificateProfile, now: datetime) -> Iterator[ProfileFinding]:
    start, end = profile.certificate.not_valid_before_utc, profile.certificate.not_valid_after_utc
    seen = f"{start:%Y-%m-%d} → {end:%Y-%m-%d}"
    if now > end:
        yield ProfileFinding("PROFIL-EXPIRE", Level.FAIL, (
            "expiré : il ne se renouvelle plus, commandez-en un neuf", "expired: it cannot be renewed, order a new one"), seen,
            f"{now:%Y-%m-%d}")
    elif now < start:
        yield ProfileFinding("PROFIL-PAS-ENCORE", Level.FAIL, ("pas encore valable", "not valid yet"), seen, f"{now:%Y-%m-%d}")
    elif end - now <= RENEWAL:
        yield ProfileFinding("PROFIL-RENOUVELER", Level.WARN, (
            "à renouveler maintenant : ce n'est possible que tant qu'il est valable (F3.13)",
            "renew it now: it can be renewed only while it is valid (F3.13)"), seen, f"> {RENEWAL.days} j")
    if end - start > LIFE and not profile.authority:
        yield ProfileFinding("PROFIL-DUREE", Level.INFO, ("durée plus longue que les trois ans de l'IGC-Santé (F3.13)",
                                                          "longer life than the three years of IGC-Santé (F3.13)"), seen,
                             "3 ans", Fixer.NOBODY)


def _strength(profile: CertificateProfile) -> Iterator[ProfileFinding]:
    if profile.weak:
        yield ProfileFinding("PROFIL-CLE", Level.FAIL, ("clé que les opérateurs refusent", "key that operators refuse"),
                             profile.key, "RSA 2048-8192, P-256, P-384, P-521")
    if profile.signature not in ("sha256", "sha384", "sha512"):
        yield ProfileFinding("PROFIL-SIGNATURE", Level.FAIL, ("signature faible ou inconnue", "weak or unknown signature"),
                             profile.signature, "SHA-256, SHA-384, SHA-512", Fixer.AUTHORITY)
    if profile.critical_unknown:
        yield ProfileFinding("PROFIL-CRITIQUE", Level.FAIL, ("extension critique inconnue", "unknown critical extension"),
                             ", ".join(profile.critical_unknown)[:200], "-", Fixer.AUTHORITY)


def _revocation(profile: CertificateProfile) -> Iterator[ProfileFinding]:
    if not profile.crl_urls and not profile.ocsp_urls and profile.issuer.name != profile.cn:
        yield ProfileFinding("PROFIL-REVOCATION", Level.INFO, (
            "ne dit pas où se publie sa révocation ; nous ne lisons que nos propres adresses (trust.crl_urls)",
            "does not say where its revocation is published; we read our own addresses only (trust.crl_urls)"), "-", "CRL, OCSP",
            Fixer.NOBODY)
