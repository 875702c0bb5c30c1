"""`mssante cert`: explain certificates, list ours, ask for new ones, watch their dates, change the operator's without a stop.

`show`, `list`, `calendar` change nothing. `request` writes two new files and never over another. `rollover …` writes one small
file that the running server obeys within seconds (`services.rollover_state`); `reload` asks it to read its TLS files again.
Exit codes: 3 when a certificate shown is refused, when something ends within 7 days, when the list or a peer says no.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import (
    CHECK_FAILED,
    DEFAULT_CONFIG,
    AsJson,
    ConfigFolder,
    emit,
    progress,
    table,
)
from mssante.clock import SystemClock
from mssante.config.load import DOMAINS_FILE, OPERATOR_FILE, load_config
from mssante.config.model import Config
from mssante.errors import InputFault, OperatorFault
from mssante.lang import say

if TYPE_CHECKING:
    from cryptography import x509

    from mssante.cli.certrollover import Desk, TriedDomain

app = typer.Typer(no_args_is_help=True, help="Certificats : expliquer, lister, demander, surveiller, changer (certificates)")
rollover = typer.Typer(no_args_is_help=True,
                       help="Change le certificat opérateur sans arrêt (rolls the operator's certificate over)")
app.add_typer(rollover, name="rollover")

Force = Annotated[bool, typer.Option("--force", help="Passe outre ce qu'un humain peut juger (passes what a human may judge)")]


def _now() -> datetime:
    return SystemClock().now()


def _maybe_config(folder: Path) -> Config | None:
    """Give the configuration when there is one: a file can be explained without."""
    if (folder / OPERATOR_FILE).exists() and (folder / DOMAINS_FILE).exists():
        return load_config(folder)
    return None


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="FILE|NAME", help="Fichier, operator, next, client, un domaine d'ici ou déjà "
                                                                  "rencontré (file, ours, or a domain)")],
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Explique un certificat ; code 3 si quelque chose y est refusé (explains a certificate)."""
    from mssante.cli import certdesk

    loaded, now = _maybe_config(config), _now()
    shown = [certdesk.explain(certificate, place, certdesk.use_of(loaded, kind), now, loaded)
             for certificate, place, kind in certdesk.certificates_of(loaded, what)]
    lines: list[str] = []
    for one in shown:
        lines += ["", *certdesk.lines_of(one, now)] if lines else certdesk.lines_of(one, now)
    failed = any(one.failed for one in shown)
    emit(as_json, {"ok": not failed, "certificates": [certdesk.document_of(one, now) for one in shown]}, *lines)
    if failed:
        raise typer.Exit(CHECK_FAILED)


