"""Sections about structured documents and those who bring them: checks, twins, interfaces, the citizens' bridge.

Defaults live here and nowhere else; `config.model` puts these sections into `operator.toml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mssante.config.base import Section


class DocumentsSection(Section):
    """Structured documents (CDA in IHE_XDM.ZIP): checks before they leave, readable twins of what arrives."""

    preflight: Literal["off", "warn", "block"] = Field(
        default="warn", description="Contrôle avant départ : rien, avertir l'auteur, ou refuser le dépôt")
    rules_directory: Path | None = Field(
        default=None, description="Dossier des schémas et schématrons de l'ANS, qui ne sont pas livrés avec le programme")
    twin: Literal["off", "companion", "folder", "web"] = Field(
        default="off", description="Jumeau lisible des documents reçus : message compagnon, dossier à part, ou page web")
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


class Hl7Section(Section):
    """The HL7v2 gateway (MLLP) of hospital software."""

    enabled: bool = Field(default=False, description="Ouvrir la passerelle HL7v2")


class HandoverSection(Section):
    """Programs that hand in documents: API, watched folders, webhooks; and the masking rules that all obey."""

    masking: Literal["off", "enforce"] = Field(
        default="enforce", description="Appliquer la matrice de masquage (spec §8.4) et les oppositions à tout envoi")
