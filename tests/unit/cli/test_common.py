"""What commands share: tables, progress, limited reading."""

from __future__ import annotations

import sys
import threading
from io import StringIO
from pathlib import Path

import pytest

from mssante.cli.common import _tick, progress, read_limited, table
from mssante.errors import InputFault


class Terminal(StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Ticks(threading.Event):
    """An event that is set at the n-th wait: time without a clock."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def wait(self, timeout: float | None = None) -> bool:
        self._left -= 1
        return self._left < 0


def test_progress_shows_after_the_first_second_and_wipes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    _tick("lecture", Ticks(2))
    assert screen.getvalue().count("lecture…") == 2 and screen.getvalue().endswith("\r\x1b[K")
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    _tick("lecture", Ticks(0))
    assert screen.getvalue() == ""


@pytest.mark.parametrize(("screen", "as_json", "threads"), [(Terminal(), False, 1), (Terminal(), True, 0),
                                                            (StringIO(), False, 0)])
def test_progress_only_on_a_terminal_and_never_with_json(monkeypatch: pytest.MonkeyPatch, screen: StringIO, as_json: bool,
                                                         threads: int) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    before = threading.active_count()
    with progress("lecture", as_json):
        assert threading.active_count() == before + threads
    assert threading.active_count() == before


def test_a_table_is_aligned_and_safe() -> None:
    lines = table(("a", "bb"), [("x\x1b[2J", 1), ("é" * 100, 22)])
    assert "\x1b" not in "".join(lines)
    assert {line.rindex(end) for line, end in zip(lines, ("bb", "1", "22"), strict=True)} == {len("é" * 80) + 2}


def test_reading_is_limited(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    assert read_limited(file, 5, "R") == b"12345"
    for path, limit in ((file, 4), (tmp_path, 5), (tmp_path / "none", 5)):
        with pytest.raises(InputFault) as caught:
            read_limited(path, limit, "R-1")
        assert caught.value.rule == "R-1"
