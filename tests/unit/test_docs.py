"""Documents cannot lie about the tree: named files exist, every requirement named in the code stands in the table, and back."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = [*(ROOT / name / "README.md" for name in (".", "certs", "whitelist")), *sorted((ROOT / "docs").rglob("*.md"))]
REFERENCE = re.compile(r"\b(RFC \d{3,5}|ECO(?:\.\d+){2,3}|ITI-\d+|F\d{1,2}\.\d{1,2}|RQ-[A-Z]+|CVE-\d{4}-\d+|TRE_[A-Z]\d+)\b")
TABLE: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "docs" / "conformance.toml").read_text(encoding="utf-8"))
ADRS = sorted((ROOT / "docs" / "adr").glob("*.md"))
ADR_PARTS = ["Context", "Decision", "Consequences", "Alternatives"]


def references() -> dict[str, list[str]]:
    """Every requirement named in `mssante/`, with the files that name it."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "mssante").rglob("*.py")):
        for identifier in set(REFERENCE.findall(file.read_text(encoding="utf-8"))):
            found.setdefault(identifier, []).append(str(file.relative_to(ROOT)))
    return found


def named_paths(text: str) -> set[str]:
    """The paths of the repository that a document names in code marks or links."""
    marked = set(re.findall(r"`((?:mssante|tests|docs|bench)/[A-Za-z0-9_./\-]+)`", text))
    return {path for path in marked if "*" not in path}


def linked_paths(document: Path) -> set[Path]:
    """The files that a document links to."""
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    return {(document.parent / link).resolve() for link in links}


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_named_in_a_document_exists(document: Path) -> None:
    missing = sorted(path for path in named_paths(document.read_text(encoding="utf-8")) if not (ROOT / path).exists())
    missing += sorted(str(path) for path in linked_paths(document) if not path.exists())
    assert not missing, f"{document.name} names what is not there: {missing}"


def test_flow_names_the_files_of_the_four_routes() -> None:
    text = (ROOT / "docs" / "flow.md").read_text(encoding="utf-8")
    assert [f"## ({letter})" in text for letter in "abcd"] == [True] * 4
    assert len(named_paths(text)) >= 40


@pytest.mark.parametrize("document", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_hold_nothing_of_a_machine(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w./~-])/(?:home|root|work|tmp|Users)/", text)
    assert not re.search(r"https?://[^\s`]*(?:pypi|/simple\b|index-url)", text)


def test_the_commands_of_the_readme_exist() -> None:
    from typer.main import get_command

    from mssante.cli.main import application

    root: Any = get_command(application())
    text = (ROOT / "README.md").read_text(encoding="utf-8") + (ROOT / "whitelist" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|[`/ ])mssante ([a-z][a-z0-9]+)(?: ([a-z][a-z\-|\\]+)\b)?", text, re.MULTILINE))
    assert len(named) >= 10
    for subject, words in named:
        assert subject in root.commands, subject
        group = getattr(root.commands[subject], "commands", None)
        for word in re.split(r"\\?\|", words) if group is not None and words else []:
            assert word in group, f"{subject} {word}"


def test_every_requirement_named_in_the_code_stands_in_the_table() -> None:
    missing = {identifier: files for identifier, files in references().items() if identifier not in TABLE}
    assert not missing, f"add to docs/conformance.toml: {missing}"


def test_no_table_is_left_for_what_the_code_names_no_more() -> None:
    assert not set(TABLE) - set(references())


@pytest.mark.parametrize("identifier", TABLE)
def test_an_entry_of_the_table_is_true(identifier: str) -> None:
    entry = TABLE[identifier]
    assert set(entry) - {"note"} == {"title", "status", "code", "tests"}
    assert entry["title"] and entry["status"] in ("yes", "partial")
    assert entry["code"] and entry["tests"]
    assert ("note" in entry) == (entry["status"] == "partial"), "partial says what is done; yes has nothing to add"
    assert [path for path in (*entry["code"], *entry["tests"]) if not (ROOT / path).is_file()] == []
    assert [path for path in entry["code"] if path not in references_once()[identifier]] == []


_KEPT: dict[str, list[str]] = {}


def references_once() -> dict[str, list[str]]:
    """`references`, read once."""
    if not _KEPT:
        _KEPT.update(references())
    return _KEPT


def test_adr_are_numbered_without_hole() -> None:
    assert [file.name[:4] for file in ADRS] == [f"{rank:04d}" for rank in range(1, len(ADRS) + 1)]
    assert len(ADRS) >= 8


@pytest.mark.parametrize("file", ADRS, ids=lambda path: path.name)
def test_an_adr_has_its_four_parts_on_one_page(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"# {file.name[:4]}. ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ADR_PARTS
    assert len(text.splitlines()) <= 60


def test_the_dockerfile_keeps_its_promises() -> None:
    lines = [line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "FROM python:3.11-slim"
    assert "USER mssante" in lines and any("/healthz" in line for line in lines)
    assert sum(line.startswith("VOLUME") for line in lines) == 1
    assert sum(line.startswith(("ENTRYPOINT", "CMD")) for line in lines) == 2
    for line in lines:
        for source in re.findall(r"^COPY (.+) \S+$", line):
            assert all((ROOT / name).exists() for name in source.split()), source
