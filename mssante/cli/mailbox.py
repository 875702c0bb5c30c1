"""`mssante mailbox …`: create, list, quotas; the other commands of mailboxes are put together here (life, CSV, sharing, mail
moved in)."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mssante.cli.common import (
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    Limit,
    administer,
    emit,
    progress,
    table,
)
from mssante.cli.mailbox_bulk import apply, export, plan
from mssante.cli.mailbox_import import import_
from mssante.cli.mailbox_life import close, edit, hold, object_, reopen, resume, show, state, suspend
from mssante.cli.passwords import PasswordFile, PasswordStdin, read_password
from mssante.cli.sharing import seen, share, shares
from mssante.cli.sieve import vacation
from mssante.cli.team import alias, delegate, operator_name, readers, senders, team
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
app.command()(vacation)

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
