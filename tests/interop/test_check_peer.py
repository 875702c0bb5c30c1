"""`check peer` against real doors: beta of the running lab does all that is asked; a Postfix set up without the checks does not.

Postfix has its own configuration, queue and log in a temporary folder and a free port; it is stopped by its own command.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from support.lab import RunningLab, need_programs, report, soon

from mssante.lab.processes import accepts

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
mail_owner = postfix
setgid_group = postdrop
multi_instance_name =
myhostname = mta.gamma.mssante.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
default_transport = error:nothing leaves
smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/tls/chain.pem
smtpd_tls_ask_ccert = no
smtpd_tls_protocols = >=TLSv1
smtpd_tls_mandatory_protocols = >=TLSv1
smtpd_tls_ciphers = low
tls_low_cipherlist = ALL:@SECLEVEL=0
tls_medium_cipherlist = ALL:@SECLEVEL=0
tls_high_cipherlist = ALL:@SECLEVEL=0
smtpd_relay_restrictions = reject_unauth_destination
smtpd_discard_ehlo_keywords = dsn
"""
MASTER_CF = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


@pytest.fixture(scope="module")
def lax(running_lab: RunningLab) -> Iterator[int]:
    """A Postfix with gamma's key that checks nobody; gives its port."""
    need_programs("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix starts as root and drops its rights by itself")
    folder, port = Path(tempfile.mkdtemp(prefix="mssante-lax-")), free_port()
    owner = pwd.getpwnam("postfix")
    folder.chmod(0o755)
    for name in ("conf", "queue", "data", "log", "tls"):
        (folder / name).mkdir(mode=0o755)
    os.chown(folder / "data", owner.pw_uid, owner.pw_gid)
    certificate, key = running_lab.peer_files("gamma")
    chain = folder / "tls" / "chain.pem"
    chain.touch(mode=0o600)
    chain.write_bytes(key.read_bytes() + certificate.read_bytes())
    (folder / "conf" / "main.cf").write_text(MAIN_CF.format(folder=folder), encoding="ascii")
    (folder / "conf" / "master.cf").write_text(MASTER_CF.format(port=port), encoding="ascii")

    def command(word: str) -> int:
        with (folder / "postfix.out").open("ab") as out:
            return subprocess.run(["/usr/sbin/postfix", "-c", str(folder / "conf"), word], stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=out, timeout=60, check=False).returncode

    try:
        assert command("start") == 0, (folder / "postfix.out").read_text()
        assert soon(lambda: accepts(("127.0.0.1", port)))
        yield port
    finally:
        command("stop")
        shutil.rmtree(folder, ignore_errors=True)


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
