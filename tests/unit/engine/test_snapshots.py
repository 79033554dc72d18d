"""Snapshots: all of a group or none, at one moment, and never in the way of who uses the volume."""

import asyncio
import errno

import pytest

from convoy_py.containers import Container
from convoy_py.engine.memory.references import OPERATOR
from convoy_py.engine.running.jobs import Progress
from convoy_py.errors import (
    AlreadyExists,
    Invalid,
    InvalidName,
    NoSpace,
    NotFound,
    OperationFailed,
    SnapshotNotFound,
    VolumeInUse,
    VolumeNotFound,
)
from convoy_py.models.filesystem import Filesystem
from convoy_py.models.hooks import Hooks
from convoy_py.models.snapshot import Consistency, SnapshotView, Way
from convoy_py.models.volume import Options
from tests.fakes_engine import Engine

DOCKER = "100:1"
PAUSE = Hooks(pause=True)
IMAGE = Options(fs=Filesystem.EXT4, size=4096)


async def _taking(engine: Engine, volume: str, name: str) -> "asyncio.Task[SnapshotView]":
    """Begin a snapshot that copies until the gate ("copy", volume) is opened."""
    gate = engine.kernel.gate("copy", volume)
    task = asyncio.create_task(engine.snapshot(volume, name))
    await asyncio.to_thread(gate.wait_for_call)
    return task


async def test_a_snapshot_has_what_was_there(engine: Engine) -> None:
    """And keeps it, whatever becomes of the volume."""
    await engine.volumes.create("db", Options(size=4096))
    engine.write("db", "old")
    view = await engine.snapshot("db", "nightly")
    engine.write("db", "new")
    assert engine.read("db@nightly") == "old"
    assert (view.volume, view.name, view.size, view.way) == ("db", "nightly", 4096, Way.REFLINK)
    assert view.backend == engine.volumes.get("db").backend
    assert engine.volumes.get("db").snapshots == (view,)
    assert engine.snapshots.inspect("db@nightly") == view
    assert engine.restarted().snapshots.views("db") == [view]


async def test_a_snapshot_without_a_name_is_called_by_its_time(engine: Engine) -> None:
    """Also several in one second, which come at once."""
    await engine.volumes.create("db", Options())
    views = await asyncio.gather(*(engine.snapshot("db") for _ in range(3)))
    expected = ["20260102-030405", "20260102-030405-2", "20260102-030405-3"]
    assert sorted(view.name for view in views) == expected


async def test_names_are_each_volumes_own(engine: Engine) -> None:
    """A second of the same name of one volume is refused, and the first stays as it is."""
    for name in ("db", "web"):
        await engine.volumes.create(name, Options())
        await engine.snapshot(name, "nightly")
    engine.write("db", "new")
    with pytest.raises(AlreadyExists, match="snapshot db@nightly already exists"):
        await engine.snapshot("db", "nightly")
    assert engine.read("db@nightly") == ""
    assert [view.volume for view in engine.snapshots.views()] == ["db", "web"]


async def test_two_of_one_name_at_once_are_one(engine: Engine) -> None:
    """The second waits for the first, and is then refused."""
    await engine.volumes.create("db", Options())
    task = await _taking(engine, "db", "nightly")
    second = asyncio.create_task(engine.snapshot("db", "nightly"))
    engine.kernel.gate("copy", "db").open()
    await task
    with pytest.raises(AlreadyExists):
        await second
    assert engine.left() == []


@pytest.mark.parametrize("name", ["../x", ".new-1", "a@b", "a b", "-x", "x" * 129])
async def test_a_bad_name_is_refused(engine: Engine, name: str) -> None:
    """It is said whose name is bad."""
    await engine.volumes.create("db", Options())
    with pytest.raises(InvalidName, match="invalid snapshot name"):
        await engine.snapshot("db", name)


async def test_the_short_form_is_convoys(engine: Engine) -> None:
    """It holds where only one volume has such a snapshot; else the full ones are told."""
    for name in ("db", "web"):
        await engine.volumes.create(name, Options())
    await engine.snapshot("db", "one")
    assert engine.snapshots.inspect("one").volume == "db"
    await engine.snapshot("web", "one")
    with pytest.raises(Invalid, match="one is ambiguous: say which of db@one, web@one"):
        engine.snapshots.inspect("one")
    await engine.snapshots.delete("web@one")
    await engine.snapshots.delete("one")
    with pytest.raises(NotFound, match="no such snapshot: one; a full name is such as db@nightly"):
        engine.snapshots.inspect("one")


async def test_what_is_not_there_is_told_with_what_is(engine: Engine) -> None:
    """By volume and by name."""
    await engine.volumes.create("db", Options())
    await engine.snapshot("db", "monday")
    with pytest.raises(SnapshotNotFound, match="no such snapshot: db@sunday; there are monday"):
        engine.snapshots.inspect("db@sunday")
    with pytest.raises(VolumeNotFound, match="no such volume: web"):
        engine.snapshots.inspect("web@sunday")
    with pytest.raises(Invalid, match="neither a volume's name"):
        engine.snapshots.inspect("db@@sunday")
    with pytest.raises(VolumeNotFound):
        engine.snapshots.views("web")


