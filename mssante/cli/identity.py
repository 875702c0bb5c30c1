"""`mssante identity link | unlink | list`: the Pro Santé Connect subjects and the certificates that open an account.

Beside a running server: subjects act at the next login, certificates within seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mssante.cli.common import DEFAULT_CONFIG, USAGE, AsJson, ConfigFolder, administer, emit, instant, moment, read_limited, table
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.services.identities import IdentityDesk
    from mssante.storage.identities import Identity

MAX_FILE = 1024 * 1024
app = typer.Typer(no_args_is_help=True, help="Identités Pro Santé Connect et certificats des comptes (identities of logins)")

Login = Annotated[str, typer.Argument(metavar="LOGIN", help="Compte, ou adresse d'une BAL APP (login, or address of an APP box)")]
Subject = Annotated[str, typer.Option("--psc", metavar="ID", help="SubjectNameID de Pro Santé Connect : 8 + RPPS")]
Certificate = Annotated[Path | None, typer.Option("--certificate", metavar="FILE", help="Certificat ORG AUTH_CLI, PEM ou DER")]


def _desk(admin: Admin) -> IdentityDesk:
    from mssante.clock import SystemClock
    from mssante.services.identities import IdentityDesk

    return IdentityDesk(admin.stores, SystemClock())


def _one_of(subject: str, certificate: Path | None) -> None:
    if bool(subject) == (certificate is not None):
        typer.echo(say("donnez --psc ou --certificate", "give --psc or --certificate"), err=True)
        raise typer.Exit(USAGE)


def _document(one: Identity) -> dict[str, str | None]:
    return {"kind": one.kind, "identity": one.value, "login": one.login, "since": instant(one.created_at)}


@app.command()
def link(login: Login, psc: Subject = "", certificate: Certificate = None, config: ConfigFolder = DEFAULT_CONFIG,
         as_json: AsJson = False) -> None:
    """Donne une identité à un compte (gives an identity to a login). Une BAL APP reçoit un compte sans mot de passe."""
    _one_of(psc, certificate)
    raw = read_limited(certificate, MAX_FILE, "EXTERNE-ILLISIBLE") if certificate is not None else b""

    async def work(admin: Admin) -> Identity:
        desk = _desk(admin)
        return await (desk.link_certificate(login, raw) if raw else desk.link_subject(login, psc))

    found = administer(config, work)
    emit(as_json, {"ok": True, **_document(found)}, say(f"{found.login} : {found.value}", f"{found.login}: {found.value}"))


@app.command()
def unlink(
    psc: Subject = "", certificate: Certificate = None,
    name: Annotated[str, typer.Option("--dn", metavar="DN", help="Le nom tel que `identity list` l'écrit (as listed)")] = "",
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Retire une identité à qui l'a (takes an identity away)."""
    if not name:
        _one_of(psc, certificate)

    async def work(admin: Admin) -> str:
        from mssante.services.identities import certificate_name

        kind, value = ("psc", psc.strip()) if psc else ("dn", name)
        if certificate is not None:
            value = certificate_name(read_limited(certificate, MAX_FILE, "EXTERNE-ILLISIBLE"))
        await _desk(admin).unlink(kind, value)
        return value

    value = administer(config, work)
    emit(as_json, {"ok": True, "identity": value}, say(f"retirée : {value}", f"taken away: {value}"))


@app.command("list")
def list_(login: Annotated[str, typer.Argument(metavar="[LOGIN]", help="Un compte ; tous sinon (one login, else all)")] = "",
          config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les identités (lists identities)."""
    async def work(admin: Admin) -> list[Identity]:
        return await _desk(admin).list(login)

    found = administer(config, work)
    lines = table((say("compte", "login"), say("genre", "kind"), say("identité", "identity"), say("depuis", "since")),
                  [(one.login, one.kind, one.value, moment(one.created_at)) for one in found])
    emit(as_json, {"ok": True, "identities": [_document(one) for one in found]}, *lines)
