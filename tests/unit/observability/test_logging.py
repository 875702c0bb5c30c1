"""Logs are JSON lines whatever is said, by us or by a library; a process of its own, since the setting is global."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def lines(code: str, level: str = "info") -> list[dict[str, Any]]:
    """Give what a program says, each line read as JSON."""
    program = f"import logging, structlog\nfrom mssante.observability.logging import configure\nconfigure({level!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_event_is_one_line_with_its_time_and_context() -> None:
    (found,) = lines("structlog.contextvars.bind_contextvars(trace_id='T')\nstructlog.get_logger('x').info('hello', number=1)")
    assert (found["event"], found["level"], found["number"], found["trace_id"]) == ("hello", "info", 1, "T")
    assert found["timestamp"].endswith("Z")


def test_a_peer_forges_no_line() -> None:
    nasty = "a\r\n{\"event\": \"forged\"}\x00\x1b[31m\u202e\u2028é"
    (found,) = lines(f"structlog.get_logger('x').warning('told', peer={nasty!r})")
    assert found["peer"] == nasty


@pytest.mark.parametrize(("level", "said"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_levels(level: str, said: int) -> None:
    assert len(lines("log = structlog.get_logger('x')\nlog.debug('a'); log.info('a'); log.warning('a'); log.error('a')", level)) == said


def test_an_exception_is_in_its_line() -> None:
    (found,) = lines("try:\n    1 / 0\nexcept ZeroDivisionError:\n    structlog.get_logger('x').exception('fault')")
    assert "ZeroDivisionError" in found["exception"]


def test_what_a_library_says_is_a_line_without_its_words() -> None:
    found = lines("try:\n    raise ValueError('patient 185019930200112\\nsecond line')\nexcept ValueError:\n"
                  "    logging.getLogger('asyncio').exception('about alice@x.fr\\nnext')\n"
                  "logging.getLogger('lib').info('quiet')\nlogging.getLogger('li\"b').warning('said %s', 'x')")
    assert found == [{"event": "library", "logger": "asyncio", "level": "error", "exception": "ValueError"},
                     {"event": "library", "logger": "li\"b", "level": "warning"}]
