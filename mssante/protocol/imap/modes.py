"""What a client may ask depends on what it enabled: QRESYNC (RFC 7162 §3.2) and UIDONLY (RFC 9586 §3).

- The parameter QRESYNC of SELECT and the modifier VANISHED of UID FETCH are for clients that enabled QRESYNC.
- A client that enabled UIDONLY never sends a message number: commands that take them, sequence sets among search keys and the
  sequence match data of QRESYNC are `BAD [UIDREQUIRED]`. `$` names UIDs (RFC 5182) and stays allowed.
Called by `session.py` with each command, before any effect.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, is_dataclass

from mssante.protocol.imap.faults import ClientFault
from mssante.protocol.imap.searchkeys import InSet
from mssante.protocol.imap.values import Fetch, Select

IMPLIED = {"QRESYNC": "CONDSTORE"}  # RFC 7162 §3.2
WITH_NUMBERS = frozenset({"FETCH", "STORE", "COPY", "MOVE", "SEARCH", "SORT", "THREAD", "REPLACE"})  # RFC 9586 §3.2


def wrong_name(tag: bytes, name: str, enabled: Collection[str]) -> ClientFault | None:
    """Give why a command may not be used at all in this session, None when it may."""
    if name in WITH_NUMBERS and "UIDONLY" in enabled:
        return _needs_uids(tag)
    return None


def wrong_value(tag: bytes, value: object, enabled: Collection[str]) -> ClientFault | None:
    """Give why the arguments of a command may not be used in this session, None when they may."""
    asks_resync = (isinstance(value, Select) and value.resync is not None) or (isinstance(value, Fetch) and value.vanished)
    if asks_resync and "QRESYNC" not in enabled:
        return ClientFault(tag, "QRESYNC was not enabled", rule="RFC 7162 §3.2.5")
    if "UIDONLY" not in enabled:
        return None
    if isinstance(value, Select):
        return _needs_uids(tag) if value.resync is not None and value.resync.numbers else None
    key = getattr(value, "key", None)
    return _needs_uids(tag) if key is not None and _numbered(key) else None


def _needs_uids(tag: bytes) -> ClientFault:
    return ClientFault(tag, "message numbers may not be used with UIDONLY", code="UIDREQUIRED", rule="RFC 9586 §3")


def _numbered(key: object) -> bool:
    """Tell if message numbers stand anywhere in a tree of search keys."""
    if isinstance(key, InSet):
        return not key.uid and not key.numbers.saved
    if isinstance(key, tuple):
        return any(map(_numbered, key))
    if is_dataclass(key) and not isinstance(key, type):
        return any(_numbered(getattr(key, field.name)) for field in fields(key))
    return False
