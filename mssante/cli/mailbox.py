"""`mssante mailbox …`: create, list, change state, import from CSV, move mail in (cli/mailbox_import.py).

An import of boxes is all or nothing, and shows its plan first.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from mssante.cli.common import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    Limit,
    administer,
    administer_config,
    emit,
    progress,
    read_limited,
    table,
)
from mssante.cli.mailbox_bulk import apply, export, plan
from mssante.cli.mailbox_import import import_
from mssante.cli.mailbox_life import close, edit, hold, object_, reopen, resume, show, state, suspend
from mssante.cli.mailplan import MAX_OCTETS, Plan, Rules, existing_problems, read_plan
from mssante.cli.passwords import PasswordFile, PasswordStdin, read_password
from mssante.cli.sharing import seen, share, shares
from mssante.cli.team import alias, delegate, operator_name, readers, senders, team
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say
from mssante.model.mailbox import Mailbox, MailboxType
from mssante.model.mailbox_rules import octets_of

app = typer.Typer(no_args_is_help=True, help="Boîtes aux lettres (mailboxes)")
app.command("import")(import_)
app.command()(share)
app.command()(shares)
app.command()(seen)
app.add_typer(team, name="team")
app.add_typer(alias, name="alias")
app.command()(delegate)
app.command()(readers)
app.command()(senders)
for _command in (show, edit, state, suspend, resume, close, reopen, hold, plan, apply, export):
    app.command()(_command)
app.command("object")(object_)
SHOWN_PROBLEMS = 50

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="nom@domaine (name@domain)")]


def _document(box: Mailbox) -> dict[str, Any]:
    return {"address": box.address, "type": box.type.value, "state": box.state.value, "quota_bytes": box.quota_bytes,
            "quota_messages": box.quota_messages,
            "holder_id": box.holder_id, "display_name": box.display_name}


@app.command()
def add(
    address: Address,
    type_: Annotated[MailboxType, typer.Option("--type", "-t", case_sensitive=False,
                                               help="Sorte de boîte (kind of mailbox)")] = MailboxType.PER,
    login: Annotated[str, typer.Option("--login", metavar="LOGIN", help="Crée aussi ce compte (creates a login too)")] = "",
    password_file: PasswordFile = None,
    password_stdin: PasswordStdin = False,
    holder: Annotated[str, typer.Option("--holder", metavar="ID", help="RPPS, FINESS ou SIRET")] = "",
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="Nom affiché (display name)")] = "",
    members: Annotated[str, typer.Option("--members", metavar="LOGIN[:RIGHTS][@UNTIL];…",
                                         help="Comptes qui l'ouvrent (logins that open it)")] = "",
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Crée une boîte et ses dossiers (creates a mailbox and its folders)."""
    from mssante.model.mailbox_rules import check_holder
    from mssante.services.admin import MailboxSpec
    from mssante.services.delegations import parse_members

    team_of = parse_members(members)
    password = read_password(password_file, password_stdin) if login else ""
    national = check_holder(type_, holder).national if holder else ""
    spec = MailboxSpec(address, type_, login, password, national, name)
    made = administer(config, lambda admin: admin.create_mailboxes([spec], members=team_of, by=operator_name()))[0]
    emit(as_json, {"ok": True, "mailbox": _document(made), "login": login.lower()},
         say(f"boîte créée : {made.address} ({made.type.value})", f"mailbox created: {made.address} ({made.type.value})"))


