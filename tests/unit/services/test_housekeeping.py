"""Periodic duties: what nothing refers to goes, gauges tell the truth, and a bad file stops nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from support.pki import certificate_pem
from support.smtp_stage import ALICE, IGC, NOW, SmtpStage, build
from support.storage_values import filed, queued

from mssante.errors import MssFault
from mssante.observability.metrics import REGISTRY
from mssante.services.housekeeping import Housekeeping


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[SmtpStage]:
    made = await build(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def keeper(stage: SmtpStage, tmp_path: Path) -> Housekeeping:
    leaf, _ = IGC.leaf("mx.hopital.mssante.fr", not_after=NOW + timedelta(days=30))
    (tmp_path / "mta.pem").write_bytes(certificate_pem(leaf))
    return Housekeeping(stage.stores, stage.evidence, stage.clock, tmp_path / "mta.pem")


def blob(stage: SmtpStage, data: bytes) -> str:
    writer = stage.stores.blobs.stage()
    writer.write(data)
    return writer.commit()


async def test_content_goes_with_the_last_that_refers_to_it(stage: SmtpStage, keeper: Housekeeping) -> None:
    inbox = stage.mailboxes[ALICE].inbox_id
    kept, gone = blob(stage, b"kept"), blob(stage, b"gone")
    for name, key in (("kept", kept), ("gone", gone)):
        await stage.stores.database.write(
            lambda tx, n=name, k=key: stage.stores.messages.accept(tx, [filed(inbox, n, body=b"x", blob=k, flags=0)]))  # type: ignore[misc]
    await stage.stores.database.write(lambda tx: stage.stores.messages.move(
        tx, inbox, [2], inbox + 3, now=NOW) and stage.stores.folders.delete(tx, inbox + 3))
    await keeper.once()
    assert stage.stores.blobs.read(kept) == b"kept"
    with pytest.raises(MssFault):
        stage.stores.blobs.read(gone)


async def test_gauges(stage: SmtpStage, keeper: Housekeeping) -> None:
    items = [queued("x@a.mssante.fr", "y@b.mssante.fr", name="one"), queued("z@a.mssante.fr", name="two")]
    await stage.stores.database.write(lambda tx: stage.stores.messages.accept(tx, items))
    await stage.stores.database.write(lambda tx: stage.stores.queue.change(tx, "hold", NOW, destination="b.mssante.fr"))
    await keeper.once()
    depth = {state: REGISTRY.get_sample_value("mssante_queue_recipients", {"state": state}) for state in ("queued", "held", "failed")}
    assert depth == {"queued": 2, "held": 1, "failed": 0}
    assert REGISTRY.get_sample_value("mssante_certificate_days_left") == 30.0
    stage.clock.advance(timedelta(days=31))
    await keeper.once()
    assert REGISTRY.get_sample_value("mssante_certificate_days_left") == -1.0


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nhalf"])
async def test_a_certificate_file_being_replaced_does_not_stop_the_duties(
        stage: SmtpStage, keeper: Housekeeping, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    path = tmp_path / "mta.pem"
    good = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    turns: list[float] = []

    async def sleep(seconds: float) -> None:
        turns.append(seconds)
        path.write_bytes(good)
        if len(turns) == 2:
            raise asyncio.CancelledError

    monkeypatch.setattr("mssante.services.housekeeping.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await keeper.run()
    assert len(turns) == 2


async def test_folders_remember_a_number_of_removed_messages(stage: SmtpStage, keeper: Housekeeping, tmp_path: Path) -> None:
    inbox = stage.mailboxes[ALICE].inbox_id
    for name in ("one", "two", "three"):
        await stage.stores.database.write(
            lambda tx, n=name: stage.stores.messages.accept(tx, [filed(inbox, n, flags=8)]))  # type: ignore[misc]
        await stage.stores.database.write(lambda tx: stage.stores.messages.expunge(tx, inbox, None))
    assert await keeper.purge_tombstones() == 0
    strict = Housekeeping(stage.stores, stage.evidence, stage.clock, tmp_path / "mta.pem", tombstones_kept=1)
    await strict.once()
    highest = (await stage.stores.database.read(lambda tx: stage.stores.messages.changes_since(tx, inbox, 10**9))).highest_modseq
    assert await stage.stores.database.read(lambda tx: stage.stores.messages.expunged_since(tx, inbox, highest - 1)) == [3]
    assert await strict.purge_tombstones() == 0
