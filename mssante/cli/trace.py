"""`mssante trace ID`: what happened to one message, from the journal, and where it lies now.

The id is the one of the 250 reply, of the Received header and of the logs. Shows envelope facts only, as the journal holds
them: never a subject or a content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer

from mssante.cli import queue
from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer, emit, moment, progress
from mssante.errors import InputFault
from mssante.lang import say
from mssante.storage.interfaces import JournalRow, QueueItem

QUEUE_LIMIT = 100_000
_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z")  # ids.new_trace_id: Crockford base 32

KINDS = {
    "interface_taken": ("message HL7 pris", "HL7 message taken"),
    "interface_refused": ("message HL7 refusé", "HL7 message refused"),
    "interface_given": ("message HL7 donné à l'application", "HL7 message given to the application"),
    "interface_repair": ("reprise HL7", "HL7 repair"),
    "receipt": ("accusé reçu", "receipt received"),
    "preflight": ("contrôle avant départ", "check before departure"),
    "twin_filed": ("vue lisible rangée", "readable view filed"),
    "departure_override": ("règle de départ passée outre", "departure rule overridden"),
    "opposition_changed": ("opposition d'un patient changée", "opposition of a patient changed"),
    "webhook_changed": ("webhook changé", "webhook changed"),
    "session_refused": ("session refusée", "session refused"), "sender_refused": ("expéditeur refusé", "sender refused"),
    "recipient_refused": ("destinataire refusé", "recipient refused"), "data_refused": ("contenu refusé", "content refused"),
    "received": ("reçu d'un opérateur", "received from an operator"), "submitted": ("déposé", "submitted"),
    "relayed": ("relayé", "relayed"),
    "deferred": ("différé", "deferred"), "bounced": ("refusé définitivement", "bounced"),
    "report_sent": ("avis envoyé", "report sent"), "login": ("connexion", "login"),
    "login_refused": ("connexion refusée", "login refused"),
    "token_refused": ("jeton refusé", "token refused"),
    "certificate_refused": ("certificat client refusé", "client certificate refused"),
    "identity_changed": ("identité d'un compte changée", "identity of a login changed"),
    "whitelist_adopted": ("liste adoptée", "list adopted"),
    "whitelist_alarm": ("alarme sur la liste", "alarm on the list"),
    "peer_certificate_changed": ("certificat d'un pair changé", "peer's certificate changed"),
    "expiry_near": ("échéance proche", "expiry is near"),
    "whitelist_pinned": ("retour à une liste", "list rolled back"),
    "api_token": ("jeton de programme", "token of a program"),
    "directory_adopted": ("annuaire adopté", "directory adopted"), "directory_refused": ("annuaire refusé", "directory refused"),
    "publication": ("annuaire mis à jour", "directory updated"),
    "hold_started": ("retenue commencée", "hold started"), "hold_ended": ("retenue finie", "hold ended"),
    "whitelist_refused": ("liste refusée", "list refused"), "crl_adopted": ("CRL adoptée", "CRL adopted"),
    "crl_refused": ("CRL refusée", "CRL refused"), "ocsp_refused": ("réponse OCSP refusée", "OCSP answer refused"),
    "tls_changed": ("certificats servis changés", "served certificates changed"),
    "tls_refused": ("nouveau certificat ou ancres refusés", "new certificate or anchors refused"),
    "smime_checked": ("S/MIME vérifié", "S/MIME checked"), "smime_sealed": ("S/MIME posé", "S/MIME applied"),
    "smime_certificate": ("certificat S/MIME", "S/MIME certificate"),
    "account_changed": ("compte changé", "login changed"),
    "mailbox_changed": ("boîte changée", "mailbox changed"), "queue_changed": ("file changée", "queue changed"),
    "folder_shared": ("dossier partagé", "folder shared"),
    "delegation_changed": ("délégation changée", "delegation changed"),
    "life_run": ("délais des boîtes appliqués", "delays of mailboxes applied"),
    "life_stopped": ("délais des boîtes retenus", "delays of mailboxes withheld"),
    "filter_changed": ("filtre changé", "filter changed"), "vacation_sent": ("absence annoncée", "vacation told"),
    "citizen_returned": ("rendu par le service des usagers", "returned by the citizens' service"),
    "citizen_closed": ("échange avec un usager clos", "exchange with a citizen closed"),
    "folder_expunged": ("dossier purgé", "folder expunged"), "imported": ("importé", "imported"),
    "operator_started": ("démarrage", "started"),
    "operator_stopped": ("arrêt", "stopped"),
}


def kind_name(kind: str) -> str:
    """Give the words for a kind of event in the current language."""
    return say(*KINDS[kind]) if kind in KINDS else kind


@dataclass(frozen=True, slots=True)
class _Found:
    events: list[JournalRow]
    places: list[tuple[str, str, int]]
    waiting: list[QueueItem]


def event_document(row: JournalRow) -> dict[str, Any]:
    """Give one event as JSON holds it."""
    return {"sequence": row.sequence, "at": row.at.isoformat(timespec="milliseconds"), "kind": row.kind,
            "trace_id": row.trace_id, "subject": row.subject, "payload": row.payload, "hash": row.hash}


def facts(row: JournalRow) -> str:
    """Give the payload of an event as one line."""
    return " ".join(f"{key}={value}" for key, value in row.payload.items() if value not in ("", None))


def trace(trace_id: Annotated[str, typer.Argument(metavar="TRACE_ID", help="26 caractères (26 characters)")],
          config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Raconte un message : événements, file, dossiers (tells one message: events, queue, folders)."""
    wanted = trace_id.strip().upper()
    if not _ID.match(wanted):
        raise InputFault(say(f"ce n'est pas un identifiant de trace : {trace_id[:40]!r}",
                             f"this is not a trace id: {trace_id[:40]!r}"), rule="TRACE-FORME",
                         remedy=say("copiez les 26 caractères qui suivent « 250 2.0.0 »",
                                    "copy the 26 characters after “250 2.0.0”"))
    with progress(say("recherche", "searching"), as_json):
        found = _find(config, wanted)
    if not found.events and not found.places:
        raise InputFault(say(f"trace inconnue ici : {wanted}", f"trace is unknown here: {wanted}"), rule="TRACE-INCONNUE",
                         remedy=say("vérifiez l'identifiant et le dossier --config", "check the id and the --config folder"))
    emit(as_json, {"ok": True, "trace_id": wanted, "events": [event_document(row) for row in found.events],
                   "folders": [{"mailbox": box, "folder": folder, "uid": uid} for box, folder, uid in found.places],
                   "queue": [queue.document(one) for one in found.waiting]}, *_story(wanted, found))


