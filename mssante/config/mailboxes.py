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
    domains: tuple[str, ...] = Field(
        default=(), description="Domaines dont les personnes et les boîtes ORG peuvent être touchées ; vide : tous ceux hébergés")
    require_holder: bool = Field(default=True, description="Exiger le RPPS du titulaire à la création d'une boîte PER")


class SharingSection(Section):
    """Mailboxes that several people open."""

    traced_reading: bool = Field(default=True, description="Noter qui a lu quel message d'une boîte ORG, la première fois")
    sent_copy: Literal["shared", "all", "off"] = Field(
        default="shared", description="Ranger dans Sent ce qui part : au nom d'une boîte partagée, de toutes, ou jamais")
    sent_window_seconds: float = Field(
        default=900, ge=10, le=86_400, description="Durée où une copie rangée deux fois (même Message-ID) ne compte qu'une fois")
    sender_header: bool = Field(
        default=True, description="Ajouter Sender (qui envoie vraiment) aux messages partis au nom d'une boîte partagée")
    plus_addressing: bool = Field(default=False, description="Livrer nom+mot@domaine à nom@domaine")


class SieveSection(Section):
    """Filters of the users (RFC 5228)."""

    enabled: bool = Field(default=True, description="Appliquer les scripts Sieve à l'arrivée")
    redirect: Literal["never", "own"] = Field(
        default="never", description="Renvoi par un script : jamais, ou vers nos boîtes seulement")
    discard: Literal["trash", "delete"] = Field(
        default="trash", description="Ce que fait `discard` : ranger dans la corbeille, ou effacer")
    scripts: int = Field(default=20, ge=1, le=200, description="Scripts d'une boîte, au plus")
    script_bytes: int = Field(default=65_536, ge=1_024, le=1_048_576, description="Taille d'un script, au plus")
    actions: int = Field(default=32, ge=1, le=100, description="Actions d'un script pour un message, au plus")
    redirects: int = Field(default=4, ge=0, le=20, description="Renvois d'un script pour un message, au plus")
    refresh_seconds: float = Field(
        default=10, gt=0, le=300, description="Délai où un changement fait par une commande agit sur l'opérateur en marche")
    vacation_days: int = Field(default=7, ge=1, le=90, description="Jours avant de redire une absence au même expéditeur")
    vacation_minimum_seconds: int = Field(
        default=86_400, ge=60, le=2_592_000, description="Délai le plus court qu'un script peut demander entre deux réponses")
    vacation_per_hour: int = Field(default=60, ge=1, le=10_000, description="Réponses d'absence d'une boîte en une heure, au plus")
    vacation_subject: Literal["neutral", "original"] = Field(
        default="neutral", description="Objet des réponses : neutre, ou repris du message (il peut nommer un patient)")
