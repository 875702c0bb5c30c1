"""Publication in the lab's directory: a mailbox that is made is published, suspended red-listed, closed withdrawn; a directory
that is down delays it and loses nothing."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import Any

import pytest
from support.lab import RunningLab, soon

from mssante.lab.plan import OPERATORS, fictitious_finess

pytestmark = pytest.mark.interop
ADDRESS = f"urgences.publiees@{OPERATORS[0].domain}"


def shown(lab: RunningLab) -> list[Any]:
    """What readers of the lab's directory see of the address."""
    query = urllib.parse.urlencode({"mailbox-mss:exact": ADDRESS})
    with urllib.request.urlopen(f"{lab.lab.trust('directory_fhir')}/Organization?{query}", timeout=10) as answer:
        return list(json.loads(answer.read()).get("entry", []))


def row(lab: RunningLab) -> dict[str, Any]:
    code, out, err = lab.command("publication", "list", "--json", "--limit", "10000", "-c", lab.folder / lab.operator("alpha").config)
    assert code == 0, err
    return next((one for one in json.loads(out)["entries"] if one["address"] == ADDRESS), {"state": "", "error": ""})


def state(lab: RunningLab, wanted: str) -> None:
    code, _, err = lab.command("mailbox", "state", ADDRESS, wanted, "-c", lab.folder / lab.operator("alpha").config)
    assert code == 0, err


def test_a_mailbox_in_the_directory_from_birth_to_closing(healed: RunningLab) -> None:
    lab = healed
    lab.break_with("directory-down")
    code, _, err = lab.command("mailbox", "add", ADDRESS, "--type", "ORG", "--holder", "1" + fictitious_finess(1), "--name",
                               "Urgences", "-c", lab.folder / lab.operator("alpha").config)
    assert code == 0, err
    assert soon(lambda: row(lab)["error"].startswith("PUB-INJOIGNABLE"))
    assert row(lab)["state"] == "due"
    lab.heal()
    assert soon(lambda: row(lab)["state"] == "accepted") and len(shown(lab)) == 1
    state(lab, "suspended")
    assert soon(lambda: not shown(lab)) and row(lab)["wanted"]["red_listed"]
    state(lab, "active")
    assert soon(lambda: len(shown(lab)) == 1)
    state(lab, "closed")
    assert soon(lambda: row(lab)["state"] == "withdrawn") and not shown(lab)
