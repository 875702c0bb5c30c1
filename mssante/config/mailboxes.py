"""Sections about our own mailboxes: their life, provisioning, sharing, filters.

Defaults live here and nowhere else; `config.model` puts these sections into `operator.toml`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mssante.config.base import Section


class LifeSection(Section):
    """The life cycle of mailboxes (spec §5)."""

    suspended: Literal["temporary", "permanent"] = Field(
        default="temporary", description="Réponse SMTP d'une boîte suspendue : 450 ou 550")


class ProvisioningSection(Section):
    """Where joiners and leavers come from."""

    scim: bool = Field(default=False, description="Servir SCIM 2.0 sur la porte `web`, aux porteurs d'un jeton de portée scim")


class SharingSection(Section):
    """Mailboxes that several people open."""

    traced_reading: bool = Field(default=True, description="Noter qui a lu quel message d'une boîte ORG, la première fois")


class SieveSection(Section):
    """Filters of the users (RFC 5228)."""

    enabled: bool = Field(default=True, description="Appliquer les scripts Sieve à l'arrivée")
