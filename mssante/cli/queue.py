"""`mssante queue …`: recipients that wait for another operator. A change is picked up by a running server at its next round."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, Limit, administer, emit, instant, moment, progress, table
from mssante.errors import InputFault
from mssante.lang import say
from mssante.storage.interfaces import QueueItem

app = typer.Typer(no_args_is_help=True, help="File d'attente sortante (outbound queue)")

QueueId = Annotated[int | None, typer.Option("--id", metavar="N", help="Un message en file (one queued message)")]
Destination = Annotated[str | None, typer.Option("--destination", "-d", metavar="DOMAIN",
                                                 help="Un domaine destinataire (one destination domain)")]
Everything = Annotated[bool, typer.Option("--all", help="Toute la file (the whole queue)")]


def document(item: QueueItem) -> dict[str, Any]:
    """Give one queued recipient as JSON holds it."""
    return {"id": item.queue_id, "trace_id": item.trace_id, "sender": item.sender, "recipient": item.address,
            "destination": item.destination, "state": item.state, "attempts": item.attempts,
            "next_attempt_at": instant(item.next_attempt_at), "created_at": instant(item.created_at),
            "expires_at": instant(item.expires_at), "last_reply": item.last_reply, "size_bytes": item.size}


def lines(items: list[QueueItem]) -> list[str]:
    """Give queued recipients as the lines of a table."""
    headers = ("id", say("état", "state"), say("essais", "tries"), say("prochain essai", "next attempt"),
               say("destinataire", "recipient"), "trace", say("dernière réponse", "last reply"))
    return table(headers, [(one.queue_id, one.state, one.attempts, moment(one.next_attempt_at), one.address, one.trace_id,
                            one.last_reply) for one in items])


@app.command("list")
def list_(destination: Destination = None, limit: Limit = 1000, config: ConfigFolder = DEFAULT_CONFIG,
          as_json: AsJson = False) -> None:
    """Liste les destinataires en attente, du plus ancien (lists waiting recipients, oldest first)."""
    with progress(say("lecture de la file", "reading the queue"), as_json):
        items = administer(config, lambda admin: admin.queue(destination=destination, limit=limit))
    emit(as_json, {"ok": True, "recipients": [document(one) for one in items]},
         *(lines(items) if items else [say("file vide", "the queue is empty")]))


@app.command()
def depth(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Compte les destinataires par état (counts recipients by state)."""
    found = administer(config, lambda admin: admin.queue_depth())
    counts = {"queued": 0, "held": 0, "failed": 0, **found}
    emit(as_json, {"ok": True, "depth": counts}, *(f"{state:8} {count}" for state, count in counts.items()))


def _change(action: str, target: tuple[int | None, str | None, bool], config: ConfigFolder, as_json: bool) -> None:
    """Do one change on what was chosen: exactly one of a message, a destination, the whole queue."""
    queue_id, destination, everything = target
    if (queue_id is not None) + (destination is not None) + everything != 1:
        raise typer.BadParameter(say("donnez --id, --destination ou --all, un seul",
                                     "give one of --id, --destination and --all"))
    count = administer(config, lambda admin: admin.change_queue(action, queue_id=queue_id, destination=destination))
    if count == 0 and not everything:
        chosen = f"--id {queue_id}" if queue_id is not None else f"--destination {destination}"
        raise InputFault(say(f"aucun destinataire de la file pour {chosen}", f"no queued recipient for {chosen}"),
                         rule="FILE-INCONNUE", remedy="mssante queue list")
    words = {"hold": say("retenu(s)", "held"), "release": say("rendu(s) à la file", "released"),
             "retry": say("à réessayer tout de suite", "due now"), "cancel": say("annulé(s)", "cancelled")}
    emit(as_json, {"ok": True, "action": action, "recipients": count},
         say(f"{count} destinataire(s) {words[action]}", f"{count} recipient(s) {words[action]}"))


@app.command()
def hold(queue_id: QueueId = None, destination: Destination = None, everything: Everything = False,
         config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Retient : plus d'essai avant release (holds: no attempt until release)."""
    _change("hold", (queue_id, destination, everything), config, as_json)


@app.command()
def release(queue_id: QueueId = None, destination: Destination = None, everything: Everything = False,
            config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Rend à la file ce qui est retenu (gives held recipients back)."""
    _change("release", (queue_id, destination, everything), config, as_json)


@app.command()
def retry(queue_id: QueueId = None, destination: Destination = None, everything: Everything = False,
          config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Réessaie tout de suite (tries again now)."""
    _change("retry", (queue_id, destination, everything), config, as_json)


@app.command()
def cancel(
    queue_id: QueueId = None, destination: Destination = None, everything: Everything = False,
    yes: Annotated[bool, typer.Option("--yes", help="Confirme l'annulation de toute la file (confirms --all)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Annule sans avis à l'expéditeur (cancels, without a report to the sender)."""
    if everything and not yes and queue_id is None and destination is None:
        raise InputFault(say("annuler toute la file demande une confirmation", "cancelling the whole queue asks to be confirmed"),
                         rule="FILE-CONFIRMER", remedy="mssante queue cancel --all --yes")
    _change("cancel", (queue_id, destination, everything), config, as_json)
