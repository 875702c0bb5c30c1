"""The configuration as typed values: defaults live here and nowhere else.

`operator_config/operator.toml` (restart needed) and `operator_config/domains.toml` (reloadable). Paths are relative to
the folder that holds them. Units stand in names (`_seconds`, `_bytes`, `_hours`). Secrets are file references, never
values. Field descriptions feed the reference page and the error texts.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from mssante.config.base import Hostport, Section
from mssante.config.base import split_hostport as split_hostport
from mssante.config.directory import DirectorySection, PublicationSection
from mssante.config.documents import CitizenBridgeSection, DocumentsSection, HandoverSection, Hl7Section
from mssante.config.mailboxes import LifeSection, ProvisioningSection, SharingSection, SieveSection
from mssante.config.signin import DiscoverySection, PscSection, WebSection
from mssante.errors import InputFault
from mssante.model.address import normalise_domain

SmimeWish = Literal["never", "sign", "encrypt", "both"]
SaslName = Literal["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]
MainProtocol = Literal["imap", "submission", "managesieve", "ldap", "carddav", "directory", "web"]


class OperatorSection(Section):
    """Who we are."""

    name: str = Field(description="Nom court de l'opérateur, pour les journaux")
    hostname: str = Field(description="Nom annoncé en EHLO : le CN du certificat serveur")
    contact: str = Field(default="", description="Adresse du support, citée dans les refus")
    production: bool = Field(default=False, description="Refuse les certificats de TEST (catégorie 8x)")


class ListenSection(Section):
    """Where we listen, `address:port`; an empty value closes the door."""

    smtp: Hostport | Literal[""] = Field(default="0.0.0.0:25", description="Entre opérateurs, STARTTLS mutuel")
    submission: Hostport | Literal[""] = Field(default="0.0.0.0:587", description="Dépôt, STARTTLS")
    submissions: Hostport | Literal[""] = Field(default="0.0.0.0:465", description="Dépôt, TLS implicite")
    imap: Hostport | Literal[""] = Field(default="0.0.0.0:143", description="IMAP, STARTTLS")
    imaps: Hostport | Literal[""] = Field(default="0.0.0.0:993", description="IMAP, TLS implicite")
    metrics: Hostport | Literal[""] = Field(default="127.0.0.1:9464", description="Métriques, en clair, local")
    console: Hostport | Literal[""] = Field(default="", description="Page d'état, HTTPS")
    ldaps: Hostport | Literal[""] = Field(default="", description="Annuaire pour carnets d'adresses (LDAP, TLS implicite)")
    managesieve: Hostport | Literal[""] = Field(default="", description="Scripts Sieve des utilisateurs (RFC 5804, STARTTLS)")
    web: Hostport | Literal[""] = Field(
        default="", description="HTTPS des utilisateurs et des programmes : compte, CardDAV, API, SCIM, autoconfiguration")

    @field_validator("*")
    @classmethod
    def _port(cls, value: str) -> str:
        if value:
            split_hostport(value)
        return value


class SniSection(Section):
    """One certificate for the clients that ask for a name (SNI); any other name gets the door's own."""

    names: tuple[str, ...] = Field(min_length=1, max_length=100, description="Noms demandés, exacts")
    certificate: Path = Field(description="Certificat PEM, suivi de celui de son autorité")
    key: Path = Field(description="Sa clé privée, PEM sans mot de passe, mode 0600")
    operators: bool = Field(default=False, description="Aussi entre opérateurs, et non seulement pour IMAP, dépôt et console")

    @field_validator("names")
    @classmethod
    def _host_names(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(normalise_domain(value) for value in values)
        except InputFault as fault:
            raise ValueError(fault.public) from fault


class TlsSection(Section):
    """Our certificates. The operator pair serves both as server and as client between operators (F2.5)."""

    operator_certificate: Path = Path("../certs/mta.pem")
    operator_key: Path = Path("../certs/mta.key")
    client_certificate: Path | None = Field(default=None, description="IMAP et dépôt ; défaut : celui de l'opérateur")
    client_key: Path | None = None
    second_certificate: Path | None = Field(
        default=None, description="Même opérateur, autre type de clé (ECDSA à côté de RSA) : OpenSSL choisit selon le pair")
    second_key: Path | None = Field(default=None, description="Clé de `second_certificate` ; les deux ou aucune")
    next_certificate: Path | None = Field(
        default=None, description="Prochain certificat d'opérateur : lu et vérifié, servi à `next_from` ou par une bascule")
    next_key: Path | None = Field(default=None, description="Clé de `next_certificate` ; les deux ou aucune")
    next_from: AwareDatetime | None = Field(
        default=None, description="Instant, avec son fuseau, à partir duquel `next_certificate` est servi")
    session_seconds: int = Field(default=3600, ge=60, le=86400, description="Vie d'une session TLS qui peut être reprise")
    watch_seconds: float = Field(default=3, gt=0, description="Délai entre deux regards sur les fichiers de certificats")
    sni: tuple[SniSection, ...] = Field(default=(), description="Certificats choisis selon le nom demandé (SNI)")


class TrustSection(Section):
    """White list, certificates, revocation."""

    anchors: Path = Field(default=Path("../certs/anchors.pem"), description="Racines et AC émettrices IGC-Santé (PEM)")
    issuers: tuple[str, ...] = Field(default=("AC IGC-SANTE ELEMENTAIRE ORGANISATIONS",),
                                     description="CN des AC émettrices admises (ECO.1.1.10)")
    dn_mode: Literal["strict", "cn_ou", "cn"] = "cn_ou"
    eku: Literal["any", "server", "client"] = "any"
    whitelist_url: str = "https://espacedeconfiance.mssante.fr/listeblanchemssante.xml"
    whitelist_anchors: Path | None = Field(default=None, description="Ancres HTTPS de la liste ; par défaut `anchors`")
    whitelist_folder: Path = Path("../whitelist")
    whitelist_refresh_seconds: int = Field(default=3600, ge=1)
    whitelist_max_age_hours: int = Field(default=240, ge=1, description="Au-delà, plus aucun trafic entre opérateurs")
    whitelist_max_bytes: int = 64 * 1024 * 1024
    whitelist_shrink_percent: int = Field(default=10, ge=0, le=100)
    whitelist_changed_percent: int = Field(
        default=20, ge=0, le=100, description="Part des domaines qui changent de certificat d'un coup, au-delà : alarme")
    whitelist_joined_percent: int = Field(default=20, ge=0, le=100, description="Part de domaines nouveaux, au-delà : alarme")
    whitelist_gap_hours: int = Field(default=168, ge=1, description="Écart entre deux dates de génération, au-delà : alarme")
    whitelist_own_domain: Literal["hold", "warn"] = Field(
        default="hold", description="Liste qui retire un de nos domaines : attend un humain, ou alarme seulement")
    whitelist_keep_count: int = Field(default=60, ge=2, description="Listes gardées en fichier, au plus")
    whitelist_keep_days: int = Field(default=365, ge=1, description="Âge au-delà duquel un fichier de liste s'efface")
    signer_issuers: tuple[str, ...] = ("AC IGC-SANTE ELEMENTAIRE ORGANISATIONS",)
    signer_cns: tuple[str, ...] = Field(default=(), description="CN admis du signataire de la liste")
    signer_ous: tuple[str, ...] = Field(default=("318751275100020",), description="OU admis du signataire : le SIRET de l'ANS")
    signer_validity: Literal["load_time", "signing_time"] = "load_time"
    crl_urls: tuple[str, ...] = ("http://igc-sante.esante.gouv.fr/CRL/ACI-EL-ORG.crl",)
    crl_folder: Path = Path("../data/crl")
    crl_refresh_seconds: int = Field(default=3600, ge=1)
    crl_grace_seconds: int = Field(default=0, ge=0)
    crl_max_bytes: int = 50_000_000
    revocation: Literal["crl", "ocsp", "both"] = Field(
        default="crl", description="Ce qui prouve qu'un certificat n'est pas révoqué (ECO.1.1.6) ; both : les deux")
    ocsp_urls: dict[str, str] = Field(default_factory=dict, description="CN de l'AC émettrice -> adresse de son répondeur OCSP")
    ocsp_from_certificate: tuple[str, ...] = Field(
        default=(), description="Hôtes (http://hôte:port) dont l'adresse OCSP écrite dans un certificat peut être appelée")
    ocsp_hash: Literal["sha1", "sha256"] = Field(default="sha1", description="Empreinte du CertID demandé (pas une signature)")
    ocsp_nonce: Literal["required", "if_echoed"] = Field(
        default="if_echoed", description="Réponse sans notre nonce : refusée, ou admise si elle est récente")
    ocsp_max_age_seconds: int = Field(default=86400, ge=60, description="Âge admis d'une réponse sans nonce ou sans nextUpdate")
    ocsp_refresh_seconds: int = Field(default=900, ge=1, description="Une réponse en mémoire est redemandée au plus tard après")
    ocsp_grace_seconds: int = Field(default=0, ge=0, description="Temps de grâce après le nextUpdate d'une réponse bonne")
    ocsp_timeout_seconds: float = Field(default=5, gt=0, le=60, description="Temps laissé à un répondeur OCSP")


class StorageSection(Section):
    """Where mail is kept."""

    url: str = "sqlite:///../data/mssante.db"
    blobs: Path = Path("../data/blobs")
    inline_limit_bytes: int = Field(default=131072, ge=0, description="Corps gardés dans la base ; au-delà, fichier")
    reserve_bytes: int = Field(default=64 * 1024 * 1024, ge=0, description="En dessous, 452 : la réserve sert aux avis")


class LimitsSection(Section):
    """What one peer may ask for."""

    message_bytes: int = Field(default=30 * 1024 * 1024, ge=65536)
    full_mailbox: Literal["temporary", "permanent"] = Field(
        default="temporary", description="Refus d'une boîte au-dessus de son quota : 452 4.2.2 ou 552 5.2.2")
    mailbox_seconds: float = Field(
        default=30, ge=1, le=300,
        description="Délai où un changement de boîte fait par une commande agit sur l'opérateur en marche")
    recipients: int = Field(default=200, ge=1)
    connections: int = 2000
    connections_per_address: int = 200
    handshake_seconds: float = 10
    command_seconds: float = 300
    data_seconds: float = 600
    session_commands: int = 20000
    errors_per_session: int = 20
    received_hops: int = 50


class LoginSection(Section):
    """How users log in (IMAP, dépôt), and how much of IMAP one of them may use."""

    mechanisms: tuple[SaslName, ...] = Field(
        default=("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"),
        description="Mécanismes SASL admis ; chacun n'est annoncé que s'il peut servir")
    client_anchors: Path | None = Field(default=None, description="AC des certificats demandés aux clients ; vide : aucun")
    certificates: dict[str, str] = Field(
        default_factory=dict, description="Empreinte SHA-256 d'un certificat client -> login (EXTERNAL)")
    main_password: tuple[MainProtocol, ...] = Field(
        default=("imap", "submission", "managesieve", "ldap", "carddav", "directory", "web"),
        description="Ce que le mot de passe principal d'un compte sans second facteur ouvre, outre les pages du compte")
    main_password_with_factor: tuple[MainProtocol, ...] = Field(
        default=(), description="La même chose avec un second facteur ; vide : les pages du compte seules (sûr)")
    connections_per_account: int = Field(default=100, ge=1, description="Connexions IMAP d'un compte")
    login_seconds: float = Field(default=60, gt=0, description="Temps pour s'authentifier")
    failures_per_connection: int = Field(default=3, ge=1, description="Échecs d'une connexion avant fermeture")
    commands_per_second: int = Field(default=2000, ge=1, description="Commandes IMAP par seconde, au-delà elles attendent")
    commands_at_once: int = Field(default=20000, ge=1, description="Commandes d'avance sur ce rythme")
    account_commands_per_second: int = Field(default=5000, ge=1, description="La même chose, pour un compte entier")
    account_commands_at_once: int = Field(default=50000, ge=1, description="Commandes d'avance d'un compte entier")

    @field_validator("certificates")
    @classmethod
    def _fingerprints(cls, value: dict[str, str]) -> dict[str, str]:
        for fingerprint in value:
            if not re.fullmatch(r"(?:[0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}", fingerprint):
                raise ValueError("a SHA-256 fingerprint is 64 hexadecimal digits")
        return value


class RelaySection(Section):
    """Toward the other operators."""

    dns_servers: tuple[Hostport, ...] = Field(default=(), description="Résolveurs ; vide : ceux du système")
    routes: dict[str, Hostport] = Field(default_factory=dict, description="Routes fixes domaine -> hôte:port (F2.10)")
    smtp_port: int = 25
    smtp_srv: bool = Field(default=False, description="Demande le port à _smtp._tcp.<hôte MX> : bancs sans port 25")
    allow_private: bool = Field(default=False, description="Admet les adresses privées et locales des MX")
    first_retry_seconds: int = Field(default=300, ge=1)
    max_retry_seconds: int = Field(default=14400, ge=1)
    delay_notice_hours: float = 4
    expiry_hours: float = 48
    concurrency_per_destination: int = Field(default=10, ge=1)
    lease_seconds: int = Field(default=3600, ge=2400, description="Au-delà de la plus longue session (1800 s)")
    size_limits: dict[str, int] = Field(default_factory=lambda: {"patient.mssante.fr": 25_000_000},
                                        description="Taille admise par domaine (F2.16)")


class HoldsSection(Section):
    """Hold instead of bounce: how long queued mail waits while the trust space is unwell; 0: not held for that cause."""

    list_too_old_hours: float = Field(default=96, ge=0, description="Liste blanche trop ancienne")
    crl_expired_hours: float = Field(default=96, ge=0, description="Révocation inconnue chez nous")
    peer_certificate_hours: float = Field(default=96, ge=0, description="Certificat d'un destinataire non admis")
    domain_left_hours: float = Field(default=72, ge=0, description="Domaine en file qui a quitté la liste")
    own_certificate_hours: float = Field(default=96, ge=0, description="Notre certificat expiré, ou refusé par un opérateur")
    manual_hours: float = Field(default=96, gt=0, description="Retenue demandée par `mssante hold add`, sans --hours")
    tail_hours: float = Field(default=12, ge=0, description="Vie assurée au courrier après la fin d'une retenue")
    probe_seconds: float = Field(default=900, gt=0, description="Délai entre deux essais de vérification pendant une retenue")


class ImapSection(Section):
    """Reading mail."""

    other_users_prefix: str = Field(
        default="Partages", max_length=32,
        description="Premier niveau des dossiers d'autrui (ASCII) ; un dossier propre de ce nom est masqué")
    message_limit: int = Field(default=100_000, ge=0, description="Messages qu'une commande traite au plus, annoncé ; 0 : non")
    tombstones_kept: int = Field(
        default=50_000, ge=1000, description="Messages retirés dont un dossier se souvient, pour les clients qui reviennent")
    literal_minus: bool = Field(default=False, description="Annoncer LITERAL- au lieu de LITERAL+ (RFC 7888)")
    refuse_raw_headers: bool = Field(
        default=True, description="Refuser les en-têtes 8 bits des clients sans UTF8=ACCEPT, comme le veut la RFC 9755")
    append_messages: int = Field(default=1000, ge=1, description="Messages d'un même APPEND")
    notify_folders: int = Field(default=1000, ge=1, description="Dossiers que NOTIFY surveille pour une session")
    metadata_value_bytes: int = Field(default=16384, ge=1024, le=60000, description="Octets d'une annotation (METADATA)")
    metadata_entries: int = Field(default=1000, ge=10, description="Annotations d'une boîte et de ses dossiers, par compte")

    @field_validator("other_users_prefix")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.upper() == "INBOX" or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", value):
            raise ValueError("one level of a folder name in ASCII, not INBOX")
        return value


class SearchSection(Section):
    """Full-text index of SEARCH TEXT and BODY."""

    enabled: bool = Field(default=True, description="Tenir un index plein texte ; sinon chaque recherche relit les messages")
    folder: Path = Field(default=Path("../data/search"), description="Dossier de l'index : même protection que le courrier")
    read_pdf: bool = Field(default=True, description="Chercher aussi dans le texte des PDF joints")
    message_seconds: float = Field(default=10, gt=0, description="Temps donné aux pièces jointes d'un message")
    linger_seconds: int = Field(default=60, ge=0, description="Attente d'autres messages avant que l'indexeur se retire")
    sweep_minutes: int = Field(default=60, ge=1, description="Comparaison avec le courrier : les textes effacés quittent l'index")


class SmimeSection(Section):
    """S/MIME done by the operator for its mailboxes (docs/smime.md); the wishes of a mailbox: `mssante smime policy`."""

    enabled: bool = Field(default=False, description="Faire du S/MIME ; sinon le courrier passe tel quel, sans examen")
    outgoing: SmimeWish = Field(default="never", description="Au dépôt, pour les boîtes et domaines sans autre règle")
    incoming: Literal["off", "verify", "open"] = Field(
        default="verify", description="À l'arrivée : rien, vérifier les signatures, ou aussi ouvrir ce qui est chiffré")
    routes: dict[str, SmimeWish] = Field(
        default={"patient.mssante.fr": "never"},
        description="Par domaine destinataire ; `never` l'emporte sur tout ; le domaine des usagers : `never` sauf écrit ici")
    fallback: Literal["clear", "refuse"] = Field(
        default="clear", description="Clé ou certificat manquant : envoyer moins protégé, motif écrit, ou refuser le dépôt")
    cipher: Literal["aes256-gcm", "aes128-gcm", "aes256-cbc", "aes128-cbc"] = Field(
        default="aes256-cbc", description="Chiffrement écrit ; tous sont lus ; GCM si personne n'ouvre avec Thunderbird")
    oaep: bool = Field(default=True, description="RSA-OAEP plutôt que PKCS#1 v1.5 pour les clés RSA des destinataires")
    opaque: bool = Field(default=False, description="Signature opaque plutôt que lisible sans S/MIME (multipart/signed)")
    issuers: tuple[str, ...] = Field(default=("AC IGC-SANTE ELEMENTAIRE ORGANISATIONS",), min_length=1,
                                     description="CN des AC admises pour les certificats S/MIME (§3.3)")
    keys_folder: Path = Field(default=Path("../certs/smime"), description="Clés des boîtes : fichiers 0600 que nomme `file:NOM`")
    originals_folder: str = Field(default="Chiffrés", min_length=1, max_length=100,
                                  description="Dossier IMAP où est gardé l'original d'un message ouvert, créé au besoin")
    learnt_certificates: int = Field(
        default=5, ge=0, le=50, description="Certificats appris du courrier signé, par adresse ; 0 : aucun")

    @field_validator("originals_folder")
    @classmethod
    def _folder_name(cls, value: str) -> str:
        if value.upper() == "INBOX" or re.search(r"[/%*\x00-\x1f\x7f]", value):
            raise ValueError("one folder name, not INBOX, without / % *")
        return value


class LogSection(Section):
    """Structured log on standard output: JSON lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class OperatorConfig(Section):
    """`operator.toml`."""

    operator: OperatorSection
    listen: ListenSection = Field(default_factory=ListenSection)
    tls: TlsSection = Field(default_factory=TlsSection)
    trust: TrustSection = Field(default_factory=TrustSection)
    storage: StorageSection = Field(default_factory=StorageSection)
    limits: LimitsSection = Field(default_factory=LimitsSection)
    login: LoginSection = Field(default_factory=LoginSection)
    relay: RelaySection = Field(default_factory=RelaySection)
    holds: HoldsSection = Field(default_factory=HoldsSection)
    imap: ImapSection = Field(default_factory=ImapSection)
    search: SearchSection = Field(default_factory=SearchSection)
    smime: SmimeSection = Field(default_factory=SmimeSection)
    directory: DirectorySection = Field(default_factory=DirectorySection)
    publication: PublicationSection = Field(default_factory=PublicationSection)
    life: LifeSection = Field(default_factory=LifeSection)
    provisioning: ProvisioningSection = Field(default_factory=ProvisioningSection)
    sharing: SharingSection = Field(default_factory=SharingSection)
    sieve: SieveSection = Field(default_factory=SieveSection)
    psc: PscSection = Field(default_factory=PscSection)
    web: WebSection = Field(default_factory=WebSection)
    discovery: DiscoverySection = Field(default_factory=DiscoverySection)
    documents: DocumentsSection = Field(default_factory=DocumentsSection)
    citizen: CitizenBridgeSection = Field(default_factory=CitizenBridgeSection)
    hl7: Hl7Section = Field(default_factory=Hl7Section)
    handover: HandoverSection = Field(default_factory=HandoverSection)
    log: LogSection = Field(default_factory=LogSection)


class DomainSection(Section):
    """One domain that we host: it must stand in the white list, bound to our certificate."""

    name: str
    description: str = ""

    @field_validator("name")
    @classmethod
    def _host_name(cls, value: str) -> str:
        try:
            return normalise_domain(value)
        except InputFault as fault:
            raise ValueError(fault.public) from fault


class CitizenSection(Section):
    """The citizen domain (spec §9)."""

    domain: str = "patient.mssante.fr"
    check_ins: Literal["reject", "warn", "off"] = "reject"


class DomainsConfig(Section):
    """`domains.toml`."""

    domain: tuple[DomainSection, ...] = Field(min_length=1)
    citizen: CitizenSection = Field(default_factory=CitizenSection)

    @model_validator(mode="after")
    def _distinct(self) -> DomainsConfig:
        names = [d.name for d in self.domain]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"domain {name} stands twice")
        return self


class Config(Section):
    """Both files, and the folder against which their paths are resolved."""

    folder: Path
    operator: OperatorConfig
    domains: DomainsConfig

    def path(self, value: Path) -> Path:
        """Give the absolute form of a configured path."""
        return (self.folder / value).resolve()

    @property
    def storage_url(self) -> str:
        """The database URL with its SQLite path made absolute."""
        url = self.operator.storage.url
        lead = "sqlite:///"
        return lead + str(self.path(Path(url[len(lead):]))) if url.startswith(lead) else url
