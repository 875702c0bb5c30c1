"""The directory used in the lab: advice at RCPT while it is up; while it is down the mail goes on, and the advice says nothing."""

from __future__ import annotations

import json
import smtplib
from uuid import uuid4

import pytest
from support.lab import RunningLab, letter, soon

pytestmark = pytest.mark.interop


def told(lab: RunningLab, recipient: str) -> str:
    """What alpha's submission door says of a recipient; nothing is sent."""
    account = lab.operator("alpha").accounts[0]
    with smtplib.SMTP_SSL(*lab.address("alpha", "submissions"), timeout=20, context=lab.anchors()) as client:
        client.login(account.login, account.password)
        client.mail(account.address)
        code, text = client.rcpt(recipient)
    return f"{code} {text.decode()}"


def advice(lab: RunningLab, state: str) -> float:
    return lab.metric("alpha", "mssante_directory_advice_total", f'side="recipient",state="{state}"')


def test_advice_while_the_directory_is_up_and_mail_while_it_is_down(healed: RunningLab) -> None:
    lab = healed
    config = lab.folder / lab.operator("alpha").config
    published, absent = lab.numbered("beta")[0], f"absent.{uuid4().hex[:8]}@{lab.numbered('beta')[0].partition('@')[2]}"
    # the first question may find the source slower than RCPT waits: its answer serves the next one
    assert soon(lambda: told(lab, absent).startswith("250 2.1.5 Destinataire admis ; annuaire : adresse non publiee"))
    assert told(lab, published) == "250 2.1.5 Destinataire admis" and advice(lab, "absent") >= 1
    code, out, _ = lab.command("directory", "ask", published, "--json", "-c", config)
    (answer,) = json.loads(out)["answers"]
    assert code == 0 and answer["source"] == "fhir" and answer["fresh"] and answer["entries"][0]["address"] == published
    assert lab.command("directory", "ask", absent, "-c", config)[0] == 3

    lab.break_with("directory-down")
    before, mark = advice(lab, "unknown"), uuid4().hex
    unheard = f"muette.{uuid4().hex[:8]}@{published.partition('@')[2]}"
    code, out, _ = lab.command("directory", "ask", unheard, "-c", config)
    assert code == 3 and "no answer [ANNUAIRE-INJOIGNABLE]" in out
    account = lab.operator("alpha").accounts[0]
    with smtplib.SMTP_SSL(*lab.address("alpha", "submissions"), timeout=20, context=lab.anchors()) as client:
        client.login(account.login, account.password)
        refused = client.sendmail(account.address, [published], letter(account.address, published, mark))
    assert not refused
    with lab.reader(published) as reader:
        assert mark.encode() in reader.wait_for(mark)
    assert told(lab, unheard) == "250 2.1.5 Destinataire admis" and advice(lab, "unknown") > before  # a silent source is not absence
