"""The lab that interop tests share (see support/lab.py)."""

from __future__ import annotations

from support.lab import running_lab

__all__ = ["running_lab"]
