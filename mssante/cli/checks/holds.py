"""What waits and why: holds of the queue, and the pin that a rollback of the list left. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mssante.cli.checks.finding import Finding, fail, ok, warn
from mssante.config.model import Config
from mssante.errors import MssFault
from mssante.lang import say

_SQLITE = "sqlite:///"


def pin_findings(config: Config) -> Iterator[Finding]:
    """Tell a pinned list: nothing newer than what was left is adopted by itself."""
    from mssante.services.listhistory import read_pin
    from mssante.services.listreview import WAITING

    folder = config.path(config.operator.trust.whitelist_folder)
    pin = read_pin(folder)
    if pin is not None:
        yield warn("LISTE-05", say("liste épinglée", "pinned list"),
                   say(f"depuis le {pin.at:%Y-%m-%d %H:%M} UTC, celle du {pin.left_at:%Y-%m-%d %H:%M} est écartée",
                       f"since {pin.at:%Y-%m-%d %H:%M} UTC, that of {pin.left_at:%Y-%m-%d %H:%M} is held off"),
                   "mssante whitelist diff ; mssante whitelist unpin")
    if (folder / WAITING).exists():
        yield fail("LISTE-06", say("liste qui attend un humain", "list that waits for a human"), WAITING,
                   "mssante whitelist diff current waiting ; mssante whitelist adopt waiting --force")


def readable(config: Config) -> bool:
    """Tell if there is a database of our version to read; a file of SQLite is looked at and never made."""
    from mssante.storage.open import peek_sqlite

    if not config.storage_url.startswith(_SQLITE):
        return True
    path = Path(config.storage_url.removeprefix(_SQLITE))
    try:
        state = peek_sqlite(path) if path.exists() else None
    except MssFault:  # BASE-01 tells it
        return False
    return state is not None and state.found == state.ours


def hold_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Tell holds with the recipients that they keep; silent while there is no database, or an older one."""
    from mssante.cli.hold import affected, read_holds
    from mssante.routing.holding import words

    if not readable(config):
        return
    title = say("retenues", "holds")
    try:
        holds, waiting = read_holds(config)
    except MssFault:
        return
    for hold in holds:
        why, release, who = words(hold)
        seen = say(f"{hold.cause.value} {hold.domain or '(tous)'} depuis le {hold.since:%Y-%m-%d %H:%M} UTC, "
                   f"{affected(hold, waiting)} destinataire(s) : {why}",
                   f"{hold.cause.value} {hold.domain or '(all)'} since {hold.since:%Y-%m-%d %H:%M} UTC, "
                   f"{affected(hold, waiting)} recipient(s): {why}")
        remedy = say(f"finit quand {release} ; qui agit : {who} ; ou mssante hold release",
                     f"ends when {release}; who acts: {who}; or mssante hold release")
        yield (warn if hold.protects(now) else fail)("RETENUE-01", title, seen, remedy)
    if not holds:
        yield ok("RETENUE-01", title, say("aucune", "none"))
