"""Reads a configuration folder. Every fault names file, key, value and remedy; nothing is guessed.

Called by the command line, the lab and tests. Reads `operator.toml` and `domains.toml` of the folder (RFC-free: TOML 1.0).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mssante.config.model import Config, DomainsConfig, OperatorConfig
from mssante.errors import InputFault
from mssante.lang import say

MAX_FILE = 1024 * 1024
MAX_SHOWN = 60

M = TypeVar("M", bound=BaseModel)

# the kind of a pydantic error -> what to do about it, French and English
_REMEDIES = {
    "missing": ("ajoutez cette clé", "add this key"),
    "extra_forbidden": ("clé inconnue : corrigez son nom ou retirez-la", "unknown key: mend its name or remove it"),
    "string_pattern_mismatch": ("écrivez adresse:port", "write address:port"),
    "literal_error": ("choisissez une des valeurs admises", "choose one of the allowed values"),
    "int_parsing": ("écrivez un nombre entier", "write a whole number"),
    "int_type": ("écrivez un nombre entier, sans guillemets", "write a whole number, without quotes"),
    "bool_type": ("écrivez true ou false", "write true or false"),
    "bool_parsing": ("écrivez true ou false", "write true or false"),
    "string_type": ("écrivez un texte entre guillemets", "write a text in quotes"),
    "greater_than_equal": ("augmentez la valeur", "raise the value"),
    "less_than_equal": ("baissez la valeur", "lower the value"),
    "too_short": ("déclarez au moins un élément", "declare at least one element"),
    "value_error": ("corrigez la valeur", "mend the value"),
}


class ConfigFault(InputFault):
    """A configuration that cannot be used; `problems` holds one line for each."""

    kind = "config"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems), rule="CONFIG")
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def _table(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigFault([say(f"{path.name} : fichier absent -> copiez {path.stem}.example.toml",
                               f"{path.name}: file missing -> copy {path.stem}.example.toml")]) from None
    except OSError as exc:
        raise ConfigFault([f"{path.name}: {exc.strerror}"]) from exc
    if len(raw) > MAX_FILE:
        raise ConfigFault([say(f"{path.name} : plus de {MAX_FILE} octets", f"{path.name}: over {MAX_FILE} octets")])
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigFault([say(f"{path.name} : TOML illisible ({exc}) -> corrigez la ligne citée",
                               f"{path.name}: not TOML ({exc}) -> mend the line named")]) from exc


def _problem(file: str, error: Any) -> str:
    """Give one line: file, key, value, what is wrong, remedy."""
    key = ".".join(str(part) for part in error["loc"] if part not in ("constrained-str",) and not str(part).startswith(
        ("literal[", "function-")))
    kind = error["type"]
    value = "" if kind == "missing" else f" = {str(error['input'])[:MAX_SHOWN]!r}"
    expected = error.get("ctx", {}).get("expected") or error.get("ctx", {}).get("error") or ""
    remedy = say(*_REMEDIES.get(kind, ("corrigez la valeur", "mend the value")))
    wrong = str(expected) if expected else str(error["msg"])
    return f"{file} : {key}{value} : {wrong} -> {remedy}"


def _read(model: type[M], path: Path) -> M:
    table = _table(path)
    try:
        return model.model_validate(table)
    except ValidationError as exc:
        problems: dict[str, str] = {}
        for error in exc.errors(include_url=False):
            line = _problem(path.name, error)
            problems.setdefault(line.split(" : ")[1], line)  # a union gives one error for each branch: one is enough
        raise ConfigFault(list(problems.values())) from exc


def load_config(folder: Path) -> Config:
    """Give the configuration of a folder. Raises ConfigFault with one line for each problem of both files."""
    problems: list[str] = []
    operator: OperatorConfig | None = None
    domains: DomainsConfig | None = None
    try:
        operator = _read(OperatorConfig, folder / "operator.toml")
    except ConfigFault as fault:
        problems += fault.problems
    try:
        domains = _read(DomainsConfig, folder / "domains.toml")
    except ConfigFault as fault:
        problems += fault.problems
    if operator is None or domains is None:
        raise ConfigFault(problems)
    return Config(folder=folder.resolve(), operator=operator, domains=domains)
