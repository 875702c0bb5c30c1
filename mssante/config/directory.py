"""Sections about the national directory: what is read from it (`directory`), what is published to it (`publication`).

Defaults live here and nowhere else; `config.model` puts these sections into `operator.toml`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mssante.config.base import Section


class DirectorySection(Section):
    """The national directory (Annuaire Santé) as this operator reads it."""

    check: Literal["off", "advise", "strict"] = Field(
        default="advise", description="Destinataires d'autres opérateurs : rien, conseiller, ou refuser l'absent (spec §4.5)")


class PublicationSection(Section):
    """How our mailboxes are published in the national directory."""

    driver: Literal["none", "file", "fhir"] = Field(default="none", description="Par quelle voie nos boîtes sont publiées")
