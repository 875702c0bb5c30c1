"""Validation of a CDA by the HL7 schema with the extensions of ANS (CI-SIS, « Structuration minimale »).

- The schema files are the operator's (`documents.rules_directory`), read into `SchemaFiles` by the caller: each is parsed by
  the hardened reader first, and may include only its neighbours (a relative path inside the folder): nothing is fetched.
- A self-rendering document (a stylesheet that embeds a CDA) is judged by its inner ClinicalDocument; lines stay those of the
  file.
- The words are French, with the parser's own English beside for what has no translation. Runs in a worker (`services.workshop`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from lxml import etree

from mssante.documents.faults import DocumentFault
from mssante.documents.remarks import MAX_REMARKS, Remark, Source, one_line
from mssante.lang import say
from mssante.protocol.xml import parse_xml

MAX_SCHEMA_BYTES = 20 * 1024 * 1024
_XSD = "{http://www.w3.org/2001/XMLSchema}"
_NAME = r"(?:\{[^}]*\})?([\w.:-]+)"
_FORMS = (  # what libxml2 says, and the same in French; groups are names and values
    (rf"Element '{_NAME}': This element is not expected\. Expected is (.+)\.",
     "élément {0} mal placé ou de trop ; attendu ici : {1}"),
    (rf"Element '{_NAME}': This element is not expected\.", "élément {0} mal placé ou de trop"),
    (rf"Element '{_NAME}': Missing child element\(s\)\. Expected is (.+)\.",
     "élément {0} incomplet ; il lui manque : {1}"),
    (rf"Element '{_NAME}', attribute '{_NAME}': The attribute '{_NAME}' is not allowed\.",
     "élément {0} : attribut {1} non admis"),
    (rf"Element '{_NAME}': The attribute '{_NAME}' is required but missing\.", "élément {0} : attribut {1} manquant"),
    (rf"Element '{_NAME}', attribute '{_NAME}': \[facet '(\w+)'\] (?:The value )?'?(.*?)'? ?(?:is not|The value).*",
     "élément {0}, attribut {1} : valeur « {3} » non admise"),
    (rf"Element '{_NAME}', attribute '{_NAME}': '(.*)' is not a valid value of .*",
     "élément {0}, attribut {1} : valeur « {2} » non admise"),
    (rf"Element '{_NAME}': Character content (?:other than whitespace )?is not allowed.*", "élément {0} : texte non admis"),
)
_COMPILED = tuple((re.compile(pattern, re.DOTALL), french) for pattern, french in _FORMS)


@dataclass(frozen=True, slots=True)
class SchemaFiles:
    """root: path of the entry file; files: path → content, all relative to one folder, `/` between; digest: of all of them."""

    root: str
    files: Mapping[str, bytes]
    digest: str


def checked_schema(files: SchemaFiles) -> etree._Element:
    """Give the entry file as one schema whose includes are all inside; nothing else is ever opened.

    Raises DocumentFault (`DOC-REGLES`) when a file asks for one outside of the folder, or cannot be read.
    """
    for path, raw in files.files.items():
        root = _parsed(path, raw)
        for node in root.iter(f"{_XSD}include", f"{_XSD}import", f"{_XSD}redefine"):
            target = node.get("schemaLocation")
            if target is not None and inside(path, target) is None:
                raise DocumentFault("a schema file asks for a file outside of its folder", detail=path, rule="DOC-REGLES",
                                    remedy="keep all schema files in documents.rules_directory")
    return _parsed(files.root, files.files[files.root])


def inside(path: str, target: str) -> str | None:
    """Give the path that `target` means seen from the file `path`, or None when it leaves the folder or is an address."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", target) or target.startswith(("/", "\\", "~")) or "\\" in target or "%" in target:
        return None
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return None if found.startswith("../") or found in ("..", ".") else found


def _parsed(path: str, raw: bytes) -> etree._Element:
    try:
        return parse_xml(raw, max_bytes=MAX_SCHEMA_BYTES)
    except Exception as fault:
        raise DocumentFault("a rule file cannot be read", detail=f"{path}: {getattr(fault, 'rule', type(fault).__name__)}",
                            rule="DOC-REGLES", remedy="put back the files as published") from fault


class _Neighbours(etree.Resolver):
    """Gives included files from memory, and nothing for any other address."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def resolve(self, system_url: str | None, public_id: str | None, context: object) -> object:  # type: ignore[override]
        """Give one file by its invented address `mssante-rules/<path>`."""
        path = posixpath.normpath((system_url or "").partition("mssante-rules/")[2])
        raw = self._files.get(path)
        if raw is None:
            return self.resolve_empty(context)  # type: ignore[attr-defined]
        return self.resolve_string(raw, context, base_url=f"mssante-rules/{path}")


_ready: dict[str, etree.XMLSchema] = {}


def schema_of(files: SchemaFiles) -> etree.XMLSchema:
    """Give the schema, compiled once per process. Raises DocumentFault (`DOC-REGLES`)."""
    found = _ready.get(files.digest)
    if found is None:
        checked_schema(files)
        parser = etree.XMLParser(no_network=True, load_dtd=False, resolve_entities=False)
        parser.resolvers.add(_Neighbours(files.files))
        try:
            tree = etree.parse(f"mssante-rules/{files.root}", parser)
            found = etree.XMLSchema(tree)
        except (etree.XMLSchemaParseError, etree.XMLSyntaxError, OSError) as fault:
            raise DocumentFault("the CDA schema cannot be used", detail=one_line(str(fault))[:200], rule="DOC-REGLES",
                                remedy="put back the schema files as published") from fault
        _ready.clear()
        _ready[files.digest] = found
    return found


def schema_remarks(document: etree._Element, files: SchemaFiles, file: str) -> tuple[Remark, ...]:
    """Give what the schema says of a ClinicalDocument element: at most 200 remarks, in order. Raises DocumentFault."""
    schema = schema_of(files)
    if schema.validate(document):
        return ()
    return tuple(Remark(Source.SCHEMA, f"CDA-XSD-{entry.type_name.removeprefix('SCHEMAV_')}"[:64], file, entry.line,
                        one_line(_words(entry.message)),
                        say("faites corriger la structure du document par le logiciel qui l'a produit",
                            "have the software that made the document correct its structure"))
                 for entry in islice(cast(Iterable[Any], schema.error_log), MAX_REMARKS))


def _words(message: str) -> str:
    """Give the words of libxml2 in French with its own beside, or its own in English."""
    english = re.sub(r"\{[^}]*\}", "", message)
    for pattern, french in _COMPILED:
        found = pattern.fullmatch(message.strip())
        if found:
            values = [re.sub(r"\{[^}]*\}", "", group or "").replace("one of (", "l’un de (") for group in found.groups()]
            return say(french.format(*values), english)
    return say(f"structure non conforme au schéma : {english}", english)
