"""Fixtures of the command line's tests: a sound operator on disk, a fresh list, standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.clispace import DOMAIN, HOST, OPERATOR, Space
from support.pki import ORGANISATIONS_CN, SIGNER_CN, build_igc, pem_files

from mssante.lang import set_language


@pytest.fixture
def leaf() -> Any:
    """The operator's certificate and key."""
    return build_igc().leaf(HOST, not_after=datetime.now(UTC) + timedelta(days=400))


@pytest.fixture
def space(tmp_path: Path, capsys: pytest.CaptureFixture[str], leaf: Any) -> Space:
    """A sound operator without white list: `check` finds nothing to mend."""
    igc = build_igc()
    found = Space(tmp_path, capsys)
    found.config.mkdir()
    (found.config / "operator.toml").write_text(OPERATOR.format(host=HOST, issuer=ORGANISATIONS_CN, signer=SIGNER_CN))
    (found.config / "domains.toml").write_text(f'[[domain]]\nname = "{DOMAIN}"\n')
    pem_files(tmp_path / "certs", "mta", [leaf[0], igc.organisations.certificate], leaf[1])
    (tmp_path / "certs" / "anchors.pem").write_bytes(igc.anchors_pem)
    (tmp_path / "data" / "crl").mkdir(parents=True)
    (tmp_path / "data" / "crl" / "0.crl").write_bytes(igc.crl())
    return found


@pytest.fixture
def fresh_list(space: Space, leaf: Any) -> Path:
    """A list of an hour ago that binds our domain to our certificate, and names others."""
    now = datetime.now(UTC).replace(microsecond=0)
    others = [(f"d{rank}.mssante.test", "CN=mta.other.test,OU=399000000000001,O=AUTRE,ST=Paris (75),C=FR") for rank in range(20)]
    return space.write_list("fresh.xml", [(DOMAIN, leaf[0]), *others], now - timedelta(hours=1))


@pytest.fixture(autouse=True)
def _french_and_loud(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """French whatever the machine says; what commands do to logging and language does not outlive a test."""
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    yield
    structlog.reset_defaults()
    set_language("fr")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give a function that puts octets on standard input."""
    def put(octets: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(octets), encoding="utf-8"))

    return put
