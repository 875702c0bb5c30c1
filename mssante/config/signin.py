"""Sections about ways to log in and to find them: Pro Santé Connect, the web of the users, discovery.

Defaults live here and nowhere else; `config.model` puts these sections into `operator.toml`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mssante.config.base import Section


class PscSection(Section):
    """Pro Santé Connect: access tokens of health professionals (spec §6.2)."""

    environment: Literal["off", "production", "bas", "custom"] = Field(
        default="off", description="Fournisseur admis ; custom : celui que `issuer` nomme")


class WebSection(Section):
    """The web door of users and programs."""

    session_minutes: int = Field(default=30, ge=5, le=720, description="Vie d'une session web sans usage")


class DiscoverySection(Section):
    """How mail clients find their settings."""

    enabled: bool = Field(default=True, description="Servir autoconfig, Autodiscover et profil Apple sur la porte `web`")
