"""Where a rollover of the operator's certificate stands: one small file, written by the command line, read by the server.

The file is `rollover.json` in the folder of the operator's certificate. The server looks at it every few seconds (and at
SIGHUP) and obeys it without a restart; the command line changes it by the functions here and never talks to the server.

Stages, in order, and what the server does in each
- `none`: nothing is under way (also when there is no file).
- `declared`: the next pair is loaded and checked, and not shown to anybody.
- `trying`: sessions *that we open* to `try_peers` (domains) show the next pair; everybody else sees the current one.
- `switched`: `serve` is `next`: the operators' port and all sessions that we open show the next pair; going back is one call.
- `retired`: the next pair stands in the configured files and the former one is gone: same as `none`, with its trace.

Guarantees
- Values are pure: `declare`, `try_with`, `switch`, `switch_back`, `retire`, `give_up` take a state and give the next one, or
  raise InputFault (`ROLL-…`) with the remedy when the order is wrong. `read_rollover`, `write_rollover` are the only file work.
- The file is replaced atomically and has at most 64 KiB; one that cannot be read is a fault for the command line, and for the
  server: the state in force stays, with an alarm.
- Paths are written absolute; the state holds no key, only where it is.

Never: opens a certificate, moves a key file, decides that the white list is ready (the command line shows it).
Called by `mssante cert rollover` (writes), `mssante cert reload` (`ask_reload`) and `tls_setup.TlsKeeper` (reads).
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from mssante.errors import InputFault
from mssante.lang import say

FILE = "rollover.json"
RELOAD_FILE = "reload.request"
MAX_OCTETS = 64 * 1024
MAX_PEERS = 200
VERSION = 1


class Stage(StrEnum):
    """How far a rollover is."""

    NONE = "none"
    DECLARED = "declared"
    TRYING = "trying"
    SWITCHED = "switched"
    RETIRED = "retired"


class Serve(StrEnum):
    """Which pair the operators' port and our own sessions show."""

    CURRENT = "current"
    NEXT = "next"


@dataclass(frozen=True, slots=True)
class Rollover:
    """One state. next_certificate, next_key: absolute paths (None: those of `[tls]`, or none); try_peers: domains, lower case;
    retired: SHA-256 of the certificate that the last rollover took away, in hex; changed_at: when the stage was entered."""

    stage: Stage = Stage.NONE
    serve: Serve = Serve.CURRENT
    next_certificate: Path | None = None
    next_key: Path | None = None
    try_peers: tuple[str, ...] = ()
    retired: str = ""
    changed_at: datetime | None = None


def declare(state: Rollover, certificate: Path, key: Path, now: datetime) -> Rollover:
    """Name the next pair. Raises InputFault `ROLL-ORDER` once the next pair is served."""
    _need(state, (Stage.NONE, Stage.DECLARED, Stage.TRYING, Stage.RETIRED), "declare")
    return Rollover(Stage.DECLARED, Serve.CURRENT, certificate.resolve(), key.resolve(), (), state.retired, now)


def try_with(state: Rollover, peers: tuple[str, ...], now: datetime) -> Rollover:
    """Show the next pair to these domains; none of them: back to `declared`. Raises InputFault `ROLL-ORDER`, `ROLL-PEERS`."""
    _need(state, (Stage.DECLARED, Stage.TRYING), "try")
    if len(peers) > MAX_PEERS:
        raise InputFault(say(f"trop de domaines : {len(peers)}, {MAX_PEERS} au plus",
                             f"too many domains: {len(peers)}, {MAX_PEERS} at most"), rule="ROLL-PEERS")
    chosen = tuple(dict.fromkeys(peer.lower() for peer in peers))
    return replace(state, stage=Stage.TRYING if chosen else Stage.DECLARED, try_peers=chosen, changed_at=now)


def switch(state: Rollover, now: datetime) -> Rollover:
    """Serve the next pair to everybody. Raises InputFault `ROLL-ORDER`."""
    _need(state, (Stage.DECLARED, Stage.TRYING), "switch")
    return replace(state, stage=Stage.SWITCHED, serve=Serve.NEXT, try_peers=(), changed_at=now)


