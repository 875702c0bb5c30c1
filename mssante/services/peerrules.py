"""The rules by which another operator's door is checked: numbers, titles, sources, who must fix it, and how. Data only.

A number, once published, keeps its meaning. `peercheck` judges; `docs/rules.md` and the reports print these words.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from mssante.trust.rules import Who

Words = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PeerRule:
    """One rule. source: requirement of the trust space or standard; title and remedy: (French, English)."""

    number: str
    source: str
    who: Who
    title: Words
    remedy: Words


_PEER, _US, _ANS = Who.PEER, Who.US, Who.ANS

_ROWS: tuple[tuple[str, str, Who, Words, Words], ...] = (
    ("P-01", "F2.9", _ANS, ("domaine dans la liste blanche", "domain in the white list"),
     ("faire inscrire le domaine par l'ANS, ou corriger son nom", "have ANS list the domain, or mend its name")),
    ("P-02", "F2.10, RFC 5321 §5.1", _PEER, ("serveurs du domaine (MX)", "mail hosts of the domain (MX)"),
     ("publier un MX qui a une adresse", "publish an MX that has an address")),
    ("P-03", "spec §2.1", _PEER, ("connexion TCP", "TCP connection"),
     ("ouvrir le port à nos adresses, démarrer le service", "open the port to our addresses, start the service")),
    ("P-04", "RFC 5321 §3.1", _PEER, ("accueil", "greeting"), ("répondre 220 en quelques secondes", "answer 220 within seconds")),
    ("P-05", "RFC 5321 §4.1.1.1", _PEER, ("EHLO en clair", "EHLO in clear"), ("accepter EHLO", "accept EHLO")),
    ("P-06", "RFC 3207 §4", _PEER, ("STARTTLS annoncé", "STARTTLS announced"),
     ("activer STARTTLS : rien ne circule en clair entre opérateurs", "turn STARTTLS on: nothing goes in clear here")),
    ("P-07", "RFC 3207 §4", _PEER, ("commande de courrier en clair refusée", "mail command in clear refused"),
     ("répondre 530 5.7.0 à MAIL avant STARTTLS", "answer 530 5.7.0 to MAIL before STARTTLS")),
    ("P-08", "RFC 3207 §4.2", _PEER, ("commande glissée derrière STARTTLS jetée", "command slipped behind STARTTLS thrown away"),
     ("mettre le serveur à jour : il exécute dans TLS ce qui est venu en clair",
      "update the server: it runs inside TLS what came in clear")),
    ("P-09", "F2.3, F2.6", _PEER, ("poignée de main TLS", "TLS handshake"),
     ("servir TLS 1.2 (ECDHE, AEAD) ou 1.3", "serve TLS 1.2 (ECDHE, AEAD) or 1.3")),
    ("P-10", "F2.3", _PEER, ("TLS 1.3 proposé", "TLS 1.3 offered"), ("activer TLS 1.3", "turn TLS 1.3 on")),
    ("P-11", "F2.3", _PEER, ("TLS 1.2 (ECDHE, AEAD) proposé", "TLS 1.2 (ECDHE, AEAD) offered"),
     ("activer TLS 1.2 avec ECDHE et AEAD : des opérateurs n'ont que lui",
      "turn on TLS 1.2 with ECDHE and AEAD: some operators have nothing else")),
    ("P-12", "F2.3", _PEER, ("TLS 1.1 refusé", "TLS 1.1 refused"), ("interdire TLS 1.1", "forbid TLS 1.1")),
    ("P-13", "F2.3", _PEER, ("TLS 1.0 refusé", "TLS 1.0 refused"), ("interdire TLS 1.0", "forbid TLS 1.0")),
    ("P-14", "F2.6", _PEER, ("suites CBC refusées", "CBC suites refused"), ("retirer les suites CBC", "take CBC suites away")),
    ("P-15", "F2.6", _PEER, ("suites sans confidentialité persistante refusées", "suites without forward secrecy refused"),
     ("retirer l'échange de clé RSA", "take RSA key exchange away")),
    ("P-16", "RFC 8446 §4.4.2", _PEER, ("chaîne de certificats envoyée", "certificate chain sent"),
     ("ajouter l'autorité émettrice après le certificat", "put the issuing authority after the certificate")),
    ("P-17", "ECO.1.1.10", _PEER, ("autorité émettrice", "issuing authority"),
     ("servir un certificat d'une autorité admise (IGC-Santé Organisations)", "serve a certificate of an admitted authority")),
    ("P-18", "spec §2.2", _PEER, ("dates du certificat", "certificate dates"),
     ("renouveler le certificat", "renew the certificate")),
    ("P-19", "F2.5", _PEER, ("usages et clé du certificat", "certificate usages and key"),
     ("demander une offre SERV SSL", "ask for a SERV SSL certificate")),
    ("P-20", "ECO.1.1.6", _PEER, ("révocation", "revocation"),
     ("remplacer le certificat révoqué ; si l'état est inconnu, vérifier nos CRL",
      "replace the revoked certificate; if the state is unknown, check our CRLs")),
    ("P-21", "F1.18", _PEER, ("certificat lié au domaine par la liste", "certificate bound to the domain by the list"),
     ("servir le certificat inscrit, ou faire inscrire celui-ci par l'ANS",
      "serve the listed certificate, or have ANS list this one")),
    ("P-22", "F2.11", _PEER, ("nom annoncé égal au CN", "announced name is the CN"),
     ("annoncer en EHLO le CN du certificat", "announce the certificate's CN in EHLO")),
    ("P-23", "F3.12", _PEER, ("nom du serveur dans le certificat", "host name in the certificate"),
     ("un MX du nom du certificat évite des refus d'opérateurs stricts",
      "an MX of the certificate's name avoids refusals by strict operators")),
    ("P-24", "spec §2.2", _PEER, ("certificat client exigé", "client certificate required"),
     ("exiger un certificat client (sinon n'importe qui envoie)", "require a client certificate (else anybody sends)")),
    ("P-25", "ECO.1.1.10", _PEER, ("certificat d'une autorité inconnue refusé", "certificate of an unknown authority refused"),
     ("vérifier la chaîne du client contre l'IGC-Santé", "verify the client's chain against IGC-Santé")),
    ("P-26", "F1.18", _US, ("notre certificat accepté", "our certificate accepted"),
     ("vérifier notre ligne de la liste et notre certificat (mssante check), puis joindre son support avec sa réponse",
      "check our row of the list and our certificate (mssante check), then call its support with its reply")),
    ("P-27", "F1.18", _US, ("notre domaine accepté comme expéditeur", "our domain accepted as sender"),
     ("vérifier que la liste lie notre domaine à notre certificat", "check that the list binds our domain to our certificate")),
    ("P-28", "F2.16, RFC 1870", _PEER, ("SIZE annoncé", "SIZE announced"),
     ("annoncer SIZE, d'au moins 25 Mo", "announce SIZE, of 25 MB at least")),
    ("P-29", "RFC 2920", _PEER, ("PIPELINING annoncé", "PIPELINING announced"), ("activer PIPELINING", "turn PIPELINING on")),
    ("P-30", "RFC 6152", _PEER, ("8BITMIME annoncé", "8BITMIME announced"),
     ("activer 8BITMIME : le contenu signé ne se convertit pas", "turn 8BITMIME on: signed content cannot be converted")),
    ("P-31", "F2.14, RFC 3461", _PEER, ("DSN annoncé", "DSN announced"),
     ("activer DSN : c'est l'accusé de réception MSSanté", "turn DSN on: it is the MSSanté receipt")),
    ("P-32", "RFC 2034", _PEER, ("ENHANCEDSTATUSCODES annoncé", "ENHANCEDSTATUSCODES announced"),
     ("activer les codes étendus", "turn enhanced codes on")),
    ("P-33", "RFC 3207 §4.2", _PEER, ("STARTTLS absent une fois dans TLS", "STARTTLS absent once inside TLS"),
     ("ne plus annoncer STARTTLS dans TLS", "announce STARTTLS no more inside TLS")),
    ("P-34", "RFC 5321 §4.5.3.2", _PEER, ("temps de réponse", "answer times"),
     ("chercher ce qui ralentit : DNS inverse, listes, charge", "look for what is slow: reverse DNS, lists, load")),
)

PEER_RULES = MappingProxyType({row[0]: PeerRule(*row) for row in _ROWS})
