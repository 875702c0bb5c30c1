"""Sections about the national directory: what is read from it (`directory`), what is published to it (`publication`).

Defaults live here and nowhere else; `config.model` puts these sections into `operator.toml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mssante.config.base import Section


class DirectorySection(Section):
    """The national directory (Annuaire Santé) as this operator reads it."""

    check: Literal["off", "advise", "strict"] = Field(
        default="advise", description="Destinataires d'autres opérateurs : rien, conseiller, ou refuser l'absent (spec §4.5)")
    extraction_url: str = Field(
        default="", description="Adresse de l'extraction (F4.6), `file://…` ou chemin d'un fichier ; vide : import à la main")
    extraction_anchors: Path | None = Field(default=None, description="Ancres HTTPS de l'extraction ; par défaut `trust.anchors`")
    folder: Path = Field(default=Path("../data/annuaire"), description="Dossier du miroir de l'annuaire (`mirror.db`)")
    refresh_seconds: float = Field(default=3600, ge=1, description="Délai entre deux regards sur l'extraction (HEAD)")
    shrink_percent: float = Field(
        default=10, ge=0, le=100, description="Perte de lignes, en pour cent, au-delà de laquelle une extraction est refusée")
    max_bytes: int = Field(default=256 * 1024 * 1024, ge=1024, description="Octets téléchargés, au plus")
    max_text_bytes: int = Field(default=1024 * 1024 * 1024, ge=1024, description="Octets du texte décompressé, au plus")
    max_age_days: float = Field(
        default=12, gt=0, le=365, description="Âge de l'extraction qui lève l'alarme et ôte sa valeur à une absence (F4.8)")
    keep_days: int = Field(default=400, ge=1, le=3650, description="Durée de l'histoire des changements et des départs")
    remote_wait_ms: int = Field(default=300, ge=0, le=5000, description="Attente des sources distantes au RCPT, en millisecondes")
    fhir_url: str = Field(default="", description="Base de l'API FHIR de lecture (F4.12) ; vide : pas de source FHIR")
    fhir_api_key_file: Path | None = Field(default=None, description="Fichier de la clé ESANTE-API-KEY, une ligne, mode 0600")
    fhir_anchors: Path | None = Field(default=None, description="Ancres HTTPS de cette API ; par défaut `trust.anchors`")
    ldap_url: str = Field(default="", description="Source LDAP, `ldaps://hôte:port` ou `ldap://` (StartTLS) ; vide : aucune")
    ldap_anchors: Path | None = Field(default=None, description="Ancres TLS du serveur LDAP ; par défaut `trust.anchors`")
    ldap_base: str = Field(default="", description="Base de recherche LDAP")
    ldap_bind_dn: str = Field(default="", description="DN de connexion LDAP ; vide : anonyme")
    ldap_password_file: Path | None = Field(default=None, description="Fichier du mot de passe LDAP, une ligne, mode 0600")
    ldap_attributes: dict[str, str] = Field(
        default_factory=dict, description="Champ d'une entrée → attribut LDAP (le schéma national n'est pas public)")
    remote_cache: Path = Field(default=Path("../data/annuaire-cache.db"), description="Réponses gardées des sources distantes")
    remote_found_hours: float = Field(default=24, gt=0, le=8760, description="Durée d'une réponse positive des sources distantes")
    remote_absent_minutes: float = Field(default=60, gt=0, le=525600, description="Durée d'une réponse négative")
    remote_stale_days: float = Field(default=30, gt=0, le=365, description="Âge d'une réponse servie si la source est muette")
    remote_cache_entries: int = Field(default=100_000, ge=100, le=5_000_000, description="Adresses gardées, au plus")


class PublicationSection(Section):
    """How our mailboxes are published in the national directory."""

    driver: Literal["none", "file", "fhir"] = Field(default="none", description="Par quelle voie nos boîtes sont publiées")
    url: str = Field(default="", description="Base de l'API d'écriture FHIR (driver fhir) ; l'ANS ne l'a pas encore fixée")
    api_key_file: Path | None = Field(default=None, description="Fichier de la clé d'API, une ligne, mode 0600")
    anchors: Path | None = Field(default=None, description="Ancres HTTPS de cette API ; par défaut `trust.anchors`")
    client_certificate: Path | None = Field(default=None, description="Certificat client présenté à cette API, s'il en faut un")
    client_key: Path | None = Field(default=None, description="Sa clé ; les deux ou aucune")
    folder: Path = Field(default=Path("../data/publication"), description="Dossier d'échange du driver file")
    suspended: Literal["red_list", "withdraw", "keep"] = Field(
        default="red_list", description="Boîte suspendue : en liste rouge, retirée, ou laissée (l'annuaire n'a pas cet état)")
    structure_key: Literal["national", "finess"] = Field(
        default="national", description="Clé d'un établissement : identifiant national (1 + FINESS), ou FINESS seul")
    sweep_seconds: float = Field(default=300, ge=1, description="Délai entre deux comparaisons de toutes nos boîtes")
    first_retry_seconds: float = Field(default=60, gt=0, description="Premier délai avant un nouvel essai")
    longest_retry_seconds: float = Field(default=21600, gt=0, description="Plus long délai avant un nouvel essai")
    per_second: float = Field(default=5, gt=0, le=1000, description="Requêtes par seconde, au plus")
