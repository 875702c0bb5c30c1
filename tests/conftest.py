"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.fresh_stores import FreshStores

from mssante.storage.sql import schema

# a machine that is busy for a second is no fault of what is drawn or tested
settings.register_profile("mssante", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mssante")


@pytest.fixture(scope="session", autouse=True)
def fresh_stores() -> Iterator[None]:
    """An empty database is a copy of the first that the revisions made in this process (see support/fresh_stores.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "_upgrade", FreshStores().upgrade)
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of public test data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("../shared is not beside this checkout")
    return folder


# Seconds of the files that hold a worker long; the others count ten. Wrong figures cost time, never a result.
LONG = {
    "interop/test_logins.py": 120, "interop/test_thunderbird_token.py": 60, "interop/test_box_by_csv.py": 40,
    "interop/test_import_dovecot.py": 40, "interop/test_attack.py": 36, "interop/test_twin_files.py": 32,
    "scenarios/test_crash.py": 140, "scenarios/test_lab.py": 110, "scenarios/test_refusals.py": 80, "scenarios/test_handover.py": 60,
    "scenarios/test_life_year.py": 48, "scenarios/test_preflight.py": 40, "scenarios/test_trust_faults.py": 40,
    "scenarios/test_hl7.py": 30, "scenarios/test_publication.py": 25, "scenarios/test_citizen.py": 25,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Interop before scenarios, which kill and fill their lab; in each the longest files first, so that two workers end together."""
    def place(item: pytest.Item) -> tuple[int, int]:
        folder = item.path.parent.name
        rank = {"interop": 1, "scenarios": 2}.get(folder, 0)
        return rank, -LONG.get(f"{folder}/{item.path.name}", 10) if rank else 0

    items.sort(key=place)  # stable: the order in a file stays
