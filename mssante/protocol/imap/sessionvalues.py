"""Command values that concern the connection itself: COMPRESS (RFC 4978), UNAUTHENTICATE (RFC 8437). Read through `values`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Compress:
    """RFC 4978 §3. algorithm: upper-case name; only `DEFLATE` exists."""

    algorithm: str


@dataclass(frozen=True, slots=True)
class Unauthenticate:
    """RFC 8437 §3."""
