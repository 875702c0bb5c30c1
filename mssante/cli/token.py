"""`mssante token create|list|revoke`: tokens of programs for the web door (directory API, SCIM).

The text of a token is printed once, alone on standard output, so that it can go into a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer, emit, instant, moment, table
from mssante.clock import SystemClock
from mssante.lang import say
from mssante.services.apitokens import SCOPES, ApiTokens, NewToken

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.storage.apitokens import ApiToken

app = typer.Typer(no_args_is_help=True, help="Jetons des programmes (tokens of programs)")


def _document(token: ApiToken) -> dict[str, Any]:
    return {"id": token.id, "label": token.label, "scopes": sorted(token.scopes), "created_at": instant(token.created_at),
            "last_used_at": instant(token.last_used_at) if token.last_used_at else None,
            "expires_at": instant(token.expires_at) if token.expires_at else None}


@app.command()
def create(
    label: Annotated[str, typer.Argument(help="À qui il sert (what it is for)")],
    scope: Annotated[list[str], typer.Option("--scope", "-s", help=" · ".join(SCOPES))],
    days: Annotated[int, typer.Option("--days", help="Durée de vie en jours (life in days)")] = 365,
    mailbox: Annotated[list[str] | None, typer.Option(
        "--mailbox", "-m", help="Boîte pour documents:send et events (mailbox of documents:send and events)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Crée un jeton, montré une seule fois (makes a token, shown once)."""
    async def act(admin: Admin) -> NewToken:
        return await ApiTokens(admin.stores, SystemClock()).create(label, scope, days=days, mailboxes=mailbox or ())

    made = administer(config, act)
    emit(as_json, {"ok": True, "token": made.text, **_document(made.token)}, made.text)
    if not as_json:
        typer.echo(say(f"jeton {made.token.id} : copiez-le maintenant, il ne sera plus montré",
                       f"token {made.token.id}: copy it now, it is not shown again"), err=True)


@app.command("list")
def list_(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les jetons (lists tokens)."""
    async def act(admin: Admin) -> list[ApiToken]:
        return await ApiTokens(admin.stores, SystemClock()).all()

    tokens = administer(config, act)
    headers = ("id", say("nom", "label"), say("portées", "scopes"), say("créé", "created"), say("servi", "last used"),
               say("finit", "expires"))
    lines = table(headers, [(one.id, one.label, " ".join(sorted(one.scopes)), moment(one.created_at),
                             moment(one.last_used_at) if one.last_used_at else "-",
                             moment(one.expires_at) if one.expires_at else "-") for one in tokens])
    emit(as_json, {"ok": True, "tokens": [_document(one) for one in tokens]},
         *(lines if tokens else [say("aucun jeton", "no token")]))


@app.command()
def revoke(token_id: Annotated[int, typer.Argument(metavar="ID")], config: ConfigFolder = DEFAULT_CONFIG,
           as_json: AsJson = False) -> None:
    """Retire un jeton ; obéi en 10 s par un serveur en marche (removes a token)."""
    async def act(admin: Admin) -> None:
        await ApiTokens(admin.stores, SystemClock()).revoke(token_id)

    administer(config, act)
    emit(as_json, {"ok": True, "id": token_id}, say(f"jeton {token_id} retiré", f"token {token_id} revoked"))
