"""The stages of a rollover, their order, and the file that both sides share."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.errors import InputFault
from mssante.services.rollover_state import (
    MAX_OCTETS,
    MAX_PEERS,
    Rollover,
    Serve,
    Stage,
    ask_reload,
    declare,
    give_up,
    read_rollover,
    retire,
    rollover_file,
    switch,
    switch_back,
    try_with,
    write_rollover,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DECLARED = declare(Rollover(), Path("/certs/new.pem"), Path("/certs/new.key"), NOW)
TRYING = try_with(DECLARED, ("B.mssante.fr", "b.mssante.fr", "a.mssante.fr"), NOW)
SWITCHED = switch(TRYING, NOW)
RETIRED = retire(SWITCHED, "ab" * 32, NOW)


def test_the_way_there(tmp_path: Path) -> None:
    assert [one.stage for one in (DECLARED, TRYING, SWITCHED, RETIRED)] == [Stage.DECLARED, Stage.TRYING, Stage.SWITCHED, Stage.RETIRED]
    assert [one.serve for one in (DECLARED, TRYING, SWITCHED, RETIRED)] == [Serve.CURRENT, Serve.CURRENT, Serve.NEXT, Serve.CURRENT]
    assert TRYING.try_peers == ("b.mssante.fr", "a.mssante.fr") and SWITCHED.try_peers == ()
    assert RETIRED.next_certificate is None and RETIRED.retired == "ab" * 32
    path = tmp_path / "rollover.json"
    assert read_rollover(path) == Rollover()
    for state in (DECLARED, TRYING, SWITCHED, RETIRED, Rollover()):
        write_rollover(path, state)
        assert read_rollover(path) == state
    assert [one.name for one in tmp_path.iterdir()] == ["rollover.json"]


def test_the_ways_back() -> None:
    assert switch_back(SWITCHED, NOW).stage is Stage.DECLARED and switch_back(SWITCHED, NOW).serve is Serve.CURRENT
    assert give_up(TRYING, NOW).stage is Stage.NONE
    assert try_with(TRYING, (), NOW).stage is Stage.DECLARED
    assert declare(RETIRED, Path("/x"), Path("/y"), NOW).retired == "ab" * 32


@pytest.mark.parametrize("wrong", [
    lambda: try_with(Rollover(), ("a.fr",), NOW), lambda: switch(Rollover(), NOW), lambda: switch(SWITCHED, NOW), lambda: switch(RETIRED, NOW),
    lambda: retire(DECLARED, "", NOW), lambda: retire(RETIRED, "", NOW), lambda: switch_back(DECLARED, NOW), lambda: give_up(SWITCHED, NOW),
    lambda: declare(SWITCHED, Path("/x"), Path("/y"), NOW)])
def test_no_step_out_of_order(wrong: Callable[[], Rollover]) -> None:
    with pytest.raises(InputFault) as caught:
        wrong()
    assert caught.value.rule == "ROLL-ORDER" and caught.value.remedy


def test_not_too_many_peers() -> None:
    with pytest.raises(InputFault, match="ROLL-PEERS"):
        try_with(DECLARED, tuple(f"d{rank}.fr" for rank in range(MAX_PEERS + 1)), NOW)


def broken(**changes: object) -> bytes:
    fields = {"version": 1, "stage": "declared", "serve": "current", "next_certificate": "/a", "next_key": "/b", "try_peers": [],
              "retired": "", "changed_at": None}
    return json.dumps({**fields, **changes}).encode()


@pytest.mark.parametrize("raw", [
    b"", b"[]", b"null", b"{", b"\xff", b"{}", b"[" * 5000, broken(version=2), broken(stage="else"), broken(serve="next"),
    broken(stage="switched"), broken(next_key=None), broken(next_certificate="a.pem"), broken(try_peers=[1]), broken(try_peers=None),
    broken(try_peers=["a"] * 201), broken(changed_at="yesterday"), broken(changed_at=5), b" " * (MAX_OCTETS + 1)])
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "rollover.json"
    path.write_bytes(raw)
    with pytest.raises(InputFault) as caught:
        read_rollover(path)
    assert caught.value.rule == "ROLL-FILE" and caught.value.remedy


def test_the_files_stand_beside_the_certificate(tmp_path: Path) -> None:
    certificate = tmp_path / "mta.pem"
    assert rollover_file(certificate) == tmp_path / "rollover.json"
    ask_reload(certificate)
    before = (tmp_path / "reload.request").stat().st_mtime_ns
    ask_reload(certificate)
    assert (tmp_path / "reload.request").stat().st_mtime_ns >= before
