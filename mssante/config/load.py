"""Reads a configuration folder. Every fault names file, key, value, what is wrong and the remedy; nothing is guessed.

- Reads `operator.toml` and `domains.toml` of the folder (TOML 1.0), at most 1 MiB each.
- All problems of both files are told at once, one line each: `file : key = value : what is wrong -> remedy`.
- An element of an array is named by its rank from 1: `domain#2.name` is `name` of the second `[[domain]]`.
- A key that we do not know is refused, with the known key that looks most like it.

Never: opens the files that the configuration names (`mssante check` does), reads a secret, changes a value.
Called by the command line, the lab and tests.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from mssante.config.cross import cross_problems
from mssante.config.model import Config, DomainsConfig, OperatorConfig
from mssante.errors import InputFault
from mssante.lang import say

MAX_FILE = 1024 * 1024
MAX_SHOWN = 60
OPERATOR_FILE = "operator.toml"
DOMAINS_FILE = "domains.toml"

_AT = re.compile(r"\(at line (\d+), column (\d+)\)")
_BARE = re.compile(r"[A-Za-z0-9_\-]+\Z")  # TOML 1.0 §Keys

M = TypeVar("M", bound=BaseModel)
Words = tuple[str, str]

# the kind of a pydantic error -> what is wrong, and what to do; {…} are values of the error's context
_TEXTS: dict[str, tuple[Words, Words]] = {
    "missing": (("clé absente", "key is missing"), ("ajoutez cette clé", "add this key")),
    "extra_forbidden": (("clé inconnue", "unknown key"), ("corrigez son nom ou retirez-la", "mend its name or remove it")),
    "string_pattern_mismatch": (("ce n'est pas adresse:port", "this is not address:port"),
                                ("écrivez adresse:port, par exemple 0.0.0.0:25 ou [::]:25",
                                 "write address:port, for instance 0.0.0.0:25 or [::]:25")),
    "literal_error": (("valeur inconnue", "unknown value"),
                      ("choisissez parmi {expected}", "choose one of {expected}")),
    "int_parsing": (("ce n'est pas un nombre entier", "this is not a whole number"),
                    ("écrivez un nombre entier, sans guillemets", "write a whole number, without quotes")),
    "int_type": (("ce n'est pas un nombre entier", "this is not a whole number"),
                 ("écrivez un nombre entier, sans guillemets", "write a whole number, without quotes")),
    "int_from_float": (("ce n'est pas un nombre entier", "this is not a whole number"),
                       ("arrondissez la valeur", "round the value")),
    "float_parsing": (("ce n'est pas un nombre", "this is not a number"),
                      ("écrivez un nombre, sans guillemets", "write a number, without quotes")),
    "float_type": (("ce n'est pas un nombre", "this is not a number"),
                   ("écrivez un nombre, sans guillemets", "write a number, without quotes")),
    "bool_type": (("ce n'est pas un oui ou non", "this is not a yes or no"),
                  ("écrivez true ou false, sans guillemets", "write true or false, without quotes")),
    "bool_parsing": (("ce n'est pas un oui ou non", "this is not a yes or no"),
                     ("écrivez true ou false, sans guillemets", "write true or false, without quotes")),
    "string_type": (("ce n'est pas un texte", "this is not a text"),
                    ("écrivez un texte entre guillemets", "write a text in quotes")),
    "path_type": (("ce n'est pas un chemin", "this is not a path"),
                  ("écrivez un chemin entre guillemets", "write a path in quotes")),
    "tuple_type": (("ce n'est pas une liste", "this is not a list"),
                   ("écrivez une liste entre crochets : [\"…\"]", "write a list in brackets: [\"…\"]")),
    "dict_type": (("ce n'est pas une table", "this is not a table"),
                  ("écrivez { \"domaine\" = valeur }", "write { \"domain\" = value }")),
    "model_type": (("ce n'est pas une section", "this is not a section"),
                   ("écrivez une section [nom] avec ses clés dessous", "write a section [name] with its keys below")),
    "greater_than_equal": (("valeur trop petite", "value is too small"), ("au moins {ge}", "at least {ge}")),
    "less_than_equal": (("valeur trop grande", "value is too large"), ("au plus {le}", "at most {le}")),
    "too_short": (("liste trop courte", "list is too short"),
                  ("déclarez au moins {min_length} élément(s)", "declare at least {min_length} element(s)")),
}
# validators of the model speak English: the start of their text -> what is wrong, what to do
_VALIDATORS: dict[str, tuple[Words, Words]] = {
    "port is above 65535": (("port au-delà de 65535", "port is above 65535"),
                            ("écrivez un port de 1 à 65535", "write a port from 1 to 65535")),
    "domain is not": (("ce n'est pas un nom de domaine", "this is not a domain name"),
                      ("écrivez un nom comme exemple.mssante.fr", "write a name such as example.mssante.fr")),
}


class ConfigFault(InputFault):
    """A configuration that cannot be used; `problems` holds one line for each."""

    kind = "config"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems), rule="CONFIG")
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(self.problems)


def line(file: str, key: str, value: str, wrong: str, remedy: str) -> str:
    """Give the one line of a problem; an empty key or value is left out."""
    shown = f"{key} = {value}" if value else key
    return " : ".join(part for part in (file, shown, wrong) if part) + f" -> {remedy}"


def _table(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise ConfigFault([line(path.name, "", "", say("fichier absent", "file is missing"), say(
            f"copiez {path.stem}.example.toml sous ce nom et adaptez-le",
            f"copy {path.stem}.example.toml to this name and adapt it"))]) from None
    except OSError as exc:
        raise ConfigFault([line(path.name, "", "", str(exc.strerror), say(
            "rendez ce fichier lisible par l'utilisateur du service", "make it readable by the service's user"))]) from exc
    if len(raw) > MAX_FILE:
        raise ConfigFault([line(path.name, "", "", say(f"plus de {MAX_FILE} octets", f"over {MAX_FILE} octets"),
                                say("ce n'est pas le bon fichier", "this is not the right file"))])
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as exc:
        number = raw.count(b"\n", 0, exc.start) + 1
        raise ConfigFault([line(path.name, "", "", say(f"octet qui n'est pas de l'UTF-8, ligne {number}",
                                                       f"octet that is not UTF-8, line {number}"),
                                say("enregistrez le fichier en UTF-8", "save the file as UTF-8"))]) from exc
    except (ValueError, RecursionError) as exc:  # tomllib also lets numbers and nesting of absurd size through to Python
        place = _AT.search(str(exc))
        row, column = place.groups() if place else ("", "")
        wrong = (say(f"TOML illisible, ligne {row}, colonne {column}", f"not TOML, line {row}, column {column}") if place else
                 say("TOML illisible : fin trop tôt, ou valeur démesurée", "not TOML: ends too early, or an absurd value"))
        raise ConfigFault([line(path.name, "", "", wrong, say("corrigez cet endroit", "mend this place"))]) from exc


def _parts(location: Sequence[str | int]) -> list[str | int]:
    """Give a pydantic location without the names of union branches."""
    return [part for part in location
            if not str(part).startswith(("literal[", "function-", "constrained-str", "lax-or-strict"))]


def _key(parts: Sequence[str | int]) -> str:
    """Write a location as the reader counts: `domain#2.name`."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"#{part + 1}"
        else:
            word = part if _BARE.match(part) else f'"{part}"'
            text += f".{word}" if text else word
    return text


