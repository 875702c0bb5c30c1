"""The machine: storage and its schema, room on disk, resolvers, ports. Changes nothing, except that a port is tried and let go.

The database's version is read from a read-only handle first: a schema that `serve` would upgrade is told, not upgraded here.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from mssante.cli.checks.finding import Finding, fail, ok, told, warn
from mssante.config.model import Config, ListenSection, split_hostport
from mssante.errors import MssFault, OperatorFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.storage.open import SchemaState

COMFORT_BYTES = 1024 * 1024 * 1024  # below this, a day of mail may fill the disk
_SQLITE = "sqlite:///"


def storage_findings(config: Config) -> Iterator[Finding]:
    """Check the database, its schema and the folder of bodies."""
    title = say("base de données", "database")
    url = config.storage_url
    if url.startswith(_SQLITE):
        path = Path(url.removeprefix(_SQLITE))
        if not path.exists():
            yield warn("BASE-01", title, say(f"{path.name} n'existe pas encore", f"{path.name} does not exist yet"),
                       say("le serveur la créera à son démarrage", "the server creates it when it starts"))
            return
        version = _version(path)
        if isinstance(version, Finding):
            yield version
            return
        yield from _schema(version)
        if path.stat().st_uid != os.geteuid():
            yield warn("BASE-03", say("propriétaire de la base", "owner of the database"), f"uid {path.stat().st_uid}", say(
                "lancez cette commande avec l'utilisateur du service", "run this command as the service's user"))
            return
        if version.found < version.ours:
            return
    yield _opened(config, title)


def _version(path: Path) -> SchemaState | Finding:
    """Give the schema state of a database, from a handle that cannot write."""
    from mssante.storage.open import peek_sqlite

    try:
        return peek_sqlite(path)
    except OperatorFault as fault:
        return fail("BASE-01", say("base de données", "database"), f"{path.name} : {fault.detail}", say(
            "vérifiez le chemin, ou restaurez la dernière sauvegarde", "check the path, or restore the last backup"))


def _schema(state: SchemaState) -> Iterator[Finding]:
    title = say("schéma de la base", "database schema")
    seen = say(f"version {state.found}, la nôtre {state.ours}", f"version {state.found}, ours {state.ours}")
    if state.oldest > state.ours:
        yield fail("BASE-02", title, seen, say("installez le programme qui l'a écrite, ou un plus récent",
                                               "install the program that wrote it, or a newer one"))
    elif state.found < state.ours:
        yield warn("BASE-02", title, seen, say("sera mise à niveau au prochain démarrage : sauvegardez d'abord",
                                               "is upgraded at the next start: make a backup first"))
    else:
        yield ok("BASE-02", title, seen)


def _opened(config: Config, title: str) -> Finding:
    """Open all of storage as the server does, and read from it."""
    import asyncio

    from mssante.app import open_storage

    async def depth() -> int:
        stores = open_storage(config)
        try:
            found = await stores.database.read(lambda tx: stores.queue.depth(tx))
            return sum(found.values())
        finally:
            stores.close()

    try:
        waiting = asyncio.run(depth())
    except MssFault as fault:
        return told("BASE-01", title, fault)
    except OSError as exc:
        return fail("BASE-01", title, str(exc.strerror), say("vérifiez les droits du dossier", "check the folder's mode"))
    return ok("BASE-01", title, say(f"s'ouvre, {waiting} destinataires en file", f"opens, {waiting} recipients queued"))


def disk_findings(config: Config) -> Iterator[Finding]:
    """Check room and rights where bodies are kept."""
    storage = config.operator.storage
    folder = config.path(storage.blobs)
    existing = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    title = say("dossier des données", "data folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        yield fail("DISQUE-01", title, f"{existing.name or '/'}", say("donnez ce dossier à l'utilisateur du service",
                                                                     "give this folder to the service's user"))
    else:
        yield ok("DISQUE-01", title, say("accessible en écriture", "writable"))
    free = shutil.disk_usage(existing).free
    title = say("place libre", "free room")
    seen = f"{free // 1024 // 1024} Mio, reserve_bytes = {storage.reserve_bytes // 1024 // 1024} Mio"
    if free < storage.reserve_bytes:
        yield fail("DISQUE-02", title, seen, say("libérez de la place : tout message reçoit 452",
                                                 "free some room: every message gets 452"))
    elif free < storage.reserve_bytes + COMFORT_BYTES:
        yield warn("DISQUE-02", title, seen, say("prévoyez de la place", "plan for more room"))
    else:
        yield ok("DISQUE-02", title, seen)


def network_findings(config: Config) -> Iterator[Finding]:
    """Check resolvers, fixed routes and the addresses that we listen on."""
    relay = config.operator.relay
    yield ok("RESEAU-01", say("résolveurs DNS", "DNS resolvers"),
             ", ".join(relay.dns_servers) or say("ceux du système", "those of the system"))
    if relay.allow_private:
        yield warn("RESEAU-02", "relay.allow_private", "true", say(
            "pour un laboratoire seulement : un MX pourrait viser notre réseau interne",
            "for a laboratory only: an MX could point at our internal network"))
    listen = config.operator.listen
    for door in ListenSection.model_fields:
        address = getattr(listen, door)
        if address:
            yield _port(door, address)
    if listen.metrics and not _loopback(split_hostport(listen.metrics)[0]):
        yield warn("RESEAU-04", "listen.metrics", listen.metrics, say(
            "servi en clair : gardez une adresse locale ou un réseau d'administration",
            "served in clear: keep a local address or an administration network"))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(door: str, address: str) -> Finding:
    """Try to take a listening address, and let it go at once."""
    title = f"listen.{door}"
    host, port = split_hostport(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(found[0], found[1]) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(found[4])
            trial.listen(1)
    except OSError as exc:
        return _held(title, address, exc)
    return ok("RESEAU-03", title, say(f"{address} libre", f"{address} is free"))


def _held(title: str, address: str, exc: OSError) -> Finding:
    if exc.errno == errno.EADDRINUSE:
        return warn("RESEAU-03", title, say(f"{address} déjà pris", f"{address} is held"), say(
            "normal si l'opérateur tourne ; sinon arrêtez l'autre programme",
            "as it should be if the operator runs; else stop the other program"))
    if exc.errno == errno.EACCES:
        return fail("RESEAU-03", title, say(f"{address} interdit", f"{address} is forbidden"), say(
            "donnez CAP_NET_BIND_SERVICE au service, ou un port au-dessus de 1023 derrière une redirection",
            "give the service CAP_NET_BIND_SERVICE, or a port above 1023 behind a redirection"))
    return fail("RESEAU-03", title, f"{address} : {exc.strerror}", say("donnez une adresse de cette machine",
                                                                      "give an address of this machine"))
