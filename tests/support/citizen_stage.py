"""The stage of SMTP tests with those who know the citizens: the bridge, and the role of operator with its page.

`patient.mssante.fr` belongs to peer `b` on the stage; `house` hosts it here instead, with the mailbox of one citizen.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any

from support.smtp_stage import ALICE, BOB, CITIZEN, EXPIRY, NOW, OURS, PASSWORD, SmtpStage, Wire, password_hash

from mssante.model.mailbox import Mailbox, MailboxType
from mssante.services.citizen import CitizenRules
from mssante.services.citizen_desk import CitizenDesk, CitizenParts, CitizenSettings
from mssante.services.citizen_house import CitizenHouse, HouseSettings
from mssante.storage.interfaces import NewMailbox, Tx

INS, OTHER = "279035121518989", "162018885045327"
USER = f"{INS}@{CITIZEN}"
REMOTE = "docteur@a.mssante.fr"


def bridge(stage: SmtpStage, rules: CitizenRules | None = None, **settings: Any) -> CitizenDesk:
    """Give the stage its desk."""
    parts = CitizenParts(stage.stores, stage.clock, stage.executor, stage.evidence, stage.trust, stage.addresses,
                         stage.context.settings.domains)
    desk = CitizenDesk(parts, CitizenSettings(rules or CitizenRules(CITIZEN), **settings))
    stage.context.citizens = desk
    stage.context.reporter.beside = desk.beside
    stage.context.departure.checks.append(desk)
    return desk


async def house(stage: SmtpStage, rules: CitizenRules | None = None, *, returns: str = "mail", **settings: Any) -> CitizenHouse:
    """Host the citizens' domain here, with one citizen whose login is the address."""
    stage.context.settings = replace(stage.context.settings, domains=frozenset({OURS, CITIZEN}))
    desk = bridge(stage, rules, **settings)
    made = CitizenHouse(desk._parts, desk, HouseSettings(f"mx.{OURS}", returns, EXPIRY))
    stage.context.house = made
    stage.context.departure.checks.append(made)

    def unit(tx: Tx) -> Mailbox:
        box = stage.stores.accounts.create_mailboxes(tx, [NewMailbox(USER, MailboxType.PER, NOW, display_name="Usager fictif")])[0]
        stage.stores.accounts.create_accounts(tx, [(USER, password_hash(), (box.id,))])
        return box

    stage.mailboxes[USER] = await stage.stores.database.write(unit)
    return made


def letter(sender: str, to: str, name: str, *, text: str = "Bonjour.", **headers: str) -> bytes:
    """Give a plain message whose Message-ID is `<name@test>`."""
    fields = {"Date": "Sun, 01 Mar 2026 10:00:00 +0100", "From": f"Dr Claire Martin <{sender}>", "To": to, "Subject": "Suites",
              "Message-ID": f"<{name}@test>", **{key.replace("_", "-"): value for key, value in headers.items()}}
    return "".join(f"{key}: {value}\r\n" for key, value in fields.items()).encode() + f"\r\n{text}\r\n".encode()


async def log_in(stage: SmtpStage, login: str = ALICE) -> Wire:
    """Give a session of submission."""
    wire = await stage.connect(await stage.open("submissions"), tls=True)
    await wire.reply()
    await wire.ask("EHLO poste")
    word = b64encode(f"\0{login}\0{PASSWORD}".encode()).decode()
    assert (await wire.ask(f"AUTH PLAIN {word}")).startswith("235 ")
    return wire


async def send(wire: Wire, sender: str, to: str, content: bytes) -> str:
    """MAIL, RCPT, DATA; give the first refusal, or the last reply."""
    for command in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>"):
        reply = await wire.ask(command)
        if not reply.startswith("250"):
            await wire.ask("RSET")
            return reply
    return await wire.data(content)


__all__ = ["ALICE", "BOB", "CITIZEN", "INS", "NOW", "OTHER", "OURS", "REMOTE", "USER", "bridge", "house", "letter", "log_in", "send"]
