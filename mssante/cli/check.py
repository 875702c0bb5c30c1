"""`mssante check [DIR]`: says what is well, what to look at and what must be mended before `serve`, and why.

Each finding has a stable number, a state (ok, warn, fail), the value seen and the remedy. Exit code 0 when nothing fails, 3
when something does. Changes nothing and fetches nothing. `--config-only` reads the two configuration files and no other;
where they are absent, `operator.example.toml` and `domains.example.toml` are read in their place.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mssante.cli.checks.finding import Finding, State, ok
from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, emit, progress
from mssante.config.load import DOMAINS_FILE, MAX_FILE, OPERATOR_FILE, ConfigFault, load_config
from mssante.config.model import Config
from mssante.lang import say

_MARKS = {State.OK: ("ok       ", "ok    "), State.WARN: ("attention", "warn  "), State.FAIL: ("ÉCHEC    ", "FAIL  ")}


def check(
    config: Annotated[Path, typer.Argument(metavar="[DIR]", help="Dossier de configuration (configuration folder)",
                                           )] = DEFAULT_CONFIG,
    config_only: Annotated[bool, typer.Option(
        "--config-only", help="Les deux fichiers TOML seulement, ou leurs exemples (the two TOML files only)")] = False,
    as_json: AsJson = False,
) -> None:
    """Contrôle configuration, certificats, confiance, stockage, réseau ; code 3 si un contrôle échoue (checks all)."""
    try:
        loaded = _load_examples(config) if config_only else load_config(config)
    except ConfigFault as fault:
        _print([Finding("CONF-01", State.FAIL, say("configuration", "configuration"), problem, "", "CONFIG")
                for problem in fault.problems], as_json)
        raise typer.Exit(CHECK_FAILED) from fault
    domains = ", ".join(one.name for one in loaded.domains.domain)
    findings = [ok("CONF-01", say("configuration", "configuration"),
                   say(f"opérateur {loaded.operator.operator.name}, domaines {domains}",
                       f"operator {loaded.operator.operator.name}, domains {domains}"))]
    if not config_only:
        with progress(say("contrôles", "checking"), as_json):
            findings += _all(loaded)
    _print(findings, as_json)
    if any(one.state is State.FAIL for one in findings):
        raise typer.Exit(CHECK_FAILED)


def _load_examples(folder: Path) -> Config:
    """Read the two files, or their examples where no file stands yet. Raises ConfigFault."""
    if (folder / OPERATOR_FILE).exists() or (folder / DOMAINS_FILE).exists():
        return load_config(folder)
    with tempfile.TemporaryDirectory() as name:
        for file in (OPERATOR_FILE, DOMAINS_FILE):
            example = folder / file.replace(".toml", ".example.toml")
            if example.is_file() and example.stat().st_size <= MAX_FILE:
                (Path(name) / file).write_bytes(example.read_bytes())
        return load_config(Path(name))


def _all(config: Config) -> Iterator[Finding]:
    """Run every control, each on its own: one that fails hides none of the others."""
    from datetime import timedelta

    from mssante.cli.checks import files, system, trust
    from mssante.clock import SystemClock
    from mssante.trust.crl import CrlSet
    from mssante.trust.peer import PeerPolicy

    now = SystemClock().now()
    section = config.operator.trust
    anchors, findings = trust.anchor_findings(config, now)
    yield from findings
    crls, findings = trust.crl_findings(config, anchors, now) if anchors is not None else (CrlSet(), [])
    policy = PeerPolicy(section.eku, config.operator.operator.production, timedelta(seconds=section.crl_grace_seconds))
    yield from files.certificate_findings(config, files.TrustFacts(anchors, crls, policy, now))
    yield from findings
    yield from trust.list_findings(config, now)
    yield from system.storage_findings(config)
    yield from system.disk_findings(config)
    yield from system.network_findings(config)


def _print(findings: list[Finding], as_json: bool) -> None:
    counts = {state.value: sum(one.state is state for one in findings) for state in State}
    lines = []
    for one in findings:
        rule = f" [{one.rule}]" if one.rule else ""
        lines.append(f"{say(*_MARKS[one.state])} {one.number:10} {one.title} : {one.seen}{rule}")
        if one.remedy:
            lines.append(f"{'':10}{'':11}-> {one.remedy}")
    summary = say(f"{counts['ok']} bons, {counts['warn']} à regarder, {counts['fail']} en échec",
                  f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")
    emit(as_json, {"ok": counts["fail"] == 0, "counts": counts, "findings": [
        {"number": one.number, "state": one.state.value, "title": one.title, "seen": one.seen, "remedy": one.remedy,
         "rule": one.rule} for one in findings]}, *lines, "", summary)
