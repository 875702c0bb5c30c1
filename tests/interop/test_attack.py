"""`mssante attack` against our own door: nothing falls; against a Postfix without the checks: what must be found is found.

A tool that never finds anything proves nothing: the Postfix half is the proof of the other half. Tables go to $MSSANTE_REPORT_DIR.
The attacks on the sources of trust wait for the lab's operators to fetch: all of them run with MSSANTE_ATTACK=all, three in CI.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest
from support.lab import RunningLab, report
from support.plain_postfix import plain_postfix

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

SOURCES = ["D"] if os.environ.get("MSSANTE_ATTACK") == "all" else ["D-01", "D-07", "D-12"]


def attack(lab: RunningLab, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command; give its exit code and its document."""
    code, out, error = lab.command("attack", *arguments, "--lab", lab.folder, "--json", timeout=280)
    assert out, error
    return code, json.loads(out)


def tell(name: str, document: dict[str, Any]) -> None:
    """Write the table of a run."""
    rows = "".join(f"| {one['number']} | {one['title']} | {one['verdict']} | {one['evidence']} |\n" for one in document["results"])
    report(name, f"{document['counts']}\n\n| n | attack | verdict | answer |\n|---|---|---|---|\n{rows}")


def by_number(document: dict[str, Any], verdict: str) -> set[str]:
    """The numbers of the attacks with that verdict."""
    return {one["number"] for one in document["results"] if one["verdict"] == verdict}


def test_nothing_falls_at_our_own_door(running_lab: RunningLab) -> None:
    wanted = [word for number in ("A", "B", "C", *SOURCES) for word in ("--only", number)]
    code, document = attack(running_lab, *wanted)
    tell("attack-ours.md", document)
    assert by_number(document, "fell") == set() and by_number(document, "unclear") == set(), document
    assert code == 0 and document["ok"]
    assert len(by_number(document, "held")) >= 46 + 3
    published = running_lab.folder / "infra" / "published"
    assert not published.exists() or not list(published.iterdir()), "the window is empty again"


def test_a_postfix_without_the_checks_falls(running_lab: RunningLab) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    alpha = running_lab.folder / "alpha" / "certs"
    with plain_postfix(port, "alpha.mssante.test", (alpha / "mta.pem", alpha / "mta.key"), running_lab.anchors_file):
        code, document = attack(running_lab, f"127.0.0.1:{port}", "--only", "A", "--only", "B", "--only", "C")
    tell("attack-postfix.md", document)
    fell = by_number(document, "fell")
    assert code == 3 and not document["ok"]
    # nobody asks who the peer is: every identity gets in, and anybody writes in anybody's name, in clear too
    assert {f"A-{rank:02}" for rank in range(1, 20)} - fell == set(), sorted(fell)
    assert {"B-01", "B-05", "B-06", "B-08", "B-09"} <= fell, sorted(fell)
    # what Postfix is known for holds
    assert {"B-02", "B-10", "B-11", "B-14"} <= by_number(document, "held"), document


def test_a_stranger_is_not_attacked_without_a_word(running_lab: RunningLab) -> None:
    code, out, error = running_lab.command("attack", "192.0.2.1:25", "--json")
    assert code == 1 and "ATTAQUE-DROIT" in error, out


def test_nobody_there_is_a_fault_not_a_victory(running_lab: RunningLab) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        code, _, error = running_lab.command("attack", f"127.0.0.1:{port}", "--json")
    assert code == 1 and "ATTAQUE-PORTE" in error
