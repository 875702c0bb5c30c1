"""The folder of rules of the operator: read, turned into what workers run, kept on disk until a file changes.

- `documents.rules_directory` holds, anywhere below it: the CDA schema (`CDA.xsd`, else `CDA_extended.xsd`, with its
  neighbours), the engine of ISO schematron (the folder of `iso_svrl_for_xslt2.xsl`), and schematrons (`*.sch` whose root is
  `schema`). Patterns and value sets that these name stand beside them. `modeles.toml`, if any, says which documents a
  schematron is for: `[modeles]` then `"dossier/regle.sch" = ["1.2.250.1.213.1.1.1.1"]` (roots of templateId); none: all
  documents.
- What is prepared lies in `<cache>/<digest>`: written beside, then renamed, so that a cut leaves nothing half done; the digest is
  that of all files used, so that changed rules are compiled again, and others never.
- Limits: 5,000 files, 20 MiB each, 200 MiB in all; a link that leaves the folder is not followed. Raises DocumentFault
  `DOC-REGLES`.

Reads disk, so it runs in the executor or in a worker. Called by `services.preflight` and `services.preflight_work`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mssante.documents.faults import DocumentFault
from mssante.documents.schema import SchemaFiles
from mssante.documents.schematron import STEPS, SchematronFiles

SHAPE = "2"  # of what is prepared: changed when the compiler writes something else
MAX_FILES = 5000
MAX_FILE = 20 * 1024 * 1024
MAX_TOTAL = 200 * 1024 * 1024
_KEPT = 3  # prepared sets on disk
_VALUE_SET = re.compile(rb"([^/'\"\\<>\s]{1,150}\.xml)", re.IGNORECASE)
_SCHEMA_MARK = b"purl.oclc.org/dsdl/schematron"


@dataclass(frozen=True, slots=True)
class RuleSource:
    """What a folder of rules holds. templates: of each schematron, in order."""

    schema: SchemaFiles | None
    schematrons: tuple[SchematronFiles, ...]
    templates: tuple[tuple[str, ...], ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rules ready on disk. folder: `<cache>/<digest>`; empty digest: no rules."""

    digest: str = ""
    folder: str = ""


def _fault(detail: str) -> DocumentFault:
    return DocumentFault("the folder of rules cannot be used", detail=detail, rule="DOC-REGLES",
                         remedy="check documents.rules_directory: schema, engine and schematrons as published")


def _walk(folder: Path) -> Iterator[Path]:
    """Give the rule files below a folder, sorted, inside it only."""
    top, seen = folder.resolve(), 0
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (".xsd", ".sch", ".xsl", ".xml", ".toml") or not path.is_file():
            continue
        seen += 1
        if seen > MAX_FILES:
            raise _fault("too many files")
        if path.resolve().is_relative_to(top):
            yield path


def stamp(folder: Path) -> str:
    """Give what changes when a rule file does: names, sizes and times, not read."""
    told = hashlib.sha256()
    for path in _walk(folder):
        state = path.stat()
        told.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return told.hexdigest()


def read_rules(folder: Path) -> RuleSource:
    """Read a folder of rules. Raises DocumentFault (`DOC-REGLES`) when it holds none, or too much."""
    if not folder.is_dir():
        raise _fault("no such folder")
    files: dict[str, bytes] = {}
    named: set[str] = set()
    total = 0
    for path in sorted(_walk(folder), key=lambda path: path.suffix.lower() == ".xml"):  # value sets once their names are known
        if path.suffix.lower() == ".xml" and path.name not in named:
            continue
        size = path.stat().st_size
        total += size
        if size > MAX_FILE or total > MAX_TOTAL:
            raise _fault(f"{path.relative_to(folder).as_posix()} is too large")
        raw = files[path.relative_to(folder).as_posix()] = path.read_bytes()
        if path.suffix.lower() == ".sch":
            named.update(found.decode("utf-8", "replace") for found in _VALUE_SET.findall(raw))
    schema = _schema(files)
    names = [name for name, raw in files.items() if name.lower().endswith(".sch") and _is_schema(raw)]
    if schema is None and not names:
        raise _fault("no schema and no schematron")
    models = _models(files.get("modeles.toml"))
    rules = {name: raw for name, raw in files.items() if name.lower().endswith((".sch", ".xml"))}
    engine = _engine(files, folder) if names else ""
    told = hashlib.sha256(SHAPE.encode())
    for name in sorted(files):
        told.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return RuleSource(schema, tuple(SchematronFiles(name, rules, engine) for name in names),
                      tuple(tuple(models.get(name, ())) for name in names), told.hexdigest())


