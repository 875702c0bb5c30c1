"""`mssante lab`: up, status, send, break, heal, down.

Texts are French with English beside them; `--json` gives one JSON object on standard output. Exit codes: 0 all is well,
1 it is not (the sentence says why and what to do), 2 the command line is wrong. Mounted by `mssante.cli.main`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mssante.clock import SystemClock
from mssante.errors import MssFault
from mssante.lab.accounts import ExtraAccounts, read_accounts_file
from mssante.lab.build import BuildOrder
from mssante.lab.faults import Fault, parse_fault
from mssante.lab.manifest import Lab
from mssante.lab.plan import DEFAULT_BASE_PORT, PEERS
from mssante.lab.send import DEFAULT_RECIPIENT, Report, Sending, SendOrder
from mssante.lab.supervisor import PartStatus, Supervisor, prepare
from mssante.lab.tokens import TokenDesk
from mssante.lang import say

app = typer.Typer(no_args_is_help=True, help="Un espace de confiance complet sur une machine "
                                             "(a whole trust space on one machine)")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Dossier du laboratoire (the lab's folder)")]
AsJson = Annotated[bool, typer.Option("--json", help="Un objet JSON sur la sortie (one JSON object)")]


@contextmanager
def _faults_told(as_json: bool) -> Iterator[None]:
    """Turn an expected fault into its sentence and exit code 1; a full disk or a refused file too."""
    try:
        yield
    except MssFault as fault:
        if as_json:
            _print_json({"ok": False, "error": fault.public, "detail": fault.detail, "remedy": fault.remedy,
                         "rule": fault.rule})
        else:
            typer.echo(say("erreur : ", "error: ") + str(fault), err=True)
        raise typer.Exit(1) from fault
    except OSError as exc:
        typer.echo(say("erreur : ", "error: ") + str(exc), err=True)
        raise typer.Exit(1) from exc


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def _progress(as_json: bool) -> Callable[[str], None]:
    """Progress goes to standard output; with --json to standard error, so that the object stands alone."""
    def tell(text: str) -> None:
        typer.echo(text, err=as_json)

    return tell


@app.command()
def up(
    folder: Folder,
    base_port: Annotated[int | None, typer.Option("--base-port", metavar="N",
                                                  help="Premier port (first port) ; 20000")] = None,
    accounts: Annotated[int, typer.Option("--accounts", metavar="N", min=0, max=9999,
                                          help="Boîtes user0001… par opérateur (mailboxes per operator)")] = 0,
    accounts_file: Annotated[Path | None, typer.Option("--accounts-file", metavar="CSV",
                                                       help="operator,local_part,type,password")] = None,
    storage: Annotated[str, typer.Option("--storage", metavar="URL",
                                         help="Base de données ; {operator} y devient son nom (database URL)")] = "",
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1,
                                         help="Processus par opérateur (processes per operator)")] = 1,
    detach: Annotated[bool, typer.Option("--detach", help="Rend la main une fois prêt (return once ready)")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Reconstruit tout (build anew)")] = False,
    hospital: Annotated[bool, typer.Option("--hospital", help="Avec un petit hôpital : DIR/hospital/{in,out,sent,refused}, HL7v2 "
                                                              "(with a little hospital)")] = False,
    as_json: AsJson = False,
) -> None:
    """Construit et démarre le laboratoire. (Builds and starts the lab.)"""
    with _faults_told(as_json):
        began = time.monotonic()
        tell = _progress(as_json)
        rows = read_accounts_file(accounts_file) if accounts_file else {}
        order = BuildOrder(folder, DEFAULT_BASE_PORT if base_port is None else base_port,
                           ExtraAccounts(accounts, rows), storage, workers, hospital)
        lab = prepare(order, fresh=fresh, base_port=base_port, now=SystemClock().now, progress=tell)
        supervisor = Supervisor(lab, tell)
        supervisor.start_all()
        for peer in PEERS[:1]:
            tell(f"{peer.name:8} {lab.document['peers'][peer.name]['smtp']} "
                 + say("(adresse réservée)", "(reserved address)"))
        seconds = round(time.monotonic() - began, 1)
        if as_json:
            _print_json({"ok": True, "ready": True, "seconds": seconds, "folder": str(lab.folder),
                         "base_port": lab.base_port, "parts": [_part(one) for one in supervisor.status()]})
        else:
            tell("ready")
        if not detach:
            supervisor.watch(lambda text: typer.echo(text, err=True))
            supervisor.stop_all()


def _part(one: PartStatus) -> dict[str, Any]:
    return {"part": one.name, "up": one.up, "pid": one.pid, "doors": one.doors, "closed": list(one.closed)}


@app.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """État de chaque partie ; code 0 si tout tourne. (State of each part; exit 0 if all are up.)"""
    with _faults_told(as_json):
        supervisor = Supervisor(Lab.load(folder), _progress(as_json))
        found = supervisor.status()
        if as_json:
            _print_json({"ok": all(one.up for one in found), "parts": [_part(one) for one in found]})
        else:
            for one in found:
                state = say("en marche", "up") if one.up else say("arrêté", "down")
                doors = " ".join(f"{name}={address}" for name, address in one.doors.items())
                typer.echo(f"{one.name:8} {state:10} {doors}")
    if not all(one.up for one in found):
        raise typer.Exit(1)


@app.command()
def send(
    folder: Folder,
    cda: Annotated[Path | None, typer.Option("--cda", metavar="FILE", help="Document CDA à envoyer (to send)")] = None,
    to: Annotated[str, typer.Option("--to", metavar="ADDRESS", help="Destinataire (recipient)")] = DEFAULT_RECIPIENT,
    seconds: Annotated[float, typer.Option("--timeout", min=1, help="Attente en secondes (seconds to wait)")] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Envoie une vraie lettre d'alpha et la suit jusqu'à sa lecture. (Sends a real letter and follows it.)"""
    with _faults_told(as_json):
        report = Sending(Lab.load(folder), SendOrder(to, cda, seconds)).run()
        if as_json:
            _print_json(_report(report))
        else:
            _tell_report(report)
    if not report.good:
        raise typer.Exit(1)


