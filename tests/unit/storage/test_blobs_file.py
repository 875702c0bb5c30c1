"""The blob folder: content keys, durability order, refusals."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from mssante.errors import OperatorFault, StorageFull
from mssante.storage.blobs_file import FileBlobStore

BODY = b"abc" * 1000
KEY = sha256(BODY).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobStore:
    return FileBlobStore(tmp_path / "blobs")


def put(blobs: FileBlobStore, body: bytes = BODY) -> str:
    writer = blobs.stage()
    for start in range(0, len(body), 700):
        writer.write(body[start:start + 700])
    return writer.commit()


def files(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def test_key_is_the_content_and_ranges_are_read(blobs: FileBlobStore, tmp_path: Path) -> None:
    assert put(blobs) == KEY
    assert files(tmp_path / "blobs") == [f"{KEY[:2]}/{KEY[2:4]}/{KEY}"]
    assert blobs.read(KEY) == BODY
    assert blobs.read(KEY, 4, 5) == BODY[4:9]
    assert blobs.read(KEY, 2998, 50) == BODY[2998:]
    assert blobs.read(KEY, 5000) == b""


def test_same_content_is_stored_once(blobs: FileBlobStore, tmp_path: Path) -> None:
    assert put(blobs) == put(blobs) == KEY
    assert len(files(tmp_path / "blobs")) == 1


def test_nothing_is_visible_before_commit_and_discard_forgets(blobs: FileBlobStore, tmp_path: Path) -> None:
    writer = blobs.stage()
    writer.write(BODY)
    with pytest.raises(OperatorFault):
        blobs.read(KEY)
    writer.discard()
    writer.discard()
    assert files(tmp_path / "blobs") == []
    for act in (lambda: writer.write(b"x"), writer.commit):
        with pytest.raises(OperatorFault):
            act()


def test_discard_after_commit_keeps_and_commit_twice_gives_the_same(blobs: FileBlobStore) -> None:
    writer = blobs.stage()
    writer.write(BODY)
    assert writer.commit() == writer.commit() == KEY
    writer.discard()
    assert blobs.read(KEY) == BODY


def test_delete_is_calm_about_what_is_gone(blobs: FileBlobStore) -> None:
    put(blobs)
    blobs.delete([KEY, "00" * 32])
    blobs.delete([KEY])
    with pytest.raises(OperatorFault) as caught:
        blobs.read(KEY)
    assert caught.value.rule == "BLOB-MISSING"


def test_a_blob_committed_again_is_not_taken_by_an_older_sweep(blobs: FileBlobStore) -> None:
    put(blobs)  # a message that a sweep has just let go
    put(blobs)  # the same content arrives again before the file is deleted
    blobs.delete([KEY])
    assert blobs.read(KEY) == BODY


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "AB" * 32, KEY + "\n", "a" * 63])
def test_only_keys_reach_the_file_system(blobs: FileBlobStore, key: str) -> None:
    with pytest.raises(OperatorFault):
        blobs.read(key)
    with pytest.raises(OperatorFault):
        blobs.delete([key])


def test_below_the_reserve_nothing_is_staged(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path / "blobs", reserve_bytes=1 << 62)
    with pytest.raises(StorageFull):
        blobs.stage()
    assert 0 < blobs.free_bytes() < 1 << 62


@pytest.mark.parametrize(("number", "kind"), [
    (errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, OperatorFault)])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_disk_leaves_no_key(blobs: FileBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int,
                                      kind: type[Exception], call: str) -> None:
    def fail(*arguments: Any) -> int:
        raise OSError(number, os.strerror(number))

    writer = blobs.stage()
    with monkeypatch.context() as patch:
        patch.setattr(f"mssante.storage.blobs_file.os.{call}", fail)
        with pytest.raises(OperatorFault) as caught:
            writer.write(BODY)
            writer.commit()
    assert type(caught.value) is kind
    writer.discard()
    assert files(tmp_path / "blobs") == []
    assert put(blobs) == KEY


def test_file_then_folders_are_synced_before_the_key_is_given(blobs: FileBlobStore, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    real_sync, real_move = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        steps.append(os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(tmp_path)))
        real_sync(descriptor)

    def move(source: Any, target: Any) -> None:
        steps.append("move")
        real_move(source, target)

    writer = blobs.stage()
    writer.write(BODY)
    monkeypatch.setattr("mssante.storage.blobs_file.os.fsync", sync)
    monkeypatch.setattr("mssante.storage.blobs_file.os.replace", move)
    writer.commit()
    assert steps[0].startswith("/blobs/staging/")
    assert steps[1] == "move" and sorted(steps[2:]) == ["/blobs", f"/blobs/{KEY[:2]}", f"/blobs/{KEY[:2]}/{KEY[2:4]}"]


def test_a_folder_whose_name_is_not_synced_yet_is_synced_by_everyone_who_uses_it(
        blobs: FileBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its maker may still be on the way to that, and the row of the second body is committed first."""
    folders: list[Path] = []
    inner: list[bool] = []

    def sync(folder: Path) -> None:
        folders.append(folder)
        if not inner:  # the first writer has moved its file and synced nothing: another body comes into the same folder
            inner.append(True)
            staged = tmp_path / "blobs" / "staging" / "second"
            staged.write_bytes(b"")
            blobs.place(KEY[:4] + "0" * 60, staged)
            assert set(folders[1:]) == {tmp_path / "blobs", tmp_path / "blobs" / KEY[:2], tmp_path / "blobs" / KEY[:2] / KEY[2:4]}

    writer = blobs.stage()
    writer.write(BODY)
    monkeypatch.setattr("mssante.storage.blobs_file._sync_folder", sync)
    writer.commit()
    folders.clear()
    staged = tmp_path / "blobs" / "staging" / "third"
    staged.write_bytes(b"")
    blobs.place(KEY[:4] + "1" * 60, staged)
    assert folders == [tmp_path / "blobs" / KEY[:2] / KEY[2:4]], "known by now"


def test_upkeep_finds_old_files_and_dead_staging(blobs: FileBlobStore, tmp_path: Path) -> None:
    put(blobs)
    blobs.stage().write(b"half")
    assert list(blobs.keys()) == []
    assert blobs.clear_staging() == 0
    assert list(blobs.keys(older_than_seconds=-60)) == [KEY]
    assert blobs.clear_staging(older_than_seconds=-60) == 1
    assert len(files(tmp_path / "blobs")) == 1
