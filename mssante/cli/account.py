"""`mssante account …`: logins and their passwords. A login opens mailboxes; deleting it leaves them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mssante.cli.account_apps import app_passwords, factors, sessions
from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer, emit, progress, table
from mssante.cli.passwords import PasswordFile, PasswordStdin, read_password
from mssante.cli.sync import sync
from mssante.errors import InputFault
from mssante.lang import say

app = typer.Typer(no_args_is_help=True, help="Comptes et mots de passe (logins and passwords)")

app.add_typer(app_passwords, name="app-password")
app.command("factors")(factors)
app.command("sessions")(sessions)
app.command("sync")(sync)

Login = Annotated[str, typer.Argument(metavar="LOGIN", help="Identifiant de connexion (login)")]


def _done(as_json: bool, login: str, action: str, fr: str, en: str) -> None:
    emit(as_json, {"ok": True, "login": login.lower(), "action": action}, say(fr, en))


@app.command()
def add(
    login: Login,
    mailbox: Annotated[list[str] | None, typer.Option(
        "--mailbox", "-m", metavar="ADDRESS",
        help="Boîte ouverte, répétable ; la première est la sienne ; défaut : l'adresse du login (mailboxes it opens)")] = None,
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Crée un compte sur des boîtes existantes (creates a login on mailboxes that exist)."""
    addresses = mailbox or ([login] if "@" in login else [])
    if not addresses:
        raise InputFault(say(f"aucune boîte pour {login}", f"no mailbox for {login}"), rule="BAL-INCONNUE",
                         remedy="--mailbox nom@domaine")
    password = read_password(password_file, password_stdin)
    administer(config, lambda admin: admin.create_account(login, password, addresses))
    emit(as_json, {"ok": True, "login": login.lower(), "action": "created", "mailboxes": addresses},
         say(f"compte créé : {login.lower()} ouvre {', '.join(addresses)}",
             f"login created: {login.lower()} opens {', '.join(addresses)}"))


@app.command("list")
def list_(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les comptes, jamais les secrets (lists logins, never secrets).

    SCRAM « non » : ce compte ne se connecte que par mot de passe en TLS ; un nouveau mot de passe y remédie.
    """
    from mssante.services.admin import Admin

    async def read(admin: Admin) -> list[dict[str, Any]]:
        accounts = await admin.accounts()
        ids = sorted({one for account in accounts for one in account.mailbox_ids})
        boxes = await admin.stores.database.read(lambda tx: admin.stores.accounts.mailboxes_by_id(tx, ids))
        names = {box.id: box.address for box in boxes}
        return [{"login": one.login, "enabled": one.enabled, "scram": bool(one.scram),
                 "mailboxes": [names[i] for i in one.mailbox_ids if i in names]} for one in accounts]

    with progress(say("lecture des comptes", "reading logins"), as_json):
        found = administer(config, read)
    rows = [(one["login"], say("actif", "enabled") if one["enabled"] else say("désactivé", "disabled"),
             say("oui", "yes") if one["scram"] else say("non", "no"), " ".join(one["mailboxes"])) for one in found]
    emit(as_json, {"ok": True, "accounts": found}, *table((say("compte", "login"), say("état", "state"),
                                                           "SCRAM", say("boîtes", "mailboxes")), rows))


@app.command()
def password(login: Login, password_file: PasswordFile = None, password_stdin: PasswordStdin = False,
             config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Change le mot de passe (changes the password)."""
    secret = read_password(password_file, password_stdin)
    administer(config, lambda admin: admin.change_account(login, password=secret))
    _done(as_json, login, "password", f"mot de passe changé : {login.lower()}", f"password changed: {login.lower()}")


@app.command()
def disable(login: Login, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Interdit la connexion ; les boîtes reçoivent toujours (forbids login; its mailboxes still receive)."""
    administer(config, lambda admin: admin.change_account(login, enabled=False))
    _done(as_json, login, "disabled", f"compte désactivé : {login.lower()}", f"login disabled: {login.lower()}")


@app.command()
def enable(login: Login, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Autorise de nouveau la connexion (allows login again)."""
    administer(config, lambda admin: admin.change_account(login, enabled=True))
    _done(as_json, login, "enabled", f"compte activé : {login.lower()}", f"login enabled: {login.lower()}")


@app.command()
def delete(login: Login, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Supprime le compte ; ses boîtes restent (deletes the login; its mailboxes stay)."""
    administer(config, lambda admin: admin.delete_account(login))
    _done(as_json, login, "deleted", f"compte supprimé : {login.lower()}", f"login deleted: {login.lower()}")