@app.command("list")
def list_(
    limit: Limit = 1000,
    after: Annotated[str, typer.Option("--after", metavar="ADDRESS", help="Suite d'une liste (continue a list)")] = "",
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Liste les boîtes par adresse (lists mailboxes by address)."""
    with progress(say("lecture des boîtes", "reading mailboxes"), as_json):
        boxes = administer(config, lambda admin: admin.mailboxes(limit=limit, after=after.lower()))
    headers = (say("adresse", "address"), "type", say("état", "state"), say("titulaire", "holder"), say("nom", "name"))
    lines = table(headers, [(one.address, one.type.value, one.state.value, one.holder_id, one.display_name) for one in boxes])
    following = boxes[-1].address if len(boxes) == limit else None
    if following:
        lines.append(say(f"suite : --after {following}", f"more: --after {following}"))
    emit(as_json, {"ok": True, "mailboxes": [_document(one) for one in boxes], "after": following}, *lines)


@app.command()
def quota(
    address: Address,
    octets: Annotated[str, typer.Option("--bytes", metavar="SIZE", help="Octets : 2G, 500M ; 0 sans limite (0: no limit)")] = "",
    messages: Annotated[int | None, typer.Option("--messages", metavar="N", min=0,
                                                 help="Messages ; 0 sans limite (0: no limit)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Montre le quota d'une boîte, ou le fixe (shows the quota of a mailbox, or sets it)."""
    wanted = octets_of(octets) if octets else None
    box, used = administer(config, lambda admin: admin.quota(address, octets=wanted, messages=messages))
    none = say("sans limite", "no limit")
    rows = [(say("octets", "octets"), str(used.octets), str(box.quota_bytes or none)),
            (say("messages", "messages"), str(used.messages), str(box.quota_messages or none))]
    emit(as_json, {"ok": True, "address": box.address, "quota_bytes": box.quota_bytes, "quota_messages": box.quota_messages,
                   "used_bytes": used.octets, "used_messages": used.messages},
         *table((say("ressource", "resource"), say("occupé", "used"), "quota"), rows))


@app.command("import-csv")
def import_csv(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="type,address[,login,password,holder_id,display_name]")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Montre le plan, ne crée rien (shows the plan only)")] = False,
    passwords_out: Annotated[Path | None, typer.Option(
        "--passwords-out", metavar="FILE", help="Mots de passe manquants : créés, écrits ici (made, written here)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Crée les boîtes d'un fichier, toutes ou aucune (creates the mailboxes of a file, all or none)."""
    loaded = load_config(config)
    rules = Rules(frozenset(one.name for one in loaded.domains.domain), passwords_out is not None)
    plan = _completed(loaded, read_plan(read_limited(file, MAX_OCTETS, "BAL-CSV"), rules))
    if plan.problems:
        _refuse(plan, as_json)
    if dry_run:
        emit(as_json, {"ok": True, "dry_run": True, "create": _planned(plan)}, *_plan_lines(plan))
        return
    _reserve(passwords_out)
    with progress(say(f"création de {len(plan.boxes)} boîtes", f"creating {len(plan.boxes)} mailboxes"), as_json):
        _create(loaded, plan, passwords_out)
    emit(as_json, {"ok": True, "dry_run": False, "created": _planned(plan)},
         say(f"{len(plan.boxes)} boîtes créées", f"{len(plan.boxes)} mailboxes created"))


def _completed(config: Config, plan: Plan) -> Plan:
    """Add the problems of what exists in the database already."""
    from mssante.services.admin import Admin

    addresses = [box.address for box in plan.boxes]

    async def read(admin: Admin) -> tuple[frozenset[str], frozenset[str]]:
        boxes = await admin.stores.database.read(lambda tx: admin.stores.accounts.mailboxes_by_address(tx, addresses))
        return frozenset(one.address for one in boxes), frozenset(one.login for one in await admin.accounts())

    known = administer_config(config, read)
    problems = sorted((*plan.problems, *existing_problems(plan, *known)), key=lambda one: one.row)
    return Plan(plan.boxes, tuple(problems))


def _planned(plan: Plan) -> list[dict[str, Any]]:
    return [{"line": box.row, "address": box.address, "type": box.type.value, "login": box.login,
             "password": "generated" if box.generated else "given" if box.password else "none"} for box in plan.boxes]


def _plan_lines(plan: Plan) -> list[str]:
    headers = (say("ligne", "line"), say("adresse", "address"), "type", say("compte", "login"),
               say("mot de passe", "password"))
    rows = [(one["line"], one["address"], one["type"], one["login"],
             {"generated": say("à créer", "to be made"), "given": say("donné", "given"), "none": ""}[one["password"]])
            for one in _planned(plan)]
    return [*table(headers, rows), say(f"{len(plan.boxes)} boîtes seraient créées ; rien n'a été fait",
                                       f"{len(plan.boxes)} mailboxes would be created; nothing was done")]


def _refuse(plan: Plan, as_json: bool) -> None:
    """Tell the wrong lines and stop with exit code 1."""
    emit(as_json, {"ok": False, "rule": "BAL-CSV", "problems": [
        {"line": one.row, "error": one.text, "remedy": one.remedy} for one in plan.problems]})
    for one in plan.problems[:SHOWN_PROBLEMS]:
        typer.echo(str(one), err=True)
    count = len(plan.problems)
    typer.echo(say(f"{count} ligne(s) en faute : aucune boîte créée [BAL-CSV]",
                   f"{count} wrong line(s): no mailbox created [BAL-CSV]"), err=True)
    raise typer.Exit(1)


def _reserve(path: Path | None) -> None:
    """Open the passwords' file before anything is created: a password that cannot be handed over is a lost box."""
    if path is None:
        return
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError as exc:
        raise InputFault(say(f"{path} existe déjà", f"{path} exists already"), rule="BAL-CSV",
                         remedy=say("donnez un fichier nouveau", "give a new file")) from exc


def _create(config: Config, plan: Plan, passwords_out: Path | None) -> None:
    from mssante.services.admin import MailboxSpec

    if passwords_out is not None:
        text = "".join(f"{box.login},{box.password}\n" for box in plan.boxes if box.generated)
        passwords_out.write_text(f"login,password\n{text}", encoding="utf-8")
    specs = [MailboxSpec(box.address, box.type, box.login, box.password, box.holder_id, box.display_name)
             for box in plan.boxes]
    try:
        administer_config(config, lambda admin: admin.create_mailboxes(specs))
    except BaseException:
        if passwords_out is not None:
            passwords_out.unlink(missing_ok=True)  # passwords of boxes that do not exist
        raise
