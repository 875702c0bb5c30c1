"""`mssante whitelist …`: show, verify, adopt, history, diff, rollback, unpin, lookup. Offline: reads the configuration's folders.

`verify` exits 3 when the file must not be believed. `adopt` asks the same of a list as the server does; `--force` accepts a
rollback, a shrinkage or the loss of our domain, never a bad signature; `adopt waiting` takes the list that waits for a human.
A running server takes an adopted file within seconds.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli import listhistory
from mssante.cli.common import (
    CHECK_FAILED,
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    Limit,
    administer,
    emit,
    moment,
    progress,
    read_limited,
    table,
)
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.cli.trustdesk import ReadList

app = typer.Typer(no_args_is_help=True, help="Liste blanche (white list)")
app.command("diff")(listhistory.diff)
app.command("rollback")(listhistory.rollback)
app.command("unpin")(listhistory.unpin)
SHOWN = 200

ListFile = Annotated[Path, typer.Argument(metavar="FILE", help="Liste blanche XML (white list)")]


def _megabytes(octets: float) -> str:
    return f"{octets / 1024 / 1024:.1f} Mio"


def _lines(read: ReadList) -> list[str]:
    found = read.whitelist
    names = found.name_counts
    hours = (SystemClock().now() - found.generated_at).total_seconds() / 3600
    lines = [
        say("générée le       ", "generated        ") + f"{found.generated_at:%Y-%m-%dT%H:%M:%SZ} "
        + say(f"(il y a {hours:.0f} h)", f"({hours:.0f} h ago)"),
        say("signataire       ", "signer           ") + (read.signer.text if read.signer else
                                                         say("NON VÉRIFIÉ", "NOT VERIFIED")),
        f"sha256           {found.sha256}",
        say("entrées          ", "entries          ") + str(found.entry_count),
        say("domaines         ", "domains          ") + str(found.domain_count),
        say("DN écrits        ", "DNs as written   ") + str(names["raw"]),
        say("DN normalisés    ", "DNs normalised   ") + f"strict {names['strict']}, cn_ou {names['cn_ou']}, cn {names['cn']}",
    ]
    if found.skipped:
        rows = ", ".join(f"{one.rank} [{one.rule}]" for one in found.skipped[:20])
        lines.append(say(f"entrées écartées {len(found.skipped)} : {rows}", f"skipped entries  {len(found.skipped)}: {rows}"))
    return lines


@app.command()
def show(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Montre la liste en vigueur, et nos domaines dedans (shows the list in force, and our domains in it)."""
    from mssante.cli import trustdesk

    loaded = load_config(config)
    with progress(say("lecture de la liste", "reading the list"), as_json):
        read = trustdesk.read_current(loaded)
        ours = trustdesk.hosted_bindings(loaded, read)
    lines = _lines(read)
    for domain, bound, listed in ours:
        state = (say("lié à notre certificat", "bound to our certificate") if bound else
                 say("lié à un autre certificat : ", "bound to another certificate: ") + listed if listed else
                 say("absent de la liste", "not in the list"))
        lines.append(f"{domain} : {state}")
    emit(as_json, {"ok": True, **trustdesk.facts(read), "hosted": [
        {"domain": domain, "bound": bound, "listed_dn": listed} for domain, bound, listed in ours]}, *lines)


