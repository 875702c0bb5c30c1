"""`mssante check [DIR]`: says what is well, what to look at and what must be mended before `serve`, and why; `mssante check peer
DOMAIN` looks at another operator's door (`cli.checkpeer`). A folder called `peer` is written `./peer`.

Each finding has a stable number, a state (ok, warn, fail), the value seen and the remedy. Exit code 0 when nothing fails, 3
when something does. Changes nothing and fetches nothing; `--online` asks the network too (DNS, clock, our doors from outside).
`--config-only` reads the two configuration files and no other; where they are absent, `operator.example.toml` and
`domains.example.toml` are read in their place.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mssante.cli import checkpeer
from mssante.cli.checks.finding import Finding, State, ok
from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, emit, progress
from mssante.config.load import DOMAINS_FILE, MAX_FILE, OPERATOR_FILE, ConfigFault, load_config
from mssante.config.model import Config
from mssante.lang import say

OURS = "ours"
_MARKS = {State.OK: ("ok       ", "ok    "), State.WARN: ("attention", "warn  "), State.FAIL: ("ÉCHEC    ", "FAIL  ")}


def check(
    config: Annotated[Path, typer.Argument(metavar="[DIR]", help="Dossier de configuration (configuration folder)",
                                           )] = DEFAULT_CONFIG,
    named: Annotated[Path | None, typer.Option(
        "--config", "-c", metavar="DIR", help="Le même dossier, nommé comme partout ailleurs (the same folder)")] = None,
    online: Annotated[bool, typer.Option(
        "--online", help="Contrôle aussi par le réseau : DNS, horloge, nos portes de dehors (asks the network too)")] = False,
    config_only: Annotated[bool, typer.Option(
        "--config-only", help="Les deux fichiers TOML seulement, ou leurs exemples (the two TOML files only)")] = False,
    as_json: AsJson = False,
) -> None:
    """Contrôle configuration, certificats, confiance, stockage, réseau ; code 3 si un contrôle échoue (checks all)."""
    config = named or config
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
            if online:
                findings += _online(loaded)
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

    from mssante.cli.checks import certificates, files, handing, holds, life, smime, system, trust
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
    yield from certificates.profile_findings(config, now)
    yield from certificates.calendar_findings(config, now)
    yield from trust.list_findings(config, now)
    yield from holds.pin_findings(config)
    yield from system.storage_findings(config)
    yield from holds.hold_findings(config, now)
    yield from life.life_findings(config)
    yield from smime.smime_findings(config, now)
    yield from handing.handing_findings(config, now)
    yield from system.disk_findings(config)
    yield from system.network_findings(config)


def _online(config: Config) -> list[Finding]:
    from mssante.cli.checks.online import online_findings

    return online_findings(config)


class OursByDefault(TyperGroup):
    """`check peer …` is its own command; anything else is `check` of our own folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command's name before what is not a command."""
        if args[:1] != ["--help"] and (not args or args[0] not in self.commands):
            args = [OURS, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=OursByDefault, add_completion=False, rich_markup_mode=None,
                  help="Contrôle notre opérateur (check [DIR]) ou un autre (check peer DOMAIN) ; code 3 si un contrôle échoue "
                       "(checks ours, or another operator)")
app.command(OURS)(check)
app.command("peer")(checkpeer.peer)


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