@app.command("list")
def list_(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste tout ce qui nous sert : paires, chaînes, ancres, CRL, liste, clés S/MIME (lists all that we use)."""
    from mssante.certificates_setup import own_pairs
    from mssante.cli import certcalendar, certdesk
    from mssante.cli.checks.files import load_pair

    loaded, now = load_config(config), _now()
    found, unread = certcalendar.gather(loaded, now, peers=False)
    lines = certcalendar.lines_of(found, unread, now)
    pairs: list[dict[str, Any]] = []
    for kind, certificate, key in own_pairs(loaded):
        entry: dict[str, Any] = {"what": kind.value, "certificate": certificate.name, "key": key.name, "rule": "", "findings": []}
        try:
            leaf = load_pair(certificate, key)[0]
            one = certdesk.explain(leaf, certificate.name, certdesk.use_of(loaded, kind), now, loaded)
            entry |= certdesk.document_of(one, now)
            state = ", ".join(f"{level.value} {finding.rule}" for finding in one.findings
                              if (level := finding.level).value != "info") or "ok"
        except InputFault as fault:
            entry["rule"], state = fault.rule, str(fault)
        pairs.append(entry)
        lines.append(f"{certdesk.what_words(kind)} ({certificate.name}, {key.name}) : {state}")
    emit(as_json, {"ok": True, "pairs": pairs, **certcalendar.document_of(found, unread, now)}, *lines)


@app.command()
def calendar(
    ics: Annotated[Path | None, typer.Option("--ics", metavar="FILE",
                                             help="Écrit aussi un agenda iCalendar (writes iCalendar)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Montre tout ce qui prend fin, du plus proche au plus lointain ; code 3 à moins de 7 jours (what ends, and when)."""
    from mssante.cli import certcalendar
    from mssante.trust.expiry import calendar_text, urgent

    loaded, now = load_config(config), _now()
    found, unread = certcalendar.gather(loaded, now)
    late = urgent(found, now)
    if ics is not None:
        try:
            ics.write_text(calendar_text(found, now, int(say("0", "1"))), encoding="utf-8", newline="")
        except OSError as exc:
            raise OperatorFault(say(f"{ics} ne s'écrit pas", f"{ics} cannot be written"), rule="CERT-AGENDA",
                                detail=exc.strerror or "", remedy=say("vérifiez le chemin", "check the path")) from exc
    emit(as_json, {"ok": not late, **certcalendar.document_of(found, unread, now)}, *certcalendar.lines_of(found, unread, now))
    if late:
        raise typer.Exit(CHECK_FAILED)


@app.command()
def request(
    out: Annotated[Path, typer.Option("--out", metavar="PATH", help="Nom des fichiers : PATH.key et PATH.csr (file names)")],
    renew: Annotated[bool, typer.Option("--renew", help="Garde exactement le sujet actuel (keeps the present subject)")] = False,
    offer: Annotated[str, typer.Option("--offer", help="serv-ssl | org-auth-cli | org-sign | serv-smime")] = "serv-ssl",
    key: Annotated[str, typer.Option("--key", help="rsa2048 | rsa3072 | p256")] = "rsa2048",
    cn: Annotated[str, typer.Option("--cn", help="Nom ; sans lui, operator.hostname (name)")] = "",
    ou: Annotated[str, typer.Option("--ou", help="Type et identifiant : 1+FINESS, 3+SIRET (type and identifier)")] = "",
    o: Annotated[str, typer.Option("--o", help="Raison sociale (legal name)")] = "",
    st: Annotated[str, typer.Option("--st", help="Département (NN) (department)")] = "",
    san: Annotated[list[str] | None, typer.Option("--san", help="Autre nom ou adresse (alternative name)")] = None,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Écrit une clé neuve et sa demande de certificat, et dit quoi porter au portail de l'ANS (key and request)."""
    from mssante.cli import certrequest
    from mssante.trust.profile_subject import declared_dn

    loaded = load_config(config)
    subject, names = _subject(loaded, cn=cn, parts=(ou, o, st), renew=renew)
    if san is not None:
        names = certrequest.read_names(san)
    elif not names and offer == "serv-ssl":
        names = certrequest.read_names([cn or loaded.operator.operator.hostname])
    order = certrequest.Order(offer, subject, names)
    remarks = certrequest.check_order(order)
    private = certrequest.make_key(key)
    made = certrequest.make_request(order, private)
    key_path, request_path = out.with_name(out.name + ".key"), out.with_name(out.name + ".csr")
    certrequest.write_pair(private, made, key_path, request_path)
    from cryptography.hazmat.primitives.serialization import Encoding

    pem = made.public_bytes(Encoding.PEM).decode("ascii")
    asked = certrequest.shown_names(names)
    kind, dn, mark = certrequest.OFFERS[offer][0].value, declared_dn(subject), certrequest.key_print(made)
    emit(as_json, {"ok": True, "offer": kind, "dn": dn, "names": asked, "key": str(key_path), "request": str(request_path),
                   "public_key_sha256": mark, "remarks": remarks, "pem": pem},
         say(f"clé      {key_path} (0600 : ne la donnez à personne)", f"key      {key_path} (0600: give it to nobody)"),
         say(f"demande  {request_path}", f"request  {request_path}"), "",
         say("À porter au portail de l'IGC-Santé (gamme ÉLÉMENTAIRE, domaine ORGANISATIONS) :",
             "To bring to the portal of IGC-Santé (range ÉLÉMENTAIRE, domain ORGANISATIONS):"),
         say(f"offre    {kind}", f"offer    {kind}"), f"DN       {dn}",
         say(f"noms     {', '.join(asked) or '-'}", f"names    {', '.join(asked) or '-'}"),
         say(f"empreinte de la clé publique (SHA-256)  {mark}", f"print of the public key (SHA-256)  {mark}"), "", pem.rstrip(),
         *(say(f"attention : {one}", f"mind: {one}") for one in remarks), "",
         say("Le même DN est à déclarer à l'ANS pour la liste blanche s'il change ; ensuite : mssante cert rollover declare",
             "The same DN is to be declared to ANS for the white list when it changes; then: mssante cert rollover declare"))


def _subject(config: Config, *, cn: str, parts: tuple[str, str, str], renew: bool,
             ) -> tuple[x509.Name, tuple[x509.GeneralName, ...]]:
    """Give the subject and alternative names to ask for: the present ones, or those of the options."""
    from mssante.cli import certrequest
    from mssante.cli.checks.files import load_pair

    if not renew:
        ou, o, st = parts
        return certrequest.subject_from(cn or config.operator.operator.hostname, ou=ou, o=o, st=st), ()
    if cn or any(parts):
        raise typer.BadParameter(say("--renew garde le sujet : n'en donnez aucune partie",
                                     "--renew keeps the subject: give none of it"))
    present = load_pair(config.path(config.operator.tls.operator_certificate), None)[0]
    return present.subject, certrequest.present_names(present)


@app.command()
def reload(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Demande au serveur de relire ses fichiers TLS, sans arrêt (asks the server to read its TLS files again)."""
    from mssante.services.rollover_state import ask_reload

    loaded = load_config(config)
    try:
        ask_reload(loaded.path(loaded.operator.tls.operator_certificate))
    except OSError as exc:
        raise OperatorFault(say("la demande ne s'écrit pas", "the request cannot be written"), rule="BASCULE-ECRITURE",
                            detail=exc.strerror or "", remedy=say("vérifiez les droits du dossier",
                                                                  "check the folder's mode")) from exc
    emit(as_json, {"ok": True}, say("demandé : le journal du serveur dit ce qu'il en a fait", "asked: the server's log tells"))


# ------------------------------------------------------------ rollover


def _desk(config: Path) -> Desk:
    from mssante.cli.certrollover import open_desk

    return open_desk(load_config(config))


def _bound_lines(desk: Desk, certificate: x509.Certificate) -> tuple[list[dict[str, Any]], list[str]]:
    """Tell which of our domains the list binds to a certificate; a list that cannot be read is told, not raised."""
    from mssante.cli.certrollover import bindings

    try:
        found = bindings(desk.config, certificate)
    except InputFault as fault:
        return [], [f"  {fault}"]
    words = {True: say("lié", "bound"), False: say("PAS lié : à déclarer à l'ANS", "NOT bound: declare it to ANS")}
    return [{"domain": one.domain,
             "bound": one.bound} for one in found], [f"  {one.domain} : {words[one.bound]}" for one in found]


_NEXT_STEP = {
    "none": ("mssante cert request --renew --out …, puis cert rollover declare CERT CLE",
             "mssante cert request --renew --out …, then cert rollover declare CERT KEY"),
    "declared": ("cert rollover seen, puis cert rollover try DOMAINE", "cert rollover seen, then cert rollover try DOMAIN"),
    "trying": ("cert rollover switch", "cert rollover switch"),
    "switched": ("cert rollover retire (ou back pour revenir)", "cert rollover retire (or back to return)"),
    "retired": ("rien : la bascule est finie", "nothing: the rollover is done")}


@rollover.command()
def status(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Dit où en est la bascule et l'étape suivante (tells where the rollover stands, and what comes next)."""
    desk = _desk(config)
    state = desk.state
    document: dict[str, Any] = {"ok": True, "stage": state.stage.value, "serve": state.serve.value,
                                "try_peers": list(state.try_peers), "retired": state.retired}
    lines = [say(f"étape : {state.stage.value} ; servi : {state.serve.value}",
                 f"stage: {state.stage.value}; served: {state.serve.value}")]
    for label, words, certificate in (("current", say("actuel", "current"), desk.current),
                                      ("next", say("suivant", "next"), desk.coming)):
        if certificate is None:
            continue
        document[label], more = _pair_facts(desk, certificate)
        lines += [f"{words} : {document[label]['dn']}, {document[label]['not_after'][:10]}", *more]
    if state.try_peers:
        lines.append(say("montré à : ", "shown to: ") + ", ".join(state.try_peers))
    lines.append(say("étape suivante : ", "next step: ") + say(*_NEXT_STEP[state.stage.value]))
    emit(as_json, document, *lines)


def _pair_facts(desk: Desk, certificate: x509.Certificate) -> tuple[dict[str, Any], list[str]]:
    from mssante.trust.profile_subject import declared_dn

    found, lines = _bound_lines(desk, certificate)
    return {"dn": declared_dn(certificate.subject), "not_after": certificate.not_valid_after_utc.isoformat(),
            "domains": found}, lines


@rollover.command("declare")
def declare_(
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="Certificat suivant et sa chaîne, PEM (next certificate)")],
    key: Annotated[Path, typer.Argument(metavar="KEY", help="Sa clé, PEM, 0600 (its key)")],
    force: Force = False, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Nomme et vérifie la paire suivante, dit quel DN déclarer à l'ANS (names and checks the next pair)."""
    from mssante.cli import certdesk, certrollover

    now = _now()
    shown, same = certrollover.declare_next(_desk(config), certificate, key, now, force=force)
    dn = shown.profile.declared
    text = (say("le DN ne change pas : la liste blanche n'a rien à apprendre",
                "the DN is unchanged: nothing to declare") if same else
            say("DN à faire inscrire par l'ANS AVANT la bascule, pour chacun de nos domaines :",
                "DN to be listed by ANS BEFORE the switch, for each of our domains:"))
    emit(as_json, {"ok": True, "dn": dn, "same_dn": same, "forced": force, "certificate": certdesk.document_of(shown, now)},
         *certdesk.lines_of(shown, now), "", text, dn)


@rollover.command()
def seen(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Dit si la liste en vigueur lie le nouveau DN à tous nos domaines ; code 3 sinon (does the list know it)."""
    from mssante.cli.certrollover import bindings, need_next

    desk = _desk(config)
    coming = need_next(desk)
    with progress(say("lecture de la liste", "reading the list"), as_json):
        found = bindings(desk.config, coming)
    missing = [one.domain for one in found if not one.bound]
    emit(as_json, {"ok": not missing, "missing": missing, "domains": [one.domain for one in found]},
         *_bound_lines(desk, coming)[1],
         say(f"{len(missing)} domaine(s) manquent encore", f"{len(missing)} domain(s) are still missing") if missing else
         say("la liste est prête : cert rollover try DOMAINE", "the list is ready: cert rollover try DOMAIN"))
    if missing:
        raise typer.Exit(CHECK_FAILED)


@rollover.command("try")
def try_(
    domains: Annotated[list[str], typer.Argument(metavar="DOMAIN…", help="Domaines d'autres opérateurs (their domains)")],
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Essaie la paire suivante avec des opérateurs choisis, sans message ; ceux qui l'acceptent la verront (tries it)."""
    from mssante.cli.certrollover import try_peers

    desk = _desk(config)
    with progress(say("essais", "trying"), as_json):
        found = try_peers(desk, domains, _now())
    headers = (say("domaine", "domain"), say("verdict", "verdict"), say("à l'étape", "at"), say("réponse", "reply"),
               say("serveur", "server"))
    rows = [(one.domain, say("accepté", "accepted") if one.tried.accepted else say("REFUSÉ", "REFUSED"), one.tried.step,
             one.tried.reply, _server_words(one)) for one in found]
    refused = [one.domain for one in found if not one.tried.accepted]
    emit(as_json, {"ok": not refused, "tried": [
        {"domain": one.domain, "accepted": one.tried.accepted, "step": one.tried.step, "reply": one.tried.reply,
         "remote": one.tried.remote, "tls": one.tried.tls, "server": one.certificate, "server_rule": one.judged}
        for one in found]},
        *table(headers, rows))
    if refused:
        raise typer.Exit(CHECK_FAILED)


def _server_words(one: TriedDomain) -> str:
    words = " ".join(part for part in (one.certificate, one.tried.tls) if part)
    return f"{words} [{one.judged}]" if one.judged else words


@rollover.command("switch")
def switch_(force: Force = False, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Fait servir la paire suivante à tous, sans arrêt (serves the next pair to everybody)."""
    from mssante.cli.certrollover import switch_over

    desk = _desk(config)
    switch_over(desk, _now(), force=force)
    emit(as_json, {"ok": True, "serve": "next", "forced": force},
         say("le serveur sert la paire suivante d'ici quelques secondes ; cert rollover back pour revenir",
             "the server serves the next pair within seconds; cert rollover back to return"))


@rollover.command()
def back(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Revient à la paire d'avant, tant qu'elle n'est pas retirée (goes back to the former pair)."""
    from mssante.services.rollover_state import switch_back

    desk = _desk(config)
    desk.save(switch_back(desk.state, _now()))
    emit(as_json, {"ok": True, "serve": "current"}, say("le serveur ressert la paire d'avant",
                                                        "the server serves the former pair again"))


@rollover.command("retire")
def retire_(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Met la paire suivante à la place de l'ancienne, rangée dans retired/ (puts it in the former one's place)."""
    from mssante.cli.certrollover import retire_former

    folder, former = retire_former(_desk(config), _now())
    emit(as_json, {"ok": True, "retired": former, "folder": str(folder)},
         say(f"bascule finie ; l'ancienne paire est dans {folder} : détruisez sa clé quand l'ANS a retiré l'ancien DN",
             f"the rollover is done; the former pair is in {folder}: destroy its key once ANS removed the former DN"))


@rollover.command()
def abandon(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Oublie la paire suivante ; ses fichiers restent (forgets the next pair; its files stay)."""
    from mssante.services.rollover_state import give_up

    desk = _desk(config)
    desk.save(give_up(desk.state, _now()))
    emit(as_json, {"ok": True, "stage": "none"}, say("la bascule est abandonnée", "the rollover is given up"))
