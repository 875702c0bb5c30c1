"""Where a password comes from: a file, standard input or a prompt. Never an argument: arguments show in `ps` and in history."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mssante.cli.common import read_limited
from mssante.errors import InputFault
from mssante.lang import say

RULE = "COMPTE-MOT-DE-PASSE"
MAX_PASSWORD = 1024  # what a login accepts

PasswordFile = Annotated[Path | None, typer.Option(
    "--password-file", metavar="FILE", help="Mot de passe : première ligne de ce fichier (first line of this file)")]
PasswordStdin = Annotated[bool, typer.Option(
    "--password-stdin", help="Mot de passe lu sur l'entrée standard (read from standard input)")]


def read_password(file: Path | None, stdin: bool) -> str:
    """Give the password. Raises InputFault `COMPTE-MOT-DE-PASSE` when it is empty, too long, double or cannot be asked."""
    if file is not None and stdin:
        raise InputFault(say("--password-file et --password-stdin ensemble", "--password-file and --password-stdin together"),
                         rule=RULE, remedy=say("gardez-en un", "keep one of them"))
    if file is not None:
        return _checked(_first_line(read_limited(file, 64 * 1024, RULE)))
    if stdin:
        return _checked(_first_line(sys.stdin.buffer.readline(4 * MAX_PASSWORD + 3)))
    if not sys.stdin.isatty():
        raise InputFault(say("mot de passe non donné", "no password given"), rule=RULE,
                         remedy=say("ajoutez --password-stdin ou --password-file", "add --password-stdin or --password-file"))
    return _checked(str(typer.prompt(say("Mot de passe", "Password"), hide_input=True, confirmation_prompt=True, err=True)))


def _first_line(raw: bytes) -> str:
    try:
        return raw.split(b"\n", 1)[0].removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InputFault(say("mot de passe qui n'est pas de l'UTF-8", "password is not UTF-8"), rule=RULE) from exc


def _checked(password: str) -> str:
    if not password:
        raise InputFault(say("mot de passe vide", "empty password"), rule=RULE,
                         remedy=say("donnez au moins un caractère", "give at least one character"))
    if len(password) > MAX_PASSWORD:
        raise InputFault(say(f"mot de passe de plus de {MAX_PASSWORD} caractères",
                             f"password is over {MAX_PASSWORD} characters"), rule=RULE)
    return password
