"""The `mssante` command: one typer application, one module a subject.

French by default, English with `--lang en` (before or after the subject) or an English locale; `--json` on every command
that prints facts. Exit codes: 0 done, 1 a fault (refused, not found, broken), 2 wrong usage, 3 a check failed, 130 stopped
by Ctrl-C. A fault is one text on standard error with its rule and remedy; with `--json` also one object on standard output.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence

import structlog
import typer

from mssante.cli import (
    account,
    attack,
    cert,
    check,
    citizen,
    directory,
    discovery,
    document,
    explain,
    hl7,
    hold,
    identity,
    journal,
    lab,
    mailbox,
    opposition,
    preflight,
    publication,
    queue,
    search,
    serve,
    sieve,
    smime,
    token,
    trace,
    webhook,
    whitelist,
)
from mssante.cli.common import FAULT, INTERRUPTED
from mssante.cli.mailbox_life import life_app
from mssante.config.load import ConfigFault
from mssante.errors import MssFault
from mssante.lang import language_from_environment, say, set_language

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help="Opérateur de messagerie MSSanté (MSSanté mail operator). Codes de sortie (exit codes): 0 fait "
                       "(done), 1 faute (fault), 2 usage, 3 contrôle en échec (a check failed), 130 Ctrl-C.")
app.command("serve")(serve.serve)
app.add_typer(check.app, name="check")
app.command("attack")(attack.attack)
app.command("trace")(trace.trace)
app.command("explain")(explain.explain)
app.add_typer(account.app, name="account")
app.add_typer(mailbox.app, name="mailbox")
app.add_typer(life_app, name="life")
app.add_typer(identity.app, name="identity")
app.add_typer(queue.app, name="queue")
app.add_typer(cert.app, name="cert")
app.add_typer(hold.app, name="hold")
app.add_typer(hl7.app, name="hl7")
app.add_typer(publication.app, name="publication")
app.add_typer(directory.app, name="directory")
app.add_typer(citizen.app, name="citizen")
app.add_typer(token.app, name="token")
app.add_typer(webhook.app, name="webhook")
app.add_typer(opposition.app, name="opposition")
app.add_typer(document.app, name="document")
app.command("preflight")(preflight.preflight)
app.command("discovery")(discovery.discovery)
app.add_typer(whitelist.app, name="whitelist")
app.add_typer(journal.app, name="journal")
app.add_typer(smime.app, name="smime")
app.add_typer(search.app, name="search")
app.add_typer(sieve.app, name="sieve")
mailbox.app.command("vacation")(sieve.vacation)
app.add_typer(lab.app, name="lab")


@app.callback()
def choose_language(lang: str = typer.Option("", "--lang", metavar="fr|en", help="Langue des textes (language)")) -> None:
    """Set the language of all texts, and keep the services' log off the command line: a fault is told once, by the command."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # `serve` sets its own
    if lang not in ("", "fr", "en"):
        raise typer.BadParameter("fr | en", param_hint="--lang")
    if lang:
        set_language(lang)


def _language_first(arguments: Sequence[str]) -> list[str]:
    """Move `--lang X` before the subject, wherever it was written; what follows `--` stays."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    head, lead = list(arguments[:end]), []
    for index, word in enumerate(head):
        if word == "--lang" and index + 1 < len(head):
            lead = head[index:index + 2]
            del head[index:index + 2]
            break
        if word.startswith("--lang="):
            lead = [head.pop(index)]
            break
    return [*lead, *head, *arguments[end:]]


def _tell(fault: MssFault, arguments: Sequence[str]) -> None:
    """Write a fault for a reader, and for a program that asked for JSON."""
    if isinstance(fault, ConfigFault):
        sys.stderr.write(say("configuration refusée :\n", "configuration refused:\n") + f"{fault}\n")
    else:
        sys.stderr.write(say("erreur : ", "error: ") + f"{fault}\n")
    if "--json" in arguments:
        document: dict[str, object] = {"ok": False, "error": fault.public, "detail": fault.detail, "rule": fault.rule,
                                       "remedy": fault.remedy}
        if isinstance(fault, ConfigFault):
            document["problems"] = fault.problems
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def run(arguments: Sequence[str]) -> int:
    """Run one command line (without the program's name) and give its exit code."""
    set_language(language_from_environment())
    try:
        app(_language_first(arguments), prog_name="mssante")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else FAULT
    except MssFault as fault:
        _tell(fault, arguments)
        return FAULT
    except OSError as exc:
        path = f" {exc.filename}" if exc.filename else ""
        sys.stderr.write(say("erreur :", "error:") + f"{path} {exc.strerror or type(exc).__name__} -> "
                         + say("vérifiez le chemin, les droits et le disque", "check the path, its mode and the disk")
                         + " [SYSTEME]\n")
        return FAULT
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as exc:  # last border: a defect of ours is told in one line, its kind helps the report
        place = exc.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{place.tb_frame.f_globals.get('__name__', '?')}:{place.tb_lineno}" if place else "?"
        sys.stderr.write(say("erreur interne : ", "internal error: ") + f"{type(exc).__name__} ({where}) -> "
                         + say("signalez-la avec la commande tapée", "report it with the command typed") + " [INTERNE]\n")
        return FAULT
    return 0


def main() -> None:
    """Entry point of the `mssante` program."""
    sys.exit(run(sys.argv[1:]))
