"""Programs: applications of the hospital that do not acknowledge, repair list, webhooks that fail, watched folders.

What is told is what nobody else tells in time: mail goes on arriving while an application takes nothing. Counts, names of the
configuration and hosts only, never a content. Changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mssante.cli.checks.finding import Finding, fail, ok, warn
from mssante.config.model import Config
from mssante.errors import MssFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.storage.interfaces import Tx
    from mssante.storage.interfacing import Backlog, OutboxItem
    from mssante.storage.webhooks import HookBacklog, Webhook

_SQLITE = "sqlite:///"
SILENT = timedelta(minutes=15)  # an application that restarts is back before
DEAF = timedelta(hours=24)
WAITS = timedelta(minutes=10)  # of a pair that stays in a watched folder
REPAIRS_MANY = 50
VAIN = 3  # attempts before a webhook is said to fail: programs restart too
MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the database says."""

    waiting: dict[str, Backlog]
    heads: dict[str, OutboxItem]
    repairs: dict[str, Backlog]
    hooks: list[Webhook]
    unheard: dict[str, HookBacklog]


def handing_findings(config: Config, now: datetime) -> Iterator[Finding]:
    """Tell what waits for programs; silent about what is not set up, and while there is no database of our version."""
    yield from _folders(config, now)
    seen = _read(config)
    if seen is None:
        return
    if config.operator.hl7.enabled or seen.waiting or seen.repairs:
        yield from _applications(config, seen, now)
        yield _repairs(seen.repairs)
    if seen.hooks:
        yield from _webhooks(seen, now)


def _read(config: Config) -> _Seen | None:
    from mssante.cli.common import administer_config
    from mssante.storage.open import peek_sqlite

    try:
        if config.storage_url.startswith(_SQLITE):
            path = Path(config.storage_url.removeprefix(_SQLITE))
            state = peek_sqlite(path) if path.exists() else None
            if state is None or state.found != state.ours:  # BASE-01, BASE-02 tell it
                return None
        return administer_config(config, _state)
    except MssFault:
        return None


async def _state(admin: Admin) -> _Seen:
    stores = admin.stores

    def unit(tx: Tx) -> _Seen:
        waiting = stores.interfacing.backlog(tx)
        heads = {name: head for name in waiting if (head := stores.interfacing.head(tx, name)) is not None}
        return _Seen(waiting, heads, stores.interfacing.repairs_open(tx), stores.webhooks.all(tx), stores.webhooks.backlog(tx))

    return await stores.database.read(unit)


def _since(instant: datetime) -> str:
    return say(f"depuis le {instant:%Y-%m-%d %H:%M} UTC", f"since {instant:%Y-%m-%d %H:%M} UTC")


def _applications(config: Config, seen: _Seen, now: datetime) -> Iterator[Finding]:
    title = say("application de l'hôpital", "application of the hospital")
    known = {one.name for one in config.operator.hl7.applications if one.connect}
    for name in sorted(known | seen.waiting.keys()):
        waiting = seen.waiting.get(name)
        if waiting is None:
            yield ok("HL7-01", title, say(f"{name} : rien n'attend", f"{name}: nothing waits"))
            continue
        head = seen.heads.get(name)
        words = say(f"{name} : {waiting.count} message(s) sans acquittement, le premier {_since(waiting.oldest)}, "
                    f"{waiting.attempts} essai(s)", f"{name}: {waiting.count} message(s) not acknowledged, the first "
                    f"{_since(waiting.oldest)}, {waiting.attempts} attempt(s)")
        words += f" : {head.detail}" if head is not None and head.detail else ""
        if name not in known:
            yield warn("HL7-02", title, words, say(
                "elle n'est plus dans hl7.applications (connect) : remettez-la, ou ses messages attendent pour toujours",
                "it left hl7.applications (connect): put it back, or its messages wait for ever"))
        elif now - waiting.oldest < SILENT:
            yield ok("HL7-01", title, words)
        else:
            yield (fail if now - waiting.oldest >= DEAF else warn)("HL7-01", title, words, say(
                "appelez qui tient l'application ; mssante hl7 queue dit le dernier refus",
                "call those who run the application; mssante hl7 queue shows the last refusal"))


def _repairs(repairs: dict[str, Backlog]) -> Finding:
    title = say("liste de reprise", "repair list")
    if not repairs:
        return ok("HL7-03", title, say("vide", "empty"))
    words = ", ".join([say(f"{name} : {one.count} {_since(one.oldest)}", f"{name}: {one.count} {_since(one.oldest)}")
                       for name, one in sorted(repairs.items())][:MAX_SHOWN])
    many = sum(one.count for one in repairs.values()) >= REPAIRS_MANY
    return (fail if many else warn)("HL7-03", title, words, "mssante hl7 repair list ; retry, close")


def _webhooks(seen: _Seen, now: datetime) -> Iterator[Finding]:
    title = "webhooks"
    bad = 0
    for hook in seen.hooks:
        host, unheard = urlsplit(hook.url).netloc, seen.unheard.get(hook.id)
        if not hook.active:
            bad += 1
            yield warn("WEBHOOK-02", title, say(f"{hook.id} ({host}) est arrêté : il a répondu 410",
                                                f"{hook.id} ({host}) is stopped: it answered 410"),
                       f"mssante webhook replay {hook.id} ; mssante webhook remove {hook.id}")
        elif unheard is not None and unheard.attempts >= VAIN:
            bad += 1
            yield (fail if now - unheard.oldest >= DEAF else warn)("WEBHOOK-01", title, say(
                f"{hook.id} ({host}) n'entend pas : {unheard.count} évènement(s) {_since(unheard.oldest)}",
                f"{hook.id} ({host}) does not hear: {unheard.count} event(s) {_since(unheard.oldest)}"),
                f"mssante webhook test {hook.id}")
    if not bad:
        yield ok("WEBHOOK-01", title, say(f"{len(seen.hooks)}, tous entendent", f"{len(seen.hooks)}, all hear"))


def _folders(config: Config, now: datetime) -> Iterator[Finding]:
    title = say("dossier surveillé", "watched folder")
    for address, place in sorted(config.operator.handover.folders.items())[:MAX_SHOWN]:
        folder = config.path(place)
        if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            yield fail("DOSSIER-01", title, say(f"{address} : absent, ou sans droit d'y écrire",
                                                f"{address}: missing, or not writable"),
                       say("créez-le ; donnez-le à l'utilisateur du service", "make it; give it to the service's user"))
            continue
        old = _waiting(folder, now)
        if old:
            yield warn("DOSSIER-02", title, say(f"{address} : {len(old)} .json attendent depuis plus de 10 minutes",
                                                f"{address}: {len(old)} .json wait for more than 10 minutes"),
                       say("le serveur tourne-t-il ? le document est-il à côté ? journal technique : document_waits",
                           "does the server run? is the document beside? technical log: document_waits"))
        else:
            yield ok("DOSSIER-01", title, say(f"{address} : rien n'attend", f"{address}: nothing waits"))


def _waiting(folder: Path, now: datetime) -> Sequence[str]:
    """Give the requests that stay in a folder for long."""
    from mssante.services.dropfiles import MAX_FILES

    found: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for rank, one in enumerate(entries):
                if rank >= MAX_FILES:
                    break
                if one.name.endswith(".json") and not one.name.startswith(".") and one.is_file(follow_symlinks=False):
                    age = now.timestamp() - one.stat(follow_symlinks=False).st_mtime
                    found += [one.name] if age >= WAITS.total_seconds() else []
    except OSError:
        return found
    return found