def switch_back(state: Rollover, now: datetime) -> Rollover:
    """Serve the former pair again, as long as it was not retired. Raises InputFault `ROLL-ORDER`."""
    _need(state, (Stage.SWITCHED,), "back")
    return replace(state, stage=Stage.DECLARED, serve=Serve.CURRENT, changed_at=now)


def retire(state: Rollover, retired: str, now: datetime) -> Rollover:
    """Say that the configured files hold the next pair now: written *after* they were replaced, so that no moment serves neither.

    retired: SHA-256 in hex of the former certificate. Raises InputFault `ROLL-ORDER`.
    """
    _need(state, (Stage.SWITCHED,), "retire")
    return Rollover(Stage.RETIRED, Serve.CURRENT, None, None, (), retired, now)


def give_up(state: Rollover, now: datetime) -> Rollover:
    """Forget the next pair. Raises InputFault `ROLL-ORDER` while it is served: `switch_back` comes first."""
    _need(state, (Stage.DECLARED, Stage.TRYING), "abandon")
    return Rollover(retired=state.retired, changed_at=now)


def _need(state: Rollover, stages: tuple[Stage, ...], step: str) -> None:
    if state.stage not in stages:
        wanted = ", ".join(stages)
        raise InputFault(
            say(f"l'étape « {step} » ne suit pas « {state.stage} »", f"step {step} does not follow {state.stage}"),
            rule="ROLL-ORDER", remedy=say(f"elle suit : {wanted} ; voir mssante cert rollover status",
                                          f"it follows: {wanted}; see mssante cert rollover status"))


# ------------------------------------------------------------ the file


def rollover_file(operator_certificate: Path) -> Path:
    """Give where the state is kept, from the absolute path of `[tls] operator_certificate`."""
    return operator_certificate.parent / FILE


def read_rollover(path: Path) -> Rollover:
    """Give the state; `none` when there is no file. Raises InputFault `ROLL-FILE` when it cannot be used, OSError."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_OCTETS + 1)
    except FileNotFoundError:
        return Rollover()
    try:
        if len(raw) > MAX_OCTETS:
            raise ValueError("size")
        return _decoded(json.loads(raw))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as fault:
        raise InputFault(
            say(f"{path} n'est pas un état de bascule lisible", f"{path} is not a readable rollover state"), rule="ROLL-FILE",
            detail=type(fault).__name__,
            remedy=say("remettez la dernière copie, ou supprimez le fichier : le certificat courant est alors servi",
                       "restore the last copy, or remove the file: the current certificate is then served")) from fault


def write_rollover(path: Path, state: Rollover) -> None:
    """Replace the state: written beside, synced, renamed. Raises OSError; the former state stays then."""
    fields = asdict(state) | {"version": VERSION}
    text = json.dumps(fields, indent=1, default=_plain, ensure_ascii=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def ask_reload(operator_certificate: Path) -> None:
    """Ask the running server to read all its TLS files again, changed or not (`mssante cert reload`). Raises OSError."""
    path = operator_certificate.parent / RELOAD_FILE
    path.touch()
    os.utime(path)


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _decoded(fields: dict[str, Any]) -> Rollover:
    """Give a state from its JSON. Raises ValueError, TypeError, KeyError."""
    if fields["version"] != VERSION:
        raise ValueError("version")
    peers = tuple(fields["try_peers"])
    if len(peers) > MAX_PEERS or not all(isinstance(peer, str) for peer in peers):
        raise ValueError("try_peers")
    changed = fields["changed_at"]
    state = Rollover(Stage(fields["stage"]), Serve(fields["serve"]), _path(fields["next_certificate"]), _path(fields["next_key"]),
                     peers, str(fields["retired"]), datetime.fromisoformat(changed) if changed else None)
    one_of_two = (state.next_certificate is None) != (state.next_key is None)
    if one_of_two or (state.serve is Serve.NEXT) != (state.stage is Stage.SWITCHED):
        raise ValueError("contradiction")
    return state


def _path(value: object) -> Path | None:
    if value is None:
        return None
    path = Path(str(value))
    if not path.is_absolute():
        raise ValueError("relative path")
    return path
