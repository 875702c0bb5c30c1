"""`mssante search …`: the full-text index of SEARCH TEXT and BODY. It can be lost and made again; the mail is never touched.

`index` is what a running server starts by itself when messages came. All commands run beside a server or without it.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mssante.cli.common import DEFAULT_CONFIG, AsJson, ConfigFolder, administer_config, emit, table
from mssante.cli.serve import give_memory_back
from mssante.config.load import load_config
from mssante.config.model import Config
from mssante.errors import InputFault
from mssante.lang import say

if TYPE_CHECKING:
    from mssante.model.mailbox import Mailbox
    from mssante.services.admin import Admin
    from mssante.services.indexing import Indexer
    from mssante.storage.interfaces import TextIndex

app = typer.Typer(no_args_is_help=True, help="Index plein texte (full-text index)")
MEMORY = 2 * 1024 * 1024 * 1024  # of the indexer's process: a file that wants more is left out
PAGE = 1000
TELL_SECONDS = 0.5
LOWEST_PRIORITY = 19
LOOK_SECONDS = 1.0
BUSY_SERVER = 0.3  # of a core
RESTS = ((0.6, 16.0), (BUSY_SERVER, 4.0))  # times the work before, above that much of a core
LONGEST_REST = 5.0
PATIENCE_SECONDS = 10.0  # before what came in a burst is read
STAY_SECONDS = 600.0  # then it leaves all the same: the next one may have to sweep


class Courtesy:
    """Leaves the cores to the server that started us while mail comes in: the index may be behind, the mail may not wait.

    The lowest priority is not enough: on a free core beside the server's it still takes its cache and its disk, and half of its
    core where two processors are one (a quarter more time for each message, measured).
    """

    def __init__(self, pid: int) -> None:
        """pid: of the server."""
        self._pid = pid
        self._before = (time.monotonic(), self._used())

    def _used(self) -> float:
        """Seconds of processor that the server has used, -1 when nothing tells (proc_pid_stat(5), utime and stime)."""
        try:
            with open(f"/proc/{self._pid}/stat", "rb") as file:
                fields = file.read(4096).rpartition(b")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return -1.0

    def rest(self, worked: float) -> float:
        """Give the seconds to rest after a batch that took `worked` seconds."""
        load = self.load()
        return min(worked * next((times for above, times in RESTS if load > above), 0.0), LONGEST_REST)

    def load(self) -> float:
        """Give how much of a core the server used since it was last looked at; 0 when nothing tells."""
        (at, used), self._before = self._before, (time.monotonic(), self._used())
        now, since = self._before
        return (since - used) / (now - at) if now > at and used >= 0 <= since else 0.0

    async def turn(self) -> None:
        """Wait for a second in which the server is not busy, `PATIENCE_SECONDS` at most."""
        until = time.monotonic() + PATIENCE_SECONDS
        self.load()
        while time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
            if self.load() <= BUSY_SERVER:
                return


def _indexer(config: Config, admin: Admin, rest: Callable[[float], float] | None = None) -> tuple[Indexer, TextIndex]:
    """Give the indexer of a configuration. Raises InputFault when it wants no index."""
    from mssante.clock import SystemClock
    from mssante.search_setup import index_settings, text_index
    from mssante.services.indexing import Indexer

    index = text_index(config)
    if index is None:
        raise InputFault(say("l'index plein texte est désactivé", "the full-text index is off"), rule="INDEX-OFF",
                         remedy=say("mettez enabled = true dans [search]", "set enabled = true in [search]"))
    return Indexer(admin.stores, index, SystemClock(), replace(index_settings(config), rest=rest)), index


@app.command()
def rebuild(
    address: Annotated[str, typer.Argument(metavar="[ADDRESS]", help="nom@domaine (name@domain)")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Toutes les boîtes (all mailboxes)")] = False,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Refait l'index d'une boîte ou de toutes (makes the index of one mailbox or of all again)."""
    if bool(address) == everything:
        raise typer.BadParameter(say("donnez une adresse ou --all, un seul", "give one of an address and --all"))
    loaded = load_config(config)
    teller = _Teller(as_json)

    async def work(admin: Admin) -> list[dict[str, Any]]:
        indexer, index = _indexer(loaded, admin)
        try:
            return [await _rebuilt(indexer, index, box, teller) for box in await _boxes(admin, address.lower())]
        finally:
            index.close()

    started = time.monotonic()
    try:
        done = administer_config(loaded, work)
    finally:
        teller.end()
    seconds = round(time.monotonic() - started, 3)
    headers = (say("boîte", "mailbox"), "messages", say("octets de l'index", "octets of the index"))
    messages = sum(one["messages"] for one in done)
    emit(as_json, {"ok": True, "mailboxes": done, "messages": messages, "seconds": seconds},
         *table(headers, [(one["address"], one["messages"], one["index_octets"]) for one in done]),
         say(f"{messages} messages indexés en {seconds:.1f} s", f"{messages} messages indexed in {seconds:.1f} s"))


