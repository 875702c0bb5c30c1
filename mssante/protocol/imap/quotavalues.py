"""Values of the QUOTA commands (RFC 9208 §4.1): part of the union `protocol.imap.values.CommandValue`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GetQuota:
    """RFC 9208 §4.1.1. root: name of a quota root."""

    root: str


@dataclass(frozen=True, slots=True)
class GetQuotaRoot:
    """RFC 9208 §4.1.2."""

    folder: str


@dataclass(frozen=True, slots=True)
class SetQuota:
    """RFC 9208 §4.1.3. limits: (resource, upper-case; number)."""

    root: str
    limits: tuple[tuple[str, int], ...]
