"""`mssante mailbox share | shares | seen`: who may do what in the folders of a box, and whose `\\Seen` it is.

Beside a running server: rights act within seconds, `\\Seen` when a folder is opened again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer, emit, progress, table
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.services.admin import Admin
    from mssante.services.sharing import Share

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="nom@domaine (name@domain)")]
FolderName = Annotated[str, typer.Argument(metavar="FOLDER", help="Dossier de cette boîte : INBOX, Sent… (folder of this box)")]


class SeenKind(StrEnum):
    """Whose `\\Seen` it is."""

    PRIVATE = "private"
    SHARED = "shared"


def share(
    address: Address,
    folder: FolderName,
    login: Annotated[str, typer.Argument(metavar="LOGIN", help="Compte, « anyone » pour tous, ou -LOGIN pour retirer à quelqu'un "
                                                               "(login, anyone, or -login: denied)")],
    rights: Annotated[str, typer.Argument(metavar="RIGHTS", help="Lettres lrswipkxtea, +LETTRES, \"\" retire tout ; écrivez -- "
                                                                 "avant -LETTRES ou -LOGIN (RFC 4314 letters)")],
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Donne ou retire des droits sur un dossier (gives or takes rights on a folder)."""
    held = administer(config, lambda admin: admin.sharing.share(address, folder, login, rights))
    emit(as_json, {"ok": True, "address": address.lower(), "folder": folder, "login": login.lower(), "rights": held},
         say(f"{login.lower()} : {held or 'aucun droit'} sur {folder}", f"{login.lower()}: {held or 'no right'} on {folder}"))


def shares(address: Address, config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Liste les droits donnés sur une boîte (lists the rights given in a mailbox)."""
    async def read(admin: Admin) -> tuple[list[Share], list[str]]:
        return await admin.sharing.shares(address), await admin.sharing.private_seen(address)

    with progress(say("lecture des droits", "reading rights"), as_json):
        found, private = administer(config, read)
    lines = table((say("dossier", "folder"), say("compte", "login"), say("droits", "rights")),
                  [(one.folder, one.identifier, one.rights) for one in found])
    lines += [say(f"{name} : \\Seen propre à chaque lecteur", f"{name}: \\Seen private to each reader") for name in private]
    emit(as_json, {"ok": True, "address": address.lower(), "seen_private": private, "shares": [
        {"folder": one.folder, "login": one.identifier, "rights": one.rights} for one in found]}, *lines)


def seen(
    address: Address,
    folder: FolderName,
    kind: Annotated[SeenKind, typer.Argument(metavar="private|shared", case_sensitive=False,
                                             help="Lu par chacun, ou pour tous (private to each reader, or for all)")],
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Rend l'état « lu » d'un dossier propre à chaque lecteur, ou commun (makes \\Seen private to each reader, or shared).

    Vers private : chacun part de ce qui était lu. Vers shared : l'état devient celui du titulaire.
    """
    done = administer(config, lambda admin: admin.sharing.set_seen(address, folder, private=kind is SeenKind.PRIVATE))
    unchanged = "" if done else say(" (c'était déjà le cas)", " (it was so already)")
    emit(as_json, {"ok": True, "address": address.lower(), "folder": folder, "seen": kind.value, "changed": done},
         say(f"{folder} : \\Seen {kind.value}{unchanged}", f"{folder}: \\Seen {kind.value}{unchanged}"),
         *([say("les sessions ouvertes suivront à leur prochaine ouverture du dossier",
                "open sessions follow when they open the folder again")] if done else []))
