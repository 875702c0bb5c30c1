"""The synchronisation against OpenLDAP's slapd, by the command line: joiner, leaver, new name, groups, return, limits, a server that
stopped. Entries are changed with the tools of OpenLDAP."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.clispace import HOST, OPERATOR, Outcome, Space
from support.lab import soon
from support.pki import ORGANISATIONS_CN, SIGNER_CN, build_igc, pem_files

from mssante.model.identifiers import luhn_ok

pytestmark = [pytest.mark.interop, pytest.mark.skipif(
    (shutil.which("slapd") is None and not Path("/usr/sbin/slapd").exists()) or shutil.which("ldapmodify") is None,
    reason="slapd or ldap-utils is not installed")]
DOMAIN = "alpha.mssante.test"
BASE = "dc=essai,dc=fr"
ADMIN, READER, PASSWORD = f"cn=admin,{BASE}", f"cn=lecteur,{BASE}", "mot-de-passe-de-test"
TEAM = f"accueil@{DOMAIN}"
RPPS = next(number for number in (f"1000123456{digit}" for digit in range(10)) if luhn_ok(number))
IGC = build_igc()
PROVISIONING = """
[provisioning]
ldap_url = "{url}"
ldap_anchors = "{anchors}"
ldap_bind_dn = "{reader}"
ldap_password_file = "ldap.password"
ldap_base = "{base}"
ldap_filter = "(objectClass=inetOrgPerson)"
ldap_member_attribute = "member"
[provisioning.ldap_attributes]
holder_id = "employeeNumber"
disabled = "employeeType"
[provisioning.ldap_groups]
"cn=Accueil, {base}" = "{team}"
"""


def _person(who: str) -> str:
    return (f"dn: uid={who},{BASE}\nobjectClass: inetOrgPerson\nuid: {who}\ncn: {who}\nsn: Essai\ngivenName: {who.title()}\n"
            f"mail: {who}@{DOMAIN}\nemployeeNumber: {RPPS}\nuserPassword: secret-{who}\n")


@dataclass
class Local:
    """A local directory of a test, and the operator that follows it."""

    folder: Path
    port: int
    space: Space
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("slapd") or "/usr/sbin/slapd"
        url = f"ldaps://127.0.0.1:{self.port}/ ldapi://{str(self.folder / 'ldapi').replace('/', '%2F')}"
        self.process = subprocess.Popen([program, "-d", "0", "-f", self.folder / "slapd.conf", "-h", url],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert soon(self._answers)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def change(self, ldif: str) -> None:
        """Apply a change with ldapmodify; `-a` adds what has no changetype."""
        done = subprocess.run(["ldapmodify", "-a", "-x", "-H", f"ldapi://{str(self.folder / 'ldapi').replace('/', '%2F')}", "-D", ADMIN,
                               "-w", PASSWORD], input=ldif.encode(), capture_output=True, timeout=20)
        assert done.returncode == 0, done.stderr

    def sync(self, *words: str) -> Outcome:
        found = self.space.run("account", "sync", "--json", *words)
        assert "secret-" not in found.out + found.err and PASSWORD not in found.out + found.err
        return found

    def did(self, *words: str) -> list[str]:
        """Give what a run did, in words."""
        found = self.sync(*words)
        assert found.code == 0, found.err
        told = found.json
        return [*(f"{one['action']} {one['login'].partition('@')[0]}" for one in told["people"]),
                *(f"+{login.partition('@')[0]}" for one in told["teams"] for login in one["add"]),
                *(f"-{login.partition('@')[0]}" for one in told["teams"] for login in one["remove"]),
                *(one["rule"] for one in told["problems"])]

    def enabled(self) -> dict[str, bool]:
        done = self.space.run("account", "list", "--json")
        return {one["login"].partition("@")[0]: one["enabled"] for one in done.json["accounts"]}


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _operator(root: Path, capture: pytest.CaptureFixture[str], url: str, anchors: Path) -> Space:
    space = Space(root, capture)
    space.config.mkdir()
    (space.config / "operator.toml").write_text(
        OPERATOR.format(host=HOST, issuer=ORGANISATIONS_CN, signer=SIGNER_CN)
        + PROVISIONING.format(url=url, anchors=anchors, reader=READER, base=BASE, team=TEAM))
    (space.config / "domains.toml").write_text(f'[[domain]]\nname = "{DOMAIN}"\n')
    (space.config / "ldap.password").write_text(PASSWORD + "\n")
    pem_files(root / "certs", "mta", *IGC.leaf(HOST))
    (root / "certs" / "anchors.pem").write_bytes(IGC.anchors_pem)
    return space


@pytest.fixture
def local(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> Iterator[Local]:
    folder = tmp_path_factory.mktemp("s")  # short: a path of a socket has 108 octets at most
    (folder / "db").mkdir()
    certificate, key = pem_files(folder, "server", *IGC.leaf("localhost", san=("localhost",)))
    anchors = folder / "anchors.pem"
    anchors.write_bytes(IGC.anchors_pem)
    (folder / "slapd.conf").write_text(
        "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
        + f"pidfile {folder}/pid\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nTLSCertificateFile {certificate}\n"
        f"TLSCertificateKeyFile {key}\nsizelimit size.soft=20 size.hard=20 size.prtotal=20\ndatabase mdb\nsuffix {BASE}\n"
        f"rootdn {ADMIN}\nrootpw {PASSWORD}\ndirectory {folder}/db\naccess to attrs=userPassword by anonymous auth\n"
        "access to * by users read by anonymous auth\n")
    people = "\n".join(_person(who) for who in ("lea", "tom", "zoe"))
    (folder / "data.ldif").write_text(
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Essai\ndc: essai\n\n"
        f"dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: lecteur\nuserPassword: {PASSWORD}\n\n{people}\n"
        f"dn: cn=Accueil,{BASE}\nobjectClass: groupOfNames\ncn: Accueil\nmember: uid=lea,{BASE}\nmember: cn=Nuit,{BASE}\n\n"
        f"dn: cn=Nuit,{BASE}\nobjectClass: groupOfNames\ncn: Nuit\nmember: uid=tom,{BASE}\nmember: cn=Accueil,{BASE}\n")
    subprocess.run([shutil.which("slapd") or "/usr/sbin/slapd", "-T", "add", "-q", "-f", folder / "slapd.conf", "-l", folder / "data.ldif"],
                   check=True, capture_output=True)
    port = _free()
    found = Local(folder, port, _operator(tmp_path, capsys, f"ldaps://localhost:{port}", anchors))
    found.start()
    try:
        assert found.space.run("mailbox", "add", TEAM, "--type", "ORG").code == 0
        yield found
    finally:
        found.stop()


def _modify(who: str, attribute: str, value: str) -> str:
    return f"dn: uid={who},{BASE}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"


def test_the_life_of_people(local: Local) -> None:
    first = ["create lea", "create tom", "create zoe", "+lea", "+tom"]
    assert sorted(local.did("--dry-run")) == sorted(first) and local.enabled() == {}
    assert sorted(local.did()) == sorted(first) and local.did() == [], "the second run does nothing"
    local.change(f"dn: uid=lea,{BASE}\nchangetype: modrdn\nnewrdn: uid=l.essai\ndeleteoldrdn: 1\n")
    local.change(_modify("l.essai", "mail", f"l.essai@{DOMAIN}"))
    local.change(f"dn: cn=Accueil,{BASE}\nchangetype: modify\nreplace: member\nmember: uid=l.essai,{BASE}\nmember: uid=zoe,{BASE}\n")
    assert local.did() == ["rename l.essai", "+zoe", "-tom", "SYNC-ADRESSE"]
    local.change(f"dn: uid=zoe,{BASE}\nchangetype: delete\n")
    local.change(_modify("tom", "employeeType", "TRUE"))
    assert sorted(local.did()) == ["SYNC-ADRESSE", "leave tom", "leave zoe"]
    assert local.enabled() == {"l.essai": True, "tom": False, "zoe": False}
    local.change(_modify("tom", "employeeType", "FALSE"))
    local.change(_person("zoe"))
    assert sorted(local.did()) == ["SYNC-ADRESSE", "SYNC-PRIS", "return tom"], "another entry of the same name is not the same person"
    assert local.enabled() == {"l.essai": True, "tom": True, "zoe": False}


def _refused(local: Local) -> str:
    found = local.sync("--force")
    assert found.code == 1
    return str(found.json["rule"])


def test_what_changes_nothing(local: Local) -> None:
    local.did()
    before = local.enabled()
    local.change("\n".join(_person(f"u{rank}") for rank in range(20)))
    assert _refused(local) == "LDAP-NOMBRE", "sizeLimitExceeded of the server"
    local.change("\n".join(f"dn: uid=u{rank},{BASE}\nchangetype: delete\n" for rank in range(20)))
    local.space.change('"(objectClass=inetOrgPerson)"', '"(uid=nul)"')
    assert _refused(local) == "SYNC-VIDE"
    local.space.change('"(uid=nul)"', '"(uid=nul"')
    assert _refused(local) == "LDAP-FILTRE"
    local.space.change('"(uid=nul"', '"(objectClass=inetOrgPerson)"')
    (local.space.config / "ldap.password").write_text("faux\n")
    assert _refused(local) == "LDAP-CODE-49"
    (local.space.config / "ldap.password").write_text("")
    assert _refused(local) == "SYNC-SECRET"
    (local.space.config / "ldap.password").write_text(PASSWORD)
    local.stop()
    assert _refused(local) == "LDAP-INJOIGNABLE"
    assert local.enabled() == before == {"lea": True, "tom": True, "zoe": True}


def test_the_guard_holds_and_yields(local: Local) -> None:
    local.change("\n".join(_person(f"u{rank}") for rank in range(6)))
    local.did()
    local.change("\n".join(f"dn: uid=u{rank},{BASE}\nchangetype: delete\n" for rank in range(5)))
    held = local.sync()
    assert (held.code, held.json["held"]["rule"], held.json["applied"]) == (3, "SYNC-GARDE", False) and all(local.enabled().values())
    shown = local.space.run("account", "sync", "--dry-run")
    assert shown.code == 3 and "départ" in shown.out and "SYNC-GARDE" in shown.out
    assert sorted(local.did("--force")) == [f"leave u{rank}" for rank in range(5)]
    assert sorted(who for who, enabled in local.enabled().items() if not enabled) == [f"u{rank}" for rank in range(5)]
