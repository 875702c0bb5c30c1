"""The lab that scenarios share (see support/lab.py)."""

from __future__ import annotations

from support.lab import healed, running_lab

__all__ = ["healed", "running_lab"]
