"""QRESYNC and UIDONLY under random actions of two clients: each time a client comes back, what it knows is what the server has.

`MSSANTE_RESYNC_STEPS=10000 python -m pytest tests/fuzz/test_fuzz_resync.py -s` makes one long run; `MSSANTE_RESYNC_SEED` chooses it.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from support.imap_stage import build
from support.resync import Machine

from mssante.services.imap.settings import ImapSettings

_STEPS = int(os.environ.get("MSSANTE_RESYNC_STEPS", "0"))
_SEED = int(os.environ.get("MSSANTE_RESYNC_SEED", "0")) or random.SystemRandom().randint(1, 1 << 30)
RUNS = [(_SEED, _STEPS)] if _STEPS else [(1, 500), (2, 500), (3, 500)]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("seed", "steps"), RUNS)
async def test_a_client_that_comes_back_knows_what_the_server_has(tmp_path: Path, seed: int, steps: int) -> None:
    print(f"seed {seed}, {steps} steps")
    # Some runs keep views of folders that nobody has open, some read them again each time.
    grace = 30.0 if seed % 2 else 0.0
    stage = await build(tmp_path, ImapSettings(hostname="imap.example", grace_seconds=grace))
    machine = Machine(stage, seed)
    try:
        await machine.run(steps)
        print(dict(sorted(machine.count.items())))
        assert machine.count["QRESYNC"] > steps // 50
        assert machine.count["compared"] > steps // 30
        assert machine.count["purged tombstones"] > 0
    finally:
        await stage.close()
