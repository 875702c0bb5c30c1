"""`mssante account app-password | factors | sessions`: what an account proves itself with beside its main password.

Beside a running server: a revocation acts within two seconds. Every change is journalled with `by: admin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer, administer_config, emit, table
from mssante.config.load import load_config
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from pathlib import Path

    from mssante.services.admin import Admin
    from mssante.services.secondfactor import SecondFactors
    from mssante.storage.interfaces import Account

app_passwords = typer.Typer(no_args_is_help=True, help="Mots de passe d'application (app passwords)")
Login = Annotated[str, typer.Argument(metavar="LOGIN", help="Identifiant de connexion (login)")]
BY = "admin"


async def _account(admin: Admin, login: str) -> Account:
    found = await admin.stores.database.read(lambda tx: admin.stores.accounts.account_by_login(tx, login.lower()))
    if found is None:
        raise InputFault(say(f"compte inconnu : {login}", f"unknown login: {login}"), rule="COMPTE-INCONNU",
                         remedy="mssante account list")
    return found


def _time(value: Any) -> str:
    return value.isoformat(timespec="seconds") if value is not None else ""


@app_passwords.command("list")
def list_(login: Login, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les mots de passe d'application, jamais les secrets (lists app passwords, never secrets)."""
    async def read(admin: Admin) -> list[dict[str, Any]]:
        account = await _account(admin, login)
        found = await admin.stores.database.read(lambda tx: admin.stores.credentials.app_passwords(tx, account.id))
        return [{"handle": one.handle, "label": one.label, "scopes": sorted(one.scopes), "created_at": _time(one.created_at),
                 "last_used_at": _time(one.last_used_at), "expires_at": _time(one.expires_at)} for one in found]

    found = administer(config, read)
    emit(as_json, {"ok": True, "login": login.lower(), "app_passwords": found}, *table(
        (say("repère", "handle"), say("nom", "label"), say("ouvre", "opens"), say("utilisé", "used"), say("expire", "expires")),
        [(one["handle"], one["label"], " ".join(one["scopes"]), one["last_used_at"] or "-", one["expires_at"] or "-")
         for one in found]))


@app_passwords.command()
def create(
    login: Login,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="Nom du programme (name of the program)")],
    scope: Annotated[list[str] | None, typer.Option(
        "--scope", metavar="imap|submission|managesieve|ldap|carddav",
        help="Ce qu'il ouvre, répétable ; défaut imap et submission (what it opens)")] = None,
    days: Annotated[int, typer.Option("--days", min=0, max=3660,
                                      help="Durée en jours, 0 sans fin (life in days, 0: no end)")] = 0,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Crée un mot de passe d'application, montré une fois (makes an app password, shown once)."""
    from mssante.clock import SystemClock
    from mssante.services.apppasswords import AppPasswords

    async def make(admin: Admin) -> tuple[str, str]:
        account = await _account(admin, login)
        made = await AppPasswords(admin.stores, SystemClock()).create(
            account, label, scope or ["imap", "submission"], days=days, by=BY)
        return made.password, made.stored.handle

    password, handle = administer(config, make)
    emit(as_json, {"ok": True, "login": login.lower(), "handle": handle, "password": password,
                   "scram_login": f"{login.lower()}/{handle}"},
         say(f"mot de passe d'application, montré une seule fois : {password}", f"app password, shown only once: {password}"),
         say(f"pour SCRAM, identifiant {login.lower()}/{handle}", f"for SCRAM, login {login.lower()}/{handle}"))


