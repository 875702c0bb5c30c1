"""`mssante whitelist diff|rollback|unpin`: two lists compared as a story, and the way back to a former one.

- A version is named by `current`, `previous`, `waiting` (a list that waits for a human), the beginning of its generation date
  (`2025-03-13`) or of its SHA-256 (four characters or more), or a file.
- `diff` changes nothing; a list whose signature is not good today is compared all the same, and that is told.
- `rollback` verifies the kept file again, puts it in force and pins it: the refresh does not bring the list that was left back
  before a newer one comes or `unpin`. A running server takes it within seconds.

Mounted by `mssante.cli.whitelist`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer_config, emit, moment, progress
from mssante.clock import SystemClock
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.storage.interfaces import WhitelistVersion
    from mssante.trust.listdiff import Consequences, ListDiff, Touched
    from mssante.trust.whitelist import Whitelist

HISTORY = 10_000
WRITTEN_EVENTS = 5_000  # latest relayed recipients from which the domains most written to are told
WRITTEN_DOMAINS = 50
_SHA = re.compile(r"[0-9a-f]{4,64}\Z")
_DATE = re.compile(r"\d{4}-?\d{2}(-?\d{2}.*)?\Z")
Version = Annotated[str, typer.Argument(metavar="[VERSION]",
                                        help="current, previous, waiting, une date, un SHA-256, un fichier (date, hash, file)")]


@dataclass(frozen=True, slots=True)
class Found:
    """A list by name. trusted: its signature is good today."""

    name: str
    whitelist: Whitelist
    trusted: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows: adopted lists newest first, recipients waiting by domain, domains most written to first."""

    versions: list[WhitelistVersion]
    queued: dict[str, int]
    written: tuple[str, ...]


def known(config: Config) -> Known:
    """Read the store."""
    from collections import Counter

    async def read(admin: Admin) -> Known:
        stores = admin.stores
        versions = await stores.database.read(lambda tx: stores.trust.whitelists(tx, HISTORY))
        queued = await stores.database.read(lambda tx: stores.holds.waiting(tx))
        events = await admin.journal(kind="relayed", limit=WRITTEN_EVENTS)
        domains = Counter(event.subject.rpartition("@")[2] for event in events)
        return Known(versions, queued, tuple(name for name, _ in domains.most_common(WRITTEN_DOMAINS)))

    return administer_config(config, read)


