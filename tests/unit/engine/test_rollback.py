"""A rollback gives back what was there, and saves what is: before or after, never between."""

import asyncio
import errno

import pytest

from convoy_py.containers import Container
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    Cancelled,
    NoSpace,
    OperationFailed,
    SnapshotNotFound,
    VolumeInUse,
)
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.snapshot import Way
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine, holder

DOCKER = "100:1"
BEFORE = "before-rollback-20260102-030405"


@pytest.fixture
async def db(engine: Engine) -> Engine:
    """With a volume `db` that was `old` at its snapshot `a`, and is `new` now."""
    await _with_snapshot(engine, Options(fs=Filesystem.EXT4, size=4096))
    return engine


async def _with_snapshot(engine: Engine, options: Options) -> None:
    await engine.volumes.create("db", options)
    engine.write("db", "old")
    await engine.snapshots.create(["db"], "a", Progress())
    engine.write("db", "new")


async def test_it_is_as_it_was_and_can_be_undone(db: Engine) -> None:
    """The snapshot that undoes it is told, marked as automatic, and leads back."""
    done = await db.snapshots.rollback("db", "a", Progress())
    assert (done.snapshot, done.saved_as, done.stopped) == ("db@a", f"db@{BEFORE}", [])
    assert db.read("db") == "old"
    assert db.snapshots.inspect(done.saved_as).automatic
    undone = await db.snapshots.rollback("db", BEFORE, Progress())
    assert db.read("db") == "new"
    # The second of the same second bears another name.
    assert undone.saved_as == f"db@{BEFORE}-2"
    assert db.left() == []
    assert db.restarted().read("db") == "new"


async def test_what_was_there_is_kept_only_if_wanted(db: Engine) -> None:
    """It is saved first all the same, and goes once the volume has the other data."""
    done = await db.snapshots.rollback("db", "a", Progress(), keep=False)
    assert (done.snapshot, done.saved_as, done.deleted) == ("db@a", "", [])
    assert db.read("db") == "old"
    assert [view.name for view in db.snapshots.views("db")] == ["a"]
    assert db.left() == []
    assert [view.name for view in db.restarted().snapshots.views("db")] == ["a"]


async def test_a_rollback_that_fails_keeps_what_was_there(db: Engine) -> None:
    """Whether it was wanted or not: nobody knows what the volume has then."""
    db.kernel.failures["rollback", "db"] = OperationFailed("no")
    with pytest.raises(OperationFailed, match="no"):
        await db.snapshots.rollback("db", "a", Progress(), keep=False)
    assert [view.name for view in db.snapshots.views("db")] == ["a", BEFORE]


async def test_a_volume_keeps_the_last_of_its_rollbacks(db: Engine) -> None:
    """As many as the setting says; what people made, and what is gone back to, stays."""
    saved = [(await db.snapshots.rollback("db", "a", Progress())).saved_as for _ in range(4)]
    # The setting of these tests is 4; the fifth is what was gone back to.
    last = await db.snapshots.rollback("db", saved[0].removeprefix("db@"), Progress())
    assert last.deleted == []
    # One that is not to be kept takes no other's place.
    gone = await db.snapshots.rollback("db", "a", Progress(), keep=False)
    assert (gone.saved_as, gone.deleted) == ("", saved[:1])
    db.pass_time(1)
    more = await db.snapshots.rollback("db", "a", Progress())
    assert more.deleted == saved[1:2]
    left = [view.automatic for view in db.snapshots.views("db")]
    assert left == [False, *[True] * 4]
    assert db.left() == []


async def test_a_snapshot_by_a_rollback_that_is_in_use_stays(db: Engine) -> None:
    """Until a later rollback finds that nobody has it."""
    first = (await db.snapshots.rollback("db", "a", Progress())).saved_as
    await db.uses.mount(first, "container", DOCKER)
    for _ in range(4):
        assert (await db.snapshots.rollback("db", "a", Progress())).deleted == []
    await db.uses.unmount(first, "container")
    assert first in (await db.snapshots.rollback("db", "a", Progress())).deleted


async def test_who_uses_the_volume_is_named(db: Engine) -> None:
    """And nothing was done: no snapshot, no unmount."""
    await db.uses.mount("db", "container", DOCKER)
    db.clock.now += 100
    db.kernel.holders["db"] = [holder()]
    with pytest.raises(VolumeInUse, match="container 0123456789ab"):
        await db.snapshots.rollback("db", "a", Progress())
    assert [view.name for view in db.snapshots.views("db")] == ["a"]
    assert db.is_mounted("db")
    assert db.containers.calls == []


@pytest.mark.parametrize("fails", [False, True])
async def test_containers_are_stopped_and_started_again(db: Engine, fails: bool) -> None:
    """Also if it failed meanwhile; they are told."""
    await db.uses.mount("db", "container", DOCKER)
    app = Container("1" * 64, "app", "running")
    db.containers.using["db"] = [app]
    db.containers.when_stopped = lambda: db.kernel.holders.pop("db", None)
    db.kernel.holders["db"] = [holder()]
    db.clock.now += 100
    if fails:
        db.kernel.failures["rollback", "db"] = OperationFailed("no")
        with pytest.raises(OperationFailed, match="no"):
            await db.snapshots.rollback("db", "a", Progress(), stop_containers=True)
        assert db.read("db") == "new"
    else:
        done = await db.snapshots.rollback("db", "a", Progress(), stop_containers=True)
        assert done.stopped == [str(app)]
        assert db.read("db") == "old"
    assert db.containers.calls == ["stop", "start"]


