"""`mssante account sync`: joiners and leavers from the local directory of `[provisioning] ldap_url`, once, now.

Beside a running server, which obeys within seconds. Exit codes: 0 nothing to say against, 3 when the guard held the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, administer_config, emit, progress, table
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.services.ldapsync import Outcome
    from mssante.services.ldapsync_plan import Change

_WORDS = {"create": ("arrivée", "joiner"), "rename": ("login changé", "renamed"), "update": ("noms changés", "names"),
          "return": ("retour", "returner"), "leave": ("départ", "leaver"), "forget": ("lien retiré", "link removed")}
DryRun = Annotated[bool, typer.Option("--dry-run", help="Montre sans rien changer (shows, changes nothing)")]
Force = Annotated[bool, typer.Option("--force", help="Passe le garde-fou des départs (lets the guard of leavers pass)")]


def sync(dry_run: DryRun = False, force: Force = False, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Suit l'annuaire local, LDAP ou Active Directory (follows the local directory)."""
    loaded = load_config(config)

    async def act(admin: Admin) -> Outcome:
        from mssante.topics.provisioning import sync_desk

        desk = sync_desk(loaded, admin.stores, SystemClock())
        if desk is None:
            raise InputFault(say("aucun annuaire local n'est configuré", "no local directory is configured"), rule="CFG-SYNC",
                             remedy="operator.toml [provisioning] ldap_url, ldap_base")
        return await desk.run(dry_run=dry_run, force=force)

    with progress(say("lecture de l'annuaire local", "reading the local directory"), as_json):
        done = administer_config(loaded, act)
    held = done.held is not None and not done.applied and not (force and dry_run)
    emit(as_json, _document(done, ok=not held), *_lines(done))
    if held:
        raise typer.Exit(CHECK_FAILED)


def _document(done: Outcome, *, ok: bool) -> dict[str, Any]:
    return {"ok": ok, "applied": done.applied, "seen": done.seen,
            "people": [{"action": one.action.value, "login": one.login, "mailbox": one.address, "before": one.before,
                        "external_id": one.external_id} for one in done.changes],
            "teams": [{"mailbox": one.address, "add": list(one.add), "remove": list(one.remove)} for one in done.teams],
            "problems": [{"rule": one.rule, "subject": one.subject, "text": one.text, "remedy": one.remedy}
                         for one in done.problems],
            "held": {"rule": done.held.rule, "text": done.held.text, "remedy": done.held.remedy} if done.held else None}


def _lines(done: Outcome) -> list[str]:
    rows = [(say(*_WORDS[one.action.value]), one.login, _detail(one)) for one in done.changes]
    rows += [(say("équipe", "team"), one.address, " ".join([*(f"+{login}" for login in one.add),
                                                           *(f"-{login}" for login in one.remove)])) for one in done.teams]
    told = [(one.rule, one.subject, one.text, one.remedy) for one in done.problems]
    out = table((say("quoi", "what"), say("qui", "who"), say("détail", "detail")), rows) if rows else []
    if told:
        out += ["", *table((say("règle", "rule"), say("qui", "who"), say("pourquoi", "why"), say("remède", "remedy")), told)]
    if done.held is not None and not done.applied:
        out += ["", f"{done.held.text} -> {done.held.remedy} [{done.held.rule}]"]
    count = len(done.changes) + len(done.teams)
    told_end = say(f"{done.seen} entrées, {count} changement(s), ", f"{done.seen} entries, {count} change(s), ")
    return [*out, told_end + (say("appliqués", "applied") if done.applied else say("non appliqués", "not applied"))]


def _detail(change: Change) -> str:
    return change.address or (f"{change.before} →" if change.before else "")
