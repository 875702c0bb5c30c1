"""Thunderbird logs in by Pro Santé Connect: its own OAuth 2 with PKCE in its own window, XOAUTH2 toward IMAP and submission.

What the person sees in each case of the table of logins; written by the test to `$MSSANTE_REPORT_DIR/logins-thunderbird.md`.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.lab import RunningLab, need_programs, report, soon
from support.thunderbird import MailAccount
from support.thunderbird_token import HOST, Provider, TokenThunderbird, token_thunderbird

from mssante.lab.tokens import TokenDesk

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

CLAIRE, SERVICE, SINK = "claire.martin@alpha.mssante.test", "secretariat.cardio@alpha.mssante.test", "user0024@alpha.mssante.test"
PERSON, OTHER = "899700000011", "899700000773"
REFUSED = f"Authentication failure while connecting to server {HOST}."
ROWS: list[str] = []


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short-named folder: the sockets of the virtual screen stand in it."""
    path = Path(tempfile.mkdtemp(prefix="mssante-tb-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """Write what was seen."""
    yield
    report("logins-thunderbird.md", "\n".join(["| Thunderbird, XOAUTH2 | IMAP | submission |", "|---|---|---|", *ROWS]))


class Desk:
    """The lab's alpha, as an administrator changes it."""

    def __init__(self, lab: RunningLab) -> None:
        need_programs("thunderbird", "xvfb-run", "certutil")
        self.lab = lab
        self.port = {door: lab.address("alpha", door)[1] for door in ("imaps", "submissions")}

    def do(self, *words: str) -> None:
        code, out, error = self.lab.command(*words, "-c", self.lab.folder / "alpha/operator_config")
        assert code == 0, out + error

    @contextmanager
    def open(self, folder: Path, login: str, person: str, client: str = "lab-lps") -> Iterator[TokenThunderbird]:
        """Give a Thunderbird whose user has just said who they are."""
        account = MailAccount(login, login, "", HOST, self.port["imaps"])
        with token_thunderbird(folder, account, self.port["submissions"], self.lab.anchors_file) as thunderbird:
            thunderbird.register(Provider(self.lab.lab.trust("psc_issuer"), client))
            thunderbird.connect()
            assert login in thunderbird.choose(person), "the window names the account"
            yield thunderbird

    def came(self, mark: str) -> bool:
        """Tell if a letter stands in the box of the recipient."""
        with self.lab.reader(SINK) as reader:
            return bool(reader.client.uid("SEARCH", "SUBJECT", mark)[1][0])


@pytest.fixture
def desk(running_lab: RunningLab) -> Desk:
    return Desk(running_lab)


def test_a_person_logs_in_sends_and_outlives_their_token(desk: Desk, folder: Path) -> None:
    with desk.open(folder, CLAIRE, PERSON) as thunderbird:
        assert thunderbird.outcome() == "yes" and thunderbird.kept() == 1
        mark = f"psc-{time.monotonic_ns()}"
        assert thunderbird.send(SINK, mark) == "yes" and soon(lambda: desk.came(mark))
        ROWS.append("| good | yes: folders read, a refresh token kept | yes: sent, arrived |")
        first = thunderbird.token()
        thunderbird.show(TokenDesk(desk.lab.lab).ask(PERSON, fault="expired"))
        thunderbird.connect()
        assert thunderbird.outcome(known=False) == REFUSED
        thunderbird.show(first, left=0)  # its own, whose end it knows to have come
        thunderbird.connect()
        assert soon(lambda: thunderbird.token() != first), "another by its refresh token, nobody is asked"
        mark = f"psc-{time.monotonic_ns()}"
        assert thunderbird.send(SINK, mark) == "yes" and soon(lambda: desk.came(mark))
        ROWS.append(f"| expired | taken for good: no, « {REFUSED} »; known to be over: yes, a new one by the refresh token | yes |")


def test_a_delegate_opens_the_box_of_the_service(desk: Desk, folder: Path) -> None:
    desk.do("mailbox", "team", "add", SERVICE, "--member", CLAIRE)
    try:
        with desk.open(folder, SERVICE, PERSON) as thunderbird:
            assert thunderbird.outcome() == "yes"
            mark = f"psc-{time.monotonic_ns()}"
            assert thunderbird.send(SINK, mark) == "yes" and soon(lambda: desk.came(mark))
    finally:
        desk.do("mailbox", "team", "remove", SERVICE, CLAIRE)
    ROWS.append("| delegate | yes | yes: sent as the service |")


@pytest.mark.parametrize(("case", "person", "client"), [("wrong audience", PERSON, "lab-autre-service"), ("other holder", OTHER, "lab-lps")])
def test_who_may_not_is_told(desk: Desk, folder: Path, case: str, person: str, client: str) -> None:
    with desk.open(folder, CLAIRE, person, client) as thunderbird:
        assert thunderbird.outcome() == REFUSED
        sent = thunderbird.send(SINK, f"psc-{time.monotonic_ns()}")
        assert sent != "yes" and "failed" in sent
        ROWS.append(f"| {case} | no: « {REFUSED} » | no: « {sent} » |")


def test_a_suspended_box_is_told(desk: Desk, folder: Path) -> None:
    desk.do("mailbox", "state", CLAIRE, "suspended")
    try:
        with desk.open(folder, CLAIRE, PERSON) as thunderbird:
            assert thunderbird.outcome() == REFUSED
            said: list[str] = []

            def refused() -> bool:  # the server reads the new state within its half minute
                said.append(thunderbird.send(SINK, f"psc-{time.monotonic_ns()}"))
                return said[-1] != "yes"

            assert soon(refused) and "[BOITE-SUSPENDUE]" in said[-1]
            ROWS.append(f"| suspended box | no: « {REFUSED} » | no: « {said[-1]} » |")
    finally:
        desk.do("mailbox", "state", CLAIRE, "active")
        assert soon(lambda: desk.lab.takes_mail("alpha", CLAIRE))
