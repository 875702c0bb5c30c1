"""The reference page and the examples say what the models say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from mssante.config.document import _SENSES, _is_table, _section_of, document
from mssante.config.load import load_config
from mssante.config.model import DomainsConfig, OperatorConfig

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "operator_config"
FILES: list[tuple[str, type[BaseModel]]] = [("operator", OperatorConfig), ("domains", DomainsConfig)]


def keys(model: type[BaseModel]) -> list[tuple[str, str]]:
    """Every (section, key) of a file."""
    return [(name, key) for name, field in model.model_fields.items()
            for key in _section_of(field.annotation)[0].model_fields]


def test_the_page_is_the_one_generated() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == document(), "run: python -m mssante.config.document > docs/configuration.md"


def test_every_key_stands_on_the_page_with_its_sense() -> None:
    page = document()
    for _, model in FILES:
        for section, key in keys(model):
            field = _section_of(model.model_fields[section].annotation)[0].model_fields[key]
            assert field.description or _SENSES[f"{section}.{key}"]
            assert (f"### `[[{section}.{key}]]`" if _is_table(field.annotation) else f"| `{key}` |") in page


def test_no_sense_is_given_to_a_key_that_is_gone() -> None:
    known = {f"{section}.{key}" for _, model in FILES for section, key in keys(model)}
    assert set(_SENSES) <= known


def test_the_examples_are_accepted(tmp_path: Path) -> None:
    for name, _ in FILES:
        (tmp_path / f"{name}.toml").write_bytes((EXAMPLES / f"{name}.example.toml").read_bytes())
    assert load_config(tmp_path).operator.operator.name == "exemple"


@pytest.mark.parametrize(("name", "model"), FILES, ids=["operator", "domains"])
def test_the_examples_name_every_key_with_a_comment(name: str, model: type[BaseModel]) -> None:
    lines = (EXAMPLES / f"{name}.example.toml").read_text(encoding="utf-8").splitlines()
    section = ""
    found: dict[tuple[str, str], str] = {}
    comment = ""
    for line in lines:
        if table := re.match(r"# \[\[([a-z0-9_]+)\.([a-z_]+)\]\]$", line):
            found[(table[1], table[2])] = comment
            section = f"{table[1]}.{table[2]}"
        elif heading := re.match(r"\[+([a-z0-9_.]+)\]+$", line):
            section, _, sub = heading[1].partition(".")
            if sub:
                found[(section, sub)] = "a table"
            comment = ""
        elif key := re.match(r"(?:# )?([a-z_]+) = ", line):
            found[(section, key[1])] = comment
        elif line.startswith("#"):
            comment += line
        elif not line:
            comment = ""
    assert {one for one in found if "." not in one[0]} == set(keys(model))
    assert all(found.values())


def test_the_examples_hold_the_defaults() -> None:
    table = tomllib.loads((EXAMPLES / "operator.example.toml").read_text(encoding="utf-8"))
    chosen = OperatorConfig.model_validate(table)
    default = OperatorConfig(operator=chosen.operator)
    differing = {f"{name}.{key}" for name in OperatorConfig.model_fields for key in type(getattr(chosen, name)).model_fields
                 if getattr(getattr(chosen, name), key) != getattr(getattr(default, name), key)}
    assert differing == set()
