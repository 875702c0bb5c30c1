"""Faults: what may be said outside, what is kept for us, and who erred."""

from __future__ import annotations

import pytest

from mssante.errors import InputFault, MssFault, OperatorFault, PeerFault, StorageFull


@pytest.mark.parametrize(("kind", "name", "temporary"), [
    (MssFault, "fault", True), (PeerFault, "peer", False), (OperatorFault, "operator", True), (InputFault, "input", False),
    (StorageFull, "storage_full", True)])
def test_families(kind: type[MssFault], name: str, temporary: bool) -> None:
    fault = kind("said", detail="kept", rule="R-1", remedy="do this")
    assert (fault.kind, fault.temporary) == (name, temporary) and isinstance(fault, MssFault)
    assert (fault.public, fault.detail, fault.rule, fault.remedy) == ("said", "kept", "R-1", "do this")
    assert str(fault) == "said (kept) -> do this [R-1]" and fault.args == ("said",)


def test_what_is_absent_is_not_shown() -> None:
    assert str(MssFault("said")) == "said" and str(MssFault("said", rule="R")) == "said [R]"


def test_a_full_disk_is_ours() -> None:
    assert issubclass(StorageFull, OperatorFault) and not issubclass(InputFault, OperatorFault)