async def test_one_that_cannot_be_started_again(db: Engine) -> None:
    """The volume has the old data all the same: it is told, and how to undo it."""
    db.containers.using["db"] = [Container("1" * 64, "app", "running")]
    db.containers.refuses_start = "could not start container app"
    told = f"db is as db@a was, and what it was is db@{BEFORE}; but could not start container app"
    with pytest.raises(OperationFailed, match=f"^{told}$"):
        await db.snapshots.rollback("db", "a", Progress(), stop_containers=True)
    assert (db.read("db"), db.read(f"db@{BEFORE}")) == ("old", "new")


async def test_what_was_saved_stays_where_it_is_not_known_what_is_there(db: Engine) -> None:
    """After a failure it may be all that is left of what was there."""
    db.kernel.failures["rollback", "db"] = OperationFailed("Input/output error")
    with pytest.raises(OperationFailed):
        await db.snapshots.rollback("db", "a", Progress())
    assert db.read(f"db@{BEFORE}") == "new"
    assert db.left() == []
    assert db.volumes.get("db").doing == ""


@pytest.mark.parametrize("method", ["copy", "rollback"])
async def test_a_cancelled_one_leaves_nothing(db: Engine, method: str) -> None:
    """Neither of the copy that saves, nor of the one that goes back."""
    gate = db.kernel.gate(method, "db")
    job = db.jobs.start("rollback", "db", lambda progress: _rollback(db, progress))
    await asyncio.to_thread(gate.wait_for_call)
    db.jobs.cancel(job.id)
    gate.open()
    assert await db.jobs.wait(job, 5)
    with pytest.raises(Cancelled):
        assert job.result
    await db.operations.drain(5)
    assert [view.name for view in db.snapshots.views("db")] == ["a"]
    assert db.read("db") == "new"
    assert db.left() == []
    assert db.volumes.get("db").doing == ""


@pytest.mark.parametrize("fs", [None, Filesystem.EXT4])
async def test_nobody_mounts_a_volume_that_goes_back(engine: Engine, fs: Filesystem | None) -> None:
    """A container that starts meanwhile waits, and sees what is there afterwards."""
    db = engine
    await _with_snapshot(db, Options(fs=fs, size=4096))
    gate = db.kernel.gate("rollback", "db")
    task = asyncio.create_task(_rollback(db, Progress()))
    await asyncio.to_thread(gate.wait_for_call)
    mounting = asyncio.create_task(db.uses.mount("db", "container", DOCKER))
    with pytest.raises(VolumeInUse, match="db is in use by the rollback to db@a"):
        await db.volumes.remove("db")
    with pytest.raises(VolumeInUse, match="the rollback to db@a"):
        await db.snapshots.delete("db@a")
    assert not mounting.done()
    gate.open()
    await task
    await mounting
    assert db.read("db") == "old"


async def test_a_mounted_snapshot_is_in_the_way_only_inside(db: Engine) -> None:
    """One that lies in the volume's own image holds its device; who uses it is named."""
    await db.uses.mount("db@a", "reader", DOCKER)
    db.clock.now += 100
    db.kernel.holders["db@a"] = [holder()]
    await db.snapshots.rollback("db", "a", Progress())
    assert db.is_mounted("db@a")
    db.backend.way = Way.INSIDE
    await db.snapshots.create(["db"], "b", Progress())
    await db.uses.mount("db@b", "reader", DOCKER)
    db.clock.now += 100
    db.kernel.holders["db@b"] = [holder()]
    with pytest.raises(VolumeInUse, match="db@b is in use by container"):
        await db.snapshots.rollback("db", "a", Progress())


async def test_a_snapshot_that_is_read_is_not_gone_back_to(db: Engine) -> None:
    """Its image may be live meanwhile; who reads it is told."""
    gate = db.kernel.gate("copy", "db@a")
    cloning = asyncio.create_task(db.volumes.create("copy", Options(source="db@a")))
    await asyncio.to_thread(gate.wait_for_call)
    with pytest.raises(VolumeInUse, match="db@a is in use by the clone copy"):
        await db.snapshots.rollback("db", "a", Progress())
    gate.open()
    await cloning


async def test_there_must_be_such_a_snapshot(db: Engine) -> None:
    """Before any container is stopped."""
    with pytest.raises(SnapshotNotFound, match="there are a"):
        await db.snapshots.rollback("db", "b", Progress(), stop_containers=True)
    assert db.containers.calls == []


async def test_damage_that_is_gone_is_told_no_longer(db: Engine) -> None:
    """A broken volume that went back to a good state is ready again."""
    db.entries.volumes["db"].reason = "its image was cut"
    await db.snapshots.rollback("db", "a", Progress())
    assert db.volumes.get("db").reason == ""


async def _rollback(engine: Engine, progress: Progress) -> str:
    return (await engine.snapshots.rollback("db", "a", progress)).saved_as


@pytest.mark.parametrize(
    ("way", "goes_back", "gives"),
    [(Way.REFLINK, True, True), (Way.FILES, True, False), (Way.REFLINK, False, False)],
)
async def test_what_is_saved_at_once_may_have_the_last_room(
    db: Engine, way: Way, goes_back: bool, gives: bool
) -> None:
    """On a full disk: not what would need more than that, nor a snapshot that nothing rests on."""
    ballast = db.store.root / "ballast" / "0"
    ballast.mkdir(parents=True)
    db.backend.way = way
    db.kernel.failures["copy", "db"] = OSError(errno.ENOSPC, "No space left on device")
    verb = db.snapshots.rollback("db", "a", Progress()) if goes_back else db.snapshot("db", "b")
    with pytest.raises(NoSpace):
        await verb
    assert ballast.exists() is not gives
    assert (db.read("db"), db.left()) == ("new", [])
