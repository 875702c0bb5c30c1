"""What the guard of the life cycle of mailboxes holds back (services/life_guard.py). Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mssante.cli.checks.finding import Finding, ok, warn
from mssante.cli.checks.holds import readable
from mssante.cli.common import administer_config
from mssante.config.model import Config
from mssante.errors import MssFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.services.life_guard import Withheld

_CAUSES = {
    "clock": ("le dernier passage est trop loin, ou dans le futur : rien n'est fait",
              "the last run is too far away, or in the future: nothing is done"),
    "share": ("trop de boîtes seraient touchées d'un coup", "too many mailboxes would be touched at once"),
    "first_run": ("premier passage", "first run"),
}


def life_findings(config: Config) -> Iterator[Finding]:
    """Tell delays that wait for a human; silent while there is no database, or an older one."""
    if not config.operator.life.enabled or not readable(config):
        return
    title = say("vie des boîtes", "life of mailboxes")
    try:
        found = administer_config(config, _read)
    except MssFault:  # BASE-01 tells it
        return
    if found is None:
        yield ok("VIE-01", title, say("aucun délai retenu", "no delay withheld"))
        return
    why = say(*_CAUSES.get(found.cause, (found.cause, found.cause)))
    yield warn("VIE-01", title, say(
        f"retenu le {found.at:%Y-%m-%d %H:%M} UTC, {found.grave} boîte(s) à suspendre, fermer ou effacer : {why}",
        f"withheld on {found.at:%Y-%m-%d %H:%M} UTC, {found.grave} mailbox(es) to suspend, close or erase: {why}"),
        "mssante life run --dry-run ; mssante life run --accept")


async def _read(admin: Admin) -> Withheld | None:
    from mssante.services.life_guard import withheld_now

    return await admin.stores.database.read(lambda tx: withheld_now(tx, admin.stores))
