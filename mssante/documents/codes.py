"""The code tables of the French nomenclature, as data: type to class, model to format, labels.

- The tables are the package file `data/nomenclature.toml`; a code that it lacks is carried as the document gives it.
- Called by `metadata`; nothing else knows a code value. A newer table is given to `Nomenclature.from_toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from mssante.errors import InputFault


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value. scheme: OID of its code system; label: human text, may be empty."""

    code: str
    scheme: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Nomenclature:
    """Look-ups used to derive XDS metadata from a CDA header (spec digest ans-data §7, §8)."""

    schemes: Mapping[str, str]
    classes: Mapping[str, str]
    types: Mapping[tuple[str, str], tuple[str, str]]
    models: Mapping[str, Code]
    unstructured: Mapping[str, Code]
    unknown_format: Code
    labels: Mapping[tuple[str, str], str]
    masking: Mapping[str, Code]
    content_type: Code

    @classmethod
    def from_toml(cls, text: str) -> Nomenclature:
        """Read the tables from TOML text in the shape of `data/nomenclature.toml`.

        Raises InputFault (`NOM-SHAPE`) when a table is missing or malformed.
        """
        try:
            return cls._from_tables(tomllib.loads(text))
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as exc:
            raise InputFault("nomenclature file does not have its shape", detail=type(exc).__name__, rule="NOM-SHAPE",
                             remedy="compare it with the file of the package") from exc

    @classmethod
    def _from_tables(cls, tables: dict[str, Any]) -> Nomenclature:
        schemes: dict[str, str] = tables["schemes"]
        types = {(code, schemes[name]): (row[0], row[1])
                 for name, rows in tables["types"].items() for code, row in rows.items()}
        models = {model: Code(value, schemes[name], value)
                  for name, rows in tables["models"].items() for model, value in rows.items()}
        labels = {(code, schemes[name]): label for section in ("facilities", "practices", "confidentialities")
                  for name, rows in tables[section].items() for code, label in rows.items()}
        ihe = schemes["format_ihe"]
        fallback = tables["fallback"]
        content, label = next(iter(tables["content_types"]["content_type"].items()))
        return cls(
            schemes=schemes, classes=tables["classes"], types=types, models=models,
            unstructured={media: Code(value, ihe, value) for media, value in tables["unstructured"].items()},
            unknown_format=Code(fallback["format"], schemes[fallback["scheme"]], fallback["format"]), labels=labels,
            masking={code: Code(code, schemes["masking"], text)
                     for code, text in tables["confidentialities"]["masking"].items()},
            content_type=Code(content, schemes["content_type"], label))

    def class_of(self, kind: Code) -> Code | None:
        """Give the class of a document type (ASS_X04), or None when the association does not know the type."""
        value = self.types.get((kind.code, kind.scheme), ("", ""))[1]
        return Code(value, self.schemes["class"], self.classes.get(value, "")) if value else None

    def type_label(self, kind: Code) -> str:
        """Give the label of a document type in JDV_J07, or an empty string."""
        return self.types.get((kind.code, kind.scheme), ("", ""))[0]

    def labelled(self, value: Code) -> Code:
        """Give the same code with the label of the nomenclature, or its own label when the tables lack it."""
        return Code(value.code, value.scheme, self.labels.get((value.code, value.scheme), value.label))

    def format_of(self, templates: Sequence[str], media_type: str | None) -> Code | None:
        """Give the format: by media type of an unstructured body (N1), else by the most specific model (ASS_A11).

        The national model stands after the generic one in the header: the last known template wins. None: unknown.
        """
        if media_type is not None:
            return self.unstructured.get(media_type.lower())
        return next((self.models[name] for name in reversed(templates) if name in self.models), None)


@lru_cache(maxsize=1)
def default_nomenclature() -> Nomenclature:
    """Give the tables shipped with the package (read once)."""
    text = resources.files("mssante.documents").joinpath("data/nomenclature.toml").read_text("utf-8")
    return Nomenclature.from_toml(text)
