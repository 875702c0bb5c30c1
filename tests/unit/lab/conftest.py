"""Fixtures of the lab's tests: one lab on disk for the whole run, without databases, on a base port that is free."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.lab import build as build_module
from mssante.lab.accounts import ExtraAccounts, parse_accounts_csv
from mssante.lab.build import BuildOrder, build
from mssante.lab.manifest import Lab
from mssante.lab.plan import HOST, all_ports
from mssante.lab.processes import busy_ports
from mssante.lang import language, set_language

CSV = "operator,local_part,type,password\nbeta,u0,PER,bench\nalpha,big,ORG,bench\n"


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """The tests read the English sentences; one of them checks that the French ones are there."""
    before = language()
    set_language("en")
    yield
    set_language(before)


def free_base_port() -> int:
    """A base at which every port of a lab is free now."""
    for _ in range(50):
        base = random.randrange(21000, 31000, 200)
        if not busy_ports(all_ports(base), HOST):
            return base
    raise RuntimeError("no free range of ports")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A whole lab built now; its mailboxes stand in lab.json but no database was made."""
    async def no_database(config: Path, accounts: object) -> None:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_module, "create_mailboxes", no_database)
        order = BuildOrder(tmp_path_factory.mktemp("lab"), free_base_port(), ExtraAccounts(2, parse_accounts_csv(CSV)))
        return build(order, datetime.now(UTC), lambda text: None)
