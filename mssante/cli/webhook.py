"""`mssante webhook add|list|test|replay|remove`: hosts that are told of what becomes of documents and of mail that arrives.

The secret is printed once, alone on standard output, so that it can go into a file. Hosts come from `handover.webhook_hosts`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer

from mssante.cli.common import CHECK_FAILED, DEFAULT_CONFIG, AsJson, ConfigFolder, administer_config, emit, instant, moment, table
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.lang import say
from mssante.services.handevents import KINDS

if TYPE_CHECKING:
    from mssante.config.model import Config
    from mssante.services.admin import Admin
    from mssante.services.webhooks import Told, Webhooks
    from mssante.storage.webhooks import Webhook

app = typer.Typer(no_args_is_help=True, help="Webhooks : évènements dits aux programmes (events told to programs)")
T = TypeVar("T")
Hook = Annotated[str, typer.Argument(metavar="ID", help="wh_…")]


def _desk(config: Config, act: Callable[[Webhooks, Admin], Awaitable[T]]) -> T:
    """Run an action on the desk. Raises MssFault, OSError."""
    from mssante.services.privacy import load_key
    from mssante.topics.handover import webhooks_of

    secret = load_key(config.path(config.operator.storage.blobs).parent / "pseudonym.key")

    async def run(admin: Admin) -> T:
        return await act(webhooks_of(config, admin.stores, SystemClock(), secret), admin)

    return administer_config(config, run)


def _document(hook: Webhook) -> dict[str, Any]:
    return {"id": hook.id, "mailbox_id": hook.mailbox_id, "url": hook.url, "events": list(hook.kinds), "owner": hook.owner,
            "active": hook.active, "created_at": instant(hook.created_at)}


@app.command()
def add(mailbox: Annotated[str, typer.Argument(metavar="MAILBOX", help="Boîte d'ici (mailbox of ours)")],
        url: Annotated[str, typer.Argument(metavar="URL", help="https://hôte/chemin")],
        event: Annotated[list[str] | None, typer.Option("--event", "-e", help=" · ".join(KINDS))] = None,
        owner: Annotated[str, typer.Option("--owner", help="À qui il sert (whose it is)")] = "",
        config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Pose un webhook ; son secret est montré une seule fois (makes a webhook, its secret is shown once)."""
    async def act(desk: Webhooks, _: Admin) -> tuple[Webhook, str]:
        hook = await desk.add(mailbox, url, owner=owner, kinds=event or ())
        return hook, desk.shown_secret(hook)

    hook, secret = _desk(load_config(config), act)
    emit(as_json, {"ok": True, "secret": secret, **_document(hook)}, secret)
    if not as_json:
        typer.echo(say(f"webhook {hook.id} : copiez ce secret maintenant", f"webhook {hook.id}: copy this secret now"), err=True)


@app.command("list")
def list_(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les webhooks (lists webhooks)."""
    hooks = _desk(load_config(config), lambda desk, _: desk.all())
    headers = ("id", say("hôte", "host"), say("évènements", "events"), say("à qui", "owner"), say("posé", "made"),
               say("état", "state"))
    rows = [(one.id, urlsplit(one.url).netloc, " ".join(one.kinds) or say("tous", "all"), one.owner,
             moment(one.created_at) if one.created_at else "-",
             say("actif", "active") if one.active else say("arrêté", "stopped"))
            for one in hooks]
    emit(as_json, {"ok": True, "webhooks": [_document(one) for one in hooks]},
         *(table(headers, rows) if hooks else [say("aucun webhook", "no webhook")]))


@app.command()
def test(hook_id: Hook, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Appelle un webhook maintenant avec un évènement d'essai ; code 3 s'il n'entend pas (calls a webhook now)."""
    from mssante.topics.handover import poster_of

    loaded = load_config(config)

    async def act(desk: Webhooks, _: Admin) -> Told:
        return await desk.test(hook_id, poster_of(loaded))

    told = _desk(loaded, act)
    emit(as_json, {"ok": told.heard, "status": told.status, "detail": told.detail},
         say(f"réponse {told.status} {told.detail}", f"answer {told.status} {told.detail}").strip())
    if not told.heard:
        raise typer.Exit(CHECK_FAILED)


@app.command()
def replay(hook_id: Hook, since: Annotated[str, typer.Option("--since", help="2026-01-31T08:00:00+01:00")],
           config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Redit à un webhook ses évènements depuis un instant (tells events again since an instant)."""
    from mssante.services.handquery import parse_since

    moment_ = parse_since(since)
    count = _desk(load_config(config), lambda desk, _: desk.replay(hook_id, moment_))
    emit(as_json, {"ok": True, "replayed": count}, say(f"{count} évènements seront redits", f"{count} events will be told again"))


@app.command()
def remove(hook_id: Hook, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Retire un webhook et ce qu'il restait à lui dire (removes a webhook)."""
    _desk(load_config(config), lambda desk, _: desk.remove(hook_id))
    emit(as_json, {"ok": True, "id": hook_id}, say(f"webhook {hook_id} retiré", f"webhook {hook_id} removed"))