def _section(model: type[BaseModel], parts: Sequence[str | int]) -> type[BaseModel]:
    """Give the model of the section that holds the last part of a location."""
    for part in parts[:-1]:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), model)
    return model


def _likely(model: type[BaseModel], parts: Sequence[str | int]) -> str:
    """Give advice for an unknown key: the known one that looks most like it."""
    known = list(_section(model, parts).model_fields)
    close = get_close_matches(str(parts[-1]), known, n=1)
    if not close:
        return ""
    return say(f"vouliez-vous écrire {close[0]} ?", f"did you mean {close[0]}?")


def _shown(key: str, error: Any) -> str:
    """Give the value as it may be shown; a database address may hold a password and is never shown."""
    if error["type"] == "missing" or key == "storage.url":
        return ""
    value = error["input"]
    if isinstance(value, (dict, list)) and len(str(value)) > MAX_SHOWN:
        return ""
    text = str(value) if isinstance(value, (int, float, bool)) else repr(value)
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"


def _words(error: Any) -> tuple[str, str]:
    """Give (what is wrong, remedy) in the current language."""
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        own = str(context.get("error", ""))
        for start, (wrong, remedy) in _VALIDATORS.items():
            if own.startswith(start):
                return say(*wrong), say(*remedy)
        twice = own.removeprefix("domain ").removesuffix(" stands twice")
        if own.endswith(" stands twice"):
            return (say(f"le domaine {twice} y est deux fois", f"domain {twice} stands twice"),
                    say("gardez une seule table [[domain]] de ce nom", "keep one [[domain]] table of that name"))
        return own, say("corrigez la valeur", "mend the value")
    texts = _TEXTS.get(error["type"])
    if texts is None:
        return str(error["msg"]), say("corrigez la valeur", "mend the value")
    expected = str(context.get("expected", "")).replace(" or ", say(" ou ", " or "))
    return say(*texts[0]), say(*texts[1]).format(**{**context, "expected": expected})


def _problem(file: str, model: type[BaseModel], error: Any) -> tuple[str, str]:
    """Give (key, line) of one pydantic error."""
    parts = _parts(error["loc"])
    key = _key(parts)
    wrong, remedy = _words(error)
    value = _shown(key, error)
    if error["type"] == "extra_forbidden":
        remedy = _likely(model, parts) or remedy
        value = "" if isinstance(error["input"], (dict, list)) else value
    if not key:  # the model's only check of a whole file
        key, value = "domain", ""
    return key, line(file, key, value, wrong, remedy)


def _read(model: type[M], path: Path) -> M:
    table = _table(path)
    try:
        return model.model_validate(table)
    except ValidationError as exc:
        problems: dict[str, str] = {}
        for error in exc.errors(include_url=False):
            if error["type"] == "too_short" and error["input"]:
                continue  # its elements are wrong, and are told themselves
            key, text = _problem(path.name, model, error)
            problems.setdefault(key, text)  # a union gives one error for each branch: the first is enough
        raise ConfigFault(list(problems.values())) from exc


def load_config(folder: Path) -> Config:
    """Give the configuration of a folder. Raises ConfigFault with one line for each problem of both files."""
    problems: list[str] = []
    operator: OperatorConfig | None = None
    domains: DomainsConfig | None = None
    try:
        operator = _read(OperatorConfig, folder / OPERATOR_FILE)
    except ConfigFault as fault:
        problems += fault.problems
    try:
        domains = _read(DomainsConfig, folder / DOMAINS_FILE)
    except ConfigFault as fault:
        problems += fault.problems
    for file, found in ((OPERATOR_FILE, operator), (DOMAINS_FILE, domains)):
        problems += [line(file, *problem) for problem in (cross_problems(found) if found else ())]
    if problems or operator is None or domains is None:
        raise ConfigFault(problems)
    return Config(folder=folder.resolve(), operator=operator, domains=domains)
