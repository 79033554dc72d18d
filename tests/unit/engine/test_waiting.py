"""Who waits for whom: slow volumes, impatient callers, a stopping daemon, a failing disk."""

import asyncio
import errno
from pathlib import Path

import pytest

from convoy_py.errors import (
    OperationFailed,
    StillRunning,
    Unavailable,
)
from convoy_py.linux import files
from convoy_py.models.volume import Options, State
from tests.fakes_engine import Engine, FakeKernel

DOCKER = "100:1"
RESTARTED = "200:2"


async def test_slow_volumes_delay_nobody(engine: Engine) -> None:
    """Thirty-two that do not get on, and still reads and another volume are served."""
    names = [f"slow{number}" for number in range(32)]
    gates = [engine.kernel.gate("create", name) for name in names]
    slow = [asyncio.create_task(engine.volumes.create(name, Options())) for name in names]
    for gate in gates:
        await asyncio.to_thread(gate.wait_for_call)
    async with asyncio.timeout(60):
        await engine.volumes.create("quick", Options())
        await engine.uses.mount("quick", "container", DOCKER)
        assert engine.volumes.get("quick").state is State.MOUNTED
        assert [name for name, _ in engine.volumes.listing()] == ["quick"]
        await engine.uses.unmount("quick", "container")
        await engine.volumes.remove("quick")
    assert not any(task.done() for task in slow)
    for gate in gates:
        gate.open()
    await asyncio.gather(*slow)
    assert len(engine.volumes.views()) == 32


async def test_what_needs_a_still_volume_keeps_its_snapshots_from_other_work(
    engine: Engine,
) -> None:
    """They may lie in its image."""
    await engine.volumes.create("db", Options())
    await engine.snapshot("db", "a")
    entry = engine.entries.get("db")

    async def worked() -> None:
        async with engine.operations.locked_idle("db@a"):
            pass

    async with (
        engine.operations.locked_idle("db") as locked,
        engine.uses.steady("its conversion", locked, entry, still=True),
    ):
        work = asyncio.create_task(worked())
        await asyncio.wait({work}, timeout=0.05)
        assert not work.done()
    async with asyncio.timeout(60):
        await work


async def test_reads_of_a_volume_at_work_do_not_wait(engine: Engine) -> None:
    """Get answers at once while the same volume is being mounted."""
    await engine.volumes.create("v", Options())
    gate = engine.kernel.gate("mount", "v")
    task = asyncio.create_task(engine.uses.mount("v", "container", DOCKER))
    await asyncio.to_thread(gate.wait_for_call)
    assert engine.volumes.get("v").state is State.READY
    gate.open()
    await task


@pytest.fixture
def hurried(kernel: FakeKernel, engine: Engine, tmp_path: Path) -> Engine:
    """An engine whose callers wait for next to no time."""
    engine.killed()
    return Engine(tmp_path, kernel, time_limit=0.01).start()


async def test_a_create_that_takes_too_long_goes_on(hurried: Engine) -> None:
    """The caller is told to come again, and then joins what is running."""
    gate = hurried.kernel.gate("create", "v")
    for _ in range(2):
        with pytest.raises(StillRunning, match="volume v: create is still running"):
            await hurried.volumes.create("v", Options())
    gate.open()
    await hurried.operations.drain(5)
    assert hurried.volumes.get("v").state is State.READY
    assert hurried.kernel.count("create", "v") == 1


async def test_a_mount_that_came_too_late_is_not_counted(hurried: Engine) -> None:
    """Its caller was told an error and will send no Unmount."""
    await _created(hurried)
    gate = hurried.kernel.gate("mount", "v")
    with pytest.raises(StillRunning):
        await hurried.uses.mount("v", "container", DOCKER)
    gate.open()
    await hurried.operations.drain(5)
    await hurried.operations.drain(5)
    assert not hurried.is_mounted("v")
    assert (hurried.counted("v"), hurried.volumes.get("v").references) == (0, 0)


async def test_a_client_that_leaves_stops_nothing(engine: Engine) -> None:
    """The operation ends by itself."""
    gate = engine.kernel.gate("create", "v")
    task = asyncio.create_task(engine.volumes.create("v", Options()))
    await asyncio.to_thread(gate.wait_for_call)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.open()
    await engine.operations.drain(5)
    assert engine.volumes.get("v").state is State.READY


async def test_stopping_refuses_the_new_and_waits_for_the_rest(engine: Engine) -> None:
    """Reads go on; what was begun is whole in the end; mounts stay."""
    await engine.volumes.create("mounted", Options())
    await engine.uses.mount("mounted", "container", DOCKER)
    gate = engine.kernel.gate("create", "v")
    running = asyncio.create_task(engine.volumes.create("v", Options()))
    await asyncio.to_thread(gate.wait_for_call)
    stopping = asyncio.create_task(engine.operations.drain(5))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="volume w: the daemon is stopping"):
        await engine.volumes.create("w", Options())
    assert engine.volumes.get("mounted").state is State.MOUNTED
    assert not stopping.done()
    gate.open()
    await stopping
    await running
    assert engine.restarted().volumes.get("v").state is State.READY
    assert engine.is_mounted("mounted")


async def test_stopping_does_not_wait_for_ever(engine: Engine) -> None:
    """A managed plugin that does not end is killed."""
    engine.kernel.gate("create", "v")
    running = asyncio.create_task(engine.volumes.create("v", Options()))
    async with asyncio.timeout(60):
        await engine.operations.drain(0.01)
    assert not running.done()


async def test_a_disk_that_fails_stops_changes_and_no_reads(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a restart: a second fsync would report success for data that is gone."""
    await engine.volumes.create("v", Options())

    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(files, "fsync_dir", fail)
        with pytest.raises(OperationFailed, match="Input/output error"):
            await engine.volumes.create("w", Options())
    for change in (
        engine.volumes.create("x", Options()),
        engine.volumes.remove("v"),
    ):
        with pytest.raises(Unavailable, match="Input/output error"):
            await change
    assert await engine.uses.mount("v", "container", DOCKER)
    await engine.uses.unmount("v", "container")
    assert engine.volumes.get("v").state is State.READY
    assert engine.volumes.listing() == [("v", "")]
    assert engine.daemon.health()
    after = engine.restarted()
    assert after.daemon.health() == []
    await after.volumes.create("x", Options())


async def _created(engine: Engine) -> None:
    """Create `v`, however long it takes."""
    try:
        await engine.volumes.create("v", Options())
    except StillRunning:
        while "v" not in engine.entries.volumes:
            await asyncio.sleep(0)