def _is_schema(raw: bytes) -> bool:
    """Tell a whole schematron from a pattern that others include."""
    begin = raw[:20_000]
    opened = begin.find(b"schema")
    return _SCHEMA_MARK in begin and opened >= 0 and any(mark in begin for mark in (b"<schema", b":schema "))


def _schema(files: dict[str, bytes]) -> SchemaFiles | None:
    for wanted in ("CDA.xsd", "CDA_extended.xsd"):
        roots = [name for name in files if name.rpartition("/")[2] == wanted]
        if roots:
            root = min(roots, key=len)
            top = root.rpartition("/")[0]
            within = {name.removeprefix(f"{top}/") if top else name: raw for name, raw in files.items()
                      if name.lower().endswith(".xsd") and (not top or name.startswith(f"{top}/"))}
            digest = hashlib.sha256(b"".join(name.encode() + within[name] for name in sorted(within))).hexdigest()
            return SchemaFiles(wanted, within, digest)
    return None


def _engine(files: dict[str, bytes], folder: Path) -> str:
    for name in files:
        place, _, last = name.rpartition("/")
        if last == STEPS[-1] and all(f"{place}/{step}".lstrip("/") in files for step in STEPS):
            return str((folder / place).resolve())
    raise _fault(f"no folder holds {', '.join(STEPS)}")


def _models(raw: bytes | None) -> dict[str, list[str]]:
    """Read `modeles.toml`."""
    if raw is None:
        return {}
    try:
        given = tomllib.loads(raw.decode()).get("modeles", {})
        return {str(name): [str(root) for root in roots] for name, roots in given.items()}
    except (ValueError, AttributeError, TypeError) as fault:
        raise _fault("modeles.toml cannot be read") from fault


def kept(cache: Path, digest: str) -> Prepared | None:
    """Give rules prepared before, or None."""
    folder = cache / digest
    if not (folder / "manifest.json").is_file():
        return None
    with suppress(OSError):
        os.utime(folder)
    return Prepared(digest, str(folder.resolve()))


def keep(cache: Path, source: RuleSource, compiled: Sequence[bytes]) -> Prepared:
    """Write prepared rules; another process may do the same at the same time. Raises OSError."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=cache))
    try:
        manifest: dict[str, object] = {"schematrons": []}
        if source.schema is not None:
            names = sorted(source.schema.files)
            manifest["schema"] = {"root": source.schema.root, "digest": source.schema.digest, "files": names}
            for number, name in enumerate(names):
                (work / f"{number}.xsd").write_bytes(source.schema.files[name])
        manifest["schematrons"] = [{"name": rules.name, "templates": list(templates)} for rules, templates in
                                   zip(source.schematrons, source.templates, strict=True)]
        for number, stylesheet in enumerate(compiled):
            (work / f"{number}.xsl").write_bytes(stylesheet)
        (work / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        with suppress(OSError):  # somebody else was first
            work.rename(cache / source.digest)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _forget(cache)
    found = kept(cache, source.digest)
    if found is None:
        raise _fault("prepared rules cannot be written")
    return found


def _forget(cache: Path) -> None:
    """Remove the oldest prepared sets beyond three."""
    sets = sorted((path for path in cache.iterdir() if (path / "manifest.json").is_file()), key=lambda path: path.stat().st_mtime)
    for path in sets[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
