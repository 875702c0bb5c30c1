"""Fixtures of the trust tests: one hierarchy, one small signed list, one instant."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.pki import TestIgc, build_igc, signed_whitelist

ROWS = [("a.mssante.fr", "CN=mta.a.fr,OU=1750000000,O=A,ST=Paris (75),C=FR"),
        ("b.mssante.fr", "CN=mta.b.fr,OU=1750000001,O=B,ST=Paris (75),C=FR")]


@pytest.fixture(scope="session")
def igc() -> TestIgc:
    return build_igc()


@pytest.fixture(scope="session")
def now() -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def signed(igc: TestIgc, now: datetime) -> bytes:
    """A well-signed list of two domains."""
    return signed_whitelist(ROWS, now)