# How consistent it is


@pytest.mark.parametrize(
    ("options", "way", "mounted", "expected"),
    [
        (IMAGE, Way.REFLINK, False, Consistency.OFFLINE),
        (IMAGE, Way.COPY, True, Consistency.FROZEN),
        (IMAGE, Way.INSIDE, False, Consistency.ATOMIC),
        (Options(), Way.SUBVOLUME, True, Consistency.ATOMIC),
        (Options(), Way.FILES, True, Consistency.PER_FILE),
        (Options(), Way.FILES, False, Consistency.OFFLINE),
    ],
)
async def test_the_record_tells_how_consistent_it_is(
    engine: Engine, options: Options, way: Way, mounted: bool, expected: Consistency
) -> None:
    """By how it was made, and whether someone had the volume mounted."""
    await engine.volumes.create("db", options)
    engine.backend.way = way
    if mounted:
        await engine.uses.mount("db", "container", DOCKER)
    assert (await engine.snapshot("db", "a")).consistency is expected
    assert engine.kernel.frozen == set()


async def test_a_folder_mounted_meanwhile_was_not_at_rest(engine: Engine) -> None:
    """Who mounted it wrote while it was read: the record must not say otherwise."""
    await engine.volumes.create("db", Options())
    engine.backend.way = Way.FILES
    task = await _taking(engine, "db", "a")
    await engine.uses.mount("db", "container", DOCKER)
    engine.kernel.gate("copy", "db").open()
    assert (await task).consistency is Consistency.PER_FILE


async def test_what_stood_still_is_one_moment_whoever_mounted_it_meanwhile(engine: Engine) -> None:
    """Another container of a volume whose filesystem is frozen: it waits with the others."""
    await engine.volumes.create("db", Options(fs=Filesystem.XFS, size=4096))
    await engine.uses.mount("db", "container", DOCKER)
    engine.backend.way = Way.COPY
    task = await _taking(engine, "db", "a")
    engine.clock.now += 1
    await engine.uses.mount("db", "another", DOCKER)
    engine.kernel.gate("copy", "db").open()
    assert (await task).consistency is Consistency.FROZEN


async def test_containers_are_paused_while_it_is_taken(engine: Engine) -> None:
    """Those that use the volume, and not a moment longer."""
    await engine.volumes.create("db", Options())
    await engine.uses.mount("db", "container", DOCKER)
    engine.backend.way = Way.FILES
    engine.containers.using["db"] = [Container("1", "app", "running")]
    (view,) = await engine.snapshots.create(["db"], "a", Progress(), hooks=PAUSE)
    assert view.consistency is Consistency.PAUSED
    assert engine.containers.calls == ["pause", "unpause"]


@pytest.mark.parametrize("state", ["restarting", "running"])
async def test_one_that_crashes_again_and_again_is_stopped_meanwhile(
    engine: Engine, state: str
) -> None:
    """It cannot be paused, whether that was to be seen beforehand or not; the others are paused.

    The engine calls Unmount and Mount for it, so nothing of the volume is held then.
    """
    await engine.volumes.create("db", Options())
    await engine.uses.mount("db", "container", DOCKER)
    engine.backend.way = Way.FILES
    engine.containers.using["db"] = [
        Container("1", "app", "running"),
        Container("2", "loop", state),
    ]
    engine.containers.restarting = {"2"}
    seen: list[str] = []
    engine.containers.when_stopped = lambda: seen.append(engine.entries.get("db").doing)
    (view,) = await engine.snapshots.create(["db"], "a", Progress(), hooks=PAUSE)
    assert view.consistency is Consistency.PAUSED
    assert engine.containers.calls == ["stop", "pause", "unpause", "start"]
    assert seen == [""]


async def test_what_was_stopped_for_a_snapshot_runs_also_if_that_fails(engine: Engine) -> None:
    """And the failure is what is told."""
    await engine.volumes.create("db", Options())
    engine.backend.way = Way.FILES
    engine.containers.using["db"] = [Container("2", "loop", "restarting")]
    engine.containers.refuses_start = "no"
    engine.kernel.failures["copy", "db"] = OperationFailed("disk")
    with pytest.raises(OperationFailed, match="disk"):
        await engine.snapshots.create(["db"], "a", Progress(), hooks=PAUSE)
    assert engine.containers.calls == ["stop", "start"]


async def test_nobody_who_could_not_be_paused_is_said_to_have_been(engine: Engine) -> None:
    """Neither where no container was found, nor beside a person who holds the volume."""
    await engine.volumes.create("db", Options())
    await engine.uses.mount("db", "convoy", OPERATOR)
    engine.backend.way = Way.FILES
    (view,) = await engine.snapshots.create(["db"], "a", Progress(), hooks=PAUSE)
    assert view.consistency is Consistency.PER_FILE
    engine.containers.using["db"] = [Container("1", "app", "running")]
    (view,) = await engine.snapshots.create(["db"], "b", Progress(), hooks=PAUSE)
    assert view.consistency is Consistency.PER_FILE


