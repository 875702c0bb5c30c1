"""Generates the reference page from the models: `python -m mssante.config.document > docs/configuration.md`.

The page cannot differ from the program: a test compares. Descriptions come from the fields; where a key's name says all, the
page shows its type and default alone. Called by that command and by the test.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from mssante.config.model import DomainsConfig, OperatorConfig

_HEAD = """# Configuration

Page écrite par `python -m mssante.config.document` d'après `mssante/config/model.py` : ne la modifiez pas à la main.
(Written from the models; do not edit.)

- Deux fichiers TOML dans un dossier : `operator.toml` et `domains.toml`. Partez de `operator_config/*.example.toml`.
- Les chemins sont relatifs à ce dossier. Les unités sont dans les noms : `_seconds`, `_hours`, `_bytes`, `_percent`.
- Une clé inconnue est refusée. Aucun secret dans ces fichiers : des chemins de fichiers seulement.
- `mssante check DIR` contrôle tout ; `mssante check --config-only DIR` ne lit que ces deux fichiers.
"""


# what the fields do not say of themselves
_SENSES = {
    "tls.operator_certificate": "Certificat IGC-Santé SERV SSL (PEM), suivi de celui de son autorité",
    "tls.operator_key": "Sa clé privée (PEM sans mot de passe, mode 0600)",
    "tls.client_key": "Clé de `client_certificate` ; les deux ou aucune",
    "trust.dn_mode": "Comparaison d'un certificat à la liste : nom entier, CN et OU, ou CN seul",
    "trust.eku": "Usage étendu exigé du certificat d'un opérateur",
    "trust.whitelist_url": "Où la liste blanche est publiée (https)",
    "trust.whitelist_folder": "Où la liste en vigueur et les précédentes sont gardées",
    "trust.whitelist_refresh_seconds": "Délai entre deux téléchargements de la liste",
    "trust.whitelist_max_bytes": "Taille admise de la liste",
    "trust.whitelist_shrink_percent": "Part des domaines qu'une nouvelle liste peut perdre sans `--force`",
    "trust.signer_issuers": "CN des autorités admises pour le signataire de la liste",
    "trust.signer_validity": "Quand le certificat du signataire doit être valable : au chargement, ou à la signature",
    "trust.crl_urls": "CRL des autorités émettrices",
    "trust.crl_folder": "Où les CRL sont gardées",
    "trust.crl_refresh_seconds": "Délai entre deux téléchargements des CRL",
    "trust.crl_grace_seconds": "Temps de grâce après le `nextUpdate` d'une CRL (ECO.1.1.7)",
    "trust.crl_max_bytes": "Taille admise d'une CRL",
    "storage.url": "Base de données : `sqlite:///chemin`",
    "storage.blobs": "Dossier des corps volumineux",
    "limits.message_bytes": "Taille d'un message",
    "limits.recipients": "Destinataires d'un message",
    "limits.connections": "Connexions par porte",
    "limits.connections_per_address": "Connexions par porte et par adresse",
    "limits.handshake_seconds": "Temps d'une négociation TLS",
    "limits.command_seconds": "Attente d'une commande",
    "limits.data_seconds": "Temps d'un DATA",
    "limits.session_commands": "Commandes d'une session",
    "limits.errors_per_session": "Erreurs d'une session avant fermeture",
    "limits.received_hops": "Lignes Received au-delà desquelles un message tourne en rond",
    "relay.smtp_port": "Port SMTP des autres opérateurs",
    "relay.first_retry_seconds": "Premier délai avant un nouvel essai",
    "relay.max_retry_seconds": "Plus long délai avant un nouvel essai",
    "relay.delay_notice_hours": "Avis de retard à l'expéditeur",
    "relay.expiry_hours": "Abandon, avec avis d'échec à l'expéditeur",
    "relay.concurrency_per_destination": "Sessions en parallèle vers un domaine",
    "relay.lease_seconds": "Temps pendant lequel un essai en cours appartient à ce processus",
    "log.level": "Niveau du journal technique",
    "domain.name": "Nom exact, tel qu'inscrit dans la liste blanche",
    "domain.description": "Texte libre",
    "citizen.domain": "Domaine des usagers : la partie locale d'une adresse y est un matricule INS",
    "citizen.check_ins": "Matricule faux dans une adresse : `reject` refuse au dépôt, les autres laissent passer",
}


def document() -> str:
    """Give the whole page."""
    parts = [_HEAD, "## `operator.toml`\n"]
    parts += _sections(OperatorConfig)
    parts.append("## `domains.toml`\n")
    parts += _sections(DomainsConfig)
    return "\n".join(parts)


def _sections(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield from _section(name, field)


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    """Give one section, then the tables that may stand many times inside it."""
    section, repeated = _section_of(field.annotation)
    title = f"[[{name}]]" if repeated else f"[{name}]"
    yield f"### `{title}`\n\n{_first_line(section)}{_needed(field)}\n"
    yield "| clé | type | défaut | sens |\n|---|---|---|---|"
    within = {key: inner for key, inner in section.model_fields.items() if _is_table(inner.annotation)}
    for key, inner in section.model_fields.items():
        if key in within:
            continue
        cells = (f"`{key}`", kind(inner.annotation, inner), _default(inner), _sense(name, key, inner))
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"
    yield ""
    for key, inner in within.items():
        yield from _section(f"{name}.{key}", inner)


def _is_table(annotation: Any) -> bool:
    return any(isinstance(one, type) and issubclass(one, BaseModel) for one in get_args(annotation))


def _section_of(annotation: Any) -> tuple[type[BaseModel], bool]:
    """Give the section's model, and whether it stands many times."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    return next(one for one in get_args(annotation) if isinstance(one, type) and issubclass(one, BaseModel)), True


