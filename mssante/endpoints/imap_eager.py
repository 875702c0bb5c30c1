"""Runs a coroutine at once, and makes a task of it only if it has to wait.

asyncio of Python 3.11 has no eager tasks: each `create_task` costs one turn of the loop even when nothing is awaited. Most
IMAP commands are answered from memory, so they run here to their end inside `data_received`.

- The first step runs outside any task: a coroutine given here awaits plain futures first (database, executor, events), never
  something that asks for the current task (`asyncio.timeout`, `TaskGroup`).
- Exceptions of the coroutine come out of `run_eagerly`, or out of the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any


@coroutine
def _rest(running: Coroutine[Any, Any, None], waited: Any) -> Generator[Any, Any, None]:
    """Go on with a coroutine that has yielded `waited`, a future it waits for."""
    while True:
        try:
            given = yield waited
        except BaseException as fault:  # handed to the coroutine, which decides
            step: Any = running.throw
            given = fault
        else:
            step = running.send
        try:
            waited = step(given)
        except StopIteration:
            return


def run_eagerly(running: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run to the first wait: None when it ended, else the task that finishes it. Raises what it raised before waiting."""
    try:
        waited = running.send(None)
    except StopIteration:
        return None
    return asyncio.get_running_loop().create_task(_finish(running, waited))


async def _finish(running: Coroutine[Any, Any, None], waited: Any) -> None:
    await _rest(running, waited)
