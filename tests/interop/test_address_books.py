"""Address books of ordinary programs on the lab's directory: Debian's `ldapsearch` over LDAPS, as an address field asks.

The lab's certificates name `mta.alpha.mssante.test`, and LDAP clients compare it with the address that they dial: the authority is
checked, the name is not (`TLS_REQSAN=allow` does not help a host name that no resolver of this machine knows).
"""

from __future__ import annotations

import os
import subprocess

import pytest
from support.lab import RunningLab, need_programs, soon

pytestmark = pytest.mark.interop
BASE = "ou=annuaire,o=mssante"
THUNDERBIRD = "(|(cn=mar*)(mail=mar*)(sn=mar*))"


class Book:
    """`ldapsearch` with one login."""

    def __init__(self, lab: RunningLab) -> None:
        need_programs("ldapsearch", "ldapdelete")
        account = lab.operator("alpha").account("claire.martin@alpha.mssante.test")
        assert account is not None
        host, port = lab.address("alpha", "ldaps")
        self.login, self.password = account.login, account.password
        self._url = f"ldaps://{host}:{port}"
        # the chain is verified; the lab listens on an address that its certificate does not name
        self._environment = {**os.environ, "LDAPTLS_CACERT": str(lab.anchors_file), "LDAPTLS_REQCERT": "allow"}

    def run(self, program: str, *words: str, login: str | None = None, password: str | None = None) -> tuple[int, str]:
        who = self.login if login is None else login
        bind = ["-x", "-D", who, "-w", self.password if password is None else password] if who else ["-x"]
        done = subprocess.run([program, "-H", self._url, *bind, *words], env=self._environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False)
        return done.returncode, done.stdout.decode()

    def search(self, filter_: str, *names: str, **given: str) -> tuple[int, str]:
        return self.run("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", BASE, filter_, *names, **given)


@pytest.fixture
def book(running_lab: RunningLab) -> Book:
    found = Book(running_lab)
    assert soon(lambda: "claire.martin" in found.search(THUNDERBIRD, "mail")[1]), found.search(THUNDERBIRD, "mail")[1]
    return found


def test_an_address_field_is_completed(book: Book) -> None:
    code, text = book.search(THUNDERBIRD, "cn", "mail", "o", "sn", "givenName")
    assert code == 0 and "mail: claire.martin@alpha.mssante.test" in text and "sn: MARTIN" in text
    for filter_ in ("(anr=mart)", "(&(mail=*)(|(cn=cla*)(displayName=cla*)))", "(mail=claire.martin@alpha.mssante.test)",
                    "(|(givenName=claire*)(sn=claire*)(mail=claire*))"):
        assert "mail: claire.martin@" in book.search(filter_, "mail")[1], filter_
    code, text = book.search("(ou=cardio*)", "cn", "mail")
    assert code == 0 and "secretariat.cardio@alpha.mssante.test" in text


def test_paging_and_root(book: Book) -> None:
    code, text = book.run("ldapsearch", "-LLL", "-E", "pr=1/noprompt", "-b", BASE, "(|(mail=claire*)(mail=secret*)(mail=paul*))", "mail")
    assert code == 0 and text.count("mail: ") >= 2
    code, text = book.run("ldapsearch", "-LLL", "-s", "base", "-b", "", "+", "*", login="")
    assert code == 0 and "supportedLDAPVersion: 3" in text


def test_what_is_refused(book: Book) -> None:
    assert book.search(THUNDERBIRD, password="wrong")[0] == 49
    assert book.search(THUNDERBIRD, login="")[0] in (1, 50)
    assert book.search("(objectClass=*)")[0] == 11  # nobody copies the directory
    assert book.run("ldapdelete", f"mail=claire.martin@alpha.mssante.test,{BASE}")[0] == 53
