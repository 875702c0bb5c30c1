"""Sections about our own mailboxes: their life, provisioning, sharing, filters.

Defaults live here and nowhere else; `config.model` puts these sections into `operator.toml`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mssante.config.base import Section


class LifeSection(Section):
    """The life cycle of mailboxes (spec §5)."""

    suspended: Literal["temporary", "permanent"] = Field(
        default="temporary", description="Réponse SMTP d'une boîte suspendue : 450 ou 550")
    enabled: bool = Field(default=True, description="Appliquer les délais : avis, suspension, fermeture, purge")
    inactivity_days: int = Field(
        default=365, ge=30, le=366, description="Jours sans authentification avant la suspension (CNIL : un an au plus)")
    notice_days: tuple[int, ...] = Field(
        default=(60, 30, 7), min_length=1, max_length=10, description="Avis avant la suspension, en jours, du plus tôt")
    suspended_days: int = Field(
        default=90, ge=1, le=3650, description="Jours de suspension pour inactivité avant la fermeture")
    closed_days: int = Field(default=90, ge=1, le=3650, description="Jours de fermeture avant l'effacement du contenu")
    reuse_days: int = Field(
        default=0, ge=0, le=36500, description="Jours avant qu'une adresse effacée puisse resservir ; 0 : jamais")
    objection_days: int = Field(default=365, ge=1, le=366, description="Durée d'une opposition du titulaire, en jours")
    resume_on_login: bool = Field(
        default=True, description="Rouvrir à la connexion du titulaire une boîte suspendue pour inactivité")
    max_gap_days: int = Field(
        default=7, ge=1, le=90, description="Saut d'horloge au-delà duquel rien de grave n'est fait sans accord humain")
    max_share_percent: int = Field(
        default=25, ge=1, le=100, description="Part des boîtes qu'un passage peut toucher sans accord humain")
    max_always: int = Field(
        default=50, ge=0, le=10_000, description="Boîtes qu'un passage peut toujours toucher, même si leur part est plus grande")
    quota_steps: tuple[int, ...] = Field(
        default=(80, 90, 95), max_length=10, description="Remplissages, en pour cent, auxquels le titulaire est averti")
    quota_seconds: float = Field(default=600, ge=10, le=86_400, description="Période de la surveillance des quotas")
    cab: bool = Field(default=False, description="Permettre les boîtes CAB, dont le modèle national n'est pas fini")

    @model_validator(mode="after")
    def _ordered(self) -> LifeSection:
        """Warnings and quota steps are in order, and within what they warn of."""
        notices, steps = self.notice_days, self.quota_steps
        if list(notices) != sorted(set(notices), reverse=True) or notices[0] >= self.inactivity_days or notices[-1] < 1:
            raise ValueError("notice_days: largest first, each once, from 1 to less than inactivity_days")
        if list(steps) != sorted(set(steps)) or (steps and not 0 < steps[0] <= steps[-1] <= 100):
            raise ValueError("quota_steps: smallest first, each once, from 1 to 100")
        return self


class ProvisioningSection(Section):
    """Where joiners and leavers come from."""

    scim: bool = Field(default=False, description="Servir SCIM 2.0 sur la porte `web`, aux porteurs d'un jeton de portée scim")
    domains: tuple[str, ...] = Field(
        default=(), description="Domaines dont les personnes et les boîtes ORG peuvent être touchées ; vide : tous ceux hébergés")
    require_holder: bool = Field(default=True, description="Exiger le RPPS du titulaire à la création d'une boîte PER")
    ldap_url: str = Field(
        default="", description="Annuaire local à suivre, `ldaps://hôte:port` ou `ldap://` (StartTLS) ; vide : aucun")
    ldap_anchors: Path | None = Field(default=None, description="Ancres TLS de cet annuaire ; par défaut `trust.anchors`")
    ldap_bind_dn: str = Field(default="", description="DN de connexion, en lecture seule ; vide : anonyme")
    ldap_password_file: Path | None = Field(default=None, description="Fichier de son mot de passe, une ligne, mode 0600")
    ldap_base: str = Field(default="", description="Base de recherche des personnes")
    ldap_filter: str = Field(default="(&(objectClass=person)(mail=*))", description="Filtre des personnes")
    ldap_attributes: dict[str, str] = Field(
        default_factory=dict,
        description="Champ → attribut : external_id, login, mail, given_name, family_name, display_name, holder_id, disabled")
    ldap_disabled_values: tuple[str, ...] = Field(
        default=("TRUE", "1"),
        description="Valeurs de l'attribut `disabled` qui disent désactivé ; `userAccountControl` : bit 2, sans cette liste")
    ldap_groups_base: str = Field(default="", description="Base de recherche des groupes ; vide : celle des personnes")
    ldap_groups_filter: str = Field(
        default="(|(objectClass=group)(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))",
        description="Filtre des groupes")
    ldap_member_attribute: str = Field(default="member", description="Attribut des membres d'un groupe : DN, ou login")
    ldap_groups: dict[str, str] = Field(default_factory=dict, description="DN ou cn d'un groupe → adresse de sa boîte ORG")
    ldap_entries: int = Field(default=50_000, ge=1, le=500_000, description="Entrées lues, au plus ; au-delà rien ne change")
    ldap_seconds: float = Field(default=300, ge=1, le=3600, description="Durée d'une recherche, au plus")
    ldap_period_seconds: float = Field(
        default=3600, ge=0, le=604_800, description="Période de la synchronisation ; 0 : seulement `mssante account sync`")
    guard_percent: float = Field(
        default=20, ge=0, le=100,
        description="Part des comptes liés qui peut partir d'un coup (3 toujours admis) ; au-delà rien ne change sans `--force`")


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
    vacation_per_hour: int = Field(default=60, ge=1, le=10_000, description="Réponses d'absence d'une boîte par heure")
    vacation_subject: Literal["neutral", "original"] = Field(
        default="neutral", description="Objet des réponses : neutre, ou repris du message (il peut nommer un patient)")
