"""Processes by their own pid, and ports."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mssante.errors import OperatorFault
from mssante.lab.processes import Part, busy_ports, is_running, running_pid, start, stop, wait_ready

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    listener.accept()[0].close()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("run", "log"):
        (tmp_path / name).mkdir()
    (tmp_path / "lab_test_server.py").write_text(SERVER)
    (tmp_path / "lab_test_crash.py").write_text("raise SystemExit('no such luck')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def part(folder: Path) -> Iterator[Part]:
    port = free_port()
    made = Part("one", ("lab_test_server", str(port), str(folder)), f"lab_test_server {port} {folder} ", folder,
                {"door": ("127.0.0.1", port)})
    yield made
    stop([made])


def test_start_wait_stop(part: Part) -> None:
    process = start(part)
    wait_ready(part, process, 20)
    assert running_pid(part) == process.pid
    assert "listening" in part.log_file.read_text()
    assert stop([part], {part.name: process}) == ["one"]
    assert running_pid(part) is None and not part.pid_file.exists() and process.poll() is not None
    assert stop([part]) == []


def test_a_part_that_dies_is_told_with_its_log(folder: Path) -> None:
    part = Part("two", ("lab_test_crash",), "lab_test_crash", folder, {"door": ("127.0.0.1", free_port())})
    with pytest.raises(OperatorFault) as caught:
        wait_ready(part, start(part), 20)
    assert caught.value.rule == "LAB-START" and "no such luck" in caught.value.detail
    assert str(part.log_file) in caught.value.remedy


def test_a_reused_pid_is_not_ours_and_is_never_signalled(part: Part) -> None:
    part.pid_file.write_text(f"{os.getpid()}\n")  # a pid that lives, of another program
    assert not is_running(os.getpid(), part.marker)
    assert stop([part]) == []  # we are still here
    assert not part.pid_file.exists()


@pytest.mark.parametrize("content", ["", "abc", "0", "-1", "1", "99999999"])
def test_rubbish_in_a_pid_file(part: Part, content: str) -> None:
    part.pid_file.write_text(content)
    assert running_pid(part) is None


def test_the_marker_ends_where_the_folder_ends(folder: Path) -> None:
    own = " ".join(Path(f"/proc/{os.getpid()}/cmdline").read_text().split("\0")) if sys.platform == "linux" else "x "
    assert is_running(os.getpid(), own)
    assert not is_running(os.getpid(), own.rstrip() + "2 ")


def test_busy_ports_are_named() -> None:
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        taken = listener.getsockname()[1]
        datagrams.bind(("127.0.0.1", 0))
        dns_port = datagrams.getsockname()[1]
        ports = {"alpha.smtp": taken, "beta.smtp": free, "infra.dns": dns_port}
        assert busy_ports(ports, "127.0.0.1") == {"alpha.smtp": taken, "infra.dns": dns_port}
