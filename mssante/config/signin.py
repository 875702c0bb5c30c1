"""Sections about ways to log in and to find them: Pro Santé Connect, the web of the users, discovery.

Defaults live here and nowhere else; `config.model` puts these sections into `operator.toml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mssante.config.base import Section


class PscSection(Section):
    """Pro Santé Connect: access tokens of health professionals (spec §6.2)."""

    environment: Literal["off", "production", "bas", "custom"] = Field(
        default="off", description="Fournisseur admis ; custom : celui que `issuer` nomme")
    issuer: str = Field(default="", description="Émetteur exact des jetons, pour custom : une URL https sans / final")
    discovery_url: str = Field(default="", description="Document de découverte ; vide : l'émetteur suivi de "
                                                       "/.well-known/wallet-openid-configuration")
    anchors: Path | None = Field(default=None, description="AC du serveur du fournisseur ; vide : celles du système")
    audiences: tuple[str, ...] = Field(default=(), description="Identifiants (azp, sinon aud) des logiciels admis ; \"*\" : tous")
    acr: tuple[str, ...] = Field(default=("eidas1",), min_length=1, description="Niveaux d'authentification admis")
    scopes: tuple[str, ...] = Field(default=(), description="Portées exigées dans le jeton")
    subject_claim: str = Field(default="SubjectNameID", min_length=1, description="Champ qui porte l'identifiant national ; "
                                                                                  "à défaut preferred_username")
    leeway_seconds: int = Field(default=30, ge=0, le=120, description="Écart d'horloge admis")
    max_age_seconds: int = Field(default=900, ge=60, le=86400, description="Âge maximal d'un jeton depuis son émission")
    keys_seconds: int = Field(default=3600, ge=60, le=86400, description="Relecture des clés du fournisseur")
    keys_floor_seconds: int = Field(default=30, ge=1, le=3600, description="Délai minimal entre deux lectures des clés")
    introspection: bool = Field(default=False, description="Demander aussi au fournisseur si le jeton est toujours valable")
    client_id: str = Field(default="", description="Notre identifiant chez le fournisseur, pour l'introspection")
    client_secret_file: Path | None = Field(default=None, description="Fichier du secret qui va avec (mode 0600)")
    session: Literal["keep", "token"] = Field(
        default="keep", description="Fin d'une session IMAP ouverte par jeton : session_hours (keep), ou celle du jeton (token)")
    session_hours: float = Field(default=12, gt=0, le=168, description="Vie d'une session IMAP ouverte par jeton")


class WebSection(Section):
    """The web door of users and programs."""

    account: bool = Field(default=True, description="Servir les pages du compte (/compte)")
    host: str = Field(default="", pattern=r"^[a-z0-9.-]*$", description="Nom d'hôte des pages, et des clés d'accès ; "
                                                                       "vide : operator.hostname. Le changer les annule toutes")
    session_minutes: int = Field(default=30, ge=5, le=720, description="Vie d'une session web sans usage")
    session_hours: float = Field(default=12, gt=0, le=168, description="Vie d'une session web, quel que soit l'usage")
    proof_minutes: int = Field(default=10, ge=1, le=120, description="Durée d'une preuve pour les actes sensibles")


class DiscoverySection(Section):
    """How mail clients find their settings."""

    enabled: bool = Field(default=True, description="Servir autoconfig, Autodiscover et profil Apple sur la porte `web`")
    host: str = Field(default="", pattern=r"^[a-z0-9.-]*$", description="Nom public des portes ; vide : operator.hostname")
    ports: dict[str, int] = Field(default_factory=dict, description="Port public d'une porte, s'il diffère de celui d'écoute")
    name: str = Field(default="", max_length=60, description="Nom montré aux utilisateurs ; vide : description du domaine")
    help_url: str = Field(default="", pattern=r"^(https://\S+)?$", description="Page d'aide citée aux logiciels")
