"""`mssante lab …`: the trust space on one machine (commands live in mssante.lab.commands)."""

from __future__ import annotations

from mssante.lab.commands import app

__all__ = ["app"]