def _find(config: ConfigFolder, wanted: str) -> _Found:
    from mssante.services.admin import Admin

    async def read(admin: Admin) -> _Found:
        events, lying = await admin.trace(wanted)
        ids = sorted({mailbox_id for mailbox_id, _, _ in lying})
        boxes = await admin.stores.database.read(lambda tx: admin.stores.accounts.mailboxes_by_id(tx, ids))
        names = {box.id: box.address for box in boxes}
        waiting = [one for one in await admin.queue(limit=QUEUE_LIMIT) if one.trace_id == wanted]
        return _Found(events, [(names.get(box, str(box)), folder, uid) for box, folder, uid in lying], waiting)

    return administer(config, read)


def _story(wanted: str, found: _Found) -> list[str]:
    lines = [f"trace {wanted}"]
    start: datetime | None = None
    for row in found.events:
        start = start or row.at
        after = (row.at - start).total_seconds()
        lines.append(f"  {moment(row.at)}  +{after:9.3f} s  {kind_name(row.kind):24} {row.subject}".rstrip())
        if row.payload:
            lines.append(f"      {facts(row)}")
    for box, folder, uid in found.places:
        lines.append(say(f"  rangé dans {box}, dossier {folder}, UID {uid}", f"  lies in {box}, folder {folder}, UID {uid}"))
    if found.waiting:
        lines.append(say("  encore en file :", "  still queued:"))
        lines += [f"    {text}" for text in queue.lines(found.waiting)]
    elif not found.places:
        lines.append(say("  ni en dossier ni en file ici", "  neither in a folder nor in the queue here"))
    return lines
