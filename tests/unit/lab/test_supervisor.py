"""What `up` decides before it starts anything."""

from __future__ import annotations

import shutil
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mssante.errors import InputFault
from mssante.lab import supervisor as supervisor_module
from mssante.lab.build import MARKER, BuildOrder
from mssante.lab.faults import Fault
from mssante.lab.manifest import FILE_NAME, Lab
from mssante.lab.plan import DEFAULT_BASE_PORT
from mssante.lab.supervisor import Supervisor, check_ports, lab_parts, prepare

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def quiet(text: str) -> None:
    return None


def prepared(order: BuildOrder, *, fresh: bool = False, base_port: int | None = None) -> Lab:
    return prepare(order, fresh=fresh, base_port=base_port, now=lambda: NOW, progress=quiet)


@pytest.fixture
def copy(lab: Lab, tmp_path: Path) -> Lab:
    return Lab.load(Path(shutil.copytree(lab.folder, tmp_path / "lab")))


def test_parts_name_their_folder_and_differ_between_labs(lab: Lab, copy: Lab) -> None:
    ours, theirs = lab_parts(lab), lab_parts(copy)
    assert [part.name for part in ours] == ["infra", "alpha", "beta", "citizen"]
    for part, other in zip(ours, theirs, strict=True):
        command = f"python -m {' '.join(part.arguments)} "
        assert part.marker in command and other.marker not in command


def test_an_existing_lab_is_used_as_it_is(copy: Lab) -> None:
    assert prepared(BuildOrder(copy.folder, DEFAULT_BASE_PORT)).document == copy.document
    assert prepared(BuildOrder(copy.folder, copy.base_port), base_port=copy.base_port).document == copy.document


def test_a_hospital_is_asked_for_when_the_lab_is_built(copy: Lab) -> None:
    with pytest.raises(InputFault) as caught:
        prepared(BuildOrder(copy.folder, copy.base_port, hospital=True))
    assert caught.value.rule == "LAB-HOPITAL"
    assert "--fresh" in caught.value.remedy
    assert "hospital" not in {part.name for part in lab_parts(copy)}
    with_one = Lab(copy.folder, {**copy.document, "hospital": {"pid": None}})
    (part,) = [one for one in lab_parts(with_one) if one.name == "hospital"]
    assert part.doors == {"mllp": ("127.0.0.1", copy.base_port + 140)}
    assert part.arguments[-1] == f"127.0.0.1:{copy.base_port + 130}", "alpha's door"
    older = {**copy.document, "operators": [{key: value for key, value in one.items() if key != "mllp"}
                                            for one in copy.document["operators"]]}
    assert not any("mllp" in one.doors for one in lab_parts(Lab(copy.folder, older))), "a lab built before the door"


def test_another_base_port_needs_fresh(copy: Lab) -> None:
    with pytest.raises(InputFault) as caught:
        prepared(BuildOrder(copy.folder, copy.base_port + 1000), base_port=copy.base_port + 1000)
    assert caught.value.rule == "LAB-BASE-PORT" and "--fresh" in caught.value.remedy


def test_a_taken_port_is_named_with_the_option(copy: Lab) -> None:
    with socket.create_server(("127.0.0.1", copy.base_port + 103)), pytest.raises(InputFault) as caught:
        prepared(BuildOrder(copy.folder, copy.base_port))
    assert str(copy.base_port + 103) in caught.value.public and "alpha.imap" in caught.value.public
    assert "--base-port" in caught.value.remedy


@pytest.mark.parametrize("base", [0, 80, 1023, 65000, 70000])
def test_base_port_out_of_range(base: int) -> None:
    with pytest.raises(InputFault) as caught:
        check_ports(base)
    assert caught.value.rule == "LAB-PORTS"


def test_several_workers_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InputFault, match="PostgreSQL"):
        prepared(BuildOrder(tmp_path / "lab", 30000, workers=2))


def test_a_build_that_fails_leaves_no_half_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Lab) -> None:
    def failing(order: BuildOrder, now: datetime, progress: object) -> Lab:
        (order.folder / "igc").mkdir(parents=True)
        (order.folder / MARKER).touch()
        raise InputFault("no luck", rule="TEST")

    monkeypatch.setattr(supervisor_module, "build", failing)
    with pytest.raises(InputFault, match="no luck"):
        prepared(BuildOrder(tmp_path / "new", lab.base_port))
    assert [one.name for one in (tmp_path / "new").iterdir()] == [MARKER]


def test_fresh_that_fails_before_it_began_keeps_the_former_lab(copy: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(order: BuildOrder, now: datetime, progress: object) -> Lab:
        raise InputFault("mailbox asked for twice", rule="TEST")

    monkeypatch.setattr(supervisor_module, "build", refusing)
    with pytest.raises(InputFault, match="twice"):
        prepared(BuildOrder(copy.folder, copy.base_port), fresh=True)
    assert (copy.folder / FILE_NAME).exists() and (copy.folder / "igc" / "root.key").exists()


def test_status_of_a_lab_that_is_down(copy: Lab) -> None:
    found = Supervisor(copy, quiet).status()
    assert [one.name for one in found] == ["infra", "alpha", "beta", "citizen"]
    assert not any(one.up for one in found) and all(one.pid is None for one in found)
    assert found[1].doors["imaps"] == f"127.0.0.1:{copy.base_port + 104}"


def test_break_needs_a_running_lab_and_heal_does_not(copy: Lab) -> None:
    with pytest.raises(InputFault) as caught:
        Supervisor(copy, quiet).break_with(Fault.CRL_EXPIRED)
    assert caught.value.rule == "LAB-DOWN"
    assert Supervisor(copy, quiet).heal() == frozenset()


def test_down_of_a_lab_that_is_down(copy: Lab) -> None:
    assert Supervisor(copy, quiet).stop_all() == []
    assert [one.pid for one in Lab.load(copy.folder).operators] == [None, None, None]