def _report(report: Report) -> dict[str, Any]:
    return {"ok": report.good, "arrived": report.arrived, "identical": report.identical, "from": report.sender,
            "to": report.recipient, "message_id": report.message_id,
            "trace_id": report.trace_id, "size": report.size, "added": report.added_octets,
            "sent_sha256": report.sent_sha256, "read_sha256": report.read_sha256,
            "attachments": list(report.attachments), "remarks": list(report.remarks),
            "timeline": [{"step": one.name, "at": one.at.isoformat(timespec="milliseconds"),
                          "seconds": round(one.seconds, 3), "detail": one.detail} for one in report.steps]}


def _tell_report(report: Report) -> None:
    names = {"accepted": say("pris en charge", "accepted"), "visible": say("visible par IMAP", "visible by IMAP"),
             "submitted": say("déposé", "submitted"), "queued": say("en file", "queued"),
             "relayed": say("relayé", "relayed"), "deferred": say("différé", "deferred"),
             "bounced": say("refusé", "bounced"), "filed": say("rangé", "filed")}
    typer.echo(f"{report.sender} -> {report.recipient}, {report.size} " + say("octets", "octets")
               + f", trace {report.trace_id or '?'}")
    for one in report.steps:
        typer.echo(f"  {one.seconds:8.3f} s  {names.get(one.name, one.name):18} {one.detail}".rstrip())
    typer.echo(f"  sha256 {report.sent_sha256} " + say("envoyé", "sent"))
    if report.arrived:
        typer.echo(f"  sha256 {report.read_sha256} " + say(f"lu, après {report.added_octets} octets de trace",
                                                           f"read, after {report.added_octets} octets of trace lines"))
    if report.good:
        typer.echo(say("arrivé, identique à l'octet près", "arrived, identical to the octet"))
    elif report.arrived:
        typer.echo(say("arrivé, mais différent de ce qui fut envoyé", "arrived, but differs from what was sent"), err=True)
    else:
        typer.echo(say("pas arrivé dans le délai", "did not arrive in time"), err=True)


@app.command()
def token(
    folder: Folder,
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="Boîte PER d'un professionnel (a professional's box)")],
    expired: Annotated[bool, typer.Option("--expired", help="Déjà expiré (expired)")] = False,
    audience: Annotated[str, typer.Option("--audience", metavar="CLIENT", help="Obtenu par ce logiciel (azp)")] = "",
    subject: Annotated[str, typer.Option("--subject", metavar="ID", help="Pour cet identifiant national (for this number)")] = "",
    fault: Annotated[str, typer.Option("--fault", metavar="NAME", help="Un jeton fautif : early, issuer, key, none, hs256… "
                                                                       "(a bad token)")] = "",
    as_json: AsJson = False,
) -> None:
    """Donne un jeton d'accès Pro Santé Connect du laboratoire. (Prints an access token of the lab's provider.)"""
    with _faults_told(as_json):
        desk = TokenDesk(Lab.load(folder))
        number = subject or desk.subject_of(login)
        found = desk.ask(number, fault="expired" if expired else fault, client=audience)
        if as_json:
            _print_json({"ok": True, "login": login, "subject": number, "access_token": found})
        else:
            typer.echo(found)


@app.command("break")
def break_(
    folder: Folder,
    fault: Annotated[str, typer.Argument(metavar="FAULT", help=" · ".join(Fault))],
    as_json: AsJson = False,
) -> None:
    """Provoque une panne. (Switches a fault on.)"""
    with _faults_told(as_json):
        wanted = parse_fault(fault)
        Supervisor(Lab.load(folder), _progress(as_json)).break_with(wanted)
        if as_json:
            _print_json({"ok": True, "fault": wanted.value})
        else:
            typer.echo(say(f"panne en place : {wanted.value}", f"fault is on: {wanted.value}"))


@app.command()
def heal(folder: Folder, as_json: AsJson = False) -> None:
    """Répare toutes les pannes. (Heals every fault.)"""
    with _faults_told(as_json):
        healed = sorted(Supervisor(Lab.load(folder), _progress(as_json)).heal())
        if as_json:
            _print_json({"ok": True, "healed": healed})
        else:
            typer.echo(say("réparé : ", "healed: ") + (", ".join(healed) or say("rien", "nothing")))


@app.command()
def down(folder: Folder, as_json: AsJson = False) -> None:
    """Arrête tout ce que `up` a démarré. (Stops all that `up` started.)"""
    with _faults_told(as_json):
        stopped = Supervisor(Lab.load(folder), _progress(as_json)).stop_all()
        if as_json:
            _print_json({"ok": True, "stopped": stopped})
        else:
            typer.echo(say("arrêté : ", "stopped: ") + (", ".join(stopped) or say("rien", "nothing")))
