"""Address books of ordinary programs on the lab's directory: Debian's `ldapsearch`, and Thunderbird as a person uses it.

Both check the door's certificate, name and chain. `ldapsearch` dials the address, which the certificate names: of `localhost` it
would make the machine's own name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.compose import TYPE
from support.lab import RunningLab, need_programs, report, soon
from support.thunderbird import MailAccount, Thunderbird, running_thunderbird

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
BASE = "ou=annuaire,o=mssante"
# what Thunderbird 153 sends for "claire mar" (AbLDAPAutoCompleteSearch, its default filterTemplate)
THUNDERBIRD = "(|(cn=*claire*mar*)(mail=*claire mar*)(givenName=*claire*)(sn=*claire mar*))"
CLAIRE = "claire.martin@alpha.mssante.test"


class Book:
    """`ldapsearch` with one login."""

    def __init__(self, lab: RunningLab) -> None:
        need_programs("ldapsearch", "ldapdelete")
        account = lab.operator("alpha").account(CLAIRE)
        assert account is not None
        host, port = lab.address("alpha", "ldaps")
        self.login, self.password = account.login, account.password
        self._url = f"ldaps://{host}:{port}"
        self._environment = {**os.environ, "LDAPTLS_CACERT": str(lab.anchors_file), "LDAPTLS_REQCERT": "demand"}

    def run(self, program: str, *words: str, login: str | None = None, password: str | None = None) -> tuple[int, str]:
        who = self.login if login is None else login
        bind = ["-x", "-D", who, "-w", self.password if password is None else password] if who else ["-x"]
        done = subprocess.run([program, "-H", self._url, *bind, *words], env=self._environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False)
        return done.returncode, done.stdout.decode()

    def trust(self, anchors: Path) -> None:
        self._environment["LDAPTLS_CACERT"] = str(anchors)

    def search(self, filter_: str, *names: str, **given: str) -> tuple[int, str]:
        return self.run("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", BASE, filter_, *names, **given)


@pytest.fixture
def book(running_lab: RunningLab) -> Book:
    found = Book(running_lab)
    assert soon(lambda: "claire.martin" in found.search(THUNDERBIRD, "mail")[1]), found.search(THUNDERBIRD, "mail")[1]
    return found


def test_an_address_field_is_completed(book: Book) -> None:
    code, text = book.search(THUNDERBIRD, "cn", "mail", "o", "sn", "givenName")
    assert code == 4, "givenName=*claire* alone would bury what the other parts find: left out, and said"
    assert "mail: claire.martin@alpha.mssante.test" in text and "sn: MARTIN" in text
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


def test_a_server_of_another_authority_is_not_trusted(book: Book, running_lab: RunningLab) -> None:
    """The searches above did check our certificate."""
    book.trust(running_lab.lab.path(running_lab.lab.trust("personnes_certificate")))
    code, text = book.search(THUNDERBIRD, "mail")
    assert code != 0 and "mail: " not in text


# ------------------------------------------------------------------------------------------ Thunderbird

ADD_BOOK = """
    const uri = `ldaps://localhost:${args[0]}/ou=annuaire,o=mssante??sub?(objectclass=*)`;
    const id = MailServices.ab.newAddressBook("Annuaire MSSante", uri, Ci.nsIAbManager.LDAP_DIRECTORY_TYPE);
    const book = MailServices.ab.getDirectoryFromId(id).QueryInterface(Ci.nsIAbLDAPDirectory);
    book.authDn = args[1];
    const info = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);
    info.init(book.lDAPURL.prePath, null, book.lDAPURL.spec, "", args[2], "", "");
    await Services.logins.addLoginAsync(info);
    Services.prefs.setBoolPref("ldap_2.autoComplete.useDirectory", true);
    Services.prefs.setCharPref("ldap_2.autoComplete.directoryServer", id);
    return id;"""
COMPLETE = """
    const search = Cc["@mozilla.org/autocomplete/search;1?name=ldap"].createInstance(Ci.nsIAutoCompleteSearch);
    const kinds = Ci.nsIAutoCompleteResult;
    return await new Promise((done, fail) => {
      setTimeout(() => fail(new Error("no answer")), 15000);
      search.startSearch(args[0], JSON.stringify({type: "addr_to"}), null, {onSearchResult(_, found) {
        if (found.searchResult == kinds.RESULT_FAILURE) fail(new Error("failure"));
        else if ([kinds.RESULT_SUCCESS, kinds.RESULT_NOMATCH, kinds.RESULT_IGNORED].includes(found.searchResult))
          done(Array.from({length: found.matchCount}, (_, at) => found.getValueAt(at)));
      }});
    });"""
WINDOW = """
    const book = MailServices.ab.getDirectoryFromId(args[0]);
    const query = `(or(DisplayName,c,${args[1]})(PrimaryEmail,c,${args[1]})(LastName,c,${args[1]}))`;
    return await new Promise((done, fail) => {
      const cards = [];
      book.search(query, args[1], {
        onSearchFoundCard(card) { cards.push(["LastName", "FirstName", "PrimaryEmail", "Company"].map(one => card.getProperty(one, ""))); },
        onSearchFinished(status) { status ? fail(new Error("status " + status.toString(16))) : done(cards); }});
    });"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short-named folder: the sockets of the virtual screen stand in it."""
    path = Path(tempfile.mkdtemp(prefix="mssante-tb-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def complete(thunderbird: Thunderbird, text: str) -> list[str]:
    found: list[str] = thunderbird.run(COMPLETE, text)
    return found


def test_thunderbird_completes_an_address(book: Book, running_lab: RunningLab, folder: Path) -> None:
    """Its LDAP address book by its own means: the search behind address fields, the search of the address book window, and keys
    pressed in the To field of a compose window until the address stands there as a recipient."""
    need_programs("thunderbird", "xvfb-run", "certutil")
    began = time.monotonic()
    account = MailAccount(CLAIRE, book.login, book.password, "localhost", running_lab.address("alpha", "imaps")[1])
    with running_thunderbird(folder, account, running_lab.anchors_file) as thunderbird:
        door = running_lab.address("alpha", "ldaps")[1]
        identifier = thunderbird.run(ADD_BOOK, door, book.login, book.password)
        for typed in ("mart", "claire mar", "claire.martin@al", "CLAIRE"):
            assert any(f"<{CLAIRE}>" in one for one in complete(thunderbird, typed)), typed
        assert any("<secretariat.cardio@" in one for one in complete(thunderbird, "cardio"))
        assert complete(thunderbird, "zzyzx") == []
        cards: list[list[Any]] = thunderbird.run(WINDOW, identifier, "martin")
        assert ["MARTIN", "CLAIRE", CLAIRE] in [card[:3] for card in cards]
        shown, recipients = thunderbird.run(TYPE, "claire mar", CLAIRE)
        assert any(CLAIRE in one for one in shown) and recipients == [CLAIRE]
        version = thunderbird.run("return Services.appinfo.version;")
    report("thunderbird-ldap.txt", f"Thunderbird {version} LDAPS: autocomplete, address book search, typed recipient in "
                                   f"{time.monotonic() - began:.1f} s")
