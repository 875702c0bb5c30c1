"""Plays attacks in order and counts what came out.

An attack that raises something unforeseen is `unclear` with the kind of the fault, and does not stop the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mssante.attack import dialogue, identities, smuggling, sources
from mssante.attack.values import Arms, Attack, Identity, Outcome, Result, Target, Verdict
from mssante.attack.wire import WireEnd
from mssante.errors import InputFault
from mssante.lab.manifest import Lab
from mssante.lang import say

ALL: tuple[Attack, ...] = (*identities.ATTACKS, *dialogue.ATTACKS, *smuggling.ATTACKS, *sources.ATTACKS)


def chosen(prefixes: Sequence[str]) -> tuple[Attack, ...]:
    """Give the attacks whose number begins with one of the prefixes, all without any. Raises InputFault (`ATTAQUE-NUMERO`)."""
    if not prefixes:
        return ALL
    found = tuple(one for one in ALL if one.number.startswith(tuple(word.upper() for word in prefixes)))
    if not found:
        raise InputFault(say("aucune attaque de ce numéro", "no attack of that number"), rule="ATTAQUE-NUMERO",
                         remedy="A-01 … " + ALL[-1].number)
    return found


def play(attacks: Sequence[Attack], target: Target, arms: Arms, tell: Callable[[Result], None]) -> list[Result]:
    """Play attacks one after the other; `tell` hears of each as it ends."""
    results = []
    for attack in attacks:
        began = time.monotonic()
        try:
            outcome = attack.play(target, arms)
        except WireEnd as end:
            outcome = Outcome.unclear(end)
        except Exception as fault:  # the target may send anything: one attack that breaks must not hide the others
            outcome = Outcome.unclear(f"{type(fault).__name__}: {fault}")
        result = Result(attack, outcome, time.monotonic() - began)
        results.append(result)
        tell(result)
    return results


def counts(results: Sequence[Result]) -> dict[str, int]:
    """Give how many results have each verdict."""
    return {verdict.value: sum(one.outcome.verdict is verdict for one in results) for verdict in Verdict}


def lab_arms(folder: Path, scratch: Path, operator: str) -> tuple[Target, Arms]:
    """Give the target (an operator of a lab) and all that a lab lets an attacker hold. Raises InputFault."""
    lab = Lab.load(folder)
    entry = lab.operator(operator)
    host, port = entry.address("smtp")
    others = [one for one in lab.operators if one.name != operator]
    peers = {name: (_pair(lab, facts), str(facts["domain"])) for name, facts in lab.document["peers"].items()}
    good, domain = peers.pop("gamma")
    arms = Arms(scratch, good, domain, others[0].domain, lab.path(lab.trust("anchors")),
                Identity(lab.path(lab.trust("issuing_certificate")), lab.path(lab.trust("issuing_key"))), peers, folder)
    return Target(host, port, entry.domain, entry.accounts[0].address), arms


def _pair(lab: Lab, facts: dict[str, str]) -> Identity:
    return Identity(lab.path(facts["certificate"]), lab.path(facts["key"]))
