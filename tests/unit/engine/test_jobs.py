"""Long work as jobs: followed, cancelled, joined by Docker's repeats, and cut off by a stop."""

import asyncio
from pathlib import Path

import pytest

from convoy_py.engine.running.jobs import REMEMBERED_JOBS, Progress
from convoy_py.errors import (
    Cancelled,
    Conflict,
    Corrupt,
    Kind,
    NotFound,
    OperationFailed,
    StillRunning,
    Unavailable,
)
from convoy_py.models.job import JobState
from convoy_py.models.volume import Options
from tests.fakes_engine import NOW, Engine, FakeKernel


async def test_a_job_is_followed_to_its_end(engine: Engine) -> None:
    """What it does, how far it is, when it began and ended, and what it came to."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def work(progress: Progress) -> str:
        progress.total, progress.note = 10, "copying"
        progress(4)
        reached.set()
        await go_on.wait()
        return "done"

    job = engine.jobs.start("clone", "db", work)
    await reached.wait()
    view = job.view()
    assert (view.id, view.verb, view.volume, view.state) == ("1", "clone", "db", JobState.RUNNING)
    assert (view.done, view.total, view.note, view.ended) == (4, 10, "copying", None)
    assert not await engine.jobs.wait(job, 0)
    engine.wall.now += 5
    go_on.set()
    assert await engine.jobs.wait(job, 5)
    assert job.result == "done"
    (view,) = engine.jobs.list()
    assert (view.state, view.note) == (JobState.DONE, ""), "it does nothing any more"
    assert view.done == view.total
    assert view.started.timestamp() == NOW
    assert view.ended is not None
    assert view.ended.timestamp() == NOW + 5


@pytest.mark.parametrize(
    ("failure", "state", "told", "kind"),
    [
        (Corrupt("its image was cut"), JobState.FAILED, "its image was cut", Kind.CORRUPT),
        (Cancelled("job 1 was cancelled"), JobState.CANCELLED, "cancelled", Kind.CANCELLED),
        (RuntimeError("secret"), JobState.FAILED, "internal error", Kind.FAILED),
    ],
)
async def test_a_job_tells_how_it_failed(
    engine: Engine, failure: Exception, state: JobState, told: str, kind: Kind
) -> None:
    """In words for a user; what was not foreseen is in the log."""

    async def work(progress: Progress) -> None:
        raise failure

    job = engine.jobs.start("clone", "db", work)
    assert await engine.jobs.wait(job, 5)
    view = job.view()
    assert (view.state, view.kind) == (state, kind)
    assert told in view.error
    assert "secret" not in view.error
    with pytest.raises(type(failure)):
        assert job.result


async def test_what_has_ended_is_not_cancelled(engine: Engine) -> None:
    """Nor what is not there."""
    job = engine.jobs.start("clone", "db", _nothing)
    await engine.jobs.wait(job, 5)
    with pytest.raises(Conflict, match="job 1 is done already"):
        engine.jobs.cancel("1")
    with pytest.raises(NotFound, match="no such job: 2; `convoy jobs` lists them"):
        engine.jobs.cancel("2")


async def test_only_the_last_are_remembered(engine: Engine) -> None:
    """Those that run are, however old."""
    hold = asyncio.Event()

    async def wait(progress: Progress) -> None:
        await hold.wait()

    engine.jobs.start("first", "db", wait)
    for _ in range(REMEMBERED_JOBS + 10):
        await engine.jobs.run("clone", "db", _nothing)
    views = engine.jobs.list()
    assert views[0].verb == "first"
    assert len(views) <= REMEMBERED_JOBS + 2
    assert views[-1].id == str(REMEMBERED_JOBS + 11)
    hold.set()


async def test_a_cancelled_clone_leaves_nothing(engine: Engine) -> None:
    """No volume, no folder, no promised space, and the source as free as before."""
    await engine.volumes.create("db", Options(size=4096))
    gate = engine.kernel.gate("copy", "db")
    creation = asyncio.create_task(engine.volumes.create("copy", Options(source="db")))
    await asyncio.to_thread(gate.wait_for_call)
    (view,) = engine.jobs.list()
    assert (view.verb, view.volume) == ("clone", "copy")
    engine.jobs.cancel(view.id)
    gate.open()
    with pytest.raises(Cancelled, match=r"job 1 \(clone copy\) was cancelled"):
        await creation
    assert [view.name for view in engine.volumes.views()] == ["db"]
    assert engine.left() == []
    assert (await engine.daemon.space()).promised == 4096
    await engine.volumes.remove("db")
    await engine.volumes.create("copy", Options())


async def test_a_stopping_daemon_cuts_jobs_off(engine: Engine) -> None:
    """Those that run and those that wait; what they made is gone, and none begins any more."""
    await engine.volumes.create("db", Options())
    gate = engine.kernel.gate("copy", "db")
    jobs = [
        engine.jobs.start("snapshot create", "db", lambda p: engine.snapshots.create(["db"], "", p))
        for _ in range(3)
    ]
    await asyncio.to_thread(gate.wait_for_call)
    engine.jobs.stop()
    draining = asyncio.create_task(engine.operations.drain(5))
    gate.open()
    await draining
    for job in jobs:
        assert job.state is JobState.CANCELLED
        assert job.view().error == "snapshot create db was cut off: the daemon stopped"
    with pytest.raises(Unavailable, match="the daemon is stopping"):
        engine.jobs.start("clone", "db", _nothing)
    assert engine.left() == []
    assert engine.restarted().snapshots.views() == []


async def test_dockers_create_of_a_clone_is_joined_by_its_repeat(
    engine: Engine, kernel: FakeKernel, tmp_path: Path
) -> None:
    """It answers in time each time, makes one clone, and holds up nobody who uses the source."""
    await engine.volumes.create("db", Options())
    engine.write("db", "data")
    await engine.uses.mount("db", "container", "1:1")
    hurried = engine.restarted()
    gate = kernel.gate("copy", "db")
    hurried.operations.time_limit = 0.01
    for _ in range(3):
        with pytest.raises(StillRunning, match="volume copy: create is still running"):
            await hurried.volumes.create("copy", Options(source="db"))
    hurried.operations.time_limit = 600
    repeat = asyncio.create_task(hurried.volumes.create("copy", Options(source="db")))
    async with asyncio.timeout(60):
        await hurried.uses.unmount("db", "container")
        await hurried.uses.mount("db", "another", "1:1")
    gate.open()
    await repeat
    await hurried.operations.drain(5)
    assert hurried.read("copy") == "data"
    assert kernel.count("copy", "db") == 1
    assert len(hurried.jobs.list()) == 1


async def test_a_failed_clone_is_told_to_who_joined_and_tried_anew(engine: Engine) -> None:
    """Each Create that waited makes a try of its own; none is told of another's failure."""
    await engine.volumes.create("db", Options())
    engine.kernel.failures["copy", "db"] = OperationFailed("volume db: the disk is gone")
    results = await asyncio.gather(
        *(engine.volumes.create("copy", Options(source="db")) for _ in range(2)),
        return_exceptions=True,
    )
    assert [str(result) for result in results] == ["volume db: the disk is gone"] * 2
    assert engine.kernel.count("copy", "db") == 2
    assert engine.left() == []


def test_a_part_is_cancelled_with_the_whole_until_it_goes_alone() -> None:
    whole = Progress()
    one, other = Progress(whole), Progress(whole)
    one.go_alone()
    whole.cancelled = "enough"
    one(1)
    other.go_alone()
    with pytest.raises(Cancelled, match="enough"):
        other(1)


async def _nothing(progress: Progress) -> None:
    pass
