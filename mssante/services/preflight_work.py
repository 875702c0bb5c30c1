"""What a worker does for the pre-flight: compile rules, hold messages and files against them.

Functions of a module, as the workshop wants them; what is compiled stays in the worker for the next document. Runs in a worker
only (`services.workshop`): files are read from the folder of prepared rules, and from nowhere else.
"""

from __future__ import annotations

import json
from pathlib import Path

from mssante.documents.faults import DocumentFault
from mssante.documents.preflight import Preflight, Rule, Rules, examine_file, examine_message
from mssante.documents.schema import SchemaFiles, schema_of
from mssante.documents.schematron import Schematron, SchematronFiles, compile_schematron
from mssante.services.rulefiles import Prepared

_ready: dict[str, Rules] = {}


def compile_rules(rules: SchematronFiles) -> bytes:
    """Give the stylesheet of a schematron. Raises DocumentFault (`DOC-REGLES`)."""
    return compile_schematron(rules)


def check_schema(schema: SchemaFiles) -> int:
    """Try a schema; gives the number of its files. Raises DocumentFault (`DOC-REGLES`)."""
    schema_of(schema)
    return len(schema.files)


def warm(prepared: Prepared) -> int:
    """Load rules before the first document; gives the number of schematrons. Raises DocumentFault."""
    return len(_rules(prepared).schematrons)


def look_at_message(raw: bytes, prepared: Prepared) -> Preflight:
    """Judge a whole mail. Raises DocumentFault when the rules cannot be used."""
    return examine_message(raw, _rules(prepared))


def look_at_file(name: str, raw: bytes, prepared: Prepared) -> Preflight:
    """Judge a file: a CDA, an archive, a mail. Raises DocumentFault when the rules cannot be used."""
    return examine_file(name, raw, _rules(prepared))


def _rules(prepared: Prepared) -> Rules:
    """Give prepared rules, loaded once by this process."""
    if not prepared.digest:
        return Rules()
    found = _ready.get(prepared.digest)
    if found is None:
        _ready.clear()
        found = _ready[prepared.digest] = _load(Path(prepared.folder))
    return found


def _load(folder: Path) -> Rules:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        told = manifest.get("schema")
        schema = None if told is None else SchemaFiles(told["root"], {
            name: (folder / f"{number}.xsd").read_bytes() for number, name in enumerate(told["files"])}, told["digest"])
        schematrons = tuple(Rule(Schematron(one["name"], (folder / f"{number}.xsl").read_bytes()).run,
                                 frozenset(one["templates"])) for number, one in enumerate(manifest["schematrons"]))
    except (OSError, ValueError, KeyError) as fault:
        raise DocumentFault("prepared rules cannot be read", detail=type(fault).__name__, rule="DOC-REGLES",
                            remedy="remove the folder documents.rules_cache: it is made again") from fault
    return Rules(schema, schematrons)
