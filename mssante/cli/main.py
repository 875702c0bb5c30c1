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
from dataclasses import dataclass
from importlib import import_module

import structlog
import typer

from mssante.cli.common import FAULT, INTERRUPTED
from mssante.config.load import ConfigFault
from mssante.errors import MssFault
from mssante.lang import language_from_environment, say, set_language

HELP = ("Opérateur de messagerie MSSanté (MSSanté mail operator). Codes de sortie (exit codes): 0 fait (done), 1 faute (fault), "
        "2 usage, 3 contrôle en échec (a check failed), 130 Ctrl-C.")


@dataclass(frozen=True, slots=True)
class Subject:
    """One word after `mssante`: where its command or its group of commands stands."""

    word: str
    module: str
    attribute: str = "app"  # a typer application: a group; any other name: a function, one command

    def mount(self, root: typer.Typer) -> None:
        """Import the module and add what it holds to the application."""
        found = getattr(import_module(f"mssante.cli.{self.module}"), self.attribute)
        if isinstance(found, typer.Typer):
            root.add_typer(found, name=self.word)
        else:
            root.command(self.word)(found)


# in the order of the help
SUBJECTS = (
    Subject("serve", "serve", "serve"), Subject("check", "check"), Subject("attack", "attack", "attack"),
    Subject("trace", "trace", "trace"), Subject("explain", "explain", "explain"), Subject("account", "account"),
    Subject("mailbox", "mailbox"), Subject("life", "mailbox_life", "life_app"), Subject("identity", "identity"),
    Subject("queue", "queue"), Subject("cert", "cert"), Subject("hold", "hold"), Subject("hl7", "hl7"),
    Subject("publication", "publication"), Subject("directory", "directory"), Subject("citizen", "citizen"),
    Subject("token", "token"), Subject("webhook", "webhook"), Subject("opposition", "opposition"),
    Subject("document", "document"), Subject("preflight", "preflight", "preflight"),
    Subject("discovery", "discovery", "discovery"), Subject("whitelist", "whitelist"), Subject("journal", "journal"),
    Subject("smime", "smime"), Subject("search", "search"), Subject("sieve", "sieve"), Subject("lab", "lab"),
)


def _subject_word(arguments: Sequence[str]) -> str:
    """Give the word after the language, or empty; the language stands first (see `_language_first`)."""
    lead = 0
    if arguments:
        lead = 2 if arguments[0] == "--lang" else 1 if arguments[0].startswith("--lang=") else 0
    return arguments[lead] if len(arguments) > lead else ""


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """Give the application with the subject that a command line names, or with all of them when it names none that exists
    (`--help`, a misspelt word): nobody waits for the import of what a command does not use."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
                      help=HELP)
    app.callback()(choose_language)
    word = _subject_word(arguments)
    for subject in [one for one in SUBJECTS if one.word == word] or SUBJECTS:
        subject.mount(app)
    return app


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
        words = _language_first(arguments)
        application(words)(words, prog_name="mssante")
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
