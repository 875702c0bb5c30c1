"""Each fault of the lab with mail under way: nothing lost, nothing bounced, and what the administrator saw.

One lab of our own. For each fault: it is switched on, a letter is sent during it by submission, what the administrator can see is
read (`check`, metrics, `hold list`, journal), the lab is healed, and the letter must arrive, once, as it was sent. The table goes
to $MSSANTE_REPORT_DIR/trust-faults.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.lab import RunningLab, letter, report, soon, start_lab

from mssante.cli.main import run
from mssante.lab.desks import lab_entries, load_certificate, load_key
from mssante.lab.faults import Fault
from mssante.lab.mailclient import Login, submit
from mssante.lab.supervisor import Supervisor
from mssante.lab.whitelist import ListSigner, signed_list
from mssante.lang import set_language

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

SENDER = "claire.martin@alpha.mssante.test"
TO = "paul.durand@beta.mssante.test"
BETA = "beta.mssante.test"
SOURCES = ("whitelist", "whitelist-pin", "whitelist-shape", "crl0", "crl1")
QUIET = {"login", "submitted", "relayed", "deferred", "received", "operator_started", "session_refused"}


@dataclass(slots=True)
class Row:
    """What one fault gave. seconds: from heal to the mailbox."""

    fault: str
    during: str = ""
    findings: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Space:
    """The lab and the administrator of alpha."""

    def __init__(self, running: RunningLab) -> None:
        self.running = running
        self.config = running.lab.path(running.operator("alpha").config)
        self.rows: list[Row] = []
        self.sent: list[str] = []
        self.supervisor = Supervisor(running.lab, lambda text: None)

    def admin(self, *words: str) -> Any:
        """Run a command on alpha's configuration, in this process; give its JSON object."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            run([*words, "--config", str(self.config), "--json"] if words[0] != "check" else
                ["check", str(self.config), "--json"])
        set_language("fr")
        return json.loads(out.getvalue())

    def send(self, mark: str) -> str:
        """Drop a letter at alpha for beta; give the reply to the final dot."""
        alpha = self.running.operator("alpha")
        account = alpha.account(SENDER)
        assert account is not None
        self.sent.append(mark)
        return submit(Login(alpha.address("submission"), account.login, account.password), self.running.anchors(),
                      recipient=TO, message=letter(SENDER, TO, mark))

    def queued(self) -> list[dict[str, Any]]:
        """Give alpha's queue."""
        found: list[dict[str, Any]] = self.admin("queue", "list")["recipients"]
        return found

    def arrived(self, mark: str, seconds: float = 30) -> None:
        """Wait until a letter is in the mailbox."""
        with self.running.reader(TO) as reader:
            reader.wait_for(mark, seconds)

    def latest_event(self) -> int:
        """Give the sequence of alpha's last event, once no alarm is left of the fault before."""
        assert soon(lambda: not any(self.running.metric("alpha", "mssante_trust_alarm{", f'"{source}"')
                                for source in SOURCES if source != "whitelist-shape"), 15), "that one stays until the next list"
        return max((one["sequence"] for one in self.admin("journal", "list", "-n", "1")["events"]), default=0)

    def look(self, row: Row, after: int) -> None:
        """Note what the administrator sees now."""
        found = self.admin("check")["findings"]
        row.findings = [f"{one['number']} {one['state']}: {one['seen'][:70]}" for one in found
                        if one["state"] != "ok" and one["number"].startswith(("LISTE", "CRL", "RETENUE", "CERT"))]
        row.alarms = [source for source in SOURCES if self.running.metric("alpha", "mssante_trust_alarm{", f'"{source}"')]
        row.holds = [f"{one['cause']} {one['domain'] or '(all)'}: {one['recipients']}"
                     for one in self.admin("hold", "list")["holds"]]
        events = self.admin("journal", "list", "-n", "60")["events"]
        row.journal = sorted({f"{one['kind']} {one['payload'].get('rule') or one['payload'].get('cause') or ''}".strip()
                              for one in events if one["sequence"] > after and one["kind"] not in QUIET})

    def heal(self, row: Row, mark: str) -> None:
        """Heal and wait for the letter of the fault."""
        self.supervisor.heal()
        healed = time.monotonic()
        self.arrived(mark)
        row.seconds = time.monotonic() - healed
        self.rows.append(row)

    def held(self, cause: str) -> bool:
        """Whether a hold of that cause stands."""
        return any(one["cause"] == cause for one in self.admin("hold", "list")["holds"])

    def aged_list(self, hours: float, *, without: str = "") -> Path:
        """Write a list of the lab, signed, generated that long ago."""
        lab = self.running.lab
        signer = ListSigner(load_certificate(lab.path(lab.trust("signer_certificate"))), load_key(lab.path(lab.trust("signer_key"))))
        entries = [entry for entry in lab_entries(lab) if entry.domain != without]
        path = lab.path(f"aged-{hours}-{without}.xml")
        generated = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours)
        path.write_bytes(signed_list(entries, signer, generated))
        return path