async def _boxes(admin: Admin, address: str) -> list[Mailbox]:
    """Give the mailboxes asked for. Raises InputFault `BAL-INCONNUE`."""
    stores = admin.stores
    if address:
        found = await stores.database.read(lambda tx: stores.accounts.mailboxes_by_address(tx, [address]))
        if not found:
            raise InputFault(say(f"boîte inconnue : {address}", f"no such mailbox: {address}"), rule="BAL-INCONNUE",
                             remedy="mssante mailbox list")
        return found
    boxes: list[Mailbox] = []
    after = ""
    while page := await admin.mailboxes(limit=PAGE, after=after):
        boxes += page
        after = page[-1].address
    return boxes


async def _rebuilt(indexer: Indexer, index: TextIndex, box: Mailbox, teller: _Teller) -> dict[str, Any]:
    change = await indexer.rebuild(box.id, lambda done, of: teller.tell(box.address, done, of))
    return {"address": box.address, "messages": change.added, "index_octets": await asyncio.to_thread(index.octets, box.id)}


@app.command("index")
def index_(
    linger: Annotated[int, typer.Option("--linger", min=0, metavar="SECONDS",
                                        help="Attend encore d'autres messages (waits for more messages)")] = 0,
    sweep: Annotated[bool, typer.Option("--sweep", help="Compare aussi index et courrier (compares index and mail too)")] = False,
    server: Annotated[int, typer.Option("--server", min=0, hidden=True, help="Le serveur qui lance (pid of the server)")] = 0,
    config: ConfigFolder = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Indexe ce qui est arrivé ; le serveur le lance lui-même (indexes what came; the server starts it by itself)."""
    loaded = load_config(config)
    parent = server or os.getppid()  # a server that was killed while we were being loaded is no more our parent
    give_memory_back()
    os.nice(LOWEST_PRIORITY)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))

    async def work(admin: Admin) -> tuple[int, int]:
        courtesy = Courtesy(parent)
        indexer, index = _indexer(loaded, admin, courtesy.rest if linger else None)
        try:
            if linger:
                await courtesy.turn()
            if os.getppid() != parent:  # the next server starts its own
                return 0, 0
            added = await indexer.catch_up()
            change = await indexer.sweep() if sweep else None
            added += await _linger(indexer, linger, parent, courtesy)
            return added + (change.added if change else 0), change.removed if change else 0
        finally:
            index.close()

    added, removed = administer_config(loaded, work)
    emit(as_json, {"ok": True, "added": added, "removed": removed},
         say(f"{added} messages ajoutés, {removed} retirés", f"{added} messages added, {removed} removed"))


async def _linger(indexer: Indexer, seconds: int, parent: int, courtesy: Courtesy) -> int:
    """Put in what comes, until nothing came for so long or our server is gone, `STAY_SECONDS` at most."""
    added, until = 0, time.monotonic() + seconds
    leave = time.monotonic() + STAY_SECONDS
    while time.monotonic() < min(until, leave) and os.getppid() == parent:
        await courtesy.turn()
        more = await indexer.catch_up()
        if more:
            added, until = added + more, time.monotonic() + seconds
    return added


@app.command()
def status(config: ConfigFolder = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Dit le retard de l'index (tells how far the index is behind)."""
    from mssante.search_setup import MOST_LAG

    loaded = load_config(config)

    async def work(admin: Admin) -> int:
        _, index = _indexer(loaded, admin)
        mark = index.mark()
        index.close()
        return await admin.stores.database.read(lambda tx: admin.stores.feed.lag(tx, mark, MOST_LAG))

    lag = administer_config(loaded, work)
    emit(as_json, {"ok": True, "lag": lag}, say(f"messages à indexer : {lag}", f"messages to index: {lag}"))


class _Teller:
    """Progress on standard error: only on a terminal, never with --json."""

    def __init__(self, as_json: bool) -> None:
        self._on = sys.stderr.isatty() and not as_json
        self._next = 0.0
        self._shown = False

    def tell(self, address: str, done: int, of: int) -> None:
        """One batch of a mailbox is in."""
        if not self._on or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + TELL_SECONDS
        self._shown = True
        sys.stderr.write(f"\r\x1b[K{address} : {done}/{of}")
        sys.stderr.flush()

    def end(self) -> None:
        """Wipe the line."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
