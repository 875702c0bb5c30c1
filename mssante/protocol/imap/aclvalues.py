"""Values of the ACL commands (RFC 4314 §3): part of the union `protocol.imap.values.CommandValue`.

Identifiers are checked texts in lower case; rights are letters in the order of `protocol.imap.rights.ALL`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SetAcl:
    """RFC 4314 §3.1. mode: `+` adds, `-` takes away, empty replaces."""

    folder: str
    identifier: str
    mode: str
    rights: str


@dataclass(frozen=True, slots=True)
class DeleteAcl:
    """RFC 4314 §3.2."""

    folder: str
    identifier: str


@dataclass(frozen=True, slots=True)
class GetAcl:
    """RFC 4314 §3.3."""

    folder: str


@dataclass(frozen=True, slots=True)
class ListRights:
    """RFC 4314 §3.4. written: the identifier as the client wrote it, which the answer repeats."""

    folder: str
    identifier: str
    written: str


@dataclass(frozen=True, slots=True)
class MyRights:
    """RFC 4314 §3.5."""

    folder: str
