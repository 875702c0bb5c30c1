"""A whole lab from the command line, over real processes and sockets: up, send, break, heal, down."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.handing import cda
from support.hl7 import order

from mssante.lab.mailclient import InboxWatcher, Login, anchors_context
from mssante.lab.manifest import Lab
from mssante.lab.plan import HOST, all_ports
from mssante.lab.processes import accepts, busy_ports, wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]


def free_base_port() -> int:
    """A base at which every port of a lab is free now."""
    for _ in range(50):
        base = random.randrange(14000, 23000, 200)  # below the ports that outgoing connections take
        if not busy_ports(all_ports(base), HOST):
            return base
    raise RuntimeError("no free range of ports")


def mssante(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run `mssante --lang en lab …` as a user does."""
    command = [sys.executable, "-m", "mssante", "--lang", "en", "lab", *(str(one) for one in arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def as_json(*arguments: object) -> tuple[int, dict[str, Any]]:
    result = mssante(*arguments, "--json")
    assert result.stdout, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return result.returncode, document


def soon(condition: Callable[[], bool]) -> bool:
    return wait_until(condition, 20)


def alarm(folder: Path, operator: str, source: str) -> float:
    """The trust alarm of one operator for one source, as its metrics tell."""
    document = Lab.load(folder).document
    url = next(one["metrics"] for one in document["operators"] if one["name"] == operator)
    with urllib.request.urlopen(url, timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith("mssante_trust_alarm") and f'"{source}"' in line:
                return float(line.rpartition(" ")[2])
    return 0.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("scenario") / "lab"
    csv = path.parent / "accounts.csv"
    csv.write_text("operator,local_part,type,password\nbeta,u0,PER,bench\n")
    result = mssante("up", path, "--base-port", free_base_port(), "--accounts", 1, "--accounts-file", csv, "--hospital",
                     "--detach")
    try:
        assert result.returncode == 0, result.stdout + result.stderr
        assert result.stdout.splitlines()[-1] == "ready"
        yield path
    finally:
        mssante("down", path)


@pytest.fixture(autouse=True)
def healed(folder: Path) -> Iterator[None]:
    yield
    if mssante("heal", folder).returncode != 0:
        pytest.fail("the lab could not be healed")


def test_everything_is_up(folder: Path) -> None:
    code, document = as_json("status", folder)
    assert code == 0 and document["ok"] is True
    assert [one["part"] for one in document["parts"]] == ["infra", "alpha", "beta", "citizen", "hospital"]
    lab = Lab.load(folder)
    assert all(one.pid for one in lab.operators)
    assert {one.address.partition("@")[0] for one in lab.operator("beta").accounts} >= {"user0001", "u0"}


def test_a_letter_arrives_identical_and_its_way_is_told(folder: Path) -> None:
    code, report = as_json("send", folder)
    assert code == 0, report
    assert report["identical"] and report["sent_sha256"] == report["read_sha256"]
    assert len(report["trace_id"]) == 26
    steps = [one["step"] for one in report["timeline"]]
    assert {"accepted", "visible", "relayed"} <= set(steps)
    assert report["attachments"][0] == "application/zip"


def test_the_little_hospital_sends_and_is_given(folder: Path) -> None:
    hospital = Lab.load(folder).document["hospital"]
    place = folder / hospital["folder"]
    draft = place / "1.hl7"
    draft.write_bytes(order(("resultats@alpha.mssante.test",), kind="ORU", event="R01", control="LAB1", content=cda()))
    draft.rename(place / "out" / "1.hl7")
    assert soon(lambda: (place / "sent" / "1.hl7.ack").exists())
    assert (place / "sent" / "1.hl7.ack").read_text(encoding="utf-8").startswith("AA")
    assert soon(lambda: any("MDM" in one.name for one in (place / "in").iterdir())), "the mailbox is its own: the document comes back"
    got = next(one for one in (place / "in").iterdir() if "MDM" in one.name).read_bytes()
    assert b64encode(cda()) in got


@pytest.mark.parametrize("to", ["279035121518989@patient.mssante.test", "u0@beta.mssante.test",
                                "secretariat.cardio@alpha.mssante.test"])
def test_to_a_citizen_a_csv_mailbox_and_ourselves(folder: Path, to: str) -> None:
    code, report = as_json("send", folder, "--to", to)
    assert code == 0 and report["identical"], report


def test_a_public_cda_arrives(folder: Path, shared_dir: Path) -> None:
    code, report = as_json("send", folder, "--cda", shared_dir / "data" / "cda" / "LDL-SES_2022.01.xml")
    assert code == 0 and report["identical"], report


def test_nobody_to_read(folder: Path) -> None:
    result = mssante("send", folder, "--to", "x@gamma.mssante.test")
    assert result.returncode == 1 and "LAB-RECIPIENT" in result.stderr


def test_a_running_lab_is_not_started_twice(folder: Path) -> None:
    result = mssante("up", folder, "--detach")
    assert result.returncode == 1 and "LAB-RUNNING" in result.stderr
    assert mssante("status", folder).returncode == 0


def test_another_lab_on_the_same_ports_is_told_how_to_move(folder: Path, tmp_path: Path) -> None:
    result = mssante("up", tmp_path / "second", "--base-port", Lab.load(folder).base_port, "--detach")
    assert result.returncode == 1 and "--base-port" in result.stderr


def test_beta_down_then_healed_the_letter_waits_and_arrives(folder: Path) -> None:
    assert mssante("break", folder, "beta-down").returncode == 0
    code, document = as_json("status", folder)
    assert code == 1
    assert {one["part"]: one["up"] for one in document["parts"]} == {
        "infra": True, "alpha": True, "beta": False, "citizen": True, "hospital": True}
    assert as_json("send", folder, "--to", "secretariat.cardio@alpha.mssante.test")[0] == 0, "alpha works without beta"
    code, report = as_json("send", folder, "--timeout", 1)
    assert code == 1 and report["arrived"] is False
    assert "deferred" in [one["step"] for one in report["timeline"]]
    assert mssante("heal", folder).returncode == 0
    assert mssante("status", folder).returncode == 0
    lab = Lab.load(folder)
    beta = lab.operator("beta")
    account = beta.account("paul.durand@beta.mssante.test")
    assert account is not None
    context = anchors_context(lab.path(lab.trust("anchors")))
    with InboxWatcher(Login(beta.address("imaps"), account.login, account.password), context) as inbox:
        assert inbox.wait_for(report["message_id"], 40) is not None


def test_an_altered_list_raises_the_alarm_and_mail_goes_on(folder: Path) -> None:
    assert mssante("break", folder, "whitelist-bad-signature").returncode == 0
    assert soon(lambda: alarm(folder, "alpha", "whitelist") == 1)
    assert as_json("send", folder)[0] == 0
    assert mssante("heal", folder).returncode == 0
    assert soon(lambda: alarm(folder, "alpha", "whitelist") == 0)


@pytest.mark.parametrize("fault", ["whitelist-rolled-back", "whitelist-unreachable"])
def test_other_faults_of_the_list_raise_the_alarm(folder: Path, fault: str) -> None:
    assert mssante("break", folder, fault).returncode == 0
    assert soon(lambda: alarm(folder, "beta", "whitelist") == 1)
    assert as_json("send", folder)[0] == 0


def test_an_expired_crl_raises_the_alarm(folder: Path) -> None:
    assert mssante("break", folder, "crl-expired").returncode == 0
    assert soon(lambda: alarm(folder, "alpha", "crl0") == 1)
    assert mssante("heal", folder).returncode == 0
    assert soon(lambda: alarm(folder, "alpha", "crl0") == 0)


def test_a_revoked_beta_gets_no_mail_until_healed(folder: Path) -> None:
    assert mssante("break", folder, "beta-certificate-revoked").returncode == 0

    def stopped() -> bool:
        _, report = as_json("send", folder, "--timeout", 1)
        return not report["arrived"] and "deferred" in [one["step"] for one in report["timeline"]]

    assert wait_until(stopped, 30)
    assert mssante("heal", folder).returncode == 0
    assert wait_until(lambda: as_json("send", folder, "--timeout", 5)[0] == 0, 40)


def test_directory_down(folder: Path) -> None:
    url = Lab.load(folder).trust("directory_fhir") + "/Practitioner"
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert json.load(answer)["total"] >= 2
    assert mssante("break", folder, "directory-down").returncode == 0
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(url, timeout=5)


def test_a_killed_part_shows_and_heals(folder: Path) -> None:
    pid = Lab.load(folder).operator("beta").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert soon(lambda: mssante("status", folder).returncode == 1)
    assert mssante("heal", folder).returncode == 0
    assert as_json("send", folder)[0] == 0


def test_down_stops_all_and_up_again_keeps_the_mail(folder: Path) -> None:
    lab = Lab.load(folder)
    doors = [(HOST, port) for port in all_ports(lab.base_port).values()]
    code, document = as_json("down", folder)
    assert code == 0 and sorted(document["stopped"]) == ["alpha", "beta", "citizen", "hospital", "infra"]
    assert not any(accepts(door) for door in doors)
    assert [one.pid for one in Lab.load(folder).operators] == [None, None, None]
    assert mssante("down", folder).returncode == 0

    # in the foreground this time, until Ctrl-C
    command = [sys.executable, "-m", "mssante", "lab", "up", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as foreground:
        assert foreground.stdout is not None
        lines = iter(foreground.stdout.readline, "")
        assert any(line == "ready\n" for line in lines)
        assert Lab.load(folder).document["peers"] == lab.document["peers"], "reused, not rebuilt"
        assert as_json("send", folder)[0] == 0
        foreground.send_signal(signal.SIGINT)
        assert foreground.wait(60) == 0
    assert not any(accepts(door) for door in doors)

    assert mssante("up", folder, "--detach").returncode == 0
