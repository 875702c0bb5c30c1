"""Which folder here takes what a folder there holds: names mapped, special uses joined, nothing overwritten.

- INBOX is INBOX whatever its case; a folder with a special use (RFC 6154), told by the source or known by its usual name,
  goes to our folder of that use; at most one source folder for each use, the others keep their names.
- Levels are joined with `/`; what a name may not hold here becomes `_`; a name too long or too deep is shortened with a
  mark of its own. Two source folders never become one by renaming: the second gets a number.
- The result depends on the names alone: a second run maps the same way.
Pure; called by services/importing.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from mssante.model.mailbox import Folder, SpecialUse
from mssante.protocol.imap.faults import CommandRefused
from mssante.services.imap.folders import MAX_NAME, check_name
from mssante.services.importing_source import SourceFolder

INBOX = "INBOX"
_USUAL: dict[str, SpecialUse] = {name: use for use, names in {
    SpecialUse.DRAFTS: ("drafts", "draft", "brouillons", "entwürfe", "borradores", "bozze"),
    SpecialUse.SENT: ("sent", "sent items", "sent messages", "sent mail", "sent-mail", "envoyés", "éléments envoyés",
                      "messages envoyés", "courrier envoyé", "gesendet", "enviados", "posta inviata"),
    SpecialUse.TRASH: ("trash", "deleted items", "deleted messages", "deleted", "corbeille", "éléments supprimés",
                       "messages supprimés", "papierkorb", "papelera", "cestino"),
    SpecialUse.JUNK: ("junk", "spam", "junk e-mail", "junk email", "junk mail", "indésirables", "courrier indésirable",
                      "pourriel", "bulk mail"),
    SpecialUse.ARCHIVE: ("archive", "archives", "archiv"),
}.items() for name in names}
_USES = {use.value.lower(): use for use in SpecialUse if use.value}


def usual_use(folder: SourceFolder) -> str:
    """Give the special use of a folder: told by its source, else known by its name at the top; empty when it has none."""
    told = _USES.get(folder.special_use.lower(), SpecialUse.NONE)
    if told:
        return told.value
    return _USUAL.get(folder.levels[0].casefold(), SpecialUse.NONE).value if len(folder.levels) == 1 else ""


def map_folders(sources: Sequence[SourceFolder], existing: Iterable[Folder]) -> dict[str, str]:
    """Give key of the source folder -> name here. Folders below a mapped one follow it (`Envoyés/2024` -> `Sent/2024`)."""
    here = {folder.special_use: folder.name for folder in existing if folder.special_use}
    mapped = _by_use(sources, here)
    leads = {source.levels: mapped[source.key] for source in sources if source.key in mapped}
    taken = {name.casefold() for name in mapped.values()}
    for source in sorted(sources, key=lambda one: (len(one.levels), one.levels)):
        if source.key in mapped:
            continue
        name = safe_name(_led(source.levels, leads))
        rank = 2
        while name.casefold() in taken:
            name = safe_name((*_led(source.levels, leads)[:-1], f"{source.levels[-1]}-{rank}"))
            rank += 1
        taken.add(name.casefold())
        mapped[source.key] = name
        leads[source.levels] = name
    return mapped


def _by_use(sources: Sequence[SourceFolder], here: dict[str, str]) -> dict[str, str]:
    """Map INBOX and the first folder of each use; what the source itself says goes before usual names."""
    mapped: dict[str, str] = {}
    for source in sources:
        if len(source.levels) == 1 and source.levels[0].upper() == INBOX and INBOX not in mapped.values():
            mapped[source.key] = INBOX
    for told in (True, False):
        for source in sorted(sources, key=lambda one: one.levels):
            use = usual_use(source)
            if bool(source.special_use) is told and use in here and here[use] not in mapped.values() and source.key not in mapped:
                mapped[source.key] = here[use]
    return mapped


def _led(levels: tuple[str, ...], leads: dict[tuple[str, ...], str]) -> tuple[str, ...]:
    """Put the mapped name of the nearest folder above in front; below INBOX nothing changes."""
    for length in range(len(levels) - 1, 0, -1):
        lead = leads.get(levels[:length])
        if lead is not None:
            return (*lead.split("/"), *levels[length:])
    return levels


def safe_name(levels: Sequence[str]) -> str:
    """Give a name that may be created here (services/imap/folders.py `check_name`)."""
    cleaned = [_level(level) for level in levels] or ["_"]
    if cleaned[0].upper() == INBOX:
        cleaned[0] = INBOX
    name = "/".join(cleaned)
    try:
        check_name(name)
    except CommandRefused:
        mark = hashlib.sha256("/".join(levels).encode("utf-8", "surrogatepass")).hexdigest()[:10]
        name = "/".join(part[:40] for part in cleaned[:4])[:MAX_NAME - 11] + "-" + mark
    return name


def _level(level: str) -> str:
    text = "".join(letter if letter.isprintable() and letter not in "*%/" else "_" for letter in level).strip() or "_"
    return "_" if text in (".", "..") else text