def _first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]


def _needed(field: FieldInfo) -> str:
    return " **Obligatoire.**" if field.is_required() else ""


def _sense(section: str, key: str, field: FieldInfo) -> str:
    return field.description or _SENSES[f"{section}.{key}"]


def kind(annotation: Any, field: FieldInfo | None = None) -> str:
    """Give the type of a key in words of TOML, with its bounds."""
    return _plain(annotation, field) + _bounds(field)


def _plain(annotation: Any, field: FieldInfo | None) -> str:
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        return "adresse:port"
    if origin is Literal:
        return " \\| ".join(f'`"{one}"`' for one in arguments)
    if origin in (Union, UnionType):
        return " ou ".join(_plain(one, None) for one in arguments if one is not type(None))
    if origin is tuple:
        return f"liste de {_plain(arguments[0], None)}"
    if origin is dict:
        return f"table {_plain(arguments[0], None)} → {_plain(arguments[1], None)}"
    if annotation is str and field is not None and any(getattr(one, "pattern", None) for one in field.metadata):
        return "adresse:port"
    names: dict[Any, str] = {str: "texte", int: "entier", float: "nombre", bool: "`true` \\| `false`", Path: "chemin",
                             AwareDatetime: "date et heure"}
    return names[annotation]


def _bounds(field: FieldInfo | None) -> str:
    text = ""
    for one in field.metadata if field is not None else ():
        for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            value = getattr(one, name, None)
            text += f" {sign} {value}" if value is not None else ""
    return text


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**obligatoire**"
    value = field.get_default(call_default_factory=True)
    return "aucun" if value is None else f"`{toml_value(value)}`"


def toml_value(value: Any) -> str:
    """Give a default as one writes it in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(toml_value(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f'"{key}" = {toml_value(one)}' for key, one in value.items()) + " }" if value else "{}"
    return f'"{value}"'


def _cell(text: str) -> str:
    return text.replace("\n", " ")


if __name__ == "__main__":
    sys.stdout.write(document())
