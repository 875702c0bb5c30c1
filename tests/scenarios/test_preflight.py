"""The pre-flight on a running operator, by real SMTP and IMAP: a good and a bad document under each policy, with rules of our own; and
the verdicts of the rules of ANS on two of its documents (all 23: bench/preflight_report.py).
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from support.handing import INS, NAMES, cda
from support.lab import RunningLab, SmtpWire, soon
from support.ruleset import write_rules
from support.structured_mail import BAD_COUNTRY, archive, structured

from mssante.services.preflight_work import look_at_file
from mssante.services.rulebook import RuleBook
from mssante.services.workshop import Workshop, WorkshopLimits

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

CLAIRE, PAUL = "claire.martin@alpha.mssante.test", "paul.durand@beta.mssante.test"


@pytest.fixture(scope="module")
def alpha(running_lab: RunningLab) -> Iterator[Policy]:
    config = running_lab.folder / "alpha" / "operator_config" / "operator.toml"
    kept = config.read_text(encoding="utf-8")
    rules = write_rules(running_lab.folder / "alpha" / "regles")
    yield Policy(running_lab, config, kept, rules)
    config.write_text(kept, encoding="utf-8")
    running_lab.kill("alpha")
    running_lab.start("alpha")


class Policy:
    """Alpha with a policy of pre-flight."""

    def __init__(self, lab: RunningLab, config: Path, kept: str, rules: Path) -> None:
        self.lab, self._config, self._kept, self._rules = lab, config, kept, rules

    def set(self, policy: str) -> None:
        """Write the policy and start alpha again."""
        lines = f'preflight = "{policy}"\nrules_directory = "{self._rules}"\n'
        text = re.sub(r"(?m)^(preflight|rules_directory) = .*\n", "", self._kept)
        text = text.replace("[documents]\n", f"[documents]\n{lines}") if "[documents]\n" in text else f"{text}\n[documents]\n{lines}"
        self._config.write_text(text, encoding="utf-8")
        self.lab.kill("alpha")
        self.lab.start("alpha")

    def send(self, mark: str, raw: bytes, to: str = PAUL) -> str:
        """Submit as Claire does; give the reply to DATA."""
        account = self.lab.operator("alpha").account(CLAIRE)
        assert account is not None
        with SmtpWire(self.lab.address("alpha", "submission")) as wire:
            wire.read_reply()
            wire.ask(b"EHLO poste")
            wire.ask(b"STARTTLS")
            wire.start_tls(self.lab.anchors())
            wire.ask(b"EHLO poste")
            wire.ask(b"AUTH PLAIN " + b64encode(f"\0{account.login}\0{account.password}".encode()))
            marked = f"X-Id: {mark}\r\n".encode() + raw.replace(b"<structure@a.mssante.fr>", f"<{mark}@a.mssante.fr>".encode())
            return str(wire.deliver(CLAIRE, [to], marked))

    def reports(self, mark: str) -> list[bytes]:
        """Give the messages of Claire's inbox that answer a mark."""
        with self.lab.reader(CLAIRE) as reader:
            return [raw for uid in reader.uids() if f"In-Reply-To: <{mark}@a.mssante.fr>".encode() in (raw := reader.fetch(uid))]


GOOD = structured(CLAIRE, PAUL)
BAD = structured(CLAIRE, PAUL, archive(cda().replace(*BAD_COUNTRY)))
LETTER = f"From: {CLAIRE}\r\nTo: {PAUL}\r\nSubject: Bonjour\r\nMessage-ID: <structure@a.mssante.fr>\r\n\r\nBonjour.\r\n".encode()


def arrived(alpha: Policy, mark: str) -> bytes:
    with alpha.lab.reader(PAUL) as reader:
        return reader.wait_for(mark)


def test_block_refuses_the_bad_one_and_takes_the_good_one(alpha: Policy) -> None:
    alpha.set("block")
    assert "250" in alpha.send("bloc-bon", GOOD)
    head = message_from_bytes(arrived(alpha, "bloc-bon"))
    assert (head["X-MSS-CODECDA"], head["X-MSS-INS"], head["X-MSSANTE-Calcule"]) == ("11488-4", "O", "X-MSS-CODECDA, X-MSS-INS")
    refused = alpha.send("bloc-mauvais", BAD)
    assert "554" in refused and "SCH-R-PAYS" in refused and "DOC-CONTROLE" in refused
    assert "250" in alpha.send("bloc-lettre", LETTER) and arrived(alpha, "bloc-lettre")
    with alpha.lab.reader(PAUL) as reader:
        assert not [raw for uid in reader.uids() if b"<bloc-mauvais@" in (raw := reader.fetch(uid))]
    assert alpha.reports("bloc-bon") == [] and alpha.lab.metric("alpha", "mssante_preflight_total", "warn") >= 1


def test_warn_lets_the_bad_one_go_and_reports_by_imap(alpha: Policy) -> None:
    alpha.set("warn")
    assert "250" in alpha.send("avis-mauvais", BAD)
    assert BAD.replace(b"<structure@", b"<avis-mauvais@") in arrived(alpha, "avis-mauvais")
    assert soon(lambda: bool(alpha.reports("avis-mauvais")))
    (raw,) = alpha.reports("avis-mauvais")
    told = message_from_bytes(raw, policy=default)
    text = told.get_body().get_content()  # type: ignore[union-attr]
    assert "1 erreur" in told["Subject"] and "règle (rule) SCH-R-PAYS" in text and "IHE_XDM/SUBSET01/DOC0001.XML" in text
    assert re.search(r"ligne \(line\) \d+", text) and "Remède (remedy)" in text
    code, out, error = alpha.lab.command("journal", "list", "-n", 1000, "--json", "-c", alpha.lab.folder / "alpha" / "operator_config")
    assert code == 0 and "SCH-R-PAYS" in out, error
    assert not [word for word in (INS, *NAMES, "DOC0001") if word in out + error + alpha.lab.log("alpha")]


def test_off_says_nothing(alpha: Policy) -> None:
    alpha.set("off")
    assert "250" in alpha.send("rien-mauvais", BAD)
    head = message_from_bytes(arrived(alpha, "rien-mauvais"))
    assert head["X-MSS-CODECDA"] is None and head["X-MSSANTE-Calcule"] is None and alpha.reports("rien-mauvais") == []


async def test_verdicts_of_ans_rules(shared_dir: Path, tmp_path: Path) -> None:
    folder, cache = shared_dir / "data" / "schematron", tmp_path / "cache"
    cache.mkdir()
    baseline = json.loads((shared_dir / "data" / "cda" / "schematron-baseline.json").read_text())["documents"]
    one = Workshop(WorkshopLimits(readable=(str(folder), str(cache)), seconds=100))
    await one.open()
    try:
        rules = await RuleBook(one, folder, cache).current()
        for name in ("BIO-TROD_2024.01_Angine.xml", "BIO-CR-BIO_2021.01_Auto-Presentable.xml"):
            found = await one.run(look_at_file, name, (shared_dir / "data" / "cda" / name).read_bytes(), rules)
            assert found.fired == baseline[name]["fired"] and not [x for x in found.remarks if x.source.value == "schematron"]
    finally:
        await one.close()
