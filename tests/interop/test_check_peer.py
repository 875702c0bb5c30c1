"""`check peer` against real doors: beta of the running lab does all that is asked; a Postfix set up without the checks does not.

Postfix has its own configuration, queue and log in a temporary folder and a free port; it is stopped by its own command.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from support.lab import RunningLab, report
from support.plain_postfix import plain_postfix

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

# TLS 1.0, old ciphers and no DSN besides: each is a rule of its own.
LAX = """\
smtpd_tls_ask_ccert = no
smtpd_tls_protocols = >=TLSv1
smtpd_tls_mandatory_protocols = >=TLSv1
smtpd_tls_ciphers = low
tls_low_cipherlist = ALL:@SECLEVEL=0
tls_medium_cipherlist = ALL:@SECLEVEL=0
tls_high_cipherlist = ALL:@SECLEVEL=0
smtpd_discard_ehlo_keywords = dsn
"""


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture(scope="module")
def lax(running_lab: RunningLab) -> Iterator[int]:
    """A Postfix with gamma's key that checks nobody; gives its port."""
    port = free_port()
    with plain_postfix(port, "gamma.mssante.test", running_lab.peer_files("gamma"), running_lab.anchors_file, LAX):
        yield port


def check_peer(lab: RunningLab, domain: str, *words: object) -> tuple[int, dict[str, Any]]:
    config = lab.folder / lab.operator("alpha").config
    code, out, error = lab.command("check", "peer", domain, *words, "--config", config, "--json")
    assert "Traceback" not in error, error
    return code, json.loads(out)


def states(found: dict[str, Any]) -> dict[str, str]:
    return {one["number"]: one["state"] for one in found["findings"]}


def test_beta_passes_every_rule(running_lab: RunningLab, tmp_path: Path) -> None:
    page = tmp_path / "beta.html"
    code, found = check_peer(running_lab, "beta.mssante.test", "--html", page)
    assert code == 0 and found["ok"]
    assert {number for number, state in states(found).items() if state != "ok"} == {"P-23"}, "a fixed route has no MX name to compare"
    read = html.fromstring(page.read_text(encoding="utf-8"))
    assert len(read.xpath("//main//tbody/tr")) == len(found["findings"])
    report("check-peer-beta.txt", json.dumps(found["counts"]))


def test_beta_by_its_name_too(running_lab: RunningLab) -> None:
    host, port = running_lab.address("beta", "smtp")
    code, found = check_peer(running_lab, "beta.mssante.test", "--host", host, "--port", port)
    assert code == 0 and found["door"].endswith(f":{port}")


def test_nobody_got_a_message(running_lab: RunningLab) -> None:
    before = running_lab.metric("beta", "mssante_messages_received_total")
    check_peer(running_lab, "beta.mssante.test")
    assert running_lab.metric("beta", "mssante_messages_received_total") == before


def test_a_postfix_without_the_checks(running_lab: RunningLab, lax: int) -> None:
    code, found = check_peer(running_lab, "gamma.mssante.test", "--host", "127.0.0.1", "--port", lax)
    seen = states(found)
    assert code == 3 and not found["ok"]
    failed = {number for number, state in seen.items() if state == "fail"}
    assert failed == {"P-07", "P-12", "P-13", "P-14", "P-15", "P-24", "P-25", "P-31"}, found["findings"]
    for number in ("P-01", "P-04", "P-06", "P-08", "P-09", "P-17", "P-18", "P-19", "P-20", "P-21", "P-22", "P-26", "P-27"):
        assert seen[number] == "ok", number
    report("check-peer-postfix.txt", json.dumps({one["number"]: [one["state"], one["evidence"]] for one in found["findings"]},
                                                ensure_ascii=False, indent=1))


def test_a_door_of_somebody_else(running_lab: RunningLab, lax: int) -> None:
    code, found = check_peer(running_lab, "beta.mssante.test", "--host", "127.0.0.1", "--port", lax)
    bound = next(one for one in found["findings"] if one["number"] == "P-21")
    assert code == 3 and (bound["state"], bound["rule"], bound["who"]) == ("fail", "LB-SERVEUR", "peer")
    assert "mta.gamma.mssante.test" in bound["evidence"] and "mta.beta.mssante.test" in bound["evidence"]


def test_nobody_answers(running_lab: RunningLab) -> None:
    code, found = check_peer(running_lab, "beta.mssante.test", "--host", "127.0.0.1", "--port", free_port())
    assert code == 3 and states(found)["P-03"] == "fail" and states(found)["P-24"] == "skip"


def test_ours_from_outside(running_lab: RunningLab) -> None:
    config = running_lab.folder / running_lab.operator("alpha").config
    code, out, error = running_lab.command("check", config, "--online", "--json")
    found = json.loads(out)["findings"]
    assert code == 0, (out, error)
    served = [one for one in found if one["number"] in ("SERVI-01", "SERVI-02")]
    assert len(served) == 5 and {one["state"] for one in served} == {"ok"}, served
    for number in ("NOM-01", "NOM-02", "HEURE-01", "PORTE-01"):
        assert {one["state"] for one in found if one["number"] == number} == {"ok"}, number


def test_renewed_and_not_served(running_lab: RunningLab, tmp_path: Path) -> None:
    """The same operator on disk, with another certificate than the one that runs: only the look from outside sees it."""
    folder = running_lab.folder / "alpha"
    for name in ("certs", "operator_config", "whitelist"):
        shutil.copytree(folder / name, tmp_path / name)
    shutil.copytree(folder / "data" / "crl", tmp_path / "data" / "crl")
    certificate, key = running_lab.peer_files("gamma")
    shutil.copyfile(certificate, tmp_path / "certs" / "mta.pem")
    shutil.copyfile(key, tmp_path / "certs" / "mta.key")
    (tmp_path / "certs" / "mta.key").chmod(0o600)
    code, out, _ = running_lab.command("check", tmp_path / "operator_config", "--online", "--json")
    found = [one for one in json.loads(out)["findings"] if one["number"].startswith("SERVI")]
    assert code == 3 and {one["state"] for one in found} == {"fail"} and "renewed but not served" in found[0]["remedy"]
