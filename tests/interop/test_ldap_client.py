"""Our LDAP client against OpenLDAP's slapd: LDAPS and StartTLS, bind, pages, limits, mapping to entries of the directory."""

from __future__ import annotations

import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.lab import soon
from support.pki import build_igc, der, pem_files

from mssante.directory.values import Source
from mssante.errors import MssFault
from mssante.transport.annuaire_ldap import LdapDirectory, LdapSource, attribute_map
from mssante.transport.ldap_client import LdapClient, LdapTarget

pytestmark = [pytest.mark.interop, pytest.mark.skipif(shutil.which("slapd") is None and not Path("/usr/sbin/slapd").exists(),
                                                      reason="slapd is not installed")]
BASE = "dc=essai,dc=fr"
ADMIN, PASSWORD = f"cn=admin,{BASE}", "mot-de-passe-de-test"
COUNT = 1200
IGC = build_igc()
CERTIFICATE = der(IGC.leaf("mail")[0])
ODD = "o'neil(1)*\\é@un.mssante.fr"


@dataclass(frozen=True)
class Slapd:
    tls: str
    plain: str
    anchors: Path


def _free(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _ldif(certificate: bytes) -> str:
    people = [f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Essai\ndc: essai\n"]
    for rank in range(COUNT):
        people.append(f"dn: uid=u{rank},{BASE}\nobjectClass: inetOrgPerson\nuid: u{rank}\ncn: Nom {rank}\nsn: NOM{rank}\ngivenName: Prenom\n"
                      f"mail: u{rank}@un.mssante.fr\nemployeeNumber: 8997000{rank:05d}\npostalCode: 13001\nl: VILLE\n")
    people.append(f"dn: uid=odd,{BASE}\nobjectClass: inetOrgPerson\nuid: odd\ncn: odd\nsn: ODD\nuserCertificate;binary:: "
                  f"{b64encode(certificate).decode()}\nmail: plain@un.mssante.fr\ndescription:: {b64encode(ODD.encode()).decode()}\n")
    return "\n".join(people)


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    folder = tmp_path_factory.mktemp("slapd")
    (folder / "db").mkdir()
    certificate, key = pem_files(folder, "server", *IGC.leaf("localhost", san=("localhost",)))
    anchors = folder / "anchors.pem"
    anchors.write_bytes(IGC.anchors_pem)
    (folder / "slapd.conf").write_text(
        "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
        + f"pidfile {folder}/pid\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nTLSCertificateFile {certificate}\n"
        f"TLSCertificateKeyFile {key}\nsizelimit size.soft=500 size.hard=5000 size.prtotal=unlimited\ndatabase mdb\nsuffix {BASE}\n"
        f"rootdn {ADMIN}\nrootpw {PASSWORD}\ndirectory {folder}/db\naccess to * by users read by anonymous auth\n")
    (folder / "data.ldif").write_text(_ldif(CERTIFICATE))
    program = shutil.which("slapd") or "/usr/sbin/slapd"
    subprocess.run([program, "-T", "add", "-q", "-f", folder / "slapd.conf", "-l", folder / "data.ldif"], check=True, capture_output=True)
    tls, plain = _free(2)
    with subprocess.Popen([program, "-d", "0", "-f", folder / "slapd.conf", "-h", f"ldaps://127.0.0.1:{tls}/ ldap://127.0.0.1:{plain}/"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            assert soon(lambda: socket.socket().connect_ex(("127.0.0.1", plain)) == 0)
            yield Slapd(f"ldaps://localhost:{tls}", f"ldap://localhost:{plain}", anchors)
        finally:
            process.terminate()


@pytest.mark.parametrize("way", ["tls", "plain"])
async def test_a_search_gives_every_page(slapd: Slapd, way: str) -> None:
    target = LdapTarget(getattr(slapd, way), slapd.anchors)
    async with LdapClient(target, ADMIN, PASSWORD) as client:
        found = [one async for one in client.search(BASE, "(&(objectClass=inetOrgPerson)(mail=u*@un.mssante.fr))", ["mail", "sn"], page=100)]
        assert len({one.text("mail") for one in found}) == COUNT and found[0].attributes.keys() == {"mail", "sn"}
        again = [one async for one in client.search(BASE, "(uid=u7)", ["cn"])]
        assert [one.text("CN") for one in again] == ["Nom 7"]
        assert [one async for one in client.search("dc=nulle,dc=part", "(uid=*)", ["cn"])] == []


async def _rule(target: LdapTarget, dn: str, password: str, most: int = 10_000) -> str:
    with pytest.raises(MssFault) as caught:
        async with LdapClient(target, dn, password) as client:
            async for _ in client.search(BASE, "(mail=*)", ["mail"], most=most):
                pass
    assert PASSWORD not in str(caught.value)
    return caught.value.rule


async def test_refusals_are_typed(slapd: Slapd, tmp_path: Path) -> None:
    target = LdapTarget(slapd.tls, slapd.anchors)
    assert await _rule(target, ADMIN, "faux") == "LDAP-CODE-49"
    assert await _rule(target, ADMIN, "") == "LDAP-CONFIG"
    assert await _rule(target, ADMIN, PASSWORD, most=50) == "LDAP-NOMBRE"
    assert await _rule(LdapTarget("ldaps://localhost:1", slapd.anchors), "", "") == "LDAP-INJOIGNABLE"
    other, _ = pem_files(tmp_path, "other", IGC.foreign.certificate, IGC.leaf("x")[1])
    for url in (slapd.tls, slapd.plain):
        assert await _rule(LdapTarget(url, other), ADMIN, PASSWORD) == "LDAP-INJOIGNABLE"  # not our authority
        assert await _rule(LdapTarget(url.replace("localhost", "127.0.0.1"), slapd.anchors), ADMIN, PASSWORD) == "LDAP-INJOIGNABLE"


async def test_an_address_is_found_as_an_entry_of_the_directory(slapd: Slapd, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    source = LdapSource(LdapTarget(slapd.tls, slapd.anchors), BASE, attribute_map({"holder_id": "employeeNumber"}), ADMIN, tmp_path / "secret")
    directory = LdapDirectory(source, FakeClock())
    (found,) = await directory.find("U3@un.mssante.fr")
    entry = found.entry
    assert (entry.address, entry.family_name, entry.holder_id, entry.type, entry.town) == (
        "u3@un.mssante.fr", "NOM3", "899700000003", "PER", "VILLE")
    assert entry.source is Source.LDAP and found.certificates == ()
    (signed,) = await directory.find("plain@un.mssante.fr")
    assert signed.certificates == (CERTIFICATE,)
    assert await directory.find("u*@un.mssante.fr") == [] == await directory.find("u3)(mail=*@un.mssante.fr")
    by_words = LdapDirectory(LdapSource(source.target, BASE, attribute_map({"address": "description"}), ADMIN, tmp_path / "secret"), FakeClock())
    assert [one.entry.address for one in await by_words.find(ODD)] == [ODD]  # every reserved character, escaped
