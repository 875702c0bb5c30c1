"""Engines under contract: every suite of this folder runs on each entry of ENGINES.

To add an engine: a class with `open` and `count`, and one more entry here. PostgreSQL will read its address from the
environment and skip when it is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mssante.storage.interfaces import Stores
from mssante.storage.open import StorageOptions, open_stores


class SqliteUnderTest:
    """A database file in the test's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/store.db"
        self._open: list[Stores] = []

    def open(self, **options: Any) -> Stores:
        """Open stores (again)."""
        stores = open_stores(self.url, self.folder / "blobs", StorageOptions(readers=2, **options))
        self._open.append(stores)
        return stores

    def close(self) -> None:
        """Close all that was opened."""
        for stores in self._open:
            stores.close()

    @staticmethod
    def count(tx: Any, unit: Callable[[Any], Any]) -> list[str]:
        """Run `unit` and give the statements that the engine ran for it."""
        driver = tx.connection.connection.dbapi_connection
        seen: list[str] = []
        driver.set_trace_callback(seen.append)
        try:
            unit(tx)
        finally:
            driver.set_trace_callback(None)
        return [text for text in seen if not text.startswith("--")]  # comments tell of cascades


ENGINES = {"sqlite": SqliteUnderTest}


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqliteUnderTest]:
    """One engine; everything opened through it is closed after the test."""
    under_test = ENGINES[request.param](tmp_path)
    yield under_test
    under_test.close()


@pytest.fixture
def stores(engine: SqliteUnderTest) -> Stores:
    """Fresh stores."""
    return engine.open()
