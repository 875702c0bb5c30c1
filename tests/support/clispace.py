"""The folders of one operator on disk, and the command line run on them; nothing listens."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from support.pki import signed_whitelist

from mssante.cli.main import run

DOMAIN = "alpha.mssante.test"
HOST = f"mta.{DOMAIN}"
OPERATOR = """
[operator]
name = "alpha"
hostname = "{host}"
[listen]
smtp = "127.0.0.1:0"
submission = "127.0.0.1:0"
submissions = "127.0.0.1:0"
imap = "127.0.0.1:0"
imaps = "127.0.0.1:0"
metrics = "127.0.0.1:0"
[trust]
issuers = ["{issuer}"]
signer_issuers = ["{issuer}"]
signer_cns = ["{signer}"]
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON object that it must be."""
        return json.loads(self.out)


class Space:
    """The folders of one operator, and `mssante` run on them in this process."""

    def __init__(self, root: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.config = root / "operator_config"
        self._capture = capture

    def run(self, *words: str, config: bool = True) -> Outcome:
        """Run a command with `--config` and give what it printed."""
        self._capture.readouterr()
        code = run([*words, "--config", str(self.config)] if config else list(words))
        printed = self._capture.readouterr()
        assert "Traceback" not in printed.err + printed.out
        return Outcome(code, printed.out, printed.err)

    def write_list(self, name: str, rows: list[tuple[str, Any]], generated_at: datetime) -> Path:
        """Write a list signed by the admitted signer."""
        path = self.root / name
        path.write_bytes(signed_whitelist(rows, generated_at))
        return path

    def change(self, old: str, new: str) -> None:
        """Change `operator.toml`."""
        path = self.config / "operator.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def mode(path: Path) -> int:
    """Permission bits of a file."""
    return os.stat(path).st_mode & 0o777
