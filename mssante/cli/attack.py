"""`mssante attack HOST:PORT`: plays the hostile peer against an operator's door and says what it lets through.

Exit code 0 when every attack was refused, 3 when one got through, 1 when nothing could be played. `--lab DIR` takes all that is
needed (identities, a mailbox, the authority's key, the sources of trust) from a lab; against another server give `--identity`,
`--key`, `--domain` and `--recipient`, and `--authorised` unless it is on loopback.
"""

from __future__ import annotations

import ipaddress
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import CHECK_FAILED, AsJson, emit
from mssante.config.model import split_hostport
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.attack.values import Result, Target

_WORDS = {"held": ("tient  ", "held   "), "fell": ("TOMBE  ", "FELL   "), "skipped": ("sautée ", "skipped"),
          "unclear": ("indécis", "unclear")}


def attack(
    where: Annotated[str, typer.Argument(metavar="[HOST:PORT]", help="Porte SMTP entre opérateurs (SMTP door)")] = "",
    lab: Annotated[Path | None, typer.Option("--lab", metavar="DIR", help="Un laboratoire donne tout (a lab gives all)")] = None,
    operator: Annotated[str, typer.Option("--operator", help="Opérateur du laboratoire (operator of the lab)")] = "alpha",
    identity: Annotated[Path | None, typer.Option("--identity", metavar="PEM", help="Un membre (a member's certificate)")] = None,
    key: Annotated[Path | None, typer.Option("--key", metavar="PEM", help="Sa clé (its key)")] = None,
    domain: Annotated[str, typer.Option("--domain", help="Son domaine (its domain)")] = "",
    victim: Annotated[str, typer.Option("--victim", help="Domaine d'un tiers de la liste (another listed domain)")] = "",
    recipient: Annotated[str, typer.Option("--recipient", help="Une boîte de la cible (a mailbox of the target)")] = "",
    anchors: Annotated[Path | None, typer.Option("--anchors", metavar="PEM", help="Autorités à imiter (authorities)")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NUMBER", help="Celles-ci : A, B-02… (these only)")] = None,
    authorised: Annotated[bool, typer.Option(
        "--authorised", help="Je réponds de ce serveur (I am responsible for that server)")] = False,
    as_json: AsJson = False,
) -> None:
    """Joue le pair hostile contre une porte et dit ce qui passe ; code 3 si une attaque réussit (plays the hostile peer)."""
    from mssante.attack.run import chosen, counts, lab_arms, play
    from mssante.attack.values import Arms, Identity, Target

    attacks = chosen(only or [])
    with tempfile.TemporaryDirectory(prefix="mssante-attack-") as name:
        scratch = Path(name)
        if lab is not None:
            target, arms = lab_arms(lab, scratch, operator)
            if where:
                target = _moved(target, where)
        else:
            if (identity is None) != (key is None):
                raise typer.BadParameter(say("--identity et --key vont ensemble", "--identity and --key go together"))
            good = Identity(identity, key) if identity is not None and key is not None else None
            host, port = _door(where)
            target = Target(host, port, recipient.rpartition("@")[2], recipient)
            arms = Arms(scratch, good, domain, victim, anchors)
        _check_right(target, authorised=authorised)
        results = play(attacks, target, arms, lambda result: None if as_json else typer.echo(_line(result)))
    found = counts(results)
    document = {"ok": not found["fell"], "target": f"{target.host}:{target.port}", "counts": found,
                "results": [_document(one) for one in results]}
    emit(as_json, document, "", say(
        f"{found['held']} tiennent, {found['fell']} tombent, {found['skipped']} sautées, {found['unclear']} indécises",
        f"{found['held']} held, {found['fell']} fell, {found['skipped']} skipped, {found['unclear']} unclear"))
    _leave(found)


def _leave(found: dict[str, int]) -> None:
    if found["fell"]:
        raise typer.Exit(CHECK_FAILED)
    if not found["held"]:
        raise InputFault(say("aucune attaque n'a pu être jouée", "no attack could be played"), rule="ATTAQUE-PORTE",
                         remedy=say("vérifiez l'adresse et le port", "check the address and the port"))


def _door(where: str) -> tuple[str, int]:
    try:
        return split_hostport(where)
    except ValueError as exc:
        raise typer.BadParameter(say("donnez HÔTE:PORT, ou --lab DOSSIER", "give HOST:PORT, or --lab DIR")) from exc


def _moved(target: Target, where: str) -> Target:
    from dataclasses import replace

    host, port = _door(where)
    return replace(target, host=host, port=port)


def _check_right(target: Target, *, authorised: bool) -> None:
    """Refuse an address that is not loopback without the user's word. Raises InputFault (`ATTAQUE-DROIT`)."""
    try:
        near = ipaddress.ip_address(target.host).is_loopback
    except ValueError:
        near = target.host == "localhost"
    if not near and not authorised:
        raise InputFault(say(f"{target.host} n'est pas cette machine", f"{target.host} is not this machine"),
                         rule="ATTAQUE-DROIT", remedy=say(
                             "ajoutez --authorised si vous répondez de ce serveur",
                             "add --authorised if you are responsible for that server"))


def _line(result: Result) -> str:
    return (f"{say(*_WORDS[result.outcome.verdict.value])} {result.attack.number}  {result.attack.title}\n"
            f"{'':15}{result.outcome.evidence}")


def _document(result: Result) -> dict[str, Any]:
    return {"number": result.attack.number, "title": result.attack.title, "source": result.attack.source,
            "verdict": result.outcome.verdict.value, "evidence": result.outcome.evidence, "seconds": round(result.seconds, 3)}
