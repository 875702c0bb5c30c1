"""`mssante explain X`: why, step by step, with both values seen, who must fix it, and what would be decided now.

X is a trace id, `#N` (an event of the journal), an address, a domain, or a certificate file (PEM or DER). Offline: the journal,
the kept lists and CRLs, the configuration. `--rule` prints one row of the catalogue of rules. Citizens appear by pseudonym only.
Exit code 0 when it could be explained, whatever was decided.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, emit, moment, progress, read_limited
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.explain import Explained, Today
    from mssante.services.explainsubject import Answer
    from mssante.trust.explain import Step

MAX_CERTIFICATE = 256 * 1024
_TRACE = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}\Z")
_EVENT = re.compile(r"#(\d{1,18})\Z")
_MARKS = {"ok": ("ok   ", "ok   "), "fail": ("REFUS", "FAIL "), "unknown": ("?    ", "?    "), "skipped": ("-    ", "-    "),
          "warn": ("!    ", "!    "), "": ("     ", "     ")}
_VERDICTS = {"accepted": ("accepté", "accepted"), "refused": ("refusé", "refused"), "deferred": ("différé", "deferred"),
             "noted": ("noté", "noted")}


def explain(
    subject: Annotated[str, typer.Argument(metavar="X", help="Trace, #N du journal, adresse, domaine ou fichier de certificat "
                                                             "(trace id, #event, address, domain, certificate file)")] = "",
    domain: Annotated[str, typer.Option("--for", metavar="DOMAIN", help="Domaine pour lequel juger le certificat "
                                                                       "(domain to judge the certificate for)")] = "",
    rule: Annotated[str, typer.Option("--rule", metavar="RULE", help="Explique une règle : LB-LIAISON… (explains a rule)")] = "",
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Explique une décision : valeurs vues, qui corrige, aujourd'hui (explains a decision, offline)."""
    if bool(subject) == bool(rule):
        raise typer.BadParameter(say("donnez X ou --rule, un seul", "give X or --rule, one of them"))
    if rule:
        _rule(rule, as_json)
        return
    kind, wanted, leaf = _kind(subject, domain)
    from mssante.cli.explaindesk import answer
    from mssante.config.load import load_config

    loaded = load_config(config)
    with progress(say("rejeu", "replaying"), as_json):
        found = answer(loaded, kind, wanted, leaf)
    emit(as_json, _document(found), *_lines(found))


def _kind(subject: str, domain: str) -> tuple[str, str, bytes]:
    """Tell what was asked. Raises InputFault, typer.BadParameter."""
    path = Path(subject)
    if path.is_file():
        from cryptography.hazmat.primitives.serialization import Encoding

        from mssante.trust.anchors import read_certificates

        found = read_certificates([read_limited(path, MAX_CERTIFICATE, "PEER-PARSE")])
        if not found:
            raise InputFault(say(f"{path.name} ne contient pas de certificat", f"{path.name} holds no certificate"),
                             rule="PEER-PARSE", remedy=say("donnez un fichier PEM ou DER", "give a PEM or DER file"))
        return "certificate", domain, found[0].public_bytes(Encoding.DER)
    if domain:
        raise typer.BadParameter(say("--for va avec un fichier de certificat", "--for goes with a certificate file"))
    event = _EVENT.match(subject.strip())
    if event is not None:
        return "event", event.group(1), b""
    if _TRACE.match(subject.strip().upper()):
        return "trace", subject.strip().upper(), b""
    return "address" if "@" in subject else "domain", subject.strip(), b""


# ------------------------------------------------------------ one rule


def _rule(text: str, as_json: bool) -> None:
    from mssante.services.peerrules import PEER_RULES
    from mssante.trust.rules import find_rule, stage_name, who_name

    number = PEER_RULES.get(text.strip().upper())
    if number is not None:
        emit(as_json, {"ok": True, "rule": number.number, "source": number.source, "who": number.who.value,
                       "meaning": {"fr": number.title[0], "en": number.title[1]},
                       "remedy": {"fr": number.remedy[0], "en": number.remedy[1]}},
             f"{number.number} (mssante check peer, {number.source})", f"  {say(*number.title)}",
             say("  qui corrige : ", "  who must fix it: ") + who_name(number.who),
             say("  remède : ", "  remedy: ") + say(*number.remedy))
        return
    found = find_rule(text)
    if found is None:
        raise InputFault(say(f"règle inconnue : {text[:60]}", f"unknown rule: {text[:60]}"), rule="REGLE-INCONNUE",
                         remedy="docs/rules.md")
    emit(as_json, {"ok": True, **_rule_document(found.id), "asked": text.strip().upper()},
         f"{text.strip().upper()} ({stage_name(found.stage)})", f"  {say(*found.meaning)}",
         say("  qui corrige : ", "  who must fix it: ") + who_name(found.who),
         say("  remède : ", "  remedy: ") + say(*found.remedy))


def _rule_document(identifier: str) -> dict[str, Any]:
    from mssante.trust.rules import find_rule

    found = find_rule(identifier)
    if found is None:
        return {"rule": identifier}
    return {"rule": found.id, "stage": found.stage.value, "who": found.who.value,
            "meaning": {"fr": found.meaning[0], "en": found.meaning[1]}, "remedy": {"fr": found.remedy[0], "en": found.remedy[1]}}


# ------------------------------------------------------------ JSON


def _document(found: Answer) -> dict[str, Any]:
    return {"ok": True, "kind": found.kind, "subject": found.subject, "verdict": found.verdict, "rule": found.rule,
            "who": found.who.value if found.who else None,
            "facts": [{"name": one.name, "title": one.title, "value": one.value, "state": one.state} for one in found.facts],
            "steps": [_step_document(one) for one in found.steps],
            "decisions": [_decision_document(one) for one in found.decisions],
            "rules": [_rule_document(one) for one in sorted(_rules_of(found))]}


