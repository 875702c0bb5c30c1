"""Checks that look at two keys at once, or at what a text means: run after the model accepted both files.

Gives problems as values (key, value, what is wrong, remedy); `load.py` turns them into lines. Never opens a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

from mssante.config.model import DomainsConfig, ListenSection, OperatorConfig, RelaySection, TrustSection, split_hostport
from mssante.config.signin import PscSection
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.address import normalise_domain

Problem = tuple[str, str, str, str]  # key, value, what is wrong, remedy


def cross_problems(section: OperatorConfig | DomainsConfig) -> list[Problem]:
    """Give the problems of one file, none when it can be used."""
    if isinstance(section, DomainsConfig):
        return list(_host("citizen.domain", section.citizen.domain))
    return [*_host("operator.hostname", section.operator.hostname), *_doors(section.listen), *_pairs(section),
            *_token_keys(section),
            *_urls(section), *_revocation(section.trust), *_relay(section.relay), *_psc(section.psc),
            *(problem for domain in section.smime.routes for problem in _host(f'smime.routes."{domain}"', domain))]


def _host(key: str, value: str) -> Iterator[Problem]:
    try:
        normalise_domain(value)
    except InputFault:
        yield (key, repr(value), say("ce n'est pas un nom de domaine", "this is not a domain name"),
               say("écrivez un nom comme mta.exemple.mssante.fr", "write a name such as mta.example.mssante.fr"))


def _doors(listen: ListenSection) -> Iterator[Problem]:
    """Two doors cannot share one address; port 0 (any free port) may stand many times."""
    seen: dict[str, str] = {}
    for name in ListenSection.model_fields:
        address = getattr(listen, name)
        if not address or split_hostport(address)[1] == 0:
            continue
        if address in seen:
            yield (f"listen.{name}", repr(address),
                   say(f"déjà pris par listen.{seen[address]}", f"taken by listen.{seen[address]} already"),
                   say("donnez à chaque porte son adresse:port, ou \"\" pour la fermer",
                       "give each door its own address:port, or \"\" to close it"))
        seen.setdefault(address, name)


def _pairs(section: OperatorConfig) -> Iterator[Problem]:
    tls = section.tls
    names = [(f"{pair}_{one}", f"{pair}_{other}") for pair in ("client", "second", "next")
             for one, other in (("certificate", "key"), ("key", "certificate"))]
    for present, absent in names:
        if getattr(tls, present) is not None and getattr(tls, absent) is None:
            yield (f"tls.{absent}", "", say(f"clé absente alors que tls.{present} est donnée",
                                            f"key is missing though tls.{present} is given"),
                   say("donnez les deux, ou aucune", "give both, or none"))
    if tls.next_from is not None and tls.next_certificate is None:
        yield ("tls.next_from", str(tls.next_from), say("rien à servir à cette date", "nothing to serve from then on"),
               say("donnez tls.next_certificate et tls.next_key", "give tls.next_certificate and tls.next_key"))
    seen: set[str] = set()
    for name in (name for one in tls.sni for name in one.names):
        if name in seen:
            yield ("tls.sni.names", repr(name), say("ce nom est donné deux fois", "this name stands twice"),
                   say("gardez un seul certificat par nom", "keep one certificate for each name"))
        seen.add(name)


def _token_keys(section: OperatorConfig) -> Iterator[Problem]:
    """Python's `ssl` reads keys of TLS from PEM files only: a token's name there would be taken for a path."""
    tls = section.tls
    keys = [(f"tls.{name}", getattr(tls, name)) for name in ("operator_key", "client_key", "second_key", "next_key")]
    for key, value in (*keys, *(("tls.sni.key", one.key) for one in tls.sni)):
        if str(value).lower().startswith("pkcs11:"):
            yield (key, "pkcs11:…", say("une clé de TLS ne peut pas rester dans un jeton", "a TLS key cannot stay in a token"),
                   say("donnez un fichier PEM en mode 0600 ; les clés S/MIME, elles, peuvent être dans un jeton "
                       "(docs/certificates.md)",
                       "give a PEM file, mode 0600; S/MIME keys can be in a token (docs/certificates.md)"))


def _urls(section: OperatorConfig) -> Iterator[Problem]:
    """The list comes over HTTPS against pinned anchors (RQ-DL); CRLs are signed and published over HTTP."""
    if not section.trust.whitelist_url.startswith("https://"):
        yield ("trust.whitelist_url", repr(section.trust.whitelist_url), say("ce n'est pas une adresse https",
                                                                            "this is not an https address"),
               say("écrivez https://…", "write https://…"))
    for rank, url in enumerate(section.trust.crl_urls, 1):
        if not url.startswith(("http://", "https://")):
            yield (f"trust.crl_urls#{rank}", repr(url), say("ce n'est pas une adresse http", "this is not an http address"),
                   say("écrivez http://… ou https://…", "write http://… or https://…"))


def _revocation(trust: TrustSection) -> Iterator[Problem]:
    """A policy needs something to ask, and addresses that mean one host."""
    if trust.revocation != "crl" and not trust.ocsp_urls and not trust.ocsp_from_certificate:
        yield ("trust.revocation", trust.revocation,
               say("aucun répondeur OCSP n'est configuré", "no OCSP responder is configured"),
               say("écrivez trust.ocsp_urls (CN de l'AC = \"http://…\") ou trust.ocsp_from_certificate",
                   "write trust.ocsp_urls (CN of the authority = \"http://…\") or trust.ocsp_from_certificate"))
    for name, url in trust.ocsp_urls.items():
        if not url.startswith(("http://", "https://")):
            yield (f'trust.ocsp_urls."{name}"', repr(url), say("ce n'est pas une adresse http", "this is not an http address"),
                   say("écrivez http://…", "write http://…"))
    for rank, url in enumerate(trust.ocsp_from_certificate, 1):
        if not re.fullmatch(r"http://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?/?", url):
            yield (f"trust.ocsp_from_certificate#{rank}", repr(url),
                   say("ce n'est pas un hôte", "this is not a host"),
                   say("écrivez http://hôte ou http://hôte:port, en minuscules, sans chemin",
                       "write http://host or http://host:port, lower-case, without path"))


def _psc(psc: PscSection) -> Iterator[Problem]:
    """Tokens need an issuer over https, clients that are admitted, and a secret to be asked about with."""
    if psc.environment == "off":
        return
    if psc.environment == "custom" and not psc.issuer:
        yield ("psc.issuer", "", say("absent alors que psc.environment = custom", "missing though psc.environment = custom"),
               say("écrivez l'émetteur exact des jetons", "write the exact issuer of tokens"))
    for name in ("issuer", "discovery_url"):
        value = getattr(psc, name)
        if value and not value.startswith("https://"):
            yield (f"psc.{name}", repr(value), say("ce n'est pas une adresse https", "this is not an https address"),
                   say("écrivez https://…", "write https://…"))
    if not psc.audiences:
        yield ("psc.audiences", "[]", say("aucun logiciel n'est admis", "no client is admitted"),
               say("nommez les client_id admis, ou [\"*\"]", "name the client_id admitted, or [\"*\"]"))
    if psc.introspection and not (psc.client_id and psc.client_secret_file):
        yield ("psc.introspection", "true", say("sans psc.client_id ou psc.client_secret_file",
                                               "without psc.client_id or psc.client_secret_file"),
               say("donnez les deux", "give both"))


def _relay(relay: RelaySection) -> Iterator[Problem]:
    if relay.first_retry_seconds > relay.max_retry_seconds:
        yield ("relay.first_retry_seconds", str(relay.first_retry_seconds),
               say(f"plus que relay.max_retry_seconds = {relay.max_retry_seconds}",
                   f"above relay.max_retry_seconds = {relay.max_retry_seconds}"),
               say("baissez le premier délai ou augmentez le second", "lower the first delay or raise the second"))
    for rank, server in enumerate(relay.dns_servers, 1):
        try:
            host, _ = split_hostport(server)
            ip_address(host)
        except ValueError:
            yield (f"relay.dns_servers#{rank}", repr(server), say("ce n'est pas une adresse IP avec son port",
                                                                 "this is not an IP address with its port"),
                   say("écrivez 192.0.2.53:53 ou [2001:db8::53]:53", "write 192.0.2.53:53 or [2001:db8::53]:53"))
    for domain, route in relay.routes.items():
        yield from _host(f'relay.routes."{domain}"', domain)
        try:
            split_hostport(route)
        except ValueError:
            yield (f'relay.routes."{domain}"', repr(route), say("port au-delà de 65535", "port is above 65535"),
                   say("écrivez un port de 1 à 65535", "write a port from 1 to 65535"))
    for domain in relay.size_limits:
        yield from _host(f'relay.size_limits."{domain}"', domain)
