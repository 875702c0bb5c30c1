"""The workshop: whatever a job does, the server lives, the caller gets a typed fault, and the next job is served."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support import workshop_jobs as jobs

from mssante.documents.faults import DocumentFault
from mssante.documents.findings import Finding, Severity
from mssante.errors import InputFault
from mssante.services.workshop import Workshop, WorkshopLimits


@asynccontextmanager
async def workshop(**given: object) -> AsyncIterator[Workshop]:
    one = Workshop(WorkshopLimits(**{"memory_bytes": 512_000_000, "seconds": 20.0, **given}))  # type: ignore[arg-type]
    await one.open()
    try:
        yield one
    finally:
        await one.close()
        assert one.alive == 0


async def fault_of(one: Workshop, function: object, *arguments: object, seconds: float | None = None) -> DocumentFault:
    with pytest.raises(DocumentFault) as caught:
        await one.run(function, *arguments, seconds=seconds)  # type: ignore[arg-type]
    return caught.value


async def test_works_in_another_process_and_keeps_it() -> None:
    async with workshop() as one:
        assert one.alive == 0, "nothing is started before the first job"
        first = await one.run(jobs.pid)
        assert first != os.getpid()
        assert await one.run(jobs.pid) == first
        assert await one.run(jobs.add, 2, 3) == 5
        assert one.cost.jobs == 3 and one.cost.peak_bytes > 1_000_000


async def test_values_and_our_faults_come_back() -> None:
    async with workshop() as one:
        assert await one.run(jobs.finding) == (Finding("R-1", "a.xml", "un texte", Severity.ERROR),)
        with pytest.raises(InputFault) as caught:
            await one.run(jobs.refuse)
        assert (caught.value.rule, caught.value.detail, caught.value.remedy) == ("TEST-1", "line 3", "do otherwise")


async def test_overrun_is_killed_and_the_next_is_served() -> None:
    async with workshop() as one:
        first = await one.run(jobs.pid)
        for job in (jobs.endless, jobs.asleep):
            fault = await fault_of(one, job, seconds=0.2)
            assert fault.rule == "DOC-TEMPS" and fault.temporary
        assert not Path(f"/proc/{first}").exists()
        assert await one.run(jobs.add, 1, 1) == 2


async def test_memory_bomb_is_stopped() -> None:
    async with workshop() as one:
        fault = await fault_of(one, jobs.eat, 2_000_000_000)
        assert fault.rule == "DOC-MEMOIRE"
        assert await one.run(jobs.eat, 1000) == 1000


@pytest.mark.parametrize(("job", "rule"), [(jobs.crash, "DOC-PANNE"), (jobs.leave, "DOC-PANNE"), (jobs.killed, "DOC-MEMOIRE")])
async def test_death_of_the_worker_is_a_typed_fault(job: object, rule: str) -> None:
    async with workshop() as one:
        assert (await fault_of(one, job)).rule == rule
        assert await one.run(jobs.add, 1, 1) == 2


async def test_result_is_bounded() -> None:
    async with workshop(result_bytes=10_000) as one:
        assert (await fault_of(one, jobs.large, 50_000)).rule == "DOC-TAILLE"
        assert await one.run(jobs.large, 100) == b"x" * 100


async def test_request_is_bounded() -> None:
    async with workshop(request_bytes=10_000) as one:
        assert (await fault_of(one, jobs.large, b"x" * 20_000)).rule == "DOC-TAILLE"


async def test_a_result_that_is_no_value_does_not_cross() -> None:
    async with workshop() as one:
        fault = await fault_of(one, jobs.evil)
        assert fault.rule == "DOC-PANNE" and "TypeError workvalues.py" in fault.detail


async def test_a_fault_never_quotes_the_document() -> None:
    async with workshop() as one:
        fault = await fault_of(one, jobs.leak)
        assert fault.rule == "DOC-PANNE" and "TESTPATIENT" not in str(fault) and "ValueError workshop_jobs.py" in fault.detail


async def test_what_a_job_prints_disturbs_nothing() -> None:
    async with workshop() as one:
        assert await one.run(jobs.noisy) == "ok"
        assert await one.run(jobs.add, 1, 1) == 2


async def test_nothing_of_the_server_goes_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MSSANTE_TEST_SECRET", "hush")
    with socket.create_server(("127.0.0.1", 0)) as door, (tmp_path / "store.db").open("wb") as store:
        os.set_inheritable(door.fileno(), True)
        os.set_inheritable(store.fileno(), True)
        async with workshop() as one:
            seen = await one.run(jobs.surroundings)
    kinds = sorted(link.split(":")[0] for link in seen["fds"].values() if not link.startswith("/proc/"))  # type: ignore[attr-defined]
    assert set(kinds) <= {"/dev/null", "pipe", "socket"} and sum(kind != "/dev/null" for kind in kinds) == 2, kinds  # its own two
    assert set(seen["environment"]) <= {"PATH", "LANG", "TZ", "LC_CTYPE"}  # type: ignore[call-overload]
    assert seen["core"] == (0, 0) and seen["memory"] == (512_000_000, 512_000_000) and seen["privileges"] and not seen["modules"]


async def test_cancellation_kills_the_worker_and_the_next_answer_is_its_own() -> None:
    async with workshop() as one:
        first = await one.run(jobs.pid)
        task = asyncio.create_task(one.run(jobs.asleep))
        while not (Path(f"/proc/{first}").exists() and one._room.locked()):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await one.run(jobs.add, 20, 22) == 42
        assert await one.run(jobs.pid) != first


async def test_queue_is_bounded() -> None:
    async with workshop(workers=1, waiting=1) as one:
        tasks = [asyncio.create_task(one.run(jobs.asleep)) for _ in range(2)]
        while one._asked < 2:
            await asyncio.sleep(0)
        assert (await fault_of(one, jobs.add, 1, 1)).rule == "DOC-FILE"
        for task in tasks:
            task.cancel()
        assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))
        assert await one.run(jobs.add, 1, 1) == 2


async def test_workers_work_side_by_side() -> None:
    async with workshop(workers=2) as one:
        busy = asyncio.create_task(one.run(jobs.asleep))
        assert await one.run(jobs.add, 1, 1) == 2
        assert one.alive == 2
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


async def test_a_job_alone_shares_its_worker_with_nobody() -> None:
    async with workshop() as one:
        first = await one.run(jobs.pid)
        second = await one.run(jobs.pid, alone=True)
        third = await one.run(jobs.pid)
        assert len({first, second, third}) == 3 and one.alive == 1


async def test_idle_worker_is_ended() -> None:
    async with workshop(idle_seconds=0.01) as one:
        first = await one.run(jobs.pid)
        while one._all:
            await asyncio.sleep(0.01)
        assert await one.run(jobs.pid) != first


async def test_closed_takes_nothing_and_ends_those_at_work() -> None:
    one = Workshop(WorkshopLimits(memory_bytes=512_000_000))
    assert (await fault_of(one, jobs.add, 1, 1)).rule == "DOC-PANNE"
    await one.open()
    await one.run(jobs.pid)
    task = asyncio.create_task(one.run(jobs.asleep))
    while not one._room.locked():
        await asyncio.sleep(0)
    await one.close()
    with pytest.raises(DocumentFault) as caught:
        await task
    assert caught.value.rule == "DOC-PANNE" and one.alive == 0


async def test_the_kernel_holds_what_was_given_up(tmp_path: Path) -> None:
    folder, other = tmp_path / "rules", tmp_path / "other"
    for one in (folder, other):
        one.mkdir()
        (one / "file").write_text("x")
    with socket.create_server(("127.0.0.1", 0)) as door:
        async with workshop(readable=(str(folder),)) as one:
            assert await one.run(jobs.read, str(folder / "file")) == "ok"
            held = one.confinement
            assert held is not None
            if not held.landlock or not held.seccomp:
                pytest.skip(f"this kernel holds only {held}")
            refused = "PermissionError"
            assert await one.run(jobs.read, str(other / "file")) == refused
            assert await one.run(jobs.read, "/etc/passwd") == refused
            assert await one.run(jobs.write, str(folder / "file")) == refused
            assert await one.run(jobs.write, str(other / "new")) == refused
            assert await one.run(jobs.connect, door.getsockname()[1]) == refused
            assert await one.run(jobs.start_program) == refused
            assert await one.run(jobs.signal_parent) == ("ok" if held.landlock < 6 else refused)
        async with workshop(writable=(str(other),)) as one:
            assert await one.run(jobs.write, str(other / "file")) == "ok"