def _rules_of(found: Answer) -> set[str]:
    rules = {found.rule, *(one.rule for one in found.decisions)}
    return (rules | {one.today.rule for one in found.decisions if one.today is not None}) - {""}


def _step_document(step: Step) -> dict[str, str]:
    return {"stage": step.stage.value, "state": step.state.value, "peer": step.peer, "ours": step.ours, "rule": step.rule}


def _decision_document(one: Explained) -> dict[str, Any]:
    row, used, today = one.event, one.used, one.today
    return {"sequence": row.sequence, "at": row.at.isoformat(timespec="milliseconds"), "kind": row.kind, "trace_id": row.trace_id,
            "subject": row.subject, "verdict": one.verdict, "rule": one.rule, "remote": one.remote,
            "who": one.who.value if one.who else None, "confirmed": one.confirmed, "note": one.note,
            "steps": [_step_document(step) for step in one.steps],
            "list": {"generated_at": used.version.generated_at.isoformat(), "sha256": used.version.sha256,
                     "file": used.version.file, "exact": used.exact, "fault": used.fault} if used else None,
            "today": _today_document(today) if today else None}


def _today_document(today: Today) -> dict[str, Any]:
    return {"verdict": today.verdict, "rule": today.rule, "text": today.text, "changed": today.changed,
            "since": today.since.isoformat() if today.since else None}


# ------------------------------------------------------------ lines


def _lines(found: Answer) -> list[str]:
    lines = [_title(found)]
    width = max((len(one.title) for one in found.facts), default=0)
    lines += [f"  {say(*_MARKS[one.state])} {one.title.ljust(width)}  {one.value}" for one in found.facts]
    if found.steps:
        lines += ["", say("  si un pair le présentait maintenant :", "  if a peer showed it now:"), *_step_lines(found.steps)]
        lines += _advice(found.rule)
    for one in found.decisions:
        lines += ["", *_decision_lines(one)]
    if found.kind in ("address", "domain") and found.rule:
        lines += _advice(found.rule)
    return lines


def _title(found: Answer) -> str:
    kinds = {"trace": say("trace", "trace"), "event": say("événement", "event"), "address": say("adresse", "address"),
             "domain": say("domaine", "domain"), "certificate": say("certificat", "certificate")}
    verdict = say(*_VERDICTS[found.verdict]) if found.verdict else ""
    ask = {"address": say("un message serait", "a message would be"), "domain": say("un envoi serait", "sending would be"),
           "certificate": say("aujourd'hui", "today"), }.get(found.kind, say("dernier mot", "last word"))
    return f"{kinds[found.kind]} {found.subject} : {ask} {verdict}" + (f" [{found.rule}]" if found.rule else "")


def _decision_lines(one: Explained) -> list[str]:
    from mssante.cli.trace import kind_name

    row = one.event
    rule = f" [{one.rule}]" if one.rule else ""
    lines = [f"  #{row.sequence}  {moment(row.at)}  {kind_name(row.kind)}  {row.subject}".rstrip(),
             f"    {say(*_VERDICTS[one.verdict])}{rule}"
             + (say(" (mot de l'autre opérateur)", " (the other operator's word)") if one.remote and one.rule else "")]
    lines += ["  " + text for text in _step_lines(one.steps)]
    if one.used is not None:
        sure = "" if one.used.exact else say(" (la dernière adoptée avant)", " (the last one adopted before)")
        lines.append(say("    liste : ", "    list: ") + f"{one.used.version.generated_at:%Y-%m-%d %H:%M:%S} UTC, "
                     f"{one.used.version.sha256[:12]}{sure}")
    if one.confirmed:
        lines.append(say("    rejeu : même règle", "    replay: the same rule"))
    if one.note:
        lines.append(f"    {one.note}")
    lines += ["  " + text for text in _advice(one.rule, one.who)]
    if one.today is not None:
        lines.append(f"    {one.today.text}")
    return lines


def _step_lines(steps: tuple[Step, ...]) -> list[str]:
    from mssante.trust.explain import State
    from mssante.trust.rules import stage_name

    blank = [stage_name(step.stage) for step in steps if step.state is State.UNKNOWN and not step.peer and not step.ours]
    steps = tuple(step for step in steps if step.state is not State.UNKNOWN or step.peer or step.ours)
    names = [stage_name(step.stage) for step in steps]
    width = max((len(name) for name in names), default=0)
    lines = []
    for step, name in zip(steps, names, strict=True):
        lines.append(f"  {say(*_MARKS[step.state.value])} {name.ljust(width)}"
                     + (say("  vu : ", "  seen: ") + step.peer if step.peer else ""))
        if step.ours:
            lines.append(f"        {''.ljust(width)}" + say("  chez nous : ", "  ours: ") + step.ours)
    if blank and any(step.state is State.FAIL for step in steps):
        lines.append(say("        passés, valeurs non gardées : ", "        passed, values not kept: ") + ", ".join(blank))
    return lines


def _advice(rule: str, who: object = None) -> list[str]:
    """Give what a rule means, who must fix it, and how. who: when it is not the catalogue's."""
    from mssante.trust.rules import Who, find_rule, who_name

    found = find_rule(rule) if rule else None
    if found is None:
        return []
    fixer = who if isinstance(who, Who) else found.who
    return [f"  {say(*found.meaning)}", say("  qui corrige : ", "  who must fix it: ") + who_name(fixer),
            say("  remède : ", "  remedy: ") + say(*found.remedy)]