async def test_what_was_frozen_is_thawed_whatever_happens(engine: Engine) -> None:
    """A copy that fails leaves neither a frozen filesystem nor a note, nor half a snapshot."""
    await engine.volumes.create("db", IMAGE)
    await engine.uses.mount("db", "container", DOCKER)
    task = await _taking(engine, "db", "a")
    assert engine.kernel.frozen == {engine.mountpoint("db")}
    engine.kernel.failures["copy", "db"] = OSError(errno.ENOSPC, "No space left on device")
    engine.kernel.gate("copy", "db").open()
    with pytest.raises(NoSpace):
        await task
    assert engine.kernel.frozen == set()
    assert list((engine.folder / "run/frozen").iterdir()) == []
    assert engine.left() == []
    assert engine.volumes.get("db").snapshots == ()


async def test_a_copy_that_keeps_writers_waiting_too_long_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the setting and the ways around, and without a snapshot."""
    await engine.volumes.create("db", IMAGE)
    await engine.uses.mount("db", "container", DOCKER)

    def lapsed(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(engine.backend, "copy", lapsed)
    with pytest.raises(OperationFailed, match=r"longer than the 30 s .*setting freeze_limit.*xfs"):
        await engine.snapshot("db", "a")
    assert engine.left() == []


# While it is being taken


@pytest.mark.parametrize("options", [Options(), IMAGE])
async def test_containers_come_and_go_meanwhile(engine: Engine, options: Options) -> None:
    """Mount and Unmount are answered at once; the volume itself is unmounted afterwards."""
    await engine.volumes.create("db", options)
    await engine.uses.mount("db", "first", DOCKER)
    task = await _taking(engine, "db", "a")
    async with asyncio.timeout(60):
        await engine.uses.mount("db", "second", DOCKER)
        await engine.uses.unmount("db", "first")
        await engine.uses.unmount("db", "second")
    assert engine.volumes.get("db").doing == "the snapshot a, which is being taken"
    assert engine.is_mounted("db")
    assert engine.volumes.get("db").references == 0
    engine.kernel.gate("copy", "db").open()
    await task
    await engine.operations.drain(5)
    assert not engine.is_mounted("db")
    assert engine.volumes.get("db").doing == ""


async def test_an_image_at_rest_is_not_mounted_meanwhile(engine: Engine) -> None:
    """A mount would change what is copied: it waits, and Unmounts of snapshots do not."""
    await engine.volumes.create("db", IMAGE)
    await engine.snapshot("db", "old")
    await engine.uses.mount("db@old", "reader", DOCKER)
    task = await _taking(engine, "db", "new")
    mounting = asyncio.create_task(engine.uses.mount("db", "container", DOCKER))
    async with asyncio.timeout(60):
        await engine.uses.unmount("db@old", "reader")
    assert not engine.is_mounted("db@old")
    assert not mounting.done()
    engine.kernel.gate("copy", "db").open()
    await task
    assert await mounting
    assert engine.is_mounted("db")


async def test_what_would_take_the_volume_away_is_refused(engine: Engine) -> None:
    """Each says what goes on; nothing of it was begun."""
    await engine.volumes.create("db", Options())
    await engine.snapshot("db", "old")
    task = await _taking(engine, "db", "new")
    for change in (
        engine.volumes.remove("db"),
        engine.volumes.remove("db", keep_data=True),
        engine.volumes.rename("db", "other"),
        engine.snapshots.rollback("db", "old", Progress()),
        engine.snapshots.delete("db@old"),
    ):
        with pytest.raises(VolumeInUse, match="db is in use by the snapshot new, which is being"):
            await change
    engine.kernel.gate("copy", "db").open()
    await task
    assert [view.name for view in engine.snapshots.views("db")] == ["new", "old"]
    await engine.volumes.remove("db")


async def test_other_long_work_waits_for_it(engine: Engine) -> None:
    """A second snapshot, a resize and a trim find the volume as the first one left it."""
    await engine.volumes.create("db", Options(size=4096))
    task = await _taking(engine, "db", "a")
    second = asyncio.create_task(engine.snapshot("db", "b"))
    resize = asyncio.create_task(engine.space.resize("db", 8192))
    trim = asyncio.create_task(engine.space.trim("db"))
    await engine.volumes.create("other", Options())  # others go on
    assert not {second, resize, trim} & (await asyncio.wait({second, resize, trim}, timeout=0))[0]
    engine.kernel.gate("copy", "db").open()
    assert (await task).size == 4096
    await asyncio.gather(second, resize, trim)
    assert engine.volumes.get("db").doing == ""


async def test_an_existing_volume_is_created_again_meanwhile(engine: Engine) -> None:
    """A repeated `docker volume create` has no reason to wait."""
    await engine.volumes.create("db", Options())
    task = await _taking(engine, "db", "a")
    async with asyncio.timeout(60):
        await engine.volumes.create("db", Options())
    engine.kernel.gate("copy", "db").open()
    await task
