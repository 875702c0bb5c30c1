"""Staging of a body: the octets that were given, inline or as a blob; a fault is told once, at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mssante.errors import StorageFull
from mssante.services.staging import PIECE, BodySink
from mssante.storage.blobs_file import FileBlobStore

HEAD = b"From: docteur@a.mssante.fr\r\nSubject: x\r\n\r\n"


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(tmp_path / "blobs")


def files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


async def fill(sink: BodySink, data: bytes, step: int) -> None:
    for place in range(0, len(data), step):
        sink.add([data[place:place + step]])
        if sink.wants_flush:
            await sink.flush()


@pytest.mark.parametrize("size", [len(HEAD), 1000, 65_536, 65_537, 100_000])
async def test_small_bodies_stay_in_memory(blobs: FileBlobStore, executor: ThreadPoolExecutor, tmp_path: Path, size: int) -> None:
    data = HEAD + b"x" * (size - len(HEAD))
    sink = BodySink(blobs, executor, 100_000)
    await fill(sink, data, 333)
    staged, facts = await sink.seal()
    assert (staged.inline, staged.blob, staged.size) == (data, None, size)
    assert staged.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.from_address == "docteur@a.mssante.fr" and facts.header_size == len(HEAD)
    assert files(tmp_path) == []


@pytest.mark.parametrize("size", [100_001, PIECE - 1, PIECE, 3 * PIECE + 7])
@pytest.mark.parametrize("step", [65_536, 2 * PIECE])
async def test_large_bodies_become_blobs(
        blobs: FileBlobStore, executor: ThreadPoolExecutor, tmp_path: Path, size: int, step: int) -> None:
    data = (HEAD + bytes(range(65, 91)) * (size // 26 + 1))[:size]
    sink = BodySink(blobs, executor, 100_000)
    await fill(sink, data, step)
    staged, facts = await sink.seal()
    assert (staged.inline, staged.size, staged.blob) == (None, size, staged.sha256)
    assert staged.sha256 == hashlib.sha256(data).hexdigest() and blobs.read(staged.sha256) == data
    assert facts.from_address == "docteur@a.mssante.fr" and len(files(tmp_path)) == 1


async def test_an_empty_body(blobs: FileBlobStore, executor: ThreadPoolExecutor) -> None:
    staged, facts = await BodySink(blobs, executor, 100).seal()
    assert (staged.size, staged.inline, facts.author.fields) == (0, b"", 0)


@pytest.mark.parametrize("size", [10, PIECE + 1, 3 * PIECE])
async def test_discard_leaves_nothing(blobs: FileBlobStore, tmp_path: Path, size: int) -> None:
    with ThreadPoolExecutor(1) as executor:
        sink = BodySink(blobs, executor, 100)
        await fill(sink, b"x" * size, 65_536)
        sink.discard()
        sink.discard()
        await _turn(executor)
    assert files(tmp_path) == []


async def _turn(executor: ThreadPoolExecutor) -> None:
    import asyncio

    for _ in range(3):
        await asyncio.get_running_loop().run_in_executor(executor, lambda: None)


@pytest.mark.parametrize("failing", ["stage", "write", "commit"])
async def test_a_fault_is_told_by_seal_whatever_comes_behind_it(
        blobs: FileBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    stage = blobs.stage
    failed: list[bool] = []

    def once(*_: Any) -> Any:
        failed.append(True)
        raise StorageFull("no room left")

    def writer() -> Any:
        made = stage()
        if failing != "stage":
            true = getattr(made, failing)
            made = _Wrapped(made, failing, lambda *given: once() if not failed else true(*given))
        return made

    monkeypatch.setattr(blobs, "stage", (lambda: once() if not failed else stage()) if failing == "stage" else writer)
    with ThreadPoolExecutor(1) as executor:
        sink = BodySink(blobs, executor, 100)
        await fill(sink, b"x" * (4 * PIECE), 65_536)
        with pytest.raises(StorageFull):
            await sink.seal()
        await _turn(executor)
    assert files(tmp_path) == []


class _Wrapped:
    """A writer with one method replaced."""

    def __init__(self, writer: Any, name: str, method: Any) -> None:
        self._writer = writer
        self._replaced = {name: method}

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name) or getattr(self._writer, name)
