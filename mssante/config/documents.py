"""Sections about structured documents and those who bring them: checks, twins, interfaces, the citizens' bridge.

Defaults live here and nowhere else; `config.model` puts these sections into `operator.toml`.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationInfo, field_validator, model_validator

from mssante.config.base import Hostport, Section


class DocumentsSection(Section):
    """Structured documents (CDA in IHE_XDM.ZIP): checks before they leave, readable twins of what arrives."""

    preflight: Literal["off", "warn", "block"] = Field(
        default="warn", description="Contrôle avant départ : rien, avertir l'auteur, ou refuser le dépôt")
    rules_directory: Path | None = Field(
        default=None, description="Dossier des schémas et schématrons de l'ANS, qui ne sont pas livrés avec le programme")
    rules_cache: Path = Field(
        default=Path("../data/rules"), description="Dossier où les règles préparées sont gardées ; il se refait de lui-même")
    preflight_report: Literal["errors", "all"] = Field(
        default="errors", description="Rapport à l'auteur : pour des erreurs, ou aussi pour de simples avertissements")
    preflight_seconds: float = Field(default=20.0, ge=1, le=300, description="Temps du contrôle d'un message, au plus")
    twin: Literal["off", "companion", "folder", "web"] = Field(
        default="off", description="Jumeau lisible des documents reçus : message compagnon, dossier à part, ou page web")
    twin_folder: str = Field(default="Documents lisibles", min_length=1, max_length=100, pattern=r"^[^/\\*%\x00-\x1f]+$",
                             description="Dossier des jumeaux quand `twin` vaut `folder`")
    workers: int = Field(default=1, ge=1, le=16, description="Processus de travail pour les contrôles et les PDF")
    worker_memory_bytes: int = Field(
        default=2_000_000_000, ge=256_000_000, le=64_000_000_000, description="Mémoire d'un processus de travail, au plus")
    worker_seconds: float = Field(default=30.0, ge=1, le=600, description="Temps d'un travail, au plus")


class CitizenBridgeSection(Section):
    """Exchanges with citizens (spec §9); the domain and the check of matricules stand in `domains.toml`, `[citizen]`."""

    role: Literal["bridge", "operator"] = Field(
        default="bridge", description="bridge : écrire aux usagers ; operator : être aussi l'opérateur de leurs boîtes")
    enforce_thread: bool = Field(
        default=False, description="Refuser ici la réponse d'un usager à qui nul n'a écrit (le service national le fait)")
    senders: tuple[Literal["PER", "ORG", "APP", "CAB"], ...] = Field(
        default=("PER", "ORG", "APP", "CAB"), description="Sortes de boîtes qui peuvent écrire aux usagers")
    max_bytes: int = Field(default=25_000_000, ge=100_000, le=1_000_000_000,
                           description="Taille d'un message à un usager, au plus, en octets")
    other_patient: Literal["refuse", "warn"] = Field(
        default="refuse", description="Document joint d'un autre patient que l'usager destinataire : refuser, ou seulement noter")
    open_boxes: tuple[str, ...] = Field(
        default=(), max_length=1000, description="Boîtes auxquelles un usager peut écrire le premier (officines)")
    keep_days: int = Field(default=400, ge=30, le=3650, description="Vie d'un échange sans message, en jours")
    bounces: tuple[str, ...] = Field(
        default=(), max_length=100,
        description="Retours du service national, avant ceux du programme : `cause: expression`, cause closed, unknown, too_big "
                    "ou no_exchange")
    returns: Literal["mail", "smtp"] = Field(
        default="mail", description="Rôle operator : rendre par un message (comme le service national), ou refuser au RCPT")
    page: bool = Field(default=True, description="Rôle operator : servir la page de l'usager, /usager, à la porte listen.web")
    portal_key_file: Path | None = Field(
        default=None, description="Clé partagée avec le portail de l'établissement, qui ouvre la page à ses usagers")
    portal_origins: tuple[str, ...] = Field(
        default=(), max_length=20, description="Origines du portail (https://portail.exemple.fr) d'où ses jetons sont admis")
    code_minutes: int = Field(default=15, ge=1, le=1440, description="Vie d'un code de connexion donné à un usager, en minutes")
    session_minutes: int = Field(default=30, ge=5, le=480, description="Vie d'une session de la page de l'usager, en minutes")
    attachment_bytes: int = Field(default=5_000_000, ge=10_000, le=7_000_000,
                                  description="Pièces jointes de la réponse d'un usager, en tout, en octets")

    @field_validator("bounces")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            cause, colon, pattern = one.partition(":")
            if not colon or cause.strip() not in ("closed", "unknown", "too_big", "no_exchange") or not 2 < len(one) < 500:
                raise ValueError("`cause: expression`, cause closed, unknown, too_big ou no_exchange")
            try:
                re.compile(pattern)
            except re.error as fault:
                raise ValueError(f"expression : {fault}") from fault
        return value


class Hl7Application(Section):
    """One application of the hospital: what it may send, and where it is given messages."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$", description="Nom court, stable : il identifie l'interface")
    mailbox: str = Field(min_length=3, max_length=254, description="Boîte applicative qui envoie et qui reçoit")
    sending_application: str = Field(min_length=1, max_length=180, description="MSH-3 de ses messages")
    sending_facility: str = Field(default="", max_length=180, description="MSH-4 de ses messages ; vide : tous")
    networks: tuple[str, ...] = Field(default=(), description="Réseaux d'où elle se connecte (CIDR)")
    certificates: tuple[str, ...] = Field(default=(), description="Empreintes SHA-256 de ses certificats clients, en hexadécimal")
    subjects: tuple[str, ...] = Field(
        default=(), max_length=20, description="Noms (DN) de ses certificats clients ; survivent à leur renouvellement")
    connect: Hostport | Literal[""] = Field(default="", description="Où lui donner des messages (hôte:port) ; vide : nulle part")
    connect_tls: bool = Field(default=False, description="TLS vers l'application")
    connect_authorities: Path | None = Field(default=None, description="Autorités (PEM) de l'application, si connect_tls")
    connect_name: str = Field(default="", max_length=253, description="Nom attendu dans son certificat ; vide : celui de connect")
    connect_certificate: Path | None = Field(default=None, description="Certificat client (PEM) à lui montrer, s'il faut")
    connect_key: Path | None = Field(default=None, description="Clé (PEM) de connect_certificate")
    deliver: bool = Field(default=False, description="Donner en MDM les documents reçus dans la boîte")
    charset: Literal["UNICODE UTF-8", "8859/15"] = Field(default="UNICODE UTF-8", description="MSH-18 de ce qui lui est donné")
    structure_name: str = Field(default="", max_length=200, description="Structure des documents PDF : nom")
    structure_number: str = Field(default="", max_length=50, description="Structure des documents PDF : 1+FINESS, 3+SIRET")
    structure_practice: str = Field(default="ETABLISSEMENT", max_length=50, description="Cadre d'exercice (JDV_J04)")
    structure_facility: str = Field(default="SA01", max_length=50, description="Secteur d'activité (JDV_J02)")

    @field_validator("networks")
    @classmethod
    def _networks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            ip_network(value)
        return values

    @field_validator("certificates")
    @classmethod
    def _fingerprints(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        plain = tuple(value.replace(":", "").lower() for value in values)
        if not all(re.fullmatch(r"[0-9a-f]{64}", value) for value in plain):
            raise ValueError("empreinte SHA-256 : 64 chiffres hexadécimaux")
        return plain

    @model_validator(mode="after")
    def _known_by(self) -> Self:
        if not self.networks and not self.certificates and not self.subjects:
            raise ValueError("donnez networks, certificates ou subjects : la passerelle n'est jamais ouverte à tous")
        if (self.connect_certificate is None) != (self.connect_key is None):
            raise ValueError("connect_certificate et connect_key vont ensemble")
        if not self.connect_tls and (self.connect_authorities or self.connect_name or self.connect_certificate):
            raise ValueError("connect_authorities, connect_name, connect_certificate demandent connect_tls")
        if self.deliver and not self.connect:
            raise ValueError("deliver demande connect")
        return self


class Hl7Section(Section):
    """The HL7v2 gateway (MLLP) of hospital software."""

    enabled: bool = Field(default=False, description="Ouvrir la passerelle HL7v2")
    listen: Hostport | Literal[""] = Field(default="", description="Porte MLLP (hôte:port) ; vide : fermée")
    tls: bool = Field(default=False, description="TLS sur la porte MLLP, avec le certificat des clients de messagerie")
    client_authorities: Path | None = Field(
        default=None, description="Autorités (PEM) des certificats clients ; absent : aucun certificat n'est demandé")
    application: str = Field(default="MSSANTE", min_length=1, max_length=180, description="Notre nom (MSH-3, MSH-5)")
    facility: str = Field(default="MSSANTE", min_length=1, max_length=180, description="Notre établissement (MSH-4, MSH-6)")
    processing: tuple[Literal["P", "T", "D"], ...] = Field(default=("P",), min_length=1, description="MSH-11 admis")
    charset: Literal["8859/15", "8859/1", "UNICODE UTF-8"] = Field(
        default="8859/15", description="Jeu supposé quand MSH-18 est vide et que le texte n'est pas de l'UTF-8")
    timezone: str = Field(default="Europe/Paris", description="Fuseau des dates HL7 écrites sans décalage")
    message_bytes: int = Field(default=40_000_000, ge=100_000, le=200_000_000, description="Taille d'un message, au plus")
    connections: int = Field(default=16, ge=1, le=200, description="Connexions en même temps, au plus")
    memory_bytes: int = Field(
        default=160_000_000, ge=1_000_000, le=4_000_000_000, description="Messages en cours de lecture, en tout, au plus")
    idle_seconds: float = Field(default=3600.0, ge=1, le=86_400, description="Silence admis entre deux messages")
    frame_seconds: float = Field(default=60.0, ge=1, le=3600, description="Durée d'arrivée d'un message, au plus")
    answer_seconds: float = Field(default=30.0, ge=0.1, le=600, description="Attente de l'acquittement d'une application")
    retry_seconds: float = Field(default=5.0, ge=0.05, le=3600, description="Premier délai avant un nouvel essai, puis doublé")
    retry_most_seconds: float = Field(default=300.0, ge=0.05, le=86_400, description="Délai le plus long entre deux essais")
    poll_seconds: float = Field(default=5.0, ge=0.05, le=600, description="Intervalle de lecture des boîtes, au plus")
    failures_always: bool = Field(
        default=True, description="Dire un échec de remise à l'application même si ACK_RECEPTION vaut N")
    keep_days: int = Field(default=90, ge=7, le=3650, description="Mémoire des messages pris et donnés")
    applications: tuple[Hl7Application, ...] = Field(default=(), max_length=100, description="Applications de l'hôpital")

    @field_validator("timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as fault:
            raise ValueError("fuseau inconnu, par exemple Europe/Paris ou Indian/Reunion") from fault
        return value

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        names = [one.name for one in self.applications]
        if len(set(names)) != len(names):
            raise ValueError("deux applications de même nom")
        delivering = [one.mailbox.lower() for one in self.applications if one.deliver]
        if len(set(delivering)) != len(delivering):
            raise ValueError("une boîte n'est donnée qu'à une application (deliver)")
        if any(one.certificates or one.subjects for one in self.applications) and not (self.tls and self.client_authorities):
            raise ValueError("certificates et subjects demandent tls et client_authorities")
        if self.client_authorities and not self.tls:
            raise ValueError("client_authorities demande tls")
        if self.enabled and not self.applications:
            raise ValueError("aucune application")
        return self


class HandoverSection(Section):
    """Programs that hand in documents: API, watched folders, webhooks; and the masking rules that all obey."""

    masking: Literal["off", "enforce"] = Field(
        default="enforce", description="Appliquer la matrice de masquage (spec §8.4) et les oppositions à tout envoi")
    override: bool = Field(default=True, description="Admettre qu'un motif, tracé, passe outre masquage et opposition")
    source_oid: str = Field(
        default="", max_length=36,
        description="OID de ce logiciel dans les métadonnées XDM ; vide : tiré du nom d'hôte (2.25…)")
    nil: str = Field(default="", max_length=64,
                     description="Référence du logiciel (X-MSS-NIL, ECO.2.4.3) ; vide : non dite")
    request_bytes: int = Field(default=40_000_000, ge=100_000, le=200_000_000, description="Taille d'une demande à l'API au plus")
    requests_per_minute: int = Field(default=600, ge=1, le=100_000, description="Demandes à l'API par jeton et par minute")
    uploads: int = Field(default=4, ge=1, le=64, description="Demandes lues en même temps, au plus : leur mémoire est comptée")
    key_days: int = Field(default=90, ge=7, le=3650,
                          description="Durée de mémoire des clés : une même remise n'est jamais envoyée deux fois dans ce temps")
    webhook_hosts: tuple[str, ...] = Field(
        default=(), description="Hôtes (nom ou nom:port) où un webhook peut être posé ; vide : aucun webhook")
    webhook_private: bool = Field(default=False, description="Admettre des hôtes d'adresse privée (réseau de l'établissement)")
    webhook_authorities: Path | None = Field(
        default=None, description="Autorités de certification des hôtes de webhooks ; absent : celles du système")
    webhook_days: int = Field(default=30, ge=1, le=365, description="Durée de garde des évènements dits, pour les redire")
    folders: dict[str, Path] = Field(
        default={}, description="Dossiers surveillés : adresse de boîte = dossier où les logiciels déposent")
    folder_seconds: float = Field(default=2.0, ge=0.1, le=600, description="Intervalle de lecture des dossiers surveillés")
    folder_bytes: int = Field(default=40_000_000, ge=100_000, le=200_000_000, description="Taille d'un fichier déposé, au plus")

    @field_validator("source_oid", "nil")
    @classmethod
    def _plain(cls, value: str, info: ValidationInfo) -> str:
        """An OID, and a word without spaces."""
        pattern = r"([0-2](\.(0|[1-9][0-9]*))+)?" if info.field_name == "source_oid" else r"[!-~]*"
        if not re.fullmatch(pattern, value):
            raise ValueError("un OID, ou rien" if info.field_name == "source_oid" else "un mot ASCII, ou rien")
        return value
