"""The calendar of what ends, as the command line gathers and shows it. Called by `cli.cert` and `check`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from mssante.certificates_setup import expiries, most_written_to
from mssante.cli.certdesk import what_words
from mssante.cli.common import administer_config, table
from mssante.config.model import Config
from mssante.lang import say
from mssante.trust.expiry import EFFECTS, LEVEL_WORDS, Expiry, Level, sort_expiries


def gather(config: Config, now: datetime, *, peers: bool = True) -> tuple[list[Expiry], list[str]]:
    """Give the calendar, nearest first, and the names of what could not be read. peers: look into the store too."""
    rows = administer_config(config, lambda admin: most_written_to(admin.stores)) if peers else []
    found, unread = expiries(config, now, rows)
    return sort_expiries(found, now), unread


def left(one: Expiry, now: datetime) -> str:
    """Give the time left in words: days, or hours for what lives less."""
    seconds = (one.at - now).total_seconds()
    if abs(seconds) < 2 * 86400:
        return f"{seconds / 3600:.0f} h"
    return say(f"{seconds / 86400:.0f} j", f"{seconds / 86400:.0f} d")


def lines_of(found: Sequence[Expiry], unread: Sequence[str], now: datetime) -> list[str]:
    """Give the table, then what to do about each near date, then what could not be read."""
    headers = (say("niveau", "level"), say("fin", "end"), say("reste", "left"), say("quoi", "what"), say("nom", "name"),
               say("où", "where"))
    rows = [(say(*LEVEL_WORDS[one.level(now)]), f"{one.at:%Y-%m-%d %H:%M}", left(one, now), what_words(one.what), one.name,
             one.where)
            for one in found]
    lines = table(headers, rows) if rows else []
    near = [one for one in found if one.level(now) is not Level.LATER]
    lines += ["", *(f"-> {what_words(one.what)} {one.name} : {say(*EFFECTS[one.what])}" for one in near)] if near else []
    lines += [say(f"illisible : {name} (mssante check le dit)", f"unreadable: {name} (mssante check tells)") for name in unread]
    return lines


def document_of(found: Sequence[Expiry], unread: Sequence[str], now: datetime) -> dict[str, Any]:
    """Give the calendar as JSON holds it."""
    return {"now": now.isoformat(timespec="seconds"), "unreadable": list(unread), "expiries": [
        {"what": one.what.value, "name": one.name, "at": one.at.isoformat(), "where": one.where, "renewing": one.renewing,
         "days_left": round((one.at - now).total_seconds() / 86400, 2), "level": one.level(now).name.lower(),
         "effect": say(*EFFECTS[one.what])} for one in found]}