@pytest.fixture(scope="module")
def space() -> Iterator[Space]:
    running = start_lab(accounts=0)
    made = Space(running)
    yield made
    try:
        _write_table(made)
    finally:
        running.stop()


def _write_table(space: Space) -> None:
    lines = ["# Faults of the trust space with mail under way", "",
             "Letters sent during each fault: all arrived once, unaltered; failure reports: 0.", "",
             "| fault | letter sent during it | check | alarms (metric) | holds (recipients) | journal | heal to mailbox |",
             "|---|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join([row.fault, row.during, "<br>".join(row.findings) or "–", ", ".join(row.alarms) or "–",
                                 "<br>".join(row.holds) or "–", "<br>".join(row.journal) or "–", f"{row.seconds:.1f} s"]) + " |"
              for row in space.rows]
    report("trust-faults.md", "\n".join(lines))


def _through(space: Space, fault: Fault, seen: Callable[[], bool]) -> Row:
    """A fault during which mail goes on: the letter arrives before the heal."""
    row, after, mark = Row(fault.value), space.latest_event(), f"during-{fault.value}"
    space.supervisor.break_with(fault)
    assert soon(seen, 15), f"{fault.value} is not seen"
    space.send(mark)
    space.arrived(mark)
    row.during = "went through"
    space.look(row, after)
    space.heal(row, mark)
    return row


@pytest.mark.parametrize("fault", [Fault.WHITELIST_BAD_SIGNATURE, Fault.WHITELIST_ROLLED_BACK])
def test_a_list_that_cannot_be_believed_is_told_and_mail_goes_on(space: Space, fault: Fault) -> None:
    row = _through(space, fault, lambda: space.running.metric("alpha", "mssante_trust_alarm{", '"whitelist"') == 1)
    assert row.alarms == ["whitelist"] and row.holds == []
    rule = "LB-RECUL" if fault is Fault.WHITELIST_ROLLED_BACK else "LB-"
    assert any(one.startswith(f"whitelist_refused {rule}") for one in row.journal), row.journal


def test_the_directory_away_stops_no_mail(space: Space) -> None:
    row = _through(space, Fault.DIRECTORY_DOWN, lambda: True)
    assert row.holds == []


def test_a_list_unreachable_until_it_is_too_old_holds_mail_and_takes_new(space: Space) -> None:
    """The list in force is made old by hand (`adopt --force`), which a running server takes within seconds."""
    row, after = Row(Fault.WHITELIST_UNREACHABLE.value), space.latest_event()
    space.supervisor.break_with(Fault.WHITELIST_UNREACHABLE)
    assert space.admin("whitelist", "adopt", str(space.aged_list(240.5)), "--force")["adopted"]
    assert soon(lambda: space.held("list-too-old"), 15)
    reply = space.send("while-too-old")
    assert reply.startswith("2.0.0 ")
    assert soon(lambda: any("RETENUE-LISTE" in one["last_reply"] for one in space.queued()), 10)
    row.during = "accepted and held, not dialled"
    space.look(row, after)
    assert row.alarms == ["whitelist"] and row.holds == ["list-too-old (all): 1"]
    assert any(one.startswith("RETENUE-01") for one in row.findings)
    space.heal(row, "while-too-old")
    assert soon(lambda: not space.held("list-too-old"), 10)