def find_version(versions: list[WhitelistVersion], word: str) -> WhitelistVersion:
    """Give an adopted list by word, date or hash. Raises InputFault `LB-VERSION`."""
    distinct = list({one.sha256: one for one in reversed(versions)}.values())[::-1] if versions else []
    order = {one.sha256: rank for rank, one in reversed(list(enumerate(versions)))}
    distinct.sort(key=lambda one: order[one.sha256])
    if word in ("current", "previous"):
        rank = 0 if word == "current" else 1
        if len(distinct) > rank:
            return distinct[rank]
        raise _unknown(word, say("aucune liste de ce rang n'a été adoptée", "no list of that rank was adopted"))
    wanted = word.lower()
    if _SHA.match(wanted):
        matches = [one for one in distinct if one.sha256.startswith(wanted)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise _unknown(word, say(f"{len(matches)} listes commencent ainsi", f"{len(matches)} lists begin so"))
    if _DATE.match(wanted):
        digits = re.sub(r"\D", "", wanted)
        for one in distinct:
            if f"{one.generated_at:%Y%m%d%H%M%S}".startswith(digits):
                return one
    raise _unknown(word, say("aucune liste adoptée ne porte ce nom", "no adopted list has that name"))


def _unknown(word: str, why: str) -> InputFault:
    return InputFault(f"{word} : {why}", rule="LB-VERSION", remedy="mssante whitelist history")


def find_list(config: Config, facts: Known, word: str) -> Found:
    """Give a list by name. Raises InputFault (`LB-VERSION`, `LB-FICHIER`, `XML-…`)."""
    from mssante.cli import trustdesk
    from mssante.services.listhistory import CURRENT
    from mssante.services.listreview import WAITING

    folder = config.path(config.operator.trust.whitelist_folder)
    special = {"current": folder / CURRENT, "waiting": folder / WAITING}.get(word)
    if special is not None and special.exists():
        path = special
    elif Path(word).is_file():
        path = Path(word)
    else:
        path = folder / Path(find_version(facts.versions, word).file).name
    try:
        read, trusted = trustdesk.read_list(config, path), True
    except InputFault as fault:
        if fault.rule == "LB-FICHIER":
            raise
        read, trusted = trustdesk.read_list(config, path, signed=False), False
    return Found(f"{read.whitelist.generated_at:%Y-%m-%d %H:%M} {read.whitelist.sha256[:12]}", read.whitelist, trusted)


def diff(
    before: Annotated[str, typer.Argument(metavar="[A]", help="L'ancienne liste ; previous (the old one)")] = "previous",
    after: Annotated[str, typer.Argument(metavar="[B]", help="La nouvelle ; current (the new one)")] = "current",
    full: Annotated[bool, typer.Option("--full", help="Nomme tous les domaines (names every domain)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Raconte ce qui change d'une liste à l'autre, et l'effet sur la file (tells what changed between two lists)."""
    from dataclasses import replace

    from mssante.trust.listdiff import consequences, diff_lists
    from mssante.trust.liststory import story
    from mssante.trust_setup import list_interest

    loaded = load_config(config)
    with progress(say("comparaison", "comparing"), as_json):
        facts = known(loaded)
        old, new = find_list(loaded, facts, before), find_list(loaded, facts, after)
        found = diff_lists(old.whitelist, new.whitelist)
        interest = replace(list_interest(loaded), queued=facts.queued, written=facts.written)
        effect = consequences(found, old.whitelist, new.whitelist, interest)
    lines = [f"{old.name}  ->  {new.name}",
             say(f"{found.domains_before} domaines, puis {found.domains_after}",
                 f"{found.domains_before} domains, then {found.domains_after}")]
    lines += [say(f"ATTENTION : la signature de {one.name} n'est pas bonne aujourd'hui",
                  f"WARNING: the signature of {one.name} is not good today") for one in (old, new) if not one.trusted]
    emit(as_json, {"ok": True, "from": _list_document(old), "to": _list_document(new), **_document(found, effect, full)},
         *lines, "", *story(found, effect, full=full))


def _list_document(found: Found) -> dict[str, Any]:
    whitelist = found.whitelist
    return {"generated_at": whitelist.generated_at.isoformat(), "sha256": whitelist.sha256, "signature_good": found.trusted,
            "domains": whitelist.domain_count, "entries": whitelist.entry_count}


def _touched(found: tuple[Touched, ...]) -> list[dict[str, Any]]:
    return [{"domain": one.domain, "what": one.what, "queued": one.queued}
            | ({} if one.bound is None else {"bound": one.bound}) for one in found]


def _document(found: ListDiff, effect: Consequences, full: bool) -> dict[str, Any]:
    most = None if full else 20
    return {
        "counts": found.counts(), "severity": effect.severity.value, "own": _touched(effect.own),
        "own_lost": list(effect.own_lost), "citizen_lost": effect.citizen_lost, "written": _touched(effect.written),
        "queued": _touched(effect.queued), "joined": list(found.joined[:most]), "left": list(found.left[:most]),
        "texts": list(found.texts[:most]),
        "changes": [{"kind": one.kind.value, "gone": [name.text for name in one.gone], "come": [name.text for name in one.come],
                     "count": len(one.domains), "domains": list(one.domains[:most])} for one in found.changes],
        "new_operators": [{"key": one.key, "title": one.title, "domains": one.domains} for one in found.new_operators],
        "gone_operators": [{"key": one.key, "title": one.title, "domains": one.domains} for one in found.gone_operators]}


def rollback(
    version: Version = "previous",
    force: Annotated[bool, typer.Option("--force", help="Même une liste trop ancienne pour le trafic (even a list too old)",
                                        )] = False,
    config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False,
) -> None:
    """Revient à une liste gardée, et l'épingle (puts a former list in force again and pins it)."""
    from mssante.cli import trustdesk

    loaded = load_config(config)
    facts = known(loaded)
    chosen = find_version(facts.versions, version)
    hours = (SystemClock().now() - chosen.generated_at).total_seconds() / 3600
    if hours > loaded.operator.trust.whitelist_max_age_hours and not force:
        raise InputFault(say(f"la liste du {chosen.generated_at:%Y-%m-%d} a {hours:.0f} h, au-delà de whitelist_max_age_hours = "
                             f"{loaded.operator.trust.whitelist_max_age_hours} : plus aucun trafic ne passerait",
                             f"the list of {chosen.generated_at:%Y-%m-%d} is {hours:.0f} h old, above whitelist_max_age_hours = "
                             f"{loaded.operator.trust.whitelist_max_age_hours}: no traffic would pass"),
                         rule="LB-AGE", remedy="mssante whitelist rollback --force")
    with progress(say("vérification et retour", "verifying and rolling back"), as_json):
        done = trustdesk.roll_back(loaded, chosen)
    text = (say("liste remise en vigueur et épinglée ; un serveur en marche la prend dans les secondes qui viennent.\n"
                "Une liste plus récente que celle quittée enlèvera l'épingle ; ou : mssante whitelist unpin",
                "list in force again and pinned; a running server takes it within seconds.\n"
                "A list newer than the one left takes the pin away; or: mssante whitelist unpin") if done else
            say("cette liste est déjà en vigueur", "this list is in force already"))
    emit(as_json, {"ok": True, "rolled_back": done, "generated_at": chosen.generated_at.isoformat(), "sha256": chosen.sha256,
                   "domains": chosen.domains},
         say(f"liste du {moment(chosen.generated_at)}, {chosen.domains} domaines",
             f"list of {moment(chosen.generated_at)}, {chosen.domains} domains"), text)


def unpin(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Enlève l'épingle : le prochain téléchargement compte de nouveau (the next fetch counts again)."""
    from mssante.model.journal import JournalEvent, JournalKind
    from mssante.services.listhistory import read_pin, remove_pin

    loaded = load_config(config)
    folder = loaded.path(loaded.operator.trust.whitelist_folder)
    pin = read_pin(folder)
    removed = remove_pin(folder)
    if pin is not None:
        event = JournalEvent(JournalKind.WHITELIST_PINNED, SystemClock().now(), "", pin.kept, {"pinned": False, "left": pin.left})

        async def note(admin: Admin) -> None:
            await admin.stores.database.write(lambda tx: admin.stores.journal.append(tx, [event]))

        administer_config(loaded, note)
    emit(as_json, {"ok": True, "unpinned": removed},
         say("épingle enlevée ; la liste publiée revient au prochain téléchargement",
             "pin removed; the published list comes back with the next fetch") if removed else
         say("aucune épingle", "there was no pin"))
