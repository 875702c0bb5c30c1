"""What comes out of a worker: values come back equal, and nothing that a hostile worker writes is called, set or believed."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mssante.documents.findings import Finding, Severity
from mssante.documents.preflight import Outcome, Preflight
from mssante.services.departure import Departure
from mssante.services.workvalues import plain, read, written

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner) | st.frozensets(st.integers()), max_leaves=20)


@given(_PLAIN)
def test_values_come_back_equal(value: object) -> None:
    assert read(written(value)) == value


def test_our_classes_come_back_equal() -> None:
    held = {"a": (Finding("R", "f", "t", Severity.ERROR), Preflight(Outcome.WARN)), "b": [NOW, date(2026, 3, 1), timedelta(seconds=1.5)]}
    assert read(written(held)) == held


class Call:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


@pytest.mark.parametrize("raw", [
    pickle.dumps(Call()), pickle.dumps(Severity.ERROR), pickle.dumps(Finding("R", "f", "t")), pickle.dumps({"a": 1}), b"", b"\x80",
    b"cmssante.documents.findings\nSeverity\n(N}X\x01\x00\x00\x00aX\x01\x00\x00\x00btb.", pickle.dumps(("system", ["true"])),
    *(pickle.dumps(one) for one in (
        ("data", "os", "system", ["true"]), ("data", "mssante.services.departure", "Departure", [[]]), ("enum", "enum", "Enum", 1),
        ("data", "mssante.documents.findings", "Finding", ["R"]), ("enum", "mssante.documents.findings", "Severity", "none"),
        ("data", "mssante.documents.findings", "Severity.ERROR", []), ("data", "mssante.absent", "X", []), ("tuple", "abc"),
        ("dict", [("tuple", [])]), ("data", 1, 2, []), ("datetime", "demain"), ("timedelta", "x"), [1], {"a"}, ("tuple",), ()))])
def test_a_hostile_answer_is_one_fault(raw: bytes) -> None:
    with pytest.raises(ValueError):
        read(raw)


@given(st.binary(max_size=200))
def test_any_octets_are_a_value_or_one_fault(raw: bytes) -> None:
    try:
        read(raw)
    except ValueError:
        pass


@pytest.mark.parametrize("value", [object(), Path("x"), print, Finding])
def test_other_classes_do_not_cross(value: object) -> None:
    with pytest.raises(TypeError):
        plain(value)


def test_a_class_that_is_no_value_is_not_built() -> None:
    with pytest.raises(ValueError):
        read(written(Departure()))