@app_passwords.command()
def revoke(login: Login, handle: Annotated[str, typer.Argument(metavar="HANDLE", help="Repère (handle)")],
           config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Révoque un mot de passe d'application (revokes an app password)."""
    from mssante.clock import SystemClock
    from mssante.services.apppasswords import AppPasswords

    async def take(admin: Admin) -> bool:
        return await AppPasswords(admin.stores, SystemClock()).revoke(await _account(admin, login), handle, by=BY)

    if not administer(config, take):
        raise InputFault(say(f"repère inconnu : {handle}", f"unknown handle: {handle}"), rule="COMPTE-MOTS",
                         remedy=f"mssante account app-password list {login.lower()}")
    emit(as_json, {"ok": True, "login": login.lower(), "handle": handle, "action": "revoked"},
         say(f"révoqué : {handle}", f"revoked: {handle}"))


def factors(
    login: Login,
    reset: Annotated[bool, typer.Option("--reset", help="Retire tous les seconds facteurs et ferme les sessions web, après un "
                                                        "contrôle d'identité (removes all factors, ends web sessions)")] = False,
    codes: Annotated[bool, typer.Option("--codes", help="Fait de nouveaux codes de secours, à remettre en mains propres "
                                                        "(makes new recovery codes)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Montre les seconds facteurs ; les retire ; fait des codes de secours (shows, resets second factors; makes codes)."""
    read_config = load_config(config)

    async def work(admin: Admin) -> tuple[list[dict[str, Any]], int, list[str]]:
        desk, account = _factors(admin, read_config.path(read_config.operator.storage.blobs).parent), await _account(admin, login)
        gone = await desk.reset(account, by=BY) if reset else 0
        made = await desk.make_codes(account, by=BY) if codes else []
        return [{"kind": one.kind, "label": one.label, "created_at": _time(one.created_at),
                 "last_used_at": _time(one.last_used_at)} for one in await desk.of(account.id)], gone, made

    found, gone, made = administer_config(read_config, work)
    lines = [say(f"{gone} facteur(s) retiré(s), sessions web fermées",
                 f"{gone} factor(s) removed, web sessions ended")] if reset else []
    emit(as_json, {"ok": True, "login": login.lower(), "removed": gone, "codes": made, "factors": found}, *lines, *made, *table(
        (say("genre", "kind"), say("nom", "label"), say("ajouté", "added"), say("utilisé", "used")),
        [(one["kind"], one["label"], one["created_at"], one["last_used_at"] or "-") for one in found]))


def _factors(admin: Admin, folder: Path) -> SecondFactors:
    from mssante.clock import SystemClock
    from mssante.services.privacy import load_key
    from mssante.services.secondfactor import SecondFactors

    return SecondFactors(admin.stores, SystemClock(), load_key(folder / "pseudonym.key"))


def sessions(
    login: Login,
    end: Annotated[bool, typer.Option("--end", help="Ferme toutes les sessions web (ends all web sessions)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Montre ou ferme les sessions web d'un compte (shows or ends the web sessions of a login)."""
    from mssante.clock import SystemClock
    from mssante.services.websession import SessionTimes, WebSessions, session_name

    async def work(admin: Admin) -> tuple[list[dict[str, Any]], int]:
        account, desk = await _account(admin, login), WebSessions(admin.stores, SystemClock(), b"", SessionTimes())
        gone = await desk.end_others(account, by=BY) if end else 0
        return [{"session": session_name(one), "method": one.method.partition(":")[0], "created_at": _time(one.created_at),
                 "seen_at": _time(one.seen_at), "strong_at": _time(one.strong_at), "expires_at": _time(one.expires_at)}
                for one in await desk.of(account.id)], gone

    found, gone = administer(config, work)
    lines = [say(f"{gone} session(s) fermée(s)", f"{gone} session(s) ended")] if end else []
    emit(as_json, {"ok": True, "login": login.lower(), "ended": gone, "sessions": found}, *lines, *table(
        ("session", say("connexion", "login"), say("début", "begin"), say("vue", "seen"), say("facteur", "factor"),
         say("fin", "end")),
        [(one["session"], one["method"], one["created_at"], one["seen_at"], one["strong_at"] or "-", one["expires_at"])
         for one in found]))