@app.command()
def verify(
    file: ListFile,
    unsigned: Annotated[bool, typer.Option(
        "--unsigned", help="Ne compte que le contenu, sans croire la liste (counts only, believes nothing)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Vérifie un fichier sans l'adopter ; code 3 s'il est refusé (verifies a file; exit 3 when refused)."""
    from mssante.cli import trustdesk

    loaded = load_config(config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    began = time.perf_counter()
    try:
        with progress(say("vérification", "verifying"), as_json):
            read = trustdesk.read_list(loaded, file, signed=not unsigned)
    except InputFault as fault:
        if fault.rule == "LB-FICHIER":
            raise
        emit(as_json, {"ok": False, "error": fault.public, "detail": fault.detail, "rule": fault.rule, "remedy": fault.remedy})
        typer.echo(say("liste refusée : ", "list refused: ") + str(fault), err=True)
        raise typer.Exit(CHECK_FAILED) from fault
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    verdict = (say("signature non vérifiée : cette liste ne peut pas être adoptée ainsi",
                   "signature was not verified: this list cannot be adopted so") if unsigned else
               say("signature bonne", "signature is good"))
    emit(as_json, {"ok": True, "signature": "unchecked" if unsigned else "good", **trustdesk.facts(read),
                   "seconds": round(seconds, 3), "memory_peak_bytes": peak, "memory_added_bytes": peak - before},
         *_lines(read), say("durée            ", "time             ") + f"{seconds:.2f} s",
         say("mémoire          ", "memory           ") + say(f"+{_megabytes(peak - before)}, pointe {_megabytes(peak)}",
                                                             f"+{_megabytes(peak - before)}, peak {_megabytes(peak)}"), verdict)


@app.command()
def adopt(
    file: ListFile,
    force: Annotated[bool, typer.Option("--force", help="Accepte un recul, une réduction, la perte de notre domaine ; jamais une "
                                                        "mauvaise signature (never a bad signature)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Vérifie un fichier et le met en vigueur (verifies a file and puts it in force)."""
    from mssante.cli import trustdesk
    from mssante.services.listreview import WAITING

    loaded = load_config(config)
    if str(file) == "waiting" and not file.exists():
        file = trustdesk.current_path(loaded).with_name(WAITING)
    raw = read_limited(file, loaded.operator.trust.whitelist_max_bytes, "LB-FICHIER")
    with progress(say("vérification et adoption", "verifying and adopting"), as_json):
        adopted = trustdesk.adopt(loaded, raw, force=force)
        read = trustdesk.read_current(loaded)
    text = (say("liste adoptée ; un serveur en marche la prend dans les secondes qui viennent",
                "list adopted; a running server takes it within seconds") if adopted else
            say("cette liste est déjà en vigueur", "this list is in force already"))
    emit(as_json, {"ok": True, "adopted": adopted, "forced": force, **trustdesk.facts(read)}, *_lines(read), text)


@app.command()
def history(limit: Limit = 50, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les versions adoptées, de la plus récente (lists adopted versions, newest first)."""
    versions = administer(config, lambda admin: admin.stores.database.read(
        lambda tx: admin.stores.trust.whitelists(tx, limit)))
    headers = (say("adoptée", "adopted"), say("générée", "generated"), say("entrées", "entries"),
               say("domaines", "domains"), say("forcée", "forced"), say("fichier", "file"))
    rows = [(moment(one.adopted_at), moment(one.generated_at), one.entries, one.domains,
             say("oui", "yes") if one.forced else "", one.file) for one in versions]
    emit(as_json, {"ok": True, "versions": [
        {"sha256": one.sha256, "generated_at": one.generated_at.isoformat(), "adopted_at": one.adopted_at.isoformat(),
         "entries": one.entries, "domains": one.domains, "file": one.file, "forced": one.forced} for one in versions]},
        *(table(headers, rows) if rows else [say("aucune liste adoptée", "no list was adopted")]))


@app.command()
def lookup(
    domain: Annotated[str, typer.Argument(metavar="[DOMAIN]", help="Domaine exact (exact domain)")] = "",
    dn: Annotated[str, typer.Option("--dn", metavar="NAME", help="Les domaines d'un certificat : CN=…,OU=… "
                                                                "(the domains of a certificate)")] = "",
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Cherche un domaine, ou les domaines d'un certificat (looks a domain or a certificate name up)."""
    from mssante.cli import trustdesk

    if bool(domain) == bool(dn):
        raise typer.BadParameter(say("donnez un domaine ou --dn, un seul", "give a domain or --dn, one of them"))
    loaded = load_config(config)
    with progress(say("lecture de la liste", "reading the list"), as_json):
        read = trustdesk.read_current(loaded)
    document, lines = _of_name(loaded, read, dn) if dn else _of_domain(read, domain)
    emit(as_json, {"ok": True, "generated_at": read.whitelist.generated_at.isoformat(), **document}, *lines)


def _of_domain(read: ReadList, text: str) -> tuple[dict[str, Any], list[str]]:
    from mssante.model.address import normalise_domain

    domain = normalise_domain(text)
    entries = [one for one in read.whitelist.entries if one.domain == domain]
    if not entries:
        raise InputFault(say(f"{domain} n'est pas dans la liste du {read.whitelist.generated_at:%Y-%m-%d}",
                             f"{domain} is not in the list of {read.whitelist.generated_at:%Y-%m-%d}"), rule="LB-DOMAINE",
                         remedy=say("vérifiez l'orthographe : le nom doit être exact, sans héritage",
                                    "check the spelling: names are exact, nothing is inherited"))
    rows = [(one.operator_dn.text, f"{one.updated_at:%Y-%m-%d}" if one.updated_at else "", one.support_contact)
            for one in entries]
    return ({"domain": domain, "entries": [
        {"operator_dn": one.operator_dn.text, "description": one.description, "support_contact": one.support_contact,
         "updated_at": one.updated_at.isoformat() if one.updated_at else None} for one in entries]},
        [domain, *table((say("certificat", "certificate"), say("mise à jour", "updated"), "support"), rows)])


def _of_name(config: Config, read: ReadList, text: str) -> tuple[dict[str, Any], list[str]]:
    from mssante.trust.names import DnMode, parse_dn

    mode = DnMode(config.operator.trust.dn_mode)
    domains = sorted(read.whitelist.domains_of(parse_dn(text), mode))
    if not domains:
        raise InputFault(say("aucun domaine n'est lié à ce certificat", "no domain is bound to this certificate"),
                         detail=f"dn_mode = {mode.value}", rule="LB-CERTIFICAT",
                         remedy=say("donnez le sujet entier, du CN au pays", "give the whole subject, from CN to country"))
    more = [f"… {len(domains) - SHOWN}"] if len(domains) > SHOWN else []
    return ({"dn": text, "mode": mode.value, "domains": domains},
            [say(f"{len(domains)} domaine(s), comparaison {mode.value}", f"{len(domains)} domain(s), compared by {mode.value}"),
             *domains[:SHOWN], *more])