def test_an_expired_crl_holds_all_and_is_released_by_the_next(space: Space) -> None:
    row, after = Row(Fault.CRL_EXPIRED.value), space.latest_event()
    space.supervisor.break_with(Fault.CRL_EXPIRED)
    assert soon(lambda: space.running.metric("alpha", "mssante_trust_alarm{", '"crl0"') == 1, 15)
    space.send("while-crl-expired")
    assert soon(lambda: space.held("crl-expired"), 15)
    row.during = "accepted and held, tried slowly"
    space.look(row, after)
    assert row.holds == ["crl-expired (all): 1"] and {"crl0", "whitelist-shape"} <= set(row.alarms)
    space.heal(row, "while-crl-expired")
    assert soon(lambda: not space.held("crl-expired"), 15)


def test_a_revoked_peer_holds_its_domain_alone(space: Space) -> None:
    row, after = Row(Fault.BETA_CERTIFICATE_REVOKED.value), space.latest_event()
    space.supervisor.break_with(Fault.BETA_CERTIFICATE_REVOKED)

    def refused() -> bool:  # the CRL that revokes beta is in force once it is journalled
        return any(one["kind"] == "crl_adopted" and one["sequence"] > after
                   for one in space.admin("journal", "list", "-n", "30")["events"])

    assert soon(refused, 15)
    space.send("while-revoked")
    assert soon(lambda: space.held("peer-certificate-changed"), 15)
    row.during = "accepted and held, tried slowly"
    space.look(row, after)
    assert row.holds == [f"peer-certificate-changed {BETA}: 1"]
    space.heal(row, "while-revoked")
    assert soon(lambda: not space.held("peer-certificate-changed"), 15)


def test_beta_down_is_an_ordinary_wait(space: Space) -> None:
    row, after = Row(Fault.BETA_DOWN.value), space.latest_event()
    space.supervisor.break_with(Fault.BETA_DOWN)
    space.send("while-down")
    assert soon(lambda: any(one["last_reply"] for one in space.queued()), 10)
    row.during = "accepted and queued"
    space.look(row, after)
    assert row.holds == []

    # a list that forgets beta, adopted by a human's word while mail for it waits: held; the way back is one command
    second = Row("list without beta (adopted --force)")
    after = max(one["sequence"] for one in space.admin("journal", "list", "-n", "1")["events"])
    space.supervisor.break_with(Fault.WHITELIST_UNREACHABLE)
    assert space.admin("whitelist", "adopt", str(space.aged_list(0, without=BETA)), "--force")["adopted"]
    found = space.admin("whitelist", "diff")
    assert found["left"] == [BETA] and found["queued"] == [{"domain": BETA, "what": "left", "queued": 1}]
    assert soon(lambda: space.held("domain-left-list"), 15)
    second.during = "queued mail held, not bounced; let go by `whitelist rollback`"
    space.look(second, after)
    held = second.holds
    assert held == [f"domain-left-list {BETA}: 1"]
    assert space.admin("whitelist", "rollback")["rolled_back"]
    assert soon(lambda: not space.held("domain-left-list"), 15)
    space.look(second, after)
    second.holds = held
    assert "whitelist-pin" in second.alarms and any(one.startswith("LISTE-05") for one in second.findings)
    space.heal(row, "while-down")
    second.seconds = row.seconds
    space.rows.append(second)


def test_nothing_was_lost_nor_doubled_nor_bounced(space: Space) -> None:
    assert space.queued() == []
    with space.running.reader(TO) as reader:
        marks = reader.marks()
        assert sorted(marks) == sorted(space.sent) and len(set(marks)) == len(marks)
        for mark in marks:
            (read,) = reader.whole(mark)
            assert read.endswith(letter(SENDER, TO, mark))
    events = space.admin("journal", "list", "-n", "1000")["events"]
    assert not [one for one in events if one["kind"] == "bounced"]
    with space.running.reader(SENDER) as reader:
        assert reader.count() == 0, "no failure report, no delay notice within so short a time"
